use super::*;

fn network(toml: &str) -> NamedNetwork {
    toml::from_str(toml).unwrap()
}

fn task() -> Name {
    "object".parse().unwrap()
}

fn levels(toml: &str, classes: usize) -> Vec<Level> {
    network(toml).levels(&task(), classes).unwrap()
}

/// Names of levels, and the number of weights that are learned.
fn check(toml: &str, input: [usize; 3], classes: usize, names: &[&str], parameters: usize) {
    let levels = levels(toml, classes);
    let found: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
    assert_eq!(found, names, "{toml}");
    let shapes = level_shapes(&input, &levels).unwrap();
    for shapes in &shapes {
        assert!(shapes.head.is_none() || shapes.head == Some(vec![classes]));
    }
    let counts = levels.iter().zip(&shapes);
    let count: usize = counts.map(|(level, shapes)| level.parameters(shapes)).sum();
    assert_eq!(count, parameters, "{toml}");
}

const LARGE: [usize; 3] = [3, 224, 224];
const SMALL: [usize; 3] = [3, 32, 32];

#[test]
fn networks_have_as_many_weights_as_the_published_ones() {
    let alexnet = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"];
    check("[alexnet]", LARGE, 1000, &alexnet, 61_100_840);
    #[rustfmt::skip]
    let googlenet = ["stem", "inception3", "inception4a", "inception4d", "inception4e", "inception5"];
    check("[googlenet]", LARGE, 1000, &googlenet, 13_004_888);
    let without = "googlenet = { auxiliary = false }";
    check(without, LARGE, 1000, &googlenet, 6_624_904);
    let inception = ["stem", "mixed5", "mixed6", "mixed7"];
    let input = [3, 299, 299];
    check("[inception-v3]", input, 1000, &inception, 27_161_264);
    let without = "inception-v3 = { auxiliary = false }";
    check(without, [3, 75, 75], 1000, &inception, 23_834_568);
    let resnet = ["stem", "layer1", "layer2", "layer3", "layer4"];
    for (depth, parameters) in [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ] {
        let toml = format!("resnet = {{ depth = {depth} }}");
        check(&toml, LARGE, 1000, &resnet, parameters);
    }
    for (depth, parameters) in [
        (20, 269_722),
        (32, 464_154),
        (44, 658_586),
        (56, 853_018),
        (110, 1_727_962),
    ] {
        let toml = format!("resnet = {{ depth = {depth} }}");
        check(&toml, SMALL, 10, &resnet[..4], parameters);
    }
    #[rustfmt::skip]
    let densenet = ["stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4"];
    for (depth, parameters) in [
        (121, 7_978_856),
        (161, 28_681_000),
        (169, 14_149_480),
        (201, 20_013_928),
    ] {
        let toml = format!("densenet = {{ depth = {depth} }}");
        check(&toml, LARGE, 1000, &densenet, parameters);
    }
    let squeezenet = ["stem", "fire4", "fire8", "fire9"];
    let toml = "squeezenet = { version = \"1.0\" }";
    check(toml, LARGE, 1000, &squeezenet, 1_248_424);
    let squeezenet = ["stem", "fire3", "fire5", "fire9"];
    check("[squeezenet]", LARGE, 1000, &squeezenet, 1_235_496);
    let toml = "perceptron = { hidden = [128, 64] }";
    let perceptron = ["hidden1", "hidden2"];
    let parameters = 785 * 128 + 129 * 64 + 65 * 10;
    check(toml, [1, 28, 28], 10, &perceptron, parameters);
}

#[test]
fn small_images_have_stems_of_their_own() {
    for (toml, output) in [
        ("resnet = { depth = 18, stem = \"cifar\" }", [512, 4, 4]),
        ("resnet = { depth = 50, stem = \"cifar\" }", [2048, 4, 4]),
        ("resnet = { depth = 20 }", [64, 8, 8]),
        ("densenet = { depth = 121, stem = \"cifar\" }", [1024, 4, 4]),
        ("googlenet = { stem = \"cifar\" }", [1024, 8, 8]),
        (
            "squeezenet = { version = \"1.0\", stem = \"cifar\" }",
            [512, 8, 8],
        ),
        ("squeezenet = { stem = \"cifar\" }", [512, 8, 8]),
    ] {
        let shapes = level_shapes(&SMALL, &levels(toml, 10)).unwrap();
        assert_eq!(shapes.last().unwrap().output, output, "{toml}");
    }
    let shapes = level_shapes(&SMALL, &levels("alexnet = { stem = \"cifar\" }", 10)).unwrap();
    assert_eq!(shapes[4].output, [256, 3, 3]);
}

