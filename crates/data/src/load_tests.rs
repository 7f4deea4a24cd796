use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

fn spec(source: &str) -> DataSpec {
    DataSpec {
        source: source.to_owned(),
        validation: None,
    }
}

fn nowhere() -> Places {
    Places {
        strata_data: None,
        cache: PathBuf::from("/nowhere"),
    }
}

fn images(count: u32, height: u32, width: u32) -> Vec<u8> {
    let header = [0x803, count, height, width].map(u32::to_be_bytes);
    [
        header.as_flattened(),
        &vec![5; (count * height * width) as usize],
    ]
    .concat()
}

fn labels(labels: &[u8]) -> Vec<u8> {
    let header = [0x801, labels.len() as u32].map(u32::to_be_bytes);
    [header.as_flattened(), labels].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A recipe's folder with data in `mine/`: 3 training and 2 test images of 2x3 pixels.
fn folder() -> TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("mine")).unwrap();
    put(&base, TRAIN_IMAGES, &images(3, 2, 3));
    put(&base, TRAIN_LABELS, &labels(&[0, 1, 2]));
    put(&base, TEST_IMAGES, &images(2, 2, 3));
    put(&base, TEST_LABELS, &labels(&[2, 1]));
    base
}

fn put(base: &TempDir, name: &str, content: &[u8]) {
    fs::write(base.path().join("mine").join(name), content).unwrap();
}

fn remove(base: &TempDir, name: &str) {
    fs::remove_file(base.path().join("mine").join(name)).unwrap();
}

fn read(base: &TempDir) -> Result<Dataset, DataError> {
    load(&spec("./mine"), base.path(), 3, &nowhere(), &mut |_| ())
}

