use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use strata_nn::LevelWeights;
use strata_spec::{DataDigest, Digest, Precision, Recipe, level_shapes};

use crate::{
    Event, EventKind, HeadMetrics, LevelMemory, Metrics, TrainError, files, report,
    trainer::Trained,
};

const RECIPE: &str = "recipe.toml";
const ORIGIN: &str = "origin.json";
const EVENTS: &str = "events.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const WEIGHTS: &str = "weights";
const RESULT: &str = "result.json";
const REPORT: &str = "report.html";
const LOCK: &str = "lock";

/// One training: a folder with the resolved recipe, events, checkpoints and, at the end, weights, result and report.
///
/// | file | what |
/// | --- | --- |
/// | `recipe.toml` | the recipe with every default and override written out |
/// | `origin.json` | the folder that relative paths of the recipe start from |
/// | `events.jsonl` | one [`Event`] a line |
/// | `checkpoints/` | the newest checkpoint |
/// | `weights/` | the learned weights, one safetensors file a level |
/// | `report.html` | curves, confusion matrix, mistakes; needs nothing else |
/// | `result.json` | what was learned from and how well; its presence says that the run is finished |
///
/// A folder is used by one process at a time. Only its owner can read it, because weights and checkpoints are plain.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    recipe: Recipe,
    base: PathBuf,
    events: File,
    /// Held as long as the run is open.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Origin {
    base: PathBuf,
}

/// What `result.json` holds.
#[derive(Serialize, Deserialize)]
struct ResultFile {
    test: Metrics,
    validation: Option<Metrics>,
    #[serde(default)]
    heads: Vec<HeadMetrics>,
    #[serde(default)]
    memory: Vec<LevelMemory>,
    #[serde(default)]
    given: Option<DataDigest>,
    best_epoch: u64,
    seconds: f64,
    precision: Precision,
    data: Vec<DataDigest>,
}

/// A new folder beside `folder` that only its owner can read: a run holds plain weights.
fn new_sibling(parent: &Path, folder: &Path) -> Result<PathBuf, TrainError> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for number in 0..1000 {
        // One that a killed process left, perhaps under the same process number in another container, is not ours.
        let made = parent.join(format!(".{name}.{}.{number}.tmp", std::process::id()));
        match builder.create(&made) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| made.clone()).map_err(TrainError::io(made)),
        }
    }
    Err(TrainError::io(parent)(std::io::Error::other(
        "too many temporary folders are left here: remove them",
    )))
}

