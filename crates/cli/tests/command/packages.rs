//! Packages that were changed, and keys that are not theirs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::place::{Place, Ran, snapshot};

/// Every command that opens a package.
const OPENING: [&[&str]; 4] = [
    &["models", "verify", "tiny"],
    &["eval", "tiny", "--data", "./data"],
    &["predict", "tiny", "image.png"],
    &["explain", "tiny", "image.png"],
];

/// Expects that no command opens the package, not even a server.
fn check_refused(place: &Place, options: &[&str], words: &[&str]) {
    let serve: &[&str] = &["serve", "--address", "127.0.0.1:0"];
    for args in OPENING.into_iter().chain([serve]) {
        place.check_fails(&[args, options].concat(), words);
    }
}

fn check_opens(place: &Place, options: &[&str]) {
    for args in OPENING {
        place.run(&[args, options].concat()).success();
    }
}

fn version(place: &Place) -> PathBuf {
    place.store().join("models/tiny/versions/1")
}

fn flip(file: &Path, at: usize) {
    let mut content = fs::read(file).unwrap();
    content[at] ^= 1;
    // A new file: the old one is a link to the blob.
    fs::remove_file(file).unwrap();
    fs::write(file, content).unwrap();
}

#[test]
fn a_flipped_byte_anywhere_is_refused_by_every_command() {
    let place = Place::with_model();
    let files = snapshot(&version(&place));
    assert_eq!(files.len(), 5, "{:?}", files.keys());
    for (file, content) in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for at in [0, content.len() / 2, content.len() - 1] {
            flip(&file, at);
            let ran = place.run(&["models", "verify", "tiny"]);
            assert_eq!(ran.code, Some(1), "byte {at} of {name}: {ran:?}");
            ran.failure(&["models/tiny/versions/1/"]);
            flip(&file, at);
        }
        flip(&file, content.len() / 2);
        check_refused(&place, &[], &["versions/1/"]);
        check_refused(
            &place,
            &["--allow-unsealed", "--allow-unsigned"],
            &["versions/1/"],
        );
        flip(&file, content.len() / 2);
    }
    check_opens(&place, &[]);
}

#[test]
fn an_unsigned_package_needs_an_explicit_word() {
    let place = Place::with_model();
    fs::remove_file(version(&place).join("model.sig")).unwrap();
    check_refused(
        &place,
        &[],
        &["model.sig: missing, so the package is unsigned"],
    );
    check_opens(&place, &["--allow-unsigned"]);
    // Unsigned, but still not changed.
    flip(&version(&place).join("levels/top.safetensors.age"), 300);
    check_refused(
        &place,
        &["--allow-unsigned"],
        &["levels/top.safetensors.age"],
    );
}

#[test]
fn files_that_do_not_belong_or_are_missing_are_named() {
    let place = Place::with_model();
    let extra = version(&place).join("levels/notes.txt");
    fs::write(&extra, "mine").unwrap();
    check_refused(
        &place,
        &[],
        &["levels/notes.txt: does not belong to the package"],
    );
    fs::remove_file(extra).unwrap();
    fs::remove_file(version(&place).join("levels/hidden.safetensors.age")).unwrap();
    check_refused(&place, &[], &["levels/hidden.safetensors.age", "missing"]);
}

#[test]
fn a_level_of_another_version_is_refused() {
    let place = Place::with_model();
    place
        .run(&["train", "recipe.toml", "--set", "seed=2"])
        .success();
    let level = "levels/top.safetensors.age";
    let other = fs::read(place.store().join("models/tiny/versions/2").join(level)).unwrap();
    let file = version(&place).join(level);
    fs::remove_file(&file).unwrap();
    fs::write(&file, other).unwrap();
    place.check_fails(&["predict", "tiny@1", "image.png"], &["versions/1/", level]);
    place.run(&["predict", "tiny@2", "image.png"]).success();
}

