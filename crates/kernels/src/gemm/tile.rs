//! The inner kernel: a tile of the product, held in registers while the sums run.
//!
//! Operands are made of 32-bit **words**: one `f32`, or two `bf16` that follow each other along the sum. A product of two
//! words is one product, or the sum of two; so both formats have the same loops, and differ in one instruction.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512, __m512bh, _MM_HINT_T1, _mm_prefetch, _mm512_dpbf16_ps};

use crate::{
    Format, Isa,
    gemm::part_of,
    simd::{Portable, Vector},
};

/// Columns of a panel of the right operand.
pub(crate) const PANEL: usize = 32;
/// Words of a row of a block of the left operand that take part in a product, at most.
pub(crate) const DEPTH: usize = 256;
/// Words between the rows of such a block. A constant, so that the place of each row of a tile is part of the
/// instruction; not a power of two, so that the rows do not compete for places in the cache.
pub(crate) const STRIDE: usize = DEPTH + 16;

/// A part of the sum: `depth` steps, from step `left` of the left operand and step `right` of the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) left: usize,
    pub(crate) right: usize,
    pub(crate) depth: usize,
}

/// A tile `[rows, PANEL]` of a product.
///
/// Row `r` and step `k` of the left operand is at `r * STRIDE + k`, or at `k * STRIDE + r` where it is transposed; step
/// `k` and column `c` of the right one at `k * PANEL + c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    pub(crate) left: *const f32,
    pub(crate) right: *const f32,
    pub(crate) segments: &'a [Segment],
    pub(crate) to: *mut f32,
    pub(crate) to_stride: usize,
    /// Whether the product is added to what is there.
    pub(crate) add: bool,
}

/// Asks for the words of part `part` of `parts` to be brought to the second-level cache. A panel that comes from memory is
/// asked for while the one before it is worked on: the first tile would wait for all of it otherwise.
#[inline(always)]
pub(crate) fn prefetch(words: &[f32], part: usize, parts: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        const LINE: usize = 64 / size_of::<f32>();
        for line in words[part_of(part, parts, words.len())].chunks(LINE) {
            // SAFETY: every x86-64 CPU has the instruction, which changes nothing but the cache.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (words, part, parts);
}

/// An inner kernel for one instruction set and format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    pub(super) run: unsafe fn(&Tile<'_>, usize),
    pub(super) run_transposed: unsafe fn(&Tile<'_>, usize),
    /// Whether it takes no transposed left operand.
    pub(crate) by_rows: bool,
}

impl Kernel {
    /// The kernel of an instruction set that this CPU has.
    pub(crate) fn new(isa: Isa, format: Format) -> Self {
        match (isa, format) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx, Format::F32) => avx512_f32(),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Format::Bf16) => avx512_bf16(),
            #[cfg(target_arch = "x86_64")]
            (Isa::Amx, Format::Bf16) => amx_bf16(),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Format::Bf16) => avx512_bf16_by_f32(),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Format::F32) => avx2_f32(),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Format::Bf16) => avx2_bf16(),
            (_, Format::F32) => portable_f32(),
            (_, Format::Bf16) => portable_bf16(),
        }
    }

    /// Computes a tile of `rows` rows.
    ///
    /// # Safety
    /// The operands can be read, and the result written, at all the places that [`Tile`] tells of; `rows` is at least 1 and
    /// at most `self.rows`; the CPU has the instructions.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, tile: &Tile<'_>, rows: usize, transposed: bool) {
        let run = if transposed {
            self.run_transposed
        } else {
            self.run
        };
        debug_assert!((1..=self.rows).contains(&rows));
        // SAFETY: passed on.
        unsafe { run(tile, rows) }
    }
}

/// The kernel on tiles. Tests on machines that lack them emulate them.
#[cfg(target_arch = "x86_64")]
fn amx_bf16() -> Kernel {
    #[cfg(test)]
    if !super::amx::is_usable() {
        return super::amx::emulated::kernel();
    }
    super::amx::kernel()
}

/// What becomes of two words.
trait Product<V> {
    /// # Safety
    /// As for [`Vector`].
    unsafe fn add_to(sum: V, left: V, right: V) -> V;
}

