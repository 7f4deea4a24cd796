use strata_spec::{Layer, Level, Precision};

use super::tests::{conv, dense, level, norm, residual};
use crate::{
    Answers, Lesson, LevelWeights, Network, Optimizer, Plan, Scratch, Way, confidence, one_hot,
};

const INPUT: [usize; 3] = [3, 9, 8];
const ROW: usize = 3 * 9 * 8;

/// Exits on the input itself, on maps and on rows, a head of another task, and a level without one.
fn levels() -> Vec<Level> {
    let pooled = |units| vec![Layer::GlobalAveragePool, dense(units)];
    vec![
        level(
            "bare",
            Vec::new(),
            Some(("task", vec![Layer::Flatten, dense(4)])),
        ),
        level(
            "stem",
            vec![conv(6, 3, 1), norm(), Layer::Relu],
            Some(("task", pooled(4))),
        ),
        level(
            "low",
            vec![
                residual(vec![conv(6, 3, 1), norm()], Vec::new()),
                Layer::Relu,
            ],
            Some(("kind", pooled(2))),
        ),
        level("plain", vec![conv(8, 3, 2), norm(), Layer::Relu], None),
        level(
            "rows",
            vec![Layer::Flatten, dense(16), Layer::Relu],
            Some(("task", vec![dense(4)])),
        ),
        level(
            "top",
            vec![dense(12), Layer::Relu],
            Some(("task", vec![dense(4)])),
        ),
    ]
}

fn weights(precision: Precision) -> Vec<LevelWeights> {
    let mut network = Network::new(&INPUT, &levels(), 3, precision);
    let mut optimizer = Optimizer::new(strata_spec::Optimizer::default(), None);
    for _ in 0..3 {
        let targets = one_hot(&[0, 1, 2, 3, 0, 1, 2], network.output_len());
        let lesson = Lesson::new(rows(7), &targets, levels().len(), 0.01);
        network.learn(lesson, &mut optimizer);
    }
    network.weights()
}

fn rows(count: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + i / ROW * 11) % 101) as f32 / 25.0 - 2.0;
    (0..count * ROW).map(value).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The logits of each head from a network that ends with its level.
fn alone(weights: &[LevelWeights], precision: Precision, rows: &[f32]) -> Vec<Vec<f32>> {
    let levels = levels();
    let with_head = (0..levels.len()).filter(|index| levels[*index].head.is_some());
    let logits = with_head.map(|top| {
        let plan = Plan::compile(&INPUT, &levels[..=top], &weights[..=top], precision);
        let mut logits = vec![0.0; rows.len() / ROW * plan.output_len()];
        plan.run(rows, &mut logits, &mut Scratch::default());
        logits
    });
    logits.collect()
}

fn run(plan: &Plan, rows: &[f32], ways: &[(usize, &Way)], scratch: &mut Scratch) -> Answers {
    let mut answers = Answers::default();
    plan.run_ways(rows, ways, &mut answers, scratch);
    answers
}

#[test]
fn heads_are_those_of_the_levels_and_exits_are_for_the_final_task() {
    let plan = Plan::compile(&INPUT, &levels(), &weights(Precision::F32), Precision::F32);
    let heads = plan.heads().iter();
    let heads: Vec<_> = heads
        .map(|head| {
            (
                head.level,
                head.name.as_str(),
                head.task.as_str(),
                head.outputs,
            )
        })
        .collect();
    let expected = [
        (0, "bare", "task", 4),
        (1, "stem", "task", 4),
        (2, "low", "kind", 2),
        (4, "rows", "task", 4),
        (5, "top", "task", 4),
    ];
    assert_eq!(heads, expected);
    assert_eq!(plan.exits(), [0, 1, 3, 4]);
}

#[test]
fn one_pass_gives_what_a_network_of_each_head_alone_gives() {
    for precision in [Precision::F32, Precision::Bf16] {
        let weights = weights(precision);
        let plan = Plan::compile(&INPUT, &levels(), &weights, precision);
        let rows = rows(70);
        let expected = alone(&weights, precision, &rows);
        let way = (0..5).fold(Way::nowhere(&plan), Way::and);
        let answers = run(&plan, &rows, &[(70, &way)], &mut Scratch::default());
        assert_eq!(answers.exits, [None; 70]);
        assert!(answers.logits.is_empty());
        for (found, expected) in answers.heads.iter().zip(&expected) {
            assert_eq!(bits(found), bits(expected), "{precision:?}");
        }
        let mut top = vec![0.0; 70 * 4];
        plan.run(&rows, &mut top, &mut Scratch::default());
        assert_eq!(bits(&top), bits(&expected[4]), "{precision:?}");
    }
}