#[test]
fn only_the_identity_that_made_a_package_opens_it() {
    let place = Place::with_model();
    place
        .run(&["identity", "init", "--identity", "other"])
        .success();
    check_refused(&place, &["--identity", "other"], &["versions/1/model.sig"]);
    check_refused(
        &place,
        &["--identity", "none"],
        &["no signing key to check it with"],
    );
    // The signature is right, but the seal is for another.
    let signer = fs::read(place.identity().join("signing.pub")).unwrap();
    place.write("other/signing.pub", signer);
    check_refused(
        &place,
        &["--identity", "other"],
        &["levels/hidden.safetensors.age"],
    );
    // To verify, no secret signing key is needed.
    fs::remove_file(place.identity().join("signing.key")).unwrap();
    check_opens(&place, &[]);
    place.check_fails(
        &["train", "recipe.toml"],
        &["signing.key", "half an identity"],
    );
    place.check_fails(
        &["identity", "init"],
        &["exists already; an identity is never overwritten"],
    );
}

#[test]
fn keys_that_others_may_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_model();
    let key = place.identity().join("age.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check_refused(
        &place,
        &[],
        &["age.key: open to others (mode 0644): run `chmod 600"],
    );
    place.check_fails(&["train", "recipe.toml"], &["age.key: open to others"]);
}

#[test]
fn keys_can_come_from_the_environment() {
    let place = Place::with_model();
    let read = |name: &str| fs::read_to_string(place.identity().join(name)).unwrap();
    let (age, signing) = (read("age.key"), read("signing.pub"));
    fs::rename(place.identity(), place.path("elsewhere")).unwrap();
    check_refused(&place, &[], &["no signing key to check it with"]);
    let predict = |age: &str| {
        let mut command = place.command(&["predict", "tiny", "image.png"]);
        command
            .env("STRATA_AGE_KEY", age)
            .env("STRATA_SIGNING_KEY", &signing);
        Ran::of(&mut command)
    };
    predict(&age).success();
    let cut = age.trim_end();
    let ran = predict(&cut[..cut.len() - 3]);
    ran.failure(&["STRATA_AGE_KEY: "]);
    assert!(
        !ran.err.contains(&cut[cut.len() - 20..cut.len() - 3]),
        "{ran:?}"
    );
}

#[test]
fn what_the_store_does_not_have_is_named() {
    let place = Place::with_model();
    let fails = |model: &str, words: &[&str]| {
        place.check_fails(&["predict", model, "image.png"], words);
        place.check_fails(&["models", "show", model], words);
        place.check_fails(
            &["serve", "--address", "127.0.0.1:0", "--model", model],
            words,
        );
    };
    fails("other", &["no model `other`"]);
    fails("tiny@7", &["no version 7 of model `tiny`"]);
    fails("tiny:stable", &["no alias `stable` of model `tiny`"]);
    place.check_fails(
        &["models", "alias", "tiny@7", "stable"],
        &["no version 7 of model `tiny`"],
    );
    place.check_fails(
        &["models", "alias", "tiny", "stable", "--remove"],
        &["no alias `stable`"],
    );
    place.check_fails(&["models", "remove", "tiny@7"], &["no version 7"]);
    place.check_fails(
        &["models", "list", "--store", "none"],
        &["none: not a model store"],
    );
}

#[test]
fn what_was_not_signed_is_not_called_verified() {
    let place = Place::with_model();
    let signature = "models/tiny/versions/1/model.sig";
    fs::remove_file(place.store().join(signature)).unwrap();
    place.check_fails(&["models", "verify", "tiny"], &["unsigned"]);
    let args = ["models", "verify", "tiny", "--allow-unsigned"];
    let text = place.run(&args).success().out;
    assert!(text.contains("\nno signature was checked"), "{text}");
    let answer = place.answer(&args);
    assert_eq!(
        (&answer["verified"], &answer["signed"]),
        (&false.into(), &false.into())
    );
}
