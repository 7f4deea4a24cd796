use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param, ParamId},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use strata_kernels::{AdamStep, SgdStep, burn_ops};
use strata_spec::{Clip, Optimizer as Rule};

use crate::{Network, WeightTensor, layers::Levels};

/// Turns gradients into steps, and keeps what it remembers from step to step.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    clip: Option<Clip>,
    /// Steps taken.
    steps: u64,
    /// What is remembered of each weight tensor, in the order in which the network holds them.
    memory: Vec<Memory>,
}

/// One tensor of what an optimizer remembers, flattened, by name.
pub type OptimizerState = BTreeMap<String, WeightTensor>;

/// As many tensors as the rule needs, in its order (`velocity`; or `moment1`, `moment2`), flattened.
#[derive(Debug)]
struct Memory(Vec<Tensor<1>>);

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(rule: Rule, clip: Option<Clip>) -> Self {
        Self {
            rule,
            clip,
            steps: 0,
            memory: Vec::new(),
        }
    }

    /// Steps taken, and what is remembered.
    pub fn state(&self) -> (u64, OptimizerState) {
        let names = state_names(&self.rule);
        let mut state = BTreeMap::new();
        for (index, Memory(tensors)) in self.memory.iter().enumerate() {
            for (name, tensor) in names.iter().zip(tensors) {
                let shape = tensor.dims().to_vec();
                let values = tensor
                    .clone()
                    .into_data()
                    .try_into_vec()
                    .expect("optimizers remember f32");
                state.insert(format!("{index}.{name}"), WeightTensor { shape, values });
            }
        }
        (self.steps, state)
    }

    /// Goes on with `network` from a state that [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// What is missing, too much or of another size.
    pub fn restore(
        &mut self,
        network: &Network,
        steps: u64,
        mut state: OptimizerState,
    ) -> Result<(), String> {
        let device = burn::tensor::Device::flex();
        let lengths = if steps == 0 {
            Vec::new()
        } else {
            network.parameter_lengths()
        };
        let mut memory = Vec::new();
        for (index, length) in lengths.into_iter().enumerate() {
            let mut tensors = Vec::new();
            for name in state_names(&self.rule) {
                let name = format!("{index}.{name}");
                let tensor = state
                    .remove(&name)
                    .ok_or_else(|| format!("`{name}` is missing"))?;
                let found = tensor.values.len();
                if found != length {
                    return Err(format!(
                        "`{name}`: expected {length} numbers, found {found}"
                    ));
                }
                tensors.push(Tensor::from_data(
                    TensorData::new(tensor.values, [length]),
                    &device,
                ));
            }
            memory.push(Memory(tensors));
        }
        if let Some(name) = state.keys().next() {
            return Err(format!("unexpected `{}`", name.escape_debug()));
        }
        self.memory = memory;
        self.steps = steps;
        Ok(())
    }

    /// Steps every weight; gives the gradient's norm where it is limited.
    pub(crate) fn step(
        &mut self,
        levels: &mut Levels,
        gradients: GradientsParams,
        rate: f64,
    ) -> Option<f32> {
        self.steps += 1;
        let mut pass = Pass {
            rule: &self.rule,
            steps: self.steps,
            rate: rate as f32,
            scale: 1.0,
            value_limit: None,
            gradients,
            memory: std::mem::take(&mut self.memory).into_iter(),
            remembered: Vec::new(),
        };
        let mut norm = None;
        match self.clip {
            None => {}
            Some(Clip::Value(limit)) => pass.value_limit = Some(limit as f32),
            Some(Clip::Norm(limit)) => {
                let found = gradient_norm(levels, &pass.gradients);
                if f64::from(found) > limit {
                    pass.scale = (limit / f64::from(found)) as f32;
                }
                norm = Some(found);
            }
        }
        // `map` takes the module by value: weights that nobody else holds are stepped in place.
        let taken = std::mem::replace(levels, Levels::empty());
        *levels = taken.map(&mut pass);
        self.memory = pass.remembered;
        norm
    }
}

fn state_names(rule: &Rule) -> &'static [&'static str] {
    match rule {
        Rule::Sgd(_) => &["velocity"],
        Rule::Adam(_) | Rule::AdamW(_) => &["moment1", "moment2"],
    }
}

fn gradient_norm(levels: &Levels, gradients: &GradientsParams) -> f32 {
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
    let mut squares = Squares {
        gradients,
        sum: 0.0,
    };
    levels.visit(&mut squares);
    squares.sum.sqrt() as f32
}

/// One step over all weights, in the order in which the network holds them.
struct Pass<'a> {
    rule: &'a Rule,
    steps: u64,
    rate: f32,
    scale: f32,
    value_limit: Option<f32>,
    gradients: GradientsParams,
    memory: std::vec::IntoIter<Memory>,
    remembered: Vec<Memory>,
}

impl ModuleMapper for Pass<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weight, mapper): (ParamId, Tensor<D>, _) = param.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
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
        let memory = self
            .memory
            .next()
            .unwrap_or_else(|| Memory(state_names(self.rule).iter().map(|_| zeros()).collect()));
        let (weight, memory) =
            self.step(weight.reshape([length]), gradient.reshape([length]), memory);
        self.remembered.push(memory);
        Param::from_mapped_value(
            id,
            Tensor::from_inner(weight.reshape(shape)).require_grad(),
            mapper,
        )
    }
}

impl Pass<'_> {
    fn step(&self, weight: Tensor<1>, gradient: Tensor<1>, memory: Memory) -> (Tensor<1>, Memory) {
        let mut tensors = memory.0.into_iter();
        let mut next = || {
            tensors
                .next()
                .expect("a tensor for each of the rule's names")
        };
        match self.rule {
            Rule::Sgd(sgd) => {
                let step = SgdStep {
                    rate: self.rate,
                    momentum: sgd.momentum as f32,
                    nesterov: sgd.nesterov,
                    weight_decay: sgd.weight_decay as f32,
                    gradient_scale: self.scale,
                };
                let (weight, velocity) = burn_ops::sgd(weight, gradient, next(), step);
                (weight, Memory(vec![velocity]))
            }
            Rule::Adam(adam) => {
                let (weight_decay, betas) = (0.0, (adam.beta1, adam.beta2));
                let step = self.adam_step(betas, adam.epsilon, weight_decay);
                let (weight, (moment1, moment2)) =
                    burn_ops::adam(weight, gradient, (next(), next()), step);
                (weight, Memory(vec![moment1, moment2]))
            }
            Rule::AdamW(adamw) => {
                let step = self.adam_step(
                    (adamw.beta1, adamw.beta2),
                    adamw.epsilon,
                    adamw.weight_decay,
                );
                let (weight, (moment1, moment2)) =
                    burn_ops::adam(weight, gradient, (next(), next()), step);
                (weight, Memory(vec![moment1, moment2]))
            }
        }
    }

    fn adam_step(&self, (beta1, beta2): (f64, f64), epsilon: f64, weight_decay: f64) -> AdamStep {
        let correction = |beta: f64| (1.0 - beta.powf(self.steps as f64)) as f32;
        AdamStep {
            rate: self.rate,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            weight_decay: weight_decay as f32,
            correction1: correction(beta1),
            correction2: correction(beta2),
            gradient_scale: self.scale,
        }
    }
}
