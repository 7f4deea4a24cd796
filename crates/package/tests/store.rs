//! Versions, aliases and blobs.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::{collections::BTreeMap, fs};

use common::{Fixture, model, name, select, snapshot};
use strata_package::{ModelEntry, PackageError, Sealing, Store};

#[test]
fn what_was_added_comes_back() {
    let fixture = Fixture::new();
    let added = fixture.add([b"low weights", b"top weights"]);
    let opened = fixture.open("tiny").unwrap();
    assert_eq!(opened.manifest, added);
    assert_eq!((added.version, added.levels.len()), (1, 2));
    assert_eq!(
        opened
            .weights
            .iter()
            .map(|weights| weights.as_slice())
            .collect::<Vec<_>>(),
        [b"low weights", b"top weights"]
    );
    assert_eq!(opened.card, "# Tiny\n");
    assert!(opened.signed);
    for level in &added.levels {
        assert!(level.blob.sealed && level.blob.digest != level.blob.plain);
    }
    assert!(!format!("{opened:?}").contains("weights: ["));
}

#[test]
fn no_plain_weights_reach_the_disk() {
    let fixture = Fixture::new();
    fixture.add([b"a secret of some length", b"another secret"]);
    for (path, content) in snapshot(fixture.store.path()) {
        let has = |secret: &[u8]| content.windows(secret.len()).any(|window| window == secret);
        assert!(!has(b"secret"), "{} holds weights", path.display());
    }
}

#[test]
fn a_selector_means_a_number_an_alias_or_the_highest_version() {
    let fixture = Fixture::new();
    for content in [b"1", b"2", b"3"] {
        fixture.add([content, b"top"]);
    }
    fixture
        .store
        .set_alias(&name("tiny"), &name("stable"), 2)
        .unwrap();
    for (selector, weights) in [("tiny", b"3"), ("tiny@1", b"1"), ("tiny:stable", b"2")] {
        assert_eq!(
            **fixture.open(selector).unwrap().weights[0],
            *weights,
            "{selector}"
        );
    }
    let error = |selector| fixture.open(selector).unwrap_err().to_string();
    assert!(error("tiny@4").ends_with("no version 4 of model `tiny`"));
    assert!(error("tiny:canary").ends_with("no alias `canary` of model `tiny`"));
    assert!(error("other").ends_with("no model `other`"));
}

#[test]
fn a_version_that_replaces_one_level_stores_one_new_blob() {
    let fixture = Fixture::new();
    for sealing in [Sealing::Own, Sealing::Plain] {
        let add = |weights| {
            fixture
                .store
                .add(model(weights), &fixture.identity, sealing.clone())
                .unwrap()
        };
        let before = fixture.blobs().len();
        let first = add([b"low", b"top"]);
        assert_eq!(fixture.blobs().len(), before + 2);
        let second = add([b"low", b"new top"]);
        assert_eq!(fixture.blobs().len(), before + 3);
        assert_eq!(first.levels[0].blob, second.levels[0].blob);
        assert_ne!(first.levels[1].blob, second.levels[1].blob);
    }
    assert_eq!(**fixture.open("tiny@2").unwrap().weights[1], *b"new top");
}

