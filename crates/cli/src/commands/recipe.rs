use serde_json::json;
use strata_nn::Network;
use strata_spec::Recipe;

use super::train::read_recipe;
use crate::{args::Recipe as Command, output::Output};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Check { file, set } => {
            let recipe = read_recipe(&file, &set)?;
            let network = Network::new(&recipe.input_shape(), &recipe.levels, recipe.seed);
            let value =
                json!({ "valid": true, "name": recipe.name, "parameters": network.parameters() });
            output.result(&value, || {
                format!(
                    "{} is a valid recipe\n{network}{} weights",
                    file.display(),
                    network.parameters()
                )
            })
        }
        Command::Schema => {
            let schema = Recipe::schema();
            let pretty = serde_json::to_string_pretty(&schema)?;
            output.result(&schema, || pretty)
        }
    }
}
