//! Networks by name against the published definitions, as references/networks.py makes them.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use strata_nn::{LevelWeights, Network, Plan, Scratch, WeightTensor, tensors};
use strata_spec::{
    Level, Precision, level_shapes,
    networks::{LevelKeys, NamedNetwork},
};

const CLASSES: usize = 10;

/// Levels of a network that is written as in a recipe, in JSON, and the published names of their tensors.
fn named(network: &str) -> (Vec<Level>, Vec<LevelKeys>) {
    let network: NamedNetwork = serde_json::from_str(network).unwrap();
    let task = "object".parse().unwrap();
    let levels = network.levels(&task, CLASSES).unwrap();
    (levels, network.keys(&task, CLASSES).unwrap())
}

/// Weights of `levels`, from tensors under their published names.
fn weights(
    input: &[usize],
    (levels, keys): &(Vec<Level>, Vec<LevelKeys>),
    mut published: impl FnMut(&str) -> WeightTensor,
) -> Vec<LevelWeights> {
    let shapes = level_shapes(input, levels).unwrap();
    let levels = levels.iter().zip(keys).zip(&shapes);
    levels
        .map(|((level, keys), shapes)| {
            assert_eq!(keys.level, level.name);
            let tensors = keys.tensors.iter();
            let tensors = tensors.map(|(path, key)| (path.clone(), published(key)));
            LevelWeights::new(tensors.collect(), level, shapes).unwrap()
        })
        .collect()
}

/// The logits of the last of `levels`.
fn answers(input: &[usize], levels: &[Level], weights: &[LevelWeights], rows: &[f32]) -> Vec<f32> {
    let plan = Plan::compile(input, levels, weights, Precision::F32);
    let mut logits = vec![f32::NAN; rows.len() / plan.input_len() * plan.output_len()];
    plan.run(rows, &mut logits, &mut Scratch::default());
    logits
}

/// The largest error, as a share of the largest number that is expected.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0, |most: f32, value| most.max(value.abs()));
    let errors = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // Not `max`, which passes over a NaN.
    errors.fold(0.0, |most, error| if error <= most { most } else { error }) / largest
}

