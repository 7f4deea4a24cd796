//! Measures the engine by itself, on random rows, and prints one JSON object. Also whether exits keep what they promise.
//!
//! ```text
//! strata-engine step --network resnet18 --stem cifar --size 32 --batch 100 --classes 10 --precision bf16
//! strata-engine infer --network resnet18 --size 224 --batch 8 --precision f32
//! strata-engine mlp-epoch --precision f32
//! strata-engine exits runs/cifar10-exits-1 --epsilon 0.005 --delta 0.05
//! ```
//!
//! Nothing but the libraries that any program can use: `strata_spec` says what the network is, `strata_nn` learns and
//! answers, `strata_train` calibrates.
//!
//! - `network`: the command line's network as levels.
//! - `learn`: steps of training, epochs of training; `infer`: answers; `exits`: calibrations.
//! - `random`: rows and classes from a seed.

mod exits;
mod infer;
mod learn;
mod network;
mod random;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mimalloc::MiMalloc;
use serde_json::{Value, json};
use strata_kernels::CachingAllocator;

use crate::network::Network;

/// As in `strata`.
#[global_allocator]
static ALLOCATOR: CachingAllocator<MiMalloc> = CachingAllocator::new(MiMalloc);

/// All random numbers come from it.
const SEED: u64 = 1;

/// Measure the engine by itself, on random rows.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Steps of training, with stochastic gradient descent.
    Step(Step),
    /// Answers of a compiled plan.
    Infer(Infer),
    /// Epochs of training a 784-128-10 perceptron with Adam.
    MlpEpoch(MlpEpoch),
    /// Calibrations of a finished run's exits on random halves of its validation rows, each judged on the other half.
    Exits(Exits),
    /// Nothing: say which instructions and how many threads it would use.
    Isa,
}

#[derive(Args)]
struct Step {
    #[command(flatten)]
    network: Network,
    /// Rows in a step.
    #[arg(long, default_value_t = 100, value_parser = positive)]
    batch: usize,
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Steps that count.
    #[arg(long, default_value_t = 10, value_parser = positive)]
    steps: usize,
    /// Steps before those.
    #[arg(long, default_value_t = 3)]
    warm_up: usize,
}

#[derive(Args)]
struct Infer {
    #[command(flatten)]
    network: Network,
    /// Rows in a call.
    #[arg(long, default_value_t = 1, value_parser = positive)]
    batch: usize,
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Calls that count.
    #[arg(long, default_value_t = 50, value_parser = positive)]
    runs: usize,
    /// Calls before those.
    #[arg(long, default_value_t = 10)]
    warm_up: usize,
}

#[derive(Args)]
struct MlpEpoch {
    /// Rows in an epoch.
    #[arg(long, default_value_t = 60_000, value_parser = positive)]
    rows: usize,
    /// Rows in a step.
    #[arg(long, default_value_t = 128, value_parser = positive)]
    batch: usize,
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Epochs that count.
    #[arg(long, default_value_t = 3, value_parser = positive)]
    epochs: usize,
    /// Epochs before those.
    #[arg(long, default_value_t = 1)]
    warm_up: usize,
}

#[derive(Args)]
struct Exits {
    /// Folder of the run.
    run: PathBuf,
    /// Share of accuracy that may be lost.
    #[arg(long, default_value_t = 0.005)]
    epsilon: f64,
    /// Probability that more is.
    #[arg(long, default_value_t = 0.05)]
    delta: f64,
    #[arg(long, default_value_t = 100, value_parser = positive)]
    splits: usize,
}

/// Number format of activations and products.
#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

impl From<Precision> for strata_spec::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

fn main() -> Result<()> {
    strata_kernels::check_environment()?;
    let mut found = match Cli::parse().command {
        Command::Step(step) => learn::steps(&step)?,
        Command::Infer(infer) => infer::runs(&infer)?,
        Command::MlpEpoch(epoch) => learn::epochs(&epoch)?,
        Command::Exits(exits) => exits::splits(&exits)?,
        Command::Isa => json!({}),
    };
    found["isa"] = strata_kernels::isa().name().into();
    found["threads"] = strata_nn::threads().into();
    found["peak_mib"] = peak_mib().into();
    println!("{found}");
    Ok(())
}

/// The losses before the first and the last step; a network that does not learn is not measured.
fn checked_losses(losses: &[f32]) -> Result<Value> {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    ensure!(
        first.is_finite() && last.is_finite(),
        "the loss went from {first} to {last}"
    );
    Ok(json!([first, last]))
}

/// The largest resident memory of this process, where the system says it.
fn peak_mib() -> Option<f64> {
    // proc_pid_status(5): `VmHWM:    12345 kB`.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024.0)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("expected 1 or more, found {text}")),
        Ok(number) => Ok(number),
    }
}
