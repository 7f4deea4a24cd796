//! A network compiled for answering.

mod compile;
mod fold;
mod measure;
mod memory;
mod pass;
mod steps;
#[cfg(test)]
mod tests;
mod way;
#[cfg(test)]
mod way_tests;

pub use measure::LevelTime;
pub use pass::Answers;
pub use way::{Way, confidence};

use strata_kernels::{Element, Format, bf16};
use strata_spec::{Level, Name, Precision};

use crate::{
    LevelWeights,
    mirror::{average, mirrored, mirrored_shape},
    precision::format_of_maps,
};
use compile::compile;
use pass::Walkers;
use steps::{HeadSteps, LevelSteps, Program};

/// A network compiled for answering: packed weights with the normalizations in them, fused sums and activations, buffers
/// of known size.
///
/// [`run`](Plan::run) goes to the top; [`run_ways`](Plan::run_ways) answers from several heads in one pass, and rows may
/// leave at an exit below the top. A row's answer is the same bits in any batch, at any position, whoever left before.
#[derive(Debug)]
pub struct Plan {
    program: AnyProgram,
    input: usize,
    output: usize,
    /// Rows that are computed together at most.
    block: usize,
    heads: Vec<PlanHead>,
    exits: Vec<usize>,
    /// The shape of a row, if answers are also from its mirror image.
    mirrored: Option<[usize; 3]>,
}

/// A head of a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanHead {
    /// Its level, from 0, lowest first.
    pub level: usize,
    /// The name of its level.
    pub name: Name,
    /// Its task.
    pub task: Name,
    /// Logits of one row.
    pub outputs: usize,
}

/// What a [`Plan`] needs to run; one for each thread that runs it, reused from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows, and maps in each format.
    rows: Vec<Vec<f32>>,
    maps: Vec<Vec<f32>>,
    half_maps: Vec<Vec<bf16>>,
    walkers: Walkers,
}

/// By the format of maps.
#[derive(Debug)]
enum AnyProgram {
    F32(Program<f32>),
    Bf16(Program<bf16>),
}

impl Plan {
    /// Compiles every level with its head.
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
        let (heads, bytes) = match &program {
            AnyProgram::F32(program) => (heads(program, levels), program.bytes_of_a_row()),
            AnyProgram::Bf16(program) => (heads(program, levels), program.bytes_of_a_row()),
        };
        let top = heads
            .last()
            .expect("checked levels: the last one has a head");
        let is_exit = |head: &usize| heads[*head].task == top.task;
        Self {
            program,
            input: input.iter().product(),
            output: top.outputs,
            block: (SCRATCH / bytes.max(1)).clamp(1, MOST_ROWS),
            exits: (0..heads.len()).filter(is_exit).collect(),
            heads,
            mirrored: mirrored_shape(input, levels),
        }
    }

    /// Numbers in one row.
    pub fn input_len(&self) -> usize {
        self.input
    }

    /// Logits of one row at the top, and so at every exit.
    pub fn output_len(&self) -> usize {
        self.output
    }

    /// Its heads, from the lowest to the top one.
    pub fn heads(&self) -> &[PlanHead] {
        &self.heads
    }

    /// The heads that can answer for the final task, as places in [`heads`](Self::heads), lowest first; the last one is the
    /// top.
    pub fn exits(&self) -> &[usize] {
        &self.exits
    }

    /// Computes the logits of `input.len() / input_len` rows at the top into `logits`.
    ///
    /// # Panics
    /// The lengths of `input` and `logits` are not those of the same number of rows.
    pub fn run(&self, input: &[f32], logits: &mut [f32], scratch: &mut Scratch) {
        self.run_as_they_are(input, logits, scratch);
        if let Some(shape) = self.mirrored {
            let mut others = vec![0.0; logits.len()];
            self.run_as_they_are(&mirrored(input, shape), &mut others, scratch);
            average(logits, &others);
        }
    }

    fn run_as_they_are(&self, input: &[f32], logits: &mut [f32], scratch: &mut Scratch) {
        let rows = input.len() / self.input;
        assert_eq!(input.len(), rows * self.input, "whole rows");
        assert_eq!(
            logits.len(),
            rows * self.output,
            "room for the logits of every row"
        );
        let block = self.block_of(rows);
        for (input, logits) in input
            .chunks(block * self.input)
            .zip(logits.chunks_mut(block * self.output))
        {
            let rows = input.len() / self.input;
            let Scratch {
                rows: of_rows,
                maps,
                half_maps,
                ..
            } = scratch;
            match &self.program {
                AnyProgram::F32(program) => run_to_top(program, rows, input, of_rows, maps, logits),
                AnyProgram::Bf16(program) => {
                    run_to_top(program, rows, input, of_rows, half_maps, logits);
                }
            }
        }
    }

    /// Rows that are computed together where there are so many: blocks are of nearly equal size, since a last one of a few
    /// rows would take nearly as long as a whole one.
    fn block_of(&self, rows: usize) -> usize {
        let blocks = rows.div_ceil(self.block).max(1);
        rows.div_ceil(blocks).max(1)
    }
}

/// The heads below the top are not computed.
fn run_to_top<T: Element>(
    program: &Program<T>,
    count: usize,
    input: &[f32],
    rows: &mut Vec<Vec<f32>>,
    maps: &mut Vec<Vec<T>>,
    logits: &mut [f32],
) {
    let mut memory = program.memory(count, input, rows, maps);
    for level in &program.levels {
        level.run_body(count, &mut memory);
    }
    let top = program.levels.last().and_then(|level| level.head.as_ref());
    let top = top.expect("checked levels: the last one has a head");
    top.run(count, &mut memory, logits);
}

fn heads<T: Element>(program: &Program<T>, levels: &[Level]) -> Vec<PlanHead> {
    let both = program.levels.iter().zip(levels).enumerate();
    let head = |(index, (steps, level)): (usize, (&LevelSteps<T>, &Level))| {
        Some(PlanHead {
            level: index,
            name: level.name.clone(),
            task: level.head.as_ref()?.task.clone(),
            outputs: steps.head.as_ref().map(HeadSteps::output_len)?,
        })
    };
    both.filter_map(head).collect()
}

/// Rows of a block: enough to keep the weights busy, few enough for the activations to stay in the cache ...
const MOST_ROWS: usize = 64;
/// ... or, where maps are large, for the buffers to have at most so many bytes.
const SCRATCH: usize = 128 << 20;
