use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

/// What a command may print, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints the result: `value` as one JSON document where a program reads it, `text` for people.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string(value)?
        } else {
            text()
        };
        print(&text)
    }

    /// Tells people what is going on; never on the standard output, where the result goes.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            tell(text);
        }
    }
}

/// Prints a result, which ends with one newline whether `text` does or not; nothing if it is empty.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    match writeln!(std::io::stdout(), "{text}") {
        // The reader has seen enough, as in `strata models list | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the result"),
    }
}

/// Writes a line to the standard error. That nobody reads it, as in `strata train … 2>&1 | head`, ends no training.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
