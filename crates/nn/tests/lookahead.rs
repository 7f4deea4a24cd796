//! Slow weights that follow the ones that learn.

#![allow(clippy::unwrap_used)]

use strata_nn::{Lesson, Network, Optimizer, one_hot};
use strata_spec::{Adam, Dense, Head, Layer, Level, Lookahead, Optimizer as Rule, Precision, Sgd};

const LOOKAHEAD: Lookahead = Lookahead {
    every: 2,
    hold: 0.8,
    growth: 3.0,
};

fn network() -> Network {
    let levels = [Level {
        name: "all".parse().unwrap(),
        layers: vec![Layer::Dense(Dense::new(4)), Layer::Relu],
        head: Some(Head {
            task: "task".parse().unwrap(),
            layers: vec![Layer::Dense(Dense::new(3))],
            mirrored: false,
        }),
    }];
    Network::new(&[5], &levels, 7, Precision::F32)
}

fn step(network: &mut Network, optimizer: &mut Optimizer, progress: f64) {
    let rows = (0..30)
        .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
        .collect();
    let targets = one_hot(&[0, 1, 2, 0, 1, 2], 3);
    let lesson = Lesson {
        progress,
        ..Lesson::new(rows, &targets, 1, 0.1)
    };
    network.learn(lesson, optimizer);
}

fn values(network: &Network) -> Vec<f32> {
    let weights = network.weights();
    let tensors = weights[0].iter();
    tensors
        .flat_map(|(_, tensor)| tensor.values.clone())
        .collect()
}

#[test]
fn weights_go_on_from_where_the_slow_ones_are() {
    let sgd = || {
        Rule::Sgd(Sgd {
            learning_rate: 0.1,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
        })
    };
    let (mut fast, mut slow) = (network(), network());
    let mut plain = Optimizer::new(sgd(), None);
    let mut ahead = Optimizer::new(sgd(), None).with_lookahead(Some(LOOKAHEAD));
    let start = values(&fast);
    step(&mut fast, &mut plain, 0.25);
    step(&mut slow, &mut ahead, 0.25);
    assert_eq!(values(&slow), values(&fast), "nothing is held between");
    step(&mut fast, &mut plain, 0.5);
    step(&mut slow, &mut ahead, 0.5);
    let hold = 0.8 * 0.5_f32.powi(3);
    for ((start, fast), slow) in start.iter().zip(values(&fast)).zip(values(&slow)) {
        let expected = hold * start + (1.0 - hold) * fast;
        assert!(
            (slow - expected).abs() < 1e-6,
            "{slow}, expected {expected}"
        );
    }
    assert_ne!(values(&slow), values(&fast));
}

#[test]
fn a_training_that_goes_on_remembers_them() {
    let new = || {
        let rule = Rule::Adam(Adam::default());
        Optimizer::new(rule, None).with_lookahead(Some(LOOKAHEAD))
    };
    let learned = || {
        let (mut network, mut optimizer) = (network(), new());
        for progress in [0.2, 0.4, 0.6] {
            step(&mut network, &mut optimizer, progress);
        }
        (network, optimizer)
    };
    let (mut whole, mut optimizer) = learned();
    let (mut resumed, stopped) = learned();
    let (steps, state) = stopped.state();
    let mut other = new();
    other.restore(&resumed, steps, state).unwrap();
    for progress in [0.8, 1.0] {
        step(&mut whole, &mut optimizer, progress);
        step(&mut resumed, &mut other, progress);
    }
    assert_eq!(values(&resumed), values(&whole));
}
