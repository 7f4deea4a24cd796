//! The same recipe by each strategy: what the table of strategies promises, seen from outside.

#![allow(clippy::unwrap_used)]

mod common;

use common::{CONVOLUTIONAL, check_resume, data, recipe, uninterrupted};
use strata_spec::Recipe;
use strata_train::{EventKind, Run, TrainError, Trained, check_available, train};

const SETTINGS: [&str; 5] = [
    "end-to-end",
    "deep-supervision",
    "local",
    "greedy",
    "staged",
];

fn strategy(name: &str) -> String {
    format!("train.strategy={name}")
}

/// Learns the small recipe with other settings.
fn learned(settings: &[&str]) -> Trained {
    let place = tempfile::tempdir().unwrap();
    uninterrupted(&place.path().join("run"), settings)
}

fn bytes(trained: &Trained) -> Vec<Vec<u8>> {
    let weights = trained.weights.iter();
    weights.map(|weights| weights.to_safetensors()).collect()
}

#[test]
fn every_strategy_learns_and_resumes_to_the_same_bytes() {
    for name in SETTINGS {
        let strategy = strategy(name);
        let objectives: &[&str] = if ["end-to-end", "staged"].contains(&name) {
            &["cross-entropy"]
        } else {
            &["cross-entropy", "predsim", "infopro"]
        };
        for objective in objectives {
            let objective = format!("train.objective={objective}");
            check_resume(&[CONVOLUTIONAL, &strategy, &objective], &[5, 12, 30]);
        }
        let trained = learned(&[&strategy, "train.epochs=20"]);
        let accuracy = trained.test.accuracy;
        assert!(accuracy > 0.8, "{name}: {accuracy}");
    }
}

#[test]
fn rows_that_are_changed_and_mixed_resume_to_the_same_bytes() {
    for augmentation in [
        "[\"flip\", { crop = { padding = 1 } }]",
        "[\"flip\", { mixup = {} }]",
        "[{ cutmix = {} }]",
    ] {
        let augmentation = format!("data.augmentation={augmentation}");
        let smoothing = "train.label_smoothing=0.1";
        check_resume(&[CONVOLUTIONAL, &augmentation, smoothing], &[5, 12, 30]);
        let greedy = [CONVOLUTIONAL, &augmentation, "train.strategy=greedy"];
        if augmentation.contains("mi") {
            check_resume(&[&greedy[..], &["train.greedy.cache=none"]].concat(), &[12]);
        } else {
            check_resume(
                &[&greedy[..], &["train.greedy.views=2"]].concat(),
                &[12, 30],
            );
        }
    }
}

#[test]
fn one_level_learned_locally_is_learned_end_to_end() {
    let one = "levels=[{ name = \"all\", layers = [\"flatten\", { dense = { units = 8 } }, \"relu\"], \
               head = { task = \"class\", layers = [{ dense = { units = 3 } }] } }]";
    let by = |name| bytes(&learned(&[one, &strategy(name)]));
    let expected = by("end-to-end");
    for name in ["local", "greedy", "deep-supervision"] {
        assert_eq!(by(name), expected, "{name}");
    }
}

#[test]
fn where_features_are_kept_changes_nothing() {
    let by = |cache: &str| {
        let cache = format!("train.greedy.cache={cache}");
        bytes(&learned(&[CONVOLUTIONAL, "train.strategy=greedy", &cache]))
    };
    let expected = by("none");
    assert_eq!(by("memory"), expected);
    assert_eq!(by("disk"), expected);
}

#[test]
fn an_auxiliary_head_is_not_kept_and_an_exit_is() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let trained = uninterrupted(&folder, &["train.strategy=local"]);
    assert!(trained.heads.is_empty());
    assert!(
        trained.weights[0]
            .iter()
            .all(|(name, _)| name.starts_with("layers."))
    );

    let exit = "levels[0].head={ task = \"class\", layers = [{ dense = { units = 3 } }] }";
    let trained = learned(&[exit, "train.strategy=local", "train.epochs=20"]);
    assert_eq!(trained.heads.len(), 1);
    assert_eq!(trained.heads[0].level.as_str(), "hidden");
    assert!(trained.heads[0].test.accuracy > 0.8);
    assert_eq!(trained.heads[0].validation.as_ref().unwrap().rows, 51);

    let mut run =
        Run::create(&place.path().join("refused"), recipe(&[exit]), place.path()).unwrap();
    let refused = train(&mut run, data(), &|| false, &mut |_| ()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "level `hidden` has a head, which `end-to-end` does not learn: use `deep-supervision`, `local` or `greedy`, or \
         leave the head out"
    );
}

/// GoogLeNet or Inception v3, end to end.
fn published(network: &str, size: usize) -> String {
    format!(
        r#"
format = 1
name = "published"

[data]
source = "cifar10"

[preparation.image]
channels = 3
height = {size}
width = {size}

[[tasks]]
name = "object"
classification = {{ classes = 10 }}

[network.{network}]

[train]
epochs = 1
batch = 16
optimizer = {{ sgd = {{ learning_rate = 0.01 }} }}
"#
    )
}

