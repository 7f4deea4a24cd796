//! Five steps of each optimizer against PyTorch's; the values are printed by references/learning.py.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use strata_nn::{Lesson, LevelWeights, Network, Optimizer, WeightTensor, one_hot};
use strata_spec::{
    Adam, AdamW, Clip, Dense, Head, Layer, Level, Optimizer as Rule, Precision, Sgd, level_shapes,
};

fn tensor(salt: usize, shape: &[usize]) -> WeightTensor {
    let count = shape.iter().product::<usize>();
    let value = |i: usize| ((i * 7 + salt * 3) % 11) as f32 / 9.7 - 0.47;
    WeightTensor {
        shape: shape.to_vec(),
        values: (0..count).map(value).collect(),
    }
}

fn network() -> Network {
    let dense = |units| Layer::Dense(Dense::new(units));
    let levels = vec![
        Level {
            name: "hidden".parse().unwrap(),
            layers: vec![dense(3), Layer::Relu],
            head: None,
        },
        Level {
            name: "top".parse().unwrap(),
            layers: Vec::new(),
            head: Some(Head {
                task: "task".parse().unwrap(),
                layers: vec![dense(2)],
                mirrored: false,
            }),
        },
    ];
    let shapes = level_shapes(&[4], &levels).unwrap();
    let weights = |level: usize, place: &str, outputs: usize, inputs: usize| {
        let tensors = BTreeMap::from([
            (
                format!("{place}.0.weight"),
                tensor(2 * level, &[outputs, inputs]),
            ),
            (format!("{place}.0.bias"), tensor(2 * level + 1, &[outputs])),
        ]);
        LevelWeights::new(tensors, &levels[level], &shapes[level]).unwrap()
    };
    Network::with_weights(
        &[4],
        &levels,
        &[weights(0, "layers", 3, 4), weights(1, "head", 2, 3)],
        Precision::F32,
    )
}

/// `expected` is the last loss, then every weight.
fn check(rule: Rule, clip: Option<Clip>, expected: &[f64]) {
    let mut network = network();
    let rate = rule.learning_rate();
    let mut optimizer = Optimizer::new(rule.clone(), clip);
    let mut loss = 0.0;
    for _ in 0..5 {
        let targets = one_hot(&[0, 1, 1, 0, 1, 0], 2);
        let lesson = Lesson::new(tensor(5, &[6, 4]).values, &targets, 2, rate);
        loss = network.learn(lesson, &mut optimizer).highest().loss;
    }
    let mut found = vec![loss];
    for (level, place) in network.weights().iter().zip(["layers", "head"]) {
        for name in ["weight", "bias"] {
            let name = format!("{place}.0.{name}");
            found.extend(
                level
                    .iter()
                    .find(|(key, _)| **key == name)
                    .map(|(_, tensor)| tensor.values.clone())
                    .unwrap(),
            );
        }
    }
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 2e-5,
            "{rule:?}: {found}, expected {expected}"
        );
    }
}

#[test]
fn sgd_matches_pytorch() {
    let rule = Sgd {
        learning_rate: 0.5,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.01,
    };
    check(
        Rule::Sgd(rule),
        None,
        &[
            0.54422991,
            -0.51521468,
            0.2612716,
            -0.1613774,
            0.57825834,
            0.39907997,
            -0.30604348,
            0.47722331,
            0.12629808,
            -0.54779173,
            0.42882073,
            -0.15281951,
            -0.44303393,
            -0.04009659,
            0.41651793,
            0.49583486,
            0.42522184,
            -0.78132793,
            0.98715122,
            -0.24719818,
            0.20260915,
            -0.24157073,
            0.2277049,
            0.23409718,
        ],
    );
}

#[test]
fn clipping_matches_pytorch() {
    let sgd = |momentum| {
        Rule::Sgd(Sgd {
            learning_rate: 0.5,
            momentum,
            nesterov: false,
            weight_decay: 0.0,
        })
    };
    check(
        sgd(0.0),
        Some(Clip::Norm(0.1)),
        &[
            0.67439188,
            -0.47474438,
            0.25418974,
            -0.16234404,
            0.56659008,
            0.14922037,
            -0.26387218,
            0.45783685,
            0.04561419,
            -0.37829123,
            0.36219631,
            -0.0630293,
            -0.46991647,
            -0.15062722,
            0.55959735,
            0.16790363,
            0.18461311,
            -0.38609282,
            0.52351886,
            0.00940751,
            -0.24462883,
            0.28905846,
            0.35895561,
            0.14434336,
        ],
    );
    check(
        sgd(0.5),
        Some(Clip::Value(0.02)),
        &[
            0.67937019,
            -0.48806428,
            0.26132154,
            -0.16689893,
            0.58248689,
            0.11822914,
            -0.25068783,
            0.44548413,
            0.03412107,
            -0.40414347,
            0.3811596,
            -0.07718467,
            -0.46954407,
            -0.12228702,
            0.53431988,
            0.20370473,
            0.2291817,
            -0.34443943,
            0.53846005,
            -0.03516108,
            -0.28628222,
            0.27411727,
            0.37721005,
            0.12608892,
        ],
    );
}

#[test]
fn adam_matches_pytorch() {
    check(
        Rule::Adam(Adam {
            learning_rate: 0.05,
            ..Adam::default()
        }),
        None,
        &[
            0.59487324,
            -0.69574479,
            0.47328787,
            -0.19211391,
            0.64583677,
            0.12132361,
            -0.22591157,
            0.4197767,
            0.01996583,
            -0.60955752,
            0.60167314,
            -0.30481791,
            -0.519009,
            0.01895737,
            0.49135343,
            0.38616552,
            0.39936685,
            -0.49669829,
            0.70837899,
            -0.20534623,
            -0.13402336,
            0.10419833,
            0.22463923,
            0.27865974,
        ],
    );
    let rule = AdamW {
        learning_rate: 0.05,
        weight_decay: 0.1,
        ..AdamW::default()
    };
    check(
        Rule::AdamW(rule),
        None,
        &[
            0.59682251,
            -0.68183934,
            0.46493527,
            -0.18736743,
            0.63084322,
            0.11956814,
            -0.22139634,
            0.41032921,
            0.02060731,
            -0.59806578,
            0.59047296,
            -0.30099447,
            -0.50854079,
            0.02190827,
            0.47792417,
            0.38008636,
            0.39321098,
            -0.48710406,
            0.69458102,
            -0.20399261,
            -0.12800644,
            0.097884,
            0.21634204,
            0.27449966,
        ],
    );
}
