//! Other programs read what is written here, and what they write is read here.
//!
//! Needs `age` on the path (1.1.1 was used), and in `STRATA_TEST_PYTHON` a Python that has `model_signing`
//! (1.1.1 was used); a test without its program says so and passes.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{Fixture, model, select};
use strata_package::{Opener, Passphrase, Sealing};

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?} failed: {text}");
    text
}

fn model_signing(python: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "model_signing"]);
    command
}

fn python() -> Option<String> {
    let python = std::env::var("STRATA_TEST_PYTHON").ok();
    if python.is_none() {
        println!("skipped: STRATA_TEST_PYTHON names no Python with model_signing");
    }
    python
}

fn has_age() -> bool {
    let found = Command::new("age").arg("--version").output().is_ok();
    if !found {
        println!("skipped: no `age` on the path");
    }
    found
}

#[test]
fn age_opens_what_was_sealed_here() {
    if !has_age() {
        return;
    }
    let fixture = Fixture::new();
    let weights: Vec<u8> = (0..150_000_u32).map(|i| (i % 253) as u8).collect();
    let manifest = fixture.add([&weights, b"top"]);
    let blob = fixture
        .store
        .path()
        .join("blobs/sha256")
        .join(manifest.levels[0].blob.digest.hex());
    let opened = fixture.folder.path().join("opened");
    let key = fixture.folder.path().join("identity/age.key");
    run(Command::new("age")
        .arg("-d")
        .arg("-i")
        .arg(key)
        .arg("-o")
        .arg(&opened)
        .arg(blob));
    assert_eq!(fs::read(opened).unwrap(), weights);
}

#[test]
fn what_age_sealed_is_opened_here() {
    if !has_age() {
        return;
    }
    let fixture = Fixture::new();
    let [plain, sealed] = ["plain", "sealed"].map(|name| fixture.folder.path().join(name));
    fs::write(&plain, b"some weights").unwrap();
    let recipients = fixture.folder.path().join("identity/age.pub");
    run(Command::new("age")
        .arg("-R")
        .arg(recipients)
        .arg("-o")
        .arg(&sealed)
        .arg(&plain));
    let opened = strata_package::open(
        &fs::read(sealed).unwrap(),
        &fixture.identity.access().opener,
    )
    .unwrap();
    assert_eq!(**opened, *b"some weights");
}

#[test]
fn age_opens_what_was_sealed_here_for_a_recipient() {
    if !has_age() {
        return;
    }
    let fixture = Fixture::new();
    let key = fixture.folder.path().join("server.key");
    run(Command::new("age-keygen").arg("-o").arg(&key));
    let recipient = run(Command::new("age-keygen").arg("-y").arg(&key));
    let sealing = Sealing::Recipients(vec![recipient.parse().unwrap()]);
    fixture
        .store
        .add(model([b"low", b"top"]), &fixture.identity, sealing)
        .unwrap();
    let level = fixture.version(1).join("levels/low.safetensors.age");
    let opened = run(Command::new("age")
        .arg("-d")
        .arg("-i")
        .arg(&key)
        .arg(&level));
    assert_eq!(opened, "low");
    let own = fixture.folder.path().join("identity/age.key");
    let refused = Command::new("age")
        .arg("-d")
        .arg("-i")
        .arg(own)
        .arg(level)
        .output();
    assert!(!refused.unwrap().status.success());
}

/// Runs `age` with a terminal of its own and types the passphrase whenever asked: it reads it from nowhere
/// else. Fails if `age` does.
const TYPE_PASSPHRASE: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp("age", ["age"] + sys.argv[2:])
shown = b""
while True:
    try:
        read = os.read(terminal, 1024)
    except OSError:
        break
    if not read:
        break
    shown += read
    if shown.endswith(b": "):
        shown = b""
        os.write(terminal, sys.argv[1].encode() + b"\n")
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn age_and_strata_open_each_others_files_by_a_passphrase() {
    let Some(python) = python() else { return };
    if !has_age() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let passphrase = "correct horse";
    let age = |options: &[&str], output: &Path, input: &Path| {
        let mut command = Command::new(&python);
        command
            .args(["-c", TYPE_PASSPHRASE, passphrase])
            .args(options);
        run(command.arg("-o").arg(output).arg(input));
    };
    let secret = Passphrase::new(passphrase).unwrap();

    let sealed = strata_package::seal_by_passphrase(b"some weights", &secret).unwrap();
    fs::write(path("ours"), sealed).unwrap();
    age(&["-d"], &path("opened"), &path("ours"));
    assert_eq!(fs::read(path("opened")).unwrap(), b"some weights");

    age(&["-p"], &path("theirs"), &path("opened"));
    let theirs = fs::read(path("theirs")).unwrap();
    let opened = strata_package::open(&theirs, &Opener::from(secret)).unwrap();
    assert_eq!(**opened, *b"some weights");
}

#[test]
fn model_signing_checks_what_was_signed_here() {
    let Some(python) = python() else { return };
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    let verify = |folder: &Path| {
        let mut command = model_signing(&python);
        command
            .args(["verify", "key"])
            .arg(folder)
            .arg("--signature")
            .arg(folder.join("model.sig"));
        command
            .arg("--public_key")
            .arg(fixture.folder.path().join("identity/signing.pub"));
        command
    };
    let folder = fixture.version(1);
    assert!(run(&mut verify(&folder)).contains("Verification succeeded"));

    common::overwrite(&folder.join("card.md"), b"changed");
    let output = verify(&folder).output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("Signature mismatch") && error.contains("card.md"),
        "{error}"
    );
}

#[test]
fn what_model_signing_signed_is_checked_here() {
    let Some(python) = python() else { return };
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    let folder = fixture.version(1);
    let ours = fs::read(folder.join("model.sig")).unwrap();
    fs::remove_file(folder.join("model.sig")).unwrap();
    let mut sign = model_signing(&python);
    sign.args(["sign", "key"])
        .arg(&folder)
        .arg("--signature")
        .arg(folder.join("model.sig"));
    run(sign
        .arg("--private_key")
        .arg(fixture.folder.path().join("identity/signing.key")));
    assert_ne!(fs::read(folder.join("model.sig")).unwrap(), ours);
    assert!(fixture.open("tiny").unwrap().signed);
    fixture
        .store
        .verify(&select("tiny"), &fixture.identity.access())
        .unwrap();

    common::overwrite(&folder.join("card.md"), b"changed");
    assert!(fixture.open("tiny").is_err());
}
