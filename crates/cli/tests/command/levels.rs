//! Levels as units: listed, compared, replaced, rolled back, and the gate before each.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, Ran, words};

/// With `tiny@1` and `other@1`, which is the same network from another seed.
fn place() -> Place {
    let place = Place::with_model();
    train(&place, &["name=other", "seed=2"]);
    place
}

fn train(place: &Place, set: &[&str]) {
    let mut args = words("train recipe.toml --quiet");
    for field in set {
        args.extend(["--set", field]);
    }
    place.run(&args).success();
}

fn blobs(place: &Place) -> usize {
    fs::read_dir(place.store().join("blobs/sha256"))
        .unwrap()
        .count()
}

/// The result of a command that the gate refuses.
fn refused(place: &Place, args: &[&str]) -> Value {
    let ran = place.run(&[args, &["--json"]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("error: the gate refuses: "), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn figures(answer: &Value) -> Vec<&str> {
    let checks = answer["gate"]["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| check["figure"].as_str().unwrap())
        .collect()
}

#[test]
fn a_replaced_level_is_measured_refused_and_stored_by_force_only() {
    let place = place();
    let (before, replace) = (
        blobs(&place),
        words("level replace tiny hidden --from other --data ./data"),
    );
    // Another seed numbers its units in another order, so the level above is lost.
    let answer = refused(&place, &replace);
    assert_eq!(
        (&answer["stored"], &answer["version"], &answer["parent"]),
        (&json!(false), &Value::Null, &json!(1))
    );
    assert_eq!(
        figures(&answer),
        [
            "outside-range",
            "accuracy-loss",
            "negative-flips",
            "calibration-loss"
        ]
    );
    assert_eq!(answer["gate"]["rows"], 30);
    assert_eq!(answer["gate"]["boundary"]["old"]["min"], 0.0);
    let ran = place.run(&replace);
    assert!(
        ran.out.contains("accuracy-loss") && ran.out.contains("fails"),
        "{ran:?}"
    );
    assert!(ran.err.contains("--force"), "{ran:?}");
    assert_eq!(
        place.answer(&words("models list"))[1]["versions"],
        json!([1])
    );

    let forced = place.answer(&[&replace[..], &["--force"]].concat());
    assert_eq!(
        (
            &forced["stored"],
            &forced["version"],
            &forced["gate"]["forced"]
        ),
        (&json!(true), &json!(2), &json!(true))
    );
    assert_eq!(blobs(&place), before, "both blobs are in the store already");
    let shown = place.answer(&words("models show tiny@2"));
    let lineage = &shown["manifest"]["lineage"];
    assert_eq!(lineage["parent"], 1);
    let origin = &lineage["change"]["origin"]["replaced"];
    assert_eq!(
        (&origin["model"], &origin["version"], &origin["level"]),
        (&json!("other"), &json!(1), &json!("hidden"))
    );
    assert_eq!(lineage["change"]["gate"]["forced"], true);
    assert_eq!(
        lineage["change"]["gate"]["checks"],
        answer["gate"]["checks"]
    );
    // The figures are its own.
    let evaluated = place.answer(&words("eval tiny@2 --data ./data"));
    assert_eq!(evaluated["metrics"], shown["manifest"]["metrics"]);
    let text = place.run(&words("models show tiny@2")).success().out;
    assert!(
        text.contains("made by force") && text.contains("other@1"),
        "{text}"
    );
    place.run(&words("models verify tiny@2")).success();
}

/// With `two@1` and `twin@1`: the trunk's head answers for what lies in `./other`, the top's for what lies in `./data`.
fn place_of_two_tasks() -> Place {
    let place = Place::with_identity();
    place.write_data("other", 96, 21);
    place.write_data("more", 96, 12);
    let recipe = fs::read_to_string(place.path("recipe.toml")).unwrap();
    let recipe = recipe
        .replace("name = \"tiny\"", "name = \"two\"")
        .replace("[preparation.image]", "also = [\"./other\"]\n\n[preparation.image]")
        .replace(
            "[[levels]]\nname = \"top\"",
            "head = { task = \"side\", layers = [{ dense = { units = 3 } }] }\n\n[[levels]]\nname = \"top\"",
        )
        .replace(
            "[[levels]]\nname = \"hidden\"",
            "[[tasks]]\nname = \"side\"\ndata = \"./other\"\nclassification = { classes = 3 }\n\n[[levels]]\nname = \"hidden\"",
        )
        .replace("[train]", "[train]\nstrategy = \"deep-supervision\"");
    place.write("recipe.toml", recipe);
    train(&place, &[]);
    train(&place, &["name=twin", "seed=2"]);
    place
}

fn replace_from_twin<'a>(data: &[&'a str], more: &'a str) -> Vec<&'a str> {
    let mut args = words("level replace two@1 hidden --from twin");
    for source in data {
        args.extend(["--data", source]);
    }
    args.extend(more.split_whitespace());
    args
}

#[test]
fn every_task_that_a_level_can_change_is_measured_and_one_without_labels_is_refused() {
    let place = place_of_two_tasks();
    let replace = replace_from_twin;
    let all = "--max-loss 1 --max-flips 1 --max-calibration 1 --max-outside 1";
    let heads = |answer: &Value| -> Vec<(String, u64)> {
        let heads = answer["gate"]["heads"].as_array().unwrap().iter();
        heads
            .map(|head| {
                let task = head["task"].as_str().unwrap().to_owned();
                (task, head["rows"].as_u64().unwrap())
            })
            .collect()
    };
    let of = |task: &str, rows| (task.to_owned(), rows);

    let both = ["./data", "./other"];
    let answer = refused(&place, &replace(&both, ""));
    assert_eq!(heads(&answer), [of("side", 21), of("third", 30)]);
    let ran = place.run(&replace(&both, ""));
    assert!(
        ran.err
            .contains("negative-flips of task `third` at level `top` is ")
            && ran.out.contains("task `side` at level `hidden`, 21 rows\n"),
        "{ran:?}"
    );

    // Rows of one source have nothing to say of the other's task, whatever is allowed.
    let answer = refused(&place, &replace(&["./data"], all));
    assert_eq!(heads(&answer), [of("side", 0), of("third", 30)]);
    let ran = place.run(&replace(&["./data"], all));
    let unmeasured = "task `side` at level `hidden` was not measured";
    assert!(
        ran.err.contains(&format!("the gate refuses: {unmeasured}"))
            && ran.out.contains(unmeasured),
        "{ran:?}"
    );
    refused(&place, &replace(&["./more"], all));
    place.check_fails(
        &words("eval two@1 --data ./more"),
        &["has a class of task `third`"],
    );

    // Other rows may have a source's labels.
    let made = place.answer(&replace(&["./other=./more", "./data"], all));
    assert_eq!(heads(&made), [of("side", 12), of("third", 30)]);
    let shown = place.answer(&words("models show two@2"));
    let gate = &shown["manifest"]["lineage"]["change"]["gate"];
    assert_eq!(
        (&gate["heads"], &gate["forced"]),
        (&made["gate"]["heads"], &json!(false))
    );
    let metrics = shown["manifest"]["metrics"].as_object().unwrap();
    assert!(metrics.contains_key("test.accuracy") && metrics.contains_key("hidden.test.accuracy"));

    let forced = place.answer(&replace(&["./data"], "--force"));
    assert_eq!(forced["gate"]["forced"], true);
    let card = place.run(&words("models show two@3")).success().out;
    assert!(
        card.contains("Not measured: task `side` at level `hidden`"),
        "{card}"
    );

    // The top level does not reach the head below it.
    let top = "level replace two@1 top --from twin --data ./data --force";
    assert_eq!(heads(&place.answer(&words(top))), [of("third", 30)]);
    // A level learns from the rows of its own task.
    let retrain = "level retrain two@1 hidden --data ./other --force";
    let made = place.answer(&words(retrain));
    assert_eq!(heads(&made), [of("side", 21), of("third", 0)]);
    place.check_fails(
        &words("level retrain two@1 hidden --data ./data --force"),
        &["no training row has a class of task `side`"],
    );
}

#[test]
fn what_the_gate_allows_is_stored_without_force_and_adds_at_most_one_blob() {
    let place = place();
    train(&place, &["train.epochs=9"]);
    let before = blobs(&place);
    let allow =
        words("--max-loss 1 --max-flips 1 --max-calibration 1 --max-outside 1 --data ./data");
    let replace = |from: &str| {
        let args = ["level", "replace", "tiny@1", "top", "--from", from];
        place.answer(&[&args, &allow[..]].concat())
    };
    let made = replace("tiny@2:top");
    assert_eq!(
        (
            &made["version"],
            &made["gate"]["forced"],
            &made["gate"]["passed"]
        ),
        (&json!(3), &json!(false), &json!(true))
    );
    assert_eq!(figures(&made).len(), 3, "nothing lies above the top level");
    assert_eq!(blobs(&place), before);

    // For others, none of the blobs is known to be right.
    place
        .run(&words("identity init --identity reader"))
        .success();
    let shown = place.answer(&words("identity show --identity reader"));
    let recipient = shown["age_recipient"].as_str().unwrap();
    let args = [
        "level",
        "replace",
        "tiny@1",
        "top",
        "--from",
        "other",
        "--recipient",
        recipient,
    ];
    place.answer(&[&args, &allow[..]].concat());
    assert_eq!(blobs(&place), before + 2);
}

#[test]
fn a_version_is_sealed_as_its_parent_is() {
    let place = place();
    let recipient = |identity: &str| {
        let shown = place.answer(&["identity", "show", "--identity", identity]);
        shown["age_recipient"].as_str().unwrap().to_owned()
    };
    place
        .run(&words("identity init --identity reader"))
        .success();
    let own = place.identity();
    let both = [recipient(own.to_str().unwrap()), recipient("reader")];
    let replace = words("level replace tiny@1 hidden --from other --data ./data --force");
    let seal = ["--recipient", &both[0], "--recipient", &both[1]];
    place.run(&[&replace[..], &seal].concat()).success();
    let again = words("level replace tiny@2 top --from other --data ./data --force");
    place.check_fails(
        &again,
        &["tiny@2 is sealed for several recipients", "--recipient"],
    );
}

#[test]
fn a_level_rolls_back_to_the_last_version_in_which_it_was_another() {
    let place = place();
    let replace = words("level replace tiny hidden --from other --data ./data --force");
    place.run(&replace).success();
    let rolled = place.answer(&words("level rollback tiny hidden --data ./data"));
    let origin = &rolled["origin"]["rolled-back"];
    assert_eq!(
        (&rolled["version"], &rolled["parent"], &origin["version"]),
        (&json!(3), &json!(2), &json!(1))
    );
    // The level above is used to it, not to the one that was forced in.
    assert!(!figures(&rolled).contains(&"outside-range"), "{rolled}");
    let level = |version: &str| {
        let listed = place.answer(&["level", "list", version]);
        listed["levels"][0].clone()
    };
    assert_eq!(level("tiny@1")["blob"], level("tiny@3")["blob"]);
    assert_eq!(level("tiny@3")["first_version"], 1);
    assert_eq!(level("tiny@2")["first_version"], 2);
    let same = place.answer(&words("predict tiny@1 image.png"));
    assert_eq!(
        place.answer(&words("predict tiny@3 image.png"))["predictions"],
        same["predictions"]
    );
    place.check_fails(
        &words("level rollback tiny hidden --to 3"),
        &["--to 3: expected a version before tiny@3"],
    );
    place.check_fails(
        &words("level rollback tiny hidden --to 1"),
        &["level `hidden` of tiny@1 is the one that tiny@3 has already"],
    );
    place.check_fails(
        &words("level rollback tiny top"),
        &["no version before tiny@3 has another level `top`"],
    );
    place.check_fails(
        &words("level rollback tiny hidden --to 2"),
        &["no held rows to measure the change on", "--data", "--force"],
    );
    // Without rows only by force, and then the version says so.
    let forced = place.answer(&words("level rollback tiny hidden --to 2 --force"));
    assert_eq!(
        (
            &forced["gate"]["rows"],
            &forced["gate"]["forced"],
            &forced["gate"]["passed"]
        ),
        (&json!(0), &json!(true), &json!(false))
    );
}

#[test]
fn levels_are_listed_and_compared() {
    let place = place();
    place
        .run(&words(
            "level replace tiny hidden --from other --data ./data --force",
        ))
        .success();
    let listed = place.answer(&words("level list tiny@1"));
    let levels = listed["levels"].as_array().unwrap();
    let sizes: Vec<&Value> = levels.iter().map(|level| &level["parameters"]).collect();
    assert_eq!(sizes, [&json!(64 * 16 + 16), &json!(16 * 3 + 3)]);
    assert_eq!(
        (
            &levels[0]["layers"],
            &levels[0]["input"],
            &levels[1]["head"]["task"]
        ),
        (
            &json!(["flatten", "dense", "relu"]),
            &json!([1, 8, 8]),
            &json!("third")
        )
    );
    let text = place.run(&words("level list tiny")).success().out;
    assert!(
        text.contains("hidden: [1, 8, 8] -> [16]  flatten dense relu\n  1040 weights")
            && text.contains("first in tiny@2"),
        "{text}"
    );

    let compared = place.answer(&words("level diff tiny@1 tiny@2"));
    let [hidden, top] = compared["levels"].as_array().unwrap().as_slice() else {
        panic!("{compared}");
    };
    assert_eq!(
        (&hidden["difference"], &top["difference"]),
        (&json!("changed"), &json!("same"))
    );
    let moved = hidden["relative_norm"].as_f64().unwrap();
    assert!((0.5..3.0).contains(&moved), "{moved}");
    assert_eq!(hidden["blobs"][1]["also_in"], json!(["other@1"]));
    assert_eq!(top["blobs"][0]["also_in"], json!(["tiny@2"]));
    assert_eq!(compared["also_different"], json!([]));

    train(&place, &["name=wide", "levels[0].layers[1].dense.units=8"]);
    let compared = place.answer(&words("level diff tiny@1 wide"));
    let hidden = &compared["levels"][0];
    assert_eq!(hidden["difference"], "architecture");
    assert_eq!(
        hidden["contracts"][0],
        json!({"what": "output", "old": {"shape": [16], "datatype": "FP32"}, "new": {"shape": [8], "datatype": "FP32"}})
    );
    let text = place.run(&words("level diff tiny@1 wide")).success().out;
    assert!(text.contains("output [8] FP32, was [16] FP32"), "{text}");
}

#[test]
fn a_level_that_does_not_fit_is_refused_and_nothing_changes() {
    let place = place();
    train(&place, &["name=wide", "levels[0].layers[1].dense.units=8"]);
    let fails = |line: &str, words_of_it: &[&str]| {
        place.check_fails(&words(line), words_of_it);
    };
    fails(
        "level replace tiny hidden --from wide --force",
        &[
            "level `hidden` of wide@1 cannot take the place of level `hidden` of tiny@1: what goes above (level `top`): \
             expected [16] FP32, found [8] FP32",
        ],
    );
    fails(
        "level replace tiny top --from wide --force",
        &["what comes from below (level `hidden`): expected [16] FP32, found [8] FP32"],
    );
    fails(
        "level replace tiny middle --from other",
        &["tiny@1 has no level `middle`: expected one of hidden, top"],
    );
    fails(
        "level replace tiny hidden --from other:stable",
        &["other@1 has no level `stable`", "write other:stable:LEVEL"],
    );
    fails(
        "level replace tiny hidden --from none",
        &["no model `none`"],
    );
    fails(
        "level replace tiny hidden --from tiny@1",
        &["is the one that tiny@1 has already"],
    );
    fails(
        "level replace tiny hidden --from other",
        &["no held rows", "--data SOURCE"],
    );
    fails(
        "level replace tiny hidden --from other --data ./none --force",
        &["./none"],
    );
    for line in [
        "level replace tiny hidden --from other --max-loss 2",
        "level replace tiny hidden --from a:b:c:d",
        "level replace tiny hidden",
    ] {
        let ran: Ran = place.run(&words(line));
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}
