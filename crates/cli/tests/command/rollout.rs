//! `strata rollout` and a server that is killed while it carries one out.

use std::fs;

use serde_json::{Value, json};

use crate::{
    images::row,
    place::{Place, words},
    server::{Server, agent, until},
};

/// Two versions of `tiny`, the first of which is `stable`, and one of another interface.
fn place() -> Place {
    let place = Place::with_model();
    place
        .run(&words("train recipe.toml --set seed=2 --quiet"))
        .success();
    place.run(&words("models alias tiny@1 stable")).success();
    place
}

fn key(place: &Place) -> String {
    let create = words("keys create --name a --allow infer,metadata --models all");
    place.answer(&create)["key"].as_str().unwrap().to_owned()
}

fn versions(server: &Server, key: &str) -> Vec<u64> {
    let agent = agent();
    let body = json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 64], "data": row(2) }] });
    let version = |user: u32| {
        let asked = agent
            .post(format!("{}/v2/models/tiny/infer", server.address))
            .header("authorization", format!("Bearer {key}"))
            .header("x-user", format!("user-{user}"))
            .send(body.to_string());
        let text = asked.unwrap().body_mut().read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["model_version"].as_str().unwrap().parse().unwrap()
    };
    (0..40).map(version).collect()
}

#[test]
fn a_rollout_goes_on_after_a_kill_and_is_promoted_or_aborted() {
    let place = place();
    let key = key(&place);
    place.write("key", &key);
    let ask = |server: &Server| {
        let address = &server.address;
        format!("rollout status tiny --server {address} --key-file key")
    };
    let status = |server: &Server| place.answer(&words(&ask(server)));
    let server = Server::start(&place, &["--model", "tiny:stable"]);
    assert_eq!(status(&server), json!({ "model": "tiny", "state": "none" }));
    let start =
        "rollout start tiny@2 --percent 50 --sticky X-User --max-errors 1 --max-latency 1e9";
    let started = place.answer(&words(start));
    assert_eq!(started["rollout"]["sticky"], "x-user");
    until("it is seen", || status(&server)["state"] == "running");
    let half = versions(&server, &key);
    assert!(half.contains(&1) && half.contains(&2), "{half:?}");

    // As by `kill -9`.
    drop(server);
    let server = Server::start(&place, &["--model", "tiny:stable"]);
    assert_eq!(versions(&server, &key), half);
    let shown = status(&server);
    assert_eq!(
        shown["figures"]["base"]["requests"],
        half.iter().filter(|v| **v == 1).count()
    );
    assert_eq!(shown["rollout"]["id"], started["rollout"]["id"]);
    let text = place.run(&words(&ask(&server))).success().out;
    assert!(
        text.contains("tiny from version 1 to 2: running") && text.contains("candidate"),
        "{text}"
    );

    place.run(&words("rollout weight tiny 0")).success();
    until("nobody gets it", || versions(&server, &key) == [1; 40]);
    let promoted = place.answer(&words("rollout promote tiny"));
    assert_eq!(promoted["rollout"]["ended"]["outcome"], "promoted");
    until("all get it", || versions(&server, &key) == [2; 40]);
    // And back, and away.
    place
        .run(&words("rollout start tiny@1 --percent 100"))
        .success();
    until("all get the other", || versions(&server, &key) == [1; 40]);
    let text = place.run(&words("rollout status tiny")).success().out;
    assert!(
        text.contains("tiny:stable is version 2, and 100 % of the requests go to version 1"),
        "{text}"
    );
    place.run(&words("rollout abort tiny")).success();
    until("it is over", || versions(&server, &key) == [2; 40]);
    assert_eq!(
        place.answer(&words("rollout status tiny"))["rollout"],
        Value::Null
    );
}

