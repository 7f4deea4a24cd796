use super::{PIECE, Pool2d, blocks, for_each_piece};
use crate::{Element, isa::for_each_isa, pool, rows::isa};

/// Says in `chosen` that a window saw nothing but padding.
pub(super) const NOTHING: u16 = u16::MAX;

/// The largest number that each window sees, and the tap (`row * kernel width + column`) that saw it; the first of
/// equal ones. A NaN is larger than any other number, as in PyTorch, and padding never wins: a window that sees
/// nothing else gives minus infinity.
///
/// `chosen` is as long as `y`.
///
/// # Panics
/// The lengths are not those that `pool` says, or the window has more than 65,535 taps.
pub fn max_pool<T: Element>(pool: &Pool2d, x: &[T], y: &mut [T], chosen: &mut [u16]) {
    pool.check(x.len(), y.len());
    assert_eq!(chosen.len(), y.len(), "a chosen tap for each output");
    assert!(
        pool.taps() <= usize::from(NOTHING),
        "at most {NOTHING} taps"
    );
    let (isa, run) = (isa(), pool.run());
    let blocks = blocks(run, pool.taps(), y).into_iter();
    let blocks = blocks.zip(self::blocks(run, pool.taps(), chosen));
    pool::parallel_for_each(blocks, |(block, chosen)| {
        let (mut best, mut taps) = ([0.0; PIECE], [0; PIECE]);
        let places = block.rows.into_iter().zip(chosen.rows).enumerate();
        for (index, (y, chosen)) in places {
            let (best, taps) = (&mut best[..y.len()], &mut taps[..y.len()]);
            best.fill(f32::NEG_INFINITY);
            taps.fill(u32::from(NOTHING));
            pool.for_each_input(block.first_row + index, |input, tap| {
                let x = &x[input * run + block.first_column..][..best.len()];
                take_larger(isa, x, tap as u32, best, taps);
            });
            store_chosen(isa, best, taps, y, chosen);
        }
    });
}

/// The gradient of [`max_pool`]'s `x`, from that of `y`.
///
/// # Panics
/// The lengths are not those that `pool` says.
pub fn max_pool_backward<T: Element>(pool: &Pool2d, dy: &[T], chosen: &[u16], dx: &mut [T]) {
    pool.check(dx.len(), dy.len());
    assert_eq!(chosen.len(), dy.len(), "a chosen tap for each output");
    let isa = isa();
    for_each_piece(pool.run(), pool.taps(), dx, |input, offset, dx| {
        let mut seen = Vec::with_capacity(pool.taps());
        pool.for_each_output(input, |output, tap| {
            let start = output * pool.run() + offset;
            seen.push((
                tap as u16,
                &dy[start..][..dx.len()],
                &chosen[start..][..dx.len()],
            ));
        });
        sum_chosen(isa, &seen, dx);
    });
}

/// [`max_pool`] without the taps; the window may have any number of them.
///
/// # Panics
/// The lengths are not those that `pool` says.
pub fn max_pool_eval<T: Element>(pool: &Pool2d, x: &[T], y: &mut [T]) {
    pool.check(x.len(), y.len());
    let isa = isa();
    for_each_piece(pool.run(), pool.taps(), y, |output, offset, y| {
        let mut seen = Vec::with_capacity(pool.taps());
        pool.for_each_input(output, |input, _| {
            seen.push(&x[input * pool.run() + offset..][..y.len()]);
        });
        largest(isa, &seen, y);
    });
}

for_each_isa! {
    fn take_larger<T: Element>(x: &[T], tap: u32, best: &mut [f32], taps: &mut [u32]) {
        for ((x, best), taps) in x.iter().zip(best).zip(taps) {
            let x = x.to_f32();
            // The first place counts even if it is minus infinity.
            let larger = x > *best || x.is_nan() || *taps == u32::from(NOTHING);
            *best = if larger { x } else { *best };
            *taps = if larger { tap } else { *taps };
        }
    }
}

for_each_isa! {
    fn store_chosen<T: Element>(best: &[f32], taps: &[u32], y: &mut [T], chosen: &mut [u16]) {
        for (y, best) in y.iter_mut().zip(best) {
            *y = T::from_f32(*best);
        }
        for (chosen, tap) in chosen.iter_mut().zip(taps) {
            *chosen = *tap as u16;
        }
    }
}

for_each_isa! {
    fn largest<T: Element>(seen: &[&[T]], y: &mut [T]) {
        let mut best = [f32::NEG_INFINITY; PIECE];
        let best = &mut best[..y.len()];
        for x in seen {
            for (best, x) in best.iter_mut().zip(*x) {
                let x = x.to_f32();
                *best = if (x > *best) | x.is_nan() { x } else { *best };
            }
        }
        for (y, best) in y.iter_mut().zip(best) {
            *y = T::from_f32(*best);
        }
    }
}

for_each_isa! {
    /// The sum of the gradients whose chosen tap is this one.
    fn sum_chosen<T: Element>(seen: &[(u16, &[T], &[u16])], dx: &mut [T]) {
        let mut sums = [0.0; PIECE];
        let sums = &mut sums[..dx.len()];
        for (tap, dy, chosen) in seen {
            for ((sum, dy), chosen) in sums.iter_mut().zip(*dy).zip(*chosen) {
                *sum += if chosen == tap { dy.to_f32() } else { 0.0 };
            }
        }
        for (dx, sum) in dx.iter_mut().zip(sums) {
            *dx = T::from_f32(*sum);
        }
    }
}
