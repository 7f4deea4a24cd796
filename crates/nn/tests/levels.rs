//! Levels that learn on their own: what moves, what stays, and what is lost. Values are printed by references/objectives.py.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use strata_nn::{
    Learns, Lesson, LevelWeights, Network, Objective, Optimizer, Role, WeightTensor,
    auxiliary_head, one_hot, side_layers,
};
use strata_spec::{
    BatchNorm, Boundary, Conv, Dense, Head, Layer, Level, LevelShapes, Optimizer as Rule,
    Precision, Sgd, level_shapes,
};

const INPUT: [usize; 3] = [2, 4, 4];

fn conv(channels: usize, stride: usize) -> Layer {
    Layer::Conv(Conv {
        padding: 1.into(),
        stride: stride.into(),
        ..Conv::square(channels, 3)
    })
}

fn level(name: &str, layers: Vec<Layer>, head: Vec<Layer>) -> Level {
    Level {
        name: name.parse().unwrap(),
        layers,
        head: (!head.is_empty()).then(|| Head {
            task: "task".parse().unwrap(),
            layers: head,
            mirrored: false,
        }),
    }
}

fn dense(units: usize) -> Layer {
    Layer::Dense(Dense::new(units))
}

/// Three levels with a normalization each, all with heads.
fn levels() -> Vec<Level> {
    let body = || {
        let norm = Layer::BatchNorm(BatchNorm::default());
        vec![conv(4, 1), norm, Layer::Relu]
    };
    let head = || vec![Layer::GlobalAveragePool, dense(3)];
    ["low", "middle", "top"]
        .map(|name| level(name, body(), head()))
        .to_vec()
}

fn sgd(momentum: f64) -> Optimizer {
    let rule = Sgd {
        learning_rate: 0.1,
        momentum,
        nesterov: false,
        weight_decay: 0.0,
    };
    Optimizer::new(Rule::Sgd(rule), None)
}

fn rows(count: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + i / 32 * 5) % 101) as f32 / 50.0 - 1.0;
    (0..count * 32).map(value).collect()
}

fn local(objective: Objective) -> Role {
    Role {
        learns: Learns::All,
        below: Boundary::Stop,
        objective: Some(objective),
        rate: 1.0,
    }
}

/// A lesson of six rows in which every level has a target.
fn lesson(targets: &[f32], levels: usize) -> Lesson<'_> {
    Lesson {
        targets: vec![targets; levels],
        ..Lesson::new(rows(6), targets, levels, 0.1)
    }
}

fn learn(network: &mut Network, levels: usize, steps: usize, change: impl Fn(&mut Lesson<'_>)) {
    let targets = one_hot(&[0, 1, 2, 0, 1, 2], 3);
    let mut optimizer = sgd(0.9);
    for _ in 0..steps {
        let mut lesson = lesson(&targets, levels);
        change(&mut lesson);
        network.learn(lesson, &mut optimizer);
    }
}

#[test]
fn a_level_below_a_stop_does_not_know_what_is_above() {
    let levels = levels();
    let role = local(Objective::CROSS_ENTROPY);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut whole = Network::new(&INPUT, &levels, 3, precision);
        whole.assign(vec![role; 3]);
        learn(&mut whole, 3, 4, |_| ());
        let mut alone = Network::new(&INPUT, &levels[..1], 3, precision);
        alone.assign(vec![role]);
        learn(&mut alone, 1, 4, |_| ());
        assert_eq!(whole.weights()[0], alone.weights()[0]);
        // One level by itself learns end to end: the same step.
        let mut end_to_end = Network::new(&INPUT, &levels[..1], 3, precision);
        learn(&mut end_to_end, 1, 4, |_| ());
        assert_eq!(end_to_end.weights(), alone.weights());
    }
}

#[test]
fn a_frozen_level_keeps_its_weights_and_its_statistics() {
    let levels = levels();
    let mut network = Network::new(&INPUT, &levels, 3, Precision::F32);
    learn(&mut network, 3, 2, |_| ());
    let before = network.weights();
    let mut roles = Role::end_to_end(3);
    roles[1].learns = Learns::Nothing;
    network.assign(roles);
    learn(&mut network, 3, 2, |_| ());
    let after = network.weights();
    assert_ne!(
        before[0], after[0],
        "a gradient passes through a frozen level"
    );
    assert_eq!(before[1], after[1]);
    assert_ne!(before[2], after[2]);

    let mut roles = vec![Role::FROZEN; 3];
    roles[2] = Role {
        learns: Learns::Head,
        ..local(Objective::CROSS_ENTROPY)
    };
    network.assign(roles);
    learn(&mut network, 3, 2, |_| ());
    let of_head = |(name, _): &(&String, &WeightTensor)| name.starts_with("head.");
    let (last, now) = (&after[2], &network.weights()[2]);
    assert_ne!(
        last.iter().find(of_head).unwrap(),
        now.iter().find(of_head).unwrap()
    );
    assert_eq!(
        last.clone().without_head(),
        now.clone().without_head(),
        "only the head learns"
    );
}

