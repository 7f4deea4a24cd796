//! Keys that would be of no use.

use std::fs;

use serde_json::json;

use crate::place::{Place, Ran};

fn create<'a>(allow: &'a str, models: &'a str, expires: &'a str) -> [&'a str; 10] {
    [
        "keys",
        "create",
        "--name",
        "a",
        "--allow",
        allow,
        "--models",
        models,
        "--expires",
        expires,
    ]
}

#[test]
fn keys_are_made_for_actions_models_and_a_time_that_exist() {
    let place = Place::new();
    let fails = |args: [&str; 10], words: &[&str]| {
        let ran = place.run(&args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(words.iter().all(|word| ran.err.contains(word)), "{ran:?}");
    };
    fails(
        create("think", "tiny", "30d"),
        &[
            "unknown action `think`",
            "infer, explain, metadata, metrics, load or admin",
        ],
    );
    // Looks like an option.
    fails(create("infer", "tiny", "-3d"), &["-3"]);
    for time in ["soon", "30", "0d", "", "99999999y", "1d ago"] {
        fails(create("infer", "tiny", time), &["--expires"]);
    }
    fails(create("infer", "", "1d"), &["--models"]);
    fails(create("infer", "../tiny", "1d"), &["--models", "../tiny"]);
    place.check_fails(
        &["keys", "revoke", "0123456789abcdef"],
        &["no key `0123456789abcdef`"],
    );
    assert_eq!(place.answer(&["keys", "list"]), json!([]));
    assert!(!place.store().exists());
}

#[test]
fn a_key_can_be_revoked_by_all_of_it_and_only_once() {
    let place = Place::new();
    let created = place.answer(&create("infer,metrics", "all", "1y"));
    let key = created["key"].as_str().unwrap();
    let revoked = place.answer(&["keys", "revoke", key]);
    assert_eq!(revoked["id"], created["id"]);
    // The time of the first one stays.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(
        place.answer(&["keys", "revoke", created["id"].as_str().unwrap()]),
        revoked
    );
    let listed = place.answer(&["keys", "list"]);
    assert_eq!(listed, json!([revoked]));
    assert_eq!(
        (&listed[0]["actions"], &listed[0]["models"]),
        (&json!(["infer", "metrics"]), &json!("all"))
    );
    let text = place.run(&["keys", "list"]).success().out;
    assert!(
        text.contains("revoked") && text.contains("infer,metrics  all"),
        "{text}"
    );
}

#[test]
fn many_keys_made_at_once_are_all_kept() {
    let place = Place::new();
    fs::create_dir_all(place.store()).unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| place.start(&mut place.command(&create("infer", "tiny", "30d"))))
        .collect();
    for child in children {
        Ran::end(child).success();
    }
    assert_eq!(place.answer(&["keys", "list"]).as_array().unwrap().len(), 8);
}
