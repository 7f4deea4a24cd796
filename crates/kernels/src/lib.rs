//! The CPU engine: kernels, and their Burn operations.
//!
//! Two kinds of callers: training goes through the Burn operations of [`burn_ops`], which have handwritten gradients;
//! answering goes through [`DenseWeights`] and [`PackedConv2d`], which give a row the same bits in any batch. The kernels
//! themselves are plain functions on slices. What the CPU can do is found out once, when a kernel first runs ([`isa`]);
//! every path is tested against a plain reference.
//!
//! This is the only crate of the project with `unsafe`.

mod batch_norm;
pub mod burn_ops;
mod cache;
mod conv;
mod cores;
mod dense;
mod dropout;
mod element;
mod gelu;
mod gemm;
mod isa;
mod layer_norm;
mod loss;
mod maps;
mod optimizer;
mod pool;
mod pooling;
mod rows;
mod simd;
mod window;

pub use batch_norm::{
    BatchNormSettings, batch_norm_eval, batch_norm_eval_backward, batch_norm_train,
    batch_norm_train_backward,
};
pub use cache::{CachingAllocator, bytes_in_use, forget_peak, peak_bytes_in_use};
pub use conv::{Conv2d, PackedConv2d, conv2d, conv2d_input_gradient, conv2d_weight_gradient};
pub use dense::{DenseWeights, dense, dense_input_gradient, dense_weight_gradient};
pub use dropout::{derive_seed, dropout};
pub use element::{Element, Format};
pub use gelu::{Gelu, gelu, gelu_backward};
pub use half::bf16;
pub use isa::{Isa, UnknownIsa, check_environment, isa, prefers_bf16};
pub use layer_norm::{layer_norm, layer_norm_backward};
pub use loss::cross_entropy;
pub use maps::{
    add, add_relu, column_sums, concat, convert, maps_to_rows, relu, relu_backward, rows_to_maps,
    split,
};
pub use optimizer::{AdamStep, SgdStep, adam, sgd};
pub use pool::{TooLate, parallel_for_each, set_threads, threads};
pub use pooling::{
    Pool2d, Subsample2d, adaptive_average_pool, adaptive_average_pool_backward, average_pool,
    average_pool_backward, max_pool, max_pool_backward, max_pool_eval, subsample,
    subsample_backward,
};
pub use window::Window;
