//! One folder, one training; and what must be there before a training begins.

use std::fs;

use crate::{
    place::{Place, Ran},
    server::signal,
};

#[test]
fn a_folder_takes_one_training() {
    let place = Place::with_identity();
    place
        .run(&["train", "recipe.toml", "--run", "one"])
        .success();
    place.check_fails(
        &["train", "recipe.toml", "--run", "one"],
        &["one exists already", "--resume one"],
    );
    place.check_fails(
        &["train", "recipe.toml", "--run", "data"],
        &["data exists already"],
    );
    place.check_fails(
        &["train", "recipe.toml", "--run", "recipe.toml/x"],
        &["recipe.toml"],
    );
}

#[test]
fn a_training_that_runs_keeps_others_out_of_its_folder() {
    let place = Place::with_identity();
    let args = [
        "train",
        "recipe.toml",
        "--run",
        "busy",
        "--set",
        "train.epochs=2000",
    ];
    let child = place.start_learning(&args);
    // No snapshot here: the training writes its events all the time.
    let fails = |args: &[&str], words: &[&str]| place.run(args).failure(words);
    fails(
        &["train", "--resume", "busy"],
        &["busy is in use by another training"],
    );
    fails(&["models", "add", "busy"], &["busy is in use"]);
    fails(
        &["train", "recipe.toml", "--run", "busy"],
        &["busy exists already"],
    );
    signal(&child, "INT");
    let ran = Ran::end(child).stopped("stopped");
    assert!(
        ran.err
            .contains("stopped; go on by `strata train --resume busy`"),
        "{ran:?}"
    );
}

#[test]
fn of_two_trainings_that_begin_together_one_gets_the_folder() {
    let place = Place::with_identity();
    let begin = || place.start(&mut place.command(&["train", "recipe.toml", "--run", "one"]));
    let children = [begin(), begin(), begin()];
    let (won, lost): (Vec<_>, Vec<_>) = children
        .into_iter()
        .map(Ran::end)
        .partition(|ran| ran.code == Some(0));
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    for ran in lost {
        ran.failure(&["one", "another folder"]);
    }
    place.answer(&["models", "verify", "tiny@1"]);
    let hidden: Vec<_> = fs::read_dir(place.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn without_an_identity_nothing_is_learned() {
    let place = Place::new();
    let words = [
        "make an identity by `strata identity init`, or add --no-package",
        "age.key",
    ];
    place.check_fails(&["train", "recipe.toml"], &words);
    assert!(!place.path("runs").exists());
    place
        .run(&["train", "recipe.toml", "--no-package"])
        .success();
    place.check_fails(
        &["models", "add", "runs/tiny-1"],
        &["make an identity with `strata identity init`"],
    );
    place.check_fails(&["models", "list"], &["not a model store"]);
}

#[test]
fn a_training_that_diverges_says_which_field_to_change() {
    let place = Place::with_identity();
    let optimizer = "train.optimizer={sgd={learning_rate=1e6,weight_decay=1000.0}}";
    let args = [
        "train",
        "recipe.toml",
        "--set",
        optimizer,
        "--set",
        "train.epochs=99",
    ];
    place.run(&args).failure(&[
        "the training diverged",
        "lower `train.optimizer.sgd.learning_rate`",
    ]);
    assert!(!place.path("runs/tiny-1/result.json").exists());
}
