//! A network compiled for answering.

mod compile;
mod fold;
mod steps;
#[cfg(test)]
mod tests;

use strata_kernels::{Format, bf16};
use strata_spec::{Level, Precision};

use crate::{LevelWeights, precision::format_of_maps};
use compile::compile;
use steps::Program;

/// A network compiled for answering: packed weights with the normalizations in them, fused sums and activations, buffers
/// of known size.
///
/// A row's answer is the same bits in any batch, at any position.
#[derive(Debug)]
pub struct Plan {
    program: AnyProgram,
    input: usize,
    output: usize,
    /// Rows that are computed together at most.
    block: usize,
}

/// What a [`Plan`] needs to run; one for each thread that runs it, reused from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows, and maps in each format.
    rows: Vec<Vec<f32>>,
    maps: Vec<Vec<f32>>,
    half_maps: Vec<Vec<bf16>>,
}

/// By the format of maps.
#[derive(Debug)]
enum AnyProgram {
    F32(Program<f32>),
    Bf16(Program<bf16>),
}

impl Plan {
    /// Compiles the path from the input to the top level's head.
    ///
    /// `input` is the shape of one row; `weights` are those of `levels`, in the same order; in `bf16` maps and the weights
    /// that meet them are of that format.
    ///
    /// # Panics
    /// `levels` are not checked ones (see `strata_spec`), or `weights` are of other levels.
    pub fn compile(
        input: &[usize],
        levels: &[Level],
        weights: &[LevelWeights],
        precision: Precision,
    ) -> Self {
        assert_eq!(levels.len(), weights.len(), "weights of every level");
        let program = match format_of_maps(precision) {
            Format::F32 => AnyProgram::F32(compile(input, levels, weights)),
            Format::Bf16 => AnyProgram::Bf16(compile(input, levels, weights)),
        };
        let (output, bytes) = match &program {
            AnyProgram::F32(program) => (program.output_len(), program.bytes_of_a_row()),
            AnyProgram::Bf16(program) => (program.output_len(), program.bytes_of_a_row()),
        };
        Self {
            program,
            input: input.iter().product(),
            output,
            block: (SCRATCH / bytes.max(1)).clamp(1, MOST_ROWS),
        }
    }

    /// Numbers in one row.
    pub fn input_len(&self) -> usize {
        self.input
    }

    /// Logits of one row.
    pub fn output_len(&self) -> usize {
        self.output
    }

    /// Computes the logits of `input.len() / input_len` rows into `logits`.
    ///
    /// # Panics
    /// The lengths of `input` and `logits` are not those of the same number of rows.
    pub fn run(&self, input: &[f32], logits: &mut [f32], scratch: &mut Scratch) {
        let rows = input.len() / self.input;
        assert_eq!(input.len(), rows * self.input, "whole rows");
        assert_eq!(
            logits.len(),
            rows * self.output,
            "room for the logits of every row"
        );
        // Blocks of nearly equal size: a last one of a few rows would take nearly as long as a whole one.
        let blocks = rows.div_ceil(self.block).max(1);
        let block = rows.div_ceil(blocks).max(1);
        for (input, logits) in input
            .chunks(block * self.input)
            .zip(logits.chunks_mut(block * self.output))
        {
            let rows = input.len() / self.input;
            let Scratch {
                rows: of_rows,
                maps,
                half_maps,
            } = scratch;
            match &self.program {
                AnyProgram::F32(program) => program.run(rows, input, of_rows, maps, logits),
                AnyProgram::Bf16(program) => program.run(rows, input, of_rows, half_maps, logits),
            }
        }
    }
}

/// Rows of a block: enough to keep the weights busy, few enough for the activations to stay in the cache ...
const MOST_ROWS: usize = 64;
/// ... or, where maps are large, for the buffers to have at most so many bytes.
const SCRATCH: usize = 128 << 20;
