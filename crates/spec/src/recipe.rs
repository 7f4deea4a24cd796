use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_path_to_error::Segment;
use toml::{Spanned, de::DeValue};

use crate::{
    Clip, DataSpec, Level, Name, Optimizer, Preparation, RateSchedule, RecipeError, Task, Train,
    error::nearest, level_shapes,
};

/// The format of recipes that this program reads.
pub const RECIPE_FORMAT: u32 = 1;

/// Weights in one level; more would not fit a file that a service could hold.
const MOST_PARAMETERS: usize = 1 << 34;

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
    /// What is predicted, at least one.
    #[schemars(length(min = 1))]
    pub tasks: Vec<Task>,
    /// The network, from the lowest level to the top one, at least one.
    #[schemars(length(min = 1))]
    pub levels: Vec<Level>,
    /// How it learns.
    pub train: Train,
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
        let recipe: Self = serde_path_to_error::deserialize(source.tree.clone())
            .map_err(|error| source.form_error(&error))?;
        recipe
            .check()
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

    /// The shape of one row that enters the network.
    pub fn input_shape(&self) -> Vec<usize> {
        self.preparation.output_shape()
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
        check_data(&self.data)?;
        check_levels(&self.levels, &self.tasks, &self.preparation)?;
        check_train(&self.train, self.data.validation.is_some())
    }
}

/// The field, and what is wrong with it.
pub(crate) type Problem = (String, String);

fn problem(field: &str, text: String) -> Problem {
    (field.to_owned(), text)
}

fn check_data(data: &DataSpec) -> Result<(), Problem> {
    let catalogue = ["mnist", "fashion-mnist", "digits"];
    let is_path = data.source.contains('/');
    if !is_path && !catalogue.contains(&data.source.as_str()) {
        let found = format!(
            "expected one of {} or the path of a folder, found `{}`",
            list(&catalogue),
            data.source
        );
        return Err(problem(
            "data.source",
            with_suggestion(found, &data.source, &catalogue),
        ));
    }
    if let Some(validation) = &data.validation {
        let fraction = validation.fraction;
        if !(fraction > 0.0 && fraction <= 0.5) {
            let text = format!("expected more than 0 and at most 0.5, found {fraction}");
            return Err(problem("data.validation.fraction", text));
        }
    }
    Ok(())
}

