//! Stores at addresses, against a real S3 server: versions that are pushed, pulled, named and served.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    images::row,
    place::{Place, Ran, words},
    s3::{S3, SECRET},
    server::{Server, agent, until},
};

const STORE: &str = "s3://models/team";
const INFER: &str = "/v2/models/tiny/infer";

/// Runs the program to its end with the server in its environment; `STORE` stands for the address.
fn run(place: &Place, s3: &S3, line: &str) -> Ran {
    let line = line.replace("STORE", STORE);
    let ran = Ran::of(&mut s3.command(place, &words(&line)));
    assert!(!ran.err.contains(SECRET) && !ran.out.contains(SECRET));
    ran
}

fn answer(place: &Place, s3: &S3, line: &str) -> Value {
    run(place, s3, &format!("{line} --json")).json()
}

/// Adds a version of `tiny`.
fn train(place: &Place, seed: u32) {
    let line = format!("train recipe.toml --set seed={seed} --quiet");
    place.run(&words(&line)).success();
}

fn key(place: &Place) -> String {
    let create = words(
        "keys create --keys keys.json --name a --allow infer,metadata,load,metrics --models all",
    );
    place.answer(&create)["key"].as_str().unwrap().to_owned()
}

fn serve(place: &Place, s3: &S3) -> Server {
    let args = [
        "serve",
        "--address",
        "127.0.0.1:0",
        "--store",
        STORE,
        "--poll",
        "1",
        "--keys",
        "keys.json",
    ];
    Server::of(&mut s3.command(place, &args), "listening on ")
}

/// A server of `tiny@1`, which is `stable` in the store, and a key for it; none, with a word, where there is no S3 server.
fn served() -> Option<(S3, Place, String, Server)> {
    let s3 = S3::start()?;
    let place = Place::with_model();
    let key = key(&place);
    run(&place, &s3, "models push tiny STORE --alias stable").success();
    let server = serve(&place, &s3);
    assert_eq!(version(&server, &key), "1");
    Some((s3, place, key, server))
}

/// The version that answers.
fn version(server: &Server, key: &str) -> String {
    let body = json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 64], "data": row(2) }] });
    let (status, answer) = server.ask(key, INFER, Some(&body));
    assert_eq!(status, 200, "{answer}");
    answer["model_version"].as_str().unwrap().to_owned()
}

fn state(server: &Server, key: &str, version: &str) -> Value {
    let (_, index) = server.ask(key, "/v2/repository/index", Some(&json!({})));
    let entries = index.as_array().unwrap();
    let found = entries.iter().find(|entry| entry["version"] == version);
    found.map_or(Value::Null, |entry| entry["state"].clone())
}

/// The digests of a version's blobs.
fn blobs(place: &Place, version: u32) -> Vec<String> {
    let manifest = place
        .store()
        .join(format!("models/tiny/versions/{version}/manifest.json"));
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let levels = manifest["levels"].as_array().unwrap().iter();
    let hex = |level: &Value| {
        let digest = level["blob"]["digest"].as_str().unwrap();
        digest.strip_prefix("sha256:").unwrap().to_owned()
    };
    levels.map(hex).collect()
}

#[test]
fn a_version_is_pushed_named_read_and_pulled() {
    let Some(s3) = S3::start() else { return };
    let place = Place::with_model();
    let pushed = answer(&place, &s3, "models push tiny STORE --alias stable");
    assert_eq!(pushed["new"], true);
    assert_eq!(pushed["store"], STORE);
    let again = answer(&place, &s3, "models push tiny@1 STORE");
    assert_eq!(
        (&again["new"], &again["digest"]),
        (&json!(false), &pushed["digest"])
    );
    let expected = json!([{ "name": "tiny", "versions": [1], "aliases": { "stable": 1 } }]);
    assert_eq!(answer(&place, &s3, "models list --store STORE"), expected);
    let shown = answer(&place, &s3, "models show tiny:stable --store STORE");
    assert_eq!(shown["digest"], pushed["digest"]);
    let verified = answer(&place, &s3, "models verify tiny --store STORE");
    assert_eq!(
        (&verified["verified"], &verified["opened"]),
        (&json!(true), &json!(true))
    );
    let here = place.answer(&words("predict tiny image.png"));
    let there = answer(&place, &s3, "predict tiny:stable image.png --store STORE");
    assert_eq!(here, there);

    let pulled = answer(&place, &s3, "models pull tiny:stable STORE --store other");
    assert_eq!(
        (&pulled["new"], &pulled["digest"]),
        (&json!(true), &pushed["digest"])
    );
    let other = place.answer(&words("predict tiny@1 image.png --store other"));
    assert_eq!(here, other);
    // Between folders too.
    let copied = answer(&place, &s3, "models push tiny file:third --store other");
    assert_eq!(copied["new"], true);
    place.answer(&words("models verify tiny --store third"));

    // What needs a folder says so.
    let refused = run(&place, &s3, "models remove tiny@1 --store STORE");
    refused.failure(&["needs a store in a folder", "strata models push"]);
    run(&place, &s3, "models show tiny@2 --store STORE").failure(&["no version 2"]);
    run(&place, &s3, "models show other --store STORE")
        .failure(&["s3://models/team: no model `other`"]);
    run(&place, &s3, "models alias tiny@2 stable --store STORE").failure(&["no version 2"]);
    run(&place, &s3, "models push tiny s3://nowhere").failure(&["s3://nowhere: cannot"]);
}

