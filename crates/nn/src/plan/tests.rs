use strata_spec::{
    AdaptiveAveragePool, Approximation, AveragePool, BatchNorm, Branches, Conv, Dense, Dropout,
    Gelu, Head, Layer, LayerNorm, Level, MaxPool, Precision, Residual, Scale, Subsample,
};

use crate::{Answers, Lesson, LevelWeights, Network, Optimizer, Plan, Scratch, Way, one_hot};

pub(super) fn conv(channels: usize, kernel: usize, stride: usize) -> Layer {
    Layer::Conv(Conv {
        stride: stride.into(),
        padding: (kernel / 2).into(),
        ..Conv::square(channels, kernel)
    })
}

pub(super) fn norm() -> Layer {
    Layer::BatchNorm(BatchNorm::default())
}

pub(super) fn residual(layers: Vec<Layer>, shortcut: Vec<Layer>) -> Layer {
    Layer::Residual(Residual { layers, shortcut })
}

fn dropout() -> Layer {
    Layer::Dropout(Dropout { rate: 0.2 })
}

pub(super) fn dense(units: usize) -> Layer {
    Layer::Dense(Dense::new(units))
}

/// A level, and with a head its task and layers.
pub(super) fn level(name: &str, layers: Vec<Layer>, head: Option<(&str, Vec<Layer>)>) -> Level {
    Level {
        name: name.parse().unwrap(),
        layers,
        head: head.map(|(task, layers)| Head {
            task: task.parse().unwrap(),
            layers,
            mirrored: false,
        }),
    }
}

/// Every layer, and every way in which one can be taken into another.
fn levels() -> Vec<Level> {
    let pool = Layer::MaxPool(MaxPool {
        stride: Some(2.into()),
        padding: 1.into(),
        ceil: true,
        ..MaxPool::square(3)
    });
    let average = Layer::AveragePool(AveragePool {
        kernel: 2.into(),
        stride: Some(1.into()),
        padding: 1.into(),
        count_padding: false,
    });
    let parts = Layer::AdaptiveAveragePool(AdaptiveAveragePool {
        height: 2,
        width: 3,
    });
    let head = vec![
        Layer::GlobalAveragePool,
        residual(vec![dense(12), norm(), Layer::Relu, dense(12)], Vec::new()),
        Layer::LayerNorm(LayerNorm::default()),
        Layer::Branches(Branches {
            branches: vec![Vec::new(), vec![dense(3), norm()]],
        }),
        norm(),
        dropout(),
        Layer::Relu,
        dense(5),
    ];
    vec![
        level(
            "stem",
            vec![
                Layer::Relu,
                norm(),
                conv(6, 3, 1),
                dropout(),
                norm(),
                Layer::Relu,
                pool,
            ],
            None,
        ),
        level(
            "blocks",
            vec![
                residual(
                    vec![conv(6, 3, 1), norm(), Layer::Relu, conv(6, 3, 1), norm()],
                    Vec::new(),
                ),
                Layer::Relu,
                residual(
                    vec![conv(8, 3, 2), norm()],
                    vec![conv(8, 1, 2), norm(), Layer::Relu],
                ),
                // A sum in a sum, and one whose layers end in a ReLU.
                residual(
                    vec![residual(vec![norm()], vec![conv(8, 1, 1)])],
                    Vec::new(),
                ),
                Layer::Relu,
                residual(
                    vec![conv(8, 1, 1), Layer::Gelu(Gelu::default())],
                    Vec::new(),
                ),
                Layer::Gelu(Gelu {
                    approximation: Approximation::Tanh,
                }),
                residual(
                    vec![conv(8, 1, 1), scale(0.5), Layer::Relu, scale(2.0)],
                    Vec::new(),
                ),
                Layer::Relu,
                residual(
                    vec![conv(10, 3, 2), norm(), dropout()],
                    vec![Layer::Subsample(Subsample {
                        stride: 2.into(),
                        channels: 10,
                    })],
                ),
                Layer::Relu,
                Layer::Branches(Branches {
                    branches: vec![vec![dropout()], vec![conv(2, 1, 1)]],
                }),
                average,
                Layer::Relu,
                parts,
            ],
            None,
        ),
        level("top", Vec::new(), Some(("task", head))),
    ]
}

