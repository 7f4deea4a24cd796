//! The kernels as operations of Burn's CPU backend, with handwritten gradients.
//!
//! All but the optimizers' steps are differentiable, once. Maps are `[height, width, images, channels]` in `f32` or `bf16`;
//! what comes out, and the gradient of what went in, is in the format of what went in, whatever the format of the gradient
//! that comes back. Weights, statistics and rows are `f32`. [`sgd`] and [`adam`] step weights in place when nobody else
//! holds them.

mod batch_norm;
mod conv2d;
mod cross_entropy;
mod dense;
mod dropout;
mod flex;
mod gelu;
mod layer_norm;
mod maps;
mod pooling;
mod relu;
mod steps;
mod tape;

pub use batch_norm::{Normalized, batch_norm, batch_norm_with};
pub use conv2d::conv2d;
pub use cross_entropy::cross_entropy;
pub use dense::dense;
pub use dropout::dropout;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use maps::{maps_to_rows, rows_to_maps};
pub use pooling::{adaptive_average_pool, average_pool, max_pool, subsample};
pub use relu::{add, relu};
pub use steps::{adam, sgd};
