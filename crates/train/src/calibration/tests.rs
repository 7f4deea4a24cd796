use super::*;

/// `tests/references/calibration.py`, scipy 1.17.1
#[test]
fn p_values_are_those_of_scipy() {
    let references = [
        (0, 598, 0.005, 4.991169123e-02),
        (10, 3333, 0.005, 5.694113276e-02),
        (11, 3333, 0.005, 9.673378662e-02),
        (3, 40, 0.2, 2.846209446e-02),
        (0, 7, 0.5, 7.812500000e-03),
        (120, 10000, 0.01, 9.778855122e-01),
        (1, 5000, 0.01, 7.723653909e-21),
    ];
    for (lost, rows, epsilon, expected) in references {
        let found = p_value(lost, rows, epsilon);
        assert!(
            (found / expected - 1.0).abs() < 1e-8,
            "{lost} {rows} {epsilon}: {found}, expected {expected}"
        );
    }
    assert_eq!(p_value(20, 20, 0.3), 1.0);
}

#[test]
fn rows_that_are_needed_are_the_fewest_that_can_pass() {
    for (epsilon, delta) in [
        (0.005, 0.05),
        (0.01, 0.1),
        (0.5, 0.5),
        (0.001, 0.01),
        (0.3, 0.05),
    ] {
        let needed = rows_needed(epsilon, delta).unwrap();
        let tested = |rows: usize| rows - rows / 3;
        assert!(
            p_value(0, tested(needed), epsilon) <= delta * (1.0 + 1e-9),
            "{epsilon} {delta}"
        );
        assert!(
            p_value(0, tested(needed - 1), epsilon) > delta,
            "{epsilon} {delta}"
        );
    }
    assert_eq!(rows_needed(0.005, 0.05).unwrap(), 896);
    assert!(rows_needed(1e-300, 0.05).unwrap() > 1 << 60);
}

/// SplitMix64 (Steele, Lea & Flood 2014), as numbers from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Rows of a network with two exits that are too sure of themselves, the lower one more so.
fn draw(seed: u64, count: usize) -> ExitRows {
    let mut random = Random(seed);
    let mut rows = ExitRows {
        confidences: vec![Vec::new(); 2],
        right: vec![Vec::new(); 3],
        work: vec![0.3, 0.6, 1.0],
    };
    for _ in 0..count {
        // An easy row is easy for all.
        let ease = random.next();
        for (exit, strength) in [(0, 0.75), (1, 0.9)] {
            let chance = 1.0 - (1.0 - ease * strength) * (1.0 - strength) * 2.0;
            let sureness = chance + 0.3 * (random.next() - 0.4) * (1.0 - chance);
            rows.confidences[exit].push(sureness.clamp(0.0, 1.0) as f32);
            rows.right[exit].push(random.next() < chance);
        }
        rows.right[2].push(random.next() < 0.9 + 0.1 * ease);
    }
    rows
}

#[test]
fn the_promise_holds_for_at_least_as_many_draws_as_was_promised() {
    let (epsilon, delta, draws) = (0.03, 0.1, 300);
    let population = draw(1, 40_000);
    let everyone: Vec<u32> = (0..40_000).collect();
    let (mut broken, mut work) = (0, 0.0);
    for seed in 0..draws {
        let found = calibrate(&draw(1000 + seed, 1500), epsilon, delta);
        let Ok(thresholds) = found else {
            work += 1.0;
            continue;
        };
        let outcome = outcome(&population, &everyone, &thresholds.confidences);
        broken += usize::from(outcome.lost as f64 / 40_000.0 > epsilon);
        work += outcome.work / 40_000.0;
    }
    let (broken, work) = (broken as f64 / draws as f64, work / draws as f64);
    assert!(broken <= delta, "broken in {broken} of the draws");
    // It is worth it, and nearly all that was allowed is used.
    assert!(broken > 0.0 && work < 0.9, "broken {broken}, work {work}");
}

#[test]
fn a_setting_never_lets_fewer_rows_leave_than_the_one_before() {
    let rows = draw(5, 900);
    let chosen: Vec<u32> = (0..300).collect();
    let path = path::find(&rows, &chosen);
    assert!(path.len() > 100, "{}", path.len());
    let mut before = vec![2; 900];
    for setting in &path {
        for (row, before) in before.iter_mut().enumerate() {
            let exit = exit_of(&rows, row, setting);
            assert!(exit <= *before);
            *before = exit;
        }
    }
    // In the end all of those that it was found with leave at once.
    assert!(before[..300].iter().all(|exit| *exit == 0));
}

#[test]
fn equal_rows_give_equal_thresholds() {
    let rows = draw(7, 2000);
    let found = calibrate(&rows, 0.05, 0.1).unwrap();
    assert_eq!(calibrate(&rows, 0.05, 0.1).unwrap(), found);
    assert!(found.lost <= 0.05 && found.work < 1.0, "{found:?}");
}

#[test]
fn what_cannot_be_promised_is_refused_with_a_word() {
    let check = |rows: &ExitRows, epsilon, delta, expected: &str| {
        let error = calibrate(rows, epsilon, delta).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let rows = draw(9, 800);
    check(&rows, 0.005, 0.05, "800 rows are too few");
    check(&rows, 0.005, 0.05, "at least 896 are needed");
    for wrong in [0.0, -0.1, 0.6, f64::NAN, f64::INFINITY] {
        check(
            &rows,
            wrong,
            0.05,
            "epsilon: expected more than 0 and at most 0.5",
        );
        check(
            &rows,
            0.05,
            wrong,
            "delta: expected more than 0 and at most 0.5",
        );
    }
    let mut always_wrong = rows;
    for exit in 0..2 {
        always_wrong.confidences[exit].fill(1.0);
        always_wrong.right[exit].fill(false);
    }
    check(
        &always_wrong,
        0.01,
        0.1,
        "no threshold keeps the loss at most 0.01",
    );
    let none = ExitRows {
        confidences: Vec::new(),
        right: vec![vec![true; 2000]],
        work: vec![1.0],
    };
    check(&none, 0.01, 0.1, "no exit below the top");
}
