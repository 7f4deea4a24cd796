//! Small models, as packages in a store.

use std::collections::BTreeMap;

use strata_nn::{LevelWeights, Network, Plan, Scratch, WeightTensor, softmax};
use strata_package::{Identity, NewLevel, NewVersion, Sealing, Store};
use strata_spec::{
    Classification, Dense, Digest, Head, Layer, Level, Lineage, Precision, Preparation, Strategy,
    Task, level_shapes,
};

/// Height and width of the images, which are grey.
pub(crate) const SIDE: usize = 4;
/// Numbers in a row.
pub(crate) const ROW: usize = SIDE * SIDE;
/// The labels of the classes.
pub(crate) const LABELS: [&str; 3] = ["ring", "bar", "\"dot\""];

/// The labels of the other task of a network with exits.
pub(crate) const KINDS: [&str; 2] = ["round", "straight"];

/// A network of two levels; equal seeds give equal weights.
pub(crate) struct Model {
    levels: Vec<Level>,
    weights: Vec<LevelWeights>,
}

impl Model {
    pub(crate) fn new(seed: u64, hidden: usize) -> Self {
        let dense = |units| Layer::Dense(Dense::new(units));
        let head = Head {
            task: "shape".parse().unwrap(),
            layers: vec![dense(LABELS.len())],
            mirrored: false,
        };
        let layers = vec![
            Layer::Flatten,
            dense(hidden),
            Layer::Relu,
            dense(hidden),
            Layer::Relu,
        ];
        let levels = vec![
            Level {
                name: "low".parse().unwrap(),
                layers,
                head: None,
            },
            Level {
                name: "top".parse().unwrap(),
                layers: Vec::new(),
                head: Some(head),
            },
        ];
        let tensor = |name: &str, shape: Vec<usize>, seed: u64| {
            let scale = 2.0 / (shape[shape.len() - 1] as f32).sqrt();
            let values = numbers(seed, shape.iter().product())
                .iter()
                .map(|v| (v - 0.5) * scale)
                .collect();
            (name.to_owned(), WeightTensor { shape, values })
        };
        let tensors = [
            BTreeMap::from([
                tensor("layers.1.weight", vec![hidden, ROW], seed),
                tensor("layers.1.bias", vec![hidden], seed + 1),
                tensor("layers.3.weight", vec![hidden, hidden], seed + 2),
                tensor("layers.3.bias", vec![hidden], seed + 3),
            ]),
            BTreeMap::from([
                tensor("head.0.weight", vec![LABELS.len(), hidden], seed + 4),
                tensor("head.0.bias", vec![LABELS.len()], seed + 5),
            ]),
        ];
        let shapes = level_shapes(&[1, SIDE, SIDE], &levels).unwrap();
        let both = tensors.into_iter().zip(&levels).zip(&shapes);
        let weights = both
            .map(|((tensors, level), shapes)| LevelWeights::new(tensors, level, shapes).unwrap());
        Self {
            weights: weights.collect(),
            levels,
        }
    }

    /// One whose numbers grow out of all bounds, whatever it is asked.
    pub(crate) fn poisoned() -> Self {
        let mut model = Self::new(1, 8);
        let shapes = level_shapes(&[1, SIDE, SIDE], &model.levels).unwrap();
        let poisoned = model.weights.iter().zip(&model.levels).zip(&shapes);
        let poisoned = poisoned.map(|((weights, level), shapes)| {
            let most = |(name, tensor): (&String, &WeightTensor)| {
                let shape = tensor.shape.clone();
                let values = vec![f32::MAX; tensor.values.len()];
                (name.clone(), WeightTensor { shape, values })
            };
            let tensors = weights.iter().map(most).collect();
            LevelWeights::new(tensors, level, shapes).unwrap()
        });
        model.weights = poisoned.collect();
        model
    }

    /// A network with the exits `low` and `middle`, and a level `kind` above them that answers a task of its own.
    pub(crate) fn with_exits(hidden: usize) -> Self {
        let dense = |units| Layer::Dense(Dense::new(units));
        let level = |name: &str, layers, task: &str, units| Level {
            name: name.parse().unwrap(),
            layers,
            head: Some(Head {
                task: task.parse().unwrap(),
                layers: vec![dense(units)],
                mirrored: false,
            }),
        };
        let body = || vec![dense(hidden), Layer::Relu];
        let levels = vec![
            level(
                "low",
                [vec![Layer::Flatten], body()].concat(),
                "shape",
                LABELS.len(),
            ),
            level("middle", body(), "shape", LABELS.len()),
            level("kind", Vec::new(), "kind", KINDS.len()),
            level("top", body(), "shape", LABELS.len()),
        ];
        let network = Network::new(&[1, SIDE, SIDE], &levels, 9, Precision::F32);
        Self {
            weights: network.weights(),
            levels,
        }
    }

    /// What the server should say of these rows.
    pub(crate) fn probabilities(&self, rows: &[f32]) -> Vec<f32> {
        self.probabilities_at(self.levels.len() - 1, rows)
    }

    /// What the head of a level says of these rows.
    pub(crate) fn probabilities_at(&self, level: usize, rows: &[f32]) -> Vec<f32> {
        let plan = Plan::compile(
            &[1, SIDE, SIDE],
            &self.levels[..=level],
            &self.weights[..=level],
            Precision::F32,
        );
        let classes = plan.output_len();
        let mut answer = vec![0.0; rows.len() / ROW * classes];
        plan.run(rows, &mut answer, &mut Scratch::default());
        answer.chunks_exact_mut(classes).for_each(softmax);
        answer
    }

    pub(crate) fn add_to(&self, store: &Store, name: &str, identity: &Identity) -> u64 {
        let preparation: Preparation =
            serde_json::from_value(serde_json::json!({"image": {"height": SIDE, "width": SIDE}}))
                .unwrap();
        let shapes = level_shapes(&preparation.output_shape(), &self.levels).unwrap();
        let levels =
            self.levels
                .iter()
                .zip(shapes)
                .zip(&self.weights)
                .map(|((level, shapes), weights)| NewLevel {
                    architecture: level.clone(),
                    shapes,
                    weights: weights.to_safetensors(),
                });
        let task = |name: &str, labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
            Task::new(
                name.parse().unwrap(),
                Classification::new(labels.len(), labels),
            )
        };
        let lineage = Lineage {
            recipe: Digest::from_bytes([0; 32]),
            data: Vec::new(),
            validation: None,
            level_data: Vec::new(),
            seed: 0,
            strategy: Strategy::EndToEnd,
            code: "strata 0".to_owned(),
            weights: None,
            parent: None,
            change: None,
        };
        let new = NewVersion {
            name: name.parse().unwrap(),
            description: String::new(),
            levels: levels.collect(),
            network: None,
            tasks: vec![task("shape", &LABELS), task("kind", &KINDS)],
            preparation,
            lineage,
            metrics: BTreeMap::new(),
            precision: Precision::F32,
            card: String::new(),
        };
        store.add(new, identity, Sealing::Own).unwrap().version
    }
}

/// Rows that are the same for the same seed: pixels of 8 bits divided by 255.
pub(crate) fn rows(seed: u64, count: usize) -> Vec<f32> {
    pixels(seed, count * ROW)
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0)
        .collect()
}

pub(crate) fn pixels(seed: u64, count: usize) -> Vec<u8> {
    numbers(seed, count)
        .iter()
        .map(|v| (v * 255.0) as u8)
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
