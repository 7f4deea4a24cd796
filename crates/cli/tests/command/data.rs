//! Data that is not what it should be.

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::{
    images::{idx, png_of},
    place::{Place, Ran},
};

const TRAIN_IMAGES: &str = "data/train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "data/train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "data/t10k-images-idx3-ubyte";

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Changes one file of the data and expects that no command takes it.
fn check_data(file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>, words: &[&str]) {
    let place = Place::with_identity();
    let content = change(fs::read(place.path(file)).unwrap());
    place.write(file, content);
    let words = [&[file], words].concat();
    place.check_fails(&["train", "recipe.toml"], &words);
    // A folder of a run would be in the way of the next attempt.
    assert!(!place.path("runs").exists());
}

#[test]
fn damaged_files_are_named_and_leave_no_run() {
    let cut = |mut content: Vec<u8>| {
        content.truncate(content.len() - 1);
        content
    };
    check_data(
        TRAIN_IMAGES,
        cut,
        &["truncated: expected 6160 bytes, found 6159"],
    );
    check_data(
        TRAIN_LABELS,
        cut,
        &["truncated: expected 104 bytes, found 103"],
    );
    check_data(TEST_IMAGES, |content| content[..7].to_vec(), &["truncated"]);
    check_data(TEST_IMAGES, |_| Vec::new(), &["truncated"]);
    check_data(
        TRAIN_IMAGES,
        |content| [content, vec![0]].concat(),
        &["trailing bytes"],
    );
    check_data(
        TRAIN_IMAGES,
        |_| idx(0x801, &[96], &[0; 96]),
        &["wrong magic number", "0x00000803", "0x00000801"],
    );
    check_data(
        TRAIN_LABELS,
        |_| b"<!DOCTYPE html>".to_vec(),
        &["wrong magic number", "0x00000801"],
    );
    check_data(
        TRAIN_IMAGES,
        |_| idx(0x803, &[0, 8, 8], &[]),
        &["holds no images"],
    );
    check_data(
        TRAIN_IMAGES,
        |_| idx(0x803, &[1, 8, 0], &[]),
        &["images of 8x0"],
    );
    check_data(
        TRAIN_IMAGES,
        |_| idx(0x803, &[u32::MAX as usize, 4096, 4096], &[1]),
        &["truncated"],
    );
}

#[test]
fn damaged_gzip_is_told_apart_from_damaged_content() {
    check_data(
        TRAIN_IMAGES,
        |content| gzip(&content)[..200].to_vec(),
        &["bad gzip: incomplete deflate stream\n"],
    );
    let flipped = |content: Vec<u8>| {
        let mut file = gzip(&content);
        let at = file.len() - 6;
        file[at] ^= 1;
        file
    };
    check_data(TRAIN_IMAGES, flipped, &["bad gzip"]);
    check_data(
        TRAIN_LABELS,
        |_| [&[0x1f, 0x8b], &[7; 40][..]].concat(),
        &["bad gzip"],
    );
    check_data(
        TRAIN_LABELS,
        |content| gzip(&content[..60]),
        &["truncated: expected 104 bytes, found 60"],
    );
}

#[test]
fn labels_and_images_must_belong_together() {
    let wrong = |mut content: Vec<u8>| {
        content[8 + 41] = 3;
        content
    };
    check_data(
        TRAIN_LABELS,
        wrong,
        &["label 3 of row 41 is out of range: expected 0 to 2"],
    );
    check_data(
        TRAIN_LABELS,
        |_| idx(0x801, &[95], &[0; 95]),
        &["96 images", "95 labels"],
    );
    let place = Place::with_identity();
    place.write(TEST_IMAGES, idx(0x803, &[30, 8, 7], &[0; 30 * 8 * 7]));
    place.check_fails(
        &["train", "recipe.toml"],
        &["training images are 8x8, but test images are 8x7"],
    );
    fs::remove_file(place.path(TRAIN_LABELS)).unwrap();
    place.check_fails(
        &["train", "recipe.toml"],
        &["data: expected one of train-labels-idx1-ubyte, "],
    );
    place.check_fails(&["data", "inspect", "./none"], &["none", "No such file"]);
}

#[test]
fn gzip_files_are_read_like_plain_ones() {
    let place = Place::with_identity();
    let plain = place.answer(&["train", "recipe.toml"]);
    for entry in fs::read_dir(place.path("data")).unwrap() {
        let path = entry.unwrap().path();
        let packed = gzip(&fs::read(&path).unwrap());
        fs::write(path.with_added_extension("gz"), packed).unwrap();
        fs::remove_file(path).unwrap();
    }
    let trained = place.answer(&["train", "recipe.toml"]);
    assert_eq!(trained["metrics"], plain["metrics"]);
}

