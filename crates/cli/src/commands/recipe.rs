use serde_json::json;
use strata_spec::{Recipe, level_shapes};

use super::train::read_recipe;
use crate::{args::Recipe as Command, output::Output};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Check { file, set } => {
            let recipe = read_recipe(&file, &set)?;
            let shapes =
                level_shapes(&recipe.input_shape(), &recipe.levels).expect("a checked recipe");
            let levels = || recipe.levels.iter().zip(&shapes);
            let parameters: usize = levels()
                .map(|(level, shapes)| level.parameters(shapes))
                .sum();
            let value = json!({ "valid": true, "name": recipe.name, "parameters": parameters });
            output.result(&value, || {
                let lines: String = levels()
                    .map(|(level, shapes)| level.summary(shapes) + "\n")
                    .collect();
                format!(
                    "{} is a valid recipe\n{lines}{parameters} weights",
                    file.display()
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
