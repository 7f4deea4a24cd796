use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DataSpec, Head, Layer, Level, Name, Preparation, RecipeError, Task, Train,
    checks::{
        Problem, check_data, check_levels, check_strategy, check_task_data, check_train, problem,
        with_suggestion,
    },
    error::list,
    level::{default_head, level_shapes},
    networks::NamedNetwork,
    source::Source,
    task::{data_classes, final_task},
};

/// The format of recipes that this program reads.
pub const RECIPE_FORMAT: u32 = 1;

/// What to learn: data, preparation, levels, tasks, training. Read with [`Recipe::parse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Strata recipe")]
#[non_exhaustive]
pub struct Recipe {
    /// Format of this file: 1.
    #[schemars(extend("const" = 1))]
    pub format: u32,
    /// The model's name in the store.
    pub name: Name,
    /// What the model is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Seed of all that is random in the training. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Where the rows come from.
    pub data: DataSpec,
    /// How an input becomes a row.
    pub preparation: Preparation,
    /// What is predicted, 1 to 1,024 tasks.
    #[schemars(length(min = 1, max = 1024))]
    pub tasks: Vec<Task>,
    /// The network, from the lowest level to the top one, 1 to 1,024 levels.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub levels: Vec<Level>,
    /// The network by its name, instead of `levels`; its head predicts the last task. [`Recipe::parse`] puts its levels
    /// into `levels`, with `heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NamedNetwork>,
    /// Heads on lower levels of a network by name, by the levels' names. Default: none but the network's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<Name, NamedHead>,
    /// How it learns.
    pub train: Train,
}