#[test]
fn what_enters_a_level_can_be_computed_before() {
    let levels = levels();
    let mut roles = vec![Role::FROZEN; 3];
    roles[1] = local(Objective::CROSS_ENTROPY);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut whole = Network::new(&INPUT, &levels, 3, precision);
        whole.assign(roles.clone());
        learn(&mut whole, 3, 3, |_| ());
        let mut cached = Network::new(&INPUT, &levels, 3, precision);
        cached.assign(roles.clone());
        let features = cached.features(rows(6), 0..1);
        assert_eq!(
            features[..128],
            cached.features(rows(2), 0..1)[..],
            "row by row"
        );
        learn(&mut cached, 3, 3, |lesson| {
            lesson.first = 1;
            lesson.rows = features.clone();
        });
        assert_eq!(whole.weights(), cached.weights());
    }
}

#[test]
fn computing_twice_gives_the_same_bytes_as_keeping() {
    let levels = levels();
    for (every_objective, precision) in [(false, Precision::F32), (true, Precision::Bf16)] {
        let mut roles = Role::end_to_end(3);
        if every_objective {
            roles
                .iter_mut()
                .for_each(|role| role.objective = Some(Objective::CROSS_ENTROPY));
        }
        let learned = |checkpointing| {
            let mut network = Network::new(&INPUT, &levels, 3, precision);
            network.assign(roles.clone());
            learn(&mut network, 3, 3, |lesson| {
                lesson.checkpointing = checkpointing
            });
            network.weights()
        };
        assert_eq!(learned(true), learned(false));
    }
}

#[test]
fn gradients_of_parts_add_up_to_that_of_all_rows() {
    // Without a normalization, whose statistics are those of a part.
    let levels = [
        level("low", vec![conv(4, 1), Layer::Relu], Vec::new()),
        level(
            "top",
            vec![conv(4, 1)],
            vec![Layer::GlobalAveragePool, dense(3)],
        ),
    ];
    let learned = |parts| {
        let mut network = Network::new(&INPUT, &levels, 3, Precision::F32);
        learn(&mut network, 2, 3, |lesson| lesson.parts = parts);
        network.weights()
    };
    let (whole, parts) = (learned(1), learned(4));
    for (whole, parts) in whole.iter().zip(&parts) {
        for ((name, whole), (_, parts)) in whole.iter().zip(parts.iter()) {
            for (a, b) in whole.values.iter().zip(&parts.values) {
                assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
            }
        }
    }
}

#[test]
fn rates_are_each_levels_own() {
    let levels = levels();
    let mut network = Network::new(&INPUT, &levels, 3, Precision::F32);
    let before = network.weights();
    let mut roles = vec![local(Objective::CROSS_ENTROPY); 3];
    roles[0].rate = 0.5;
    let mut halved = Network::new(&INPUT, &levels, 3, Precision::F32);
    halved.assign(roles.clone());
    roles[0].rate = 1.0;
    network.assign(roles);
    learn(&mut network, 3, 1, |_| ());
    learn(&mut halved, 3, 1, |_| ());
    let step = |after: &Network, level: usize| {
        let (after, before) = (after.weights(), &before[level]);
        let (_, after) = after[level]
            .iter()
            .next()
            .map(|(n, t)| (n.clone(), t.clone()))
            .unwrap();
        let (_, before) = before.iter().next().unwrap();
        after.values[0] - before.values[0]
    };
    assert!((step(&halved, 0) * 2.0 - step(&network, 0)).abs() < 1e-6);
    assert_eq!(step(&halved, 1), step(&network, 1));
}

fn tensor(salt: usize, shape: &[usize]) -> WeightTensor {
    let count = shape.iter().product::<usize>();
    let value = |i: usize| ((i * 7 + salt * 3) % 11) as f32 / 9.7 - 0.47;
    WeightTensor {
        shape: shape.to_vec(),
        values: (0..count).map(value).collect(),
    }
}

fn fill(
    parts: &[(&str, &[usize])],
    level: &Level,
    shapes: &LevelShapes,
    salt: usize,
) -> LevelWeights {
    let mut tensors: BTreeMap<String, WeightTensor> = parts
        .iter()
        .enumerate()
        .map(|(index, (name, shape))| ((*name).to_owned(), tensor(salt + index, shape)))
        .collect();
    for (name, tensor) in &mut tensors {
        if name.contains("running") {
            tensor
                .values
                .fill(if name.ends_with("var") { 1.0 } else { 0.0 });
        }
    }
    LevelWeights::new(tensors, level, shapes).unwrap()
}

