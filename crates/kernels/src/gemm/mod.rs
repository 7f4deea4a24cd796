//! Products of matrices whose rows are gathered from maps: what convolutions and dense layers are made of.
//!
//! The right operand is packed into panels of columns. The left one is gathered, block by block, into a buffer whose rows
//! have a constant distance, so that padding, strides and edges are dealt with there and the inner loops ([`tile`]) see
//! plain matrices. A block of the left operand stays in the second-level cache while the panels pass by.
//!
//! Every sum runs over its elements in their order, in `f32`; how the work is cut into blocks, tiles and threads has no
//! influence on a result. Elements that are known to be zero may be left out, which changes no bit either, as long as the
//! weights are finite.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
mod pack;
mod product;
mod scratch;
mod tile;
mod transpose;
mod transposed;

pub(crate) use pack::{Matrix, Order, Panels, pack_part};
pub(crate) use product::multiply;
pub(crate) use scratch::{Purpose, SharedMut, elements_of_mut, with_words};
pub(crate) use tile::{DEPTH, Kernel, PANEL, STRIDE, Segment, Tile, prefetch};
pub(crate) use transposed::{Right, multiply_transposed};

use std::ops::Range;

/// The rows of a left operand.
pub(crate) trait Rows<T>: Sync {
    /// How many there are.
    fn rows(&self) -> usize;

    /// Elements of each.
    fn depth(&self) -> usize;

    /// Rows that see much the same follow each other: so many, from multiples of it on. At least 1.
    fn unit(&self) -> usize;

    /// Adds the ranges of elements, in order and apart from each other, outside of which all of `rows` are zero. They
    /// begin and end at multiples of 16 words, or at the end of the row.
    fn live(&self, rows: Range<usize>, ranges: &mut Vec<Range<usize>>);

    /// Writes the elements `depth` of `rows` to `block`, whose rows are [`block_stride`] apart.
    fn gather(&self, rows: Range<usize>, depth: Range<usize>, block: &mut [T]);
}

/// Elements between the rows of a gathered block.
pub(crate) const fn block_stride<T: crate::Element>() -> usize {
    STRIDE * T::PER_WORD
}

/// Cuts `total` into the fewest parts of at most `most`, as even as can be.
pub(crate) fn even_parts(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = total.div_ceil(most).max(1);
    (0..parts).map(move |part| part_of(part, parts, total))
}

/// Part `index` of `parts` of `total`, as even as can be.
pub(crate) fn part_of(index: usize, parts: usize, total: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}
