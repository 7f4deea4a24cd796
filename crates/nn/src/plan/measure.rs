//! How long the levels of a plan take on this machine.

use std::time::{Duration, Instant};

use strata_kernels::Element;

use super::{AnyProgram, Plan, Scratch, steps::Program};

/// What one level takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelTime {
    /// Its body.
    pub body: Duration,
    /// Its head; none if it has none.
    pub head: Option<Duration>,
}

/// The first runs warm up; the shortest counts.
const RUNS: usize = 5;

impl Plan {
    /// What each level takes for `rows` rows that are computed together, the shortest of a few runs. `rows` count as the most
    /// that a plan computes together if they are more.
    ///
    /// # Panics
    /// There are no rows.
    pub fn level_times(&self, rows: usize, scratch: &mut Scratch) -> Vec<LevelTime> {
        assert!(rows > 0, "rows to measure with");
        let rows = self.block_of(rows.min(self.block));
        let input = vec![0.5; rows * self.input];
        let Scratch {
            rows: of_rows,
            maps,
            half_maps,
            ..
        } = scratch;
        match &self.program {
            AnyProgram::F32(program) => measure(program, rows, &input, of_rows, maps),
            AnyProgram::Bf16(program) => measure(program, rows, &input, of_rows, half_maps),
        }
    }
}

fn measure<T: Element>(
    program: &Program<T>,
    count: usize,
    input: &[f32],
    rows: &mut Vec<Vec<f32>>,
    maps: &mut Vec<Vec<T>>,
) -> Vec<LevelTime> {
    let mut memory = program.memory(count, input, rows, maps);
    let mut logits = Vec::new();
    let longest = LevelTime {
        body: Duration::MAX,
        head: None,
    };
    let mut times = vec![longest; program.levels.len()];
    for _ in 0..RUNS {
        for (time, level) in times.iter_mut().zip(&program.levels) {
            let start = Instant::now();
            level.run_body(count, &mut memory);
            time.body = time.body.min(start.elapsed());
            if let Some(head) = &level.head {
                logits.resize(count * head.output_len(), 0.0);
                let start = Instant::now();
                head.run(count, &mut memory, &mut logits);
                let took = start.elapsed();
                time.head = Some(time.head.map_or(took, |least| least.min(took)));
            }
        }
    }
    times
}
