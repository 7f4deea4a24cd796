//! For whom a package is sealed, as a command line says it.

use std::ffi::OsStr;

use anyhow::Context;
use clap::{Arg, Args, Command, builder::TypedValueParser, error::ErrorKind};
use strata_package::{
    Access, OpenPackage, PASSPHRASE_VARIABLE, Passphrase, Recipient, SealedFor, Sealing,
};

#[derive(Debug, Args)]
pub(crate) struct SealingArgs {
    /// Seal for this age recipient (age1…) and not for the own identity; may be repeated
    #[arg(long = "recipient", value_name = "RECIPIENT", value_parser = RecipientParser, conflicts_with = "passphrase")]
    recipients: Vec<Recipient>,
    /// Seal by the passphrase in $STRATA_PASSPHRASE and not for the own identity
    #[arg(long)]
    passphrase: bool,
}

impl SealingArgs {
    /// What was asked for; for the own identity if nothing was.
    pub(crate) fn sealing(self) -> anyhow::Result<Sealing> {
        Ok(self.asked()?.unwrap_or_default())
    }

    /// What was asked for; as `parent`, a version, is sealed if nothing was.
    pub(crate) fn sealing_as(
        self,
        parent: &OpenPackage,
        access: &Access,
    ) -> anyhow::Result<Sealing> {
        if let Some(asked) = self.asked()? {
            return Ok(asked);
        }
        like(parent.sealed_for, access).with_context(|| {
            let (name, version) = (&parent.manifest.name, parent.manifest.version);
            format!("{name}@{version} is sealed for several recipients, and it does not show for whom: name them by --recipient")
        })
    }

    fn asked(self) -> anyhow::Result<Option<Sealing>> {
        if self.passphrase {
            let found = Passphrase::find()?.with_context(|| {
                format!("{PASSPHRASE_VARIABLE}: expected the passphrase to seal by, found nothing")
            })?;
            return Ok(Some(Sealing::Passphrase(found)));
        }
        Ok((!self.recipients.is_empty()).then_some(Sealing::Recipients(self.recipients)))
    }
}

/// As something is sealed that `access` opened; nothing if that does not show.
fn like(sealed_for: SealedFor, access: &Access) -> Option<Sealing> {
    let passphrase = access.opener.passphrase.clone();
    match (sealed_for, passphrase) {
        (SealedFor::Passphrase, Some(passphrase)) => Some(Sealing::Passphrase(passphrase)),
        (SealedFor::Several, _) => None,
        _ => Some(Sealing::Own),
    }
}

/// Clap's own errors repeat the value, and this one may be a secret key that was taken for the public one.
#[derive(Clone)]
struct RecipientParser;

impl TypedValueParser for RecipientParser {
    type Value = Recipient;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Recipient, clap::Error> {
        let wrong = |problem: &dyn std::fmt::Display| {
            command.clone().error(
                ErrorKind::ValueValidation,
                format!("--recipient: {problem}"),
            )
        };
        let text = value.to_str().ok_or_else(|| wrong(&"not text"))?;
        text.parse()
            .map_err(|error: strata_package::KeyError| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_by_a_passphrase_is_sealed_by_it() {
        let mut access = Access::default();
        access.opener.passphrase = Passphrase::new("correct horse").ok();
        let found = |sealed_for| like(sealed_for, &access);
        assert!(matches!(
            found(SealedFor::Passphrase),
            Some(Sealing::Passphrase(_))
        ));
        assert!(matches!(found(SealedFor::One), Some(Sealing::Own)));
        assert!(matches!(found(SealedFor::Everyone), Some(Sealing::Own)));
        assert!(found(SealedFor::Several).is_none());
    }
}
