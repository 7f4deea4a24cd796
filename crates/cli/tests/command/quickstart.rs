//! The command that newcomers run first. It draws its digits, since it finds no others here.

use std::fs;

use serde_json::Value;

use crate::{
    place::{Place, Ran},
    server::Server,
};

#[test]
fn a_quickstart_leaves_what_it_says_and_can_be_repeated() {
    let place = Place::new();
    let said = place.answer(&["quickstart", "--check", "--folder", "first"]);
    assert_eq!(
        (&said["data"], &said["version"]),
        (&"digits drawn by strata".into(), &1.into())
    );
    assert!(
        said["metrics"]["test.accuracy"].as_f64().unwrap() > 0.95,
        "{said}"
    );
    assert_eq!(said["predicted"], said["expected"]);
    assert!(
        said["completeness_error"].as_f64().unwrap().abs() < 0.1,
        "{said}"
    );
    for (name, path) in said["files"].as_object().unwrap() {
        assert!(
            fs::exists(path.as_str().unwrap()).unwrap(),
            "{name}: {path} is missing"
        );
    }
    let question = fs::read_to_string(place.path("first/request.json")).unwrap();
    serde_json::from_str::<Value>(&question).unwrap();

    // Again, and it stays up until it is told to stop.
    let mut command = place.command(&[
        "quickstart",
        "--folder",
        "first",
        "--address",
        "127.0.0.1:0",
    ]);
    // A proxy, which would not reach this machine, is for other addresses.
    command.env("ALL_PROXY", "http://127.0.0.1:9");
    let server = Server::of(&mut command, "address        ");
    let headers = fs::read_to_string(place.path("first/headers")).unwrap();
    let key = headers
        .lines()
        .find_map(|line| line.strip_prefix("Authorization: Bearer "));
    let question = serde_json::from_str(&question).unwrap();
    let (status, answer) = server.ask(key.unwrap(), "/v2/models/mnist-mlp/infer", Some(&question));
    assert_eq!(
        (status, &answer["model_version"]),
        (200, &"2".into()),
        "{answer}"
    );
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0), "{notes}");
    assert!(
        notes.contains("curl -H @") && notes.contains("first/report.html")
            || notes.contains("quickstart-2")
    );
    assert!(!notes.contains(key.unwrap()), "the key is in {notes}");
    let listed = place.answer(&["models", "list", "--store", "first/store"]);
    assert_eq!(listed[0]["versions"], serde_json::json!([1, 2]));
}

#[test]
fn a_quickstart_that_was_stopped_ends_without_a_model() {
    let place = Place::new();
    let child = place.start_learning(&["quickstart", "--check", "--folder", "stopped"]);
    crate::server::signal(&child, "INT");
    Ran::end(child).stopped("stopped");
    assert!(!place.path("stopped/store").exists());
}