/// Each network of the script, and its rows.
const KNOWN: [(&str, &str, [usize; 3]); 27] = {
    const SMALL: [usize; 3] = [3, 32, 32];
    const LARGE: [usize; 3] = [3, 224, 224];
    [
        (
            "perceptron",
            r#"{"perceptron": {"hidden": [60, 30]}}"#,
            [1, 28, 28],
        ),
        ("resnet20", r#"{"resnet": {"depth": 20}}"#, SMALL),
        ("resnet32", r#"{"resnet": {"depth": 32}}"#, SMALL),
        ("resnet44", r#"{"resnet": {"depth": 44}}"#, SMALL),
        ("resnet56", r#"{"resnet": {"depth": 56}}"#, SMALL),
        ("resnet110", r#"{"resnet": {"depth": 110}}"#, SMALL),
        (
            "resnet18-cifar",
            r#"{"resnet": {"depth": 18, "stem": "cifar"}}"#,
            SMALL,
        ),
        (
            "resnet50-cifar",
            r#"{"resnet": {"depth": 50, "stem": "cifar"}}"#,
            SMALL,
        ),
        (
            "densenet121-cifar",
            r#"{"densenet": {"depth": 121, "stem": "cifar"}}"#,
            SMALL,
        ),
        (
            "googlenet-cifar",
            r#"{"googlenet": {"stem": "cifar"}}"#,
            SMALL,
        ),
        (
            "squeezenet1_0-cifar",
            r#"{"squeezenet": {"version": "1.0", "stem": "cifar"}}"#,
            SMALL,
        ),
        (
            "squeezenet1_1-cifar",
            r#"{"squeezenet": {"stem": "cifar"}}"#,
            SMALL,
        ),
        ("alexnet-cifar", r#"{"alexnet": {"stem": "cifar"}}"#, SMALL),
        (
            "squeezenet1_0",
            r#"{"squeezenet": {"version": "1.0"}}"#,
            LARGE,
        ),
        ("squeezenet1_1", r#"{"squeezenet": {}}"#, LARGE),
        ("alexnet", r#"{"alexnet": {}}"#, LARGE),
        ("googlenet", r#"{"googlenet": {}}"#, LARGE),
        ("inception_v3", r#"{"inception-v3": {}}"#, [3, 299, 299]),
        ("resnet18", r#"{"resnet": {"depth": 18}}"#, LARGE),
        ("resnet34", r#"{"resnet": {"depth": 34}}"#, LARGE),
        ("resnet50", r#"{"resnet": {"depth": 50}}"#, LARGE),
        ("resnet101", r#"{"resnet": {"depth": 101}}"#, LARGE),
        ("resnet152", r#"{"resnet": {"depth": 152}}"#, LARGE),
        ("densenet121", r#"{"densenet": {"depth": 121}}"#, LARGE),
        ("densenet161", r#"{"densenet": {"depth": 161}}"#, LARGE),
        ("densenet169", r#"{"densenet": {"depth": 169}}"#, LARGE),
        ("densenet201", r#"{"densenet": {"depth": 201}}"#, LARGE),
    ]
};

#[test]
fn networks_answer_as_the_published_ones() {
    let Ok(python) = std::env::var("STRATA_PEERS_PYTHON") else {
        println!("skipped: STRATA_PEERS_PYTHON names no Python with torchvision");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/networks.py");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network.safetensors");
    let file = file.with_extension(std::process::id().to_string());
    for (name, network, input) in KNOWN {
        let mut command = Command::new(&python);
        let command = command.arg("-B").arg(&script).arg(name).arg(&file);
        let status = command.status().unwrap();
        assert!(status.success(), "{name}: the script fails");
        let (mut published, _) = tensors::read(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();

        let named = named(network);
        let weights = weights(&input, &named, |key| {
            let tensor = published.remove(key);
            tensor.unwrap_or_else(|| panic!("{name} has no `{key}`"))
        });
        let rows = published.remove("input").unwrap().values;
        let heads = ["aux1", "aux2", "AuxLogits", "logits"];
        let heads = heads.iter().filter_map(|head| published.remove(*head));
        let levels = &named.0;
        let with_heads = (0..levels.len()).filter(|index| levels[*index].head.is_some());
        let mut compared = 0;
        for (index, expected) in with_heads.zip(heads) {
            let found = answers(&input, &levels[..=index], &weights[..=index], &rows);
            let error = error(&found, &expected.values);
            println!("{name} {}: {error:.1e}", levels[index].name);
            assert!(error < 1e-4, "{name} {}: {error}", levels[index].name);
            compared += 1;
        }
        let heads = levels.iter().filter(|level| level.head.is_some()).count();
        assert_eq!(compared, heads, "{name}");
        // Every published tensor has its place.
        assert!(published.is_empty(), "{name}: {:?}", published.keys());
    }
}

/// Uniform in `middle` -+ `scale` / 2, the same numbers as in the script.
fn numbers(salt: usize, count: usize, scale: f64, middle: f64) -> Vec<f32> {
    let number = |index: usize| {
        let bits = (index as u64 * 2_654_435_761 + salt as u64 * 40_503 + 12_345) % (1 << 32);
        let bits = (bits ^ (bits >> 15)) * 2_246_822_519 % (1 << 32);
        ((bits as f64 / (1_u64 << 32) as f64 - 0.5) * scale + middle) as f32
    };
    (0..count).map(number).collect()
}

/// The tensor under a published name that is number `salt` of all.
fn formula(salt: usize, key: &str, shape: &[usize]) -> WeightTensor {
    let (scale, middle) = match shape {
        _ if key.ends_with("running_var") => (1.0, 1.0),
        [_] if key.ends_with("weight") => (0.5, 1.0),
        [_] => (0.5, 0.0),
        [_, inputs @ ..] => ((24.0 / inputs.iter().product::<usize>() as f64).sqrt(), 0.0),
        [] => unreachable!("no tensor is a number"),
    };
    WeightTensor {
        shape: shape.to_vec(),
        values: numbers(salt, shape.iter().product(), scale, middle),
    }
}

#[test]
fn small_networks_answer_as_the_published_ones_without_torchvision() {
    let input = [3, 32, 32];
    let expected = include_str!("references/networks.json");
    let expected: BTreeMap<String, Vec<f32>> = serde_json::from_str(expected).unwrap();
    for (name, expected) in expected {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let named = named(known.unwrap().1);
        let fresh = Network::new(&input, &named.0, 0, Precision::F32).weights();
        let shapes: BTreeMap<&String, &Vec<usize>> = fresh
            .iter()
            .zip(&named.1)
            .flat_map(|(fresh, keys)| {
                fresh
                    .iter()
                    .map(|(path, tensor)| (&keys.tensors[path], &tensor.shape))
            })
            .collect();
        let keys: BTreeSet<&str> = shapes.keys().map(|key| key.as_str()).collect();
        let weights = weights(&input, &named, |key| {
            let salt = keys.iter().position(|other| *other == key).unwrap();
            formula(salt, key, shapes[&key.to_owned()])
        });
        let rows = numbers(100, 3 * 32 * 32, 2.0, 0.0);
        let error = error(&answers(&input, &named.0, &weights, &rows), &expected);
        assert!(error < 1e-4, "{name}: {error}");
    }
}
