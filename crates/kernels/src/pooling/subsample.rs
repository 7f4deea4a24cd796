use crate::{Element, pool, rows::part_length};

/// The sizes of a subsampling: which places of maps `[height, width, images, channels]` are taken, and how many channels
/// of zeros come around theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsample2d {
    /// How many maps there are.
    pub images: usize,
    /// Channels of what goes in, ...
    pub in_channels: usize,
    /// ... and of what comes out: more by an even number, half of them before the others and half behind.
    pub out_channels: usize,
    /// Height and width of what goes in.
    pub input: [usize; 2],
    /// Distance from one place that is taken to the next; the first is taken.
    pub stride: [usize; 2],
}

impl Subsample2d {
    /// Height and width of what comes out.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.input[axis].div_ceil(self.stride[axis]))
    }

    /// Elements that go in.
    pub fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.images * self.in_channels
    }

    /// Elements that come out.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        height * width * self.images * self.out_channels
    }

    /// Channels of zeros before the others.
    fn before(&self) -> usize {
        (self.out_channels - self.in_channels) / 2
    }

    fn check(&self, input: usize, output: usize) {
        assert!(
            self.in_channels > 0 && self.out_channels >= self.in_channels,
            "channels are added: {self:?}"
        );
        assert_eq!(input, self.input_len(), "as many inputs as {self:?} says");
        assert_eq!(
            output,
            self.output_len(),
            "as many outputs as {self:?} says"
        );
    }
}

/// Every so many places of `x`, with channels of zeros around their own.
///
/// # Panics
/// The lengths are not those that `sizes` says, or there are more channels in `x` than in `y`.
pub fn subsample<T: Element>(sizes: &Subsample2d, x: &[T], y: &mut [T]) {
    sizes.check(x.len(), y.len());
    let (inside, outside, before) = (sizes.in_channels, sizes.out_channels, sizes.before());
    let (run, width) = (sizes.images * outside, sizes.output()[1]);
    for_each_place(run, y, |place, y| {
        let (row, column) = (
            place / width * sizes.stride[0],
            place % width * sizes.stride[1],
        );
        let from = (row * sizes.input[1] + column) * sizes.images * inside;
        let x = &x[from..][..sizes.images * inside];
        for (x, y) in x.chunks_exact(inside).zip(y.chunks_exact_mut(outside)) {
            y[..before].fill(T::default());
            y[before..before + inside].copy_from_slice(x);
            y[before + inside..].fill(T::default());
        }
    });
}

/// The gradient of [`subsample`]'s `x`, from that of `y`.
///
/// # Panics
/// The lengths are not those that `sizes` says, or there are more channels in `x` than in `y`.
pub fn subsample_backward<T: Element>(sizes: &Subsample2d, dy: &[T], dx: &mut [T]) {
    sizes.check(dx.len(), dy.len());
    let (inside, outside, before) = (sizes.in_channels, sizes.out_channels, sizes.before());
    let ([down, across], width) = (sizes.stride, sizes.output()[1]);
    for_each_place(sizes.images * inside, dx, |place, dx| {
        let (row, column) = (place / sizes.input[1], place % sizes.input[1]);
        if !row.is_multiple_of(down) || !column.is_multiple_of(across) {
            dx.fill(T::default());
            return;
        }
        let from = (row / down * width + column / across) * sizes.images * outside;
        let dy = &dy[from..][..sizes.images * outside];
        for (dy, dx) in dy.chunks_exact(outside).zip(dx.chunks_exact_mut(inside)) {
            dx.copy_from_slice(&dy[before..before + inside]);
        }
    });
}

/// Calls `write` with each place of a map whose places have `run` numbers.
fn for_each_place<T: Send>(run: usize, map: &mut [T], write: impl Fn(usize, &mut [T]) + Sync) {
    if map.is_empty() {
        return;
    }
    let length = part_length(run);
    pool::parallel_for_each(map.chunks_mut(length).enumerate(), |(part, places)| {
        for (index, place) in places.chunks_exact_mut(run).enumerate() {
            write(part * (length / run) + index, place);
        }
    });
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::rows::testing::{numbers, poison};

    fn check<T: Element + PartialEq>(sizes: &Subsample2d, seed: u64) {
        let (x, dy) = (
            numbers::<T>(sizes.input_len(), seed),
            numbers::<T>(sizes.output_len(), seed + 1),
        );
        let (mut y, mut dx) = (poison::<T>(dy.len()), poison::<T>(x.len()));
        subsample(sizes, &x, &mut y);
        subsample_backward(sizes, &dy, &mut dx);
        // Straight from the definition.
        let mut expected = (vec![T::default(); y.len()], vec![T::default(); x.len()]);
        let ([height, width], before) = (sizes.output(), sizes.before());
        for index in 0..height * width * sizes.images * sizes.in_channels {
            let (channel, image) = (
                index % sizes.in_channels,
                index / sizes.in_channels % sizes.images,
            );
            let place = index / sizes.in_channels / sizes.images;
            let row = place / width * sizes.stride[0];
            let place_of_x = row * sizes.input[1] + place % width * sizes.stride[1];
            let from = (place_of_x * sizes.images + image) * sizes.in_channels + channel;
            let to = (place * sizes.images + image) * sizes.out_channels + before + channel;
            expected.0[to] = x[from];
            expected.1[from] = dy[to];
        }
        assert!(y == expected.0, "{sizes:?}");
        assert!(dx == expected.1, "gradient of {sizes:?}");
    }

    proptest! {
        #[test]
        fn any_size_gives_what_the_definition_says(
            images in 1_usize..4, in_channels in 1_usize..20, added in 0_usize..9, input in [1_usize..9, 1_usize..9],
            stride in [1_usize..4, 1_usize..4], seed in 0_u64..1000,
        ) {
            let out_channels = in_channels + 2 * added;
            let sizes = Subsample2d { images, in_channels, out_channels, input, stride };
            check::<f32>(&sizes, seed);
            check::<bf16>(&sizes, seed);
        }
    }
}
