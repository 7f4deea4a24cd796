use crate::keys::{Opener, Verifier};

/// What a reader of packages has, and what it allows. The default has no keys and allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Checks signatures. A signature that does not hold is refused whatever else is allowed.
    pub verifier: Option<Verifier>,
    /// Opens sealed levels.
    pub opener: Option<Opener>,
    /// Takes packages without a signature, or whose signature cannot be checked for want of a
    /// [`Access::verifier`].
    pub allow_unsigned: bool,
    /// Takes packages with levels that are not sealed.
    pub allow_unsealed: bool,
}