fn scale(by: f64) -> Layer {
    Layer::Scale(Scale { by })
}

const INPUT: [usize; 3] = [3, 9, 8];

fn rows(count: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + i / 216 * 5) % 101) as f32 / 50.0 - 1.0;
    (0..count * 3 * 9 * 8).map(value).collect()
}

/// A network that has learned, so that no running statistics are those of the start.
fn network(precision: Precision) -> Network {
    let mut network = Network::new(&INPUT, &levels(), 3, precision);
    let mut optimizer = Optimizer::new(strata_spec::Optimizer::default(), None);
    for _ in 0..3 {
        let targets = one_hot(&[0, 1, 2, 3, 4, 0, 1], network.output_len());
        let lesson = Lesson::new(rows(7), &targets, levels().len(), 0.01);
        network.learn(lesson, &mut optimizer);
    }
    network
}

fn answers(plan: &Plan, rows: &[f32], scratch: &mut Scratch) -> Vec<f32> {
    let mut logits = vec![f32::NAN; rows.len() / plan.input_len() * plan.output_len()];
    plan.run(rows, &mut logits, scratch);
    logits
}

#[test]
fn a_plan_answers_as_the_network_that_learned() {
    for (precision, tolerance) in [(Precision::F32, 2e-5), (Precision::Bf16, 5e-2)] {
        let network = network(precision);
        let plan = Plan::compile(&INPUT, &levels(), &network.weights(), precision);
        let found = answers(&plan, &rows(7), &mut Scratch::default());
        let expected = network.logits(rows(7));
        let largest = expected
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs() / largest;
            assert!(
                error < tolerance,
                "{precision:?}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn a_rows_answer_is_the_same_bits_in_any_batch() {
    for precision in [Precision::F32, Precision::Bf16] {
        let weights: Vec<LevelWeights> = network(precision).weights();
        let plan = Plan::compile(&INPUT, &levels(), &weights, precision);
        let (rows, mut scratch) = (rows(70), Scratch::default());
        let all = answers(&plan, &rows, &mut scratch);
        for count in [1, 2, 3, 5, 16, 33] {
            let parts = rows.chunks(count * plan.input_len());
            let found: Vec<f32> = parts
                .flat_map(|rows| answers(&plan, rows, &mut scratch))
                .collect();
            let bits = |values: &[f32]| {
                values
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>()
            };
            assert_eq!(bits(&found), bits(&all), "{precision:?} {count}");
        }
    }
}

#[test]
fn rows_may_go_into_any_layer_first() {
    let branches = |branches| Layer::Branches(Branches { branches });
    for first in [
        residual(vec![norm()], Vec::new()),
        residual(vec![dense(6), Layer::Relu], vec![dense(6)]),
        branches(vec![Vec::new(), vec![Layer::Relu], Vec::new()]),
        Layer::LayerNorm(LayerNorm::default()),
        Layer::Relu,
        Layer::Gelu(Gelu::default()),
        norm(),
        Layer::Flatten,
        dropout(),
        residual(vec![dropout()], Vec::new()),
    ] {
        let head = vec![Layer::Relu, dense(3)];
        let levels = [level("only", vec![first], Some(("task", head)))];
        let network = Network::new(&[6], &levels, 5, Precision::F32);
        let plan = Plan::compile(&[6], &levels, &network.weights(), Precision::F32);
        let rows: Vec<f32> = (0..24).map(|i| (i * 7 % 11) as f32 / 5.0 - 1.0).collect();
        let found = answers(&plan, &rows, &mut Scratch::default());
        for (found, expected) in found.iter().zip(network.logits(rows)) {
            assert!(
                (found - expected).abs() < 1e-5,
                "{found}, expected {expected}"
            );
        }
    }
}

#[test]
fn an_image_of_one_channel_is_answered_alone_as_with_others() {
    // The image itself is read twice, and its place is filled again above.
    let layers = vec![
        residual(vec![conv(1, 3, 1), norm()], Vec::new()),
        conv(1, 3, 1),
        Layer::Relu,
        conv(4, 3, 2),
    ];
    let head = vec![Layer::GlobalAveragePool, dense(3)];
    let levels = [level("only", layers, Some(("task", head)))];
    let rows: Vec<f32> = (0..4 * 30)
        .map(|i| (i * 7 % 23) as f32 / 11.0 - 1.0)
        .collect();
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 3e-2)] {
        let network = Network::new(&[1, 6, 5], &levels, 5, precision);
        let plan = Plan::compile(&[1, 6, 5], &levels, &network.weights(), precision);
        let mut scratch = Scratch::default();
        let together = answers(&plan, &rows, &mut scratch);
        let each = rows.chunks(30);
        let alone: Vec<f32> = each
            .flat_map(|row| answers(&plan, row, &mut scratch))
            .collect();
        assert_eq!(alone, together, "{precision:?}");
        for (found, expected) in alone.iter().zip(network.logits(rows.clone())) {
            let error = (found - expected).abs();
            assert!(error < tolerance, "{found}, expected {expected}");
        }
    }
}

