//! A training that was stopped goes on to the same bytes as one that was not.

#![allow(clippy::unwrap_used)]

use std::{cell::Cell, path::Path};

use strata_data::{Dataset, Images};
use strata_spec::{DataDigest, Digest, Precision, Recipe};
use strata_train::{EventKind, Outcome, Run, TrainError, Trained, train};

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

fn recipe(overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Recipe::parse(RECIPE, "small.toml", &overrides).unwrap()
}

/// Images whose class can be seen from where they are bright.
fn data() -> Dataset {
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
        }
    };
    let digest = DataDigest {
        name: "made".to_owned(),
        digest: Digest::from_bytes([7; 32]),
    };
    Dataset {
        train: images(200, 1),
        test: images(60, 2),
        source: "made".to_owned(),
        digests: vec![digest],
    }
}

fn finished(outcome: Outcome) -> Trained {
    match outcome {
        Outcome::Finished(trained) => *trained,
        Outcome::Stopped { step } => panic!("stopped after step {step}"),
    }
}

fn uninterrupted(folder: &Path, overrides: &[&str]) -> Trained {
    let mut run = Run::create(folder, recipe(overrides), folder).unwrap();
    finished(train(&mut run, data(), &|| false, &mut |_| ()).unwrap())
}

/// Stops after each of `stops` steps, resumes, and expects the very run that was never stopped.
fn check_resume(overrides: &[&str], stops: &[u64]) {
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
const CONVOLUTIONAL: &str = "levels[0].layers=[{ conv = { channels = 4, kernel = 3, padding = 1 } }, \"batch-norm\", \"relu\", \
    { residual = { layers = [{ conv = { channels = 4, kernel = 3, padding = 1 } }, \"batch-norm\"] } }, \"relu\", \
    \"global-average-pool\"]";

#[test]
fn a_convolutional_network_resumes_to_the_same_bytes() {
    for precision in ["train.precision=f32", "train.precision=bf16"] {
        check_resume(&[CONVOLUTIONAL, precision], &[5, 12, 30]);
    }
}

#[test]
fn a_run_says_in_which_precision_it_learned() {
    let place = tempfile::tempdir().unwrap();
    let trained = uninterrupted(
        &place.path().join("bf16"),
        &[CONVOLUTIONAL, "train.precision=bf16"],
    );
    assert_eq!(trained.precision, Precision::Bf16);
    let trained = uninterrupted(&place.path().join("auto"), &[]);
    assert_eq!(
        trained.precision,
        strata_nn::resolve_precision(Precision::Auto)
    );
}

#[test]
fn a_resumed_training_gives_the_same_bytes() {
    check_resume(&[], &[1]);
    check_resume(&[], &[10, 11, 25]);
    check_resume(
        &["train.optimizer={sgd={learning_rate=0.1,momentum=0.9,nesterov=true}}"],
        &[13],
    );
    check_resume(
        &["train.optimizer={adamw={}}", "train.clip.norm=0.5"],
        &[13],
    );
    check_resume(
        &[
            "train.early_stopping={patience=1,metric='accuracy'}",
            "train.epochs=9",
        ],
        &[12],
    );
}

#[test]
fn a_network_learns_and_leaves_a_whole_run() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let trained = uninterrupted(&folder, &["train.epochs=20"]);
    assert!(trained.test.accuracy > 0.9, "{}", trained.test.accuracy);
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(
        page.contains("Confusion matrix") && page.contains("<svg") && page.ends_with("</html>\n")
    );
    assert!(
        !page.contains("http://") || page.contains("www.w3.org/2000/svg"),
        "the page needs nothing else"
    );
    let run = Run::open(&folder).unwrap();
    assert!(matches!(
        run.events().unwrap().last().unwrap().kind,
        EventKind::Finished { .. }
    ));
}

#[test]
fn a_folder_takes_one_training() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let run = Run::create(&folder, recipe(&[]), place.path()).unwrap();
    assert!(matches!(
        Run::create(&folder, recipe(&[]), place.path()),
        Err(TrainError::RunExists(_))
    ));
    assert!(matches!(Run::open(&folder), Err(TrainError::RunBusy(_))));
    drop(run);
    assert!(Run::open(&folder).is_ok());
    assert!(matches!(
        Run::open(place.path()),
        Err(TrainError::NoRun { .. })
    ));
}

#[test]
fn what_cannot_be_learned_is_refused_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let fails = |name: &str, setting: &str| {
        let mut run =
            Run::create(&place.path().join(name), recipe(&[setting]), place.path()).unwrap();
        train(&mut run, data(), &|| false, &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    for strategy in ["deep-supervision", "local", "greedy", "staged"] {
        let expected =
            format!("train.strategy: `{strategy}` is not available yet; use `end-to-end`");
        assert_eq!(
            fails(strategy, &format!("train.strategy={strategy}")),
            expected
        );
    }
    let diverged = fails(
        "diverged",
        "train={epochs=90,optimizer={sgd={learning_rate=1e6,weight_decay=1000.0}}}",
    );
    assert!(
        diverged.contains("lower `train.optimizer.sgd.learning_rate`"),
        "{diverged}"
    );
}

#[test]
fn a_run_refuses_other_data_and_a_changed_recipe() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let stop_at_once = |run: &mut Run, data: Dataset| {
        let done = Cell::new(0);
        train(run, data, &|| done.get() >= 3, &mut |progress| {
            done.set(progress.step)
        })
    };
    let mut run = Run::create(&folder, recipe(&[]), place.path()).unwrap();
    stop_at_once(&mut run, data()).unwrap();
    let mut other = data();
    other.digests[0].digest = Digest::from_bytes([8; 32]);
    assert!(matches!(
        stop_at_once(&mut run, other),
        Err(TrainError::Data(_))
    ));
    drop(run);

    let file = folder.join("recipe.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("batch = 16", "batch = 15")).unwrap();
    let mut run = Run::open(&folder).unwrap();
    assert!(matches!(
        stop_at_once(&mut run, data()),
        Err(TrainError::Damaged { .. })
    ));
    drop(run);

    std::fs::write(&file, text).unwrap();
    let checkpoint = std::fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    let mut run = Run::open(&folder).unwrap();
    assert!(matches!(
        stop_at_once(&mut run, data()),
        Err(TrainError::Damaged { .. })
    ));
}
