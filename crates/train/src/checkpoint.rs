use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use strata_nn::{LevelWeights, OptimizerState, OptimizerSteps, WeightTensor, tensors};
use strata_spec::{DataDigest, Digest, Level, LevelShapes, Precision};

use crate::{TrainError, files};

/// Where a training stands: one safetensors file, so that it is there as a whole or not at all.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) weights: Vec<LevelWeights>,
    /// What objectives need beside the levels' heads.
    pub(crate) sides: Vec<LevelWeights>,
    /// The weights of the best epoch, where early stopping watches.
    pub(crate) best: Option<Vec<LevelWeights>>,
    pub(crate) optimizer: OptimizerState,
}

fn f32_precision() -> Precision {
    Precision::F32
}

/// All of a checkpoint that is no tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Digest of the resolved recipe.
    pub(crate) recipe: Digest,
    /// Number format in use; never `auto`, which another machine could take for another one. The first runs had no other
    /// than `f32` and did not write it.
    #[serde(default = "f32_precision")]
    pub(crate) precision: Precision,
    /// What it learns from.
    pub(crate) data: Vec<DataDigest>,
    /// The file of the weights that it began with, if there was one.
    #[serde(default)]
    pub(crate) given: Option<DataDigest>,
    /// Steps done.
    pub(crate) step: u64,
    /// Steps that the optimizer counts for each tensor of each level.
    pub(crate) optimizer_steps: OptimizerSteps,
    /// Of the epoch that is not finished: sum of losses, right answers, rows.
    pub(crate) partial: Partial,
    /// Best value of the watched metric and its epoch, from 1.
    pub(crate) best: Option<(Exact, u64)>,
    /// Epochs since then.
    pub(crate) waited: u64,
    /// Seconds of learning and evaluation.
    pub(crate) seconds: f64,
    /// Length of the events file.
    pub(crate) events: u64,
}

/// Sums over the part of an epoch that is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partial {
    pub(crate) loss: Exact,
    pub(crate) correct: u64,
    pub(crate) rows: u64,
    pub(crate) seconds: f64,
}

impl Partial {
    /// Mean loss of the rows that had a target.
    pub(crate) fn loss(&self) -> f64 {
        self.loss.0 / self.rows.max(1) as f64
    }

    /// Share of them that were right.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.rows.max(1) as f64
    }
}

/// A number that a checkpoint gives back bit for bit: as JSON's decimal digits it may come back as its neighbour, and an
/// epoch that was only as good as the best one would count as better.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Exact(pub(crate) f64);

impl From<u64> for Exact {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Exact> for u64 {
    fn from(number: Exact) -> Self {
        number.0.to_bits()
    }
}

const STATE: &str = "strata.checkpoint";

impl Checkpoint {
    /// Writes it into `folder` and then removes older ones.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let mut tensors: BTreeMap<String, &WeightTensor> = BTreeMap::new();
        let best = self.best.as_deref().unwrap_or_default();
        let parts = [
            ("weights", &self.weights[..]),
            ("sides", &self.sides),
            ("best", best),
        ];
        for (part, levels) in parts {
            for (index, level) in levels.iter().enumerate() {
                for (name, tensor) in level.iter() {
                    tensors.insert(format!("{part}.{index}.{name}"), tensor);
                }
            }
        }
        for (name, tensor) in &self.optimizer {
            tensors.insert(format!("optimizer.{name}"), tensor);
        }
        let state = serde_json::to_string(&self.state).expect("a state has only string keys");
        let texts = HashMap::from([(STATE.to_owned(), state)]);
        let file = folder.join(format!("{:012}.safetensors", self.state.step));
        files::write_whole(&file, &tensors::write(tensors, Some(texts)))?;
        let older = Self::all(folder, "safetensors")?
            .into_iter()
            .filter(|older| *older < file);
        // What a process that was killed while it wrote has left.
        let broken = Self::all(folder, "tmp")?;
        for useless in older.chain(broken) {
            fs::remove_file(&useless).map_err(TrainError::io(&useless))?;
        }
        Ok(())
    }

    /// The newest one in `folder`, if there is any, of a network with these levels and sides.
    pub(crate) fn newest(
        folder: &Path,
        levels: &[(Level, LevelShapes)],
        sides: &[(Level, LevelShapes)],
    ) -> Result<Option<Self>, TrainError> {
        let Some(file) = Self::all(folder, "safetensors")?.pop() else {
            return Ok(None);
        };
        let damaged = |problem: String| TrainError::Damaged {
            file: file.clone(),
            problem,
        };
        let bytes = files::read(&file)?;
        let (tensors, texts) = tensors::read(&bytes).map_err(|error| damaged(error.to_string()))?;
        let state = texts.get(STATE);
        let state = state.ok_or_else(|| damaged("not a checkpoint".to_owned()))?;
        let state: State =
            serde_json::from_str(state).map_err(|error| damaged(error.to_string()))?;

        let mut parts: BTreeMap<(String, usize), BTreeMap<String, WeightTensor>> = BTreeMap::new();
        let mut optimizer = OptimizerState::new();
        for (name, tensor) in tensors {
            let (part, rest) = name.split_once('.').unwrap_or((&name, ""));
            if part == "optimizer" {
                optimizer.insert(rest.to_owned(), tensor);
                continue;
            }
            let level = rest
                .split_once('.')
                .and_then(|(index, rest)| Some((index.parse().ok()?, rest)));
            let (index, rest) = level
                .ok_or_else(|| damaged(format!("unexpected tensor `{}`", name.escape_debug())))?;
            parts
                .entry((part.to_owned(), index))
                .or_default()
                .insert(rest.to_owned(), tensor);
        }
        let mut take = |part: &str, levels: &[(Level, LevelShapes)]| {
            let level = |(index, (level, shapes)): (usize, &(Level, LevelShapes))| {
                let tensors = parts.remove(&(part.to_owned(), index)).unwrap_or_default();
                LevelWeights::new(tensors, level, shapes)
                    .map_err(|error| damaged(error.to_string()))
            };
            let levels = levels.iter().enumerate();
            levels.map(level).collect::<Result<Vec<_>, _>>()
        };
        let weights = take("weights", levels)?;
        let sides = take("sides", sides)?;
        let best = state.best.map(|_| take("best", levels)).transpose()?;
        Ok(Some(Self {
            state,
            weights,
            sides,
            best,
            optimizer,
        }))
    }

    /// The files with this extension, oldest first.
    fn all(folder: &Path, wanted: &str) -> Result<Vec<PathBuf>, TrainError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
            let path = entry.map_err(TrainError::io(folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == wanted)
            {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_state_come_back_bit_for_bit() {
        for number in [686.0 / 6000.0, 0.1 + 0.2, f64::MIN_POSITIVE, -1e300] {
            let text = serde_json::to_string(&Some((Exact(number), 1_u64))).unwrap();
            let back: Option<(Exact, u64)> = serde_json::from_str(&text).unwrap();
            assert_eq!(
                back.map(|(number, _)| number.0.to_bits()),
                Some(number.to_bits())
            );
        }
    }
}
