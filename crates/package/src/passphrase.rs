use std::fmt;

use age::secrecy::SecretString;

use crate::{error::PackageError, key_source::Source, keys::KeyError};

/// A secret that people can remember; whoever has it opens what was sealed by it.
///
/// It is taken as it is: a space or a line break at its end counts. It is cleared from memory when dropped,
/// and no `Debug` shows it.
#[derive(Clone)]
pub struct Passphrase(pub(crate) SecretString);

impl Passphrase {
    /// Takes any text but an empty one.
    ///
    /// # Errors
    /// The text is empty.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError("an empty passphrase"));
        }
        Ok(Self(text.into()))
    }

    /// The passphrase in [`PASSPHRASE_VARIABLE`](crate::PASSPHRASE_VARIABLE), if it is set and not empty.
    ///
    /// It comes from nowhere else: arguments can be seen in a list of processes.
    ///
    /// # Errors
    /// The variable's value is not text.
    pub fn find() -> Result<Option<Self>, PackageError> {
        Source {
            given: None,
            variable: &|name| std::env::var_os(name),
        }
        .passphrase()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_not_empty_and_not_shown() {
        let passphrase = Passphrase::new("correct horse").unwrap();
        assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
        assert!(Passphrase::new("").is_err());
    }
}
