//! A training that was stopped or killed, however often, ends with the bytes of one that was not.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    place::{Place, Ran, snapshot},
    server::signal,
};

/// Random enough for moments; a failure says with which seed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let seed = now.as_nanos() as u64;
        println!("moments from seed {seed}");
        Self(seed)
    }

    /// Some time below `most` milliseconds.
    fn next(&mut self, most: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % (most * 1000))
    }
}

/// A training of some seconds.
struct Training {
    place: Place,
    expected: BTreeMap<String, Vec<u8>>,
    whole: Duration,
}

const SETTINGS: [&str; 6] = [
    "--set",
    "levels[0].layers[1].dense.units=256",
    "--set",
    "train.epochs=60",
    "--set",
    "data.validation={fraction=0.2}",
];

impl Training {
    fn new() -> Self {
        let place = Place::with_identity();
        place.write_data("data", 1500, 60);
        let began = Instant::now();
        place
            .run(
                &[
                    &["train", "recipe.toml", "--run", "whole", "--no-package"],
                    &SETTINGS[..],
                ]
                .concat(),
            )
            .success();
        let whole = began.elapsed();
        let expected = weights(&place, "whole");
        assert_eq!(expected.len(), 2);
        Self {
            place,
            expected,
            whole,
        }
    }

    /// Starts the training in the folder `cut` and waits until it learns.
    fn begin(&self) -> Child {
        self.place
            .start_learning(&[&["train", "recipe.toml", "--run", "cut"], &SETTINGS[..]].concat())
    }

    /// Goes on with it and waits until it learns.
    fn resume(&self) -> Child {
        self.place.start_learning(&["train", "--resume", "cut"])
    }

    /// The files in which checkpoints lie, and nothing else may.
    fn checkpoints(&self) -> Vec<PathBuf> {
        snapshot(&self.place.path("cut/checkpoints"))
            .into_keys()
            .collect()
    }

    /// Goes on to the end and compares.
    fn check_end(&self) {
        let resumed = self.place.answer(&["train", "--resume", "cut"]);
        assert_eq!(
            (&resumed["finished"], &resumed["model"]),
            (&true.into(), &"tiny".into())
        );
        assert!(
            weights(&self.place, "cut") == self.expected,
            "other weights"
        );
        let events = fs::read_to_string(self.place.path("cut/events.jsonl")).unwrap();
        let count = |kind: &str| events.lines().filter(|line| line.contains(kind)).count();
        assert_eq!(
            (count("\"epoch\":"), count("\"finished\"")),
            (60, 1),
            "{events}"
        );
        assert!(self.place.path("cut/report.html").is_file());
        self.place.answer(&["models", "verify", "tiny@1"]);
        self.place.check_fails(
            &["train", "--resume", "cut"],
            &["cut is finished", "strata models add cut"],
        );
    }
}

fn weights(place: &Place, run: &str) -> BTreeMap<String, Vec<u8>> {
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let files = snapshot(&place.path(run).join("weights"));
    files
        .into_iter()
        .map(|(path, bytes)| (name(path), bytes))
        .collect()
}

/// Waits for the end of a training that was asked to stop.
fn stopped(child: Child) -> Ran {
    Ran::end(child).stopped("stopped; go on by `strata train --resume cut`")
}

#[test]
fn a_training_that_was_stopped_or_killed_ends_with_the_same_bytes() {
    let training = Training::new();
    let mut moments = Moments::new();
    let slice = training.whole.as_millis() as u64 / 6;

    // Killed before there is a checkpoint: it starts over.
    let mut child = training.begin();
    thread::sleep(moments.next(slice));
    child.kill().unwrap();
    child.wait().unwrap();

    for signal_name in ["INT", "TERM", "INT"] {
        let child = training.resume();
        thread::sleep(moments.next(slice));
        signal(&child, signal_name);
        stopped(child);
        let checkpoints = training.checkpoints();
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");

        // Killed while it learns ...
        let mut child = training.resume();
        thread::sleep(moments.next(slice));
        child.kill().unwrap();
        child.wait().unwrap();

        // ... and while it writes its checkpoint.
        let mut child = training.resume();
        thread::sleep(moments.next(slice));
        signal(&child, "INT");
        thread::sleep(moments.next(20));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    training.check_end();
}

#[test]
fn a_training_that_was_killed_near_its_end_is_finished_by_a_resume() {
    let training = Training::new();
    let mut moments = Moments::new();
    let mut child = training.begin();
    let notes = BufReader::new(child.stderr.take().unwrap());
    let mut is_last = notes
        .lines()
        .map(|line| line.unwrap().starts_with("epoch  60"));
    assert!(is_last.any(|is_last| is_last));
    // Weights, report, result and package are written now.
    thread::sleep(moments.next(60));
    child.kill().unwrap();
    child.wait().unwrap();

    if training.place.path("cut/result.json").exists() {
        // Finished; whether it was packaged is not known.
        training
            .place
            .check_fails(&["train", "--resume", "cut"], &["strata models add cut"]);
        let version = training.place.answer(&["models", "add", "cut"])["version"].clone();
        training
            .place
            .answer(&["models", "verify", &format!("tiny@{version}")]);
        assert!(
            weights(&training.place, "cut") == training.expected,
            "other weights"
        );
    } else {
        training.check_end();
    }
}

#[test]
fn a_resume_refuses_what_is_not_the_same_training() {
    let place = Place::with_identity();
    place.write_data("data", 1500, 60);
    let training = Training {
        place,
        expected: BTreeMap::new(),
        whole: Duration::ZERO,
    };
    let child = training.begin();
    signal(&child, "INT");
    stopped(child);
    let place = &training.place;
    place.check_fails(
        &["models", "add", "cut"],
        &["cut is not finished", "strata train --resume cut"],
    );
    place.check_fails(
        &["train", "--resume", "data"],
        &["data is no run", "`recipe.toml`"],
    );
    place.check_fails(&["train", "--resume", "none"], &["none is no run"]);

    let recipe = fs::read(place.path("cut/recipe.toml")).unwrap();
    let changed =
        String::from_utf8(recipe.clone())
            .unwrap()
            .replacen("epochs = 60", "epochs = 61", 1);
    place.write("cut/recipe.toml", changed);
    place.check_fails(
        &["train", "--resume", "cut"],
        &["its recipe.toml was changed"],
    );
    place.write("cut/recipe.toml", recipe);

    let checkpoint = fs::read_dir(place.path("cut/checkpoints"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    place.check_fails(
        &["train", "--resume", "cut"],
        &["cut/checkpoints/", ".safetensors"],
    );
    fs::write(&checkpoint, &whole).unwrap();

    place.write_data("data", 1503, 60);
    place.check_fails(
        &["train", "--resume", "cut"],
        &["data: not the data that this run began with"],
    );
}