#[test]
fn another_version_with_the_same_number_is_refused() {
    let Some(s3) = S3::start() else { return };
    let (one, two) = (Place::with_model(), Place::with_identity());
    train(&two, 5);
    run(&one, &s3, "models push tiny STORE").success();
    run(&two, &s3, "models push tiny STORE")
        .failure(&["version 1 of model `tiny` is there already"]);
    let folder = two.store();
    let pull = format!(
        "models pull tiny STORE --store {} --allow-unsigned",
        folder.display()
    );
    run(&two, &s3, &pull).failure(&["tiny@1"]);
    // By the key of the one who signed it, it can be told; by another key it is refused before its weights are fetched.
    let pull = format!(
        "models pull tiny STORE --store fresh --identity {}",
        two.identity().display()
    );
    run(&two, &s3, &pull).failure(&["tiny@1: s3://models/team/models/tiny/versions/1/model.sig"]);
    assert!(!two.path("fresh/models/tiny").exists());
    run(&one, &s3, "models pull tiny STORE --store fresh").success();
}

#[test]
fn aliases_that_are_changed_at_the_same_time_are_all_there() {
    let Some(s3) = S3::start() else { return };
    let place = Place::with_model();
    run(&place, &s3, "models push tiny STORE").success();
    thread::scope(|scope| {
        for number in 0..6 {
            let (place, s3) = (&place, &s3);
            scope.spawn(move || {
                let line = format!("models alias tiny@1 name-{number} --store STORE");
                run(place, s3, &line).success();
            });
        }
    });
    let listed = answer(&place, &s3, "models list --store STORE");
    assert_eq!(listed[0]["aliases"].as_object().unwrap().len(), 6);
    run(
        &place,
        &s3,
        "models alias tiny name-0 --remove --store STORE",
    )
    .success();
    let listed = answer(&place, &s3, "models list --store STORE");
    assert_eq!(listed[0]["aliases"].as_object().unwrap().len(), 5);
}

#[test]
fn a_server_follows_a_store_at_an_address() {
    let Some((s3, place, key, server)) = served() else {
        return;
    };

    // A version that is half uploaded is named and not served, also if the alias names it.
    train(&place, 2);
    run(&place, &s3, "models push tiny@2 STORE").success();
    until("the new one is served", || {
        state(&server, &key, "2") == "READY"
    });
    assert_eq!(version(&server, &key), "1");
    run(&place, &s3, "models alias tiny@2 stable --store STORE").success();
    until("the alias moves", || version(&server, &key) == "2");

    train(&place, 3);
    run(&place, &s3, "models push tiny@3 STORE").success();
    let manifest = "team/models/tiny/versions/3/manifest.json";
    until("it is here", || state(&server, &key, "3") == "READY");
    train(&place, 4);
    run(&place, &s3, "models push tiny@4 STORE").success();
    until("it is here", || state(&server, &key, "4") == "READY");
    let whole = s3.get(manifest).unwrap();
    s3.delete(manifest);
    until("it is half uploaded", || {
        state(&server, &key, "3") == "UNAVAILABLE"
    });
    s3.put(manifest, &whole);
    // The highest is served, so this one is not any more; it is whole again.
    until("it is whole", || state(&server, &key, "3").is_null());

    // A damaged one: another blob under the digest of one of its own.
    train(&place, 5);
    let blob = &blobs(&place, 5)[0];
    let blob_key = format!("team/blobs/sha256/{blob}");
    let mut bytes = fs::read(place.store().join("blobs/sha256").join(blob)).unwrap();
    bytes[200] ^= 1;
    s3.put(&blob_key, &bytes);
    run(&place, &s3, "models push tiny@5 STORE --alias stable").success();
    until("it is damaged", || {
        state(&server, &key, "5") == "UNAVAILABLE"
    });
    assert_eq!(version(&server, &key), "2");
    assert_eq!(state(&server, &key, "4"), "READY");
    bytes[200] ^= 1;
    s3.put(&blob_key, &bytes);
    until("it is repaired", || version(&server, &key) == "5");

    // Nobody changes a mirror.
    let cache = fs::read_dir(place.path("home/.cache/strata/served")).unwrap();
    let cache = cache.map(|entry| entry.unwrap().path()).next().unwrap();
    let cache = cache.to_str().unwrap();
    let alias = ["models", "alias", "tiny@5", "mine", "--store", cache];
    place
        .run(&alias)
        .failure(&["mirrors s3://models/team: change that store instead"]);
    let second = ["serve", "--store", STORE, "--store-cache", cache];
    Ran::of(&mut s3.command(&place, &second)).failure(&["another process keeps its mirror there"]);
    let elsewhere = [
        "serve",
        "--store",
        "s3://models/other",
        "--store-cache",
        cache,
    ];
    Ran::of(&mut s3.command(&place, &elsewhere))
        .failure(&["no mirror of s3://models/other: s3://models/team"]);
    let (_, notes) = server.stop();
    assert!(notes.contains("tiny@5 is not to be used"), "{notes}");
    assert!(notes.contains("has another digest"), "{notes}");
    assert!(!notes.contains(SECRET));
}

