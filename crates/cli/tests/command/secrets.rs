//! Secrets stay where they are kept.

use std::fs;

use crate::{
    images::png,
    place::{Place, Ran, snapshot, words},
};

#[test]
fn no_command_prints_a_secret_and_no_file_holds_one() {
    let place = Place::new();
    let mut said = Vec::new();
    let mut note = |ran: Ran| said.push(format!("{}{}", ran.out, ran.err));
    note(place.run(&["identity", "init"]).success());
    note(place.run(&["identity", "show", "--json"]).success());
    let created = place.answer(&words(
        "keys create --name a --allow infer,explain --models all --expires 30d",
    ));
    let key = created["key"].as_str().unwrap();
    place.write("image.png", png(0));

    let read = |name: &str| fs::read_to_string(place.identity().join(name)).unwrap();
    let is_age_key = |line: &str| line.starts_with("AGE-SECRET-KEY-");
    let age_key = read("age.key")
        .lines()
        .find(|line| is_age_key(line))
        .unwrap()
        .to_owned();
    // The first line begins with what every key of the kind begins with.
    let signing_key = read("signing.key").lines().nth(2).unwrap().to_owned();
    let secrets = [key.rsplit('_').next().unwrap(), &age_key, &signing_key];
    assert!(
        secrets.iter().all(|secret| secret.len() > 40),
        "{secrets:?}"
    );

    let wrong = format!("{key}0");
    for args in [
        &["train", "recipe.toml"][..],
        &["train", "recipe.toml", "--json"],
        &["eval", "tiny", "--data", "./data"],
        &["predict", "tiny", "image.png"],
        &["explain", "tiny", "image.png"],
        &["models", "show", "tiny"],
        &["models", "show", "tiny", "--json"],
        &["models", "verify", "tiny"],
        &["models", "list"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["identity", "init"],
        &["keys", "revoke", &wrong.replace("strata_", "strata_0")],
        &["keys", "revoke", key],
        &["keys", "revoke", key],
    ] {
        note(place.run(args));
    }
    // Both keys swapped: the errors say what was expected, not what was found.
    let mut swapped = place.command(&["train", "recipe.toml"]);
    swapped
        .env("STRATA_AGE_KEY", read("signing.key"))
        .env("STRATA_SIGNING_KEY", read("age.key"));
    note(Ran::of(&mut swapped));
    for secret in secrets {
        for text in &said {
            assert!(!text.contains(secret), "a secret is in: {text}");
        }
    }

    let files = snapshot(&place.path("."));
    assert!(files.keys().any(|file| file.ends_with("keys.json")));
    for (file, content) in files {
        let is_home = ["age.key", "signing.key"]
            .iter()
            .any(|name| file.ends_with(name));
        let holds = |secret: &&str| {
            content
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        assert!(
            is_home || !secrets.iter().any(holds),
            "a secret is in {}",
            file.display()
        );
    }
}
