//! A folder with data, a recipe and a home, and the program run in it.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::images::{CLASSES, SIDE, idx, image, png};

/// A user's working folder. The model is `tiny`: it tells which third of an 8x8 image is bright.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

const RECIPE: &str = r#"format = 1
name = "tiny"
description = "Which third of an image is bright."

[data]
source = "./data"

[preparation.image]
height = 8
width = 8

[[tasks]]
name = "third"
classification = { classes = 3, labels = ["left", "middle", "right"] }

[[levels]]
name = "hidden"
layers = ["flatten", { dense = { units = 16 } }, "relu"]

[[levels]]
name = "top"
head = { task = "third", layers = [{ dense = { units = 3 } }] }

[train]
epochs = 8
batch = 16
optimizer = { adam = { learning_rate = 0.01 } }
"#;

impl Place {
    /// With data in `data` and a recipe in `recipe.toml`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        fs::create_dir(place.path("home")).unwrap();
        place.write("recipe.toml", RECIPE);
        place.write_data("data", 96, 30);
        place
    }

    pub(crate) fn with_identity() -> Self {
        let place = Self::new();
        place.run(&["identity", "init"]).success();
        place
    }

    /// With `tiny@1` in the user's own store, and `image.png`, which is bright on the right.
    pub(crate) fn with_model() -> Self {
        let place = Self::with_identity();
        place.run(&["train", "recipe.toml"]).success();
        place.write("image.png", png(2));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store that is used unless another one is named.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("home/.local/share/strata/store")
    }

    /// The identity that is used unless another one is named.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path("home/.config/strata/identity")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes the four IDX files of a data set.
    pub(crate) fn write_data(&self, name: &str, train: usize, test: usize) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        for (stem, rows, salt) in [("train", train, 1), ("t10k", test, 2)] {
            let pixels: Vec<u8> = (0..rows)
                .flat_map(|row| image(row % CLASSES, row, salt))
                .collect();
            let labels: Vec<u8> = (0..rows).map(|row| (row % CLASSES) as u8).collect();
            let images = idx(0x803, &[rows, SIDE, SIDE], &pixels);
            fs::write(folder.join(format!("{stem}-images-idx3-ubyte")), images).unwrap();
            let labels = idx(0x801, &[rows], &labels);
            fs::write(folder.join(format!("{stem}-labels-idx1-ubyte")), labels).unwrap();
        }
    }

    /// The program, which sees nothing of the environment of the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// Runs it to its end with this on the standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.start(self.command(args).stdin(Stdio::piped()));
        // Whoever refuses an input need not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::end(child)
    }

    /// Starts it with its outputs captured.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Starts a command that trains and waits until it does.
    pub(crate) fn start_learning(&self, args: &[&str]) -> Child {
        let mut child = self.start(&mut self.command(args));
        let mut notes = child.stderr.take().unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        // Byte by byte, so that what it says next is still there to be read.
        while line != b"learning from " {
            if notes.read(&mut byte).unwrap() == 0 {
                panic!(
                    "{args:?} does not train: {}",
                    String::from_utf8_lossy(&line)
                );
            }
            line.push(byte[0]);
        }
        child.stderr = Some(notes);
        child
    }

    /// What it answers to a program.
    pub(crate) fn answer(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).json()
    }

    /// Expects that it fails, says all of `words`, and leaves every file of the place as it was.
    pub(crate) fn check_fails(&self, args: &[&str], words: &[&str]) {
        self.check_command_fails(&mut self.command(args), words);
    }

    pub(crate) fn check_command_fails(&self, command: &mut Command, words: &[&str]) {
        let before = snapshot(self.folder.path());
        let ran = Ran::of(command);
        ran.failure(words);
        let after = snapshot(self.folder.path());
        assert!(
            before == after,
            "{command:?} failed, but changed {:?}",
            changed(&before, &after)
        );
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::end(command.spawn().unwrap())
    }

    /// Waits for the end.
    pub(crate) fn end(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }

    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Expects the end of a command that was asked to stop.
    #[track_caller]
    pub(crate) fn stopped(self, words: &str) -> Self {
        assert_eq!(self.code, Some(130), "{self:?}");
        assert!(self.err.contains(words), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        self
    }

    /// Expects an error that says all of `words`, and no result.
    #[track_caller]
    pub(crate) fn failure(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        let errors: Vec<&str> = self
            .err
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in {self:?}");
        }
    }

    /// The result, which must be one line with a JSON document.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let ran = self.success();
        assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}

/// The words of a command.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// All files of a folder but locks, whose content means nothing.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else if !path.as_os_str().as_encoded_bytes().ends_with(b"lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn changed(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<PathBuf> {
    let paths = before.keys().chain(after.keys());
    paths
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}
