//! The transforms, on vectors of channels. Each takes and gives slices of equal lengths, multiples of 16.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use crate::{
    Isa,
    simd::{Portable, Vector},
};

/// Defines a function that calls a generic one with the vectors of an instruction set.
macro_rules! with_vectors {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*), $body:ident) => {
        $(#[$meta])*
        pub(super) fn $name(isa: Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) {
                // SAFETY: this function is compiled for the instructions.
                unsafe { $body::<__m256>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $body::<__m512>($($arg),*) }
            }
            match isa {
                // SAFETY: `Isa` values come from `isa()` or `available()`, which ask the CPU first.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: every CPU has these.
                _ => unsafe { $body::<Portable>($($arg),*) },
            }
        }
    };
}

with_vectors!(
    /// `B' x B` of 4 by 4 places; frequency `f` is written to `to` from `offsets[f]` on.
    fn input(from: [&[f32]; 16], to: &mut [f32], offsets: [usize; 16]), input_by
);
with_vectors!(
    /// `A' m A`: from 16 frequencies, in `from` from `offsets` on, to 2 by 2 places.
    fn output(from: &[f32], offsets: [usize; 16], to: [&mut [f32]; 4]), output_by
);
with_vectors!(
    /// `G w G'` of 3 by 3 taps.
    fn weights(from: [&[f32]; 9], to: [&mut [f32]; 16]), weights_by
);
with_vectors!(
    /// `A y A'`, the transpose of [`output`]: the gradients of 2 by 2 places, to 16 frequencies as in [`input`].
    fn output_gradient(from: [&[f32]; 4], to: &mut [f32], offsets: [usize; 16]), output_gradient_by
);
with_vectors!(
    /// `G' m G`, the transpose of [`weights`]: from 16 frequencies to 3 by 3 taps.
    fn weight_gradient(from: [&[f32]; 16], to: [&mut [f32]; 9]), weight_gradient_by
);

/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn input_by<V: Vector>(from: [&[f32]; 16], to: &mut [f32], offsets: [usize; 16]) {
    let length = from[0].len();
    check(&from, length);
    assert!(
        offsets.iter().all(|offset| offset + length <= to.len()),
        "room for every frequency"
    );
    for at in (0..length).step_by(V::LANES) {
        // SAFETY: `at + LANES <= length`, since lengths are multiples of 16; slices were checked above.
        unsafe {
            let d: [V; 16] = std::array::from_fn(|i| V::load(from[i].as_ptr().add(at)));
            let step =
                |a: V, b: V, c: V, d: V| [a.subtract(c), b.add(c), c.subtract(b), b.subtract(d)];
            let rows: [[V; 4]; 4] =
                std::array::from_fn(|j| step(d[j], d[4 + j], d[8 + j], d[12 + j]));
            for i in 0..4 {
                let found = step(rows[0][i], rows[1][i], rows[2][i], rows[3][i]);
                for (j, value) in found.into_iter().enumerate() {
                    value.store(to.as_mut_ptr().add(offsets[4 * i + j] + at));
                }
            }
        }
    }
}

/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn output_by<V: Vector>(from: &[f32], offsets: [usize; 16], to: [&mut [f32]; 4]) {
    let length = to[0].len();
    assert!(
        to.iter().all(|to| to.len() == length) && length.is_multiple_of(16),
        "slices of one length"
    );
    assert!(
        offsets.iter().all(|offset| offset + length <= from.len()),
        "every frequency"
    );
    for at in (0..length).step_by(V::LANES) {
        // SAFETY: as above.
        unsafe {
            let m: [V; 16] = std::array::from_fn(|i| V::load(from.as_ptr().add(offsets[i] + at)));
            let step = |a: V, b: V, c: V, d: V| [a.add(b).add(c), b.subtract(c).subtract(d)];
            let rows: [[V; 2]; 4] =
                std::array::from_fn(|j| step(m[j], m[4 + j], m[8 + j], m[12 + j]));
            for i in 0..2 {
                let found = step(rows[0][i], rows[1][i], rows[2][i], rows[3][i]);
                for (j, value) in found.into_iter().enumerate() {
                    value.store(to[2 * i + j].as_mut_ptr().add(at));
                }
            }
        }
    }
}

