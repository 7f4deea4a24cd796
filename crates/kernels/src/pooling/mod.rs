//! Pooling of maps `[height, width, images, channels]`.
//!
//! A place of a map is one run of `images * channels` numbers, and what comes out at a place is made of whole such
//! runs, number by number. Every number that comes out is written once, by one sum in a fixed order: gradients gather.

mod average;
mod max;
mod subsample;
#[cfg(test)]
mod tests;

pub use average::{
    adaptive_average_pool, adaptive_average_pool_backward, average_pool, average_pool_backward,
};
pub use max::{max_pool, max_pool_backward, max_pool_eval};
pub use subsample::{Subsample2d, subsample, subsample_backward};

use crate::{
    Window, pool,
    rows::{Block, blocks_mut},
};

/// Numbers of a run that are gone through for all places of a block before the next: what the windows of a few rows
/// see of them fits the second cache.
const PIECE: usize = 512;
/// Numbers that a block sees, at most.
const MOST_WORK: usize = 1 << 20;

/// The sizes of a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// How many maps there are.
    pub images: usize,
    /// Channels of each.
    pub channels: usize,
    /// Height and width of what goes in.
    pub input: [usize; 2],
    /// How the window moves.
    pub window: Window,
}

impl Pool2d {
    /// Height and width of what comes out.
    ///
    /// # Panics
    /// The window does not fit the map, see [`Window::output`].
    pub fn output(&self) -> [usize; 2] {
        self.window
            .output(self.input)
            .expect("a window that fits the map")
    }

    /// Elements that go in.
    pub fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.run()
    }

    /// Elements that come out.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        height * width * self.run()
    }

    /// Numbers of a place.
    fn run(&self) -> usize {
        self.images * self.channels
    }

    /// Places that the window looks at.
    fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.input_len(), "as many inputs as {self:?} says");
        assert_eq!(
            output,
            self.output_len(),
            "as many outputs as {self:?} says"
        );
    }

    /// Calls `visit` with each place of the input that the window of `output` sees, and the tap that sees it, in the
    /// taps' order.
    fn for_each_input(&self, output: usize, mut visit: impl FnMut(usize, usize)) {
        let width = self.output()[1];
        let (y, x) = (output / width, output % width);
        let [kernel_height, kernel_width] = self.window.kernel;
        for ky in 0..kernel_height {
            let Some(row) = self.window.place(0, y, ky, self.input[0]) else {
                continue;
            };
            for kx in 0..kernel_width {
                if let Some(column) = self.window.place(1, x, kx, self.input[1]) {
                    visit(row * self.input[1] + column, ky * kernel_width + kx);
                }
            }
        }
    }

    /// Calls `visit` with each place of the output whose window sees place `input`, and the tap that sees it.
    fn for_each_output(&self, input: usize, mut visit: impl FnMut(usize, usize)) {
        let output = self.output();
        let (y, x) = (input / self.input[1], input % self.input[1]);
        let [kernel_height, kernel_width] = self.window.kernel;
        for ky in 0..kernel_height {
            let Some(row) = self.window.output_at(0, y, ky, output[0]) else {
                continue;
            };
            for kx in 0..kernel_width {
                if let Some(column) = self.window.output_at(1, x, kx, output[1]) {
                    visit(row * output[1] + column, ky * kernel_width + kx);
                }
            }
        }
    }
}

/// Blocks of a map with runs of `run` numbers, each made from about `taps` others: the places of a block follow each
/// other and share what they see, which stays in the second cache since it is some columns of their runs only.
fn blocks<T>(run: usize, taps: usize, map: &mut [T]) -> Vec<Block<'_, T>> {
    let work = map.len() * taps;
    let most = MOST_WORK.min(work / (4 * pool::threads()));
    let places = (most / (PIECE.min(run.max(1)) * taps.max(1))).max(1);
    blocks_mut(map, run, places, PIECE)
}

/// Calls `write` with each place of a map, see [`blocks`], and pieces of its run: where the piece starts in the run,
/// and the numbers to write.
fn for_each_piece<T: Send>(
    run: usize,
    taps: usize,
    map: &mut [T],
    write: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    pool::parallel_for_each(blocks(run, taps, map).into_iter(), |block| {
        for (index, piece) in block.rows.into_iter().enumerate() {
            write(block.first_row + index, block.first_column, piece);
        }
    });
}
