//! Weights of other programs come in, answer, and go out again.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::place::{Place, snapshot};

/// The test data, if it is there.
fn data() -> Option<PathBuf> {
    let data = std::env::var_os("STRATA_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: STRATA_DATA is not set");
    }
    data
}

fn recipe(preparation: &str, classes: usize, network: &str) -> String {
    format!(
        "format = 1\nname = \"foreign\"\n[data]\nsource = \"digits\"\n[preparation.image]\nchannels = 3\n{preparation}\n\
         [[tasks]]\nname = \"object\"\nclassification = {{ classes = {classes} }}\n{network}\n[train]\nepochs = 1\n"
    )
}

const IMAGENET: &str = "height = 224\nwidth = 224\ncrop = \"centre\"\nresize = 256\n\
                        mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]";

/// The 1,000 images of CIFAR-10's test part, as PNG files, and their classes.
fn cifar(place: &Place, archive: &Path) -> (Vec<String>, Vec<u64>) {
    let archive = flate2::read::GzDecoder::new(fs::File::open(archive).unwrap());
    let mut archive = tar::Archive::new(archive);
    let mut rows = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("test_batch.bin") {
            entry.read_to_end(&mut rows).unwrap();
        }
    }
    let (mut files, mut classes) = (Vec::new(), Vec::new());
    for (index, row) in rows.chunks_exact(3073).enumerate() {
        let planes = &row[1..];
        let pixels: Vec<u8> = (0..1024)
            .flat_map(|at| [0, 1, 2].map(|channel| planes[channel * 1024 + at]))
            .collect();
        let name = format!("{index}.png");
        let color = image::ExtendedColorType::Rgb8;
        image::save_buffer(place.path(&name), &pixels, 32, 32, color).unwrap();
        files.push(name);
        classes.push(u64::from(row[0]));
    }
    (files, classes)
}

fn classes_of(answer: &Value) -> Vec<u64> {
    let predictions = answer["predictions"].as_array().unwrap();
    let class = |prediction: &Value| prediction["class"].as_u64().unwrap();
    predictions.iter().map(class).collect()
}

#[test]
fn the_published_residual_networks_reach_their_accuracy() {
    let Some(data) = data() else {
        return;
    };
    let place = Place::with_identity();
    let (files, classes) = cifar(&place, &data.join("cifar10/cifar-10-binary.tar.gz"));
    assert_eq!(files.len(), 1000);
    let preparation =
        "height = 32\nwidth = 32\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]";
    for (depth, pytorch, safetensors, right) in [
        (20, "resnet20-12fca82f.th", "resnet20.safetensors", 915),
        (56, "resnet56-4bfd9763.th", "resnet56.safetensors", 926),
    ] {
        let network = format!("[network.resnet]\ndepth = {depth}");
        place.write("foreign.toml", recipe(preparation, 10, &network));
        let folder = data.join("models/cifar10-resnet");
        for file in [pytorch, safetensors] {
            let file = folder.join(file);
            let name = format!("resnet{depth}");
            let args = [
                "import",
                "foreign.toml",
                file.to_str().unwrap(),
                "--name",
                &name,
            ];
            let imported = place.answer(&args);
            assert_eq!(imported["unused"], serde_json::json!([]));
        }
        let name = format!("resnet{depth}");
        let mut args = vec!["predict", &name];
        args.extend(files.iter().map(String::as_str));
        let found = classes_of(&place.answer(&args));
        let count = found.iter().zip(&classes).filter(|(a, b)| a == b).count();
        assert_eq!(count, right, "ResNet-{depth}");
        // Both files have the same weights, so the second version stored no further ones.
        let show = |version: u64| place.answer(&["models", "show", &format!("{name}@{version}")]);
        assert_eq!(
            show(1)["manifest"]["levels"][1]["blob"],
            show(2)["manifest"]["levels"][1]["blob"]
        );
    }
}

