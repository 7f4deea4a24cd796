use std::{fs, path::PathBuf};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use tempfile::TempDir;

use super::*;

fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut file = Vec::new();
    let pixels = colour.repeat((width * height) as usize);
    PngEncoder::new(&mut file)
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    file
}

fn put(folder: &TempDir, path: &str, content: &[u8]) {
    let place = folder.path().join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, content).unwrap();
}

fn look(name: &str, base: &Path, places: &Places) -> Inspection {
    inspect_source(name, base, places, &mut |_| ()).unwrap()
}

fn nowhere() -> Places {
    Places {
        strata_data: None,
        cache: PathBuf::from("/nowhere"),
    }
}

#[test]
fn a_folder_of_images_is_counted_and_its_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let red = png(4, 2, [255, 0, 0]);
    put(&folder, "mine/train/cat/1.png", &red);
    put(&folder, "mine/train/cat/2.png", &png(6, 6, [0, 51, 0]));
    put(&folder, "mine/train/dog/1.png", &red);
    put(&folder, "mine/train/dog/cut.png", &red[..40]);
    put(&folder, "mine/train/dog/old.bmp", b"BM");
    put(&folder, "mine/train/dog/notes.txt", b"two");
    put(&folder, "mine/test/dog/1.png", &png(4, 2, [255, 0, 0]));
    let found = look("./mine", folder.path(), &nowhere());

    assert_eq!(found.labels, ["cat", "dog"]);
    let [train, test] = found.parts.as_slice() else {
        panic!("{:?}", found.parts)
    };
    assert_eq!((train.name, train.summary.rows), ("train", 3));
    assert_eq!(train.summary.class_counts, [2, 1]);
    assert_eq!((train.heights, train.widths), ([2, 2, 6], [4, 4, 6]));
    assert!((train.summary.mean[0] - 16.0 / 52.0).abs() < 1e-9);
    assert!((train.summary.mean[1] - 0.2 * 36.0 / 52.0).abs() < 1e-9);
    assert_eq!(
        (test.name, test.summary.class_counts.clone()),
        ("test", vec![0, 1])
    );
    let duplicates = &found.duplicates;
    assert_eq!(duplicates.within, [("train", 1), ("test", 0)]);
    assert_eq!((duplicates.between, duplicates.with_other_labels), (1, 2));
    assert_eq!(
        duplicates.examples[0],
        ["train/cat/1.png", "train/dog/1.png"]
    );
    let unreadable: Vec<&str> = found
        .unreadable
        .iter()
        .map(|file| file.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(unreadable, ["cut.png", "old.bmp"]);
    assert!(
        found.unreadable[1]
            .problem
            .contains("expected a PNG or JPEG file")
    );
    assert_eq!((found.other_files, found.digests.len()), (1, 2));
}

#[test]
fn drawn_digits_do_not_repeat() {
    let found = look("digits", Path::new("."), &nowhere());
    assert_eq!(found.duplicates.within, [("train", 0), ("test", 0)]);
    assert_eq!(found.duplicates.between, 0);
    assert_eq!(found.parts[0].heights, [28; 3]);
    assert!(found.labels.is_empty());
}

/// The training images have the mean and deviation that everyone uses for CIFAR-10.
#[test]
fn cifar_10_is_what_it_is_known_to_be() {
    let places = Places {
        cache: PathBuf::from("/nowhere"),
        ..Places::from_env()
    };
    let own = places
        .strata_data
        .as_ref()
        .map(|own| own.join("cifar10/cifar-10-binary.tar.gz"));
    if !own.is_some_and(|archive| archive.is_file()) {
        println!("skipped: STRATA_DATA has no cifar10");
        return;
    }
    let found = look("cifar10", Path::new("."), &places);
    assert_eq!(found.labels[..3], ["airplane", "automobile", "bird"]);
    let [train, test] = found.parts.as_slice() else {
        panic!("{:?}", found.parts)
    };
    assert_eq!(
        (train.summary.rows, train.summary.shape),
        (50_000, [3, 32, 32])
    );
    assert_eq!(train.summary.class_counts, [5000; 10]);
    let known = [(0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616)];
    for (channel, (mean, std)) in known.into_iter().enumerate() {
        assert!((train.summary.mean[channel] - mean).abs() < 1e-4);
        assert!((train.summary.std[channel] - std).abs() < 1e-4);
    }
    assert!(test.summary.rows <= 10_000);
    if test.summary.rows < 10_000 {
        let expected = format!("50000 training and {} test rows", test.summary.rows);
        assert!(found.source.contains(&expected), "{}", found.source);
    }
    assert!(found.digests[0].name == "cifar-10-binary.tar.gz");
}
