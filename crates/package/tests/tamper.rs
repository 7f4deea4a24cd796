//! Whatever is changed in a package, it is refused.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::{fs, path::Path};

use common::{Fixture, overwrite, select};
use proptest::{prelude::*, sample::Index};
use strata_package::{Opener, PackageError};

const FILES: [&str; 5] = [
    "manifest.json",
    "card.md",
    "model.sig",
    "levels/low.safetensors.age",
    "levels/top.safetensors.age",
];

/// Changes a fresh package with `change` and returns the error of opening it.
fn refuse(change: impl Fn(&Fixture, &Path)) -> PackageError {
    let fixture = Fixture::new();
    fixture.add([b"low weights", b"top weights"]);
    let folder = fixture.version(1);
    fixture.open("tiny").unwrap();
    change(&fixture, &folder);
    fixture
        .open("tiny")
        .expect_err("a changed package was opened")
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let fixture = Fixture::new();
    fixture.add([b"low weights", b"top weights"]);
    let config = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(file in prop::sample::select(&FILES[..]), position: Index, mask in 1..=255_u8)| {
        let path = fixture.version(1).join(file);
        let original = fs::read(&path).unwrap();
        let mut changed = original.clone();
        changed[position.index(original.len())] ^= mask;
        overwrite(&path, &changed);
        let result = fixture.open("tiny");
        overwrite(&path, &original);
        prop_assert!(result.is_err(), "{file} was taken with a byte flipped");
        fixture.open("tiny").unwrap();
    });
}

#[test]
fn every_byte_of_the_signature_counts() {
    let fixture = Fixture::new();
    fixture.add([b"low weights", b"top weights"]);
    let path = fixture.version(1).join("model.sig");
    let original = fs::read(&path).unwrap();
    for position in 0..original.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut changed = original.clone();
            changed[position] ^= mask;
            overwrite(&path, &changed);
            assert!(
                fixture.open("tiny").is_err(),
                "byte {position} flipped with {mask:#x} was taken"
            );
        }
    }
}

#[test]
fn a_cut_or_empty_file_is_refused() {
    for file in FILES {
        for keep in [0, 1, usize::MAX] {
            refuse(|_, folder| {
                let path = folder.join(file);
                let bytes = fs::read(&path).unwrap();
                overwrite(&path, &bytes[..keep.min(bytes.len() - 1)]);
            });
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in FILES {
        let error = refuse(|_, folder| fs::remove_file(folder.join(file)).unwrap());
        assert!(
            error.to_string().contains(&format!("{file}: missing")),
            "{error}"
        );
    }
}

#[test]
fn an_extra_file_is_named() {
    for file in [
        ".git",
        "README.md",
        "levels/extra.safetensors.age",
        "levels/.hidden",
    ] {
        let error = refuse(|_, folder| fs::write(folder.join(file), "x").unwrap());
        assert!(
            error
                .to_string()
                .ends_with(&format!("{file}: does not belong to the package")),
            "{error}"
        );
    }
}

#[test]
fn an_extra_folder_is_refused() {
    refuse(|_, folder| fs::create_dir(folder.join("more")).unwrap());
    refuse(|_, folder| fs::create_dir(folder.join("levels/more")).unwrap());
    refuse(|_, folder| {
        fs::remove_file(folder.join("card.md")).unwrap();
        fs::create_dir(folder.join("card.md")).unwrap();
    });
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_refused_even_to_the_right_content() {
    use std::os::unix::fs::symlink;
    for file in FILES.iter().chain(&["levels"]) {
        let error = refuse(|fixture, folder| {
            let elsewhere = fixture.folder.path().join("elsewhere");
            fs::rename(folder.join(file), &elsewhere).unwrap();
            symlink(&elsewhere, folder.join(file)).unwrap();
        });
        assert!(matches!(error, PackageError::Irregular { .. }), "{error}");
    }
    let error = refuse(|fixture, folder| {
        let elsewhere = fixture.folder.path().join("elsewhere");
        fs::rename(folder, &elsewhere).unwrap();
        symlink(&elsewhere, folder).unwrap();
    });
    assert!(matches!(error, PackageError::Irregular { .. }), "{error}");
}

#[test]
fn a_level_of_another_version_is_refused() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    fixture.add([b"new low", b"new top"]);
    let file = "levels/low.safetensors.age";
    let other = fs::read(fixture.version(2).join(file)).unwrap();
    overwrite(&fixture.version(1).join(file), &other);
    let error = fixture.open("tiny@1").unwrap_err();
    assert!(
        error.to_string().contains("1/levels/low.safetensors.age: "),
        "{error}"
    );
    fixture.open("tiny@2").unwrap();
}

#[test]
fn levels_that_changed_places_are_refused() {
    let error = refuse(|fixture, folder| {
        let [low, top] =
            ["low", "top"].map(|level| folder.join(format!("levels/{level}.safetensors.age")));
        let between = fixture.folder.path().join("between");
        fs::rename(&low, &between).unwrap();
        fs::rename(&top, &low).unwrap();
        fs::rename(&between, &top).unwrap();
    });
    assert!(
        error.to_string().contains("levels/low.safetensors.age: "),
        "{error}"
    );
}

#[test]
fn a_version_in_the_place_of_another_is_refused() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    fixture.add([b"new low", b"new top"]);
    fs::remove_dir_all(fixture.version(2)).unwrap();
    fs::rename(fixture.version(1), fixture.version(2)).unwrap();
    let error = fixture.open("tiny").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is tiny@1, but lies where tiny@2 should be"),
        "{error}"
    );

    let models = fixture.store.path().join("models");
    fs::rename(fixture.version(2), fixture.version(1)).unwrap();
    fs::rename(models.join("tiny"), models.join("other")).unwrap();
    let error = fixture.open("other").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is tiny@1, but lies where other@1 should be"),
        "{error}"
    );
}

#[test]
fn a_signature_of_another_version_is_refused() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    fixture.add([b"new low", b"new top"]);
    let other = fs::read(fixture.version(2).join("model.sig")).unwrap();
    overwrite(&fixture.version(1).join("model.sig"), &other);
    assert!(matches!(
        fixture.open("tiny@1"),
        Err(PackageError::Digest { .. })
    ));
}

#[test]
fn checking_without_opening_finds_the_same() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    let mut access = fixture.identity.access();
    access.opener = Opener::default();
    fixture.store.verify(&select("tiny"), &access).unwrap();
    let level = fixture.version(1).join("levels/top.safetensors.age");
    overwrite(&level, b"changed");
    let error = fixture.store.verify(&select("tiny"), &access).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("levels/top.safetensors.age: its digest is "),
        "{error}"
    );
    // Only the head is looked at here; which weights belong to it is signed all the same.
    fixture.store.manifest(&select("tiny"), &access).unwrap();
    overwrite(&fixture.version(1).join("card.md"), b"changed");
    assert!(fixture.store.manifest(&select("tiny"), &access).is_err());
}
