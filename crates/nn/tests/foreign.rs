//! Weights of other programs. The files of `tests/files` were written by `tests/references/foreign.py`.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use strata_nn::foreign::{GivenWeights, Target, read_weights, write_weights};
use strata_spec::{Head, Layer, Level};
use tempfile::TempDir;

const INPUT: [usize; 3] = [1, 2, 2];

/// The network of the files, with a head for `classes`.
fn levels(classes: usize) -> Vec<Level> {
    let layer = |json: &str| -> Layer { serde_json::from_str(json).unwrap() };
    vec![
        Level {
            name: "body".parse().unwrap(),
            layers: vec![
                layer(r#"{ "conv": { "channels": 2, "kernel": 2 } }"#),
                layer(r#""batch-norm""#),
                Layer::Flatten,
            ],
            head: None,
        },
        Level {
            name: "top".parse().unwrap(),
            layers: Vec::new(),
            head: Some(Head {
                task: "task".parse().unwrap(),
                layers: vec![layer(&format!(
                    r#"{{ "dense": {{ "units": {classes} }} }}"#
                ))],
                mirrored: false,
            }),
        },
    ]
}

fn target(levels: &[Level]) -> Target<'_> {
    Target {
        input: &INPUT,
        levels,
        network: None,
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

/// What reading gives, or what it says after the file's name.
fn read(path: &Path) -> Result<GivenWeights, String> {
    read_weights(path, target(&levels(3)), None).map_err(|error| {
        error
            .to_string()
            .replace(&path.display().to_string(), "FILE")
    })
}

fn read_bytes(bytes: &[u8]) -> Result<GivenWeights, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, bytes).unwrap();
    read(&path)
}

#[track_caller]
fn check_refused(bytes: &[u8], expected: &str) {
    let error = read_bytes(bytes).unwrap_err();
    assert!(error.contains(expected), "`{expected}` is not in: {error}");
    assert!(error.len() < 6000, "{} bytes: {error:.100}", error.len());
}

#[test]
fn every_form_of_file_gives_the_same_weights() {
    let names = [
        "zip.pt",
        "legacy.pt",
        "bf16.pt",
        "checkpoint.pt",
        "checkpoint-legacy.pt",
    ];
    for name in names {
        let given = read(&file(name)).unwrap();
        let [body, top] = &given.levels[..] else {
            panic!("two levels");
        };
        let value = |level: &strata_nn::LevelWeights, name: &str| {
            let tensor = level.iter().find(|(found, _)| *found == name);
            tensor.unwrap().1.values.clone()
        };
        assert_eq!(
            value(body, "layers.0.weight"),
            [-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0],
            "{name}"
        );
        assert_eq!(value(body, "layers.1.running_var"), [0.75, 1.0]);
        // A view in other memory order.
        assert_eq!(
            value(top, "head.0.weight"),
            [-0.5, 0.25, -0.25, 0.5, 0.0, 0.75]
        );
        assert!(given.unused.is_empty() && given.fresh_heads.is_empty());

        let bytes = write_weights(target(&levels(3)), &given.levels);
        let again = read_bytes(&bytes).unwrap();
        assert_eq!(again.levels, given.levels);
    }
}

#[test]
fn what_does_not_fit_is_listed() {
    let error = read_weights(&file("zip.pt"), target(&levels(4)), None).unwrap_err();
    let expected = "does not fit the network
  of another shape: 2
    `top.head.0.weight`: expected [4, 2], found [3, 2]
    `top.head.0.bias`: expected [4], found [3]";
    assert!(error.to_string().ends_with(expected), "{error}");

    let mut other = levels(3);
    other[0].name = "stem".parse().unwrap();
    let error = read_weights(&file("checkpoint.pt"), target(&other), None).unwrap_err();
    let expected = "does not fit the network
  missing: 6
    `state_dict.module.stem.layers.0.weight`: expected [2, 1, 2, 2]
    `state_dict.module.stem.layers.0.bias`: expected [2]
    `state_dict.module.stem.layers.1.weight`: expected [2]
    `state_dict.module.stem.layers.1.bias`: expected [2]
    `state_dict.module.stem.layers.1.running_mean`: expected [2]
    `state_dict.module.stem.layers.1.running_var`: expected [2]
  extra: 6
    `state_dict.module.body.layers.0.bias`: found [2]
    `state_dict.module.body.layers.0.weight`: found [2, 1, 2, 2]
    `state_dict.module.body.layers.1.bias`: found [2]
    `state_dict.module.body.layers.1.running_mean`: found [2]
    `state_dict.module.body.layers.1.running_var`: found [2]
    `state_dict.module.body.layers.1.weight`: found [2]";
    assert!(error.to_string().ends_with(expected), "{error}");

    let error = read(&file("f64.pt")).unwrap_err();
    let expected = "of another type: 8
    `body.layers.0.weight`: expected F32, F16 or BF16, found F64";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_a_network_has_no_use_for_is_told_apart_from_what_it_leaves_out() {
    let good = read(&file("zip.pt")).unwrap();
    let mut top_only = levels(3).swap_remove(1);
    top_only.layers.push(Layer::Flatten);
    let given = read_weights(
        &file("zip.pt"),
        Target {
            levels: &[top_only],
            input: &[2],
            network: None,
        },
        None,
    );
    let given = given.unwrap();
    assert_eq!(given.levels[0], good.levels[1]);
    assert_eq!((given.unused.len(), given.extra.len()), (6, 6));
}

#[test]
fn lists_and_keys_have_an_end() {
    let many: Vec<String> = (0..1000)
        .map(|i| format!("{}{i}", "\\n".repeat(1000)))
        .collect();
    let tensors = many
        .iter()
        .map(|key| format!(r#""{key}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#));
    let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
    check_refused(&safetensors(&header, 0), "and 992 more");
}

#[test]
fn a_head_for_other_classes_begins_afresh_if_that_is_asked_for() {
    let given = read_weights(&file("zip.pt"), target(&levels(4)), Some(5)).unwrap();
    assert_eq!(given.fresh_heads, ["top".parse().unwrap()]);
    assert_eq!(given.levels[0], read(&file("zip.pt")).unwrap().levels[0]);
    let fresh = strata_nn::Network::new(&INPUT, &levels(4), 5, strata_spec::Precision::F32);
    assert_eq!(given.levels[1], fresh.weights()[1]);
    let keys: Vec<&str> = given.unused.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["top.head.0.bias", "top.head.0.weight"]);
    assert!(given.extra.is_empty(), "there is a reason: {given:?}");
    // One that fits is taken.
    let given = read_weights(&file("zip.pt"), target(&levels(3)), Some(5)).unwrap();
    assert!(given.fresh_heads.is_empty());
    // A body never begins afresh.
    let mut wider = levels(3);
    wider[0].layers[0] =
        serde_json::from_str(r#"{ "conv": { "channels": 3, "kernel": 2 } }"#).unwrap();
    assert!(read_weights(&file("zip.pt"), target(&wider), Some(5)).is_err());
}

#[test]
fn values_that_are_no_weights_are_refused() {
    let good = read(&file("zip.pt")).unwrap();
    let bytes = write_weights(target(&levels(3)), &good.levels);
    let set = |value: f32| {
        // The last but one number of the file is `top.head.0.weight`'s; which one it is does not matter.
        let mut bytes = bytes.clone();
        let end = bytes.len();
        bytes[end - 8..end - 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    assert!(read_bytes(&set(1e30)).is_ok());
    check_refused(
        &set(f32::NAN),
        "FILE: tensor `top.head.0.weight` holds a value that is not finite",
    );
    check_refused(&set(f32::INFINITY), "not finite");
    let variance = bytes
        .windows(8)
        .rposition(|at| at == [0.75_f32.to_le_bytes(), 1f32.to_le_bytes()].as_flattened());
    let mut negative = bytes.clone();
    negative[variance.unwrap() + 3] |= 0x80;
    check_refused(
        &negative,
        "FILE: tensor `body.layers.1.running_var` holds a negative variance",
    );
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn hostile_safetensors_are_refused() {
    let mut long = safetensors("{}", 0);
    long[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    check_refused(
        &long,
        "not a safetensors file: a header of 1152921504606846976 bytes, expected at most 16777216",
    );
    long[..8].copy_from_slice(&100_u64.to_le_bytes());
    check_refused(
        &long,
        "not a safetensors file: its header ends at byte 108, the file at 10",
    );
    let header = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    check_refused(
        &safetensors(&header("[1]", 0, 4), 3),
        "its tensors end at byte",
    );
    check_refused(
        &safetensors(&header("[1]", 0, 4), 5),
        "its tensors end at byte",
    );
    check_refused(
        &safetensors(&header("[2]", 0, 4), 4),
        "not a safetensors file",
    );
    check_refused(
        &safetensors(&header("[1]", 4, 8), 8),
        "not a safetensors file",
    );
    check_refused(
        &safetensors(&header("[4611686018427387904, 4]", 0, 4), 4),
        "not a safetensors file",
    );
    check_refused(
        &safetensors(&header("[1]", 8, 4), 4),
        "not a safetensors file",
    );
    check_refused(
        &safetensors(&header("[268435456000]", 0, 1_073_741_824_000), 4),
        "its tensors end at byte",
    );
    check_refused(
        &safetensors(&"[".repeat(100_000), 0),
        "neither a safetensors file",
    );
    check_refused(
        &safetensors(&format!("{{\"a\":{}", "[".repeat(100_000)), 0),
        "not a safetensors file",
    );
    check_refused(&safetensors("{}", 0), "missing: 8");
}

/// A legacy file with this in the place of the weights' pickle.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let real = fs::read(file("legacy.pt")).unwrap();
    // Magic number, version, and what the machine was like, which is a dictionary of dictionaries.
    let end = real.windows(2).position(|at| at == b"u.").unwrap() + 2;
    [&real[..end], pickle, b"\x80\x02]."].concat()
}

/// A ZIP archive with this as its pickle.
fn zip(pickle: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("archive/data.pkl", options).unwrap();
    archive.write_all(pickle).unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn hostile_pickles_are_refused_and_run_nothing() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let command = format!("touch {}", trace.display());
    let call = [
        b"\x80\x02cos\nsystem\nX",
        &(command.len() as u32).to_le_bytes()[..],
        command.as_bytes(),
        b"\x85R.",
    ]
    .concat();
    let nested = [
        b"\x80\x02".as_slice(),
        &b"]".repeat(300_000),
        &b"a".repeat(299_999),
        b".",
    ]
    .concat();
    // A list that doubles each time it is fetched: 2^60 items.
    let mut bomb = b"\x80\x02]q\x00".to_vec();
    for memo in 0..60_u8 {
        bomb.extend([b']', b'q', memo + 1, b'(', b'h', memo, b'h', memo, b'e']);
    }
    bomb.push(b'.');
    for (pickle, words) in [
        (call.as_slice(), ""),
        (&nested, ""),
        (&bomb, ""),
        (b"\x80\x02", ""),
        (b".", ""),
        (b"\x80\x02}.", "missing: 8"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", ""),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", ""),
    ] {
        check_refused(&legacy(pickle), words);
        check_refused(&zip(pickle), words);
    }
    assert!(!trace.exists());
    // Each byte would become a value of some hundred bytes.
    let long = vec![b'N'; 50 << 20];
    check_refused(
        &zip(&long),
        "its pickle has 52428800 bytes, expected at most 4194304",
    );
    check_refused(
        &legacy(&long),
        "its pickle has more steps, expected at most 4194304",
    );
}

#[test]
fn what_is_no_file_of_weights_is_refused() {
    for bytes in [&b""[..], b"PK", b"hello, world", &[0; 600]] {
        assert!(read_bytes(bytes).is_err());
    }
    check_refused(
        b"hello, world",
        "FILE: neither a safetensors file nor one that PyTorch wrote",
    );
    let folder = TempDir::new().unwrap();
    assert_eq!(read(folder.path()).unwrap_err(), "FILE: not a file");
    let error = read(&folder.path().join("none")).unwrap_err();
    assert!(error.starts_with("cannot read FILE: "), "{error}");
}

/// A whole file of each kind.
fn whole() -> Vec<Vec<u8>> {
    let pytorch =
        ["zip.pt", "legacy.pt", "checkpoint.pt"].map(|name| fs::read(file(name)).unwrap());
    let given = read(&file("zip.pt")).unwrap();
    let safetensors = write_weights(target(&levels(3)), &given.levels);
    pytorch.into_iter().chain([safetensors]).collect()
}

#[test]
fn files_that_are_cut_short_are_refused() {
    for bytes in whole() {
        for end in (0..bytes.len()).step_by(7) {
            assert!(
                read_bytes(&bytes[..end]).is_err(),
                "{end} of {}",
                bytes.len()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever a damaged file says, it is refused with a short text, or gives weights that are some.
    #[test]
    fn damaged_files_never_do_harm(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = whole().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match read_bytes(&bytes) {
            Ok(given) => prop_assert!(given.levels.iter().all(strata_nn::LevelWeights::is_finite)),
            Err(error) => prop_assert!(error.len() < 6000, "{error:.200}"),
        }
    }
}
