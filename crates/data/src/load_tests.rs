use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

fn spec(source: &str) -> DataSpec {
    DataSpec::of(source)
}

/// The preparation of 2x3 pixels.
fn preparer() -> Preparer {
    Preparer::new(&strata_spec::ImagePreparation::new(2, 3, 1))
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
    load(
        &spec("./mine"),
        &preparer(),
        base.path(),
        3,
        &nowhere(),
        &mut |_| (),
    )
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
    let error = load(
        &spec("./other"),
        &preparer(),
        base.path(),
        3,
        &nowhere(),
        &mut |_| (),
    )
    .unwrap_err();
    assert!(matches!(error, DataError::Io { path, .. } if path.ends_with("other")));
    let message = load(
        &spec("mnits"),
        &preparer(),
        base.path(),
        3,
        &nowhere(),
        &mut |_| (),
    )
    .unwrap_err()
    .to_string();
    let expected = "no data set is named `mnits`: \
                    expected mnist, fashion-mnist, cifar10, cifar100, digits, or the path of a folder";
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
    let message = load_offline(&spec("mnist"), &preparer(), Path::new("."), 10, &in_own)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("-ubyte.gz: not the published file: expected sha256:"),
        "{message}"
    );

    fs::rename(own.path().join("mnist"), cache.path().join("data/mnist")).unwrap();
    let message = load(
        &spec("mnist"),
        &preparer(),
        Path::new("."),
        10,
        &in_own,
        &mut |_| (),
    )
    .unwrap_err()
    .to_string();
    assert!(message.contains("not the published file"), "{message}");
}

#[test]
fn offline_nothing_is_an_answer() {
    assert_eq!(
        load_offline(&spec("mnist"), &preparer(), Path::new("."), 10, &nowhere()).unwrap(),
        None
    );
}

