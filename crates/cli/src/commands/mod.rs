mod classes;
mod compare;
mod data;
mod exits;
mod explain;
mod export;
mod identity;
mod import;
mod inspect;
mod keys;
mod level;
mod models;
mod opened;
mod predict;
mod quickstart;
mod recipe;
mod rollout;
mod serve;
mod train;

use clap::CommandFactory;

use crate::{
    args::{Cli, Command},
    output::{self, Output},
};

pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Quickstart(args) => quickstart::run(args, output),
        Command::Train(args) => train::run(args, output),
        Command::Compare(args) => compare::run(args, output),
        Command::Eval(args) => data::eval(args, output),
        Command::Predict(args) => predict::run(args, output),
        Command::Explain(args) => explain::run(args, output),
        Command::Serve(args) => serve::run(args, output),
        Command::Models(command) => models::run(command, output),
        Command::Exits(command) => exits::run(command, output),
        Command::Level(command) => level::run(command, output),
        Command::Rollout(command) => rollout::run(command, output),
        Command::Keys(command) => keys::run(command, output),
        Command::Identity(command) => identity::run(command, output),
        Command::Import(args) => import::run(args, output),
        Command::Export(args) => export::run(args, output),
        Command::Recipe(command) => recipe::run(command, output),
        Command::Data(command) => data::run(command, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "strata", &mut script);
            output::print(&String::from_utf8(script)?)
        }
    }
}
