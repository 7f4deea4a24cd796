use super::{Problem, check_range, problem, rate_factor, with_suggestion, within};
use crate::{FeatureCache, Level, Objective, Strategy, Train, error::list};

/// Checks that the training's settings are those of its strategy, and fit the levels.
pub(crate) fn check_strategy(train: &Train, levels: &[Level]) -> Result<(), Problem> {
    let strategy = train.strategy;
    check_range("train.accumulate", train.accumulate, 1, 1024)?;
    check_range("train.greedy.views", train.greedy.views, 1, 1024)?;
    within("train.staged.decay", train.staged.decay, 1e-6, 1.0)?;
    let infopro = train.infopro;
    within(
        "train.infopro.reconstruction",
        infopro.reconstruction,
        0.0,
        1e6,
    )?;
    within("train.infopro.prediction", infopro.prediction, 1e-6, 1e6)?;
    if let Some(epochs) = train.staged.epochs {
        check_range("train.staged.epochs", epochs, 1, 1_000_000)?;
        let needed = epochs.saturating_mul(levels.len());
        if strategy == Strategy::Staged && needed >= train.epochs {
            let text = format!(
                "the lowest of {} levels would begin to learn after {needed} of {} epochs: expected less, or more \
                 `train.epochs`",
                levels.len(),
                train.epochs
            );
            return Err(problem("train.staged.epochs", text));
        }
    }
    if train.weights.as_ref().is_some_and(String::is_empty) {
        return Err(problem("train.weights", "expected a file".to_owned()));
    }
    let names: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
    for (name, level) in &train.levels {
        let field = format!("train.levels.{name}");
        if !names.contains(&name.as_str()) {
            let found = format!(
                "expected the name of a level ({}), found `{name}`",
                list(&names)
            );
            return Err((field, with_suggestion(found, name.as_str(), &names)));
        }
        within(&format!("{field}.weight"), level.weight, 0.0, 1e6)?;
        rate_factor(&format!("{field}.rate"), level.rate)?;
        if let Some(epochs) = level.epochs {
            check_range(&format!("{field}.epochs"), epochs, 1, 1_000_000)?;
        }
    }

    let is_top_only = !strategy.has_objectives_below_top();
    let is_cut = matches!(strategy, Strategy::Local | Strategy::Greedy);
    let refuse = |is_wrong: bool, field: &str, text: &str| {
        if is_wrong {
            return Err(problem(
                field,
                format!("{text}, not with `{}`", strategy.word()),
            ));
        }
        Ok(())
    };
    let lower = "goes with `deep-supervision`, `local` or `greedy`";
    let of_levels = train.levels.values().filter_map(|level| level.objective);
    refuse(
        is_top_only && train.objective != Objective::CrossEntropy,
        "train.objective",
        &format!(
            "`{}` is for levels below the top: it {lower}",
            train.objective.word()
        ),
    )?;
    refuse(
        is_top_only && of_levels.count() > 0,
        "train.levels",
        &format!("an objective of a level {lower}"),
    )?;
    refuse(
        strategy != Strategy::Greedy && train.levels.values().any(|level| level.epochs.is_some()),
        "train.levels",
        "epochs of a level go with `greedy`",
    )?;
    refuse(
        is_cut && train.checkpointing,
        "train.checkpointing",
        "goes with `end-to-end`, `deep-supervision` or `staged`",
    )?;
    refuse(
        strategy == Strategy::Greedy && train.early_stopping.is_some(),
        "train.early_stopping",
        "goes with strategies whose levels learn together",
    )?;
    if train.greedy.views > 1 && train.greedy.cache == FeatureCache::None {
        let text = "more than one view is for a cache in `memory` or on `disk`".to_owned();
        return Err(problem("train.greedy.views", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Recipe;

    const LAYERED: &str = include_str!("../../../../recipes/mnist-layered.toml");

    fn check_error(settings: &[&str], expected: &str) {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let error = Recipe::parse(LAYERED, "r.toml", &settings).unwrap_err();
        assert_eq!(format!("{}: {}", error.field, error.problem), expected);
    }

    #[test]
    fn settings_of_another_strategy_are_refused() {
        check_error(
            &["train.strategy=staged"],
            "train.objective: `predsim` is for levels below the top: it goes with `deep-supervision`, `local` or `greedy`, \
             not with `staged`",
        );
        check_error(
            &["train.levels.shapes.epochs=2"],
            "train.levels: epochs of a level go with `greedy`, not with `local`",
        );
        check_error(
            &["train.levels.shape.rate=2.0"],
            "train.levels.shape: expected the name of a level (`strokes`, `shapes`, `digits`), found `shape`; did you \
             mean `shapes`?",
        );
        check_error(
            &["train.checkpointing=true"],
            "train.checkpointing: goes with `end-to-end`, `deep-supervision` or `staged`, not with `local`",
        );
        check_error(
            &["train.strategy=greedy", "train.early_stopping.patience=2"],
            "train.early_stopping: goes with strategies whose levels learn together, not with `greedy`",
        );
        check_error(
            &["train.greedy={ cache = 'none', views = 2 }"],
            "train.greedy.views: more than one view is for a cache in `memory` or on `disk`",
        );
        check_error(
            &[
                "train.strategy=staged",
                "train.objective=cross-entropy",
                "train.staged.epochs=4",
            ],
            "train.staged.epochs: the lowest of 3 levels would begin to learn after 12 of 10 epochs: expected less, or more \
             `train.epochs`",
        );
    }

    #[test]
    fn auxiliary_heads_are_checked_as_heads_are() {
        check_error(
            &["train.levels.shapes.auxiliary=[{ dense = { units = 9 } }]"],
            "train.levels.shapes.auxiliary: level `shapes`: its head gives rows of shape [9], but task `digit` has 10 classes",
        );
        check_error(
            &["train.levels.shapes.auxiliary=[{ dense = { units = 0 } }]"],
            "train.levels.shapes.auxiliary[0].dense.units: expected 1 to 1048576, found 0",
        );
        check_error(
            &["train.levels.digits.auxiliary=[{ dense = { units = 10 } }]"],
            "train.levels.digits.auxiliary: level `digits` has a head of its own, with which it learns: leave one of them out",
        );
    }

    #[test]
    fn groups_of_classes_are_checked() {
        let groups = |text: &str| format!("tasks[0].classification.groups={text}");
        check_error(
            &[&groups("[[0, 1]]")],
            "tasks[0].classification.groups: expected 10 groups (one a class), found 1",
        );
        let two = "[[0], [1], [2], [3], [4], [5], [6], [7], [8], [8]]";
        check_error(
            &[&groups(two)],
            "tasks[0].classification.groups[9]: class 8 is in two groups",
        );
        check_error(
            &["tasks[0].data=cifar10"],
            "tasks[0].data: expected one of `mnist`, found `cifar10`",
        );
    }
}
