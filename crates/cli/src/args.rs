mod bytes;
mod level;
mod models;
mod rollout;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{Span, Timestamp};
use strata_package::Selector;
use strata_remote::Address;
use strata_serve::Action;
use strata_spec::Name;

use crate::sealing::SealingArgs;
use bytes::bytes;
pub(crate) use level::{Change, GateArgs, Level, LevelSelector};
pub(crate) use models::Models;
pub(crate) use rollout::{Rollout, Start, Status};

/// Trains networks end to end or level by level, packages them, serves them and explains their answers.
#[derive(Debug, Parser)]
#[command(
    name = "strata",
    version,
    after_help = "Start with:  strata quickstart"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print the result as one JSON document.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but the result and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Threads that learn and answer. Default: the physical cores that this process may use.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train on handwritten digits, package, serve and explain: the whole way in one command.
    #[command(after_help = "Example:  strata quickstart --check")]
    Quickstart(Quickstart),
    /// Train what a recipe describes and package it.
    #[command(
        after_help = "Examples:\n  strata train recipes/mnist-mlp.toml --set train.epochs=3\n  \
                            strata train --resume runs/mnist-mlp-1"
    )]
    Train(Train),
    /// Train a recipe by several strategies and seeds, and compare what they come to.
    #[command(
        after_help = "Example:  strata compare recipes/mnist-layered.toml --strategies end-to-end,local:infopro,greedy \
                            --seeds 3"
    )]
    Compare(Compare),
    /// Measure a model on test data.
    #[command(after_help = "Example:  strata eval mnist-mlp:stable --data mnist")]
    Eval(Eval),
    /// Ask a model.
    #[command(after_help = "Examples:\n  strata predict mnist-mlp digit.png\n  \
                            echo '[[0, 0.5, 1]]' | strata predict tiny -")]
    Predict(Predict),
    /// Explain an answer as a picture.
    #[command(after_help = "Example:  strata explain mnist-mlp digit.png --output why.png")]
    Explain(Explain),
    /// Serve the models of a store over HTTP, and follow it as versions are added and aliases moved.
    #[command(after_help = "Examples:\n  strata serve --address 127.0.0.1:8080\n  \
                            strata serve --model mnist-mlp:stable --model mnist-cnn@3\n  \
                            strata serve --grpc 127.0.0.1:8081")]
    Serve(Serve),
    /// Look at and manage the models of a store.
    #[command(
        subcommand,
        after_help = "Example:  strata models alias mnist-mlp@3 stable"
    )]
    Models(Models),
    /// Let rows leave a network early.
    #[command(
        subcommand,
        after_help = "Example:  strata exits calibrate cifar10-exits --epsilon 0.005 --delta 0.05"
    )]
    Exits(Exits),
    /// Look at, replace and roll back single levels of a model.
    #[command(
        subcommand,
        after_help = "Example:  strata level replace mnist-mlp hidden --from mnist-new@2"
    )]
    Level(Level),
    /// Move callers from one version of a model to another under the eyes of the server, or let it compare them.
    #[command(
        subcommand,
        after_help = "Example:  strata rollout start mnist-mlp@4 --percent 5 --sticky x-user-id"
    )]
    Rollout(Rollout),
    /// Manage the API keys of callers.
    #[command(
        subcommand,
        after_help = "Example:  strata keys create --name alice --allow infer,explain \
                                        --models mnist-mlp --expires 30d"
    )]
    Keys(Keys),
    /// Manage the identity that seals and signs packages.
    #[command(subcommand, after_help = "Example:  strata identity init")]
    Identity(Identity),
    /// Make a model of weights that another program wrote: a safetensors or PyTorch file.
    #[command(
        after_help = "Example:  strata import recipe.toml resnet18-f37072fd.pth --name resnet18"
    )]
    Import(Import),
    /// Write the weights of a model as a safetensors file that other programs load.
    #[command(after_help = "Example:  strata export resnet18@1 resnet18.safetensors")]
    Export(Export),
    /// Check recipes and describe their form.
    #[command(
        subcommand,
        after_help = "Example:  strata recipe check recipes/mnist-mlp.toml"
    )]
    Recipe(Recipe),
    /// Fetch and look at data.
    #[command(subcommand, after_help = "Example:  strata data inspect digits")]
    Data(Data),
    /// Print a script that completes commands in a shell.
    #[command(
        after_help = "Example:  strata completions bash > ~/.local/share/bash-completion/completions/strata"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The model store: a folder, or s3://BUCKET/PREFIX, gs:// or az:// where a command only reads, names or serves
    /// [default: strata/store in the user's data folder]
    #[arg(long, value_name = "STORE", env = "STRATA_STORE")]
    pub(crate) store: Option<Address>,
}

#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Folder of the identity [default: $STRATA_IDENTITY, or strata/identity in the user's configuration folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// File of the API keys [default: keys.json in the store's folder]
    #[arg(long, value_name = "FILE", env = "STRATA_KEYS")]
    pub(crate) keys: Option<PathBuf>,
}

