//! CPU kernels and their Burn operations.
//!
//! Two kinds of callers: training goes through the Burn operations of [`burn_ops`], which have handwritten gradients;
//! answering goes through [`DenseWeights`], which gives a row the same bits in any batch. What the CPU can do is found
//! out once, when a kernel first runs ([`isa`]); every path is tested against the portable one.
//!
//! This is the only crate of the project with `unsafe`.

pub mod burn_ops;
mod dense;
mod isa;
mod loss;
mod matmul;
mod optimizer;
mod pool;
mod simd;

pub use dense::DenseWeights;
pub use isa::{Isa, isa};
pub use loss::cross_entropy;
pub use matmul::{Matrix, MatrixMut, matmul};
pub use optimizer::{AdamStep, SgdStep, adam, sgd};
pub use pool::{parallel_for_each, threads};
