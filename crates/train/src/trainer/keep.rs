//! How a training begins, goes on and is kept.

use strata_data::{Images, file_digest};
use strata_nn::{
    Network,
    foreign::{Target, read_weights},
};
use strata_spec::{Name, level_shapes};

use super::Trainer;
use crate::{EventKind, TrainError, checkpoint::Checkpoint};

/// Training rows that a layer is fitted to, at most.
const FITTED_ROWS: usize = 5000;

impl Trainer<'_> {
    pub(super) fn start(&mut self, source: String) -> Result<(), TrainError> {
        // Events of an attempt that was killed before its first checkpoint.
        self.run.cut_events(0)?;
        let fresh_heads = self.take_given_weights()?;
        self.run.log(EventKind::Started {
            train_rows: self.train.images().len(),
            validation_rows: self.validation.as_ref().map_or(0, Images::len),
            test_rows: self.test.len(),
            data: source,
            precision: self.state.precision,
            threads: strata_nn::threads(),
            parameters: self.network.parameters(),
            given: self.state.given.clone(),
            fresh_heads,
        })
    }

    /// Begins with the weights that the recipe names, or else fits what is fitted to the rows; gives the levels whose heads are not among them.
    fn take_given_weights(&mut self) -> Result<Vec<Name>, TrainError> {
        let Some(path) = &self.recipe.train.weights else {
            let count = self.train.images().len().min(FITTED_ROWS);
            let rows: Vec<u32> = (0..count as u32).collect();
            let shown = self.network.is_fitted().then(|| self.rows(0, &rows));
            if let Some(shown) = shown {
                self.network.fit(&shown);
            }
            return Ok(Vec::new());
        };
        let path = self.run.base().join(path);
        let input = self.recipe.input_shape();
        let target = Target {
            input: &input,
            levels: &self.curriculum.levels,
            network: self.recipe.network.as_ref(),
        };
        let given = read_weights(&path, target, Some(self.recipe.seed))?;
        self.state.given = Some(file_digest(&path).map_err(TrainError::io(&path))?);
        self.network = Network::with_weights(
            &input,
            &self.curriculum.levels,
            &given.levels,
            self.state.precision,
        );
        self.network
            .add_sides(self.curriculum.sides.clone(), self.recipe.seed);
        Ok(given.fresh_heads)
    }

    pub(super) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let state = checkpoint.state;
        if state.recipe != self.state.recipe {
            let text =
                "its recipe.toml was changed after the training began: start a new run instead"
                    .to_owned();
            return Err(TrainError::Damaged {
                file: self.run.folder().to_owned(),
                problem: text,
            });
        }
        if state.data != self.state.data {
            let text =
                "not the data that this run began with (other files, or changed ones)".to_owned();
            return Err(TrainError::Data(text));
        }
        self.run.cut_events(state.events)?;
        self.run.log(EventKind::Resumed { step: state.step })?;
        self.network = Network::with_weights(
            &self.recipe.input_shape(),
            &self.curriculum.levels,
            &checkpoint.weights,
            state.precision,
        );
        self.network
            .add_sides(self.curriculum.sides.clone(), self.recipe.seed);
        self.network.set_side_weights(&checkpoint.sides);
        self.optimizer
            .restore(
                &self.network,
                state.optimizer_steps.clone(),
                checkpoint.optimizer,
            )
            .map_err(|problem| TrainError::Damaged {
                file: self.run.checkpoint_folder(),
                problem: format!("the optimizer's state: {problem}"),
            })?;
        self.best = checkpoint.best;
        self.state = state;
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), TrainError> {
        // The last good checkpoint must not make room for one that cannot be gone on from.
        let weights = self.finite_weights()?;
        self.count_seconds();
        let (optimizer_steps, optimizer) = self.optimizer.state();
        self.state.optimizer_steps = optimizer_steps;
        self.state.events = self.run.events_length()?;
        let checkpoint = Checkpoint {
            state: self.state.clone(),
            weights,
            sides: self.network.side_weights(),
            best: self.best.clone(),
            optimizer,
        };
        checkpoint.write(&self.run.checkpoint_folder())
    }

    /// The newest checkpoint of the run, if there is any.
    pub(super) fn newest_checkpoint(&self) -> Result<Option<Checkpoint>, TrainError> {
        let levels = &self.curriculum.levels;
        let shapes = level_shapes(&self.recipe.input_shape(), levels).expect("a checked recipe");
        let levels: Vec<_> = levels.iter().cloned().zip(shapes).collect();
        let folder = self.run.checkpoint_folder();
        Checkpoint::newest(&folder, &levels, self.network.sides())
    }
}
