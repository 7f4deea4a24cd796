//! Who may open what.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::fs;

use common::{Fixture, model, select};
use strata_package::{Access, Identity, Opener, PackageError, Sealing};

/// Opens a package of `fixture` with a changed access.
fn open_with(fixture: &Fixture, change: impl Fn(&mut Access)) -> Result<(), String> {
    let mut access = fixture.identity.access();
    change(&mut access);
    fixture
        .open_with("tiny", &access)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn a_sealed_package_needs_its_identity() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.add([b"low", b"top"]);
    let everything =
        |access: &mut Access| (access.allow_unsigned, access.allow_unsealed) = (true, true);

    let error = open_with(&fixture, |access| {
        everything(access);
        access.opener = Opener::default();
    });
    let error = error.unwrap_err();
    assert!(
        error.contains("levels/low.safetensors.age: sealed, and there is no age identity"),
        "{error}"
    );
    assert!(error.contains("STRATA_AGE_KEY"), "{error}");

    let error = open_with(&fixture, |access| {
        everything(access);
        access.opener = other.identity.access().opener;
    });
    let error = error.unwrap_err();
    assert!(
        error.contains("levels/low.safetensors.age: sealed for another identity"),
        "{error}"
    );
}

#[test]
fn a_signed_package_needs_its_key() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.add([b"low", b"top"]);

    let error = open_with(&fixture, |access| access.verifier = None).unwrap_err();
    assert!(
        error.contains("model.sig: no signing key to check it with"),
        "{error}"
    );

    // A signature that can be checked and does not hold is refused even where unsigned packages are
    // allowed.
    for allow_unsigned in [false, true] {
        let error = open_with(&fixture, |access| {
            access.verifier = Some(other.identity.verifier());
            access.allow_unsigned = allow_unsigned;
        });
        let error = error.unwrap_err();
        assert!(
            error.contains("model.sig: signed with another key"),
            "{error}"
        );
    }
}

#[test]
fn an_unsigned_package_needs_the_flag() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    fs::remove_file(fixture.version(1).join("model.sig")).unwrap();
    let error = open_with(&fixture, |_| ()).unwrap_err();
    assert!(
        error.contains("model.sig: missing, so the package is unsigned"),
        "{error}"
    );
    assert!(open_with(&fixture, |access| access.allow_unsealed = true).is_err());

    let mut access = fixture.identity.access();
    access.allow_unsigned = true;
    let opened = fixture.open_with("tiny", &access).unwrap();
    assert!(!opened.signed);
    assert_eq!(**opened.weights[0], *b"low");
}

#[test]
fn an_unsigned_package_still_has_the_files_that_its_manifest_names() {
    let check = |change: &dyn Fn(&std::path::Path)| {
        let fixture = Fixture::new();
        fixture.add([b"low", b"top"]);
        let folder = fixture.version(1);
        fs::remove_file(folder.join("model.sig")).unwrap();
        change(&folder);
        open_with(&fixture, |access| access.allow_unsigned = true).unwrap_err()
    };
    check(&|folder| fs::write(folder.join("levels/extra"), "x").unwrap());
    check(&|folder| common::overwrite(&folder.join("levels/low.safetensors.age"), b"x"));
    check(&|folder| fs::remove_file(folder.join("levels/low.safetensors.age")).unwrap());
    check(&|folder| fs::remove_file(folder.join("card.md")).unwrap());
}

#[test]
fn an_unsealed_package_needs_the_flag() {
    let fixture = Fixture::new();
    let manifest = fixture
        .store
        .add(model([b"low", b"top"]), &fixture.identity, Sealing::Plain)
        .unwrap();
    assert!(
        manifest
            .levels
            .iter()
            .all(|level| !level.blob.sealed && level.blob.digest == level.blob.plain)
    );
    let error = open_with(&fixture, |_| ()).unwrap_err();
    assert!(
        error.contains("levels/low.safetensors: not sealed"),
        "{error}"
    );
    assert!(open_with(&fixture, |access| access.allow_unsigned = true).is_err());
    open_with(&fixture, |access| {
        access.allow_unsealed = true;
        access.opener = Opener::default();
    })
    .unwrap();
    fixture
        .store
        .verify(&select("tiny"), &fixture.identity.access())
        .unwrap();
}

#[test]
fn an_identity_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let identity = Identity::init(&path).unwrap();
    assert!(matches!(
        Identity::init(&path),
        Err(PackageError::KeyExists { .. })
    ));
    assert_eq!(
        Identity::load(&path).unwrap().recipient(),
        identity.recipient()
    );
    for file in ["age.key", "signing.key", "age.pub"] {
        fs::remove_file(path.join(file)).unwrap();
    }
    assert!(matches!(
        Identity::init(&path),
        Err(PackageError::KeyExists { .. })
    ));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn a_damaged_key_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    Identity::init(&path).unwrap();
    for file in ["age.key", "signing.key"] {
        let key = path.join(file);
        let content = fs::read_to_string(&key).unwrap();
        let secret = &content[content.len() - 80..content.len() - 40];
        fs::write(
            &key,
            content.replace(secret, &secret.to_lowercase().replace('q', "b")),
        )
        .unwrap();
        let error = Identity::load(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: not a", key.display())),
            "{error}"
        );
        assert!(!format!("{error:?}").contains(secret));
        fs::write(&key, content).unwrap();
    }
    Identity::load(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn secret_keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/identity");
    Identity::init(&path).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    for file in ["age.key", "signing.key"] {
        let key = path.join(file);
        assert_eq!(mode(&key), 0o600);
        for open in [0o640, 0o604, 0o644] {
            fs::set_permissions(&key, fs::Permissions::from_mode(open)).unwrap();
            let error = Identity::load(&path).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("run `chmod 600 {}`", key.display())),
                "{error}"
            );
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        Identity::load(&path).unwrap();
    }

    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Identity::init(&shared),
        Err(PackageError::KeyWritable { mode: 0o777, .. })
    ));
}
