use crate::{
    keys::{AgeKey, Verifier},
    passphrase::Passphrase,
};

/// What a reader of packages has, and what it allows. The default has no keys and allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Checks signatures. A signature that does not hold is refused whatever else is allowed.
    pub verifier: Option<Verifier>,
    /// Opens sealed levels.
    pub opener: Opener,
    /// Takes packages without a signature, or whose signature cannot be checked for want of a
    /// [`Access::verifier`].
    pub allow_unsigned: bool,
    /// Takes packages with levels that are not sealed.
    pub allow_unsealed: bool,
}

/// What opens sealed files: a key, a passphrase, both or, by default, nothing.
///
/// A file is sealed either for keys or by one passphrase, never by both, and shows which. So each file is
/// tried with what fits it and with nothing else.
#[derive(Clone, Debug, Default)]
pub struct Opener {
    /// Opens what was sealed for its recipient.
    pub key: Option<AgeKey>,
    /// Opens what was sealed by it.
    pub passphrase: Option<Passphrase>,
}

impl From<AgeKey> for Opener {
    fn from(key: AgeKey) -> Self {
        Self {
            key: Some(key),
            passphrase: None,
        }
    }
}

impl From<Passphrase> for Opener {
    fn from(passphrase: Passphrase) -> Self {
        Self {
            key: None,
            passphrase: Some(passphrase),
        }
    }
}
