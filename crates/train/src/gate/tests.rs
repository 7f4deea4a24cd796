use std::collections::BTreeMap;

use strata_data::draw;
use strata_nn::{Network, WeightTensor};
use strata_spec::{Dense, ImagePreparation};

use super::*;

/// The rows of `tests/references/gate.py`.
fn rows() -> (Vec<f32>, Vec<f32>, Vec<u32>) {
    let targets: Vec<u32> = (0..60).map(|row| row * 5 % 4).collect();
    let logits = |salt: u32, right: f32| -> Vec<f32> {
        let value = |i: u32| {
            let (row, class) = (i / 4, i % 4);
            let more = if targets[row as usize] == class {
                right
            } else {
                0.0
            };
            ((row * 29 + class * 13 + salt * 7) % 11) as f32 / 5.0 + more
        };
        (0..240).map(value).collect()
    };
    (logits(1, 0.9), logits(2, 0.7), targets)
}

fn head() -> GateHead {
    GateHead {
        level: "top".parse().unwrap(),
        task: "digit".parse().unwrap(),
        rows: 60,
    }
}

fn figure(checks: &[GateCheck], figure: GateFigure) -> GateCheck {
    let found = checks.iter().find(|check| check.figure == figure);
    found.unwrap().clone()
}

// The values are scikit-learn's and NumPy's, printed by tests/references/gate.py.
#[test]
fn figures_match_scikit_learn_and_numpy() {
    let (old, new, targets) = rows();
    let (checks, _) = judge(&head(), &old, &new, &targets, 4, &Allowed::default());
    let near = |found: f64, expected: f64| {
        assert!(
            (found - expected).abs() < 1e-6,
            "{found}, expected {expected}"
        );
    };
    let accuracy = figure(&checks, GateFigure::AccuracyLoss);
    near(accuracy.old.unwrap(), OLD_ACCURACY);
    near(accuracy.new.unwrap(), NEW_ACCURACY);
    near(accuracy.measured, OLD_ACCURACY - NEW_ACCURACY);
    near(figure(&checks, GateFigure::NegativeFlips).measured, FLIPS);
    let calibration = figure(&checks, GateFigure::CalibrationLoss);
    near(calibration.old.unwrap(), OLD_ECE);
    near(calibration.new.unwrap(), NEW_ECE);
    near(calibration.measured, NEW_ECE - OLD_ECE);
}

const OLD_ACCURACY: f64 = 0.6;
const NEW_ACCURACY: f64 = 0.483333333;
const FLIPS: f64 = 0.466666667;
const OLD_ECE: f64 = 0.210389213;
const NEW_ECE: f64 = 0.234483704;

/// Two classes, ten rows of class 0; so many of the first are right.
fn with_right(right: usize) -> Vec<f32> {
    let row = |row| if row < right { [1.0, 0.0] } else { [0.0, 1.0] };
    (0..10).flat_map(row).collect()
}

#[test]
fn what_is_exactly_allowed_passes_and_more_does_not() {
    let check = |loss: f64, flips: f64, expected: [bool; 2]| {
        let allowed = Allowed {
            accuracy_loss: loss,
            negative_flips: flips,
            calibration_loss: 1.0,
            ..Allowed::default()
        };
        let (old, new) = (with_right(9), with_right(6));
        let (checks, _) = judge(&head(), &old, &new, &[0; 10], 2, &allowed);
        let passes = [GateFigure::AccuracyLoss, GateFigure::NegativeFlips]
            .map(|name| figure(&checks, name).passes());
        assert_eq!(passes, expected, "{loss} {flips}");
    };
    check(0.3, 0.3, [true, true]);
    check(0.29, 0.3, [false, true]);
    check(0.3, 0.29, [true, false]);
    check(0.0, 0.01, [false, false]);
}

#[test]
fn ranges_are_those_of_each_channel() {
    // Two rows of two channels with two numbers each.
    let mut ranges = Ranges::new(2, 4);
    ranges.add(&[0.0, 1.0, 10.0, 20.0]);
    ranges.add(&[0.5, -1.0, 15.0, 12.0]);
    assert_eq!(ranges.count_outside(&[1.0, -1.0, 10.0, 20.0]), 0);
    assert_eq!(ranges.count_outside(&[1.1, 10.0, 9.9, f32::NAN]), 4);
    let all = ranges.all();
    assert_eq!((all.min, all.max, all.count), (-1.0, 20.0, 8));
    assert!((all.mean() - 7.1875).abs() < 1e-12);
    // numpy.std([0, 1, 10, 20, 0.5, -1, 15, 12])
    assert!((all.std() - 7.566_114_838_541_641).abs() < 1e-9);
    assert!(all.is_finite() && !Range::default().is_finite());
    ranges.add(&[f32::INFINITY, 0.0, 0.0, 0.0]);
    assert!(!ranges.all().is_finite());
}