#[test]
fn a_set_that_cannot_be_had_says_what_to_do() {
    let place = Place::with_identity();
    let mut command = place.command(&["train", "recipe.toml", "--set", "data.source=mnist"]);
    // No network behind this address.
    command
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1");
    let words = [
        "cannot download train-images",
        "set STRATA_DATA to a folder",
        "data.source = \"digits\"",
    ];
    place.check_command_fails(&mut command, &words);

    let own = place.path("own/mnist");
    fs::create_dir_all(&own).unwrap();
    for file in [
        "train-images-idx3",
        "train-labels-idx1",
        "t10k-images-idx3",
        "t10k-labels-idx1",
    ] {
        fs::write(own.join(format!("{file}-ubyte.gz")), gzip(b"not MNIST")).unwrap();
    }
    command.env("STRATA_DATA", place.path("own"));
    place.check_command_fails(
        &mut command,
        &["own/mnist/", "not the published file", "remove it"],
    );
    place.check_fails(
        &["data", "fetch", "digits"],
        &["`digits` is not downloaded", "`mnist`"],
    );
}

#[test]
fn a_model_is_measured_only_on_data_that_fits() {
    let place = Place::with_model();
    place.check_fails(&["eval", "tiny"], &["not on this machine", "--data SOURCE"]);
    place.check_fails(
        &["eval", "tiny", "--data", "nothing"],
        &["no data set is named `nothing`", "digits"],
    );
    place.check_fails(
        &["eval", "tiny", "--data", "digits"],
        &["`digits` has 10 classes, but the task has 3"],
    );
    let again = Ran::of(&mut place.command(&["eval", "tiny", "--data", "./data", "--json"])).json();
    assert_eq!(
        again["confusion"].as_array().map(Vec::len),
        Some(3),
        "{again}"
    );
    assert_ne!(again["metrics"], json!({}));
}

/// A folder of images, one folder a class, and a recipe for them without labels.
fn with_photos() -> Place {
    let place = Place::with_identity();
    for (class, name) in ["a-left", "b-middle", "c-right"].into_iter().enumerate() {
        fs::create_dir_all(place.path("photos").join(name)).unwrap();
        for row in 0..40 {
            let file = format!("photos/{name}/{row}.png");
            place.write(&file, png_of(class, row));
        }
    }
    let recipe = fs::read_to_string(place.path("recipe.toml")).unwrap();
    let recipe = recipe
        .replace(
            "\"./data\"",
            "\"./photos\"\naugmentation = [{ crop = { padding = 1 } }]",
        )
        .replace(", labels = [\"left\", \"middle\", \"right\"]", "");
    place.write("photos.toml", recipe);
    place
}

#[test]
fn a_folder_of_images_is_learned_and_its_folders_name_the_classes() {
    let place = with_photos();
    place.write("photos/a-left/cut.png", &png_of(0, 1)[..50]);
    let trained = place.answer(&["train", "photos.toml"]);
    assert!(
        trained["metrics"]["test.accuracy"].as_f64().unwrap() > 0.8,
        "{trained}"
    );
    let source = trained["data"].as_str().unwrap();
    assert!(source.contains("1 of 121 files left out"), "{source}");
    place.write("image.png", png_of(2, 50));
    let answer = place.answer(&["predict", "tiny", "image.png"]);
    assert!(answer.to_string().contains("c-right"), "{answer}");

    for number in 0..7 {
        place.write(&format!("photos/b-middle/cut{number}.png"), b"none");
    }
    place.check_fails(
        &["train", "photos.toml"],
        &["8 of 128 image files cannot be read", "more than one in 20"],
    );
    fs::create_dir(place.path("photos/d")).unwrap();
    place.check_fails(&["train", "photos.toml"], &["photos/d: no image files"]);
}

/// Puts 40 images of each class into a folder for it.
fn write_photos(place: &Place, folder: &str, classes: &[(usize, &str)]) {
    for (class, name) in classes {
        fs::create_dir_all(place.path(folder).join(name)).unwrap();
        for row in 0..40 {
            place.write(&format!("{folder}/{name}/{row}.png"), png_of(*class, row));
        }
    }
}

fn accuracy(place: &Place, args: &[&str]) -> f64 {
    let answer = place.answer(args);
    answer["metrics"]["test.accuracy"].as_f64().unwrap()
}

