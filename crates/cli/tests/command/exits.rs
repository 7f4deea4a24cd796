//! Networks whose rows may leave early: calibration, and what the other commands then say.

use std::path::Path;

use serde_json::Value;
use strata_data::{Places, Preparer, load};
use strata_nn::{LevelWeights, WeightTensor};
use strata_package::{Identity, NewLevel, NewVersion, Sealing, Store};
use strata_spec::{
    Classification, DataDigest, DataSpec, Dense, Digest, Head, ImagePreparation, Layer, Level,
    Lineage, Precision, Preparation, Strategy, Task, Validation, level_shapes,
};

use crate::{
    images::{CLASSES, SIDE, png},
    place::{Place, words},
};

const PIXELS: usize = SIDE * SIDE;

/// Sums the pixels of each third of an image: right for every image of a place.
fn thirds(strength: f32) -> WeightTensor {
    let weight = |index: usize| {
        let (class, place) = (index / PIXELS, index % PIXELS);
        if place % SIDE * CLASSES / SIDE == class {
            strength
        } else {
            0.0
        }
    };
    WeightTensor {
        shape: vec![CLASSES, PIXELS],
        values: (0..CLASSES * PIXELS).map(weight).collect(),
    }
}

fn tensor(shape: &[usize], values: &[f32]) -> WeightTensor {
    WeightTensor {
        shape: shape.to_vec(),
        values: values.to_vec(),
    }
}

/// Adds `early@1` to the place's store: an exit and a top that are both right, and between them a head that says whether it is
/// the left third.
fn add_model(place: &Place, learned: Vec<DataDigest>, validation: Option<Validation>) {
    let dense = |units| Layer::Dense(Dense::new(units));
    let level = |name: &str, layers, head: Option<(&str, usize)>| Level {
        name: name.parse().unwrap(),
        layers,
        head: head.map(|(task, units)| Head {
            task: task.parse().unwrap(),
            layers: vec![dense(units)],
            mirrored: false,
        }),
    };
    let levels = vec![
        level("low", vec![Layer::Flatten], Some(("third", CLASSES))),
        level("side", vec![dense(CLASSES)], Some(("left", 2))),
        level("top", Vec::new(), Some(("third", CLASSES))),
    ];
    let named = |tensors: &[(&str, WeightTensor)]| {
        tensors
            .iter()
            .map(|(name, tensor)| (name.to_string(), tensor.clone()))
            .collect()
    };
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let tensors = [
        named(&[
            ("head.0.weight", thirds(0.1)),
            ("head.0.bias", tensor(&[3], &[0.0; 3])),
        ]),
        named(&[
            ("layers.0.weight", thirds(1.0)),
            ("layers.0.bias", tensor(&[3], &[0.0; 3])),
            (
                "head.0.weight",
                tensor(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 0.5, 0.5]),
            ),
            ("head.0.bias", tensor(&[2], &[0.0; 2])),
        ]),
        named(&[
            ("head.0.weight", tensor(&[3, 3], &identity)),
            ("head.0.bias", tensor(&[3], &[0.0; 3])),
        ]),
    ];
    let preparation: Preparation =
        serde_json::from_value(serde_json::json!({ "image": { "height": SIDE, "width": SIDE } }))
            .unwrap();
    let shapes = level_shapes(&preparation.output_shape(), &levels).unwrap();
    let levels = levels.into_iter().zip(shapes).zip(tensors);
    let levels = levels.map(|((architecture, shapes), tensors)| NewLevel {
        weights: LevelWeights::new(tensors, &architecture, &shapes)
            .unwrap()
            .to_safetensors(),
        architecture,
        shapes,
    });
    let task = |name: &str, labels: &[&str]| {
        let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
        Task::new(
            name.parse().unwrap(),
            Classification::new(labels.len(), labels),
        )
    };
    let new = NewVersion {
        name: "early".parse().unwrap(),
        description: String::new(),
        levels: levels.collect(),
        network: None,
        tasks: vec![
            task("third", &["left", "middle", "right"]),
            task("left", &["yes", "no"]),
        ],
        preparation,
        lineage: Lineage {
            recipe: Digest::from_bytes([0; 32]),
            data: learned,
            validation,
            level_data: Vec::new(),
            seed: 0,
            strategy: Strategy::EndToEnd,
            code: "by hand".to_owned(),
            weights: None,
            parent: None,
            change: None,
        },
        metrics: Default::default(),
        precision: Precision::F32,
        card: "# Early\n".to_owned(),
    };
    let identity = Identity::find(Some(&place.identity())).unwrap();
    let store = Store::create_if_missing(&place.store()).unwrap();
    store.add(new, &identity, Sealing::Own).unwrap();
}

