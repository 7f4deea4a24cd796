use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Layer, Name, Strategy};

/// How a network learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Default: `end-to-end`.
    #[serde(default)]
    pub strategy: Strategy,
    /// Passes over the training rows, at least 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: usize,
    /// Rows in a step; the last step of an epoch takes what is left. Default: 128.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch: usize,
    /// The loss of each level that has one; the top level's is `cross-entropy` always. Default: `cross-entropy`.
    #[serde(default)]
    pub objective: Objective,
    /// What differs for single levels, by their names. Default: nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<Name, LevelTraining>,
    /// Settings of the strategy `greedy`.
    #[serde(default)]
    pub greedy: Greedy,
    /// Settings of the strategy `staged`.
    #[serde(default)]
    pub staged: Staged,
    /// Settings of the objective `infopro`.
    #[serde(default)]
    pub infopro: InfoPro,
    /// Weights to begin with: a file of named tensors (`.safetensors`, `.pth`, `.pt`, `.th`), relative to the recipe.
    /// Default: fresh ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Share of each target that is spread over all classes (Szegedy et al. 2016). Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub label_smoothing: f64,
    /// Parts that a batch is learned from in turn, to save memory; their gradients are added up before the step. Batch
    /// normalizations see one part at a time. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub accumulate: usize,
    /// Whether to keep only what enters each level for the way back, and compute the rest once more (Chen et al. 2016).
    /// Default: false.
    #[serde(default)]
    pub checkpointing: bool,
    /// Default: Adam with its usual settings.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// What the learning rate is multiplied by for some kinds of weights. Default: 1 for all.
    #[serde(default, skip_serializing_if = "Rates::is_default")]
    pub rates: Rates,
    /// Slow weights that follow the ones that learn. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<Lookahead>,
    /// How the learning rate changes. Default: `constant`.
    #[serde(default)]
    pub schedule: RateSchedule,
    /// Share of all steps over which the rate climbs linearly from near 0, before `schedule` takes over. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub warm_up: f64,
    /// Limits the gradient. Default: none.
    #[serde(default)]
    pub clip: Option<Clip>,
    /// Ends the training when the validation rows no longer get better. Default: none.
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    /// Default: `auto`.
    #[serde(default)]
    pub precision: Precision,
}

/// The loss of one level. A level without a head gets an auxiliary one for it, which the model does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Softmax cross-entropy, mean over the rows of a batch.
    #[default]
    CrossEntropy,
    /// 0.01 times that, and 0.99 times how far the similarities of the rows' features are from those of their targets
    /// (Nøkland & Eidnes 2019).
    #[serde(rename = "predsim")]
    PredSim,
    /// That, and how well the network's input can be made from the features: the lower the level, the more the latter
    /// counts (Wang et al. 2021).
    #[serde(rename = "infopro")]
    InfoPro,
}

/// What is different for one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelTraining {
    /// Its loss. Default: that of the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// What its loss is multiplied by. Default: 1.
    #[serde(default = "unit")]
    pub weight: f64,
    /// What the learning rate is multiplied by. Default: 1.
    #[serde(default = "unit")]
    pub rate: f64,
    /// Epochs of its turn in `greedy`. Default: those of the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// The layers of its auxiliary head, for a level without a head: from the level's output to the classes of the final
    /// task. The model does not keep it. Default: on maps a convolution, the mean of each map and two dense layers; one
    /// dense layer on rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auxiliary: Vec<Layer>,
}

/// Settings of [`Strategy::Greedy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Greedy {
    /// Where to keep what the frozen levels make of the rows. Default: `memory`.
    pub cache: FeatureCache,
    /// How many times each row is kept, differently augmented each time; the epochs of a turn take them in turn. Default: 1.
    #[schemars(range(min = 1, max = 1024))]
    pub views: usize,
}

/// Where the outputs of frozen levels are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureCache {
    /// In memory.
    #[default]
    Memory,
    /// In a file of the run's folder, which is removed after the turn.
    Disk,
    /// Nowhere: they are computed for each step anew.
    None,
}

/// Settings of [`Strategy::Staged`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Staged {
    /// Epochs of each stage: first the top level's head learns, then with each stage the next level from the top as well.
    /// Default: so many that every level learns in the second half of the epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// What the learning rate of each level is, as a share of that of the level above it. Default: 0.5.
    pub decay: f64,
}

/// What the two parts of [`Objective::InfoPro`] count at the lowest level. At the highest level below the top, prediction
/// counts 1 and reconstruction nothing; between them they change along a line. With heads as deep as what is above their
/// levels, little reconstruction is needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InfoPro {
    /// The mean squared error of the input made from the features. Default: 0.625. (Wang et al. 2021 have 5 for the
    /// cross-entropy of a logistic output, which is an eighth as curved.)
    pub reconstruction: f64,
    /// The cross-entropy of the head. Default: 0.5.
    pub prediction: f64,
}

/// The rule that turns gradients into steps. The gradient is `g`, the weight `w`, the rate `lr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Stochastic gradient descent as in PyTorch.
    Sgd(Sgd),
    /// Adam (Kingma & Ba 2015, algorithm 1).
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW(AdamW),
}

/// Settings of [`Optimizer::Sgd`]: `g += weight_decay w; v = momentum v + g; w -= lr v`
/// (with `nesterov`, `w -= lr (g + momentum v)`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// Learning rate.
    pub learning_rate: f64,
    /// Default: 0.
    #[serde(default)]
    pub momentum: f64,
    /// Default: false. Needs momentum.
    #[serde(default)]
    pub nesterov: bool,
    /// Default: 0.
    #[serde(default)]
    pub weight_decay: f64,
}