#[test]
fn classes_of_a_folder_are_known_by_their_names() {
    let place = with_photos();
    place.run(&["train", "photos.toml"]).success();
    // Only some of them.
    write_photos(&place, "two", &[(1, "b-middle"), (2, "c-right")]);
    let found = accuracy(&place, &["eval", "tiny", "--data", "./two"]);
    assert!(found > 0.8, "{found}");
    let retrain = ["level", "retrain", "tiny", "top", "--data", "./two"];
    let retrained = place.answer(&retrain);
    assert_eq!(retrained["version"], 2, "{retrained}");
    // One that is unknown.
    write_photos(&place, "more", &[(0, "a-left"), (2, "z-right")]);
    let lists =
        "`third` of tiny@1 has 3 (a-left, b-middle, c-right), the data has 2 (a-left, z-right)";
    let words = ["unknown classes: z-right", lists];
    place.check_fails(&["eval", "tiny@1", "--data", "./more"], &words);
    let retrain = ["level", "retrain", "tiny@1", "top", "--data", "./more"];
    place.check_fails(&retrain, &words);
    // All are unknown: only as many can be meant by their order.
    let others = [(0, "1"), (1, "2"), (2, "3")];
    write_photos(&place, "others", &others);
    let args = ["eval", "tiny@1", "--data", "./others"];
    assert!(accuracy(&place, &args) > 0.8);
    let ran = place.run(&args).success();
    assert!(ran.err.contains("taken in their order"), "{ran:?}");
    write_photos(&place, "fewer", &others[..2]);
    place.check_fails(
        &["eval", "tiny@1", "--data", "./fewer"],
        &["which classes are which cannot be told"],
    );
}

#[test]
fn labels_of_a_recipe_in_another_order_are_those_of_the_folders() {
    let place = with_photos();
    let labels = "tasks[0].classification.labels=[\"c-right\", \"a-left\", \"b-middle\"]";
    let args = ["train", "photos.toml", "--set", labels];
    let found = accuracy(&place, &args);
    assert!(found > 0.8, "{found}");
    place.write("image.png", png_of(2, 50));
    let answer = place.answer(&["predict", "tiny", "image.png"]);
    let prediction = &answer["predictions"][0];
    assert_eq!(
        (&prediction["class"], &prediction["label"]),
        (&json!(0), &json!("c-right"))
    );
    let again = accuracy(&place, &["eval", "tiny", "--data", "./photos"]);
    assert_eq!(again, found);
    // One that is unknown has another name in the recipe, unless a known one is elsewhere.
    let label = |labels: &str| format!("tasks[0].classification.labels={labels}");
    let labels = label("[\"left\", \"b-middle\", \"right\"]");
    place
        .run(&["train", "photos.toml", "--set", &labels])
        .success();
    let labels = label("[\"b-middle\", \"left\", \"right\"]");
    place.check_fails(
        &["train", "photos.toml", "--set", &labels],
        &["task `third`: unknown classes: a-left, c-right: its labels are b-middle, left, right"],
    );
}

#[test]
fn groups_of_classes_that_the_data_does_not_have_are_refused() {
    let place = Place::with_identity();
    let groups = "tasks[0].classification.groups=[[0], [1], [77]]";
    place.check_fails(
        &["train", "recipe.toml", "--set", groups],
        &["task `third`, groups: the data has 3 classes, counted from 0, found 77"],
    );
}

#[test]
fn inspection_names_repeated_and_unreadable_images() {
    let place = with_photos();
    place.write("photos/c-right/again.png", png_of(0, 3));
    place.write("photos/c-right/cut.png", &png_of(0, 1)[..50]);
    let of_folder = place.answer(&["data", "inspect", "./photos"]);
    assert_eq!(of_folder["train"]["class_counts"], json!([40, 40, 41]));
    assert_eq!(
        of_folder["labels"],
        json!(["a-left", "b-middle", "c-right"])
    );
    let duplicates = &of_folder["duplicates"];
    assert_eq!(duplicates["within"], json!({ "train": 1 }));
    assert_eq!(
        duplicates["examples"],
        json!([["a-left/3.png", "c-right/again.png"]])
    );
    assert_eq!(duplicates["with_other_labels"], 1);
    assert!(
        of_folder["unreadable"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("c-right/cut.png")
    );

    let of_recipe = place.answer(&["data", "inspect", "photos.toml"]);
    assert_eq!(of_recipe["sources"][0]["duplicates"], *duplicates);
    let text = place.run(&["data", "inspect", "photos.toml"]).success().out;
    for words in [
        "a-left",
        "41 train",
        "c-right/again.png is a-left/3.png",
        "cut.png: broken image",
    ] {
        assert!(text.contains(words), "{text}");
    }
}
