//! A full disk and a crash leave the store as it was.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod common;

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use common::{Fixture, model, name, snapshot};
use strata_package::{Identity, Sealing, Store};

/// A small file system of its own, unmounted when dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(folder: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir(folder).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output();
        mount
            .is_ok_and(|output| output.status.success())
            .then_some(Self(folder))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("small");
    let Some(_mount) = Mount::new(&folder, "256k") else {
        println!("skipped: mounting is not permitted");
        return;
    };
    let store = Store::create_if_missing(&folder.join("store")).unwrap();
    let add = |weights: [&[u8]; 2]| store.add(model(weights), &fixture.identity, Sealing::Own);
    add([&[1; 5000], b"top"]).unwrap();
    let filler = folder.join("filler");
    let (mut failed, mut succeeded) = (0, 0);
    // From no free page to more than enough, so that every write is the one that fails once.
    for free in 0..20 {
        let before = snapshot(store.path());
        fill(&filler, free * 4096);
        let weights = [2 + free as u8; 9000];
        match add([&weights, b"new top"]) {
            Ok(manifest) => {
                succeeded += 1;
                fs::remove_file(&filler).unwrap();
                store.remove(&manifest.name, manifest.version).unwrap();
            }
            Err(error) => {
                failed += 1;
                assert!(error.to_string().contains("No space left"), "{error}");
                assert_eq!(snapshot(store.path()), before, "with {free} pages free");
                fs::remove_file(&filler).unwrap();
            }
        }
        assert!(!store.path().join(".tmp").exists());
    }
    assert!(
        failed >= 4 && succeeded >= 4,
        "{failed} failed, {succeeded} succeeded"
    );
    store
        .open_version(&common::select("tiny@1"), &fixture.identity.access())
        .unwrap();
}

/// Fills the disk but for `free` bytes.
fn fill(path: &Path, free: usize) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(free as u64)).unwrap();
}

#[test]
fn what_a_crash_left_is_swept_by_the_next_writer() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    let root = fixture.store.path();
    fs::create_dir_all(root.join(".tmp/version/levels")).unwrap();
    fs::write(root.join(".tmp/version/levels/low.safetensors.age"), "half").unwrap();
    let orphan = root.join("blobs/sha256").join("0".repeat(64));
    fs::write(&orphan, "a blob whose version never came").unwrap();

    // Readers do not mind.
    fixture.open("tiny").unwrap();
    assert_eq!(fixture.add([b"low", b"new top"]).version, 2);
    assert!(!orphan.exists() && !root.join(".tmp").exists());
    assert_eq!(fixture.blobs().len(), 3);
    fixture.open("tiny@1").unwrap();
    fixture.open("tiny@2").unwrap();
}

/// What the next test runs as a process of its own, and kills.
#[test]
#[ignore = "writes until it is killed"]
fn writer() {
    let Some(root) = std::env::var_os("STRATA_TEST_STORE") else {
        return;
    };
    let root = Path::new(&root);
    let identity = Identity::load(&root.with_file_name("identity")).unwrap();
    let store = Store::open(root).unwrap();
    for round in 0_u64.. {
        let weights = round.to_le_bytes().repeat(1000);
        let added = store
            .add(model([&weights, b"top"]), &identity, Sealing::Own)
            .unwrap();
        store
            .set_alias(&added.name, &name("newest"), added.version)
            .unwrap();
        if round % 3 == 2 {
            store.remove(&added.name, added.version - 1).unwrap();
        }
    }
}

#[test]
fn a_killed_writer_leaves_whole_versions_only() {
    let fixture = Fixture::new();
    fixture.add([b"low", b"top"]);
    let tiny = name("tiny");
    for round in 0..25 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored"])
            .env("STRATA_TEST_STORE", fixture.store.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Long enough to write a few versions, and each time another moment.
        std::thread::sleep(Duration::from_micros(20_000 + 1_700 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();

        for version in fixture.store.versions(&tiny).unwrap() {
            fixture.open(&format!("tiny@{version}")).unwrap();
        }
        let highest = fixture.store.resolve(&common::select("tiny")).unwrap();
        let added = fixture.add([&[round as u8; 10], b"top"]);
        assert!(added.version > highest);
        assert!(!fixture.store.path().join(".tmp").exists());
        let mut named = BTreeSet::new();
        for version in fixture.store.versions(&tiny).unwrap() {
            let manifest = fixture.open(&format!("tiny@{version}")).unwrap().manifest;
            named.extend(manifest.levels.iter().map(|level| level.blob.digest.hex()));
        }
        assert_eq!(fixture.blobs(), Vec::from_iter(named));
    }
    println!("{} versions", fixture.store.versions(&tiny).unwrap().len());
}
