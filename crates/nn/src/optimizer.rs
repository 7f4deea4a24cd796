use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param, ParamId},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use strata_kernels::{AdamStep, SgdStep, burn_ops};
use strata_spec::{Clip, Lookahead, Optimizer as Rule, Rates};

use crate::{
    Network, WeightTensor,
    layers::{LevelModule, read_tensor},
};

/// Turns gradients into steps, and keeps what it remembers from step to step. Each level is on its own in it.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    clip: Option<Clip>,
    rates: Rates,
    lookahead: Option<Lookahead>,
    /// What is remembered of each weight tensor of each level, in the order in which the network holds them; nothing of one
    /// that has not learned yet.
    levels: Vec<Vec<Option<Memory>>>,
}

/// One tensor of what an optimizer remembers, flattened, by name.
pub type OptimizerState = BTreeMap<String, WeightTensor>;

/// Steps that each weight tensor of each level has taken; 0 where nothing is remembered of it.
pub type OptimizerSteps = Vec<Vec<u64>>;

/// What is remembered of a tensor.
#[derive(Debug)]
struct Memory {
    /// Steps that it has taken.
    steps: u64,
    /// As many tensors as the rule needs, in its order (`velocity`; or `moment1`, `moment2`), then, with a lookahead, the
    /// slow weights (`slow`); flattened.
    tensors: Vec<Tensor<1>>,
}

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(rule: Rule, clip: Option<Clip>) -> Self {
        Self {
            rule,
            clip,
            rates: Rates::default(),
            lookahead: None,
            levels: Vec::new(),
        }
    }

    /// The same with other learning rates for some kinds of weights.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        Self { rates, ..self }
    }

    /// The same with slow weights that follow the fast ones.
    #[must_use]
    pub fn with_lookahead(self, lookahead: Option<Lookahead>) -> Self {
        Self { lookahead, ..self }
    }

    /// Steps taken, and what is remembered: `0.3.velocity` is of the fourth tensor of the first level.
    pub fn state(&self) -> (OptimizerSteps, OptimizerState) {
        let names = self.state_names();
        let mut state = BTreeMap::new();
        let mut steps = Vec::new();
        for (level, memories) in self.levels.iter().enumerate() {
            let taken = |memory: &Option<Memory>| memory.as_ref().map_or(0, |memory| memory.steps);
            steps.push(memories.iter().map(taken).collect());
            for (index, memory) in memories.iter().enumerate() {
                let tensors = memory.iter().flat_map(|memory| &memory.tensors);
                for (name, tensor) in names.iter().zip(tensors) {
                    let tensor = read_tensor(tensor.clone());
                    state.insert(format!("{level}.{index}.{name}"), tensor);
                }
            }
        }
        (steps, state)
    }

    /// What is remembered of each tensor.
    fn state_names(&self) -> Vec<&'static str> {
        let slow = self.lookahead.map(|_| "slow");
        names_of(&self.rule).iter().copied().chain(slow).collect()
    }

    /// Goes on with `network` from a state that [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// What is missing, too much or of another size.
    pub fn restore(
        &mut self,
        network: &Network,
        steps: OptimizerSteps,
        mut state: OptimizerState,
    ) -> Result<(), String> {
        let device = burn::tensor::Device::flex();
        let lengths = network.parameter_lengths();
        if steps.len() > lengths.len() {
            let (expected, found) = (lengths.len(), steps.len());
            return Err(format!(
                "expected steps of {expected} levels, found {found}"
            ));
        }
        let mut levels = Vec::new();
        for (level, (steps, lengths)) in steps.into_iter().zip(lengths).enumerate() {
            if steps.len() > lengths.len() {
                let (expected, found) = (lengths.len(), steps.len());
                return Err(format!(
                    "level {level}: expected steps of {expected} tensors, found {found}"
                ));
            }
            let mut memories = Vec::new();
            for (index, (steps, length)) in steps.into_iter().zip(lengths).enumerate() {
                if steps == 0 {
                    memories.push(None);
                    continue;
                }
                let mut tensors = Vec::new();
                for name in self.state_names() {
                    let name = format!("{level}.{index}.{name}");
                    let tensor = state
                        .remove(&name)
                        .ok_or_else(|| format!("`{name}` is missing"))?;
                    let found = tensor.values.len();
                    if found != length {
                        return Err(format!(
                            "`{name}`: expected {length} numbers, found {found}"
                        ));
                    }
                    let data = TensorData::new(tensor.values, [length]);
                    tensors.push(Tensor::from_data(data, &device));
                }
                memories.push(Some(Memory { steps, tensors }));
            }
            levels.push(memories);
        }
        if let Some(name) = state.keys().next() {
            return Err(format!("unexpected `{}`", name.escape_debug()));
        }
        self.levels = levels;
        Ok(())
    }

    /// Steps the weights of `levels`, of which the first is the network's level `first`, that have gradients; gives the
    /// norm of all gradients where it is limited. `progress` is the share of the training that ends with this step.
    pub(crate) fn step(
        &mut self,
        levels: &mut [LevelModule],
        first: usize,
        gradients: Vec<GradientsParams>,
        rates: &[f64],
        progress: f64,
    ) -> Option<f32> {
        let mut scale = 1.0;
        let mut norm = None;
        if let Some(Clip::Norm(limit)) = self.clip {
            let found = gradient_norm(levels, &gradients);
            if f64::from(found) > limit {
                scale = (limit / f64::from(found)) as f32;
            }
            norm = Some(found);
        }
        if self.levels.len() < first + gradients.len() {
            self.levels.resize_with(first + gradients.len(), Vec::new);
        }
        for (index, gradients) in gradients.into_iter().enumerate() {
            let memory = &mut self.levels[first + index];
            let mut pass = Pass {
                rule: &self.rule,
                rate: rates[index],
                rates: self.rates,
                lookahead: self.lookahead,
                progress,
                place: Vec::new(),
                scale,
                value_limit: match self.clip {
                    Some(Clip::Value(limit)) => Some(limit as f32),
                    _ => None,
                },
                gradients,
                memory: std::mem::take(memory).into_iter(),
                remembered: Vec::new(),
            };
            // `map` takes the module by value: weights that nobody else holds are stepped in place.
            let level = &mut levels[index];
            *level = std::mem::replace(level, LevelModule::empty()).map(&mut pass);
            *memory = pass.remembered;
        }
        norm
    }
}