fn levels() -> Vec<Level> {
    let dense = |units| Layer::Dense(Dense::new(units));
    let conv = serde_json::from_str(r#"{ "conv": { "channels": 3, "kernel": 3, "stride": 3 } }"#);
    let name = |text: &str| text.parse().unwrap();
    vec![
        Level {
            name: name("low"),
            layers: vec![conv.unwrap(), Layer::Relu],
            head: None,
        },
        Level {
            name: name("top"),
            layers: vec![Layer::Flatten],
            head: Some(Head {
                task: name("digit"),
                layers: vec![dense(10)],
                mirrored: false,
            }),
        },
    ]
}

fn preparation() -> Preparation {
    Preparation::Image(ImagePreparation::new(28, 28, 1))
}

fn weights(seed: u64) -> Vec<LevelWeights> {
    let input = preparation().output_shape();
    Network::new(&input, &levels(), seed, Precision::F32).weights()
}

fn compared(new: &[LevelWeights], level: usize) -> Result<Compared, GateError> {
    let (levels, old) = (levels(), weights(1));
    let change = Change {
        preparation: &preparation(),
        precision: Precision::F32,
        old: (&levels, &old),
        new: (&levels, new),
        level,
    };
    let rows = draw(100, 3);
    compare(&change, &rows, &|_| rows.clone(), &Allowed::default())
}

/// With every number of the lowest level times `factor`.
fn scaled(factor: f32) -> Vec<LevelWeights> {
    let mut all = weights(1);
    let tensors: BTreeMap<String, WeightTensor> = all[0]
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.values.iter().map(|value| value * factor).collect();
            let shape = tensor.shape.clone();
            (name.clone(), WeightTensor { shape, values })
        })
        .collect();
    let levels = levels();
    let shapes = level_shapes(&preparation().output_shape(), &levels).unwrap();
    all[0] = LevelWeights::new(tensors, &levels[0], &shapes[0]).unwrap();
    all
}

#[test]
fn the_same_network_passes_every_check() {
    let found = compared(&weights(1), 0).unwrap();
    assert!(found.checks.iter().all(GateCheck::passes), "{found:?}");
    assert!(found.checks.iter().all(|check| check.measured == 0.0));
    let [old, new] = found.boundary.unwrap();
    assert_eq!(old, new);
    let [top] = &found.heads[..] else {
        panic!("{found:?}")
    };
    let [before, after] = top.metrics.as_ref().unwrap();
    assert_eq!((before, top.head.rows), (after, 100));
    // After a ReLU.
    assert_eq!(old.min, 0.0);
    assert_eq!(old.count, 100 * 3 * 9 * 9);
    assert!(compared(&weights(1), 1).unwrap().boundary.is_none());
}

#[test]
fn a_level_that_gives_more_than_the_old_one_is_out_of_range() {
    let outside = |factor: f32| {
        let found = compared(&scaled(factor), 0).unwrap();
        figure(&found.checks, GateFigure::OutsideRange)
    };
    assert!(outside(0.5).passes());
    let wide = outside(100.0);
    assert!(!wide.passes() && wide.measured > 0.1, "{wide:?}");
}

#[test]
fn what_is_not_finite_or_not_there_is_refused() {
    assert_eq!(compared(&scaled(3e38), 0), Err(GateError::NotFinite("new")));
    let (levels, old) = (levels(), weights(1));
    let change = Change {
        preparation: &preparation(),
        precision: Precision::F32,
        old: (&levels, &old),
        new: (&levels, &old),
        level: 0,
    };
    let none = compare(&change, &draw(0, 3), &|_| draw(0, 3), &Allowed::default());
    assert_eq!(none, Err(GateError::NoRows));
    let mut strange = draw(9, 3);
    strange.labels[4] = 10;
    let error = compare(&change, &strange, &|_| strange.clone(), &Allowed::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task `digit` has 10 classes, but a held row is of class 10, counted from 0"
    );
}

