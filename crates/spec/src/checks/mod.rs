//! What must hold between the parts of a recipe, beyond their form.

mod data;
mod layers;
mod preparation;
mod strategy;

use std::collections::{HashMap, HashSet};

pub(crate) use data::check_data;
use layers::{check_fitted, check_layers, count_layers};
use preparation::check_image;
pub(crate) use strategy::check_strategy;

use crate::{
    Classification, Clip, DataSpec, Level, Optimizer, Preparation, RateSchedule, Task, Train,
    error::{list, nearest},
    level_shapes,
};

/// Weights of a network, and so of each level: as `f32` with the header of their file they fit the 16 GiB that a package
/// takes for one level.
const MOST_PARAMETERS: usize = (1 << 32) - (1 << 20);

/// Levels of a network, layers of a level with its head, tasks of a network.
const MOST_PARTS: usize = 1024;

/// The field, and what is wrong with it.
pub(crate) type Problem = (String, String);

pub(crate) fn problem(field: &str, text: String) -> Problem {
    (field.to_owned(), text)
}

/// Checks that tasks, levels and preparation fit each other.
pub(crate) fn check_levels(
    levels: &[Level],
    tasks: &[Task],
    preparation: &Preparation,
) -> Result<(), Problem> {
    let Preparation::Image(image) = preparation;
    check_image(image)?;

    if tasks.is_empty() {
        return Err(problem("tasks", "expected at least one task".to_owned()));
    }
    check_count("tasks", "tasks", tasks.len())?;
    let mut tasks_by_name = HashMap::new();
    for (index, task) in tasks.iter().enumerate() {
        let field = format!("tasks[{index}]");
        if tasks_by_name.insert(&task.name, task).is_some() {
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
        check_groups(&field, classification)?;
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
        let text = "expected at least one level, or a `network` by name instead".to_owned();
        return Err(problem("levels", text));
    };
    check_count("levels", "levels", levels.len())?;
    let mut names = HashSet::new();
    for (index, level) in levels.iter().enumerate() {
        let field = format!("levels[{index}]");
        let name = &level.name;
        let head = level
            .head
            .as_ref()
            .map_or(0, |head| count_layers(&head.layers));
        check_count(&field, "layers", count_layers(&level.layers) + head)?;
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
        if level.head.as_ref().is_some_and(|head| head.mirrored)
            && levels.iter().filter(|level| level.head.is_some()).count() > 1
        {
            let text = "only the one head of a network can be mirrored; this one has several";
            return Err((format!("{field}.head.mirrored"), text.to_owned()));
        }
        check_layers(&format!("{field}.layers"), &level.layers)?;
        if let Some(head) = &level.head {
            check_layers(&format!("{field}.head.layers"), &head.layers)?;
        }
    }

    let shapes = level_shapes(&preparation.output_shape(), levels)
        .map_err(|(level, error)| (error.place.clone(), format!("level `{level}`: {error}")))?;
    check_fitted(levels, &preparation.output_shape())?;
    let mut total = 0_usize;
    for (index, (level, shape)) in levels.iter().zip(&shapes).enumerate() {
        let own = level.parameters(shape);
        let field = format!("levels[{index}]");
        check_parameters(&field, &format!("level `{}` has", level.name), own)?;
        total = total.saturating_add(own);
        let (Some(head), Some(output)) = (&level.head, &shape.head) else {
            continue;
        };
        let field = format!("levels[{index}].head");
        let Some(task) = tasks_by_name.get(&head.task) else {
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
    check_parameters("levels", "they have", total)
}

fn check_groups(task: &str, classification: &Classification) -> Result<(), Problem> {
    let groups = &classification.groups;
    if groups.is_empty() {
        return Ok(());
    }
    let field = format!("{task}.classification.groups");
    if groups.len() != classification.classes {
        let (expected, found) = (classification.classes, groups.len());
        let text = format!("expected {expected} groups (one a class), found {found}");
        return Err((field, text));
    }
    let mut seen = HashSet::new();
    for (index, group) in groups.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if group.is_empty() {
            return Err((
                field,
                "expected at least one of the data's classes".to_owned(),
            ));
        }
        for class in group {
            check_range(&field, *class as usize, 0, 100_000)?;
            if !seen.insert(*class) {
                return Err((field, format!("class {class} is in two groups")));
            }
        }
    }
    Ok(())
}

/// Checks that each task's data is there.
pub(crate) fn check_task_data(tasks: &[Task], data: &DataSpec) -> Result<(), Problem> {
    let sources: Vec<&str> = data.sources().collect();
    for (index, task) in tasks.iter().enumerate() {
        if let Some(source) = &task.data
            && !sources.contains(&source.as_str())
        {
            let found = format!("expected one of {}, found `{source}`", list(&sources));
            return Err((format!("tasks[{index}].data"), found));
        }
    }
    Ok(())
}

pub(crate) fn check_train(train: &Train, has_validation: bool) -> Result<(), Problem> {
    check_range("train.epochs", train.epochs, 1, 1_000_000)?;
    check_range("train.batch", train.batch, 1, 1 << 20)?;
    // Smaller ones are zero as `f32`, or nearly so: then a weight without a gradient becomes 0 / 0.
    let epsilon = |field: &str, value: f64| within(field, value, 1e-30, 1e6);
    within("train.warm_up", train.warm_up, 0.0, 0.9)?;
    within("train.label_smoothing", train.label_smoothing, 0.0, 0.9)?;
    match &train.optimizer {
        Optimizer::Sgd(sgd) => {
            rate_factor("train.optimizer.sgd.learning_rate", sgd.learning_rate)?;
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
            rate_factor("train.optimizer.adam.learning_rate", adam.learning_rate)?;
            within("train.optimizer.adam.beta1", adam.beta1, 0.0, 0.999_999)?;
            within("train.optimizer.adam.beta2", adam.beta2, 0.0, 0.999_999_9)?;
            epsilon("train.optimizer.adam.epsilon", adam.epsilon)?;
        }
        Optimizer::AdamW(adamw) => {
            rate_factor("train.optimizer.adamw.learning_rate", adamw.learning_rate)?;
            within("train.optimizer.adamw.beta1", adamw.beta1, 0.0, 0.999_999)?;
            within("train.optimizer.adamw.beta2", adamw.beta2, 0.0, 0.999_999_9)?;
            epsilon("train.optimizer.adamw.epsilon", adamw.epsilon)?;
            within(
                "train.optimizer.adamw.weight_decay",
                adamw.weight_decay,
                0.0,
                1e3,
            )?;
        }
    }
    within("train.rates.norm_scale", train.rates.norm_scale, 0.0, 1e6)?;
    within("train.rates.norm_bias", train.rates.norm_bias, 0.0, 1e6)?;
    if let Some(lookahead) = train.lookahead {
        check_range("train.lookahead.every", lookahead.every, 1, 1_000_000)?;
        within("train.lookahead.hold", lookahead.hold, 0.0, 1.0)?;
        within("train.lookahead.growth", lookahead.growth, 0.0, 100.0)?;
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
        Some(Clip::Norm(most)) => rate_factor("train.clip.norm", most)?,
        Some(Clip::Value(most)) => rate_factor("train.clip.value", most)?,
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

/// A rate, or what one is multiplied by.
fn rate_factor(field: &str, value: f64) -> Result<(), Problem> {
    if value > 0.0 && value <= 1e6 {
        return Ok(());
    }
    let found = number(value);
    let text = format!("expected a number of more than 0 and at most 1000000, found {found}");
    Err(problem(field, text))
}

fn check_parameters(field: &str, who: &str, count: usize) -> Result<(), Problem> {
    if count <= MOST_PARAMETERS {
        return Ok(());
    }
    let text = format!("{who} {count} weights; at most {MOST_PARAMETERS} fit");
    Err(problem(field, text))
}

fn check_count(field: &str, what: &str, count: usize) -> Result<(), Problem> {
    if count <= MOST_PARTS {
        return Ok(());
    }
    let text = format!("expected at most {MOST_PARTS} {what}, found {count}");
    Err(problem(field, text))
}

/// A number as short as can be: not with the hundreds of digits that very large and small ones have.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-9..1e16).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

fn within(field: &str, value: f64, low: f64, high: f64) -> Result<(), Problem> {
    if value.is_finite() && value >= low && value <= high {
        return Ok(());
    }
    let (low, high, found) = (number(low), number(high), number(value));
    let text = format!("expected a number from {low} to {high}, found {found}");
    Err(problem(field, text))
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

pub(crate) fn with_suggestion(text: String, word: &str, words: &[&str]) -> String {
    match nearest(word, words.iter().copied()) {
        Some(word) => format!("{text}; did you mean `{word}`?"),
        None => text,
    }
}
