//! Layers, levels and networks, built from a specification.
//!
//! [`Network`] learns: it is a Burn module and gives gradients. [`Plan`] answers: it is compiled once from the same
//! levels and weights, keeps its buffers from call to call, and gives a row the same answer in any batch. Both take rows as plain
//! slices of `f32`; neither knows where the rows come from nor how the loss is scheduled.

mod composed;
pub mod foreign;
mod forward;
mod fresh;
mod layers;
mod learn;
mod mirror;
mod network;
mod objective;
mod ops;
#[cfg(test)]
mod ops_tests;
mod optimizer;
mod plan;
mod precision;
mod softmax;
pub mod tensors;
mod weights;
mod whitening;

pub use learn::{Learns, Lesson, LevelResult, Role, StepResult, one_hot};
pub use network::{InputGradient, Network};
pub use objective::{Objective, auxiliary_head, side_layers};
pub use optimizer::{Optimizer, OptimizerState, OptimizerSteps};
pub use plan::{Answers, LevelTime, Plan, PlanHead, Scratch, Way, confidence};
pub use precision::resolve as resolve_precision;
pub use softmax::{highest, softmax};
pub use strata_kernels::{parallel_for_each, threads};
pub use weights::{LevelWeights, WeightTensor, WeightsError};

#[cfg(test)]
mod tests {
    use strata_spec::{Dense, Head, Layer, Level};

    /// Two levels: `inputs`-`hidden` with ReLU, and a head with `classes`.
    pub(crate) fn perceptron(inputs: usize, hidden: usize, classes: usize) -> Vec<Level> {
        assert!(inputs > 0);
        let dense = |units| Layer::Dense(Dense::new(units));
        let name = |text: &str| text.parse().unwrap();
        vec![
            Level {
                name: name("hidden"),
                layers: vec![Layer::Flatten, dense(hidden), Layer::Relu],
                head: None,
            },
            Level {
                name: name("top"),
                layers: Vec::new(),
                head: Some(Head {
                    task: name("task"),
                    layers: vec![dense(classes)],
                    mirrored: false,
                }),
            },
        ]
    }
}
