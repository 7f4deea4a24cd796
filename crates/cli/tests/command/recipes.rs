//! Recipes that are wrong, and the schema of those that are right.

use std::fs;

use serde_json::Value;

use crate::place::Place;

/// Changes the recipe and expects that neither `recipe check` nor `train` takes it, for the same reason.
fn check_recipe(from: &str, to: &str, words: &[&str]) {
    let place = Place::with_identity();
    let recipe = fs::read_to_string(place.path("recipe.toml")).unwrap();
    assert!(recipe.contains(from), "`{from}` is not in the recipe");
    place.write("recipe.toml", recipe.replacen(from, to, 1));
    place.check_fails(&["recipe", "check", "recipe.toml"], words);
    place.check_fails(&["train", "recipe.toml"], words);
    assert!(!place.path("runs").exists());
}

#[test]
fn a_wrong_recipe_is_refused_by_file_line_and_field() {
    check_recipe(
        "epochs = 8",
        "epoch = 8",
        &["recipe.toml:25: train.epoch: unknown field; did you mean `epochs`?"],
    );
    check_recipe(
        "adam",
        "adan",
        &["recipe.toml:27: train.optimizer", "did you mean `adam`?"],
    );
    check_recipe(
        "classes = 3",
        "classes = 4",
        &["recipe.toml:14: tasks[0].classification.labels: expected 4 labels"],
    );
    check_recipe("epochs = 8", "epochs =", &["recipe.toml:25: not TOML"]);
    check_recipe(
        "format = 1",
        "format = 9",
        &["recipe.toml:1: format: expected 1, found 9"],
    );
    check_recipe("\"tiny\"", "\"../tiny\"", &["recipe.toml:2: name"]);
}

#[test]
fn shapes_that_do_not_fit_name_the_level() {
    check_recipe(
        "\"flatten\", ",
        "",
        &[
            "recipe.toml:18: levels[0].layers[0]: level `hidden`",
            "[1, 8, 8]",
        ],
    );
    check_recipe(
        "units = 3 ",
        "units = 4 ",
        &["level `top`", "shape [4]", "task `third` has 3 classes"],
    );
}

#[test]
fn overrides_are_checked_like_the_file() {
    let place = Place::with_identity();
    let fails = |setting: &str, words: &[&str]| {
        place.check_fails(&["train", "recipe.toml", "--set", setting], words)
    };
    let without_value = place.run(&["recipe", "check", "recipe.toml", "--set", "train.epochs"]);
    assert_eq!(without_value.code, Some(2), "{without_value:?}");
    assert!(
        without_value.err.contains("expected FIELD=VALUE"),
        "{without_value:?}"
    );
    fails(
        "train.epochs=0",
        &["--set train.epochs=0: train.epochs: expected 1 to 1000000, found 0"],
    );
    fails(
        "train.epohcs=3",
        &["--set train.epohcs=3", "did you mean `epochs`?"],
    );
    fails("levels[5].name=x", &["levels[5].name", "below 2"]);
    fails(
        "train.objective=infopro",
        &[
            "`infopro` is for levels below the top",
            "not with `end-to-end`",
        ],
    );
    fails("data.source=mnits", &["did you mean `mnist`?"]);
    let trained = place.answer(&[
        "train",
        "recipe.toml",
        "--set",
        "name=other",
        "--set",
        "train.epochs=1",
    ]);
    assert_eq!(
        (&trained["model"], &trained["best_epoch"]),
        (&"other".into(), &1.into())
    );
}

#[test]
fn a_recipe_that_is_not_there_is_named() {
    let place = Place::with_identity();
    place.check_fails(
        &["train", "recipes.toml"],
        &["cannot read recipes.toml", "No such file"],
    );
    place.write("binary.toml", [0xff, 0xfe, 0]);
    place.check_fails(&["recipe", "check", "binary.toml"], &["binary.toml"]);
}

#[test]
fn the_schema_describes_the_recipe() {
    let place = Place::new();
    let schema = place.answer(&["recipe", "schema"]);
    let pretty = place.run(&["recipe", "schema"]).success().out;
    assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), schema);
    let mut fields: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    // A finished run has a recipe with every field, and its network as levels, whoever named it.
    place
        .run(&["train", "recipe.toml", "--no-package"])
        .success();
    let resolved = fs::read_to_string(place.path("runs/tiny-1/recipe.toml")).unwrap();
    let of_named_networks = ["network", "heads"];
    for field in fields
        .iter()
        .filter(|field| !of_named_networks.contains(field))
    {
        let is_there = resolved.lines().any(|line| {
            let line = line.trim_start_matches('[');
            line.strip_prefix(field)
                .is_some_and(|rest| rest.starts_with([' ', '.', ']']))
        });
        assert!(is_there, "`{field}` is not in {resolved}");
    }
    let expected = [
        "data",
        "description",
        "format",
        "heads",
        "levels",
        "name",
        "network",
        "preparation",
        "seed",
        "tasks",
        "train",
    ];
    assert_eq!(fields, expected);
}
