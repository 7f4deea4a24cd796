use std::ops::Range;

use super::{PIECE, Pool2d, for_each_piece};
use crate::{Element, isa::for_each_isa, rows::isa};

/// The mean of what each window sees, where padding counts as zeros if `count_padding` is set, and not at all
/// otherwise; 0 for a window that sees nothing but padding.
///
/// # Panics
/// The lengths are not those that `pool` says.
pub fn average_pool<T: Element>(pool: &Pool2d, count_padding: bool, x: &[T], y: &mut [T]) {
    pool.check(x.len(), y.len());
    let isa = isa();
    for_each_piece(pool.run(), pool.taps(), y, |output, offset, y| {
        let mut seen = Vec::with_capacity(pool.taps());
        pool.for_each_input(output, |input, _| {
            seen.push((1.0, &x[input * pool.run() + offset..][..y.len()]));
        });
        let counted = if count_padding {
            pool.taps()
        } else {
            seen.len()
        };
        sum(isa, &seen, 1.0 / counted.max(1) as f32, y);
    });
}

/// The gradient of [`average_pool`]'s `x`, from that of `y`.
///
/// # Panics
/// The lengths are not those that `pool` says.
pub fn average_pool_backward<T: Element>(
    pool: &Pool2d,
    count_padding: bool,
    dy: &[T],
    dx: &mut [T],
) {
    pool.check(dx.len(), dy.len());
    let isa = isa();
    let weights: Vec<f32> = (0..pool.output().iter().product())
        .map(|output| pool.weight(count_padding, output))
        .collect();
    for_each_piece(pool.run(), pool.taps(), dx, |input, offset, dx| {
        let mut seen = Vec::with_capacity(pool.taps());
        pool.for_each_output(input, |output, _| {
            let dy = &dy[output * pool.run() + offset..][..dx.len()];
            seen.push((weights[output], dy));
        });
        sum(isa, &seen, 1.0, dx);
    });
}

impl Pool2d {
    /// What each number that the window of `output` sees counts in its mean.
    fn weight(&self, count_padding: bool, output: usize) -> f32 {
        if count_padding {
            return 1.0 / self.taps() as f32;
        }
        let mut seen = 0;
        self.for_each_input(output, |_, _| seen += 1);
        1.0 / seen.max(1) as f32
    }
}

/// Means over bins of the map, so that what comes out has the size `output`: bin `i` of `n` along an axis of `m`
/// places goes from `i * m / n`, rounded down, to `(i + 1) * m / n`, rounded up, as in PyTorch. `x` is `[height,
/// width, images, channels]`, and so is `y`. An output of `[1, 1]` is the mean of the whole map.
///
/// # Panics
/// The lengths are not those of the shapes, or the map is empty and the output is not.
pub fn adaptive_average_pool<T: Element>(
    images: usize,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    x: &[T],
    y: &mut [T],
) {
    let bins = Bins::new(images * channels, input, output, x.len(), y.len());
    let isa = isa();
    for_each_piece(bins.run, bins.taps(), y, |place, offset, y| {
        let mut seen = Vec::with_capacity(bins.taps());
        let [rows, columns] = bins.of_output(place);
        for row in rows {
            for column in columns.clone() {
                let start = (row * input[1] + column) * bins.run + offset;
                seen.push((1.0, &x[start..][..y.len()]));
            }
        }
        sum(isa, &seen, 1.0 / seen.len() as f32, y);
    });
}

/// The gradient of [`adaptive_average_pool`]'s `x`, from that of `y`.
///
/// # Panics
/// The lengths are not those of the shapes.
pub fn adaptive_average_pool_backward<T: Element>(
    images: usize,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    dy: &[T],
    dx: &mut [T],
) {
    let bins = Bins::new(images * channels, input, output, dx.len(), dy.len());
    let isa = isa();
    for_each_piece(bins.run, 1, dx, |place, offset, dx| {
        let mut seen = Vec::new();
        let [rows, columns] = bins.of_input(place);
        for row in rows {
            for column in columns.clone() {
                let place = row * output[1] + column;
                let [rows, columns] = bins.of_output(place);
                let dy = &dy[place * bins.run + offset..][..dx.len()];
                seen.push((1.0 / (rows.len() * columns.len()) as f32, dy));
            }
        }
        sum(isa, &seen, 1.0, dx);
    });
}

/// The bins of an adaptive pooling.
struct Bins {
    run: usize,
    input: [usize; 2],
    output: [usize; 2],
}

impl Bins {
    fn new(run: usize, input: [usize; 2], output: [usize; 2], x: usize, y: usize) -> Self {
        assert_eq!(
            x,
            input[0] * input[1] * run,
            "as many inputs as the shape has"
        );
        assert_eq!(
            y,
            output[0] * output[1] * run,
            "as many outputs as the shape has"
        );
        assert!(y == 0 || x > 0, "a map that is not empty");
        Self { run, input, output }
    }

    /// Places of a bin, about.
    fn taps(&self) -> usize {
        (self.input[0] * self.input[1]).div_ceil((self.output[0] * self.output[1]).max(1))
    }

    /// Rows and columns of the input that output `place` is the mean of.
    fn of_output(&self, place: usize) -> [Range<usize>; 2] {
        let [y, x] = [place / self.output[1], place % self.output[1]];
        [self.bin(0, y), self.bin(1, x)]
    }

    fn bin(&self, axis: usize, index: usize) -> Range<usize> {
        let (places, bins) = (self.input[axis], self.output[axis]);
        index * places / bins..((index + 1) * places).div_ceil(bins)
    }

    /// Rows and columns of the output whose bins input `place` is in.
    fn of_input(&self, place: usize) -> [Range<usize>; 2] {
        let [y, x] = [place / self.input[1], place % self.input[1]];
        [self.bins_of(0, y), self.bins_of(1, x)]
    }

    /// The bins from the first that ends after `index` to the last that starts at or before it.
    fn bins_of(&self, axis: usize, index: usize) -> Range<usize> {
        let (places, bins) = (self.input[axis], self.output[axis]);
        index * bins / places..((index + 1) * bins).div_ceil(places)
    }
}

for_each_isa! {
    /// `to = factor * (the sum of weight * numbers)`
    fn sum<T: Element>(seen: &[(f32, &[T])], factor: f32, to: &mut [T]) {
        let mut sums = [0.0; PIECE];
        let sums = &mut sums[..to.len()];
        for (weight, x) in seen {
            for (sum, x) in sums.iter_mut().zip(*x) {
                *sum += weight * x.to_f32();
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = T::from_f32(factor * *sum);
        }
    }
}
