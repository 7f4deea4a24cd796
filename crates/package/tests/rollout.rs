//! Rollouts in the store.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::fs;

use common::{Fixture, name};
use strata_package::{Bounds, Ended, Figures, Outcome, PackageError, Rollout, RolloutMode};

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    for content in [b"1", b"2", b"3"] {
        fixture.add([content, b"top"]);
    }
    fixture
        .store
        .set_alias(&name("tiny"), &name("stable"), 1)
        .unwrap();
    fixture
}

fn split(percent: f64) -> RolloutMode {
    RolloutMode::Split(percent.try_into().unwrap())
}

fn start(
    fixture: &Fixture,
    to: u64,
    mode: RolloutMode,
    bounds: Bounds,
) -> Result<Rollout, PackageError> {
    let (tiny, stable) = (name("tiny"), name("stable"));
    let sticky = matches!(mode, RolloutMode::Split(_)).then(|| "x-user".to_owned());
    fixture
        .store
        .start_rollout(&tiny, &stable, to, mode, sticky, bounds, Some(500))
}

fn stable(fixture: &Fixture) -> u64 {
    fixture.store.aliases(&name("tiny")).unwrap()[&name("stable")]
}

#[test]
fn a_rollout_is_kept_changed_and_promoted() {
    let fixture = fixture();
    let (store, tiny) = (&fixture.store, name("tiny"));
    assert_eq!(store.rollout(&tiny).unwrap(), None);
    let started = start(&fixture, 3, split(5.0), Bounds::default()).unwrap();
    assert_eq!((started.from, started.to), (1, 3));
    assert_eq!(store.rollout(&tiny).unwrap().unwrap(), started);
    let refused = start(&fixture, 2, split(5.0), Bounds::default()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("from version 1 to 3 is under way"),
        "{refused}"
    );

    let removed = store.remove(&tiny, 3).unwrap_err().to_string();
    assert!(
        removed.contains("a rollout to version 3 is under way"),
        "{removed}"
    );
    let changed = store
        .set_rollout_percent(&tiny, 12.5.try_into().unwrap())
        .unwrap();
    assert_eq!(
        changed,
        Rollout {
            mode: split(12.5),
            ..started
        }
    );
    assert_eq!(stable(&fixture), 1);
    let promoted = store.promote_rollout(&tiny).unwrap();
    assert_eq!(promoted.ended.as_ref().unwrap().outcome, Outcome::Promoted);
    assert_eq!(stable(&fixture), 3);
    assert_eq!(store.rollout(&tiny).unwrap(), Some(promoted));
    let again = store.promote_rollout(&tiny).unwrap_err().to_string();
    assert!(
        again.ends_with("the rollout was promoted: by hand"),
        "{again}"
    );
    // The next one may begin, with another name for itself.
    let next = start(&fixture, 2, split(5.0), Bounds::default()).unwrap();
    assert_ne!(next.id, changed.id);
    store.abort_rollout(&tiny).unwrap();
    assert_eq!((store.rollout(&tiny).unwrap(), stable(&fixture)), (None, 3));
    let none = store.abort_rollout(&tiny).unwrap_err().to_string();
    assert!(none.ends_with("there is no rollout"), "{none}");
}

#[test]
fn what_a_server_decided_is_recorded_once() {
    let fixture = fixture();
    let (store, tiny) = (&fixture.store, name("tiny"));
    let started = start(&fixture, 2, split(50.0), Bounds::default()).unwrap();
    let ended = |outcome, reason: &str| Ended {
        outcome,
        at: "2026-01-01T00:00:00Z".to_owned(),
        reason: reason.to_owned(),
        figures: Some(Figures::default()),
    };
    let back = ended(Outcome::RolledBack, "too many errors");
    assert!(store.end_rollout(&tiny, "0123456789abcdef", &back).unwrap());
    assert_eq!(
        store.rollout(&tiny).unwrap().unwrap().ended,
        None,
        "another one is meant"
    );
    assert!(store.end_rollout(&tiny, &started.id, &back).unwrap());
    // A second server decides otherwise, and too late.
    assert!(
        store
            .end_rollout(&tiny, &started.id, &ended(Outcome::Promoted, "late"))
            .unwrap()
    );
    let found = store.rollout(&tiny).unwrap().unwrap();
    assert_eq!((found.ended, stable(&fixture)), (Some(back), 1));
    let error = store.promote_rollout(&tiny).unwrap_err().to_string();
    assert!(error.contains("rolled back: too many errors"), "{error}");

    let next = start(&fixture, 2, split(50.0), Bounds::default()).unwrap();
    assert!(
        store
            .end_rollout(&tiny, &next.id, &ended(Outcome::Promoted, "500 requests"))
            .unwrap()
    );
    assert_eq!(stable(&fixture), 2);
}

#[test]
fn what_contradicts_itself_is_refused_and_nothing_is_written() {
    let fixture = fixture();
    let check = |to, mode, bounds, words: &str| {
        let error = start(&fixture, to, mode, bounds).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(fixture.store.rollout(&name("tiny")).unwrap(), None);
    };
    let good = Bounds::default();
    check(4, split(5.0), good, "no version 4");
    check(1, split(5.0), good, "cannot take its own place");
    check(
        2,
        split(5.0),
        Bounds {
            errors: 1.5,
            ..good
        },
        "expected 0 to 1, found 1.5",
    );
    check(
        2,
        split(5.0),
        Bounds {
            latency: 0.0,
            ..good
        },
        "expected more than 0",
    );
    check(
        2,
        split(5.0),
        Bounds {
            requests: 0,
            ..good
        },
        "expected 1 or more",
    );
    check(
        2,
        split(5.0),
        Bounds {
            requests: 501,
            ..good
        },
        "(501) or more, found 500",
    );
    check(
        2,
        split(5.0),
        Bounds {
            agreement: Some(0.9),
            ..good
        },
        "only copies",
    );
    let shadow = RolloutMode::Shadow(100.0.try_into().unwrap());
    check(
        2,
        shadow,
        Bounds {
            agreement: Some(f64::NAN),
            ..good
        },
        "found NaN",
    );
    let error =
        fixture
            .store
            .start_rollout(&name("tiny"), &name("none"), 2, shadow, None, good, None);
    assert!(matches!(error, Err(PackageError::NoAlias { .. })));
    for percent in [-0.01, 100.01, 0.001, f64::NAN] {
        assert!(
            strata_package::Percent::try_from(percent).is_err(),
            "{percent}"
        );
    }
}

#[test]
fn a_damaged_file_is_named_and_can_be_taken_away() {
    let fixture = fixture();
    let (store, tiny) = (&fixture.store, name("tiny"));
    let path = store.path().join("models/tiny/rollout.json");
    start(&fixture, 2, split(5.0), Bounds::default()).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "{".to_owned(),
        good.replace("5.0", "500.0"),
        good.replace("\"to\": 2", "\"to\": 1"),
        good.replace("x-user", "X User"),
        good.replace("\"bounds\"", "\"bound\""),
        " ".repeat(65 << 10),
    ] {
        fs::write(&path, &bad).unwrap();
        let error = store.rollout(&tiny).unwrap_err().to_string();
        assert!(error.contains("rollout.json"), "{error}");
    }
    store.abort_rollout(&tiny).unwrap();
    assert_eq!(store.rollout(&tiny).unwrap(), None);
}
