//! Questions that have no answer.

use std::fs;

use serde_json::json;

use crate::{images::row, place::Place};

/// Asks with this on the standard input and expects an error that says all of `words`.
fn check_input(place: &Place, input: &[u8], words: &[&str]) {
    let ran = place.run_with_input(&["predict", "tiny", "-"], input);
    ran.failure(words);
}

/// The PNG file of a picture of this size that ends after its header.
fn huge_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(header);
    file.extend(sum.sum().to_be_bytes());
    file.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    file
}

#[test]
fn rows_that_are_not_rows_are_refused() {
    let place = Place::with_model();
    let expected = "expected a JSON list of rows of numbers";
    check_input(&place, b"", &[expected]);
    check_input(&place, b"digit", &[expected]);
    check_input(&place, b"[[1, 2", &[expected]);
    check_input(
        &place,
        b"{\"inputs\": []}",
        &[expected, "neither rows of numbers nor one row"],
    );
    check_input(&place, b"[\"one\"]", &[expected]);
    check_input(&place, b"\xff\xfe", &["cannot read the standard input"]);
    check_input(&place, &[b'['; 100_000], &[expected]);
    let mut with = row(0)
        .into_iter()
        .map(|value| value.to_string())
        .collect::<Vec<_>>();
    for (value, words) in [
        ("NaN", [expected].as_slice()),
        ("null", &[expected]),
        ("1e999", &[expected]),
        ("-Infinity", &[expected]),
        ("1e39", &["row 0: expected finite numbers"]),
    ] {
        with[5] = value.to_owned();
        check_input(&place, format!("[[{}]]", with.join(",")).as_bytes(), words);
    }
    check_input(&place, b"[[]]", &["row 0: expected 64 numbers, found 0"]);
    check_input(
        &place,
        b"[1, 2, 3]",
        &["row 0: expected 64 numbers, found 3"],
    );
    let rows = json!([row(0), &row(1)[1..]]).to_string();
    check_input(
        &place,
        rows.as_bytes(),
        &["row 1: expected 64 numbers, found 63"],
    );
}

#[test]
fn files_that_are_not_images_are_refused() {
    let place = Place::with_model();
    let image = fs::read(place.path("image.png")).unwrap();
    place.write("text.png", "no image");
    place.write("empty.png", "");
    place.write("cut.png", &image[..image.len() / 2]);
    place.write("huge.png", huge_png(100_000, 100_000));
    for (file, words) in [
        ("text.png", "not an image: expected a PNG or JPEG file"),
        ("empty.png", "not an image"),
        ("cut.png", "broken image"),
        ("huge.png", "image too large: 100000x100000 pixels"),
        ("none.png", "No such file"),
        ("data", "data"),
    ] {
        place.check_fails(&["predict", "tiny", file], &[file, words]);
        place.check_fails(&["explain", "tiny", file], &[file, words]);
    }
    // One that is wrong and one that is right: no half of an answer.
    place.check_fails(&["predict", "tiny", "image.png", "text.png"], &["text.png"]);
}

#[test]
fn explanations_that_make_no_sense_are_refused() {
    let place = Place::with_model();
    let fails = |options: &[&str], words: &[&str]| {
        place.check_fails(
            &[&["explain", "tiny", "image.png"], options].concat(),
            words,
        );
    };
    fails(&["--steps", "0"], &["steps: expected 1 to 500, found 0"]);
    fails(
        &["--steps", "501"],
        &["steps: expected 1 to 500, found 501"],
    );
    fails(
        &["--target", "up"],
        &["--target: expected a label or a class below 3, found `up`"],
    );
    fails(
        &["--target", "3"],
        &["--target: expected a label or a class below 3, found `3`"],
    );
    fails(
        &["--output", "none/why.png"],
        &["cannot write none/why.png"],
    );
    fails(&["--output", "data"], &["cannot write data"]);
}
