//! What is left out at random is a function of the seed and the step.

#![allow(clippy::unwrap_used)]

use strata_nn::{Lesson, LevelWeights, Network, Optimizer, Plan, Scratch, one_hot};
use strata_spec::{Level, Optimizer as Rule, Precision, Sgd};

const INPUT: [usize; 3] = [2, 6, 6];

/// Dropouts on maps and on rows, with rate `rate`.
fn levels(rate: f64) -> Vec<Level> {
    let text = format!(
        r#"[
            {{ "name": "maps", "layers": [
                {{ "conv": {{ "channels": 6, "kernel": 3 }} }}, {{ "dropout": {{ "rate": {rate} }} }}, "relu"
            ] }},
            {{ "name": "rows", "layers": ["global-average-pool", {{ "dense": {{ "units": 8 }} }}, "relu"], "head": {{
                "task": "task", "layers": [{{ "dropout": {{ "rate": {rate} }} }}, {{ "dense": {{ "units": 3 }} }}]
            }} }}
        ]"#
    );
    serde_json::from_str(&text).unwrap()
}

fn rows() -> Vec<f32> {
    (0..4 * 72)
        .map(|i| ((i * 37 + i / 72 * 5) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

/// Learns the steps from `first` to before `end`, and gives the weights as bytes.
fn learn(network: &mut Network, seed: u64, first: u64, end: u64) -> Vec<Vec<u8>> {
    let rule = Rule::Sgd(Sgd {
        learning_rate: 0.1,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    });
    let mut optimizer = Optimizer::new(rule, None);
    for step in first..end {
        network.seed_step(seed, step);
        let targets = one_hot(&[0, 2, 1, 2], 3);
        network.learn(Lesson::new(rows(), &targets, 2, 0.1), &mut optimizer);
    }
    let weights = network.weights();
    weights.iter().map(LevelWeights::to_safetensors).collect()
}

#[test]
fn equal_seeds_leave_out_alike_and_others_do_not() {
    for precision in [Precision::F32, Precision::Bf16] {
        let learned = |rate, seed| {
            let mut network = Network::new(&INPUT, &levels(rate), 1, precision);
            learn(&mut network, seed, 0, 3)
        };
        assert_eq!(learned(0.5, 7), learned(0.5, 7));
        assert_ne!(learned(0.5, 7), learned(0.5, 8));
        assert_ne!(learned(0.5, 7), learned(0.0, 7));
        assert_eq!(learned(0.0, 7), learned(0.0, 8));
    }
}

#[test]
fn a_training_that_goes_on_leaves_out_what_it_would_have() {
    let levels = levels(0.3);
    let mut network = Network::new(&INPUT, &levels, 1, Precision::F32);
    learn(&mut network, 7, 0, 2);
    let weights = network.weights();
    let expected = learn(&mut network, 7, 2, 4);
    let mut resumed = Network::with_weights(&INPUT, &levels, &weights, Precision::F32);
    assert_eq!(learn(&mut resumed, 7, 2, 4), expected);
}

#[test]
fn an_answer_leaves_nothing_out() {
    let network = |rate| Network::new(&INPUT, &levels(rate), 1, Precision::F32);
    let expected = network(0.0).logits(rows());
    assert_eq!(network(0.9).logits(rows()), expected);
    let weights = network(0.9).weights();
    let plan = Plan::compile(&INPUT, &levels(0.9), &weights, Precision::F32);
    let mut found = vec![f32::NAN; expected.len()];
    plan.run(&rows(), &mut found, &mut Scratch::default());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}