#[test]
fn drawn_digits_are_a_data_set_with_its_own_digests() {
    let data = load_offline(&spec("digits"), &preparer(), Path::new("."), 10, &nowhere())
        .unwrap()
        .unwrap();
    assert_eq!(
        (data.train.len(), data.test.len()),
        (DIGITS_TRAIN_ROWS, DIGITS_TEST_ROWS)
    );
    assert_eq!(data.digests.len(), 2);
    assert_ne!(data.train.row(0), data.test.row(0));
    let error =
        load_offline(&spec("digits"), &preparer(), Path::new("."), 9, &nowhere()).unwrap_err();
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
    let Some(data) =
        load_offline(&spec("mnist"), &preparer(), Path::new("."), 10, &places).unwrap()
    else {
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

fn png(side: u32, level: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let pixels = vec![level; (side * side) as usize];
    image::ImageEncoder::write_image(
        image::codecs::png::PngEncoder::new(&mut file),
        &pixels,
        side,
        side,
        image::ExtendedColorType::L8,
    )
    .unwrap();
    file
}

/// A folder of three classes in which image `i` of class `c` has the brightness `100 c + i`.
fn photos(images: u8) -> TempDir {
    let base = tempfile::tempdir().unwrap();
    for (class, name) in ["ape", "bee", "cat"].into_iter().enumerate() {
        fs::create_dir_all(base.path().join("mine").join(name)).unwrap();
        for index in 0..images {
            let file = png(3 + u32::from(index % 4), 80 * class as u8 + index);
            put(&base, &format!("{name}/{index:02}.png"), &file);
        }
    }
    base
}

fn with_validation(source: &str) -> DataSpec {
    DataSpec {
        validation: Some(strata_spec::Validation {
            fraction: 0.25,
            seed: 1,
        }),
        ..spec(source)
    }
}

fn load_here(spec: &DataSpec, base: &TempDir) -> Result<Dataset, DataError> {
    load(spec, &preparer(), base.path(), 10, &nowhere(), &mut |_| ())
}

#[test]
fn a_folder_of_images_becomes_prepared_rows() {
    let base = photos(20);
    put(&base, "ape/99.png", &png(3, 0)[..30]);
    let data = load_here(&with_validation("./mine"), &base).unwrap();
    assert_eq!(data.origins[0].labels, ["ape", "bee", "cat"]);
    assert_eq!(data.origins[0].name, "./mine");
    let validation = data.validation.unwrap();
    // A tenth of 21 or 20 is kept aside as test rows, then a quarter of the rest; one of them all cannot be read.
    let rows = [data.train.len(), validation.len(), data.test.len()];
    assert_eq!((rows.iter().sum::<usize>(), rows[2]), (60, 6));
    for images in [&data.train, &validation, &data.test] {
        assert_eq!((images.height, images.width, images.channels), (2, 3, 1));
        for row in 0..images.len() {
            // Files of one colour stay so.
            let level = images.row(row)[0];
            assert_eq!(images.row(row), [level; 6]);
            assert_eq!(u32::from(level) / 80, images.labels[row]);
        }
    }
    assert!(
        data.source.contains("3 classes of images from "),
        "{}",
        data.source
    );
    assert!(
        data.source.contains("1 of 61 files left out"),
        "{}",
        data.source
    );

    // Learning from parts of images needs larger ones.
    let parts = DataSpec {
        augmentation: vec![strata_spec::Augmentation::RandomResizedCrop(
            Default::default(),
        )],
        ..spec("./mine")
    };
    let large = Preparer::new(&strata_spec::ImagePreparation {
        crop: strata_spec::Crop::Centre,
        ..strata_spec::ImagePreparation::new(28, 14, 3)
    });
    let data = load(&parts, &large, base.path(), 3, &nowhere(), &mut |_| ()).unwrap();
    assert_eq!(
        (data.train.height, data.train.width, data.train.channels),
        (32, 16, 3)
    );
    assert_eq!((data.test.height, data.test.width), (28, 14));
    assert_eq!(data.clone().prepared(&parts, &large).unwrap(), data);
}

#[test]
fn rows_of_a_folder_are_those_of_requests() {
    let base = tempfile::tempdir().unwrap();
    let mut file = Vec::new();
    let pixels: Vec<u8> = (0..40 * 30 * 3).map(|i| (i * 37 % 256) as u8).collect();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    image::ImageEncoder::write_image(encoder, &pixels, 40, 30, image::ExtendedColorType::Rgb8)
        .unwrap();
    for name in ["a/1.png", "a/2.png"] {
        fs::create_dir_all(base.path().join("mine/a")).unwrap();
        put(&base, name, &file);
    }
    let data = load_here(&spec("./mine"), &base).unwrap();
    let mut row = vec![0.0; 6];
    preparer().rows(&data.train, &[0], &mut row);
    assert_eq!(row, preparer().request(&file).unwrap());
}

#[test]
fn a_folder_of_images_with_faults_is_refused() {
    let check = |change: &dyn Fn(&TempDir), wanted: &DataSpec, expected: &str| {
        let base = photos(20);
        change(&base);
        let message = load_here(wanted, &base).unwrap_err().to_string();
        assert!(message.contains(expected), "`{message}` lacks `{expected}`");
    };
    let plain = spec("./mine");
    let broken = |base: &TempDir| {
        for index in 0..4 {
            put(base, &format!("bee/{index:02}.png"), b"no image");
        }
    };
    check(
        &broken,
        &plain,
        "4 of 60 image files cannot be read, more than one in 20; the first is ",
    );
    let empty = |base: &TempDir| fs::create_dir(base.path().join("mine/dog")).unwrap();
    check(&empty, &plain, "/mine/dog: no image files");
    let unreadable = |base: &TempDir| {
        empty(base);
        put(base, "dog/1.png", b"no image");
    };
    check(&unreadable, &plain, "/mine/dog: no image files");
    let base = photos(2);
    let error = load(&plain, &preparer(), base.path(), 2, &nowhere(), &mut |_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has 3 classes, but the task has 2"),
        "{error}"
    );

    let own = |base: &TempDir| {
        for part in ["train", "val", "test"] {
            fs::create_dir_all(base.path().join("other").join(part).join("a")).unwrap();
            let path = format!("../other/{part}/a/1.png");
            put(base, &path, &png(3, 1));
        }
    };
    check(
        &own,
        &with_validation("./other"),
        "/val has validation images of its own",
    );
    let base = photos(2);
    own(&base);
    let data = load_here(&spec("./other"), &base).unwrap();
    assert_eq!(
        (
            data.train.len(),
            data.validation.unwrap().len(),
            data.test.len()
        ),
        (1, 1, 1)
    );
}

#[test]
fn several_sources_become_rows_of_one_shape_that_know_their_source() {
    let base = photos(20);
    let wanted = DataSpec {
        also: vec!["digits".to_owned()],
        ..with_validation("./mine")
    };
    let data = load_here(&wanted, &base).unwrap();
    let names: Vec<&str> = data
        .origins
        .iter()
        .map(|origin| origin.name.as_str())
        .collect();
    assert_eq!(names, ["./mine", "digits"]);
    let count = |images: &Images, origin| {
        (0..images.len())
            .filter(|&row| images.origin(row) == origin)
            .count()
    };
    assert_eq!(
        count(&data.train, 0) + count(data.validation.as_ref().unwrap(), 0),
        54
    );
    assert_eq!(count(&data.train, 1), DIGITS_TRAIN_ROWS * 3 / 4);
    assert_eq!(
        count(data.validation.as_ref().unwrap(), 1),
        DIGITS_TRAIN_ROWS / 4
    );
    assert_eq!(count(&data.test, 1), DIGITS_TEST_ROWS);
    assert_eq!(data.train.pixels.len(), data.train.len() * 6);
    assert!(
        data.digests
            .iter()
            .any(|digest| digest.name == "digits: digits/train")
    );
    assert_eq!(data.clone().prepared(&wanted, &preparer()).unwrap(), data);
}

/// An archive of one's own may have fewer rows; one in the cache is the published one.
#[test]
fn an_archive_is_read_from_the_users_folder_and_checked_in_the_cache() {
    let places = Places {
        cache: PathBuf::from("/nowhere"),
        ..Places::from_env()
    };
    let own = places.find("cifar10", "cifar-10-binary.tar.gz");
    let Some(own) = own else {
        println!("skipped: STRATA_DATA has no cifar10");
        return;
    };
    let data = load_offline(&spec("cifar10"), &preparer(), Path::new("."), 10, &places)
        .unwrap()
        .unwrap();
    assert_eq!((data.train.len(), data.train.row_len()), (50_000, 3072));
    assert_eq!(data.train.labels[..8], [6, 9, 9, 4, 1, 1, 2, 7]);
    // The first image, a frog: red, green and blue of its first pixel.
    assert_eq!(data.train.row(0)[..3], [59, 62, 63]);
    assert_eq!(data.test.labels[..6], [3, 8, 8, 0, 6, 6]);
    assert_eq!(data.origins[0].labels[6], "frog");
    let error =
        load_offline(&spec("cifar10"), &preparer(), Path::new("."), 9, &places).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`cifar10` has 10 classes, but the task has 9"
    );

    // A cut one: in the user's folder it says so, in the cache it is another file.
    let folder = tempfile::tempdir().unwrap();
    let start = fs::read(own).unwrap()[..1 << 20].to_vec();
    for place in ["own/cifar10", "data/cifar10"] {
        let place = folder.path().join(place);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("cifar-10-binary.tar.gz"), &start).unwrap();
    }
    for (strata_data, expected) in [
        (
            Some(folder.path().join("own")),
            "cifar-10-binary.tar.gz: cut short or damaged",
        ),
        (None, "not the published file: expected sha256:c4a38c50"),
    ] {
        let places = Places {
            strata_data,
            cache: folder.path().to_owned(),
        };
        let error =
            load_offline(&spec("cifar10"), &preparer(), Path::new("."), 10, &places).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
