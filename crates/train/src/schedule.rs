use std::f64::consts::PI;

use strata_spec::RateSchedule;

/// The factor on the base rate at step `step` (from 0) of `total` steps, `per_epoch` of them an epoch.
///
/// During the warm-up it climbs linearly, `(step + 1) / warm_up_steps`; after it, the schedule runs over the steps that
/// are left. `cosine` and `one-cycle` are those of PyTorch's `CosineAnnealingLR` and `OneCycleLR`, step by step.
pub fn rate_factor(
    schedule: &RateSchedule,
    warm_up: f64,
    step: u64,
    total: u64,
    per_epoch: u64,
) -> f64 {
    let warm_up_steps = (warm_up * total as f64).round() as u64;
    if step < warm_up_steps {
        return (step + 1) as f64 / warm_up_steps as f64;
    }
    let (step, total) = (step - warm_up_steps, total - warm_up_steps);
    let along_cosine =
        |from: f64, to: f64, share: f64| to + (from - to) / 2.0 * (1.0 + (PI * share).cos());
    match schedule {
        RateSchedule::Constant => 1.0,
        RateSchedule::Step(setting) => setting
            .factor
            .powf((step / per_epoch / setting.epochs as u64) as f64),
        RateSchedule::Cosine(setting) => {
            along_cosine(1.0, setting.floor, step as f64 / total as f64)
        }
        RateSchedule::OneCycle(setting) => {
            let low = 1.0 / setting.start;
            let last = (total - 1) as f64;
            let peak = (setting.climb * total as f64 - 1.0).max(0.0);
            let step = step as f64;
            if step <= peak && peak > 0.0 {
                along_cosine(low, 1.0, step / peak)
            } else {
                along_cosine(
                    1.0,
                    low / setting.end,
                    (step - peak) / (last - peak).max(1.0),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use strata_spec::{Cosine, OneCycle, Step};

    use super::*;

    fn check(schedule: RateSchedule, warm_up: f64, total: u64, per_epoch: u64, expected: &[f64]) {
        for (step, expected) in expected.iter().enumerate() {
            let found = rate_factor(&schedule, warm_up, step as u64, total, per_epoch);
            assert!(
                (found - expected).abs() < 1e-6,
                "{schedule:?} step {step}: {found}, expected {expected}"
            );
        }
    }

    // The values are PyTorch 2.x's, printed by tests/references/schedules.py.
    #[test]
    fn schedules_match_pytorch() {
        check(
            RateSchedule::Step(Step {
                epochs: 2,
                factor: 0.1,
            }),
            0.0,
            6,
            1,
            &[1.0, 1.0, 0.1, 0.1, 0.01, 0.01],
        );
        check(
            RateSchedule::Cosine(Cosine { floor: 0.4 }),
            0.0,
            4,
            1,
            &[1.0, 0.912_132_034_4, 0.7, 0.487_867_965_6],
        );
        let cycle = RateSchedule::OneCycle(OneCycle {
            climb: 0.3,
            start: 25.0,
            end: 1e4,
        });
        let expected = [
            0.04,
            0.52,
            1.0,
            0.950_484_632,
            0.811_745_653_9,
            0.611_262_021_9,
            0.388_741_978_1,
            0.188_258_346_1,
            0.049_519_368,
            0.000_004,
        ];
        check(cycle, 0.0, 10, 1, &expected);
    }

    #[test]
    fn a_warm_up_climbs_to_the_whole_rate() {
        check(
            RateSchedule::Constant,
            0.4,
            10,
            5,
            &[0.25, 0.5, 0.75, 1.0, 1.0, 1.0],
        );
    }

    #[test]
    fn one_cycle_survives_tiny_trainings() {
        let cycle = RateSchedule::OneCycle(OneCycle::default());
        for total in 1..5 {
            for step in 0..total {
                let factor = rate_factor(&cycle, 0.0, step, total, 1);
                assert!(
                    factor.is_finite() && (0.0..=1.0).contains(&factor),
                    "step {step} of {total}: {factor}"
                );
            }
        }
    }
}
