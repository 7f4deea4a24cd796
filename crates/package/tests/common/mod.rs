//! A small model, an identity and a store to try things on.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use strata_package::{
    Access, Identity, NewLevel, NewVersion, OpenPackage, PackageError, Sealing, Selector, Store,
};
use strata_spec::{
    Classification, Dense, Digest, Head, ImagePreparation, Layer, Level, Lineage, Manifest, Name,
    Precision, Preparation, Strategy, Task, level_shapes,
};
use tempfile::TempDir;

/// A store and an identity in a folder that goes when this goes.
pub struct Fixture {
    pub folder: TempDir,
    pub identity: Identity,
    pub store: Store,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::init(&folder.path().join("identity")).unwrap();
        let store = Store::create_if_missing(&folder.path().join("store")).unwrap();
        Self {
            folder,
            identity,
            store,
        }
    }

    /// Adds a sealed version whose levels have these weights.
    pub fn add(&self, weights: [&[u8]; 2]) -> Manifest {
        self.store
            .add(model(weights), &self.identity, Sealing::Own)
            .unwrap()
    }

    pub fn open(&self, selector: &str) -> Result<OpenPackage, PackageError> {
        self.open_with(selector, &self.identity.access())
    }

    pub fn open_with(&self, selector: &str, access: &Access) -> Result<OpenPackage, PackageError> {
        self.store.open_version(&select(selector), access)
    }

    /// The folder of a version of the small model.
    pub fn version(&self, version: u64) -> PathBuf {
        self.store
            .path()
            .join("models/tiny/versions")
            .join(version.to_string())
    }

    /// The digests of the blobs.
    pub fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.path().join("blobs/sha256")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn select(selector: &str) -> Selector {
    selector.parse().unwrap()
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A model of two levels, `low` and `top`. The store does not look into weights, so any bytes will do.
pub fn model(weights: [&[u8]; 2]) -> NewVersion {
    let dense = |units| Layer::Dense(Dense::new(units));
    let levels = [
        Level {
            name: name("low"),
            layers: vec![Layer::Flatten, dense(3), Layer::Relu],
            head: None,
        },
        Level {
            name: name("top"),
            layers: Vec::new(),
            head: Some(Head {
                task: name("parity"),
                layers: vec![dense(2)],
                mirrored: false,
            }),
        },
    ];
    let preparation = Preparation::Image(ImagePreparation::new(2, 2, 1));
    let shapes = level_shapes(&preparation.output_shape(), &levels).unwrap();
    let levels = levels.into_iter().zip(shapes).zip(weights);
    NewVersion {
        name: name("tiny"),
        description: "even or odd".to_owned(),
        levels: levels
            .map(|((architecture, shapes), weights)| NewLevel {
                architecture,
                shapes,
                weights: weights.to_vec(),
            })
            .collect(),
        network: None,
        tasks: vec![Task::new(
            name("parity"),
            Classification::new(2, vec!["even".to_owned(), "odd".to_owned()]),
        )],
        preparation,
        lineage: Lineage {
            recipe: Digest::from_bytes([1; 32]),
            data: Vec::new(),
            validation: None,
            level_data: Vec::new(),
            seed: 7,
            strategy: Strategy::EndToEnd,
            code: "test".to_owned(),
            weights: None,
            parent: None,
            change: None,
        },
        metrics: BTreeMap::from([("test.accuracy".to_owned(), 0.975)]),
        precision: Precision::F32,
        card: "# Tiny\n".to_owned(),
    }
}

/// Every file and folder below `root` with its content, without the lock file.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                found.insert(relative, Vec::new());
                walk(root, &path, found);
            } else if relative != Path::new(".lock") {
                found.insert(relative, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Replaces a file by another one, so that its other hard links keep their content.
pub fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