/// After a file was replaced, the error must hold all of these parts.
fn check(name: &str, content: &[u8], parts: &[&str]) {
    let base = folder();
    put(&base, name, content);
    let message = read(&base).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{message}` lacks `{part}`");
    }
}

#[test]
fn a_folder_of_idx_files_is_a_data_set() {
    let base = folder();
    let data = read(&base).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (3, 2));
    assert_eq!(
        (data.train.height, data.train.width, data.train.channels),
        (2, 3, 1)
    );
    assert_eq!(data.test.labels, [2, 1]);
    let names: Vec<&str> = data
        .digests
        .iter()
        .map(|digest| digest.name.as_str())
        .collect();
    assert_eq!(
        names,
        [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]
    );
    assert!(
        data.source.starts_with("IDX files from "),
        "{}",
        data.source
    );
}

#[test]
fn names_may_end_in_gz_and_the_content_decides() {
    let base = folder();
    let whole = read(&base).unwrap();
    put(&base, TRAIN_IMAGES, &gzip(&images(3, 2, 3)));
    remove(&base, TRAIN_LABELS);
    put(
        &base,
        "train-labels-idx1-ubyte.gz",
        &gzip(&labels(&[0, 1, 2])),
    );
    remove(&base, TEST_IMAGES);
    put(&base, "t10k-images.idx3-ubyte", &images(2, 2, 3));
    remove(&base, TEST_LABELS);
    put(&base, "t10k-labels.idx1-ubyte.gz", &labels(&[2, 1]));
    let other = read(&base).unwrap();
    assert_eq!((whole.train, whole.test), (other.train, other.test));
}

#[test]
fn an_error_names_the_file_and_what_is_wrong() {
    check(
        TRAIN_IMAGES,
        &images(3, 2, 3)[..30],
        &[TRAIN_IMAGES, "truncated: expected 34 bytes, found 30"],
    );
    check(
        TEST_LABELS,
        &images(2, 2, 3),
        &[TEST_LABELS, "wrong magic number"],
    );
    check(
        TEST_LABELS,
        &gzip(&labels(&[2, 1]))[..20],
        &[TEST_LABELS, "bad gzip"],
    );
    check(
        TRAIN_LABELS,
        &labels(&[0, 3, 1]),
        &[
            TRAIN_LABELS,
            "label 3 of row 1 is out of range: expected 0 to 2",
        ],
    );
    check(
        TRAIN_LABELS,
        &labels(&[0, 1]),
        &[
            TRAIN_IMAGES,
            "holds 3 images",
            TRAIN_LABELS,
            "holds 2 labels",
        ],
    );
    check(
        TEST_IMAGES,
        &images(2, 3, 2),
        &["training images are 2x3, but test images are 3x2"],
    );
    check(
        TEST_IMAGES,
        &[0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3],
        &[TEST_IMAGES, "holds no images"],
    );
}

#[test]
fn what_is_missing_is_named() {
    let base = folder();
    remove(&base, TEST_LABELS);
    let message = read(&base).unwrap_err().to_string();
    assert!(
        message
            .contains("mine: expected one of t10k-labels-idx1-ubyte, t10k-labels-idx1-ubyte.gz, "),
        "{message}"
    );
    let error = load(&spec("./other"), base.path(), 3, &nowhere(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Io { path, .. } if path.ends_with("other")));
    let message = load(&spec("mnits"), base.path(), 3, &nowhere(), &mut |_| ())
        .unwrap_err()
        .to_string();
    let expected = "no data set is named `mnits`: \
                    expected mnist, fashion-mnist, digits, or the path of a folder";
    assert_eq!(message, expected);
}

#[test]
fn a_changed_file_of_the_catalogue_is_refused_in_both_places() {
    let own = folder();
    fs::rename(own.path().join("mine"), own.path().join("mnist")).unwrap();
    for entry in fs::read_dir(own.path().join("mnist")).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, path.with_added_extension("gz")).unwrap();
    }
    let cache = tempfile::tempdir().unwrap();
    fs::create_dir(cache.path().join("data")).unwrap();
    let in_own = Places {
        strata_data: Some(own.path().to_owned()),
        cache: cache.path().to_owned(),
    };
    let message = load_offline(&spec("mnist"), Path::new("."), 10, &in_own)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("-ubyte.gz: not the published file: expected sha256:"),
        "{message}"
    );

    fs::rename(own.path().join("mnist"), cache.path().join("data/mnist")).unwrap();
    let message = load(&spec("mnist"), Path::new("."), 10, &in_own, &mut |_| ())
        .unwrap_err()
        .to_string();
    assert!(message.contains("not the published file"), "{message}");
}

#[test]
fn offline_nothing_is_an_answer() {
    assert_eq!(
        load_offline(&spec("mnist"), Path::new("."), 10, &nowhere()).unwrap(),
        None
    );
}

#[test]
fn drawn_digits_are_a_data_set_with_its_own_digests() {
    let data = load_offline(&spec("digits"), Path::new("."), 10, &nowhere())
        .unwrap()
        .unwrap();
    assert_eq!(
        (data.train.len(), data.test.len()),
        (DIGITS_TRAIN_ROWS, DIGITS_TEST_ROWS)
    );
    assert_eq!(data.digests.len(), 2);
    assert_ne!(data.train.row(0), data.test.row(0));
    let error = load_offline(&spec("digits"), Path::new("."), 9, &nowhere()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`digits` has 10 classes, but the task has 9"
    );
}

/// The mean and deviation that everyone uses for MNIST: 0.1307 and 0.3081.
#[test]
fn mnist_is_what_it_is_known_to_be() {
    let places = Places {
        cache: PathBuf::from("/nowhere"),
        ..Places::from_env()
    };
    let Some(data) = load_offline(&spec("mnist"), Path::new("."), 10, &places).unwrap() else {
        println!("skipped: STRATA_DATA has no mnist");
        return;
    };
    let train = crate::inspect(&data.train);
    assert_eq!(
        (train.rows, train.shape, data.test.len()),
        (60_000, [1, 28, 28], 10_000)
    );
    assert_eq!(
        train.class_counts,
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    );
    assert!((train.mean[0] - 0.1307).abs() < 1e-4 && (train.std[0] - 0.3081).abs() < 1e-4);
    assert_eq!(data.test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    assert_eq!(data.digests.len(), 4);
}
