//! Wrong usage, help, completions, and readers that leave early.

use std::{fs::File, process::Stdio};

use crate::place::{Place, Ran};

fn check_usage(place: &Place, args: &[&str], words: &[&str]) {
    let ran = place.run(args);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "`{word}` is not in {ran:?}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    let place = Place::new();
    check_usage(&place, &[], &["Usage: strata"]);
    check_usage(
        &place,
        &["trian"],
        &["unrecognized subcommand 'trian'", "'train'"],
    );
    check_usage(&place, &["train"], &["<RECIPE>"]);
    check_usage(
        &place,
        &["train", "--resume", "a", "recipe.toml"],
        &["cannot be used with"],
    );
    check_usage(
        &place,
        &["train", "--resume", "a", "--set", "seed=1"],
        &["cannot be used with"],
    );
    check_usage(
        &place,
        &[
            "compare",
            "recipe.toml",
            "--strategies",
            "local,local:cross-entropy",
        ],
        &["--strategies: `local:cross-entropy` is given twice"],
    );
    check_usage(&place, &["predict", "tiny"], &["<INPUT>"]);
    check_usage(
        &place,
        &["predict", "tiny@", "image.png"],
        &["expected NAME, NAME@VERSION or NAME:ALIAS"],
    );
    check_usage(
        &place,
        &["explain", "tiny", "image.png", "--steps", "many"],
        &["--steps"],
    );
    check_usage(
        &place,
        &["explain", "tiny", "image.png", "--baseline", "pink"],
        &["black, white, grey"],
    );
    check_usage(&place, &["serve", "--address", "here"], &["--address"]);
    check_usage(&place, &["serve", "--body-mib", "0"], &["1..=1024"]);
    check_usage(&place, &["keys", "create", "--name", "a"], &["--allow"]);
    check_usage(&place, &["models"], &["Usage: strata models"]);
    check_usage(&place, &["completions", "tcl"], &["bash"]);
    for (args, expected) in [
        (&["alias", "tiny", "stable"][..], "alias NAME@VERSION ALIAS"),
        (
            &["alias", "tiny@1", "stable", "--remove"],
            "alias NAME ALIAS --remove",
        ),
        (&["remove", "tiny"], "remove NAME@VERSION"),
    ] {
        check_usage(&place, &[&["models"], args].concat(), &[expected]);
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    let place = Place::new();
    let help = place.run(&["--help"]).success().out;
    for command in [
        "quickstart",
        "train",
        "eval",
        "predict",
        "explain",
        "serve",
        "models",
        "level",
        "keys",
        "identity",
        "recipe",
        "data",
        "completions",
    ] {
        assert!(help.contains(command), "{command} is not in {help}");
        let own = place.run(&[command, "--help"]).success().out;
        assert!(
            own.contains("Example") && own.contains(&format!("strata {command}")),
            "{own}"
        );
    }
    for words in [
        "models list",
        "models show",
        "models verify",
        "models alias",
        "models remove",
        "models add",
        "level list",
        "level diff",
        "level replace",
        "level rollback",
        "keys create",
        "keys list",
        "keys revoke",
        "identity init",
        "identity show",
        "recipe check",
        "recipe schema",
        "data fetch",
        "data inspect",
    ] {
        let args: Vec<&str> = words.split(' ').chain(["--help"]).collect();
        let own = place.run(&args).success().out;
        let example = format!("strata {words}");
        assert!(own.matches(&example).count() >= 2, "{own}");
    }
    let version = place.run(&["--version"]).success().out;
    assert_eq!(version, format!("strata {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_there_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]).success().out;
        assert!(
            script.contains("quickstart") && script.contains("resume"),
            "{shell}: {script}"
        );
    }
}

/// Runs it with an output that nobody reads; once as standard output, once as standard error.
fn check_unread(place: &Place, args: &[&str], code: i32) {
    let unread = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut command = place.command(args);
    let child = command
        .stdout(unread())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = Ran::end(child);
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    let mut command = place.command(args);
    let status = command
        .stdout(Stdio::null())
        .stderr(unread())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(code), "{args:?}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::with_model();
    for args in [
        &["recipe", "schema"][..],
        &["completions", "bash"],
        &["--help"],
        &["models", "list"],
        &["models", "show", "tiny"],
        &["predict", "tiny", "image.png", "--json"],
        &["train", "recipe.toml"],
    ] {
        check_unread(&place, args, 0);
    }
    check_unread(&place, &["models", "show", "none"], 1);
    check_unread(&place, &["train"], 2);
    place.answer(&["models", "verify", "tiny@3"]);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        println!("skipped: no /dev/full");
        return;
    };
    let place = Place::new();
    let mut command = place.command(&["recipe", "schema"]);
    let ran = Ran::end(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap());
    ran.failure(&["cannot write the result", "No space left"]);
}

#[test]
fn quiet_prints_the_result_only() {
    let place = Place::with_model();
    for args in [
        &["train", "recipe.toml"][..],
        &["identity", "init", "--identity", "other"],
    ] {
        let ran = place.run(&[args, &["--quiet"]].concat()).success();
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{ran:?}");
    }
}