impl Run {
    /// Makes the folder of a new run; `base` is the folder that relative paths in the recipe start from.
    ///
    /// # Errors
    /// The folder exists, or cannot be made.
    pub fn create(folder: &Path, recipe: Recipe, base: &Path) -> Result<Self, TrainError> {
        if folder.exists() {
            return Err(TrainError::RunExists(folder.to_owned()));
        }
        let base = std::path::absolute(base).map_err(TrainError::io(base))?;
        let parent = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(TrainError::io(parent))?;
        // Made beside its place and then moved there, so that a folder of a run always has a recipe.
        let made = new_sibling(parent, folder)?;
        let make = || {
            fs::create_dir(made.join(CHECKPOINTS)).map_err(TrainError::io(&made))?;
            files::write_whole(&made.join(RECIPE), recipe.to_toml().as_bytes())?;
            let origin =
                serde_json::to_vec(&Origin { base }).map_err(|error| TrainError::Damaged {
                    file: made.join(ORIGIN),
                    problem: error.to_string(),
                })?;
            files::write_whole(&made.join(ORIGIN), &origin)?;
            File::create(made.join(EVENTS)).map_err(TrainError::io(&made))?;
            fs::rename(&made, folder).map_err(|error| match error.kind() {
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                    TrainError::RunExists(folder.to_owned())
                }
                _ => TrainError::io(folder)(error),
            })?;
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(TrainError::io(parent))
        };
        make().inspect_err(|_| {
            let _ = fs::remove_dir_all(&made);
        })?;
        Self::open(folder)
    }

    /// Opens a run that was made before, to go on with it or to read its result.
    ///
    /// # Errors
    /// The folder is no run, is damaged, or is in use.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        for missing in [RECIPE, ORIGIN, EVENTS] {
            if !folder.join(missing).is_file() {
                return Err(TrainError::NoRun {
                    folder: folder.to_owned(),
                    missing,
                });
            }
        }
        let lock_file = folder.join(LOCK);
        let lock = File::create(&lock_file).map_err(TrainError::io(&lock_file))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => TrainError::RunBusy(folder.to_owned()),
            fs::TryLockError::Error(error) => TrainError::io(&lock_file)(error),
        })?;
        let recipe_file = folder.join(RECIPE);
        let damaged = |file: &Path, problem: String| TrainError::Damaged {
            file: file.to_owned(),
            problem,
        };
        let text = String::from_utf8(files::read(&recipe_file)?)
            .map_err(|e| damaged(&recipe_file, e.to_string()))?;
        let recipe = Recipe::parse(&text, &recipe_file.display().to_string(), &[])?;
        let origin_file = folder.join(ORIGIN);
        let origin: Origin = serde_json::from_slice(&files::read(&origin_file)?)
            .map_err(|error| damaged(&origin_file, error.to_string()))?;
        let events_file = folder.join(EVENTS);
        let events = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&events_file);
        let events = events.map_err(TrainError::io(&events_file))?;
        Ok(Self {
            folder: folder.to_owned(),
            recipe,
            base: origin.base,
            events,
            _lock: lock,
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its resolved recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The folder that relative paths in the recipe start from.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The report's file; it is there once the run is finished.
    pub fn report(&self) -> PathBuf {
        self.folder.join(REPORT)
    }

    /// Whether the training ended.
    pub fn is_finished(&self) -> bool {
        self.folder.join(RESULT).is_file()
    }

    /// Digest of the resolved recipe.
    pub fn recipe_digest(&self) -> Digest {
        recipe_digest(&self.recipe)
    }

    /// What a finished run learned; `None` if it is not finished.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn result(&self) -> Result<Option<Trained>, TrainError> {
        if !self.is_finished() {
            return Ok(None);
        }
        let file = self.folder.join(RESULT);
        let damaged = |file: &Path, problem: String| TrainError::Damaged {
            file: file.to_owned(),
            problem,
        };
        let result: ResultFile = serde_json::from_slice(&files::read(&file)?)
            .map_err(|error| damaged(&file, error.to_string()))?;
        let shapes =
            level_shapes(&self.recipe.input_shape(), &self.recipe.levels).expect("checked recipe");
        let mut weights = Vec::new();
        for (level, shapes) in self.recipe.levels.iter().zip(&shapes) {
            let file = self.weights_file(level.name.as_str());
            let read = LevelWeights::from_safetensors(&files::read(&file)?, level, shapes);
            weights.push(read.map_err(|error| damaged(&file, error.to_string()))?);
        }
        Ok(Some(Trained {
            weights,
            test: result.test,
            validation: result.validation,
            heads: result.heads,
            memory: result.memory,
            given: result.given,
            best_epoch: result.best_epoch,
            seconds: result.seconds,
            precision: result.precision,
            data: result.data,
        }))
    }

    /// All events, oldest first.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn events(&self) -> Result<Vec<Event>, TrainError> {
        let file = self.folder.join(EVENTS);
        let bytes = files::read(&file)?;
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        let parse = |(number, line): (usize, &[u8])| {
            serde_json::from_slice(line).map_err(|error| TrainError::Damaged {
                file: file.clone(),
                problem: format!("line {}: {error}", number + 1),
            })
        };
        lines.map(parse).collect()
    }

    pub(crate) fn log(&mut self, kind: EventKind) -> Result<(), TrainError> {
        let event = Event {
            time: jiff::Timestamp::now().to_string(),
            kind,
        };
        let mut line = serde_json::to_vec(&event).expect("an event has only string keys");
        line.push(b'\n');
        self.events
            .write_all(&line)
            .map_err(TrainError::io(self.folder.join(EVENTS)))
    }

    /// Length of the events file, all of which is on the disk.
    pub(crate) fn events_length(&mut self) -> Result<u64, TrainError> {
        let synced = self
            .events
            .sync_all()
            .and_then(|()| self.events.seek(SeekFrom::End(0)));
        synced.map_err(TrainError::io(self.folder.join(EVENTS)))
    }

    /// Forgets the events after a checkpoint: they will happen again.
    pub(crate) fn cut_events(&mut self, length: u64) -> Result<(), TrainError> {
        let file = self.folder.join(EVENTS);
        let found = self.events_length()?;
        if found < length {
            let problem = format!(
                "expected at least the {length} bytes that the checkpoint saw, found {found}"
            );
            return Err(TrainError::Damaged { file, problem });
        }
        self.events.set_len(length).map_err(TrainError::io(file))
    }

    pub(crate) fn checkpoint_folder(&self) -> PathBuf {
        self.folder.join(CHECKPOINTS)
    }

    /// Writes weights and report, and at last the result, which says that the run is finished.
    pub(crate) fn finish(
        &mut self,
        trained: &Trained,
        mistakes: &[report::Mistake],
    ) -> Result<(), TrainError> {
        let weights = self.folder.join(WEIGHTS);
        fs::create_dir_all(&weights).map_err(TrainError::io(&weights))?;
        for (level, trained) in self.recipe.levels.iter().zip(&trained.weights) {
            files::write_whole(
                &self.weights_file(level.name.as_str()),
                &trained.to_safetensors(),
            )?;
        }
        let page = report::page(&self.recipe, &self.events()?, mistakes);
        files::write_whole(&self.report(), page.as_bytes())?;
        let result = ResultFile {
            test: trained.test.clone(),
            validation: trained.validation.clone(),
            heads: trained.heads.clone(),
            memory: trained.memory.clone(),
            given: trained.given.clone(),
            best_epoch: trained.best_epoch,
            seconds: trained.seconds,
            precision: trained.precision,
            data: trained.data.clone(),
        };
        let result = serde_json::to_vec(&result).expect("a result has only string keys");
        files::write_whole(&self.folder.join(RESULT), &result)
    }

    fn weights_file(&self, level: &str) -> PathBuf {
        self.folder
            .join(WEIGHTS)
            .join(format!("{level}.safetensors"))
    }
}

/// Digest of a resolved recipe, as a package names it.
pub fn recipe_digest(recipe: &Recipe) -> Digest {
    Digest::from_bytes(Sha256::digest(recipe.to_toml()).into())
}
