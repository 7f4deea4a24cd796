//! Where the rows of a version may leave.

use std::time::Duration;

use strata_nn::{LevelTime, Plan, Scratch, Way};
use strata_spec::Manifest;

/// The exits of a version: the heads that can answer for the final task.
#[derive(Debug)]
pub(crate) struct Exits {
    /// The names of their levels, lowest first; the last one is the top.
    pub(crate) names: Vec<String>,
    /// The least confidence at each exit below the top, as calibrated: infinity where no row leaves.
    pub(crate) calibrated: Option<Vec<f32>>,
    /// What each takes alone, as measured on this machine when the version was loaded.
    times: Vec<Time>,
}

/// What a number of rows takes: nearly a line.
#[derive(Clone, Copy, Debug)]
struct Time {
    one: Duration,
    each_more: Duration,
}

/// Where the rows of a request leave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Leave {
    /// By the calibrated thresholds; at the top if there are none.
    AsCalibrated,
    /// All of them at this exit.
    At(usize),
    /// Each at the first exit that is as sure as this.
    Confidence(f32),
}

/// Rows that are measured together, beside one alone.
const MEASURED_ROWS: usize = 8;

impl Exits {
    /// Measures the plan if it has exits below the top.
    pub(crate) fn new(plan: &Plan, manifest: &Manifest) -> Self {
        let heads = || plan.exits().iter().map(|head| &plan.heads()[*head]);
        let names: Vec<String> = heads().map(|head| head.name.to_string()).collect();
        let levels: Vec<usize> = heads().map(|head| head.level).collect();
        let below = heads().take(names.len() - 1);
        let calibrated = manifest.exits.as_ref().map(|exits| {
            let threshold = |name| {
                exits
                    .threshold(name)
                    .map_or(f32::INFINITY, |value| value as f32)
            };
            below.map(|head| threshold(&head.name)).collect()
        });
        let times = if names.len() > 1 {
            times(plan, &levels)
        } else {
            Vec::new()
        };
        Self {
            names,
            calibrated,
            times,
        }
    }

    /// Whether there is one below the top.
    pub(crate) fn is_any_below_top(&self) -> bool {
        self.names.len() > 1
    }

    /// The deepest exit that `rows` rows reach within `budget`; the lowest if none does. What they wait for others is not
    /// counted.
    pub(crate) fn within(&self, budget: Duration, rows: usize) -> usize {
        let fits = |time: &Time| time.of(rows) <= budget;
        self.times.iter().rposition(fits).unwrap_or(0)
    }

    /// What one row takes to each exit alone.
    pub(crate) fn times_of_a_row(&self) -> impl Iterator<Item = Duration> {
        self.times.iter().map(|time| time.one)
    }

    /// The way of rows that are asked for the final task.
    pub(crate) fn way(&self, plan: &Plan, leave: &Leave) -> Way {
        let (top, below) = (self.names.len() - 1, self.names.len() - 1);
        match leave {
            Leave::At(exit) => Way::to_exit(plan, *exit),
            Leave::Confidence(confidence) => Way::by_confidence(plan, &vec![*confidence; below]),
            Leave::AsCalibrated => match &self.calibrated {
                Some(thresholds) => Way::by_confidence(plan, thresholds),
                None => Way::to_exit(plan, top),
            },
        }
    }
}

impl Time {
    fn of(self, rows: usize) -> Duration {
        let more = u32::try_from(rows.saturating_sub(1)).unwrap_or(u32::MAX);
        self.one.saturating_add(self.each_more.saturating_mul(more))
    }
}

fn times(plan: &Plan, levels: &[usize]) -> Vec<Time> {
    let mut scratch = Scratch::default();
    let [one, many] = [1, MEASURED_ROWS].map(|rows| plan.level_times(rows, &mut scratch));
    let to = |times: &[LevelTime], level: usize| {
        let bodies: Duration = times[..=level].iter().map(|time| time.body).sum();
        bodies + times[level].head.unwrap_or_default()
    };
    let time = |level: &usize| {
        let one = to(&one, *level);
        let more = to(&many, *level).saturating_sub(one);
        Time {
            one,
            each_more: more / (MEASURED_ROWS as u32 - 1),
        }
    };
    levels.iter().map(time).collect()
}