/// Words are `f32`.
struct Singles;
/// Words are pairs of `bf16`, multiplied as `f32`.
struct Pairs;
/// Words are pairs of `bf16`, with an instruction for them.
#[cfg(target_arch = "x86_64")]
struct NativePairs;

impl<V: Vector> Product<V> for Singles {
    #[inline(always)]
    unsafe fn add_to(sum: V, left: V, right: V) -> V {
        // SAFETY: passed on.
        unsafe { sum.add_product(left, right) }
    }
}

impl<V: Vector> Product<V> for Pairs {
    #[inline(always)]
    unsafe fn add_to(sum: V, left: V, right: V) -> V {
        // SAFETY: passed on.
        unsafe {
            sum.add_product(left.first_bf16(), right.first_bf16())
                .add_product(left.second_bf16(), right.second_bf16())
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Product<__m512> for NativePairs {
    #[inline(always)]
    unsafe fn add_to(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: the caller's CPU has the instruction; the types are 64 bytes each, and every pattern of bits is valid.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512, __m512bh>(left),
                std::mem::transmute::<__m512, __m512bh>(right),
            )
        }
    }
}

/// `ROWS` rows times `VECTORS` vectors of columns, from column `first` on.
///
/// # Safety
/// As for [`Kernel::run`] and [`Vector`].
#[inline(always)]
unsafe fn part<V, P, const ROWS: usize, const VECTORS: usize, const TRANSPOSED: bool>(
    tile: &Tile<'_>,
    first: usize,
) where
    V: Vector,
    P: Product<V>,
{
    let (row, step) = if TRANSPOSED { (1, STRIDE) } else { (STRIDE, 1) };
    // SAFETY: `first + VECTORS * LANES` is at most `PANEL`, so all places are those that the caller vouches for.
    unsafe {
        let to = tile.to.add(first);
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        if tile.add {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(to.add(r * tile.to_stride + v * V::LANES));
                }
            }
        }
        for segment in tile.segments {
            let mut left = tile.left.add(segment.left * step);
            let mut right = tile.right.add(segment.right * PANEL + first);
            for _ in 0..segment.depth {
                let columns: [V; VECTORS] =
                    std::array::from_fn(|v| V::load(right.add(v * V::LANES)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*left.add(r * row));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = P::add_to(*sum, value, columns);
                    }
                }
                left = left.add(step);
                right = right.add(PANEL);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                sum.store(to.add(r * tile.to_stride + v * V::LANES));
            }
        }
    }
}

/// Defines the kernel of an instruction set and format, with tiles of up to the last of `$rows`.
macro_rules! kernel {
    ($name:ident, $vector:ty, $product:ty, $vectors:literal, [$($rows:literal),*], $most:literal $(, $feature:literal)?) => {
        fn $name() -> Kernel {
            /// # Safety
            /// As for [`Kernel::run`].
            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const TRANSPOSED: bool>(tile: &Tile<'_>, rows: usize) {
                for first in (0..PANEL).step_by($vectors * <$vector>::LANES) {
                    // SAFETY: passed on from the caller; this function is compiled for the instructions.
                    unsafe {
                        match rows {
                            $($rows => part::<$vector, $product, $rows, $vectors, TRANSPOSED>(tile, first),)*
                            _ => part::<$vector, $product, $most, $vectors, TRANSPOSED>(tile, first),
                        }
                    }
                }
            }
            Kernel { rows: $most, run: run::<false>, run_transposed: run::<true>, by_rows: false }
        }
    };
}

kernel!(portable_f32, Portable, Singles, 1, [1, 2, 3, 4, 5], 6);
kernel!(portable_bf16, Portable, Pairs, 1, [1, 2, 3, 4, 5], 6);
#[cfg(target_arch = "x86_64")]
kernel!(avx2_f32, __m256, Singles, 2, [1, 2, 3, 4, 5], 6, "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(avx2_bf16, __m256, Pairs, 2, [1, 2, 3], 4, "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(
    avx512_f32,
    __m512,
    Singles,
    2,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    14,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
);
#[cfg(target_arch = "x86_64")]
kernel!(
    avx512_bf16_by_f32,
    __m512,
    Pairs,
    2,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    12,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
);
#[cfg(target_arch = "x86_64")]
kernel!(
    avx512_bf16,
    __m512,
    NativePairs,
    2,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    14,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"
);