/// `expected` is the loss, then sum and sum of squares of each tensor after a step of rate 0.5.
fn check_objective(
    objective: Objective,
    stride: usize,
    side: &[(&str, &[usize])],
    expected: &[f64],
) {
    let body = vec![conv(3, stride), Layer::Relu];
    let levels = [level("low", body, vec![Layer::GlobalAveragePool, dense(3)])];
    let shapes = level_shapes(&INPUT, &levels).unwrap();
    let own: [(&str, &[usize]); 4] = [
        ("layers.0.weight", &[3, 2, 3, 3]),
        ("layers.0.bias", &[3]),
        ("head.1.weight", &[3, 3]),
        ("head.1.bias", &[3]),
    ];
    let weights = [fill(&own, &levels[0], &shapes[0], 0)];
    let mut network = Network::with_weights(&INPUT, &levels, &weights, Precision::F32);
    network.add_sides(vec![side_layers(objective, &INPUT, &shapes[0].output)], 0);
    let (level, shapes) = &network.sides()[0].clone();
    network.set_side_weights(&[fill(side, level, shapes, 4)]);
    network.assign(vec![local(objective)]);
    let targets = one_hot(&[0, 2, 1, 2], 3);
    let lesson = Lesson::new(tensor(5, &[4, 2, 4, 4]).values, &targets, 1, 0.5);
    let mut found = vec![f64::from(
        network.learn(lesson, &mut sgd(0.0)).highest().loss,
    )];
    let after = [&network.weights()[0], &network.side_weights()[0]].map(Clone::clone);
    for (weights, names) in after.iter().zip([&own[..], side]) {
        for (name, _) in names.iter().filter(|(name, _)| !name.contains("running")) {
            let (_, tensor) = weights.iter().find(|(key, _)| key == name).unwrap();
            let values = tensor.values.iter().map(|value| f64::from(*value));
            found.push(values.clone().sum());
            found.push(values.map(|value| value * value).sum());
        }
    }
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 2e-4,
            "{objective:?}: {found}, expected {expected}"
        );
    }
}

#[test]
fn objectives_of_levels_are_pytorchs() {
    let predsim = Objective {
        prediction: 0.01,
        similarity: 0.99,
        reconstruction: 0.0,
    };
    #[rustfmt::skip]
    check_objective(predsim, 1, &[("layers.0.weight", &[3, 3, 3, 3])], &[
        0.9365819, 1.651711, 8.707461, 0.824863, 0.518892, 0.099897, 0.850807, 0.136392, 0.343931, 1.826197, 18.067108,
    ]);
    let infopro = Objective {
        prediction: 0.5,
        similarity: 0.0,
        reconstruction: 5.0,
    };
    let side: [(&str, &[usize]); 7] = [
        ("layers.0.weight", &[12, 3, 3, 3]),
        ("layers.1.weight", &[12]),
        ("layers.1.bias", &[12]),
        ("layers.3.weight", &[8, 12, 3, 3]),
        ("layers.3.bias", &[8]),
        ("layers.1.running_mean", &[12]),
        ("layers.1.running_var", &[12]),
    ];
    #[rustfmt::skip]
    check_objective(infopro, 2, &side, &[
        3.3246819, 2.520284, 5.947145, 0.638206, 0.41548, 0.099897, 0.827708, 0.136392, 0.238941, 14.311763, 35.45908,
        0.881245, 1.774493, -3.182143, 1.523668, 15.933272, 92.47079, -2.244771, 0.835219,
    ]);
}

#[test]
fn auxiliary_layers_fit_what_they_stand_on() {
    let infopro = Objective {
        prediction: 0.5,
        similarity: 0.0,
        reconstruction: 1.0,
    };
    let predsim = Objective {
        similarity: 1.0,
        reconstruction: 0.0,
        ..infopro
    };
    // Maps as large as the input, smaller by whole factors and by others, rows.
    for output in [vec![5, 4, 4], vec![5, 2, 2], vec![5, 3, 3], vec![9]] {
        for objective in [infopro, predsim, Objective::CROSS_ENTROPY] {
            let body = match output[..] {
                [_, 4, _] => vec![conv(5, 1)],
                [_, 2, _] => vec![conv(5, 2)],
                [_, 3, _] => vec![Layer::Conv(Conv::square(5, 2))],
                _ => vec![Layer::Flatten, dense(9)],
            };
            let levels = [level("low", body, auxiliary_head(&output, 3))];
            let mut network = Network::new(&INPUT, &levels, 1, Precision::Bf16);
            network.add_sides(vec![side_layers(objective, &INPUT, &output)], 1);
            network.assign(vec![local(objective)]);
            let targets = one_hot(&[0, 1, 2, 0, 1, 2], 3);
            let mut optimizer = sgd(0.0);
            let mut loss = || {
                network
                    .learn(lesson(&targets, 1), &mut optimizer)
                    .highest()
                    .loss
            };
            let first = loss();
            let last = (0..12).map(|_| loss()).last().unwrap();
            assert!(last < first, "{objective:?} on {output:?}: {first} {last}");
        }
    }
}