#[test]
fn images_that_are_too_small_are_refused_with_the_least_size() {
    for (toml, least, advice) in [
        ("[alexnet]", 63, "; `stem = \"cifar\"` takes smaller ones"),
        (
            "[inception-v3]",
            299,
            "; `auxiliary = false` takes smaller ones",
        ),
        ("inception-v3 = { auxiliary = false }", 75, ""),
        (
            "squeezenet = { version = \"1.0\" }",
            21,
            "; `stem = \"cifar\"` takes smaller ones",
        ),
        (
            "densenet = { depth = 121 }",
            29,
            "; `stem = \"cifar\"` takes smaller ones",
        ),
    ] {
        let (network, levels) = (network(toml), levels(toml, 10));
        let check = |size| network.check_input(&levels, &[3, size, size]);
        assert_eq!(check(least), Ok(()), "{toml}");
        let (field, problem) = check(least - 1).unwrap_err();
        assert_eq!(field, network.word());
        assert_eq!(
            problem,
            format!(
                "takes images of at least {least}x{least}, found {0}x{0} (`preparation.image` sets the size){advice}",
                least - 1
            )
        );
    }
}

#[test]
fn levels_end_where_the_cuts_say() {
    let names = |toml: &str| -> Vec<String> {
        let levels = levels(toml, 10);
        levels.iter().map(|level| level.name.to_string()).collect()
    };
    let resnet = |cuts: &str| format!("resnet = {{ depth = 18, cuts = {cuts} }}");
    assert_eq!(
        names(&resnet("[\"layer1\", \"layer3\"]")),
        ["layer1", "layer3", "layer4"]
    );
    // In any order; the last stage may be named.
    assert_eq!(
        names(&resnet("[\"layer4\", \"layer2\"]")),
        ["layer2", "layer4"]
    );
    assert_eq!(names(&resnet("[]")), ["layer4"]);
    // The heads that stand where no level ends are left out.
    let googlenet = levels(
        "googlenet = { cuts = [\"inception3\", \"inception4d\"] }",
        10,
    );
    let heads: Vec<bool> = googlenet.iter().map(|level| level.head.is_some()).collect();
    assert_eq!(heads, [false, true, true]);

    let error = |cuts: &str| network(&resnet(cuts)).levels(&task(), 10).unwrap_err();
    assert_eq!(
        error("[\"layer1\", \"layr3\"]"),
        (
            "resnet.cuts[1]".to_owned(),
            "expected a stage (`stem`, `layer1`, `layer2`, `layer3`, `layer4`), found `layr3`; did you mean `layer3`?"
                .to_owned()
        )
    );
    assert_eq!(
        error("[\"layer1\", \"layer1\"]"),
        (
            "resnet.cuts[1]".to_owned(),
            "`layer1` is named twice".to_owned()
        )
    );
}

#[test]
fn networks_that_there_are_not_are_refused() {
    for (toml, field, problem) in [
        (
            "resnet = { depth = 19 }",
            "resnet.depth",
            "expected one of 18, 34, 50, 101, 152, 20, 32, 44, 56, 110, found 19",
        ),
        (
            "resnet = { depth = 20, stem = \"imagenet\" }",
            "resnet.stem",
            "a network of depth 20 has the stem `cifar`",
        ),
        (
            "densenet = { depth = 100 }",
            "densenet.depth",
            "expected one of 121, 161, 169, 201, found 100",
        ),
        (
            "perceptron = { hidden = [] }",
            "perceptron.hidden",
            "expected 1 to 64 hidden layers, found 0",
        ),
        (
            "perceptron = { hidden = [128, 0] }",
            "perceptron.hidden[1]",
            "expected 1 to 1048576, found 0",
        ),
    ] {
        let found = network(toml).levels(&task(), 10).unwrap_err();
        assert_eq!(found, (field.to_owned(), problem.to_owned()));
    }
}