/// A head on a level of a network by name; it takes the place of an auxiliary head that the network has there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedHead {
    /// What it predicts. Default: the last task; the head is then an exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Name>,
    /// Its layers. Default: the mean of each map, if there are maps, and a dense layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// `file` is its name in errors. `overrides` are `field=value` pairs such as `train.epochs=3`, applied in turn;
    /// a value is TOML, or a plain word.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line, field and the nearest valid word.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let source = Source::read(text, file, overrides)?;
        let mut recipe: Self = serde_path_to_error::deserialize(source.tree.clone())
            .map_err(|error| source.form_error(&error))?;
        recipe
            .name_levels()
            .and_then(|()| recipe.check())
            .map_err(|(field, problem)| source.error(&field, problem))?;
        Ok(recipe)
    }

    /// The recipe as TOML, with every default written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe has only string keys")
    }

    /// The JSON Schema of a recipe.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Classes that the data may have.
    pub fn data_classes(&self) -> usize {
        data_classes(&self.tasks)
    }

    /// The task of the top level's head.
    pub fn final_task(&self) -> &Task {
        final_task(self.levels.iter(), &self.tasks)
    }

    /// The shape of one row that enters the network.
    pub fn input_shape(&self) -> Vec<usize> {
        self.preparation.output_shape()
    }

    /// Writes out the levels of a network by name.
    fn name_levels(&mut self) -> Result<(), Problem> {
        let Some(network) = &self.network else {
            if self.heads.is_empty() {
                return Ok(());
            }
            let text = "they are for a `network` by name; where levels are written out, each has its `head`";
            return Err(problem("heads", text.to_owned()));
        };
        // Without a task there is nothing to name the head after; `check` says so.
        let Some(task) = self.tasks.last() else {
            return Ok(());
        };
        let input = self.input_shape();
        let mut levels = network
            .levels(&task.name, task.classification.classes)
            .and_then(|levels| {
                network.check_input(&levels, &input)?;
                Ok(levels)
            })
            .map_err(|(field, text)| (format!("network.{field}"), text))?;
        // Shapes that do not fit are told by `check`.
        let shapes = level_shapes(&input, &levels).unwrap_or_default();
        for (name, head) in &self.heads {
            let field = format!("heads.{name}");
            let index = levels.iter().position(|level| level.name == *name);
            let Some(index) = index else {
                let names: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
                let found = format!("the network's levels are {}", list(&names));
                return Err((field, with_suggestion(found, name.as_str(), &names)));
            };
            if index + 1 == levels.len() {
                let text = format!("`{name}` is the top level, which has its head");
                return Err((field, text));
            }
            let task = head.task.as_ref().unwrap_or(&task.name);
            let classes = self.tasks.iter().find(|known| known.name == *task);
            let classes = classes.map_or(2, |task| task.classification.classes);
            let layers = match shapes.get(index) {
                Some(shapes) if head.layers.is_empty() => default_head(&shapes.output, classes),
                _ => head.layers.clone(),
            };
            levels[index].head = Some(Head {
                task: task.clone(),
                layers,
                mirrored: false,
            });
        }
        // A resolved recipe has both, and they agree.
        if !self.levels.is_empty() && self.levels != levels {
            let text = "give a network by name or its `levels`, not both".to_owned();
            return Err(problem("network", text));
        }
        self.levels = levels;
        Ok(())
    }

    fn check(&self) -> Result<(), Problem> {
        if self.format != RECIPE_FORMAT {
            return Err(problem(
                "format",
                format!("expected {RECIPE_FORMAT}, found {}", self.format),
            ));
        }
        if self.seed > i64::MAX as u64 {
            return Err(problem(
                "seed",
                "expected at most 9223372036854775807".to_owned(),
            ));
        }
        check_levels(&self.levels, &self.tasks, &self.preparation)?;
        check_data(&self.data, &self.preparation)?;
        check_task_data(&self.tasks, &self.data)?;
        check_train(&self.train, self.data.may_have_validation())?;
        check_strategy(&self.train, &self.levels)?;
        self.check_auxiliary_heads()
    }

    /// Checks them as heads of their levels, which they are while the levels learn.
    fn check_auxiliary_heads(&self) -> Result<(), Problem> {
        for (index, level) in self.levels.iter().enumerate() {
            let layers = match self.train.levels.get(&level.name) {
                Some(setting) if !setting.auxiliary.is_empty() => setting.auxiliary.clone(),
                _ => continue,
            };
            let field = format!("train.levels.{}.auxiliary", level.name);
            if level.head.is_some() {
                let text = format!(
                    "level `{}` has a head of its own, with which it learns: leave one of them out",
                    level.name
                );
                return Err((field, text));
            }
            let mut levels = self.levels.clone();
            for head in levels.iter_mut().filter_map(|level| level.head.as_mut()) {
                head.mirrored = false;
            }
            levels[index].head = Some(Head {
                task: self.final_task().name.clone(),
                layers,
                mirrored: false,
            });
            let head = format!("levels[{index}].head");
            check_levels(&levels, &self.tasks, &self.preparation).map_err(|(place, text)| {
                let place = place.replacen(&format!("{head}.layers"), &field, 1);
                (place.replacen(&head, &field, 1), text)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Optimizer;

    const MNIST: &str = include_str!("../../../recipes/mnist-mlp.toml");

    /// Replaces `from` by `to` in the shipped recipe and expects this error.
    fn check_error(from: &str, to: &str, expected: &str) {
        assert!(MNIST.contains(from), "`{from}` is not in the recipe");
        let error = Recipe::parse(&MNIST.replacen(from, to, 1), "r.toml", &[]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_shipped_recipe_is_the_source_program() {
        let recipe = Recipe::parse(MNIST, "r.toml", &[]).unwrap();
        assert_eq!(
            recipe
                .levels
                .iter()
                .map(|level| level.name.as_str())
                .collect::<Vec<_>>(),
            ["hidden", "digits"]
        );
        assert_eq!((recipe.train.epochs, recipe.train.batch), (10, 128));
        assert_eq!(
            recipe.train.optimizer,
            Optimizer::Adam(crate::Adam::default())
        );
    }

    #[test]
    fn a_resolved_recipe_reads_back_as_itself() {
        let recipe = Recipe::parse(MNIST, "r.toml", &["train.clip.norm=1.0".to_owned()]).unwrap();
        assert_eq!(
            Recipe::parse(&recipe.to_toml(), "resolved", &[]),
            Ok(recipe)
        );
    }

    #[test]
    fn errors_name_file_line_field_and_the_nearest_word() {
        check_error(
            "epochs = 10",
            "epoch = 10",
            "r.toml:41: train.epoch: unknown field; did you mean `epochs`?",
        );
        check_error(
            "\"end-to-end\"",
            "\"end-to-ent\"",
            "r.toml:40: train.strategy: unknown word `end-to-ent`; did you mean `end-to-end`?",
        );
        check_error(
            "units = 128",
            "unit = 128",
            "r.toml:28: levels[0].layers[1].dense.unit: unknown field; did you mean `units`?",
        );
        check_error(
            "source = \"mnist\"",
            "source = \"mnits\"",
            "r.toml:8: data.source: expected one of `mnist`, `fashion-mnist`, `cifar10`, `cifar100`, `digits` or the \
             path of a folder, \
             found `mnits`; did you mean `mnist`?",
        );
        check_error(
            "epochs = 10",
            "epochs = -1",
            "r.toml:41: train.epochs: invalid value: integer `-1`, expected usize",
        );
        check_error(
            "epochs = 10",
            "epochs = ",
            "r.toml:41: not TOML: string values must be quoted, expected literal string",
        );
    }

    #[test]
    fn a_shape_that_does_not_fit_names_the_level() {
        check_error(
            "\"flatten\", ",
            "",
            "r.toml:28: levels[0].layers[0]: level `hidden`: dense takes rows of one dimension (put `flatten` before \
             it), but what comes from below has shape [1, 28, 28]",
        );
        check_error(
            "units = 10 ",
            "units = 11 ",
            "r.toml:34: levels[1].head: level `digits`: its head gives rows of shape [11], but task `digit` has 10 \
             classes",
        );
    }

    #[test]
    fn weights_are_counted_and_have_an_end() {
        let recipe = Recipe::parse(MNIST, "r.toml", &[]).unwrap();
        let shapes = crate::level_shapes(&recipe.input_shape(), &recipe.levels).unwrap();
        let counts: Vec<usize> = recipe
            .levels
            .iter()
            .zip(&shapes)
            .map(|(level, shapes)| level.parameters(shapes))
            .collect();
        assert_eq!(counts, [784 * 128 + 128, 128 * 10 + 10]);
        assert_eq!(
            recipe.levels[0].summary(&shapes[0]),
            "hidden: [1, 28, 28] -> [128]  flatten dense relu"
        );
        assert_eq!(
            recipe.levels[1].summary(&shapes[1]),
            "digits: [128] -> [128]  head digit -> [10]  dense"
        );

        // One level that is too large, then two that are so only together.
        let from = "{ dense = { units = 128 } }";
        check_error(
            from,
            "{ dense = { units = 1048576 } }, { dense = { units = 4096 } }",
            "r.toml:24: levels[0]: level `hidden` has 5118103552 weights; at most 4293918720 fit",
        );
        let two = "{ dense = { units = 1048576 } }, { dense = { units = 2048 } }]\n\
                   [[levels]]\nname = \"more\"\nlayers = [{ dense = { units = 1048576 } }";
        let error = Recipe::parse(&MNIST.replacen(from, two, 1), "r.toml", &[]).unwrap_err();
        assert_eq!(
            (error.field.as_str(), error.problem.as_str()),
            (
                "levels",
                "they have 5129635850 weights; at most 4293918720 fit"
            )
        );
    }

    #[test]
    fn a_network_has_a_bounded_number_of_parts() {
        let field = |recipe: &str| {
            Recipe::parse(recipe, "r.toml", &[])
                .unwrap_err()
                .to_string()
        };
        let level = |index| format!("[[levels]]\nname = \"l{index}\"\nlayers = [\"relu\"]\n");
        let levels: String = (0..1024).map(level).collect();
        let (before, after) = MNIST.split_at(MNIST.find("[train]").unwrap());
        assert!(
            field(&format!("{before}\n{levels}\n{after}"))
                .ends_with("levels: expected at most 1024 levels, found 1026")
        );
        let layers = format!("\"flatten\"{}", ", \"relu\"".repeat(1023));
        let found = field(&MNIST.replacen("\"flatten\"", &layers, 1));
        assert!(
            found.ends_with("levels[0]: expected at most 1024 layers, found 1026"),
            "{found}"
        );
    }

    #[test]
    fn overrides_change_one_field_and_are_named_when_wrong() {
        let parse = |setting: &str| Recipe::parse(MNIST, "r.toml", &[setting.to_owned()]);
        assert_eq!(parse("train.epochs=3").unwrap().train.epochs, 3);
        assert_eq!(parse("data.source=digits").unwrap().data.source, "digits");
        assert_eq!(
            parse("levels[0].name=first").unwrap().levels[0]
                .name
                .as_str(),
            "first"
        );
        let error = |setting: &str| parse(setting).unwrap_err().to_string();
        assert_eq!(
            error("train.epochs=0"),
            "--set train.epochs=0: train.epochs: expected 1 to 1000000, found 0"
        );
        assert_eq!(
            error("train.epoch=3"),
            "--set train.epoch=3: train.epoch: unknown field; did you mean `epochs`?"
        );
        assert_eq!(
            error("epochs"),
            "--set epochs: expected FIELD=VALUE, such as train.epochs=3"
        );
        assert_eq!(
            error(&format!("{}=1", ["a"; 100_000].join("."))),
            "--set: expected a field of at most 32 parts, found 100000"
        );
        assert_eq!(
            error("train.optimizer.adam.learning_rate=0"),
            "--set train.optimizer.adam.learning_rate=0: train.optimizer.adam.learning_rate: expected a number of more \
             than 0 and at most 1000000, found 0"
        );
        assert_eq!(
            error("train.optimizer.adam.epsilon=1e-300"),
            "--set train.optimizer.adam.epsilon=1e-300: train.optimizer.adam.epsilon: expected a number from 1e-30 to \
             1000000, found 1e-300"
        );
        assert_eq!(
            error("levels[7].name=x"),
            "--set levels[7].name=x: levels[7].name: expected the number of an item below 2, found `7`"
        );
    }

    #[test]
    fn the_schema_knows_every_top_level_field() {
        let schema = Recipe::schema();
        let recipe = Recipe::parse(MNIST, "r.toml", &[]).unwrap();
        let written = toml::from_str::<toml::Table>(&recipe.to_toml()).unwrap();
        for field in written.keys() {
            assert!(
                schema["properties"].get(field).is_some(),
                "{field} is not in the schema"
            );
        }
    }
}
