//! For whom packages are sealed. Each use of a passphrase takes about a second, so there are few.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use common::{Fixture, model, select, snapshot};
use strata_package::{
    Access, AgeKey, Opener, PackageError, Passphrase, Recipient, SealError, Sealing,
};
use strata_spec::Manifest;

fn add(fixture: &Fixture, sealing: Sealing) -> Manifest {
    fixture
        .store
        .add(model([b"low", b"top"]), &fixture.identity, sealing)
        .unwrap()
}

/// Access to what the fixture signed, with this to open it.
fn access(fixture: &Fixture, opener: impl Into<Opener>) -> Access {
    Access {
        verifier: Some(fixture.identity.verifier()),
        opener: opener.into(),
        ..Access::default()
    }
}

/// What opening the newest version gives: its lower weights, or how the error ends after the file's name.
fn check(fixture: &Fixture, access: &Access, expected: Result<&[u8], &str>) {
    let opened = fixture.open_with("tiny", access);
    match (opened, expected) {
        (Ok(package), Ok(weights)) => assert_eq!(**package.weights[0], *weights),
        (Err(error), Err(end)) => {
            let error = error.to_string();
            let start = format!("levels/low.safetensors.age: {end}");
            assert!(error.contains(&start), "{error}");
        }
        (opened, expected) => panic!("{opened:?} is not {expected:?}"),
    }
}

#[test]
fn recipients_open_what_is_sealed_for_them_and_the_sealer_does_not() {
    let fixture = Fixture::new();
    let [server, second, other] = [(); 3].map(|()| AgeKey::generate());
    add(
        &fixture,
        Sealing::Recipients(vec![server.recipient(), second.recipient()]),
    );
    for key in [&server, &second] {
        check(&fixture, &access(&fixture, key.clone()), Ok(b"low"));
    }
    check(
        &fixture,
        &access(&fixture, other),
        Err("sealed for another identity"),
    );
    check(
        &fixture,
        &fixture.identity.access(),
        Err("sealed for another identity"),
    );

    let verify = |opener: Opener| {
        let access = access(&fixture, opener);
        fixture
            .store
            .verify(&select("tiny"), &access)
            .unwrap()
            .opened
    };
    assert!(verify(server.into()));
    // Without a key, all but the plain weights can be checked.
    assert!(!verify(Opener::default()));
}

#[test]
fn the_sealer_opens_what_it_sealed_for_itself_among_others() {
    let fixture = Fixture::new();
    let server = AgeKey::generate();
    let own = fixture.identity.recipient();
    add(&fixture, Sealing::Recipients(vec![server.recipient(), own]));
    check(&fixture, &access(&fixture, server), Ok(b"low"));
    check(&fixture, &fixture.identity.access(), Ok(b"low"));
}

#[test]
fn nothing_is_sealed_for_nobody() {
    let fixture = Fixture::new();
    let before = snapshot(fixture.store.path());
    let nobody = Sealing::Recipients(Vec::new());
    let result = fixture
        .store
        .add(model([b"low", b"top"]), &fixture.identity, nobody);
    assert!(
        matches!(
            result,
            Err(PackageError::Seal {
                source: SealError::NoRecipient,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(snapshot(fixture.store.path()), before);
}

#[test]
fn weights_that_others_may_open_are_not_shared() {
    let fixture = Fixture::new();
    let other = AgeKey::generate().recipient();
    let own = fixture.identity.recipient();
    let for_recipients = |recipients: &[&Recipient]| {
        let recipients = recipients.iter().copied().cloned().collect();
        Sealing::Recipients(recipients)
    };
    let cases = [
        (for_recipients(&[&own, &other]), 2),
        // What lies there opens for the identity, but not for it alone.
        (Sealing::Own, 4),
        (Sealing::Own, 4),
        // For whom a blob is sealed cannot be seen, so nothing is shared even where it could be.
        (for_recipients(&[&own, &other]), 6),
        (for_recipients(&[&other]), 8),
        (for_recipients(&[&other]), 10),
        (Sealing::Own, 10),
    ];
    for (sealing, blobs) in cases {
        add(&fixture, sealing.clone());
        assert_eq!(fixture.blobs().len(), blobs, "{sealing:?}");
    }
}

#[test]
fn a_passphrase_is_all_it_takes_to_open() {
    let fixture = Fixture::new();
    let [right, wrong] =
        ["correct horse", "wrong horse"].map(|text| Passphrase::new(text).unwrap());
    let first = add(&fixture, Sealing::Passphrase(right.clone()));
    check(&fixture, &access(&fixture, right.clone()), Ok(b"low"));

    let (none, other) = (Opener::default(), access(&fixture, wrong));
    for access in [access(&fixture, none), fixture.identity.access()] {
        let missing = "sealed by a passphrase, and there is none to open it: set STRATA_PASSPHRASE";
        check(&fixture, &access, Err(missing));
        let verified = fixture.store.verify(&select("tiny"), &access).unwrap();
        assert!(!verified.opened);
    }
    check(&fixture, &other, Err("sealed by another passphrase"));
    let error = fixture.store.verify(&select("tiny"), &other).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("low.safetensors.age: sealed by another passphrase"),
        "{error}"
    );
    assert!(!format!("{error:?} {other:?}").contains("horse"));

    // Shared with what the same passphrase opens, and with nothing else.
    let second = add(&fixture, Sealing::Passphrase(right));
    assert_eq!(fixture.blobs().len(), 2);
    assert_eq!(first.levels, second.levels);
    add(&fixture, Sealing::Own);
    assert_eq!(fixture.blobs().len(), 4);
}