fn names_of(rule: &Rule) -> &'static [&'static str] {
    match rule {
        Rule::Sgd(_) => &["velocity"],
        Rule::Adam(_) | Rule::AdamW(_) => &["moment1", "moment2"],
    }
}

fn gradient_norm(levels: &[LevelModule], gradients: &[GradientsParams]) -> f32 {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        sum: f64,
    }
    impl burn::module::ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = self.gradients.get::<D>(param.id) else {
                return;
            };
            let values: Vec<f32> = gradient
                .into_data()
                .try_into_vec()
                .expect("gradients are f32");
            self.sum += values
                .iter()
                .map(|value| f64::from(*value).powi(2))
                .sum::<f64>();
        }
    }
    let mut sum = 0.0;
    for (level, gradients) in levels.iter().zip(gradients) {
        let mut squares = Squares { gradients, sum };
        level.visit(&mut squares);
        sum = squares.sum;
    }
    sum.sqrt() as f32
}

/// One step over a level's weights, in the order in which the network holds them.
struct Pass<'a> {
    rule: &'a Rule,
    rate: f64,
    rates: Rates,
    lookahead: Option<Lookahead>,
    progress: f64,
    /// The fields on the way to a weight, and what each is a field of.
    place: Vec<(String, String)>,
    scale: f32,
    value_limit: Option<f32>,
    gradients: GradientsParams,
    memory: std::vec::IntoIter<Option<Memory>>,
    remembered: Vec<Option<Memory>>,
}