/// Checks that tasks, levels and preparation fit each other.
pub(crate) fn check_levels(
    levels: &[Level],
    tasks: &[Task],
    preparation: &Preparation,
) -> Result<(), Problem> {
    let Preparation::Image(image) = preparation;
    for (side, value) in [("height", image.height), ("width", image.width)] {
        check_range(&format!("preparation.image.{side}"), value, 1, 4096)?;
    }
    if ![1, 3].contains(&image.channels) {
        let text = format!("expected 1 (grey) or 3 (RGB), found {}", image.channels);
        return Err(problem("preparation.image.channels", text));
    }
    for (field, values, lowest) in [
        ("mean", &image.mean, f32::MIN),
        ("std", &image.std, f32::MIN_POSITIVE),
    ] {
        let field = format!("preparation.image.{field}");
        if !values.is_empty() && values.len() != image.channels {
            let text = format!(
                "expected {} (one a channel), found {}",
                image.channels,
                values.len()
            );
            return Err((field, text));
        }
        if let Some(value) = values
            .iter()
            .find(|value| !value.is_finite() || **value < lowest)
        {
            return Err((
                field,
                format!("expected finite numbers (for std more than 0), found {value}"),
            ));
        }
    }

    if tasks.is_empty() {
        return Err(problem("tasks", "expected at least one task".to_owned()));
    }
    let mut names = HashSet::new();
    for (index, task) in tasks.iter().enumerate() {
        let field = format!("tasks[{index}]");
        if !names.insert(&task.name) {
            return Err((
                format!("{field}.name"),
                format!("`{}` is taken by another task", task.name),
            ));
        }
        let classification = &task.classification;
        check_range(
            &format!("{field}.classification.classes"),
            classification.classes,
            2,
            100_000,
        )?;
        if !classification.labels.is_empty()
            && classification.labels.len() != classification.classes
        {
            let (expected, found) = (classification.classes, classification.labels.len());
            return Err((
                format!("{field}.classification.labels"),
                format!("expected {expected} labels (one a class) or none, found {found}"),
            ));
        }
    }

    let Some(last) = levels.len().checked_sub(1) else {
        return Err(problem("levels", "expected at least one level".to_owned()));
    };
    let mut names = HashSet::new();
    for (index, level) in levels.iter().enumerate() {
        let field = format!("levels[{index}]");
        let name = &level.name;
        if !names.insert(name) {
            return Err((
                format!("{field}.name"),
                format!("`{name}` is taken by another level"),
            ));
        }
        if level.layers.is_empty() && level.head.is_none() {
            return Err((
                field,
                format!("level `{name}` has neither layers nor a head"),
            ));
        }
        if index == last && level.head.is_none() {
            return Err((
                field,
                format!("level `{name}` is the last one and must have a head"),
            ));
        }
        for (place, layers) in [
            ("layers", &level.layers),
            (
                "head.layers",
                level
                    .head
                    .as_ref()
                    .map_or(&level.layers, |head| &head.layers),
            ),
        ] {
            for (position, layer) in layers.iter().enumerate() {
                if let crate::Layer::Dense(dense) = layer {
                    let field = format!("{field}.{place}[{position}].dense.units");
                    check_range(&field, dense.units, 1, 1 << 20)?;
                }
            }
        }
    }

    let shapes = level_shapes(&preparation.output_shape(), levels)
        .map_err(|(place, level, error)| (place, format!("level `{level}`: {error}")))?;
    for (index, (level, shape)) in levels.iter().zip(&shapes).enumerate() {
        check_size(index, level, shape)?;
        let (Some(head), Some(output)) = (&level.head, &shape.head) else {
            continue;
        };
        let field = format!("levels[{index}].head");
        let Some(task) = tasks.iter().find(|task| task.name == head.task) else {
            let known: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            let found = format!(
                "expected the name of a task ({}), found `{}`",
                list(&known),
                head.task
            );
            return Err((
                format!("{field}.task"),
                with_suggestion(found, head.task.as_str(), &known),
            ));
        };
        let classes = task.classification.classes;
        if *output != [classes] {
            return Err((
                field,
                format!(
                    "level `{}`: its head gives rows of shape {output:?}, but task `{}` has {classes} classes",
                    level.name, task.name
                ),
            ));
        }
    }
    Ok(())
}

fn check_size(index: usize, level: &Level, shapes: &crate::LevelShapes) -> Result<(), Problem> {
    let count = |layers: &[crate::Layer], mut shape: Vec<usize>| {
        let mut total = 0_usize;
        for layer in layers {
            total = total.saturating_add(layer.parameters(&shape));
            shape = layer.output_shape(&shape).unwrap_or_default();
        }
        total
    };
    let head = level
        .head
        .as_ref()
        .map_or(0, |head| count(&head.layers, shapes.output.clone()));
    let total = count(&level.layers, shapes.input.clone()).saturating_add(head);
    if total > MOST_PARAMETERS {
        let text = format!(
            "level `{}` has {total} weights; at most {MOST_PARAMETERS} fit",
            level.name
        );
        return Err((format!("levels[{index}]"), text));
    }
    Ok(())
}

