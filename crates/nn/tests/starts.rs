//! What a kernel is before the first step, and which weights learn at another rate.

#![allow(clippy::unwrap_used)]

use strata_nn::{Lesson, Network, Optimizer, WeightTensor, one_hot};
use strata_spec::{
    BatchNorm, Conv, Dense, Head, Layer, Level, Optimizer as Rule, Precision, Rates, Sgd, Start,
    networks::NamedNetwork,
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
            layers: vec![Layer::Dense(Dense::new(3))],
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

/// A tensor of a fresh network of that name, by the tensor's published name.
fn fresh(network: &str, size: usize, key: &str) -> Vec<f32> {
    let network: NamedNetwork = serde_json::from_str(network).unwrap();
    let task = "object".parse().unwrap();
    let levels = network.levels(&task, 10).unwrap();
    let keys = network.keys(&task, 10).unwrap();
    let index = keys
        .iter()
        .position(|keys| keys.tensors.values().any(|name| name == key))
        .unwrap();
    let mut below = levels[..=index].to_vec();
    below[index].head.get_or_insert(Head {
        task,
        layers: vec![Layer::Flatten],
        mirrored: false,
    });
    let network = Network::new(&[3, size, size], &below, 1, Precision::F32);
    let weights = network.weights();
    let found = weights[index]
        .iter()
        .find(|(path, _)| keys[index].tensors[*path] == key);
    found.unwrap().1.values.clone()
}

// As torchvision's constructors begin: the layers' own start in PyTorch for AlexNet, `kaiming_uniform_` and `normal_` for
// SqueezeNet, `trunc_normal_` for GoogLeNet and Inception v3.
#[test]
fn networks_by_name_begin_as_the_published_ones_do() {
    let check = |network: &str, size: usize, key: &str, deviation: f64, most: f64| {
        let values = fresh(network, size, key);
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        let found = (squares / values.len() as f64).sqrt();
        assert!(
            (found / deviation - 1.0).abs() < 0.15,
            "{network} {key}: {found}, expected {deviation}"
        );
        let largest = values
            .iter()
            .fold(0.0, |all: f32, value| all.max(value.abs()));
        assert!(
            f64::from(largest) <= most * (1.0 + 1e-6),
            "{network} {key}: {largest}, expected at most {most}"
        );
    };
    let uniform = |network: &str, key: &str, limit: f64| {
        check(network, 32, key, limit / 3_f64.sqrt(), limit);
    };
    let alexnet = r#"{ "alexnet": { "stem": "cifar" } }"#;
    for tensor in ["weight", "bias"] {
        let of = |module: &str| format!("{module}.{tensor}");
        uniform(alexnet, &of("features.3"), (1.0 / 1600.0_f64).sqrt());
        uniform(alexnet, &of("features.6"), (1.0 / 1728.0_f64).sqrt());
    }
    let squeezenet = r#"{ "squeezenet": { "stem": "cifar" } }"#;
    uniform(squeezenet, "features.0.weight", (6.0 / 27.0_f64).sqrt());
    uniform(
        squeezenet,
        "features.3.expand3x3.weight",
        (6.0 / 144.0_f64).sqrt(),
    );
    check(squeezenet, 32, "classifier.1.weight", 0.01, 0.06);
    assert!(
        fresh(squeezenet, 32, "features.0.bias")
            .iter()
            .all(|bias| *bias == 0.0)
    );
    let googlenet = r#"{ "googlenet": { "stem": "cifar" } }"#;
    check(googlenet, 32, "conv3.conv.weight", 0.01, 0.06);
    check(googlenet, 32, "aux1.fc2.weight", 0.01, 0.06);
    let inception = r#"{ "inception-v3": {} }"#;
    check(inception, 299, "Conv2d_4a_3x3.conv.weight", 0.1, 0.6);
    check(inception, 299, "AuxLogits.fc.weight", 0.001, 0.006);
}
