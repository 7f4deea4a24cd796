//! Versions that take each other's place in a running server, under load.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use strata_package::Store;

use crate::{
    images::row,
    place::{Place, words},
    server::Server,
};

const CONNECTIONS: usize = 32;
const SWAPS: usize = 24;
const INFER: &str = "/v2/models/tiny/infer";

fn question() -> Value {
    json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 64], "data": row(2) }] })
}

/// Three versions; all differ in the lowest level.
fn place() -> (Place, String) {
    let place = Place::with_model();
    for (name, seed) in [("second", "seed=2"), ("third", "seed=3")] {
        let name = format!("name={name}");
        let set = ["--set", &name, "--set", seed];
        place
            .run(&[&words("train recipe.toml --quiet")[..], &set].concat())
            .success();
    }
    for from in ["second", "third"] {
        let args = ["level", "replace", "tiny@1", "hidden", "--from", from];
        place.run(&[&args[..], &["--force"]].concat()).success();
    }
    let create = words("keys create --name a --allow infer,metadata,metrics --models all");
    let key = place.answer(&create)["key"].as_str().unwrap().to_owned();
    (place, key)
}

fn probabilities(answer: &Value) -> Vec<f32> {
    let outputs = answer["outputs"].as_array().unwrap();
    let found = outputs
        .iter()
        .find(|output| output["name"] == "probabilities");
    numbers(&found.unwrap()["data"])
}

fn numbers(list: &Value) -> Vec<f32> {
    let list = list.as_array().unwrap().iter();
    list.map(|value| value.as_f64().unwrap() as f32).collect()
}

/// The version that answers now.
fn version(server: &Server, key: &str) -> u64 {
    let (status, answer) = server.ask(key, INFER, Some(&question()));
    assert_eq!(status, 200, "{answer}");
    answer["model_version"].as_str().unwrap().parse().unwrap()
}

fn wait_for(server: &Server, key: &str, expected: u64) {
    let began = Instant::now();
    while version(server, key) != expected {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "version {expected} is never served"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_request_is_answered_wholly_by_one_version_while_they_are_swapped() {
    let (place, key) = place();
    let store = Store::open(&place.store()).unwrap();
    let (tiny, stable) = ("tiny".parse().unwrap(), "stable".parse().unwrap());
    store.set_alias(&tiny, &stable, 1).unwrap();
    let rows = row(2);
    let expected: Vec<Vec<f32>> = (1..=3)
        .map(|version| {
            let args = ["predict", &format!("tiny@{version}"), "-", "--json"];
            let input = json!([rows]).to_string();
            let answer = place.run_with_input(&args, input.as_bytes()).json();
            numbers(&answer["predictions"][0]["probabilities"])
        })
        .collect();
    assert!(expected[0] != expected[1] && expected[1] != expected[2]);

    let server = Server::start(&place, &["--model", "tiny:stable"]);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let agent: ureq::Agent = ureq::Agent::config_builder()
                    .http_status_as_error(false)
                    .timeout_global(Some(Duration::from_secs(60)))
                    .build()
                    .into();
                let (url, key) = (
                    format!("{}{INFER}", server.address),
                    format!("Bearer {key}"),
                );
                let body = question().to_string();
                while !stop.load(Ordering::Relaxed) {
                    let answer = agent.post(&url).header("authorization", &key).send(&body);
                    let mut answer = answer.expect("no request is dropped");
                    let text = answer.body_mut().read_to_string().unwrap();
                    assert_eq!(answer.status().as_u16(), 200, "{text}");
                    let answer: Value = serde_json::from_str(&text).unwrap();
                    let version: usize = answer["model_version"].as_str().unwrap().parse().unwrap();
                    assert_eq!(answer["parameters"]["version"], version);
                    assert_eq!(probabilities(&answer), expected[version - 1], "{text}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Ends the load also if this fails.
        let ended = Ended(&stop);
        for swap in 0..SWAPS {
            let next = 1 + (swap as u64 + 1) % 3;
            store.set_alias(&tiny, &stable, next).unwrap();
            wait_for(&server, &key, next);
        }
        drop(ended);
    });
    assert!(asked.load(Ordering::Relaxed) > 2 * SWAPS as u64);
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0), "{notes}");
    assert_eq!(notes.matches("now served: tiny@").count(), SWAPS, "{notes}");
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_version_that_is_damaged_is_never_served_and_one_that_is_pinned_never_moves() {
    let (place, key) = place();
    let store = Store::open(&place.store()).unwrap();
    let tiny = "tiny".parse().unwrap();
    let pinned = Server::start(&place, &["--model", "tiny@3"]);
    let server = Server::start(&place, &[]);
    assert_eq!(version(&server, &key), 3);

    // It is added whole, so it is damaged where no server looks yet.
    let replace = words("level replace tiny@1 hidden --from second --force --store copy");
    copy(&place.store(), &place.path("copy"));
    place.run(&replace).success();
    let level = place.path("copy/models/tiny/versions/4/levels/top.safetensors.age");
    let mut bytes = fs::read(&level).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&level).unwrap();
    fs::write(&level, bytes).unwrap();
    let versions = place.store().join("models/tiny/versions");
    fs::rename(
        place.path("copy/models/tiny/versions/4"),
        versions.join("4"),
    )
    .unwrap();

    let failed = || {
        let (_, shown) = server.ask(&key, "/v2/models/tiny", None);
        shown["parameters"]["not_served"] == "4"
    };
    let began = Instant::now();
    while !failed() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it is never tried"
        );
        assert_eq!(version(&server, &key), 3);
        thread::sleep(Duration::from_millis(20));
    }
    let path = "/v2/models/tiny/versions/4/infer";
    assert_eq!(server.ask(&key, path, Some(&question())).0, 503);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(version(&server, &key), 3);

    // What is whole is served.
    fs::rename(versions.join("4"), place.path("damaged")).unwrap();
    store
        .set_alias(&tiny, &"stable".parse().unwrap(), 1)
        .unwrap();
    wait_for(&server, &key, 1);
    let by_alias = "/v2/models/tiny/versions/stable/infer";
    let (status, answer) = server.ask(&key, by_alias, Some(&question()));
    assert_eq!((status, &answer["model_version"]), (200, &json!("1")));
    assert!(!failed());
    // Another model appears.
    place
        .run(&words("train recipe.toml --set name=fourth --quiet"))
        .success();
    server.wait_for(&key, "/v2/models/fourth/ready", 200);

    assert_eq!(version(&pinned, &key), 3);
    let (_, notes) = pinned.stop();
    assert!(!notes.contains("now served"), "{notes}");
    let (_, notes) = server.stop();
    let told = notes
        .matches("tiny@4 cannot be served, what is served goes on")
        .count();
    assert_eq!(told, 1, "{notes}");
    assert!(notes.contains("levels/top.safetensors.age"), "{notes}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
