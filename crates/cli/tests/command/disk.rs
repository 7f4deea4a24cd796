//! A disk that is full: nothing is lost, nothing is half-written, and it goes on once there is room.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    place::{Place, Ran, snapshot, words},
    server::signal,
};

/// A file system of `SIZE` bytes in the folder `small`, unmounted when dropped.
struct Disk {
    folder: PathBuf,
}

const SIZE: usize = 1 << 20;
const PAGE: usize = 4096;

impl Disk {
    fn mount(place: &Place) -> Option<Self> {
        let folder = place.path("small");
        fs::create_dir(&folder).unwrap();
        let options = format!("size={SIZE}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder)
            .output();
        if !mount.is_ok_and(|output| output.status.success()) {
            println!("skipped: a small file system cannot be mounted");
            return None;
        }
        Some(Self { folder })
    }

    /// Fills it up but for so many pages.
    fn leave(&self, pages: usize) {
        let filler = self.folder.join("filler");
        let _ = fs::remove_file(&filler);
        // As much as goes in; the last write is the one that fails.
        fs::write(&filler, vec![1; 2 * SIZE]).unwrap_err();
        let size = fs::metadata(&filler).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
        file.set_len(size - (pages * PAGE) as u64).unwrap();
    }

    fn clear(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.folder).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.folder.display()
        );
    }
}

#[test]
fn a_disk_that_fills_up_while_packaging_leaves_the_store_as_it_was() {
    let place = Place::with_identity();
    place
        .run(&["train", "recipe.toml", "--no-package", "--run", "one"])
        .success();
    place
        .run(&[
            "train",
            "recipe.toml",
            "--no-package",
            "--run",
            "two",
            "--set",
            "seed=2",
        ])
        .success();
    let Some(disk) = Disk::mount(&place) else {
        return;
    };
    place
        .run(&["models", "add", "one", "--store", "small/store"])
        .success();

    let mut failures = 0;
    for pages in 0.. {
        disk.leave(pages);
        let before = snapshot(&place.path("small"));
        let ran = place.run(&["models", "add", "two", "--store", "small/store"]);
        if ran.code == Some(0) {
            break;
        }
        ran.failure(&["small/store/", "No space left on device"]);
        assert!(
            snapshot(&place.path("small")) == before,
            "with {pages} pages left, the store changed"
        );
        failures += 1;
        place.answer(&["models", "verify", "tiny@1", "--store", "small/store"]);
    }
    assert!(failures > 3, "the disk was full {failures} times only");
    place.answer(&["models", "verify", "tiny@2", "--store", "small/store"]);

    disk.leave(0);
    let args = [
        "train",
        "recipe.toml",
        "--run",
        "three",
        "--set",
        "seed=3",
        "--store",
        "small/store",
    ];
    place.run(&args).failure(&[
        "No space left",
        "three is finished",
        "`strata models add three` packages it",
    ]);
    disk.clear();
    place.answer(&["models", "add", "three", "--store", "small/store"]);
    place.answer(&["models", "verify", "tiny@3", "--store", "small/store"]);
}

#[test]
fn a_training_on_a_full_disk_goes_on_when_there_is_room() {
    let place = Place::with_identity();
    place
        .run(&[
            "train",
            "recipe.toml",
            "--run",
            "whole",
            "--set",
            "train.epochs=200",
        ])
        .success();
    let Some(disk) = Disk::mount(&place) else {
        return;
    };
    disk.leave(0);
    let args = [
        "train",
        "recipe.toml",
        "--run",
        "small/run",
        "--set",
        "train.epochs=200",
    ];
    place.check_fails(&args, &["small/", "No space left on device"]);

    for pages in [1, 4, 6, 8, 10, 12] {
        disk.leave(pages);
        let is_begun = place.path("small/run").exists();
        let ran = place.run(if is_begun {
            &["train", "--resume", "small/run"]
        } else {
            &args
        });
        ran.failure(&["No space left on device"]);
        assert!(!place.path("small/run/result.json").exists());
    }
    disk.clear();
    place.run(&["train", "--resume", "small/run"]).success();
    for level in ["hidden", "top"] {
        let weights = |run: &str| {
            fs::read(place.path(run).join(format!("weights/{level}.safetensors"))).unwrap()
        };
        assert!(weights("small/run") == weights("whole"), "{level} differs");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_an_error() {
    let place = Place::with_identity();
    let Some(disk) = Disk::mount(&place) else {
        return;
    };
    let args = words("train recipe.toml --run small/run --set train.epochs=20000");
    let child = place.start_learning(&args);
    disk.leave(0);
    signal(&child, "INT");
    Ran::end(child).failure(&["small/run/", "No space left on device"]);
    disk.clear();
    let child = place.start_learning(&["train", "--resume", "small/run"]);
    signal(&child, "INT");
    Ran::end(child).stopped("stopped");
}

#[test]
fn keys_identities_and_pictures_are_written_whole_or_not_at_all() {
    let place = Place::with_model();
    let Some(disk) = Disk::mount(&place) else {
        return;
    };
    let create =
        words("keys create --store small/store --name a --allow infer --models all --expires 1d");
    place.run(&create).success();
    disk.leave(0);
    place.check_fails(
        &create,
        &["small/store/keys.json", "No space left on device"],
    );
    place.check_fails(
        &["identity", "init", "--identity", "small/identity"],
        &["small/identity", "No space left"],
    );
    place.check_fails(
        &["explain", "tiny", "image.png", "--output", "small/why.png"],
        &["cannot write small/why.png"],
    );
    disk.clear();
    let listed = place.answer(&["keys", "list", "--store", "small/store"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    place
        .run(&["identity", "init", "--identity", "small/identity"])
        .success();
}