#[test]
fn models_share_blobs_and_the_store_says_which() {
    let fixture = Fixture::new();
    let first = fixture.add([b"low", b"top"]);
    fixture.add([b"low", b"new top"]);
    let mut other = model([b"low", b"top"]);
    other.name = name("other");
    other.levels[0].architecture.name = name("bottom");
    let other = fixture
        .store
        .add(other, &fixture.identity, Sealing::Own)
        .unwrap();
    assert_eq!(fixture.blobs().len(), 3);
    assert_eq!(other.levels[0].blob, first.levels[0].blob);
    let users = fixture.store.blob_users().unwrap();
    let of = |level: usize| {
        let users = users[&first.levels[level].blob.digest].iter();
        users
            .map(|(name, version)| format!("{name}@{version}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), ["other@1", "tiny@1", "tiny@2"]);
    assert_eq!(of(1), ["other@1", "tiny@1"]);
    // It stays as long as anyone has it.
    fixture.store.remove(&name("tiny"), 1).unwrap();
    assert_eq!(**fixture.open("other").unwrap().weights[0], *b"low");
}

#[cfg(unix)]
#[test]
fn a_level_is_a_hard_link_of_its_blob() {
    use std::os::unix::fs::MetadataExt;
    let fixture = Fixture::new();
    let manifest = fixture.add([b"low", b"top"]);
    fixture.add([b"low", b"new top"]);
    let blob = fixture
        .store
        .path()
        .join("blobs/sha256")
        .join(manifest.levels[0].blob.digest.hex());
    let inode = fs::metadata(&blob).unwrap().ino();
    for version in [1, 2] {
        let level = fixture.version(version).join("levels/low.safetensors.age");
        assert_eq!(fs::metadata(level).unwrap().ino(), inode);
    }
}

#[test]
fn weights_sealed_for_another_identity_are_not_shared() {
    let fixture = Fixture::new();
    let other = Fixture::new();
    fixture.add([b"low", b"top"]);
    fixture
        .store
        .add(model([b"low", b"top"]), &other.identity, Sealing::Own)
        .unwrap();
    assert_eq!(fixture.blobs().len(), 4);
    assert_eq!(
        **fixture
            .open_with("tiny@2", &other.identity.access())
            .unwrap()
            .weights[0],
        *b"low"
    );
}

#[test]
fn a_damaged_blob_is_not_shared() {
    let fixture = Fixture::new();
    let first = fixture.add([b"low", b"top"]);
    let blob = fixture
        .store
        .path()
        .join("blobs/sha256")
        .join(first.levels[0].blob.digest.hex());
    common::overwrite(&blob, b"nonsense");
    let second = fixture.add([b"low", b"top"]);
    assert_ne!(first.levels[0].blob, second.levels[0].blob);
    assert_eq!(**fixture.open("tiny@2").unwrap().weights[0], *b"low");

    let plain = || {
        fixture
            .store
            .add(model([b"low", b"top"]), &fixture.identity, Sealing::Plain)
            .unwrap()
    };
    let third = plain();
    let blob = fixture
        .store
        .path()
        .join("blobs/sha256")
        .join(third.levels[0].blob.digest.hex());
    common::overwrite(&blob, b"nonsense");
    plain();
    assert_eq!(fs::read(blob).unwrap(), b"low");
}

#[test]
fn concurrent_adds_give_distinct_versions() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let fixture = &fixture;
            // A store of its own, as another process would have.
            let store = Store::open(fixture.store.path()).unwrap();
            scope.spawn(move || {
                for round in 0..3 {
                    let weights = [thread, round];
                    store
                        .add(model([&weights, b"top"]), &fixture.identity, Sealing::Own)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        fixture.store.versions(&name("tiny")).unwrap(),
        (1..=24).collect::<Vec<u64>>()
    );
    let mut seen = std::collections::BTreeSet::new();
    for version in 1..=24 {
        seen.insert(fixture.open(&format!("tiny@{version}")).unwrap().weights[0].to_vec());
    }
    assert_eq!(seen.len(), 24);
    assert_eq!(fixture.blobs().len(), 25);
}

#[test]
fn models_are_listed_with_their_versions_and_aliases() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.models().unwrap(), []);
    fixture.add([b"low", b"top"]);
    fixture.add([b"low", b"top 2"]);
    fixture
        .store
        .set_alias(&name("tiny"), &name("stable"), 1)
        .unwrap();
    let aliases = BTreeMap::from([(name("stable"), 1)]);
    let expected = ModelEntry {
        name: name("tiny"),
        versions: vec![1, 2],
        aliases,
    };
    assert_eq!(fixture.store.models().unwrap(), [expected]);
}

#[test]
fn an_alias_moves_and_goes() {
    let fixture = Fixture::new();
    let (tiny, stable) = (name("tiny"), name("stable"));
    fixture.add([b"low", b"top"]);
    fixture.add([b"low", b"top 2"]);
    for version in [1, 2] {
        fixture.store.set_alias(&tiny, &stable, version).unwrap();
        assert_eq!(
            fixture.store.resolve(&select("tiny:stable")).unwrap(),
            version
        );
    }
    assert!(matches!(
        fixture.store.set_alias(&tiny, &stable, 3),
        Err(PackageError::NoVersion { version: 3, .. })
    ));
    fixture.store.remove_alias(&tiny, &stable).unwrap();
    assert!(matches!(
        fixture.store.remove_alias(&tiny, &stable),
        Err(PackageError::NoAlias { .. })
    ));
    assert!(!fixture.store.path().join(".tmp").exists());
}

#[test]
fn a_removed_version_takes_its_own_blobs_along_and_its_number_stays_taken() {
    let fixture = Fixture::new();
    let tiny = name("tiny");
    fixture.add([b"low", b"top"]);
    fixture.add([b"low", b"top 2"]);
    fixture.store.set_alias(&tiny, &name("stable"), 2).unwrap();
    assert!(matches!(
        fixture.store.remove(&tiny, 2),
        Err(PackageError::AliasInUse { .. })
    ));
    fixture.store.remove_alias(&tiny, &name("stable")).unwrap();

    fixture.store.remove(&tiny, 2).unwrap();
    assert_eq!(fixture.blobs().len(), 2);
    assert_eq!(**fixture.open("tiny").unwrap().weights[0], *b"low");
    assert!(matches!(
        fixture.store.remove(&tiny, 2),
        Err(PackageError::NoVersion { .. })
    ));
    assert_eq!(fixture.add([b"low", b"top 3"]).version, 3);

    fixture.store.remove(&tiny, 1).unwrap();
    fixture.store.remove(&tiny, 3).unwrap();
    assert_eq!(
        (fixture.blobs().len(), fixture.store.models().unwrap().len()),
        (0, 0)
    );
    assert_eq!(fixture.add([b"low", b"top"]).version, 4);
}

#[test]
fn blobs_stay_while_a_manifest_cannot_be_read() {
    let fixture = Fixture::new();
    for content in [b"1", b"2"] {
        fixture.add([content, content]);
    }
    common::overwrite(&fixture.version(1).join("manifest.json"), b"{}");
    fixture.store.remove(&name("tiny"), 2).unwrap();
    assert_eq!(fixture.blobs().len(), 4);
}

#[test]
fn a_version_that_contradicts_itself_is_not_added() {
    let fixture = Fixture::new();
    let before = snapshot(fixture.store.path());
    let refuse = |change: &dyn Fn(&mut strata_package::NewVersion)| {
        let mut new = model([b"low", b"top"]);
        change(&mut new);
        let result = fixture.store.add(new, &fixture.identity, Sealing::Own);
        assert!(
            matches!(result, Err(PackageError::Manifest { .. })),
            "{result:?}"
        );
        assert_eq!(snapshot(fixture.store.path()), before);
    };
    refuse(&|new| new.levels.truncate(1));
    refuse(&|new| new.levels[0].shapes.output = vec![4]);
    refuse(&|new| new.tasks.clear());
    refuse(&|new| new.metrics.extend([("test.loss".to_owned(), f64::NAN)]));
}

#[test]
fn a_folder_that_is_no_store_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(PackageError::NoStore { .. })
    ));
    Store::create_if_missing(folder.path()).unwrap();
    Store::create_if_missing(folder.path()).unwrap();
    Store::open(folder.path()).unwrap();
}
