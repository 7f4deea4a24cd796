//! Networks of convolutions against PyTorch's; the values are printed by references/convolutional.py.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use strata_nn::{Lesson, LevelWeights, Network, Optimizer, WeightTensor, one_hot};
use strata_spec::{
    BatchNorm, Conv, Dense, Head, Layer, Level, MaxPool, Optimizer as Rule, Pair, Precision,
    Residual, Sgd, level_shapes, networks,
};

/// Uniform in `middle` -+ `scale` / 2, the same numbers as in the script.
fn numbers(salt: u64, count: usize, scale: f64, middle: f64) -> Vec<f32> {
    let number = |index: usize| {
        let bits = (index as u64 * 2_654_435_761 + salt * 40_503 + 12_345) % (1 << 32);
        let bits = (bits ^ (bits >> 15)) * 2_246_822_519 % (1 << 32);
        ((bits as f64 / (1_u64 << 32) as f64 - 0.5) * scale + middle) as f32
    };
    (0..count).map(number).collect()
}

/// Sets every tensor, in the order in which the layers stand, by its name and shape.
fn fill(input: &[usize], levels: &[Level]) -> Vec<LevelWeights> {
    let mut salt = 0;
    let shapes = level_shapes(input, levels).unwrap();
    let fresh = Network::new(input, levels, 0, Precision::F32).weights();
    let levels = levels.iter().zip(&shapes).zip(fresh);
    levels
        .map(|((level, shapes), fresh)| {
            let mut named: Vec<(&String, &WeightTensor)> = fresh.iter().collect();
            named.sort_by_key(|(name, _)| place(name));
            let mut tensors = BTreeMap::new();
            for (name, tensor) in named {
                let shape = tensor.shape.clone();
                let (scale, middle) = match (name.rsplit('.').next().unwrap(), &shape[..]) {
                    ("running_var", _) => (1.0, 1.0),
                    ("weight", [_]) => (0.5, 1.0),
                    (_, [_]) => (0.5, 0.0),
                    (_, [_, inputs @ ..]) => {
                        ((24.0 / inputs.iter().product::<usize>() as f64).sqrt(), 0.0)
                    }
                    (_, []) => unreachable!(),
                };
                let values = numbers(salt, tensor.values.len(), scale, middle);
                tensors.insert(name.clone(), WeightTensor { shape, values });
                salt += 1;
            }
            LevelWeights::new(tensors, level, shapes).unwrap()
        })
        .collect()
}

/// Orders names as the layers stand: the body before the head, numbers as numbers, PyTorch's order within a layer.
fn place(name: &str) -> Vec<(usize, String)> {
    let within = ["weight", "bias", "running_mean", "running_var"];
    let part = |part: &str| match part.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => {
            let rank = within.iter().position(|word| *word == part);
            (rank.unwrap_or(0), part.replace("head", "z").to_owned())
        }
    };
    name.split('.').map(part).collect()
}

fn conv(channels: usize, kernel: usize, stride: usize) -> Layer {
    Layer::Conv(Conv {
        stride: stride.into(),
        padding: (kernel / 2).into(),
        bias: false,
        ..Conv::square(channels, kernel)
    })
}

fn block(channels: usize, stride: usize, has_shortcut: bool) -> Layer {
    let norm = || Layer::BatchNorm(BatchNorm::default());
    let shortcut = vec![conv(channels, 1, stride), norm()];
    Layer::Residual(Residual {
        layers: vec![
            conv(channels, 3, stride),
            norm(),
            Layer::Relu,
            conv(channels, 3, 1),
            norm(),
        ],
        shortcut: if has_shortcut { shortcut } else { Vec::new() },
    })
}

const SMALL: [usize; 3] = [3, 9, 8];

fn small() -> Vec<Level> {
    let stem = vec![
        Layer::Conv(Conv {
            channels: 6,
            kernel: Pair([3, 5]),
            padding: Pair([1, 2]),
            groups: 3,
            ..Conv::square(6, 3)
        }),
        Layer::BatchNorm(BatchNorm::default()),
        Layer::Relu,
        Layer::MaxPool(MaxPool {
            kernel: 3.into(),
            stride: Some(2.into()),
            padding: 1.into(),
            dilation: 1.into(),
            ceil: false,
        }),
    ];
    let level = |name: &str, layers, head| Level {
        name: name.parse().unwrap(),
        layers,
        head,
    };
    let head = Head {
        task: "task".parse().unwrap(),
        layers: vec![Layer::GlobalAveragePool, Layer::Dense(Dense::new(3))],
        mirrored: false,
    };
    vec![
        level("stem", stem, None),
        level(
            "blocks",
            vec![
                block(6, 1, false),
                Layer::Relu,
                block(8, 2, true),
                Layer::Relu,
            ],
            Some(head),
        ),
    ]
}

fn small_rows(count: usize) -> Vec<f32> {
    numbers(100, count * 3 * 9 * 8, 2.0, 0.0)
}

/// The sum of what is in a tensor, and a sum in which places count differently.
fn sums(values: &[f32]) -> (f64, f64) {
    let weighted = |(index, value): (usize, &f32)| (index as f64 % 7.0 - 3.0) * f64::from(*value);
    (
        values.iter().map(|value| f64::from(*value)).sum(),
        values.iter().enumerate().map(weighted).sum(),
    )
}

fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error < tolerance, "{what}: {found}, expected {expected}");
    }
}

/// The small network after two steps, and the losses.
fn learned(precision: Precision) -> (Network, Vec<f64>) {
    let levels = small();
    let mut network = Network::with_weights(&SMALL, &levels, &fill(&SMALL, &levels), precision);
    let rule = Rule::Sgd(Sgd {
        learning_rate: 0.1,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    });
    let mut optimizer = Optimizer::new(rule, None);
    let losses = (0..2).map(|_| {
        let targets = one_hot(&[0, 2, 1, 2], network.output_len());
        let lesson = Lesson::new(small_rows(4), &targets, levels.len(), 0.1);
        f64::from(network.learn(lesson, &mut optimizer).highest().loss)
    });
    let losses = losses.collect();
    (network, losses)
}

#[test]
fn a_small_residual_network_learns_as_in_pytorch() {
    let (network, losses) = learned(Precision::F32);
    assert_near("losses", &losses, &[0.7232091, 0.4327364], 2e-5);
    let expected = [
        (-1.813914, -6.899933),
        (0.508854, -1.138075),
        (6.331417, -2.963088),
        (0.032726, 0.377628),
        (0.409966, -0.343272),
        (5.662061, -2.284711),
        (0.095064, -5.133761),
        (6.011963, -3.447772),
        (0.076307, -0.216112),
        (0.287954, 0.696912),
        (7.706025, -4.245965),
        (-3.687073, -1.806408),
        (5.510758, -3.575225),
        (0.703803, 0.324147),
        (0.051581, 0.440764),
        (5.270682, -2.066615),
        (10.228925, 13.531878),
        (7.724973, -2.882516),
        (-0.347740, -0.749609),
        (1.858664, 1.551316),
        (9.823420, -0.555617),
        (-1.443112, -1.078877),
        (8.363971, -3.883039),
        (0.619318, 0.090343),
        (0.855803, -0.780048),
        (6.014397, -2.979672),
        (-5.206246, -6.980788),
        (8.877006, -3.353127),
        (0.467461, 0.577204),
        (-1.557698, -3.920879),
        (10.460361, -3.674044),
        (-2.219659, 5.288361),
        (-0.212365, -0.065093),
    ];
    let weights = network.weights();
    let mut found = Vec::new();
    for level in &weights {
        let mut named: Vec<_> = level.iter().collect();
        named.sort_by_key(|(name, _)| place(name));
        found.extend(named);
    }
    assert_eq!(found.len(), expected.len());
    for ((name, tensor), expected) in found.into_iter().zip(expected) {
        let found = sums(&tensor.values);
        let (found, expected) = ([found.0, found.1], [expected.0, expected.1]);
        assert_near(name, &found, &expected, 5e-5);
    }

    // With what it learned, it answers by the running statistics.
    let logits: Vec<f64> = network
        .logits(small_rows(4))
        .into_iter()
        .map(f64::from)
        .collect();
    let expected = [
        0.243782, -0.406842, -0.409852, -1.377804, -0.787166, 0.674373, -0.389945, 0.080478,
        0.394011, -0.78159, -0.445782, 1.088174,
    ];
    assert_near("logits", &logits, &expected, 5e-5);
    let gradient = sums(&network.input_gradient(small_rows(4), 1).gradient);
    assert_near(
        "input gradient",
        &[gradient.0, gradient.1],
        &[5.826744, -3.524939],
        5e-5,
    );
}

#[test]
fn a_small_residual_network_learns_in_bf16_as_well() {
    let (network, losses) = learned(Precision::Bf16);
    assert_eq!(network.precision(), Precision::Bf16);
    assert_near("losses", &losses, &[0.7232091, 0.4327364], 3e-2);
}

#[test]
fn resnet18_answers_as_torchvisions() {
    let (task, input) = ("object".parse().unwrap(), [3, 32, 32]);
    let levels = networks::resnet18(networks::Stem::Imagenet, &task, 10);
    let weights = fill(&input, &levels);
    let network = Network::with_weights(&input, &levels, &weights, Precision::F32);
    let found = network.logits(numbers(100, 2 * 3 * 32 * 32, 2.0, 0.0));
    let expected = [
        -23.3648, -16.04186, -27.24595, -4.27773, 3.61186, 7.61637, -10.84453, 1.64525, -2.7752,
        12.40827, -23.93992, -12.09043, -27.62576, -3.14911, 0.23384, 5.78165, -8.8996, -0.40428,
        -2.37701, 16.25465,
    ];
    let found: Vec<f64> = found.into_iter().map(f64::from).collect();
    assert_near("logits", &found, &expected, 1e-4);
}

#[test]
fn equal_seeds_learn_the_same_bytes() {
    let bytes = |precision| {
        let (network, _) = learned(precision);
        network
            .weights()
            .iter()
            .map(LevelWeights::to_safetensors)
            .collect::<Vec<_>>()
    };
    for precision in [Precision::F32, Precision::Bf16] {
        assert_eq!(bytes(precision), bytes(precision));
    }
}
