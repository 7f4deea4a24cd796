//! The `strata` command: parses, calls the crates that do the work, prints.

mod args;
mod commands;
mod files;
mod heat_map;
mod input;
mod output;
mod packaging;
mod places;
mod progress;
mod sealing;
mod stores;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use strata_kernels::CachingAllocator;

use crate::{args::Cli, output::Output};

/// Training allocates the same large buffers at each step.
#[global_allocator]
static ALLOCATOR: CachingAllocator<MiMalloc> = CachingAllocator::new(MiMalloc);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output {
        json: cli.json,
        quiet: cli.quiet,
    };
    if let Some(threads) = cli.threads {
        strata_kernels::set_threads(threads.into()).expect("no kernel has run yet");
    }
    let result = strata_kernels::check_environment()
        .map_err(anyhow::Error::from)
        .and_then(|()| commands::run(cli.command, output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Stopped>() => {
            output.note(&error.to_string());
            ExitCode::from(130)
        }
        Err(error) => {
            // Wrong usage ends as it does when clap finds it.
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                usage.exit();
            }
            output::tell(&format!("error: {}", message(&error)));
            ExitCode::FAILURE
        }
    }
}

/// A command that was asked to stop, by Ctrl-C or SIGTERM, and did; with what to tell people. The exit code is the one that
/// shells give to a program that Ctrl-C ended, so that `strata train … && next` does not go on.
#[derive(Debug)]
struct Stopped(String);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

/// The error and what caused it. Many errors of the libraries tell their cause themselves; that is not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
