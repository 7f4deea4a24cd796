//! What the store changes while a server runs.

use std::{thread, time::Duration};

use serde_json::json;
use strata_serve::{ServeOptions, Server};

use crate::{
    client::{Client, numbers},
    model::{self, Model},
    running::{self, Running, until},
};

const INFER: &str = "/v2/models/tiny/infer";

fn question() -> String {
    let data = model::rows(1, 1);
    serde_json::json!({
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, model::ROW], "data": data}]
    })
    .to_string()
}

/// A server of what `stable` names.
fn start() -> Running {
    Running::start_with(|options| options.models = Some(vec!["tiny:stable".parse().unwrap()]))
}

fn name_stable(running: &Running, version: u64) {
    let names = ["tiny", "stable"].map(|name| name.parse().unwrap());
    running
        .store
        .set_alias(&names[0], &names[1], version)
        .unwrap();
}

fn version(client: &mut Client) -> String {
    let answer = client.post(INFER, question()).answer();
    answer["model_version"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_starts_without_a_version_that_is_damaged_and_that_no_alias_names() {
    let running = Running::start_with(|options| {
        let signature = options.store.join("models/tiny/versions/2/model.sig");
        std::fs::write(signature, "{").unwrap();
    });
    let mut client = running.admin();
    assert_eq!(version(&mut client), "1");
    let index = client.post("/v2/repository/index", "{}").body;
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let damaged = index.as_array().unwrap().iter();
    let mut damaged = damaged.filter(|entry| entry["name"] == "tiny" && entry["version"] == "2");
    assert_eq!(damaged.next().unwrap()["state"], "UNAVAILABLE");
}

#[test]
fn a_server_of_all_models_starts_without_those_that_are_broken_and_nothing_answers_in_their_place()
{
    let (of_stable, of_aliases) = ("tiny/versions/1/model.sig", "wide/aliases.json");
    let break_two = |options: &mut ServeOptions| {
        let models = options.store.join("models");
        std::fs::rename(models.join(of_stable), models.join("../kept")).unwrap();
        std::fs::write(models.join(of_stable), "{").unwrap();
        std::fs::write(models.join(of_aliases), "{").unwrap();
    };
    let running = Running::start_with(break_two);
    let mut client = running.admin();
    let statuses = |client: &mut Client| {
        let paths = [
            "tiny/infer",
            "tiny/versions/stable/infer",
            "tiny/versions/1/infer",
            "tiny/versions/2/infer",
            "wide/infer",
            "other/infer",
        ];
        let ask = |path| client.post(&format!("/v2/models/{path}"), question());
        paths.map(ask).map(|reply| reply.status)
    };
    assert_eq!(statuses(&mut client), [503, 503, 503, 200, 503, 200]);
    assert_eq!(client.get("/v1/models/tiny/labels/stable").status, 503);
    let index = client.post("/v2/repository/index", "{}").json();
    let states = index.as_array().unwrap().iter();
    let states = states.map(|entry| (&entry["name"], &entry["version"], &entry["state"]));
    let states: Vec<_> = states
        .map(|(name, version, state)| json!([name, version, state]))
        .collect();
    for expected in [
        json!(["tiny", "1", "UNAVAILABLE"]),
        json!(["tiny", "2", "READY"]),
        json!(["wide", null, "UNAVAILABLE"]),
    ] {
        assert!(
            states.contains(&expected),
            "{expected} is not in {states:?}"
        );
    }
    // Whoever names a model is not to get a server without it.
    let mut options = ServeOptions::new(running.store.path(), running.identity.access());
    options.address.set_port(0);
    options.models = Some(vec!["other".parse().unwrap(), "tiny".parse().unwrap()]);
    let refused = Server::bind(options).unwrap_err();
    assert!(format!("{refused:?}").contains("model.sig"), "{refused:?}");

    // What is mended is served, at once where a caller asks for it.
    let models = running.store.path().join("models");
    std::fs::rename(models.join("../kept"), models.join(of_stable)).unwrap();
    std::fs::write(models.join(of_aliases), "{}").unwrap();
    for name in ["tiny", "wide"] {
        let load = format!("/v2/repository/models/{name}/load");
        assert_eq!(client.post(&load, "").status, 200, "{name}");
    }
    assert_eq!(statuses(&mut client), [200, 200, 200, 200, 200, 200]);
    assert_eq!(version(&mut client), "1");
}

#[test]
fn a_request_on_its_way_keeps_its_version_and_with_the_last_one_the_version_goes() {
    let running = start();
    let (mut slow, mut other) = (running.admin(), running.admin());
    assert_eq!(version(&mut slow), "1");
    let body = question();
    let length = body.len().to_string();
    slow.send_head("POST", INFER, &[("Content-Length", &length)]);
    slow.send(&body.as_bytes()[..10]);
    // It is on its way once the server has read its head.
    thread::sleep(Duration::from_millis(300));

    name_stable(&running, 2);
    until("version 2 answers", || version(&mut other) == "2");
    let shown = |client: &mut Client, line: &str| {
        let text = String::from_utf8(client.get("/metrics").body).unwrap();
        text.contains(line)
    };
    let old = r#"strata_batch_rows_count{model="tiny",version="1"}"#;
    thread::sleep(Duration::from_millis(600));
    assert!(shown(&mut other, old), "it is still in use");
    assert!(shown(&mut other, "strata_swaps_total 1\n"));

    slow.send(&body.as_bytes()[10..]);
    let answer = slow.reply().answer();
    assert_eq!(answer["model_version"], "1");
    let expected = running::model("tiny", 1).probabilities(&model::rows(1, 1));
    assert_eq!(numbers(&answer, "probabilities"), expected);
    until("version 1 is freed", || !shown(&mut other, old));
    // The next request on the same connection is a new one.
    assert_eq!(version(&mut slow), "2");
}

#[test]
fn new_versions_new_models_and_removed_ones_are_followed() {
    let running = Running::start();
    let mut client = running.admin();
    let ready = |client: &mut Client, path: &str| client.get(path).status == 200;
    Model::new(9, 8).add_to(&running.store, "late", &running.identity);
    until("a new model", || {
        ready(&mut client, "/v2/models/late/ready")
    });
    Model::new(10, 8).add_to(&running.store, "late", &running.identity);
    until("a new version", || {
        ready(&mut client, "/v2/models/late/versions/2/ready")
    });
    // Nobody names the first one any more.
    assert!(!ready(&mut client, "/v2/models/late/versions/1/ready"));
    let late = "late".parse().unwrap();
    running.store.remove(&late, 2).unwrap();
    until("the version before", || {
        ready(&mut client, "/v2/models/late/versions/1/ready")
    });
    running.store.remove(&late, 1).unwrap();
    until("no model", || !ready(&mut client, "/v2/models/late/ready"));

    // What cannot be told changes nothing.
    let aliases = running.store.path().join("models/tiny/aliases.json");
    std::fs::write(aliases, "{").unwrap();
    Model::new(11, 8).add_to(&running.store, "wide", &running.identity);
    thread::sleep(Duration::from_secs(1));
    assert!(ready(&mut client, "/v2/models/tiny/versions/stable/ready"));
    assert_eq!(version(&mut client), "1");
}