#[test]
fn weights_have_the_published_names() {
    let keys = |toml: &str| network(toml).keys(&task(), 10).unwrap();
    let resnet = keys("resnet = { depth = 50, cuts = [\"layer1\"] }");
    assert_eq!(resnet[0].level.as_str(), "layer1");
    for (level, path, key) in [
        (0, "layers.0.weight", "conv1.weight"),
        (0, "layers.1.running_var", "bn1.running_var"),
        (
            0,
            "layers.4.residual.layers.6.weight",
            "layer1.0.conv3.weight",
        ),
        (
            0,
            "layers.4.residual.shortcut.1.bias",
            "layer1.0.downsample.1.bias",
        ),
        (
            1,
            "layers.8.residual.layers.0.weight",
            "layer3.0.conv1.weight",
        ),
        (1, "head.1.bias", "fc.bias"),
    ] {
        assert_eq!(resnet[level].tensors[path], key);
    }
    for (toml, level, path, key) in [
        (
            "resnet = { depth = 20 }",
            3,
            "layers.0.residual.layers.3.weight",
            "layer3.0.conv2.weight",
        ),
        (
            "resnet = { depth = 20 }",
            3,
            "head.1.weight",
            "linear.weight",
        ),
        ("[alexnet]", 6, "head.0.weight", "classifier.6.weight"),
        (
            "[googlenet]",
            1,
            "layers.1.branches.2.3.weight",
            "inception3b.branch3.1.conv.weight",
        ),
        ("[googlenet]", 3, "head.5.weight", "aux2.fc1.weight"),
        (
            "[inception-v3]",
            3,
            "layers.2.branches.2.6.branches.1.1.bias",
            "Mixed_7c.branch3x3dbl_3b.bn.bias",
        ),
        (
            "[inception-v3]",
            2,
            "head.4.weight",
            "AuxLogits.conv1.conv.weight",
        ),
        (
            "densenet = { depth = 121 }",
            1,
            "layers.5.branches.1.3.weight",
            "features.denseblock1.denselayer6.norm2.weight",
        ),
        (
            "densenet = { depth = 121 }",
            1,
            "layers.8.weight",
            "features.transition1.conv.weight",
        ),
        (
            "[squeezenet]",
            2,
            "layers.2.branches.1.0.bias",
            "features.6.expand3x3.bias",
        ),
        (
            "perceptron = { hidden = [5, 4] }",
            1,
            "layers.0.bias",
            "3.bias",
        ),
        (
            "perceptron = { hidden = [5, 4] }",
            1,
            "head.0.bias",
            "5.bias",
        ),
    ] {
        let found = keys(toml);
        assert_eq!(
            found[level].tensors.get(path).map(String::as_str),
            Some(key),
            "{toml}"
        );
    }
    // No two tensors have one name.
    for toml in [
        "[googlenet]",
        "[inception-v3]",
        "densenet = { depth = 201 }",
    ] {
        let keys = keys(toml);
        let keys: Vec<&String> = keys.iter().flat_map(|keys| keys.tensors.values()).collect();
        let unique: std::collections::BTreeSet<&&String> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len(), "{toml}");
    }
}

/// A recipe for images of 299x299 with this network.
fn recipe(network: &str) -> Result<crate::Recipe, crate::RecipeError> {
    let text = format!(
        r#"
        format = 1
        name = "named"
        tasks = [{{ name = "object", classification = {{ classes = 10 }} }}]
        data = {{ source = "digits" }}
        preparation = {{ image = {{ channels = 3, height = 299, width = 299 }} }}
        train = {{ epochs = 1 }}
        [network]
        {network}
        "#
    );
    crate::Recipe::parse(&text, "r.toml", &[])
}

#[test]
fn every_network_stays_within_what_a_recipe_may_have() {
    for toml in [
        "resnet = { depth = 152, cuts = [] }",
        "resnet = { depth = 110, cuts = [] }",
        "densenet = { depth = 201, cuts = [] }",
        "inception-v3 = { cuts = [] }",
        "googlenet = { cuts = [] }",
        "alexnet = {}",
        "squeezenet = {}",
    ] {
        let recipe = recipe(toml).unwrap();
        assert_eq!(recipe.levels, levels(toml, 10));
        let resolved = crate::Recipe::parse(&recipe.to_toml(), "resolved", &[]);
        assert_eq!(resolved, Ok(recipe), "{toml}");
    }
}

#[test]
fn errors_name_the_line_of_the_network() {
    for (network, expected) in [
        (
            "resnet = { depth = 18, cut = [] }",
            "r.toml:9: network.resnet.cut: unknown field; did you mean `cuts`?",
        ),
        (
            "resnet = { depth = 18, cuts = [\"layer5\"] }",
            "r.toml:9: network.resnet.cuts[0]: expected a stage (`stem`, `layer1`, `layer2`, `layer3`, `layer4`), found \
             `layer5`; did you mean `layer1`?",
        ),
        (
            "densenett = { depth = 121 }",
            "r.toml:8: network: unknown word `densenett`; did you mean `densenet`?",
        ),
        (
            "squeezenet = { version = \"1.2\" }",
            "r.toml:9: network.squeezenet.version: unknown word `1.2`; did you mean `1.0`?",
        ),
    ] {
        assert_eq!(recipe(network).unwrap_err().to_string(), expected);
    }
}