#[test]
fn a_rollout_that_was_rolled_back_stays_so() {
    let place = place();
    let key = key(&place);
    let server = Server::start(&place, &[]);
    let start =
        "rollout start tiny@2 --shadow 100 --min-requests 1 --max-latency 0.000001 --max-errors 1";
    place.run(&words(start)).success();
    until("it is too slow", || {
        assert_eq!(versions(&server, &key), [1; 40]);
        !place.answer(&words("rollout status tiny"))["rollout"]["ended"].is_null()
    });
    let text = place.run(&words("rollout status tiny")).success().out;
    assert!(
        text.contains("rolled back, tiny:stable is version 1: latency: "),
        "{text}"
    );
    drop(server);
    let server = Server::start(&place, &[]);
    let path = "/api/v1/rollouts/tiny";
    assert_eq!(server.ask(&key, path, None).1["state"], "rolled-back");
    assert_eq!(versions(&server, &key), [1; 40]);
    place.check_fails(
        &words("rollout promote tiny"),
        &["the rollout was rolled back: latency"],
    );
}

#[test]
fn a_server_starts_without_a_candidate_that_cannot_be_opened() {
    let place = place();
    let key = key(&place);
    place
        .run(&words("rollout start tiny@2 --percent 100"))
        .success();
    let level = place
        .store()
        .join("models/tiny/versions/2/levels/top.safetensors.age");
    let mut bytes = fs::read(&level).unwrap();
    bytes[100] ^= 1;
    // The blob has another name, under which it stays whole.
    fs::remove_file(&level).unwrap();
    fs::write(&level, bytes).unwrap();
    let server = Server::start(&place, &["--model", "tiny:stable"]);
    assert_eq!(versions(&server, &key), [1; 40]);
    let report = || server.ask(&key, "/api/v1/rollouts/tiny", None).1;
    assert_eq!(report()["problem"], "version 2 is not served");
    until("it is told", || {
        server.ask(&key, "/v2/models/tiny", None).1["parameters"]["not_served"] == "2"
    });
    let (_, notes) = server.stop();
    assert!(notes.contains("tiny@2 cannot be served"), "{notes}");
}

#[test]
fn what_cannot_be_begun_is_refused_and_changes_nothing() {
    let place = place();
    let fails = |line: &str, expected: &[&str]| place.check_fails(&words(line), expected);
    fails("rollout start tiny@3 --percent 5", &["no version 3"]);
    fails(
        "rollout start tiny@1 --percent 5",
        &["version 1 cannot take its own place"],
    );
    fails(
        "rollout start tiny@2 --percent 5 --alias canary",
        &["no alias `canary`"],
    );
    fails(
        "rollout start tiny@2 --percent 5 --min-agreement 0.9",
        &["only copies"],
    );
    fails(
        "rollout start tiny@2 --shadow 5 --sticky x-user",
        &["copies go to nobody"],
    );
    fails(
        "rollout start tiny@2 --percent 5 --sticky x_user",
        &["the name of a header"],
    );
    fails(
        "rollout start tiny@2 --percent 5 --max-errors 2",
        &["expected 0 to 1, found 2"],
    );
    fails(
        "rollout start tiny@2 --percent 5 --promote-after 5",
        &["or more, found 5"],
    );
    fails("rollout promote tiny", &["there is no rollout"]);
    fails("rollout abort tiny", &["there is no rollout"]);
    fails("rollout weight tiny 5", &["there is no rollout"]);
    fails("rollout status none", &["no model `none`"]);
    fails(
        "rollout status tiny --server http://127.0.0.1:9",
        &["no key for the server"],
    );
    for (line, words_of_clap) in [
        ("rollout start tiny@2", "--percent"),
        (
            "rollout start tiny@2 --percent 5 --shadow 5",
            "cannot be used with",
        ),
        (
            "rollout start tiny@2 --percent 101",
            "expected 0 to 100 percent",
        ),
        (
            "rollout start tiny:stable --percent 5",
            "names no single version",
        ),
    ] {
        let ran = place.run(&words(line));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(words_of_clap), "{ran:?}");
    }
    // Another interface: an image of another size.
    let wide = [
        "train",
        "recipe.toml",
        "--set",
        "preparation.image.height=16",
        "--quiet",
    ];
    place.run(&wide).success();
    fails(
        "rollout start tiny@3 --percent 5",
        &["tiny@3 cannot answer the requests of tiny@1: it differs in the preparation of rows"],
    );
    place
        .run(&words("rollout start tiny@2 --percent 5"))
        .success();
    fails(
        "rollout start tiny@2 --percent 9",
        &["from version 1 to 2 is under way"],
    );
    fails(
        "models remove tiny@2",
        &["a rollout to version 2 is under way"],
    );
}