/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn weights_by<V: Vector>(from: [&[f32]; 9], to: [&mut [f32]; 16]) {
    let length = from[0].len();
    check(&from, length);
    assert!(
        to.iter().all(|to| to.len() == length),
        "slices of one length"
    );
    for at in (0..length).step_by(V::LANES) {
        // SAFETY: as above.
        unsafe {
            let g: [V; 9] = std::array::from_fn(|i| V::load(from[i].as_ptr().add(at)));
            let half = V::splat(0.5);
            let step = |a: V, b: V, c: V| {
                let ends = a.add(c);
                [
                    a,
                    V::zero().add_product(ends.add(b), half),
                    V::zero().add_product(ends.subtract(b), half),
                    c,
                ]
            };
            let rows: [[V; 4]; 3] = std::array::from_fn(|j| step(g[j], g[3 + j], g[6 + j]));
            for i in 0..4 {
                let found = step(rows[0][i], rows[1][i], rows[2][i]);
                for (j, value) in found.into_iter().enumerate() {
                    value.store(to[4 * i + j].as_mut_ptr().add(at));
                }
            }
        }
    }
}

/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn output_gradient_by<V: Vector>(from: [&[f32]; 4], to: &mut [f32], offsets: [usize; 16]) {
    let length = from[0].len();
    check(&from, length);
    assert!(
        offsets.iter().all(|offset| offset + length <= to.len()),
        "room for every frequency"
    );
    for at in (0..length).step_by(V::LANES) {
        // SAFETY: as above.
        unsafe {
            let y: [V; 4] = std::array::from_fn(|i| V::load(from[i].as_ptr().add(at)));
            let step = |a: V, b: V| [a, a.add(b), a.subtract(b), V::zero().subtract(b)];
            let rows: [[V; 4]; 2] = std::array::from_fn(|j| step(y[j], y[2 + j]));
            for i in 0..4 {
                for (j, value) in step(rows[0][i], rows[1][i]).into_iter().enumerate() {
                    value.store(to.as_mut_ptr().add(offsets[4 * i + j] + at));
                }
            }
        }
    }
}

/// # Safety
/// As for [`Vector`].
#[inline(always)]
unsafe fn weight_gradient_by<V: Vector>(from: [&[f32]; 16], to: [&mut [f32]; 9]) {
    let length = from[0].len();
    check(&from, length);
    assert!(
        to.iter().all(|to| to.len() == length),
        "slices of one length"
    );
    for at in (0..length).step_by(V::LANES) {
        // SAFETY: as above.
        unsafe {
            let m: [V; 16] = std::array::from_fn(|i| V::load(from[i].as_ptr().add(at)));
            let half = V::splat(0.5);
            let step = |a: V, b: V, c: V, d: V| {
                let (sum, difference) = (b.add(c), b.subtract(c));
                [
                    a.add_product(sum, half),
                    V::zero().add_product(difference, half),
                    d.add_product(sum, half),
                ]
            };
            let rows: [[V; 3]; 4] =
                std::array::from_fn(|j| step(m[j], m[4 + j], m[8 + j], m[12 + j]));
            for i in 0..3 {
                let found = step(rows[0][i], rows[1][i], rows[2][i], rows[3][i]);
                for (j, value) in found.into_iter().enumerate() {
                    value.store(to[3 * i + j].as_mut_ptr().add(at));
                }
            }
        }
    }
}

#[inline(always)]
fn check(slices: &[&[f32]], length: usize) {
    assert!(
        slices.iter().all(|slice| slice.len() == length) && length.is_multiple_of(16),
        "slices of one length"
    );
}
