use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, ExitCalibration, Level, LevelChange, LevelShapes, Name, Precision, Preparation,
    Strategy, Task, Validation, level_shapes,
    networks::NamedNetwork,
    task::{data_classes, final_task},
};

/// The format of manifests that this program writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// What one version of a model is made of: `manifest.json` of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The model's name.
    pub name: Name,
    /// Counts from 1.
    pub version: u64,
    /// When it was packaged, RFC 3339, UTC.
    pub created: String,
    /// What the model is for, in a sentence; empty where the recipe said nothing.
    pub description: String,
    /// From the lowest to the top one.
    pub levels: Vec<ManifestLevel>,
    /// What the network is called, if it was asked for by its name: then its weights have published names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NamedNetwork>,
    /// What it predicts.
    pub tasks: Vec<Task>,
    /// How a request becomes a row.
    pub preparation: Preparation,
    /// Where the model comes from.
    pub lineage: Lineage,
    /// Figures on held-out data, such as `test.accuracy`.
    pub metrics: BTreeMap<String, f64>,
    /// The number format in which it learned; never `auto`.
    pub precision: Precision,
    /// When rows may leave below the top; none where no exit was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exits: Option<ExitCalibration>,
}

/// One level of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLevel {
    /// Its name, layers and head.
    pub architecture: Level,
    /// What it takes.
    pub input: Contract,
    /// What its body gives.
    pub output: Contract,
    /// What its head gives, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_output: Option<Contract>,
    /// Its weights.
    pub blob: Blob,
}

/// Type and shape of rows at a boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Shape of one row, without the batch.
    pub shape: Vec<usize>,
    /// Type of its elements.
    pub datatype: ElementType,
}

/// The type of a tensor's elements, in the Open Inference Protocol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElementType {
    /// 32-bit floating point.
    #[serde(rename = "FP32")]
    Fp32,
}

/// A level's weights as they lie in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Digest of the stored bytes, which names the blob.
    pub digest: Digest,
    /// Digest of the plain safetensors bytes.
    pub plain: Digest,
    /// Size of the stored bytes.
    pub bytes: u64,
    /// Whether the stored bytes are an `age` file; otherwise they are the plain ones.
    pub sealed: bool,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Digest of the resolved recipe (TOML).
    pub recipe: Digest,
    /// What it learned from.
    pub data: Vec<DataDigest>,
    /// What was kept aside of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// What single levels learned from besides: those that learned anew, or came from other versions. Also files of `data`,
    /// where such a level may have learned from rows that `validation` kept aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub level_data: Vec<DataDigest>,
    /// Seed of the training.
    pub seed: u64,
    /// How it learned.
    pub strategy: Strategy,
    /// The program and its version, such as `strata 0.1.0`.
    pub code: String,
    /// The file that weights were taken from to begin with, if they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<DataDigest>,
    /// The version that this one was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// What it has that its parent has not; the other levels are the parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<LevelChange>,
}

