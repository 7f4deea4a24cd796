//! Five steps of each optimizer against PyTorch's; the values are printed by references/learning.py.

use std::collections::BTreeMap;

use strata_nn::{LevelWeights, Network, Optimizer, WeightTensor};
use strata_spec::{
    Adam, AdamW, Clip, Dense, Head, Layer, Level, Optimizer as Rule, Sgd, level_shapes,
};

fn tensor(salt: usize, shape: &[usize]) -> WeightTensor {
    let count = shape.iter().product::<usize>();
    let value = |i: usize| ((i * 7 + salt * 3) % 11) as f32 / 10.0 - 0.5;
    WeightTensor {
        shape: shape.to_vec(),
        values: (0..count).map(value).collect(),
    }
}

fn network() -> Network {
    let dense = |units| Layer::Dense(Dense { units });
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
    )
}

/// `expected` is the last loss, then every weight.
fn check(rule: Rule, clip: Option<Clip>, expected: &[f64]) {
    let mut network = network();
    let rate = rule.learning_rate();
    let mut optimizer = Optimizer::new(rule.clone(), clip);
    let mut loss = 0.0;
    for _ in 0..5 {
        loss = network
            .learn(
                tensor(5, &[6, 4]).values,
                &[0, 1, 1, 0, 1, 0],
                &mut optimizer,
                rate,
            )
            .loss;
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
            0.56417218,
            -0.52261538,
            0.20904615,
            -0.20904615,
            0.52261538,
            0.30374237,
            -0.32767053,
            0.41895707,
            0.06772611,
            -0.58616304,
            0.35833387,
            -0.20224124,
            -0.48375123,
            -0.05582951,
            0.39090445,
            0.45394415,
            0.33528633,
            -0.74133953,
            0.92861004,
            -0.24353131,
            0.09905438,
            -0.28632488,
            0.13517293,
            0.23184716,
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
            0.67636251,
            -0.50556049,
            0.20222419,
            -0.20222419,
            0.50556049,
            0.09993115,
            -0.29965743,
            0.3997896,
            -6.39e-05,
            -0.41372179,
            0.30638478,
            -0.10628895,
            -0.50106585,
            -0.18887903,
            0.4981637,
            0.12477612,
            0.1339066,
            -0.41244046,
            0.47234701,
            -0.0339066,
            -0.28755954,
            0.22765299,
            0.2946993,
            0.1053007,
        ],
    );
    check(
        sgd(0.5),
        Some(Clip::Value(0.02)),
        &[
            0.68021748,
            -0.5192285,
            0.2076914,
            -0.2076914,
            0.5192285,
            0.07318603,
            -0.28691955,
            0.38980759,
            -0.00921253,
            -0.43846912,
            0.3185915,
            -0.11806677,
            -0.50296721,
            -0.161543,
            0.47593819,
            0.16581717,
            0.180625,
            -0.380625,
            0.480625,
            -0.080625,
            -0.319375,
            0.219375,
            0.319375,
            0.080625,
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
            0.5985371,
            -0.72731632,
            0.43464625,
            -0.37007428,
            0.63330641,
            0.07848134,
            -0.26736104,
            0.37067738,
            -0.01998418,
            -0.64089444,
            0.41789589,
            -0.32000243,
            -0.73978114,
            0.0440529,
            0.4386247,
            0.34573998,
            0.34997447,
            -0.53167604,
            0.65061696,
            -0.24997447,
            -0.16832396,
            0.04938304,
            0.16554486,
            0.23445514,
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
            0.60043615,
            -0.71261487,
            0.42726654,
            -0.36427897,
            0.61912745,
            0.07787111,
            -0.26178816,
            0.36262482,
            -0.01821386,
            -0.62860298,
            0.41028899,
            -0.31534945,
            -0.72514331,
            0.04657821,
            0.42668045,
            0.34093571,
            0.34504004,
            -0.52114357,
            0.63825021,
            -0.24751517,
            -0.16153056,
            0.04442392,
            0.15867479,
            0.23142471,
        ],
    );
}