#[test]
fn a_network_with_auxiliary_heads_learns_end_to_end_by_what_the_refusal_says() {
    let check = |network: &str, size: usize, heads: &[&str], weight: f64| {
        let text = published(network, size);
        let parse = |set: &[String]| Recipe::parse(&text, "r.toml", set).unwrap();
        let refused = check_available(&parse(&[])).unwrap_err().to_string();
        let quoted: Vec<&str> = refused.split('`').skip(1).step_by(2).collect();
        let ["auxiliary = false", table, settings @ ..] = &quoted[2..] else {
            panic!("{refused}");
        };
        assert_eq!(*table, format!("[network.{network}]"));
        let without = parse(&[format!("network.{network}.auxiliary=false")]);
        assert!(check_available(&without).is_ok());

        let set: Vec<String> = settings
            .iter()
            .map(|setting| setting.replacen(" = ", "=", 1))
            .collect();
        let with = parse(&set);
        assert!(check_available(&with).is_ok());
        // No level learns but by its own head.
        let names: Vec<&str> = with
            .levels
            .iter()
            .map(|level| level.name.as_str())
            .collect();
        assert_eq!(names[..names.len() - 1], *heads);
        assert!(with.levels.iter().all(|level| level.head.is_some()));
        for head in heads {
            let level = &with.train.levels[&head.parse().unwrap()];
            assert_eq!(level.weight, weight);
        }
    };
    check("googlenet", 224, &["inception4a", "inception4d"], 0.3);
    check("inception-v3", 299, &["mixed6"], 0.4);
}

#[test]
fn an_auxiliary_head_is_what_the_recipe_says_and_is_not_kept() {
    let auxiliary = "train.levels.hidden.auxiliary=[{ dense = { units = 7 } }, 'relu', { dense = { units = 3 } }]";
    let local = "train.strategy=local";
    let (own, default) = (learned(&[auxiliary, local]), learned(&[local]));
    assert!(own.heads.is_empty());
    let names = |trained: &Trained| -> Vec<String> {
        let names = trained.weights[0].iter().map(|(name, _)| name.to_owned());
        names.collect()
    };
    assert_eq!(names(&own), names(&default));
    assert_ne!(own.weights, default.weights);
    // The same recipe end to end, where nobody asks for it.
    assert_eq!(learned(&[auxiliary]).weights, learned(&[]).weights);
}

#[test]
fn a_level_may_have_a_task_of_its_own() {
    // The lower level tells the first class from the two others.
    let tasks = "tasks=[{ name = \"first\", classification = { classes = 2, groups = [[0], [1, 2]] } }, \
                 { name = \"class\", classification = { classes = 3 } }]";
    let head = "levels[0].head={ task = \"first\", layers = [{ dense = { units = 2 } }] }";
    let trained = learned(&[tasks, head, "train.strategy=local", "train.epochs=20"]);
    assert_eq!(trained.heads[0].task.as_str(), "first");
    assert!(trained.heads[0].test.accuracy > 0.85);
    assert!(trained.test.accuracy > 0.7);

    // Rows that are of no class of a task are not its.
    let two = "tasks=[{ name = \"first\", classification = { classes = 2, groups = [[0], [2]] } }, \
               { name = \"class\", classification = { classes = 3 } }]";
    let trained = learned(&[two, head, "train.strategy=deep-supervision"]);
    assert_eq!((trained.heads[0].test.rows, trained.test.rows), (40, 60));

    let none = two.replace("[[0], [2]]", "[[7], [8]]");
    let place = tempfile::tempdir().unwrap();
    let recipe = recipe(&[&none, head, "train.strategy=local"]);
    let mut run = Run::create(&place.path().join("run"), recipe, place.path()).unwrap();
    let error = train(&mut run, data(), &|| false, &mut |_| ()).unwrap_err();
    assert!(matches!(&error, TrainError::Data(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "data: no training row has a class of task `first`"
    );
}

#[test]
fn turns_follow_each_other_and_say_whose_they_are() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    uninterrupted(
        &folder,
        &["train.strategy=greedy", "train.levels.hidden.epochs=2"],
    );
    let events = Run::open(&folder).unwrap().events().unwrap();
    let epochs = events.iter().filter_map(|event| match &event.kind {
        EventKind::Epoch { epoch, level, .. } => Some((*epoch, level.as_ref()?.to_string())),
        _ => None,
    });
    let hidden = (1..=2).map(|epoch| (epoch, "hidden".to_owned()));
    let top = (3..=6).map(|epoch| (epoch, "top".to_owned()));
    assert_eq!(
        epochs.collect::<Vec<_>>(),
        hidden.chain(top).collect::<Vec<_>>()
    );
    assert!(!folder.join("features.tmp").exists());
}

#[test]
fn memory_saved_changes_no_byte() {
    let plain = bytes(&learned(&[CONVOLUTIONAL]));
    assert_eq!(
        bytes(&learned(&[CONVOLUTIONAL, "train.checkpointing=true"])),
        plain
    );
    assert_eq!(
        bytes(&learned(&[CONVOLUTIONAL, "train.accumulate=1"])),
        plain
    );
}
