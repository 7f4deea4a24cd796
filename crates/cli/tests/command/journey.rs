//! The whole way of a user, from an identity to an answer over HTTP behind a key.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};

use crate::{
    images::{png, row},
    place::{Place, Ran, words},
    server::Server,
};

#[test]
fn from_data_to_a_model_that_answers_and_explains() {
    let place = Place::new();
    let made = place.answer(&["identity", "init"]);
    assert!(made["age_recipient"].as_str().unwrap().starts_with("age1"));
    assert_eq!(place.answer(&["identity", "show"]), made);
    for secret in ["age.key", "signing.key"] {
        let mode = fs::metadata(place.identity().join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }

    let checked = place.answer(&["recipe", "check", "recipe.toml"]);
    assert_eq!(checked["parameters"], 64 * 16 + 16 + 16 * 3 + 3);
    let inspected = place.answer(&["data", "inspect", "./data"]);
    assert_eq!(inspected["train"]["class_counts"], json!([32, 32, 32]));

    let trained = place.answer(&["train", "recipe.toml"]);
    assert_eq!(
        (&trained["model"], &trained["version"]),
        (&json!("tiny"), &json!(1))
    );
    assert_eq!(trained["finished"], true);
    let accuracy = trained["metrics"]["test.accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{trained}");
    assert!(
        fs::read_to_string(place.path("runs/tiny-1/report.html"))
            .unwrap()
            .contains("<svg")
    );

    let evaluated = place.answer(&["eval", "tiny", "--data", "./data"]);
    assert_eq!(evaluated["metrics"], trained["metrics"]);
    let digest = &evaluated["digest"];

    place.write("image.png", png(2));
    let predicted = place.answer(&["predict", "tiny@1", "image.png", "image.png"]);
    let [of_file, again] = predicted["predictions"].as_array().unwrap().as_slice() else {
        panic!("{predicted}");
    };
    assert_eq!(
        (&of_file["label"], &of_file["class"]),
        (&json!("right"), &json!(2))
    );
    assert_eq!(of_file, again);
    let rows = json!([row(0), row(2)]).to_string();
    let answer = place
        .run_with_input(&["predict", "tiny", "-", "--json"], rows.as_bytes())
        .json();
    assert_eq!(answer["predictions"][0]["label"], "left");
    assert_eq!(
        answer["predictions"][1]["probabilities"],
        of_file["probabilities"]
    );
    assert_eq!(&answer["digest"], digest);
    let one = place.run_with_input(
        &["predict", "tiny", "-"],
        json!(row(1)).to_string().as_bytes(),
    );
    assert!(one.success().out.starts_with("row 0: middle ("));

    let explained = place.answer(&["explain", "tiny", "image.png", "--output", "why.png"]);
    assert_eq!(
        (&explained["label"], &explained["steps"]),
        (&json!("right"), &json!(50))
    );
    assert_eq!(explained["attribution"].as_array().unwrap().len(), 64);
    assert!(
        explained["completeness_error"].as_f64().unwrap().abs() < 0.1,
        "{explained}"
    );
    let picture = image::load_from_memory_with_format(
        &fs::read(place.path("why.png")).unwrap(),
        image::ImageFormat::Png,
    );
    // Two pictures of 8x8 pixels, each pixel 35x35, and a gap of 8.
    let picture = picture.unwrap();
    assert_eq!((picture.width(), picture.height()), (2 * 280 + 8, 280));
    let other = place.answer(&[
        "explain",
        "tiny",
        "image.png",
        "--target",
        "left",
        "--baseline",
        "grey",
    ]);
    assert_eq!(other["target"], 0);
    assert!(place.path("explanation.png").is_file());
}

#[test]
fn models_are_listed_named_verified_and_removed() {
    let place = Place::with_model();
    let second = place.answer(&["train", "recipe.toml", "--no-package"]);
    assert_eq!(
        (&second["model"], &second["run"]),
        (&Value::Null, &json!("runs/tiny-2"))
    );
    let added = place.answer(&["models", "add", "runs/tiny-2"]);
    assert_eq!(added["version"], 2);
    // The same recipe, data and seed: the same weights, stored once.
    let blobs = fs::read_dir(place.store().join("blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(blobs, 2);

    place.answer(&["models", "alias", "tiny@1", "stable"]);
    let listed = place.answer(&["models", "list"]);
    assert_eq!(
        listed,
        json!([{ "name": "tiny", "versions": [1, 2], "aliases": { "stable": 1 } }])
    );
    let shown = place.answer(&["models", "show", "tiny:stable"]);
    assert_eq!(
        (&shown["signed"], &shown["manifest"]["version"]),
        (&json!(true), &json!(1))
    );
    let verified = place.answer(&["models", "verify", "tiny"]);
    assert_eq!(
        (&verified["verified"], &verified["version"]),
        (&json!(true), &json!(2))
    );
    let text = place.run(&["models", "show", "tiny"]).success().out;
    for word in [
        "tiny@2",
        "sealed",
        "hidden",
        "top",
        "test.accuracy",
        "Which third",
    ] {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }

    place.check_fails(
        &["models", "remove", "tiny@1"],
        &["`stable`", "remove the alias first"],
    );
    place.answer(&["models", "alias", "tiny", "stable", "--remove"]);
    assert_eq!(place.answer(&["models", "remove", "tiny@1"])["removed"], 1);
    assert_eq!(place.answer(&["models", "list"])[0]["versions"], json!([2]));
    place.answer(&["models", "verify", "tiny@2"]);
    place.check_fails(
        &["predict", "tiny@1", "image.png"],
        &["no version 1 of model `tiny`"],
    );
}

#[test]
fn a_served_model_answers_those_with_a_key_until_it_is_revoked() {
    let place = Place::with_model();
    let server = Server::start(&place, &[]);
    let created = place.answer(&words(
        "keys create --name alice --allow infer,explain --models tiny --expires 30d",
    ));
    let (key, id) = (
        created["key"].as_str().unwrap(),
        created["id"].as_str().unwrap(),
    );
    let listed = place.answer(&["keys", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["models"]),
        (&json!("alice"), &json!(["tiny"]))
    );
    let noticed = server.wait_for(key, "/v2", 200);
    assert!(noticed < Duration::from_secs(1), "{noticed:?}");

    let question = json!({ "inputs": [
        { "name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": row(2) }
    ] });
    let (status, answer) = server.ask(key, "/v2/models/tiny/infer", Some(&question));
    assert_eq!(status, 200, "{answer}");
    let output = |name: &str| {
        let outputs = answer["outputs"].as_array().unwrap();
        outputs
            .iter()
            .find(|output| output["name"] == name)
            .unwrap()["data"]
            .clone()
    };
    assert_eq!(output("label"), json!(["right"]));
    let predicted = place.answer(&["predict", "tiny", "image.png"]);
    let same = |served: &Value, local: &Value| {
        (served.as_f64().unwrap() - local.as_f64().unwrap()).abs() < 1e-6
    };
    let (served, local) = (
        output("probabilities"),
        &predicted["predictions"][0]["probabilities"],
    );
    let pairs: Vec<_> = served
        .as_array()
        .unwrap()
        .iter()
        .zip(local.as_array().unwrap())
        .collect();
    assert!(
        pairs.len() == 3 && pairs.iter().all(|(served, local)| same(served, local)),
        "{served} {local}"
    );
    let (status, explanation) = server.ask(key, "/v2/models/tiny/explain", Some(&question));
    assert_eq!(status, 200, "{explanation}");
    assert_eq!(server.ask(key, "/metrics", None).0, 403);
    assert_eq!(server.ask("strata_0_0", "/v2", None).0, 401);

    assert!(place.answer(&["keys", "revoke", id])["revoked"].is_string());
    let noticed = server.wait_for(key, "/v2/models/tiny", 401);
    assert!(noticed < Duration::from_secs(1), "{noticed:?}");
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("tiny@1 sha256:"), "{notes}");
}

#[test]
fn folders_come_from_options_or_the_environment() {
    let place = Place::new();
    let ran = |args: &[&str]| {
        let mut command = place.command(args);
        command
            .env("STRATA_STORE", place.path("store"))
            .env("XDG_CONFIG_HOME", place.path("settings"));
        Ran::of(&mut command).success()
    };
    ran(&["identity", "init"]);
    ran(&["train", "recipe.toml", "--run", "one"]);
    assert!(place.path("settings/strata/identity/age.key").is_file());
    assert!(place.path("one/result.json").is_file());
    // Options go before variables.
    place.answer(&[
        "models",
        "verify",
        "tiny",
        "--store",
        "store",
        "--identity",
        "settings/strata/identity",
    ]);
    place.check_fails(
        &["models", "verify", "tiny", "--store", "one"],
        &["one: not a model store"],
    );
    assert!(!place.store().exists() && !place.identity().exists());
}

#[test]
fn mnist_is_learned_if_it_is_on_this_machine() {
    let Some(data) = std::env::var_os("STRATA_DATA") else {
        println!("skipped: STRATA_DATA is not set");
        return;
    };
    let place = Place::with_identity();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/mnist-mlp.toml");
    let json = |args: &[&str]| {
        Ran::of(
            place
                .command(&[args, &["--json"]].concat())
                .env("STRATA_DATA", &data),
        )
        .json()
    };
    let trained = json(&["train", recipe, "--set", "train.epochs=1"]);
    assert!(
        trained["metrics"]["test.accuracy"].as_f64().unwrap() > 0.9,
        "{trained}"
    );
    // Found again by the digests of what it learned from.
    assert_eq!(json(&["eval", "mnist-mlp"])["metrics"], trained["metrics"]);
}
