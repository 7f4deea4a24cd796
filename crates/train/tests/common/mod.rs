//! A small training, whole or interrupted.

// Not every test needs all of it.
#![allow(dead_code, unreachable_pub)]

use std::{cell::Cell, path::Path};

use strata_data::{Dataset, Images};
use strata_spec::{DataDigest, Digest, Recipe};
use strata_train::{EventKind, Outcome, Run, Trained, train};

const RECIPE: &str = r#"
format = 1
name = "small"

[data]
source = "digits"
validation = { fraction = 0.25 }

[preparation.image]
height = 4
width = 4

[[tasks]]
name = "class"
classification = { classes = 3 }

[[levels]]
name = "hidden"
layers = ["flatten", { dense = { units = 8 } }, "relu"]

[[levels]]
name = "top"
head = { task = "class", layers = [{ dense = { units = 3 } }] }

[train]
epochs = 4
batch = 16
optimizer = { adam = { learning_rate = 0.01 } }
schedule = { cosine = {} }
"#;

pub fn recipe(overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Recipe::parse(RECIPE, "small.toml", &overrides).unwrap()
}

/// Images whose class can be seen from where they are bright.
pub fn data() -> Dataset {
    let images = |rows: usize, salt: usize| {
        let pixel = |row: usize, place: usize| {
            let noise = (((row * 37 + place * 101 + salt) * 2_654_435_761) >> 8) & 127;
            if place % 3 == row % 3 {
                128 + noise / 2
            } else {
                noise
            }
        };
        Images {
            height: 4,
            width: 4,
            channels: 1,
            pixels: (0..rows * 16)
                .map(|i| pixel(i / 16, i % 16) as u8)
                .collect(),
            labels: (0..rows as u32).map(|row| row % 3).collect(),
            origins: vec![],
        }
    };
    let digest = DataDigest {
        name: "made".to_owned(),
        digest: Digest::from_bytes([7; 32]),
    };
    Dataset {
        train: images(200, 1),
        validation: None,
        test: images(60, 2),
        source: "made".to_owned(),
        digests: vec![digest],
        origins: vec![],
    }
}

pub fn finished(outcome: Outcome) -> Trained {
    match outcome {
        Outcome::Finished(trained) => *trained,
        Outcome::Stopped { step } => panic!("stopped after step {step}"),
    }
}

pub fn uninterrupted(folder: &Path, overrides: &[&str]) -> Trained {
    let mut run = Run::create(folder, recipe(overrides), folder).unwrap();
    finished(train(&mut run, data(), &|| false, &mut |_| ()).unwrap())
}

/// Stops after each of `stops` steps, resumes, and expects the very run that was never stopped.
pub fn check_resume(overrides: &[&str], stops: &[u64]) {
    let place = tempfile::tempdir().unwrap();
    let expected = uninterrupted(&place.path().join("whole"), overrides);

    let folder = place.path().join("stopped");
    drop(Run::create(&folder, recipe(overrides), place.path()).unwrap());
    for &stop in stops {
        let mut run = Run::open(&folder).unwrap();
        let done = Cell::new(0);
        let outcome = train(&mut run, data(), &|| done.get() >= stop, &mut |progress| {
            done.set(progress.step)
        });
        assert!(matches!(outcome.unwrap(), Outcome::Stopped { step } if step == stop));
    }
    let mut run = Run::open(&folder).unwrap();
    let found = finished(train(&mut run, data(), &|| false, &mut |_| ()).unwrap());
    let bytes = |trained: &Trained| {
        trained
            .weights
            .iter()
            .map(|w| w.to_safetensors())
            .collect::<Vec<_>>()
    };
    assert_eq!(bytes(&found), bytes(&expected));
    assert_eq!(found.test, expected.test);
    assert_eq!(found.validation, expected.validation);
    assert_eq!(run.result().unwrap().unwrap().weights, expected.weights);

    let epochs = |folder: &Path| {
        let losses = |kind| match kind {
            EventKind::Epoch {
                epoch,
                loss,
                accuracy,
                ..
            } => Some((epoch, loss, accuracy)),
            _ => None,
        };
        let events = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
        let parse = |line: &str| {
            serde_json::from_str::<strata_train::Event>(line)
                .unwrap()
                .kind
        };
        events
            .lines()
            .map(parse)
            .filter_map(losses)
            .collect::<Vec<_>>()
    };
    assert_eq!(epochs(&folder), epochs(&place.path().join("whole")));
}

/// What a convolutional network in place of the perceptron's lower level is.
pub const CONVOLUTIONAL: &str = "levels[0].layers=[{ conv = { channels = 4, kernel = 3, padding = 1 } }, \"batch-norm\", \"relu\", \
    { residual = { layers = [{ conv = { channels = 4, kernel = 3, padding = 1 } }, \"batch-norm\"] } }, \"relu\", \
    \"global-average-pool\"]";