/// A model of a store and how to open it.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// NAME, NAME@VERSION or NAME:ALIAS; a bare name is its highest version
    pub(crate) model: Selector,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Take packages without a signature that can be checked
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
    /// Take packages whose weights are not sealed
    #[arg(long)]
    pub(crate) allow_unsealed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// End after the self-test instead of serving on
    #[arg(long)]
    pub(crate) check: bool,
    /// Folder for all it makes [default: strata/quickstart in the user's data folder; with --check a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:8080; any free port if that one is taken]
    #[arg(long)]
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The recipe, a TOML file
    #[arg(required_unless_present = "resume")]
    pub(crate) recipe: Option<PathBuf>,
    /// Change a field of the recipe, such as train.epochs=3; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting, conflicts_with = "resume")]
    pub(crate) set: Vec<String>,
    /// Folder of the run, which must not exist [default: runs/NAME-NUMBER]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) run: Option<PathBuf>,
    /// Go on with a run that was stopped; its result is packaged unless --no-package is given again
    #[arg(long, value_name = "RUN", conflicts_with = "recipe")]
    pub(crate) resume: Option<PathBuf>,
    /// Leave the result in the run's folder; `strata models add RUN` packages it later
    #[arg(long, conflicts_with_all = ["recipients", "passphrase"])]
    pub(crate) no_package: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) sealing: SealingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The recipe, a TOML file
    pub(crate) recipe: PathBuf,
    /// Ways to learn, each STRATEGY or STRATEGY:OBJECTIVE, such as local:infopro; the others are compared with the first
    #[arg(long, value_delimiter = ',', required = true, value_name = "WAYS")]
    pub(crate) strategies: Vec<String>,
    /// Trainings of each, with seeds from the recipe's on
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) seeds: u16,
    /// Change a field of the recipe, such as train.epochs=3; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    pub(crate) set: Vec<String>,
    /// Folder of the trainings; trainings that it holds are gone on with [default: comparisons/NAME-NUMBER]
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The recipe, a TOML file, whose network the weights are for
    pub(crate) recipe: PathBuf,
    /// A safetensors file, or a PyTorch file (.pth, .pt, .th)
    pub(crate) weights: PathBuf,
    /// The model's name in the store [default: that of the recipe]
    #[arg(long)]
    pub(crate) name: Option<Name>,
    /// Change a field of the recipe, such as preparation.image.height=32; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    pub(crate) set: Vec<String>,
    /// Let heads that the file does not have, or has for other classes, begin afresh
    #[arg(long)]
    pub(crate) fresh_heads: bool,
    /// Leave out tensors of the file that have no place in the network
    #[arg(long)]
    pub(crate) ignore_extra: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) sealing: SealingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The file to write, which must not exist
    pub(crate) file: PathBuf,
}

/// The form only; what the field is and what it takes, the recipe knows.
fn setting(text: &str) -> Result<String, String> {
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    Err("expected FIELD=VALUE, such as train.epochs=3".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// mnist, fashion-mnist, cifar10, cifar100, digits or a folder [default: what it learned from, if that is on this machine]
    #[arg(long, value_name = "SOURCE")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) leave: LeaveArgs,
}

/// Where rows leave a network with exits.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Answer at the exit of this level; the top level's name is the full network [default: by the calibrated thresholds,
    /// or the full network where there are none]
    #[arg(long, value_name = "LEVEL", conflicts_with = "confidence")]
    pub(crate) exit: Option<Name>,
    /// Answer at the first exit whose answer has at least this probability
    #[arg(long, value_name = "PROBABILITY", value_parser = probability)]
    pub(crate) confidence: Option<f32>,
}