/// Settings of [`Optimizer::Adam`]:
/// `m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g²; w -= lr m̂ / (√v̂ + epsilon)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// Learning rate. Default: 0.001.
    pub learning_rate: f64,
    /// Default: 0.9.
    pub beta1: f64,
    /// Default: 0.999.
    pub beta2: f64,
    /// Default: 1e-7, as in Keras (PyTorch: 1e-8).
    pub epsilon: f64,
}

/// Settings of [`Optimizer::AdamW`]: Adam's step and `w -= lr weight_decay w`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Learning rate. Default: 0.001.
    pub learning_rate: f64,
    /// Default: 0.9.
    pub beta1: f64,
    /// Default: 0.999.
    pub beta2: f64,
    /// Default: 1e-7.
    pub epsilon: f64,
    /// Default: 0.01.
    pub weight_decay: f64,
}

/// What the learning rate is multiplied by for kinds of weights that want another one. What weight decay takes in a step stays
/// the same; weights with a factor of 0 stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// The factors of normalizations. Default: 1.
    pub norm_scale: f64,
    /// The biases of normalizations. Default: 1.
    pub norm_bias: f64,
}

/// Slow weights that follow the ones that learn, which go on from there (Zhang et al. 2019): after every `every` steps
/// `slow = h slow + (1 - h) weights`, then `weights = slow`. What is held is `h = hold p^growth`, where `p` is the share of the
/// training that is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lookahead {
    /// 1 to 1,000,000. Default: 5.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub every: usize,
    /// 0 to 1. Default: 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hold: f64,
    /// 0 to 100. Default: 0, so that as much is held all the time.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub growth: f64,
}

/// How the learning rate changes over a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RateSchedule {
    /// It does not.
    #[default]
    Constant,
    /// It is multiplied by `factor` every `epochs` epochs.
    Step(Step),
    /// It falls to `floor` times the rate along half a cosine (Loshchilov & Hutter 2017), step by step.
    Cosine(Cosine),
    /// It climbs from `rate / start` to `rate` and falls to `rate / start / end`, along cosines (Smith & Topin 2018).
    OneCycle(OneCycle),
}

/// Settings of [`RateSchedule::Step`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// At least 1.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// More than 0, at most 1. Default: 0.1.
    #[serde(default = "tenth")]
    pub factor: f64,
}

/// Settings of [`RateSchedule::Cosine`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// From 0 to 1. Default: 0.
    #[serde(default)]
    pub floor: f64,
}

/// Settings of [`RateSchedule::OneCycle`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneCycle {
    /// Share of the steps in which the rate climbs. Default: 0.3.
    pub climb: f64,
    /// Default: 25.
    pub start: f64,
    /// Default: 10,000.
    pub end: f64,
}

/// Limits on the gradient of all weights together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Clip {
    /// Scales the gradient down so that its Euclidean norm is at most this (Pascanu et al. 2013).
    Norm(f64),
    /// Cuts every component to at most this in size.
    Value(f64),
}

/// When to end a training early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Metric on the validation rows. Default: `loss`.
    #[serde(default)]
    pub metric: MonitoredMetric,
    /// Epochs without a better value after which the training ends, at least 1.
    #[schemars(range(min = 1))]
    pub patience: usize,
    /// How much better a value must be to count. Default: 0.
    #[serde(default)]
    pub min_delta: f64,
}

/// A metric that early stopping can watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MonitoredMetric {
    /// Mean loss; lower is better.
    #[default]
    Loss,
    /// Share of right answers; higher is better.
    Accuracy,
    /// Mean of the classes' F1; higher is better.
    MacroF1,
}

/// Number format of activations and products. Sums, losses, statistics and master weights are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `bf16` where the program has faster kernels for it on this CPU, `f32` elsewhere.
    #[default]
    Auto,
    /// 32-bit floating point.
    F32,
    /// bfloat16.
    Bf16,
}

impl Precision {
    /// The word that a recipe uses for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Objective {
    /// All objectives, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::CrossEntropy, Self::PredSim, Self::InfoPro];

    /// The word that a recipe uses for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::PredSim => "predsim",
            Self::InfoPro => "infopro",
        }
    }
}

impl Optimizer {
    /// Its base learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Adam(adam) => adam.learning_rate,
            Self::AdamW(adamw) => adamw.learning_rate,
        }
    }
}

impl Rates {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Lookahead {
    fn default() -> Self {
        Self {
            every: 5,
            hold: 0.5,
            growth: 0.0,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            norm_scale: 1.0,
            norm_bias: 1.0,
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
        }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            weight_decay: 0.01,
        }
    }
}

impl Default for LevelTraining {
    fn default() -> Self {
        Self {
            objective: None,
            weight: 1.0,
            rate: 1.0,
            epochs: None,
            auxiliary: Vec::new(),
        }
    }
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            cache: FeatureCache::default(),
            views: 1,
        }
    }
}

impl Default for InfoPro {
    fn default() -> Self {
        Self {
            reconstruction: 0.625,
            prediction: 0.5,
        }
    }
}

impl Default for Staged {
    fn default() -> Self {
        Self {
            epochs: None,
            decay: 0.5,
        }
    }
}

impl Default for OneCycle {
    fn default() -> Self {
        Self {
            climb: 0.3,
            start: 25.0,
            end: 1e4,
        }
    }
}

const fn batch() -> usize {
    128
}

const fn one() -> usize {
    1
}

const fn unit() -> f64 {
    1.0
}

const fn tenth() -> f64 {
    0.1
}
