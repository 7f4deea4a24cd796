//! A training that was stopped goes on to the same bytes as one that was not.

#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;

use common::{CONVOLUTIONAL, check_resume, data, recipe, uninterrupted};
use strata_data::Dataset;
use strata_spec::{Digest, Precision};
use strata_train::{EventKind, Run, TrainError, train};

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
fn a_training_with_augmented_rows_resumes_to_the_same_bytes() {
    let augmentation = "data.augmentation=[\"flip\", { random-resized-crop = {} }, { crop = { padding = 1 } }, \
                        { rand-augment = {} }, { cutout = { size = 2 } }]";
    check_resume(&[augmentation], &[1, 12, 30]);
    let place = tempfile::tempdir().unwrap();
    let plain = uninterrupted(&place.path().join("plain"), &[]);
    let augmented = uninterrupted(&place.path().join("augmented"), &[augmentation]);
    assert_ne!(plain.weights, augmented.weights);
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
fn a_training_that_diverges_says_what_to_change() {
    let place = tempfile::tempdir().unwrap();
    let fails = |name: &str, setting: &str| {
        let mut run =
            Run::create(&place.path().join(name), recipe(&[setting]), place.path()).unwrap();
        train(&mut run, data(), &|| false, &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    let mut run = Run::create(
        &place.path().join("stopping"),
        recipe(&[
            "data={source=\"./photos\"}",
            "train.early_stopping={patience=1}",
        ]),
        place.path(),
    )
    .unwrap();
    let error = train(&mut run, data(), &|| false, &mut |_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("needs validation rows, and the data has none"),
        "{error}"
    );
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