#[test]
fn a_store_that_disappears_and_comes_back_is_followed_again() {
    let Some((s3, place, key, server)) = served() else {
        return;
    };
    let reachable = |server: &Server| {
        let agent = agent();
        let metrics = agent.get(format!("{}/metrics", server.address));
        let answer = metrics
            .header("authorization", format!("Bearer {key}"))
            .call();
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("strata_store_reachable "));
        line.unwrap().ends_with(" 1")
    };
    until("it is read", || reachable(&server));
    let port = s3.port();
    drop(s3);
    until("it is gone", || !reachable(&server));
    assert_eq!(version(&server, &key), "1");

    // It comes back empty, which is taken for a fault.
    let s3 = S3::start_at(port).unwrap();
    run(&place, &s3, "models list --store STORE").success();
    thread::sleep(Duration::from_secs(3));
    assert!(!reachable(&server));
    assert_eq!(version(&server, &key), "1");
    // A server that starts meanwhile serves what it had.
    let (_, notes) = server.stop();
    assert!(notes.contains("the store cannot be followed"), "{notes}");
    let server = serve(&place, &s3);
    assert_eq!(version(&server, &key), "1");
    train(&place, 2);
    run(&place, &s3, "models push tiny@1 STORE").success();
    run(&place, &s3, "models push tiny@2 STORE --alias stable").success();
    until("it is followed again", || version(&server, &key) == "2");
    // It is said once the whole store was looked at, a moment after the first version is served.
    until("it says so", || reachable(&server));
    drop(s3);
    // The address is right, but nothing is there and nothing was.
    let args = [
        "serve",
        "--store",
        "s3://models/none",
        "--address",
        "127.0.0.1:0",
    ];
    let ran = Ran::of(
        place
            .command(&args)
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", SECRET),
    );
    ran.failure(&["s3://models/none: cannot list"]);
    assert!(!ran.err.contains(SECRET));
}

#[test]
fn a_rollout_at_an_address_is_carried_out_and_its_end_recorded_there() {
    let Some(s3) = S3::start() else { return };
    let place = Place::with_model();
    let key = key(&place);
    train(&place, 2);
    run(&place, &s3, "models push tiny@1 STORE --alias stable").success();
    run(&place, &s3, "models push tiny@2 STORE").success();
    let server = serve(&place, &s3);
    assert_eq!(version(&server, &key), "1");
    let start = "rollout start tiny@2 --shadow 100 --min-requests 1 --max-latency 0.000001 --max-errors 1 --store STORE";
    run(&place, &s3, start).success();
    run(
        &place,
        &s3,
        "rollout start tiny@2 --percent 5 --store STORE",
    )
    .failure(&["is under way"]);
    until("it is rolled back", || {
        assert_eq!(version(&server, &key), "1");
        let status = answer(&place, &s3, "rollout status tiny --store STORE");
        status["rollout"]["ended"]["outcome"] == "rolled-back"
    });
    let started =
        "rollout start tiny@2 --percent 100 --max-errors 1 --max-latency 1e9 --store STORE";
    run(&place, &s3, started).success();
    until("all get it", || version(&server, &key) == "2");
    run(&place, &s3, "rollout promote tiny --store STORE").success();
    let listed = answer(&place, &s3, "models list --store STORE");
    assert_eq!(listed[0]["aliases"]["stable"], 2);
    run(&place, &s3, "rollout abort tiny --store STORE").success();
    assert_eq!(s3.get("team/models/tiny/rollout.json"), None);
    assert_eq!(version(&server, &key), "2");
}
