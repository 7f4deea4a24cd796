//! Whether a rollout ends, by what was measured.

use strata_package::{Figures, Outcome, Rollout, RolloutMode, Side};

/// How it ends and why; none as long as it goes on.
///
/// A share of few requests says little, so it counts as one of [`Bounds::requests`](strata_package::Bounds::requests) at
/// least: what is too much even if all that come are good ends it now.
pub(super) fn decide(rollout: &Rollout, figures: &Figures) -> Option<(Outcome, String)> {
    let Figures {
        base,
        candidate,
        compared,
    } = figures;
    let bounds = &rollout.bounds;
    let back = |reason: String| Some((Outcome::RolledBack, reason));

    let share = |side: &Side| side.errors as f64 / side.requests.max(bounds.requests) as f64;
    if share(candidate) > share(base) + bounds.errors {
        return back(format!(
            "errors: {} of {} requests to the candidate, {} of {} to the base; bound: a share of {} over the base's",
            candidate.errors, candidate.requests, base.errors, base.requests, bounds.errors
        ));
    }
    if let (Some(agreement), Some(compared)) = (bounds.agreement, compared) {
        let differing = compared.rows - compared.agreeing;
        if differing as f64 / compared.rows.max(bounds.requests) as f64 > 1.0 - agreement {
            return back(format!(
                "disagreement: {differing} of {} rows got another class; bound: a share of {agreement} agrees",
                compared.rows
            ));
        }
    }
    let answered = |side: &Side| side.requests - side.errors;
    let is_measured = answered(base).min(answered(candidate)) >= bounds.requests;
    if is_measured && candidate.p95_ms > base.p95_ms * bounds.latency {
        return back(format!(
            "latency: 95 of 100 requests take the candidate {:.3} ms and the base {:.3} ms; bound: {} times as long",
            candidate.p95_ms, base.p95_ms, bounds.latency
        ));
    }
    let after = rollout.promote_after?;
    // Before all get the candidate, latencies must have been compared; if all do already, there is nothing to compare.
    let is_all =
        matches!(rollout.mode, RolloutMode::Split(percent) if percent.of_ten_thousand() == 10_000);
    (answered(candidate) >= after && (is_measured || is_all)).then(|| {
        let reason = format!("{} requests within the bounds", answered(candidate));
        (Outcome::Promoted, reason)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use strata_package::{Bounds, Compared};

    use super::*;

    /// 5 % of `tiny`, from version 1 to 2.
    pub(crate) fn rollout() -> Rollout {
        Rollout {
            id: "0123456789abcdef".to_owned(),
            alias: "stable".parse().unwrap(),
            from: 1,
            to: 2,
            mode: RolloutMode::Split(5.0.try_into().unwrap()),
            sticky: None,
            bounds: Bounds {
                requests: 100,
                errors: 0.05,
                latency: 2.0,
                agreement: None,
            },
            promote_after: None,
            started: "2026-01-01T00:00:00Z".to_owned(),
            ended: None,
        }
    }

    fn side(requests: u64, errors: u64, p95_ms: f64) -> Side {
        Side {
            requests,
            errors,
            p95_ms,
            ..Side::default()
        }
    }

    fn check(rollout: &Rollout, figures: Figures, expected: Option<(Outcome, &str)>) {
        let found = decide(rollout, &figures);
        match (&found, expected) {
            (None, None) => {}
            (Some((outcome, reason)), Some((expected, word))) => {
                assert!(
                    *outcome == expected && reason.starts_with(word),
                    "{found:?}"
                );
            }
            _ => panic!("{figures:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_candidate_that_errs_or_is_slow_goes_back_and_one_that_does_not_goes_on() {
        let sides = |base, candidate, expected: Option<&str>| {
            let figures = Figures {
                base,
                candidate,
                compared: None,
            };
            check(
                &rollout(),
                figures,
                expected.map(|word| (Outcome::RolledBack, word)),
            );
        };
        sides(side(0, 0, 0.0), side(0, 0, 0.0), None);
        sides(side(1000, 0, 1.0), side(100, 5, 1.0), None);
        sides(side(1000, 0, 1.0), side(100, 6, 1.0), Some("errors"));
        // What the base has too is not the candidate's fault.
        sides(side(1000, 100, 1.0), side(100, 14, 1.0), None);
        sides(side(1000, 100, 1.0), side(100, 16, 1.0), Some("errors"));
        // Six of a hundred are too many, whatever the other 94 will be.
        sides(side(1000, 0, 1.0), side(5, 5, 1.0), None);
        sides(side(1000, 0, 1.0), side(6, 6, 1.0), Some("errors"));
        sides(side(1000, 0, 1.0), side(100, 0, 2.0), None);
        sides(side(1000, 0, 1.0), side(100, 0, 2.1), Some("latency"));
        // Too few on one side say nothing.
        sides(side(1000, 0, 1.0), side(99, 0, 9.0), None);
        sides(side(99, 0, 1.0), side(100, 0, 9.0), None);
    }

    #[test]
    fn a_shadow_that_disagrees_goes_back() {
        let mut shadow = rollout();
        shadow.mode = RolloutMode::Shadow(100.0.try_into().unwrap());
        let mut rows = |agreement: Option<f64>, rows, agreeing, expected: Option<&str>| {
            shadow.bounds.agreement = agreement;
            let compared = Compared {
                rows,
                agreeing,
                ..Compared::default()
            };
            let figures = Figures {
                compared: Some(compared),
                ..Figures::default()
            };
            check(
                &shadow,
                figures,
                expected.map(|word| (Outcome::RolledBack, word)),
            );
        };
        rows(Some(0.75), 1000, 750, None);
        rows(Some(0.75), 1000, 749, Some("disagreement"));
        rows(Some(0.75), 25, 0, None);
        rows(Some(0.75), 26, 0, Some("disagreement"));
        rows(None, 1000, 0, None);
    }

    #[test]
    fn it_is_promoted_after_enough_requests_within_the_bounds() {
        let mut rollout = rollout();
        rollout.promote_after = Some(500);
        let good = |requests| Figures {
            base: side(1000, 0, 1.0),
            candidate: side(requests, 0, 1.0),
            compared: None,
        };
        check(&rollout, good(499), None);
        check(
            &rollout,
            good(500),
            Some((Outcome::Promoted, "500 requests")),
        );
        let slow = Figures {
            candidate: side(500, 0, 3.0),
            ..good(500)
        };
        check(&rollout, slow, Some((Outcome::RolledBack, "latency")));
        let alone = Figures {
            base: side(0, 0, 0.0),
            ..good(500)
        };
        check(&rollout, alone.clone(), None);
        rollout.mode = RolloutMode::Split(100.0.try_into().unwrap());
        check(&rollout, alone, Some((Outcome::Promoted, "500 requests")));
    }
}