fn check_train(train: &Train, has_validation: bool) -> Result<(), Problem> {
    check_range("train.epochs", train.epochs, 1, 1_000_000)?;
    check_range("train.batch", train.batch, 1, 1 << 20)?;
    let within = |field: &str, value: f64, low: f64, high: f64| {
        if value.is_finite() && value >= low && value <= high {
            Ok(())
        } else {
            Err(problem(
                field,
                format!("expected a number from {low} to {high}, found {value}"),
            ))
        }
    };
    let rate = |field: &str, value: f64| within(field, value, f64::MIN_POSITIVE, 1e6);
    within("train.warm_up", train.warm_up, 0.0, 0.9)?;
    match &train.optimizer {
        Optimizer::Sgd(sgd) => {
            rate("train.optimizer.sgd.learning_rate", sgd.learning_rate)?;
            within("train.optimizer.sgd.momentum", sgd.momentum, 0.0, 0.9999)?;
            within(
                "train.optimizer.sgd.weight_decay",
                sgd.weight_decay,
                0.0,
                1e3,
            )?;
            if sgd.nesterov && sgd.momentum == 0.0 {
                return Err(problem(
                    "train.optimizer.sgd.nesterov",
                    "needs a momentum above 0".to_owned(),
                ));
            }
        }
        Optimizer::Adam(adam) => {
            rate("train.optimizer.adam.learning_rate", adam.learning_rate)?;
            within("train.optimizer.adam.beta1", adam.beta1, 0.0, 0.999_999)?;
            within("train.optimizer.adam.beta2", adam.beta2, 0.0, 0.999_999_9)?;
            rate("train.optimizer.adam.epsilon", adam.epsilon)?;
        }
        Optimizer::AdamW(adamw) => {
            rate("train.optimizer.adamw.learning_rate", adamw.learning_rate)?;
            within("train.optimizer.adamw.beta1", adamw.beta1, 0.0, 0.999_999)?;
            within("train.optimizer.adamw.beta2", adamw.beta2, 0.0, 0.999_999_9)?;
            rate("train.optimizer.adamw.epsilon", adamw.epsilon)?;
            within(
                "train.optimizer.adamw.weight_decay",
                adamw.weight_decay,
                0.0,
                1e3,
            )?;
        }
    }
    match &train.schedule {
        RateSchedule::Constant => {}
        RateSchedule::Step(step) => {
            check_range("train.schedule.step.epochs", step.epochs, 1, 1_000_000)?;
            within("train.schedule.step.factor", step.factor, 1e-6, 1.0)?;
        }
        RateSchedule::Cosine(cosine) => {
            within("train.schedule.cosine.floor", cosine.floor, 0.0, 1.0)?
        }
        RateSchedule::OneCycle(cycle) => {
            within("train.schedule.one-cycle.climb", cycle.climb, 0.01, 0.99)?;
            within("train.schedule.one-cycle.start", cycle.start, 1.0, 1e9)?;
            within("train.schedule.one-cycle.end", cycle.end, 1.0, 1e9)?;
        }
    }
    match train.clip {
        Some(Clip::Norm(most)) => rate("train.clip.norm", most)?,
        Some(Clip::Value(most)) => rate("train.clip.value", most)?,
        None => {}
    }
    if let Some(stopping) = &train.early_stopping {
        check_range(
            "train.early_stopping.patience",
            stopping.patience,
            1,
            1_000_000,
        )?;
        within(
            "train.early_stopping.min_delta",
            stopping.min_delta,
            0.0,
            1e6,
        )?;
        if !has_validation {
            let text =
                "needs validation rows: set `data.validation = { fraction = 0.1 }`".to_owned();
            return Err(problem("train.early_stopping", text));
        }
    }
    Ok(())
}

fn check_range(field: &str, value: usize, low: usize, high: usize) -> Result<(), Problem> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(problem(
        field,
        format!("expected {low} to {high}, found {value}"),
    ))
}

fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn with_suggestion(text: String, word: &str, words: &[&str]) -> String {
    match nearest(word, words.iter().copied()) {
        Some(word) => format!("{text}; did you mean `{word}`?"),
        None => text,
    }
}

/// A recipe's text as a tree, with what is needed to say where something stands.
struct Source<'a> {
    text: &'a str,
    file: &'a str,
    overrides: Vec<(Vec<String>, String)>,
    spans: Spanned<DeValue<'a>>,
    tree: toml::Value,
}

impl<'a> Source<'a> {
    fn read(text: &'a str, file: &'a str, overrides: &[String]) -> Result<Self, RecipeError> {
        let syntax = |error: &toml::de::Error| RecipeError {
            origin: file.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            field: String::new(),
            problem: format!("not TOML: {}", error.message()),
        };
        let spans = toml::de::DeTable::parse(text).map_err(|error| syntax(&error))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error))?;
        let spans = Spanned::new(spans.span(), DeValue::Table(spans.into_inner()));
        let tree = toml::Value::Table(table);
        let mut source = Self {
            text,
            file,
            overrides: Vec::new(),
            spans,
            tree,
        };
        for setting in overrides {
            source.set(setting)?;
        }
        Ok(source)
    }

    fn set(&mut self, setting: &str) -> Result<(), RecipeError> {
        let origin = format!("--set {setting}");
        let fail = |field: &str, problem: String| RecipeError {
            origin: origin.clone(),
            line: None,
            field: field.to_owned(),
            problem,
        };
        let Some((field, value)) = setting.split_once('=') else {
            return Err(fail(
                "",
                "expected FIELD=VALUE, such as train.epochs=3".to_owned(),
            ));
        };
        let field = field.trim();
        let value = value.trim();
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
        let parsed = parsed
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"));
        let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));

        let path = parts(field);
        set_at(&mut self.tree, &path, value).map_err(|problem| fail(field, problem))?;
        self.overrides.push((path, origin));
        Ok(())
    }
}