/// One file, or drawn set of data, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDigest {
    /// File name, or the name of a drawn set.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of the manifest's form.
    #[error("not a manifest: {0}")]
    Form(#[from] serde_json::Error),
    /// Of a format that this program does not know.
    #[error(
        "manifest format {found}, but this program reads format {MANIFEST_FORMAT}: use a newer strata"
    )]
    Format {
        /// The format that it names.
        found: u32,
    },
    /// Its parts contradict each other.
    #[error("manifest contradicts itself at {place}: {problem}")]
    Content {
        /// The field.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// It is no manifest, of an unknown format, or its parts contradict each other.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let header: Header = serde_json::from_slice(json)?;
        if header.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format {
                found: header.format,
            });
        }
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as indented JSON with a final newline. Equal manifests give equal bytes.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a manifest has only string keys");
        json.push('\n');
        json
    }

    /// Its levels' names, layers and heads.
    pub fn architecture(&self) -> Vec<Level> {
        self.levels
            .iter()
            .map(|level| level.architecture.clone())
            .collect()
    }

    /// Classes that the data may have.
    pub fn data_classes(&self) -> usize {
        data_classes(&self.tasks)
    }

    /// The task of the top level's head: the one that an answer is about if nothing else is asked.
    pub fn final_task(&self) -> &Task {
        final_task(
            self.levels.iter().map(|level| &level.architecture),
            &self.tasks,
        )
    }

    /// The sources whose rows were mixed for it to learn from, by name; none where it learned from one alone. The data
    /// of several is named `SOURCE: FILE`.
    pub fn mixed_sources(&self) -> Vec<&str> {
        let mut sources = Vec::new();
        for data in &self.lineage.data {
            if let Some((source, _)) = data.name.split_once(": ")
                && !sources.contains(&source)
            {
                sources.push(source);
            }
        }
        sources
    }

    /// Whether rows of a source have classes of a task. Where the model learned from one source, any rows may take their
    /// place; where from several, only those of the task's own source have its classes: others' labels mean something else.
    pub fn has_labels_of(&self, task: &Task, source: &str) -> bool {
        let sources = self.mixed_sources();
        // Of weights from elsewhere no data is known.
        let is_alike = || self.tasks.iter().all(|other| other.data == task.data);
        let is_from_one = sources.is_empty() && (!self.lineage.data.is_empty() || is_alike());
        is_from_one || task.data.as_deref().or(sources.first().copied()) == Some(source)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |place: &str, problem: String| ManifestError::Content {
            place: place.to_owned(),
            problem,
        };
        if self.version == 0 {
            return Err(wrong("version", "versions count from 1".to_owned()));
        }
        if self.precision == Precision::Auto {
            return Err(wrong(
                "precision",
                "expected `f32` or `bf16`, found `auto`".to_owned(),
            ));
        }
        let architecture = self.architecture();
        crate::checks::check_levels(&architecture, &self.tasks, &self.preparation)
            .map_err(|(place, problem)| wrong(&place, problem))?;
        if let Some(network) = &self.network {
            let task = self.final_task();
            network
                .levels(&task.name, task.classification.classes)
                .map_err(|(field, problem)| wrong(&format!("network.{field}"), problem))?;
        }
        let shapes = level_shapes(&self.preparation.output_shape(), &architecture)
            .map_err(|(_, error)| wrong(&error.place, error.to_string()))?;
        if let Some(change) = &self.lineage.change
            && !architecture.iter().any(|level| level.name == change.level)
        {
            let problem = format!("there is no level `{}`", change.level);
            return Err(wrong("lineage.change.level", problem));
        }
        for (index, (level, shape)) in self.levels.iter().zip(&shapes).enumerate() {
            if *level != level.with_shapes(shape) {
                return Err(wrong(
                    &format!("levels[{index}]"),
                    "its shapes are not those of its layers".to_owned(),
                ));
            }
        }
        if let Some(exits) = &self.exits {
            exits
                .check(&architecture)
                .map_err(|(place, problem)| wrong(&place, problem))?;
        }
        Ok(())
    }
}

impl Lineage {
    /// Takes note that a level learned from `files`, of whose training rows `validation` kept some aside.
    pub fn add_level_data(&mut self, files: &[DataDigest], validation: Option<&Validation>) {
        let lists = |list: &[DataDigest], file: &DataDigest| {
            list.iter().any(|listed| listed.digest == file.digest)
        };
        let keeps_the_same = self.validation.is_none() || self.validation.as_ref() == validation;
        for file in files {
            let is_known = keeps_the_same && lists(&self.data, file);
            if !is_known && !lists(&self.level_data, file) {
                self.level_data.push(file.clone());
            }
        }
    }
}

impl ManifestLevel {
    /// A level of a package, its contracts taken from its shapes.
    pub fn new(architecture: Level, shapes: &LevelShapes, blob: Blob) -> Self {
        let contract = |shape: &Vec<usize>| Contract {
            shape: shape.clone(),
            datatype: ElementType::Fp32,
        };
        Self {
            architecture,
            input: contract(&shapes.input),
            output: contract(&shapes.output),
            head_output: shapes.head.as_ref().map(contract),
            blob,
        }
    }

    fn with_shapes(&self, shapes: &LevelShapes) -> Self {
        Self::new(self.architecture.clone(), shapes, self.blob.clone())
    }
}