/// With an identity, 2,400 training rows in `many`, and `image.png`, which is bright on the right.
fn place() -> Place {
    let place = Place::with_identity();
    place.write_data("many", 2400, 60);
    place.write("image.png", png(2));
    place
}

fn digests(place: &Place, folder: &str) -> Vec<DataDigest> {
    let spec: DataSpec =
        serde_json::from_value(serde_json::json!({ "source": format!("./{folder}") })).unwrap();
    let base = place.path("");
    let data = load(
        &spec,
        &Preparer::new(&ImagePreparation::new(SIDE, SIDE, 1)),
        Path::new(&base),
        CLASSES,
        &Places::from_env(),
        &mut |_| (),
    );
    data.unwrap().digests
}

const CALIBRATE: [&str; 6] = [
    "exits",
    "calibrate",
    "early",
    "--data",
    "./many",
    "--epsilon",
];

#[test]
fn calibration_makes_a_version_whose_rows_leave_early() {
    let place = place();
    add_model(&place, Vec::new(), None);
    let before = place.answer(&["predict", "early", "image.png"]);
    assert_eq!(before["predictions"][0]["exit"], "top");
    assert_eq!(before["predictions"][0]["tasks"]["left"]["label"], "no");

    let answer = place.answer(&[&CALIBRATE[..], &["0.01"]].concat());
    assert_eq!(
        (&answer["version"], &answer["parent"]),
        (&2.into(), &1.into())
    );
    let exits = &answer["exits"];
    assert_eq!(exits["thresholds"][0]["level"], "low");
    assert_eq!(
        (&exits["rows"], &exits["epsilon"], &exits["delta"]),
        (&2400.into(), &0.01.into(), &0.05.into())
    );
    assert!(exits["work"].as_f64().unwrap() < 0.75, "{exits}");
    assert_eq!(exits["data"].as_array().unwrap().len(), 4);
    place.run(&["models", "verify", "early@2"]).success();
    let shown = place.run(&["models", "show", "early@2"]).success().out;
    assert!(shown.contains("exit       low from "), "{shown}");
    assert!(
        shown.contains(
            "promise    at most 0.01 of accuracy lost except with probability 0.05, from 2400 rows"
        ),
        "{shown}"
    );

    // The exit's own answer by the stored threshold, and the full network's where it is asked for.
    let predict = |options: &[&str]| {
        let answer = place.answer(&[&["predict", "early", "image.png"], options].concat());
        answer["predictions"][0].clone()
    };
    assert_eq!(predict(&[])["exit"], "low");
    assert_eq!(predict(&["--exit", "top"]), before["predictions"][0]);
    assert_eq!(predict(&["--confidence", "1"])["exit"], "top");
    let text = place.run(&["predict", "early", "image.png"]).success().out;
    assert!(
        text.contains("right (") && text.contains("%), at low, left: no ("),
        "{text}"
    );

    let eval = place.answer(&["eval", "early", "--data", "./many"]);
    assert_eq!(eval["metrics"]["test.accuracy"], 1.0);
    let share = |exit: usize| eval["exits"][exit]["share"].as_f64().unwrap();
    assert!(
        share(0) > 0.9 && (share(0) + share(1) - 1.0).abs() < 1e-9,
        "{eval}"
    );
    assert_eq!(
        (
            &eval["exits"][1]["exit"],
            &eval["exits"][1]["accuracy_alone"]
        ),
        (&"top".into(), &1.0.into())
    );
    assert!(eval["milliseconds"].as_f64().unwrap() > 0.0);
    let full = place.answer(&["eval", "early", "--data", "./many", "--exit", "top"]);
    assert_eq!(full["exits"][0]["accuracy"], Value::Null);
}

#[test]
fn what_proves_nothing_is_refused() {
    let place = place();
    place.write_data("few", 300, 30);
    let many = digests(&place, "many");
    let fails = |arguments: &[&str], words: &[&str]| {
        place.check_fails(
            &[&["exits", "calibrate", "early"], arguments].concat(),
            words,
        );
    };
    add_model(&place, Vec::new(), None);
    fails(
        &["--data", "./few"],
        &["300 rows are too few", "at least 896 are needed"],
    );
    fails(
        &["--data", "./many", "--epsilon", "0"],
        &["epsilon: expected more than 0 and at most 0.5, found 0"],
    );
    fails(
        &["--data", "./many", "--delta", "0.9"],
        &["delta: expected more than 0 and at most 0.5, found 0.9"],
    );
    fails(
        &[],
        &["what early learned from is not on this machine", "--data"],
    );

    add_model(&place, many.clone(), None);
    fails(
        &["--data", "./many"],
        &[
            "early@2 learned from all training rows",
            "name other data by --data",
            "or train it with `data.validation = { fraction = 0.1 }`",
        ],
    );
    add_model(&place, many[..2].to_vec(), None);
    fails(
        &["--data", "./many"],
        &["early@3 learned from `train-images-idx3-ubyte`, which is a part of"],
    );

    // A tenth of 2,400 rows was kept aside; the promise is one that so many can give.
    let validation = Validation {
        fraction: 0.1,
        seed: 5,
    };
    add_model(&place, many, Some(validation));
    fails(&["--data", "./many"], &["240 rows are too few"]);
    let answer = place.answer(&[&CALIBRATE[..], &["0.05"]].concat());
    assert_eq!(answer["exits"]["rows"], 240);
}