/// `tests/references/squeezenet.py`.
#[test]
fn the_published_squeezenet_names_what_is_on_photographs() {
    let Some(data) = data() else {
        return;
    };
    let place = Place::with_identity();
    let preparation = "height = 227\nwidth = 227\ncrop = \"centre\"\nresize = 256\n\
                       order = \"bgr\"\nscale = 255\nmean = [104, 117, 123]";
    let network = "[network.squeezenet]\nversion = \"1.0\"\nclassifier_padding = 1";
    place.write("foreign.toml", recipe(preparation, 1000, network));
    let file = data.join("models/squeezenet-v1.0/squeezenet1_0_dc.safetensors");
    place
        .run(&["import", "foreign.toml", file.to_str().unwrap()])
        .success();
    let index = fs::read(data.join("images/imagenet_class_index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    for (photograph, name, probability) in [
        ("cat_720p", "tiger_cat", 0.49),
        ("hot_dog", "hotdog", 0.9725),
        ("owl", "ruffed_grouse", 0.8135),
        ("parrot", "macaw", 0.9224),
        ("zebra", "zebra", 0.9998),
    ] {
        let file = data.join(format!("images/{photograph}.jpg"));
        let answer = place.answer(&["predict", "foreign", file.to_str().unwrap()]);
        let class = classes_of(&answer)[0];
        assert_eq!(index[class.to_string()][1], name, "{photograph}");
        // JPEG decoders differ by a level here and there.
        let found = &answer["predictions"][0]["probabilities"][class as usize];
        let found = found.as_f64().unwrap();
        assert!((found - probability).abs() < 0.03, "{photograph}: {found}");
    }
}

#[test]
fn weights_come_from_and_go_to_torchvision() {
    let Ok(python) = std::env::var("STRATA_PEERS_PYTHON") else {
        println!("skipped: STRATA_PEERS_PYTHON names no Python with torchvision");
        return;
    };
    let script = "tests/references/torchvision_weights.py";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    for (name, network) in [
        ("resnet18", "[network.resnet]\ndepth = 18"),
        ("squeezenet1_1", "[network.squeezenet]"),
        ("googlenet", "[network.googlenet]"),
    ] {
        let place = Place::with_identity();
        place.write("foreign.toml", recipe(IMAGENET, 1000, network));
        let torch = |args: &[&str]| {
            let mut command = Command::new(&python);
            let ran = command.arg(&script).args(args).current_dir(place.path("."));
            let ran = ran.output().unwrap();
            assert!(
                ran.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&ran.stderr)
            );
            String::from_utf8(ran.stdout).unwrap()
        };
        torch(&["write", name, "from.pth"]);
        place.run(&["import", "foreign.toml", "from.pth"]).success();
        place
            .run(&["export", "foreign", "to.safetensors"])
            .success();
        assert_eq!(
            torch(&["check", name, "from.pth", "to.safetensors"]),
            "equal\n"
        );
    }
}

#[test]
fn exported_weights_come_back_as_they_were() {
    let place = Place::with_model();
    place.run(&["export", "tiny", "tiny.safetensors"]).success();
    let args = [
        "import",
        "recipe.toml",
        "tiny.safetensors",
        "--name",
        "again",
    ];
    assert_eq!(place.answer(&args)["version"], 1);
    let predict = |model: &str| place.answer(&["predict", model, "image.png"]);
    assert_eq!(
        predict("tiny")["predictions"],
        predict("again")["predictions"]
    );
    let manifest = &place.answer(&["models", "show", "again"])["manifest"];
    assert_eq!(manifest["lineage"]["weights"]["name"], "tiny.safetensors");
    // What is there is not written over.
    place.check_fails(
        &["export", "tiny", "tiny.safetensors"],
        &["tiny.safetensors", "exists"],
    );
}

#[test]
fn weights_that_do_not_fit_leave_no_version() {
    let place = Place::with_model();
    place.run(&["export", "tiny", "tiny.safetensors"]).success();
    let wider = "levels[0].layers[1].dense.units=17";
    let args = ["import", "recipe.toml", "tiny.safetensors", "--set", wider];
    let words = [
        "tiny.safetensors does not fit the network",
        "of another shape: 3",
        "`hidden.layers.1.weight`: expected [17, 64], found [16, 64]",
    ];
    place.check_fails(&args, &words);
    // A head may begin afresh, a body may not.
    place.check_fails(
        &[&args[..], &["--fresh-heads"]].concat(),
        &["of another shape: 2"],
    );
    let text = fs::read_to_string(place.path("recipe.toml")).unwrap();
    let other = text.replace(
        "classes = 3, labels = [\"left\", \"middle\", \"right\"]",
        "classes = 5",
    );
    place.write("other.toml", other.replace("units = 3 ", "units = 5 "));
    let ran = place.run(&["import", "other.toml", "tiny.safetensors", "--fresh-heads"]);
    let ran = ran.success();
    assert!(
        ran.err.contains("the head of level `top` begins afresh"),
        "{ran:?}"
    );
    assert!(
        ran.err
            .contains("2 tensors of the file have no place in the network"),
        "{ran:?}"
    );

    // A file that has more is another network's, unless the user knows better.
    let head = "head = { task = \"third\", layers = [{ dense = { units = 3 } }] }";
    let deeper = text.replace(
        head,
        &format!("{head}\n\n[[levels]]\nname = \"last\"\n{head}"),
    );
    place.write("deeper.toml", deeper);
    let train = ["train", "deeper.toml", "--set", "name=deeper", "--set"];
    place
        .run(&[&train[..], &["train.strategy=deep-supervision"]].concat())
        .success();
    place
        .run(&["export", "deeper", "deeper.safetensors"])
        .success();
    let args = ["import", "recipe.toml", "deeper.safetensors"];
    let words = [
        "deeper.safetensors does not fit the network",
        "extra: 2",
        "`last.head.0.bias`: found [3]",
        "--ignore-extra",
    ];
    place.check_fails(&args, &words);
    let imported = place.answer(&[&args[..], &["--ignore-extra"]].concat());
    assert_eq!(imported["unused"].as_array().unwrap().len(), 2);

    place.write("cut.pth", b"PK\x03\x04");
    place.check_fails(&["import", "recipe.toml", "cut.pth"], &["cut.pth: "]);
    place.check_fails(
        &["import", "recipe.toml", "none.pth"],
        &["cannot read none.pth"],
    );
    let before = snapshot(&place.store());
    place
        .run(&["import", "none.toml", "tiny.safetensors"])
        .failure(&["none.toml"]);
    assert!(before == snapshot(&place.store()));
}
