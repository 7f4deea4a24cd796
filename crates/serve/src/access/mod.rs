//! Who may do what: API keys, the file that holds them, and the guard in front of every route.

mod guard;
mod key;
mod live;
mod log;
mod store;
mod turns;

pub(crate) use guard::{Caller, Denied, Guard};
pub use key::{Action, ActionError, Key, KeyModels};
pub(crate) use log::{RefusalLog, Refused};
pub use store::{CreatedKey, KeyStore, KeysError, NewKey};
pub(crate) use turns::{Turn, Turns};