impl Source<'_> {
    /// An error about the field at `path`, such as `levels[0].name`.
    fn error(&self, path: &str, problem: String) -> RecipeError {
        let parts = parts(path);
        let by_override = self
            .overrides
            .iter()
            .rev()
            .find(|(set, _)| parts.starts_with(set) || set.starts_with(&parts));
        if let Some((_, origin)) = by_override {
            return RecipeError {
                origin: origin.clone(),
                line: None,
                field: path.to_owned(),
                problem,
            };
        }
        RecipeError {
            origin: self.file.to_owned(),
            line: self.line(&parts),
            field: path.to_owned(),
            problem,
        }
    }

    /// The line of the field, or of the nearest thing around it that the file has.
    fn line(&self, parts: &[String]) -> Option<usize> {
        let mut value = &self.spans;
        let mut at = None;
        for part in parts {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let Some((key, next)) = table.iter().find(|(key, _)| key.get_ref() == part)
                    else {
                        break;
                    };
                    at = Some(key.span().start);
                    value = next;
                }
                DeValue::Array(items) => {
                    let Some(next) = part
                        .parse::<usize>()
                        .ok()
                        .and_then(|index| items.get(index))
                    else {
                        break;
                    };
                    at = Some(next.span().start);
                    value = next;
                }
                _ => break,
            }
        }
        at.map(|offset| line_of(self.text, offset))
    }

    /// An error of the typed reading, in the words of a recipe.
    fn form_error(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> RecipeError {
        let message = error.inner().message();
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path.push_str(&format!("[{index}]")),
                Segment::Map { key } | Segment::Enum { variant: key } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Segment::Unknown => {}
            }
        }
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let unknown = |kind: &str| {
            let (word, expected) = quoted.split_first()?;
            Some(match nearest(word, expected.iter().copied()) {
                Some(near) => format!("{kind}; did you mean `{near}`?"),
                None => format!("{kind}; expected one of {}", list(expected)),
            })
        };
        let text = if message.starts_with("unknown field") {
            let word = quoted.first().copied().unwrap_or_default();
            if path.rsplit('.').next() != Some(word) {
                path = if path.is_empty() {
                    word.to_owned()
                } else {
                    format!("{path}.{word}")
                };
            }
            unknown("unknown field")
        } else if message.starts_with("unknown variant") {
            let word = quoted.first().copied().unwrap_or_default();
            unknown(&format!("unknown word `{word}`"))
        } else {
            None
        };
        self.error(&path, text.unwrap_or_else(|| message.trim().to_owned()))
    }
}

/// Puts `new` at `path` below `tree`, making the tables that are missing.
fn set_at(tree: &mut toml::Value, path: &[String], new: toml::Value) -> Result<(), String> {
    let Some((part, rest)) = path.split_first() else {
        *tree = new;
        return Ok(());
    };
    match tree {
        toml::Value::Table(table) => {
            let next = table
                .entry(part.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            set_at(next, rest, new)
        }
        toml::Value::Array(items) => {
            let count = items.len();
            let item = part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index));
            let item = item.ok_or_else(|| {
                format!("expected the number of an item below {count}, found `{part}`")
            })?;
            set_at(item, rest, new)
        }
        _ => Err(format!("there is no `{part}` in a {}", tree.type_str())),
    }
}

/// `levels[0].name` as its parts.
fn parts(field: &str) -> Vec<String> {
    field
        .replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(str::to_owned)
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "r.toml:8: data.source: expected one of `mnist`, `fashion-mnist`, `digits` or the path of a folder, \
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