#[test]
fn a_row_gets_the_same_bits_in_any_batch_whoever_leaves() {
    for precision in [Precision::F32, Precision::Bf16] {
        let weights = weights(precision);
        let plan = Plan::compile(&INPUT, &levels(), &weights, precision);
        let (rows, mut scratch) = (rows(70), Scratch::default());
        let heads = alone(&weights, precision, &rows);
        let of_row = |head: usize, row: usize| {
            let width = plan.heads()[head].outputs;
            &heads[head][row * width..(row + 1) * width]
        };
        // At each exit about a third of the rows is sure enough.
        let threshold = |head: usize| {
            let mut sure: Vec<f32> = (0..70).map(|row| confidence(of_row(head, row))).collect();
            sure.sort_by(f32::total_cmp);
            sure[46]
        };
        let thresholds = [threshold(0), threshold(1), threshold(3)];
        let by_confidence = Way::by_confidence(&plan, &thresholds);
        let only_stem = [f32::INFINITY, 0.0, f32::INFINITY];
        let ways = [
            by_confidence.clone(),
            by_confidence.and(2),
            Way::to_exit(&plan, 3),
            Way::by_confidence(&plan, &only_stem),
            Way::nowhere(&plan).and(2),
        ];
        let expected_exit = |row: usize, way: usize| match way {
            0 | 1 => {
                let is_sure = |place: &usize| {
                    confidence(of_row(plan.exits()[*place], row)) >= thresholds[*place]
                };
                Some((0..3).find(is_sure).unwrap_or(3))
            }
            2 => Some(3),
            3 => Some(1),
            _ => None,
        };
        let mut taken = [0; 4];
        for count in [1, 2, 3, 5, 16, 33, 70] {
            for first in (0..70).step_by(count) {
                let count = count.min(70 - first);
                let way_of = |row: usize| (row * 7 + row / 5) % 5;
                let own: Vec<_> = (first..first + count)
                    .map(|row| (1, &ways[way_of(row)]))
                    .collect();
                let part = &rows[first * ROW..(first + count) * ROW];
                let answers = run(&plan, part, &own, &mut scratch);
                for (place, row) in (first..first + count).enumerate() {
                    let expected = expected_exit(row, way_of(row));
                    assert_eq!(answers.exits[place], expected, "row {row} of {count}");
                    if let Some(exit) = expected {
                        taken[exit] += 1;
                        let logits = &answers.logits[place * 4..(place + 1) * 4];
                        assert_eq!(bits(logits), bits(of_row(plan.exits()[exit], row)));
                    }
                    if [1, 4].contains(&way_of(row)) {
                        let kind = &answers.heads[2][place * 2..(place + 1) * 2];
                        assert_eq!(bits(kind), bits(of_row(2, row)));
                    }
                }
            }
        }
        assert!(taken.iter().all(|count| *count > 5), "{taken:?}");
    }
}

#[test]
fn what_is_asked_of_no_row_is_not_there() {
    let plan = Plan::compile(&INPUT, &levels(), &weights(Precision::F32), Precision::F32);
    let way = Way::nowhere(&plan).and(2);
    let answers = run(&plan, &rows(3), &[(3, &way)], &mut Scratch::default());
    assert!(answers.logits.is_empty());
    let lengths: Vec<usize> = answers.heads.iter().map(Vec::len).collect();
    assert_eq!(lengths, [0, 0, 6, 0, 0]);
    assert_eq!(run(&plan, &[], &[], &mut Scratch::default()).exits, []);
}

#[test]
fn every_level_has_a_time() {
    let plan = Plan::compile(&INPUT, &levels(), &weights(Precision::F32), Precision::F32);
    let times = plan.level_times(4, &mut Scratch::default());
    let with_head: Vec<bool> = times.iter().map(|time| time.head.is_some()).collect();
    assert_eq!(with_head, [true, true, true, false, true, true]);
    assert!(times[1].body.as_nanos() > 0);
}
