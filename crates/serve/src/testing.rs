//! A small network for tests.

use std::{collections::BTreeMap, time::Duration};

use strata_nn::{LevelWeights, Network, Plan, WeightTensor};
use strata_spec::{Blob, Digest, Layer, Level, Manifest, ManifestLevel, Precision, level_shapes};

use crate::{
    metrics::Metrics,
    runtime::{BatchLimits, Version},
};

/// Height and width of its images, which are grey.
pub(crate) const SIDE: usize = 4;
/// Numbers in a row.
pub(crate) const ROW: usize = SIDE * SIDE;
/// Its classes.
pub(crate) const CLASSES: usize = 3;

/// Rows that are the same for the same seed, with numbers from 0 to 1.
pub(crate) fn rows(seed: u64, count: usize) -> Vec<f32> {
    numbers(seed, count * ROW)
}

pub(crate) fn plan() -> Plan {
    let levels = levels();
    Plan::compile(&[1, SIDE, SIDE], &levels, &weights(&levels), Precision::F32)
}

pub(crate) fn version(number: u64) -> Version {
    let levels = levels();
    start(&manifest(number, levels.clone()), &weights(&levels))
}

/// A version with the exits `low` and `middle` below its level `top`, and between them and the top a level `kind` that
/// answers another task.
pub(crate) fn version_with_exits() -> Version {
    let levels = levels_with_exits();
    let network = Network::new(&[1, SIDE, SIDE], &levels, 4, Precision::F32);
    start(&manifest(1, levels), &network.weights())
}

fn start(manifest: &Manifest, weights: &[LevelWeights]) -> Version {
    let limits = BatchLimits {
        queue_rows: 64,
        batch_rows: 8,
        batch_bytes: usize::MAX,
        latency_target: None,
        inline: Duration::MAX,
    };
    let digest = Digest::from_bytes([7; 32]);
    Version::start(manifest, digest, weights, limits, &Metrics::new()).unwrap()
}

fn manifest(number: u64, levels: Vec<Level>) -> Manifest {
    let shapes = level_shapes(&[1, SIDE, SIDE], &levels).unwrap();
    let zero = Digest::from_bytes([0; 32]);
    let blob = Blob {
        digest: zero,
        plain: zero,
        bytes: 0,
        sealed: false,
    };
    let levels = levels.into_iter().zip(&shapes);
    let levels: Vec<_> = levels
        .map(|(level, shape)| ManifestLevel::new(level, shape, blob.clone()))
        .collect();
    let json = serde_json::json!({
        "format": 1, "name": "tiny", "version": number, "created": "2026-01-01T00:00:00Z", "description": "",
        "levels": levels,
        "tasks": [{"name": "shape", "classification": {"classes": CLASSES, "labels": ["ring", "bar", "\"dot\""]}},
                  {"name": "kind", "classification": {"classes": 2, "labels": ["round", "straight"]}}],
        "preparation": {"image": {"height": SIDE, "width": SIDE}},
        "lineage": {"recipe": zero, "data": [], "seed": 0, "strategy": "end-to-end", "code": "strata 0"},
        "metrics": {}, "precision": "f32",
    });
    Manifest::parse(json.to_string().as_bytes()).unwrap()
}

fn levels_with_exits() -> Vec<Level> {
    let dense = |units| Layer::Dense(strata_spec::Dense::new(units));
    let level = |name: &str, layers, task: &str, units| Level {
        name: name.parse().unwrap(),
        layers,
        head: Some(strata_spec::Head {
            task: task.parse().unwrap(),
            layers: vec![dense(units)],
            mirrored: false,
        }),
    };
    let body = || vec![dense(8), Layer::Relu];
    let first = [vec![Layer::Flatten], body()].concat();
    vec![
        level("low", first, "shape", CLASSES),
        level("middle", body(), "shape", CLASSES),
        level("kind", Vec::new(), "kind", 2),
        level("top", body(), "shape", CLASSES),
    ]
}

fn levels() -> Vec<Level> {
    let dense = |units| Layer::Dense(strata_spec::Dense::new(units));
    let head = strata_spec::Head {
        task: "shape".parse().unwrap(),
        layers: vec![dense(CLASSES)],
        mirrored: false,
    };
    vec![
        Level {
            name: "low".parse().unwrap(),
            layers: vec![Layer::Flatten, dense(8), Layer::Relu],
            head: None,
        },
        Level {
            name: "top".parse().unwrap(),
            layers: Vec::new(),
            head: Some(head),
        },
    ]
}

fn weights(levels: &[Level]) -> Vec<LevelWeights> {
    let shapes = level_shapes(&[1, SIDE, SIDE], levels).unwrap();
    let tensors = |tensors: [(&str, Vec<usize>); 2]| {
        let filled = tensors
            .into_iter()
            .enumerate()
            .map(|(seed, (name, shape))| {
                let values = numbers(seed as u64, shape.iter().product())
                    .iter()
                    .map(|v| v - 0.5)
                    .collect();
                (name.to_owned(), WeightTensor { shape, values })
            });
        filled.collect::<BTreeMap<_, _>>()
    };
    let low = tensors([
        ("layers.1.weight", vec![8, ROW]),
        ("layers.1.bias", vec![8]),
    ]);
    let top = tensors([
        ("head.0.weight", vec![CLASSES, 8]),
        ("head.0.bias", vec![CLASSES]),
    ]);
    let both = [low, top].into_iter().zip(levels).zip(&shapes);
    both.map(|((tensors, level), shapes)| LevelWeights::new(tensors, level, shapes).unwrap())
        .collect()
}

/// SplitMix64 (Steele, Lea & Flood 2014), as numbers from 0 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}