#[test]
fn buffers_are_as_many_as_are_in_use_at_once() {
    let task = "object".parse().unwrap();
    let levels = strata_spec::networks::resnet18(strata_spec::networks::Stem::Imagenet, &task, 10);
    let input = [3, 64, 64];
    let weights = Network::new(&input, &levels, 0, Precision::F32).weights();
    let program = super::compile::compile::<f32>(&input, &levels, &weights);
    // What goes into a block, what comes out of it and what is between.
    assert_eq!(program.maps.len(), 3, "{:?}", program.maps);
}

#[test]
fn a_densely_connected_network_needs_no_more_buffers_than_others() {
    let network = r#"{ "densenet": { "depth": 121 } }"#;
    let network: strata_spec::networks::NamedNetwork = serde_json::from_str(network).unwrap();
    let levels = network.levels(&"object".parse().unwrap(), 10).unwrap();
    let input = [3, 64, 64];
    let weights = Network::new(&input, &levels, 0, Precision::F32).weights();
    let program = super::compile::compile::<f32>(&input, &levels, &weights);
    // What goes into a layer of a block, what comes out of it, and two between: none is larger than the largest maps.
    let largest = 16 * 16 * 256;
    assert!(program.maps.len() <= 4, "{:?}", program.maps);
    assert!(
        program.maps.iter().all(|len| *len <= largest),
        "{:?}",
        program.maps
    );
}

#[test]
fn a_mirrored_head_answers_the_mean_of_both_views() {
    let plain = network(Precision::F32);
    let weights = plain.weights();
    let mut mirrored = levels();
    mirrored
        .last_mut()
        .and_then(|level| level.head.as_mut())
        .unwrap()
        .mirrored = true;
    let seen = rows(7);
    let turned: Vec<f32> = seen
        .chunks(INPUT[2])
        .flat_map(|line| line.iter().rev().copied())
        .collect();
    let expected: Vec<f32> = plain
        .logits(seen.clone())
        .iter()
        .zip(plain.logits(turned))
        .map(|(a, b)| (a + b) / 2.0)
        .collect();

    let plan = Plan::compile(&INPUT, &mirrored, &weights, Precision::F32);
    let network = Network::with_weights(&INPUT, &mirrored, &weights, Precision::F32);
    let mut answered = Answers::default();
    let top = Way::to_exit(&plan, 0);
    plan.run_ways(&seen, &[(7, &top)], &mut answered, &mut Scratch::default());
    let found = [
        answers(&plan, &seen, &mut Scratch::default()),
        network.logits(seen.clone()),
        answered.logits,
    ];
    for found in found {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{found}, expected {expected}"
            );
        }
    }
    // The gradient goes to both views of the row.
    let row = seen[..216].to_vec();
    let gradient = network.input_gradient(row.clone(), 2).gradient;
    for index in [0, 7, 100, 215] {
        let at = |step: f32| {
            let mut row = row.clone();
            row[index] += step;
            network.logits(row)[2]
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!(
            (gradient[index] - slope).abs() < 2e-2,
            "{} {slope}",
            gradient[index]
        );
    }
}