impl ModuleMapper for Pass<'_> {
    fn enter_module(&mut self, field: &str, container: &str) {
        self.place.push((field.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weight, mapper): (ParamId, Tensor<D>, _) = param.consume();
        let memory = self.memory.next().flatten();
        let factor = self.factor();
        let gradient = self.gradients.remove::<D>(id);
        let Some(gradient) = gradient.filter(|_| factor > 0.0) else {
            self.remembered.push(memory);
            return Param::from_mapped_value(id, weight, mapper);
        };
        let gradient = match self.value_limit {
            Some(limit) => gradient.clamp(-limit, limit),
            None => gradient,
        };
        let weight = weight.inner();
        let shape = weight.dims();
        let length: usize = shape.iter().product();
        let zeros = || Tensor::<1>::zeros([length], &weight.device());
        let mut memory = memory.unwrap_or_else(|| Memory {
            steps: 0,
            tensors: names_of(self.rule).iter().map(|_| zeros()).collect(),
        });
        memory.steps += 1;
        let (weight, gradient) = (weight.reshape([length]), gradient.reshape([length]));
        // The slow weights begin where the fast ones do.
        let slow = self.lookahead.map(|_| {
            let is_new = memory.tensors.len() == names_of(self.rule).len();
            let slow = if is_new { None } else { memory.tensors.pop() };
            slow.unwrap_or_else(|| weight.clone())
        });
        let (mut weight, mut memory) = self.step(weight, gradient, memory, factor);
        if let (Some(lookahead), Some(mut slow)) = (self.lookahead, slow) {
            if memory.steps.is_multiple_of(lookahead.every as u64) {
                let hold = lookahead.hold * self.progress.powf(lookahead.growth);
                slow = slow * hold + weight * (1.0 - hold);
                weight = slow.clone();
            }
            memory.tensors.push(slow);
        }
        self.remembered.push(Some(memory));
        Param::from_mapped_value(
            id,
            Tensor::from_inner(weight.reshape(shape)).require_grad(),
            mapper,
        )
    }
}

impl Pass<'_> {
    /// What the rate is multiplied by for the weight at hand.
    fn factor(&self) -> f64 {
        let Some((field, container)) = self.place.last() else {
            return 1.0;
        };
        match (container.as_str(), field.as_str()) {
            ("Struct:BatchNorm" | "Struct:LayerNorm", "weight") => self.rates.norm_scale,
            ("Struct:BatchNorm" | "Struct:LayerNorm", "bias") => self.rates.norm_bias,
            _ => 1.0,
        }
    }

    fn step(
        &self,
        weight: Tensor<1>,
        gradient: Tensor<1>,
        memory: Memory,
        factor: f64,
    ) -> (Tensor<1>, Memory) {
        let rate = (self.rate * factor) as f32;
        // So that a step decays by as much whatever the factor is.
        let decay = |decay: f64| (decay / factor) as f32;
        let steps = memory.steps;
        let mut tensors = memory.tensors.into_iter();
        let mut next = || {
            tensors
                .next()
                .expect("a tensor for each of the rule's names")
        };
        match self.rule {
            Rule::Sgd(sgd) => {
                let step = SgdStep {
                    rate,
                    momentum: sgd.momentum as f32,
                    nesterov: sgd.nesterov,
                    weight_decay: decay(sgd.weight_decay),
                    gradient_scale: self.scale,
                };
                let (weight, velocity) = burn_ops::sgd(weight, gradient, next(), step);
                (
                    weight,
                    Memory {
                        steps,
                        tensors: vec![velocity],
                    },
                )
            }
            Rule::Adam(adam) => {
                let betas = (adam.beta1, adam.beta2);
                let step = self.adam_step(steps, betas, adam.epsilon, (rate, 0.0));
                let (weight, (moment1, moment2)) =
                    burn_ops::adam(weight, gradient, (next(), next()), step);
                (
                    weight,
                    Memory {
                        steps,
                        tensors: vec![moment1, moment2],
                    },
                )
            }
            Rule::AdamW(adamw) => {
                let step = self.adam_step(
                    steps,
                    (adamw.beta1, adamw.beta2),
                    adamw.epsilon,
                    (rate, decay(adamw.weight_decay)),
                );
                let (weight, (moment1, moment2)) =
                    burn_ops::adam(weight, gradient, (next(), next()), step);
                (
                    weight,
                    Memory {
                        steps,
                        tensors: vec![moment1, moment2],
                    },
                )
            }
        }
    }

    fn adam_step(
        &self,
        steps: u64,
        (beta1, beta2): (f64, f64),
        epsilon: f64,
        (rate, weight_decay): (f32, f32),
    ) -> AdamStep {
        let correction = |beta: f64| (1.0 - beta.powf(steps as f64)) as f32;
        AdamStep {
            rate,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            weight_decay,
            correction1: correction(beta1),
            correction2: correction(beta2),
            gradient_scale: self.scale,
        }
    }
}
