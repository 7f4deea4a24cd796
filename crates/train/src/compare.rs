//! The same recipe by several strategies and seeds, side by side.

use serde::{Deserialize, Serialize};
use strata_spec::{Objective, Strategy};

use crate::{Event, EventKind, Metrics, Run, TrainError, Trained};

/// One training of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// How it learned.
    pub strategy: Strategy,
    /// The objective of levels below the top.
    pub objective: Objective,
    /// Its seed.
    pub seed: u64,
    /// On the test rows.
    pub test: Metrics,
    /// On the validation rows, if there are any.
    pub validation: Option<Metrics>,
    /// Seconds of learning and evaluation.
    pub seconds: f64,
    /// The most bytes that a step needed for levels that learned together, from the lowest levels up.
    pub memory: Vec<(String, usize)>,
    /// For each epoch the accuracy on the validation rows, or on the training rows where there are none.
    pub curve: Vec<f64>,
}

/// What the seeds of one way of learning come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How it learned, in words: `local infopro`.
    pub name: String,
    /// Trainings of it.
    pub seeds: usize,
    /// Mean test accuracy.
    pub accuracy: f64,
    /// Standard deviation of the test accuracies over seeds; none where there is one seed.
    pub deviation: Option<f64>,
    /// Mean validation accuracy, if there are validation rows.
    pub validation: Option<f64>,
    /// Mean of the differences to the first way of learning, seed by seed; none for the first itself.
    pub difference: Option<f64>,
    /// Standard deviation of those differences; none where there is one seed.
    pub difference_deviation: Option<f64>,
    /// Mean seconds.
    pub seconds: f64,
    /// The most bytes that any step needed.
    pub bytes: usize,
}

impl Cell {
    /// What a finished run comes to.
    ///
    /// # Errors
    /// Its events cannot be read.
    pub fn of(run: &Run, trained: &Trained) -> Result<Self, TrainError> {
        let train = &run.recipe().train;
        let accuracy = |event: Event| match event.kind {
            EventKind::Epoch {
                accuracy,
                validation,
                ..
            } => Some(validation.map_or(accuracy, |held| held.accuracy)),
            _ => None,
        };
        let memory = trained.memory.iter().map(|memory| {
            let first = memory.levels.first().map(ToString::to_string);
            let mut name = first.unwrap_or_default();
            if memory.levels.len() > 1
                && let Some(last) = memory.levels.last()
            {
                name.push_str(&format!("–{last}"));
            }
            (name, memory.bytes)
        });
        Ok(Self {
            strategy: train.strategy,
            objective: train.objective,
            seed: run.recipe().seed,
            test: trained.test.clone(),
            validation: trained.validation.clone(),
            seconds: trained.seconds,
            memory: memory.collect(),
            curve: run.events()?.into_iter().filter_map(accuracy).collect(),
        })
    }

    /// How it learned, in words.
    pub fn name(&self) -> String {
        match self.objective {
            Objective::CrossEntropy => self.strategy.word().to_owned(),
            objective => format!("{} {}", self.strategy.word(), objective.word()),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.memory
            .iter()
            .map(|(_, bytes)| *bytes)
            .max()
            .unwrap_or(0)
    }
}

/// A summary for each way of learning, in the order in which they first occur; differences are to the first.
pub fn summaries(cells: &[Cell]) -> Vec<Summary> {
    let mut names: Vec<String> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.name()) {
            names.push(cell.name());
        }
    }
    let of =
        |name: &str| -> Vec<&Cell> { cells.iter().filter(|cell| cell.name() == name).collect() };
    let first = names.first().map(|name| of(name)).unwrap_or_default();
    let summary = |(index, name): (usize, &String)| {
        let own = of(name);
        let accuracies: Vec<f64> = own.iter().map(|cell| cell.test.accuracy).collect();
        let (accuracy, deviation) = mean_and_deviation(&accuracies).unwrap_or((0.0, None));
        let pair = |cell: &&Cell| {
            let other = first.iter().find(|other| other.seed == cell.seed)?;
            Some(cell.test.accuracy - other.test.accuracy)
        };
        let differences: Vec<f64> = if index == 0 {
            Vec::new()
        } else {
            own.iter().filter_map(pair).collect()
        };
        let difference = mean_and_deviation(&differences);
        let held = own
            .iter()
            .map(|cell| Some(cell.validation.as_ref()?.accuracy));
        let held: Option<Vec<f64>> = held.collect();
        let seconds: Vec<f64> = own.iter().map(|cell| cell.seconds).collect();
        Summary {
            name: name.clone(),
            seeds: own.len(),
            accuracy,
            deviation,
            validation: held
                .and_then(|held| mean_and_deviation(&held))
                .map(|(mean, _)| mean),
            difference: difference.map(|(mean, _)| mean),
            difference_deviation: difference.and_then(|(_, deviation)| deviation),
            seconds: mean_and_deviation(&seconds).map_or(0.0, |(mean, _)| mean),
            bytes: own.iter().map(|cell| cell.bytes()).max().unwrap_or(0),
        }
    };
    names.iter().enumerate().map(summary).collect()
}

/// An accuracy or a difference of two, in percent or points, with its standard deviation.
pub fn points(value: f64, deviation: Option<f64>) -> String {
    match deviation {
        Some(deviation) => format!("{:.2} ± {:.2}", 100.0 * value, 100.0 * deviation),
        None => format!("{:.2}", 100.0 * value),
    }
}

/// Bytes for people.
pub fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The mean, and the standard deviation of a sample where there is more than one value; nothing where there is none.
fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
    Some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_the_same_seed() {
        let cell = |strategy, seed, logit: f32| Cell {
            strategy,
            objective: Objective::CrossEntropy,
            seed,
            test: Metrics::of(&[0.0, 1.0, 0.0, logit], &[1, 1], 2),
            validation: None,
            seconds: 2.0,
            memory: vec![("low".to_owned(), 5), ("top".to_owned(), 7)],
            curve: Vec::new(),
        };
        let (right, wrong) = (1.0, -1.0);
        let found = summaries(&[
            cell(Strategy::EndToEnd, 0, right),
            cell(Strategy::EndToEnd, 1, right),
            cell(Strategy::Local, 0, wrong),
            cell(Strategy::Local, 1, right),
            cell(Strategy::Local, 7, wrong),
        ]);
        assert_eq!(found.len(), 2);
        let (first, second) = (&found[0], &found[1]);
        assert_eq!((first.name.as_str(), first.accuracy), ("end-to-end", 1.0));
        assert_eq!((first.difference, first.deviation), (None, Some(0.0)));
        assert_eq!((second.seeds, second.bytes), (3, 7));
        // Seed 7 has nothing to be compared with.
        assert_eq!(second.difference, Some(-0.25));
        let deviation = second.difference_deviation.unwrap();
        assert!((deviation - 0.125_f64.sqrt()).abs() < 1e-12);
        assert_eq!(summaries(&[]), []);
    }
}
