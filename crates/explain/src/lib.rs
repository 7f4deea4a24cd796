//! Explanations of single answers.
//!
//! [`Explainer::integrated_gradients`] needs a network's gradients; the question (input, target, settings) alone
//! decides the answer, bit for bit.

mod integrated_gradients;
mod quadrature;

pub use integrated_gradients::{
    Attribution, Baseline, ExplainError, Explainer, IntegratedGradients, MOST_STEPS,
};
