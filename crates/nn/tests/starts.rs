//! What a kernel is before the first step, and which weights learn at another rate.

#![allow(clippy::unwrap_used)]

use strata_nn::{Lesson, Network, Optimizer, WeightTensor, one_hot};
use strata_spec::{
    BatchNorm, Conv, Dense, Head, Layer, Level, Optimizer as Rule, Precision, Rates, Sgd, Start,
};

const INPUT: [usize; 3] = [2, 5, 5];

fn levels() -> Vec<Level> {
    let conv = |channels, kernel: usize, start| {
        Layer::Conv(Conv {
            padding: (kernel / 2).into(),
            start,
            ..Conv::square(channels, kernel)
        })
    };
    vec![Level {
        name: "all".parse().unwrap(),
        layers: vec![
            conv(4, 2, Start::Whitening),
            conv(6, 3, Start::Identity),
            Layer::BatchNorm(BatchNorm::default()),
            Layer::GlobalAveragePool,
        ],
        head: Some(Head {
            task: "task".parse().unwrap(),
            layers: vec![Layer::Dense(Dense { units: 3 })],
            mirrored: false,
        }),
    }]
}

fn rows() -> Vec<f32> {
    (0..6 * 50)
        .map(|i| ((i * 37 + i / 50 * 5) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn network() -> Network {
    let mut network = Network::new(&INPUT, &levels(), 5, Precision::F32);
    assert!(network.is_fitted());
    network.fit(&rows());
    network
}

fn tensor(network: &Network, name: &str) -> WeightTensor {
    let weights = network.weights();
    let found = weights[0].iter().find(|(found, _)| *found == name);
    found.unwrap().1.clone()
}

fn learn(rates: Rates, weight_decay: f64) -> Network {
    let mut network = network();
    let rule = Rule::Sgd(Sgd {
        learning_rate: 0.1,
        momentum: 0.0,
        nesterov: false,
        weight_decay,
    });
    let mut optimizer = Optimizer::new(rule, None).with_rates(rates);
    let targets = one_hot(&[0, 1, 2, 0, 1, 2], 3);
    network.learn(Lesson::new(rows(), &targets, 1, 0.1), &mut optimizer);
    network
}

#[test]
fn the_first_channels_of_an_identity_pass_on_what_enters() {
    let kernel = tensor(&network(), "layers.1.weight");
    assert_eq!(kernel.shape, [6, 4, 3, 3]);
    for (output, kernel) in kernel.values.chunks(36).enumerate() {
        let ones = (0..36).filter(|index| *index == 9 * output + 4);
        let expected: Vec<usize> = ones.collect();
        let found: Vec<usize> = (0..36).filter(|index| kernel[*index] != 0.0).collect();
        if output < 4 {
            assert_eq!((found, kernel[9 * output + 4]), (expected, 1.0));
        } else {
            assert_eq!(found.len(), 36, "random");
        }
    }
}

#[test]
fn what_was_fitted_stays_and_its_bias_learns() {
    let (before, after) = (network(), learn(Rates::default(), 0.0));
    let changed = |name| tensor(&before, name) != tensor(&after, name);
    assert!(!changed("layers.0.weight"));
    for name in [
        "layers.0.bias",
        "layers.1.weight",
        "layers.2.weight",
        "layers.2.bias",
    ] {
        assert!(changed(name), "{name}");
    }
}

#[test]
fn normalizations_learn_at_rates_of_their_own() {
    let rates = Rates {
        norm_scale: 0.0,
        norm_bias: 64.0,
    };
    let step = |network: &Network, name| -> Vec<f32> {
        let (new, old) = (tensor(network, name), tensor(&self::network(), name));
        new.values
            .iter()
            .zip(old.values)
            .map(|(new, old)| new - old)
            .collect()
    };
    let (plain, found) = (learn(Rates::default(), 0.0), learn(rates, 0.0));
    for name in ["layers.1.weight", "head.0.weight"] {
        assert_eq!(step(&plain, name), step(&found, name));
    }
    assert!(
        step(&found, "layers.2.weight")
            .iter()
            .all(|step| *step == 0.0)
    );
    let biases = step(&plain, "layers.2.bias");
    for (plain, found) in biases.iter().zip(step(&found, "layers.2.bias")) {
        assert!(
            (found - 64.0 * plain).abs() <= 1e-5 * found.abs(),
            "{plain} {found}"
        );
    }
}

#[test]
fn a_rate_of_its_own_leaves_weight_decay_as_it_is() {
    // The factors begin at 1, so that there is something to decay.
    let scales = |factor, decay| {
        let rates = Rates {
            norm_scale: factor,
            norm_bias: 1.0,
        };
        tensor(&learn(rates, decay), "layers.2.weight").values
    };
    let decayed = scales(8.0, 0.0).into_iter().zip(scales(8.0, 0.5));
    for (without, with) in decayed {
        assert!(
            (without - with - 0.1 * 0.5).abs() < 1e-5,
            "{without} {with}"
        );
    }
}
