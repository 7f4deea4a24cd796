//! Stores as commands use them, whether they are folders or lie at addresses.

use strata_package::{Access, Selector, Store};
use strata_remote::{Address, Remote};
use strata_spec::Name;

use crate::places::{cache_folder, store_address};

/// A store in a folder and a selector there for a version that is to be read. A store at an address is brought to the user's
/// cache as far as it is needed.
pub(crate) fn readable(
    named: Option<Address>,
    selector: &Selector,
    access: &Access,
) -> anyhow::Result<(Store, Selector)> {
    match store_address(named)? {
        Address::Folder(folder) => Ok((Store::open(&folder)?, selector.clone())),
        Address::Bucket(bucket) => {
            let remote = Remote::from_env(&bucket)?;
            let store = Store::create_if_missing(&cache_folder("stores", &bucket)?)?;
            let version = remote.resolve(selector)?;
            let name = selector.name.clone();
            remote.pull(&name, version, access, &store)?;
            Ok((store, Selector::version(name, version)))
        }
    }
}

/// Changes aliases or the rollout of a model, in the store at an address by conditional writes.
pub(crate) fn change<T>(
    named: Option<Address>,
    name: &Name,
    change: impl Fn(&Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match store_address(named)? {
        Address::Folder(folder) => change(&Store::open(&folder)?),
        Address::Bucket(bucket) => Remote::from_env(&bucket)?.change(name, change),
    }
}

/// Reads what a store says of a model; there are no weights in a store at an address.
pub(crate) fn look_at<T>(
    named: Option<Address>,
    name: &Name,
    read: impl FnOnce(&Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match store_address(named)? {
        Address::Folder(folder) => read(&Store::open(&folder)?),
        Address::Bucket(bucket) => Remote::from_env(&bucket)?.outline(name, read),
    }
}