fn probability(text: &str) -> Result<f32, String> {
    let parsed = text.parse().ok();
    parsed
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Exits {
    /// Find thresholds at which rows may leave, and store them as a new version of the model.
    ///
    /// The promise: on rows like those of the data, answers at exits lose at most EPSILON of accuracy against the full
    /// network, except with probability DELTA over the choice of the rows. Rows that the model learned from prove nothing, so
    /// of the data that it learned from, the validation rows of its recipe are taken; of other data, the training part. Where a
    /// recipe stops early by its validation rows, other data is better: these rows have had a say already.
    #[command(
        after_help = "Example:  strata exits calibrate cifar10-exits --epsilon 0.005 --delta 0.05"
    )]
    Calibrate {
        #[command(flatten)]
        model: ModelArgs,
        /// mnist, fashion-mnist, digits or a folder [default: what it learned from, if that is on this machine]
        #[arg(long, value_name = "SOURCE")]
        data: Option<String>,
        /// Share of accuracy that may be lost, more than 0 and at most 0.5
        #[arg(long, default_value_t = 0.005)]
        epsilon: f64,
        /// Probability that the promise is not held, more than 0 and at most 0.5
        #[arg(long, default_value_t = 0.05)]
        delta: f64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Image files (PNG or JPEG), or - for a JSON list of prepared rows on the standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) leave: LeaveArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// An image file (PNG or JPEG)
    pub(crate) input: PathBuf,
    /// The picture to write, a PNG file: the input, and what spoke for (red) and against (blue) the class
    #[arg(long, short, value_name = "FILE", default_value = "explanation.png")]
    pub(crate) output: PathBuf,
    /// Class number or label to explain [default: the predicted one]
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Points on the way from the baseline to the input
    #[arg(long, default_value_t = 50)]
    pub(crate) steps: usize,
    /// The image that stands for "nothing there"
    #[arg(long, value_enum, default_value_t = BaselineArg::Black)]
    pub(crate) baseline: BaselineArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BaselineArg {
    Black,
    White,
    Grey,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) address: SocketAddr,
    /// Serve this model, NAME, NAME@VERSION or NAME:ALIAS; may be repeated [default: all of the store].
    /// All but NAME@VERSION follow the store: new versions and moved aliases are served within a second
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<Selector>,
    /// Folder for what is served of a store at an address such as s3://BUCKET/PREFIX, which no other server uses [default:
    /// strata/served in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) store_cache: Option<PathBuf>,
    /// Look at a store at an address every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) poll: u32,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    /// Where to listen for gRPC besides HTTP, such as 127.0.0.1:8081; port 0 for any free one. Default: nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) grpc: Option<SocketAddr>,
    /// Largest body of a request in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) body_mib: u32,
    /// Rows that may wait for one model
    #[arg(long, value_name = "ROWS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) queue_rows: u32,
    /// Rows that are computed together at most
    #[arg(long, value_name = "ROWS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch_rows: u32,
    /// How long a request should wait and be computed: batches get smaller until they keep it [default: as large as they may be]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    pub(crate) latency_target_ms: Option<u32>,
    /// Memory for the weights of all models, such as 4GiB: those not asked for longest are put to sleep until they are asked
    /// again [default: no bound]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<usize>,
    /// Keep answers in so much memory, such as 256MiB, and give them again for the same rows [default: none]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) cache: Option<usize>,
    /// Write a line of JSON for each request to the standard error: who, what, status, times; nothing of what was asked
    #[arg(long)]
    pub(crate) log_requests: bool,
    /// Requests of one key that are answered at the same time; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) key_requests: u32,
    /// Longest time from a request to its answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) request_seconds: u32,
    /// Time for requests in flight when the server is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) drain_seconds: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key. It is shown once and stored hashed.
    #[command(
        after_help = "Example:  strata keys create --name alice --allow infer,explain \
                                   --models mnist-mlp --expires 30d"
    )]
    Create {
        /// Whose it is
        #[arg(long)]
        name: String,
        /// infer, explain, metadata, metrics, load, admin
        #[arg(long, value_name = "ACTIONS", value_delimiter = ',', required = true)]
        allow: Vec<Action>,
        /// Names of models, or all
        #[arg(long, value_name = "MODELS", value_delimiter = ',', required = true)]
        models: Vec<Name>,
        /// How long it counts, such as 12h, 30d or 1y; or never
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = expiry)]
        expires: Expiry,
        #[command(flatten)]
        keys: KeysArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List keys. Secrets are not stored, so none are shown.
    #[command(after_help = "Example:  strata keys list")]
    List {
        #[command(flatten)]
        keys: KeysArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take a key back. A running server notices within a second.
    #[command(after_help = "Example:  strata keys revoke 0123456789abcdef")]
    Revoke {
        /// The key's identifier, as `strata keys list` shows it, or the key
        id: String,
        #[command(flatten)]
        keys: KeysArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// When a key ends; `None` for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry(pub(crate) Option<Timestamp>);

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let wrong = || format!("expected a time such as 12h, 30d or 1y, or never, found `{text}`");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let now = Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let end = now.checked_add(span).map_err(|_| wrong())?.timestamp();
    if end <= now.timestamp() {
        return Err(wrong());
    }
    Ok(Expiry(Some(end)))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Make an age key that opens packages and a P-256 key that signs them.
    #[command(after_help = "Example:  strata identity init")]
    Init(IdentityArgs),
    /// Show the public keys.
    #[command(after_help = "Example:  strata identity show")]
    Show(IdentityArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recipe {
    /// Check a recipe and show the network that it describes.
    #[command(after_help = "Example:  strata recipe check recipes/mnist-mlp.toml")]
    Check {
        /// The recipe, a TOML file
        file: PathBuf,
        /// Change a field, as in `strata train`
        #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
        set: Vec<String>,
    },
    /// Print the JSON Schema of recipes.
    #[command(after_help = "Example:  strata recipe schema")]
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Download a set of the catalogue into the user's cache, if it is not on this machine.
    #[command(after_help = "Example:  strata data fetch mnist")]
    Fetch {
        /// mnist, fashion-mnist, cifar10 or cifar100
        source: String,
    },
    /// Say what a set holds: classes, sizes, averages, repeated images, files that cannot be read.
    #[command(
        after_help = "Examples:\n  strata data inspect cifar10\n  strata data inspect ./photos\n  \
                            strata data inspect recipes/mnist-mlp.toml"
    )]
    Inspect {
        /// mnist, fashion-mnist, cifar10, cifar100, digits, a folder with IDX or image files, or a recipe (a .toml file)
        source: String,
    },
}
