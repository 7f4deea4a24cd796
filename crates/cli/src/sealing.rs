//! For whom a package is sealed, as a command line says it.

use std::ffi::OsStr;

use anyhow::Context;
use clap::{Arg, Args, Command, builder::TypedValueParser, error::ErrorKind};
use strata_package::{PASSPHRASE_VARIABLE, Passphrase, Recipient, Sealing};

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
        if self.passphrase {
            let found = Passphrase::find()?.with_context(|| {
                format!("{PASSPHRASE_VARIABLE}: expected the passphrase to seal by, found nothing")
            })?;
            return Ok(Sealing::Passphrase(found));
        }
        Ok(if self.recipients.is_empty() {
            Sealing::Own
        } else {
            Sealing::Recipients(self.recipients)
        })
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
