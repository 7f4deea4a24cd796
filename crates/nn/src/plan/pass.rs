//! One pass of rows that may leave on their way.

use strata_kernels::Element;

use super::{
    AnyProgram, Plan, Scratch,
    steps::Program,
    way::{Ask, Way, confidence},
};
use crate::mirror::{average, mirrored};

/// What a pass gave; reused from call to call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// The logits of the final task, `[rows, classes]`; empty if no row was asked for it, and zeros for the rows that were not.
    pub logits: Vec<f32>,
    /// For each row, which of the plan's [`exits`](Plan::exits) answered for the final task; none if it was not asked.
    pub exits: Vec<Option<usize>>,
    /// For each of the plan's [`heads`](Plan::heads) whose logits were asked for: `[rows, outputs]`, zeros for the rows that
    /// were not asked. Empty for the other heads.
    pub heads: Vec<Vec<f32>>,
}

/// Which rows are on their way; a part of [`Scratch`].
#[derive(Debug, Default)]
pub(super) struct Walkers {
    /// The rows of the block that are still on their way, ascending.
    rows: Vec<u32>,
    /// Places in `rows` of those that go on.
    kept: Vec<u32>,
    /// For each row of the call, which of the ways is its own.
    ways: Vec<u32>,
    logits: Vec<f32>,
}

impl Plan {
    /// Computes what some rows are asked on their ways: `ways` says of how many rows in a row each is the way. Rows that are
    /// done leave, and the rest of the network runs on the others only.
    ///
    /// # Panics
    /// The rows are not as many as the ways are for, or a way is another plan's.
    pub fn run_ways(
        &self,
        input: &[f32],
        ways: &[(usize, &Way)],
        answers: &mut Answers,
        scratch: &mut Scratch,
    ) {
        self.run_ways_as_they_are(input, ways, answers, scratch);
        if let Some(shape) = self.mirrored {
            // The one head of the network: nobody leaves below it.
            let mut others = Answers::default();
            self.run_ways_as_they_are(&mirrored(input, shape), ways, &mut others, scratch);
            average(&mut answers.logits, &others.logits);
            for (logits, others) in answers.heads.iter_mut().zip(&others.heads) {
                average(logits, others);
            }
        }
    }

    fn run_ways_as_they_are(
        &self,
        input: &[f32],
        ways: &[(usize, &Way)],
        answers: &mut Answers,
        scratch: &mut Scratch,
    ) {
        let rows = input.len() / self.input;
        assert_eq!(input.len(), rows * self.input, "whole rows");
        let of_row = &mut scratch.walkers.ways;
        of_row.clear();
        for (index, (count, _)) in ways.iter().enumerate() {
            of_row.resize(of_row.len() + count, index as u32);
        }
        assert_eq!(of_row.len(), rows, "a way for each row");

        let is_final = ways.iter().any(|(_, way)| way.is_for_final_task());
        refill(
            &mut answers.logits,
            if is_final { rows * self.output } else { 0 },
        );
        answers.exits.clear();
        answers.exits.resize(rows, None);
        answers.heads.resize_with(self.heads.len(), Vec::new);
        for (head, logits) in answers.heads.iter_mut().enumerate() {
            let is_asked = ways.iter().any(|(_, way)| way.is_for(head));
            let outputs = self.heads[head].outputs;
            refill(logits, if is_asked { rows * outputs } else { 0 });
        }

        let block = self.block_of(rows);
        for (index, input) in input.chunks(block * self.input).enumerate() {
            let first = index * block;
            let Scratch {
                rows,
                maps,
                half_maps,
                walkers,
            } = scratch;
            match &self.program {
                AnyProgram::F32(program) => {
                    self.walk(program, first, input, ways, answers, rows, maps, walkers);
                }
                AnyProgram::Bf16(program) => {
                    self.walk(
                        program, first, input, ways, answers, rows, half_maps, walkers,
                    );
                }
            }
        }
    }

    /// The way of a block, whose first row is row `first` of the call.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a scratch, by format"
    )]
    fn walk<T: Element>(
        &self,
        program: &Program<T>,
        first: usize,
        input: &[f32],
        ways: &[(usize, &Way)],
        answers: &mut Answers,
        rows: &mut Vec<Vec<f32>>,
        maps: &mut Vec<Vec<T>>,
        walkers: &mut Walkers,
    ) {
        let Walkers {
            rows: walking,
            kept,
            ways: of_row,
            logits,
        } = walkers;
        let way_of = |row: usize| ways[of_row[row] as usize].1;
        let count = input.len() / self.input;
        let mut memory = program.memory(count, input, rows, maps);
        walking.clear();
        walking.extend(first as u32..(first + count) as u32);
        let mut head = 0;
        for level in &program.levels {
            let count = walking.len();
            level.run_body(count, &mut memory);
            let Some(steps) = &level.head else {
                continue;
            };
            let exits = &answers.exits;
            let is_asked = |row: &u32| {
                let row = *row as usize;
                way_of(row).asks_at(head, exits[row].is_some())
            };
            if walking.iter().any(is_asked) {
                let width = steps.output_len();
                if logits.len() < count * width {
                    logits.resize(count * width, 0.0);
                }
                let logits = &mut logits[..count * width];
                steps.run(count, &mut memory, logits);
                for (row, logits) in walking.iter().zip(logits.chunks_exact(width)) {
                    self.answer(
                        way_of(*row as usize).at(head),
                        head,
                        *row as usize,
                        logits,
                        answers,
                    );
                }
            }
            kept.clear();
            let goes_on = |row: usize| way_of(row).asks_above(head, answers.exits[row].is_some());
            kept.extend(
                (0..count as u32).filter(|place| goes_on(walking[*place as usize] as usize)),
            );
            if kept.is_empty() {
                return;
            }
            if kept.len() < count {
                level.keep(kept, count, &mut memory);
                for (to, place) in kept.iter().enumerate() {
                    walking[to] = walking[*place as usize];
                }
                walking.truncate(kept.len());
            }
            head += 1;
        }
    }

    /// Takes down what a head says of a row, as far as it was asked.
    fn answer(&self, ask: Ask, head: usize, row: usize, logits: &[f32], answers: &mut Answers) {
        let place = row * logits.len()..(row + 1) * logits.len();
        match ask {
            Ask::Nothing => {}
            Ask::Logits => answers.heads[head][place].copy_from_slice(logits),
            Ask::Exit(threshold) => {
                // One that is no number leaves too: further up it would be none either.
                let is_unsure = confidence(logits) < threshold;
                if answers.exits[row].is_none() && !is_unsure {
                    answers.exits[row] = self.exits.iter().position(|exit| *exit == head);
                    answers.logits[place].copy_from_slice(logits);
                }
            }
        }
    }
}

fn refill(numbers: &mut Vec<f32>, len: usize) {
    numbers.clear();
    numbers.resize(len, 0.0);
}
