//! Versions that differ in their exits only.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Fixture, model, name, snapshot};
use strata_package::{PackageError, Sealing, Store};
use strata_spec::{Dense, ExitCalibration, ExitThreshold, Head, Layer, Manifest, level_shapes};

fn calibration(level: &str, confidence: f64) -> ExitCalibration {
    ExitCalibration {
        thresholds: vec![ExitThreshold {
            level: name(level),
            confidence,
        }],
        epsilon: 0.01,
        delta: 0.05,
        method: "by hand".to_owned(),
        data: Vec::new(),
        rows: 1000,
        lost: 0.001,
        work: 0.5,
    }
}

/// The small model with an exit on its lower level.
fn add(fixture: &Fixture, sealing: Sealing) -> Manifest {
    let mut new = model([b"one", b"two"]);
    new.levels[0].architecture.head = Some(Head {
        task: name("parity"),
        layers: vec![Layer::Dense(Dense::new(2))],
        mirrored: false,
    });
    let levels: Vec<_> = new
        .levels
        .iter()
        .map(|level| level.architecture.clone())
        .collect();
    let shapes = level_shapes(&new.preparation.output_shape(), &levels).unwrap();
    for (level, shapes) in new.levels.iter_mut().zip(shapes) {
        level.shapes = shapes;
    }
    fixture.store.add(new, &fixture.identity, sealing).unwrap()
}

#[test]
fn a_calibrated_version_has_the_weights_of_its_parent_and_stores_no_blob() {
    let other = Fixture::new();
    for sealing in [
        Sealing::Own,
        Sealing::Recipients(vec![other.identity.recipient()]),
    ] {
        let fixture = Fixture::new();
        let parent = add(&fixture, sealing);
        let blobs = fixture.blobs();
        let exits = calibration("low", 0.875);
        let added = fixture
            .store
            .add_calibrated(&parent, "# New\n", exits.clone(), &fixture.identity)
            .unwrap();
        assert_eq!(
            (added.version, added.lineage.parent),
            (2, Some(parent.version))
        );
        assert_eq!(added.exits, Some(exits));
        assert_eq!(added.levels, parent.levels);
        assert_eq!(fixture.blobs(), blobs);
        let selector = common::select("tiny");
        let access = fixture.identity.access();
        let read = fixture.store.manifest(&selector, &access).unwrap();
        assert_eq!((read.manifest, &*read.card), (added, "# New\n"));
        assert!(read.signed);
    }
}

#[test]
fn the_parent_may_go_and_the_calibrated_version_stays_whole() {
    let fixture = Fixture::new();
    let parent = add(&fixture, Sealing::Own);
    let exits = calibration("low", 1.0);
    let add = |store: &Store| store.add_calibrated(&parent, "", exits.clone(), &fixture.identity);
    add(&fixture.store).unwrap();
    fixture.store.remove(&name("tiny"), 1).unwrap();
    let opened = fixture.open("tiny@2").unwrap();
    assert_eq!(*opened.weights[1], b"two");
    let error = add(&fixture.store).unwrap_err();
    assert!(matches!(error, PackageError::NoVersion { version: 1, .. }));
}

#[test]
fn exits_that_are_not_the_models_are_refused_and_nothing_changes() {
    let fixture = Fixture::new();
    let parent = add(&fixture, Sealing::Own);
    let before = snapshot(fixture.store.path());
    let check = |exits: ExitCalibration, words: &str| {
        let added = fixture
            .store
            .add_calibrated(&parent, "", exits, &fixture.identity);
        let error = added.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(snapshot(fixture.store.path()) == before);
    };
    check(
        calibration("top", 0.5),
        "exits.thresholds[0].level: `top` is no exit",
    );
    check(
        calibration("none", 0.5),
        "exits.thresholds[0].level: `none` is no exit",
    );
    check(
        calibration("low", 1.5),
        "exits.thresholds[0].confidence: expected 0 to 1, found 1.5",
    );
    let mut twice = calibration("low", 0.5);
    twice.thresholds.push(twice.thresholds[0].clone());
    check(twice, "exits.thresholds[1].level: `low` is no exit");
    let mut never = calibration("low", 0.5);
    never.epsilon = 0.0;
    check(never, "exits.epsilon: expected more than 0");
}