/// As [`levels`], with a head for another task on the lower one.
fn levels_with_two_tasks() -> Vec<Level> {
    let mut levels = levels();
    let dense = |units| Layer::Dense(Dense::new(units));
    levels[0].head = Some(Head {
        task: "side".parse().unwrap(),
        layers: vec![Layer::Flatten, dense(10)],
        mirrored: false,
    });
    levels
}

/// What comes of level `level` with its answers to one task turned round: `tensor` is of a head.
fn compared_two(level: usize, turned: [&str; 2], rows_of: &dyn Fn(&Name) -> Images) -> Compared {
    let levels = levels_with_two_tasks();
    let input = preparation().output_shape();
    let old = Network::new(&input, &levels, 1, Precision::F32).weights();
    let shapes = level_shapes(&input, &levels).unwrap();
    let tensors = old[level].iter().map(|(name, tensor)| {
        let mut tensor = tensor.clone();
        if turned.contains(&name.as_str()) {
            tensor.values.iter_mut().for_each(|value| *value = -*value);
        }
        (name.clone(), tensor)
    });
    let mut new = old.clone();
    new[level] = LevelWeights::new(tensors.collect(), &levels[level], &shapes[level]).unwrap();
    let change = Change {
        preparation: &preparation(),
        precision: Precision::F32,
        old: (&levels, &old),
        new: (&levels, &new),
        level,
    };
    compare(&change, &draw(100, 3), rows_of, &Allowed::default()).unwrap()
}

#[test]
fn a_loss_of_one_task_is_seen_though_the_final_one_keeps_its_answers() {
    // What the old network answers is taken for right, so that every answer that changes is a loss.
    let levels = levels_with_two_tasks();
    let input = preparation().output_shape();
    let old = Network::new(&input, &levels, 1, Precision::F32).weights();
    let answered = |task: &Name| {
        let top = levels
            .iter()
            .position(|level| level.head.as_ref().unwrap().task == *task)
            .unwrap();
        let plan = Plan::compile(&input, &levels[..=top], &old[..=top], Precision::F32);
        let mut rows = draw(100, 3);
        let Preparation::Image(setting) = &preparation();
        let logits = predict(&plan, &Preparer::new(setting), &rows);
        rows.labels = logits
            .chunks_exact(10)
            .map(|row| strata_nn::highest(row) as u32)
            .collect();
        rows
    };
    let failing = |found: &Compared| -> Vec<String> {
        let failed = found.checks.iter().filter(|check| !check.passes());
        let mut heads: Vec<String> = failed
            .filter(|check| check.figure == GateFigure::NegativeFlips)
            .map(|check| check.head.as_ref().unwrap().to_string())
            .collect();
        heads.dedup();
        heads
    };
    let heads = |found: &Compared| -> Vec<(String, String, usize)> {
        let each = found.heads.iter().map(|of| &of.head);
        each.map(|head| (head.level.to_string(), head.task.to_string(), head.rows))
            .collect()
    };
    let of = |level: &str, task: &str, rows| (level.to_owned(), task.to_owned(), rows);

    let found = compared_two(0, ["head.1.weight", "head.1.bias"], &answered);
    assert_eq!(
        heads(&found),
        [of("low", "side", 100), of("top", "digit", 100)]
    );
    assert_eq!(failing(&found), ["low"]);
    // The numbers that go up are the same.
    assert_eq!(found.checks[0].figure, GateFigure::OutsideRange);
    assert_eq!(
        (found.checks[0].measured, &found.checks[0].head),
        (0.0, &None)
    );

    // A head below the level is not its matter.
    let found = compared_two(1, ["head.0.weight", "head.0.bias"], &answered);
    assert_eq!(heads(&found), [of("top", "digit", 100)]);
    assert_eq!(failing(&found), ["top"]);

    // Without rows of its task a head is named, not compared.
    let of_digits = |task: &Name| match task.as_str() {
        "digit" => answered(task),
        _ => draw(0, 3),
    };
    let found = compared_two(0, ["head.1.weight", "head.1.bias"], &of_digits);
    assert_eq!(
        heads(&found),
        [of("low", "side", 0), of("top", "digit", 100)]
    );
    assert_eq!(failing(&found), [""; 0]);
    assert!(found.heads[0].metrics.is_none() && found.heads[1].metrics.is_some());
}