#[test]
fn rows_that_a_single_level_learned_from_prove_nothing_either() {
    let place = place();
    place.write_data("fresh", 2403, 63);
    add_model(&place, Vec::new(), None);
    place.run(&[&CALIBRATE[..], &["0.01"]].concat()).success();
    let retrain = "level retrain early@2 top --data ./many --force";
    let ran = place.run(&words(retrain)).success();
    assert!(
        ran.err
            .contains("calibrate anew by `strata exits calibrate early@3`"),
        "{ran:?}"
    );
    let refused = |version: u64, file: &str| {
        let model = format!("early@{version}");
        place.check_fails(
            &["exits", "calibrate", &model, "--data", "./many"],
            &[
                &format!("a level of {model} that learned anew"),
                &format!("learned from `{file}`"),
                "name other data by --data",
            ],
        );
        let shown = place.run(&["models", "show", &model]).success().out;
        assert!(shown.contains(&format!("level data {file} ")), "{shown}");
    };
    refused(3, "train-images-idx3-ubyte");
    place
        .run(&words(
            "exits calibrate early@3 --data ./fresh --epsilon 0.05",
        ))
        .success();
    // Version 5 is as version 1 was; 6 has the level that learned, by way of a calibrated version.
    add_model(&place, Vec::new(), None);
    let replace = "level replace early@5 top --from early@4 --data ./fresh --force";
    let ran = place.run(&words(replace)).success();
    assert!(!ran.err.contains("calibrate anew"), "{ran:?}");
    refused(6, "train-images-idx3-ubyte");
}

#[test]
fn rows_kept_aside_by_one_version_and_learned_by_a_level_of_another_prove_nothing() {
    let place = place();
    let many = digests(&place, "many");
    let validation = |seed| {
        Some(Validation {
            fraction: 0.5,
            seed,
        })
    };
    add_model(&place, many.clone(), validation(5));
    add_model(&place, many.clone(), validation(5));
    add_model(&place, many, validation(6));
    // Other weights, so that there is something to take over.
    place.write_data("fresh", 2403, 63);
    for version in [2, 3] {
        let retrain = format!("level retrain early@{version} top --data ./fresh --force");
        place.run(&words(&retrain)).success();
    }
    let replace = |from: u64| {
        let replace =
            format!("level replace early@1 top --from early@{from} --data ./fresh --force");
        place.run(&words(&replace)).success();
    };
    replace(4);
    let calibrate =
        |version: u64| format!("exits calibrate early@{version} --data ./many --epsilon 0.05");
    place.run(&words(&calibrate(6))).success();
    replace(5);
    place.check_fails(
        &words(&calibrate(8)),
        &["learned from `train-images-idx3-ubyte`"],
    );
}

#[test]
fn exits_that_are_not_there_are_named() {
    let place = Place::with_model();
    place.write_data("many", 2400, 60);
    place.check_fails(
        &["exits", "calibrate", "tiny", "--data", "./many"],
        &["tiny@1 has no exit: no level below the top has a head for task `third`"],
    );
    let predict = |options: &[&str], words: &[&str]| {
        place.check_fails(
            &[&["predict", "tiny", "image.png"], options].concat(),
            words,
        );
        place.check_fails(
            &[&["eval", "tiny", "--data", "./data"], options].concat(),
            words,
        );
    };
    predict(
        &["--exit", "hidden"],
        &["--exit: expected top, found `hidden`"],
    );
    predict(
        &["--confidence", "0.5"],
        &["--confidence: tiny@1 has no exit below its top level"],
    );
    place
        .run(&["predict", "tiny", "image.png", "--exit", "top"])
        .success();
    let wrong = place.run(&["predict", "tiny", "image.png", "--confidence", "2"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("expected a number from 0 to 1"),
        "{wrong:?}"
    );
}
