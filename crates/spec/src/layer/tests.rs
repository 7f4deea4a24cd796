use crate::{Layer, MaxPool, Recipe};

const MNIST: &str = include_str!("../../../../recipes/mnist-cnn.toml");

/// The shipped recipe with `layers` in its first level.
fn parse(layers: &str) -> Result<Recipe, String> {
    let setting = format!("levels[0].layers={layers}");
    Recipe::parse(MNIST, "r.toml", &[setting]).map_err(|error| error.to_string())
}

/// Expects the recipe with `layers` in its first level to be refused.
fn check_error(layers: &str, field: &str, problem: &str) {
    let error = parse(layers).unwrap_err();
    let expected = format!("--set levels[0].layers={layers}: levels[0].layers{field}: {problem}");
    assert_eq!(error, expected);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (layer, field, problem) in [
        (
            "{ conv = { channels = 4 } }",
            "[0].conv",
            "missing field `kernel`",
        ),
        (
            "{ conv = { channels = 0, kernel = 3 } }",
            "[0].conv.channels",
            "expected 1 to 65536, found 0",
        ),
        (
            "{ conv = { channels = 4, kernel = [3, 256] } }",
            "[0].conv.kernel",
            "expected 1 to 255, found 256",
        ),
        (
            "{ conv = { channels = 4, kernel = [3] } }",
            "[0].conv.kernel",
            "invalid length 1, expected a number, or [height, width]",
        ),
        (
            "{ conv = { channels = 4, kernel = 3, stride = -1 } }",
            "[0].conv.stride",
            "invalid value: integer `-1`, expected a number, or [height, width]",
        ),
        (
            "{ conv = { channels = 4, kernel = 3, strides = 2 } }",
            "[0].conv.strides",
            "unknown field; did you mean `stride`?",
        ),
        (
            "{ conv = { channels = 4, kernel = 3, groups = 3 } }",
            "[0].conv.groups",
            "expected a divisor of the 4 channels, found 3",
        ),
        (
            "{ batch-norm = { momentum = 0 } }",
            "[0].batch-norm.momentum",
            "expected more than 0 and at most 1, found 0",
        ),
        (
            "{ batch-norm = { epsilon = 0.0 } }",
            "[0].batch-norm.epsilon",
            "expected a number from 1e-12 to 1, found 0",
        ),
        (
            "{ max-pool = { kernel = 2, stride = 0 } }",
            "[0].max-pool.stride",
            "expected 1 to 255, found 0",
        ),
        (
            "{ adaptive-average-pool = { height = 2, width = 5000 } }",
            "[0].adaptive-average-pool.width",
            "expected 1 to 4096, found 5000",
        ),
        (
            "{ dropout = { rate = 1 } }",
            "[0].dropout.rate",
            "expected a number from 0 to 0.99, found 1",
        ),
        (
            "{ subsample = { stride = [2, 0], channels = 4 } }",
            "[0].subsample.stride",
            "expected 1 to 255, found 0",
        ),
        (
            "{ residual = { layers = [] } }",
            "[0].residual.layers",
            "expected at least one layer",
        ),
        (
            "{ branches = { branches = [] } }",
            "[0].branches.branches",
            "expected 1 to 64 branches, found 0",
        ),
        (
            "\"bach-norm\"",
            "[0]",
            "unknown word `bach-norm`; did you mean `batch-norm`?",
        ),
        (
            "{ residual = { layers = [{ conv = { channels = 0, kernel = 1 } }] } }",
            "[0].residual.layers[0].conv.channels",
            "expected 1 to 65536, found 0",
        ),
    ] {
        check_error(&format!("[{layer}]"), field, problem);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let below = "but what comes from below has shape";
    for (layers, field, problem) in [
        (
            "[\"flatten\", { conv = { channels = 4, kernel = 3 } }]",
            "[1]",
            format!("conv takes maps of [channels, height, width], {below} [784]"),
        ),
        (
            "[{ conv = { channels = 4, kernel = 29 } }]",
            "[0]",
            format!("conv has a kernel that is larger than the padded map, {below} [1, 28, 28]"),
        ),
        (
            "[{ conv = { channels = 4, kernel = 1, groups = 2 } }]",
            "[0]",
            format!("conv has 2 groups, which must divide the channels, {below} [1, 28, 28]"),
        ),
        (
            "[{ max-pool = { kernel = 2, padding = 2 } }]",
            "[0]",
            format!(
                "max-pool would have a window that sees nothing but padding, {below} [1, 28, 28]"
            ),
        ),
        (
            "[{ subsample = { stride = 2, channels = 4 } }]",
            "[0]",
            format!(
                "subsample gives 4 channels, which must be more than those that go in by an even number, {below} [1, 28, 28]"
            ),
        ),
        (
            "[\"layer-norm\"]",
            "[0]",
            format!(
                "layer-norm takes rows of one dimension (put `flatten` before it), {below} [1, 28, 28]"
            ),
        ),
        (
            "[{ residual = { layers = [{ conv = { channels = 4, kernel = 1 } }] } }]",
            "[0]",
            format!(
                "residual adds rows of shape [4, 28, 28] and, from its shortcut, of shape [1, 28, 28], {below} [1, 28, 28]"
            ),
        ),
        (
            "[{ residual = { layers = [\"relu\", { dense = { units = 4 } }] } }]",
            "[0].residual.layers[1]",
            format!(
                "dense takes rows of one dimension (put `flatten` before it), {below} [1, 28, 28]"
            ),
        ),
        (
            "[{ branches = { branches = [[], [{ max-pool = { kernel = 2 } }]] } }]",
            "[0]",
            format!(
                "branches puts channels together, but its branches give rows of [[1, 28, 28], [1, 14, 14]], {below} [1, 28, 28]"
            ),
        ),
        (
            "[{ conv = { channels = 65536, kernel = 1 } }, { adaptive-average-pool = { height = 4096, width = 4096 } }]",
            "[1]",
            format!(
                "adaptive-average-pool gives rows of more than 268435456 numbers ([65536, 4096, 4096]), {below} [65536, 28, 28]"
            ),
        ),
    ] {
        check_error(layers, field, &format!("level `strokes`: {problem}"));
    }
}

#[test]
fn a_last_window_may_reach_over_the_edge() {
    // Sizes of PyTorch 2.15: MaxPool2d(kernel, stride, padding, ceil_mode=True).
    for (size, kernel, stride, padding, expected) in [
        (28, 3, 2, 0, 14),
        (29, 3, 2, 0, 14),
        (2, 3, 2, 0, 1),
        (4, 2, 3, 0, 2),
        (2, 1, 3, 0, 1),
        (5, 3, 3, 1, 2),
        (7, 2, 2, 1, 4),
    ] {
        let pool = Layer::MaxPool(MaxPool {
            stride: Some(stride.into()),
            padding: padding.into(),
            ceil: true,
            ..MaxPool::square(kernel)
        });
        let found = pool.output_shape(&[5, size, size]).unwrap();
        assert_eq!(
            found,
            [5, expected, expected],
            "{size} {kernel} {stride} {padding}"
        );
    }
}

#[test]
fn layers_stand_in_layers_to_a_bounded_depth() {
    let nested = |depth: usize| {
        let open = "{ residual = { layers = [".repeat(depth);
        format!("[{open}\"relu\"{}]", "] } }".repeat(depth))
    };
    assert!(parse(&nested(8)).is_ok());
    assert!(
        parse(&nested(9))
            .unwrap_err()
            .ends_with("layers may stand in layers 8 deep")
    );
    // The parser has its own end, long before the stack has.
    assert!(parse(&nested(10_000)).is_err());
    let many = format!(
        "[{{ branches = {{ branches = [[{}\"relu\"]] }} }}]",
        "\"relu\", ".repeat(1023)
    );
    let error = parse(&many).unwrap_err();
    assert!(
        error.ends_with("levels[0]: expected at most 1024 layers, found 1025"),
        "{error}"
    );
}

#[test]
fn a_resolved_recipe_reads_back_as_itself() {
    let layers = "[{ conv = { channels = 4, kernel = [3, 5], padding = [1, 2] } }, { batch-norm = { momentum = 0.2 } }, \
                  { residual = { layers = [\"batch-norm\"], shortcut = [\"relu\"] } }, \
                  { branches = { branches = [[], [{ average-pool = { kernel = 3, stride = 1, padding = 1 } }]] } }]";
    let recipe = parse(layers).unwrap();
    let Layer::Conv(conv) = &recipe.levels[0].layers[0] else {
        panic!("a convolution stands first");
    };
    assert_eq!((conv.stride.0, conv.groups, conv.bias), ([1, 1], 1, true));
    assert_eq!(
        Recipe::parse(&recipe.to_toml(), "resolved", &[]),
        Ok(recipe.clone())
    );
    let json = serde_json::to_string(&recipe.levels).unwrap();
    let read: Vec<crate::Level> = serde_json::from_str(&json).unwrap();
    assert_eq!(read, recipe.levels);
}

#[test]
fn a_network_by_name_is_its_levels() {
    let start = MNIST.find("# Maps of").unwrap();
    let end = MNIST.find("[train]").unwrap();
    let with = |network: &str| {
        let text = format!("{}{network}\n{}", &MNIST[..start], &MNIST[end..]);
        Recipe::parse(&text, "r.toml", &[])
    };
    let recipe = with("[network.resnet]\ndepth = 18\nstem = \"cifar\"").unwrap();
    let names: Vec<&str> = recipe
        .levels
        .iter()
        .map(|level| level.name.as_str())
        .collect();
    assert_eq!(names, ["stem", "layer1", "layer2", "layer3", "layer4"]);
    assert!(recipe.network.is_some());
    assert_eq!(
        Recipe::parse(&recipe.to_toml(), "resolved", &[]),
        Ok(recipe)
    );

    let error = |network: &str| with(network).unwrap_err().to_string();
    assert_eq!(
        error("[network.resnet]\ndepth = 19"),
        "r.toml:26: network.resnet.depth: expected one of 18, 34, 50, 101, 152, 20, 32, 44, 56, 110, found 19"
    );
    assert_eq!(
        error("[network.resnet]\ndepth = 18\nstem = \"cifra\""),
        "r.toml:27: network.resnet.stem: unknown word `cifra`; did you mean `cifar`?"
    );
    assert_eq!(
        error("[network.resnet]\ndepth = 18\n[[levels]]\nname = \"a\""),
        "r.toml:25: network: give a network by name or its `levels`, not both"
    );
    assert_eq!(
        error(""),
        "r.toml: levels: expected at least one level, or a `network` by name instead"
    );
}

#[test]
fn the_schema_knows_words_with_and_without_settings() {
    let schema = Recipe::schema();
    let layer = serde_json::to_string(&schema["$defs"]["Layer"]).unwrap();
    for word in [
        "\"conv\"",
        "\"global-average-pool\"",
        "\"batch-norm\"",
        "\"relu\"",
    ] {
        assert!(layer.contains(word), "{word} in {layer}");
    }
    // Those that are written in both ways.
    assert!(
        layer.contains(r#"["batch-norm","layer-norm","gelu"]"#),
        "{layer}"
    );
}
