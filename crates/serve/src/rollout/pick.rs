//! Which requests are the candidate's.

use hyper::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use strata_package::{Percent, Rollout};

/// Parts that requests are dealt into.
const PARTS: u64 = 10_000;

/// 2^64 divided by the golden ratio: its multiples fill a circle evenly, so that of any number of requests in a row about
/// the right part is picked.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether the request of this key is the candidate's: a function of both alone, and of a larger part, whatever the smaller
/// one picked.
pub(super) fn picks_key(rollout: &Rollout, percent: Percent, key: &[u8]) -> bool {
    let mut hash = Sha256::new();
    // Of a fixed length, so no key runs into it.
    hash.update(rollout.id.as_bytes());
    hash.update(key);
    let digest: [u8; 32] = hash.finalize().into();
    let [number, ..] = digest.as_chunks::<8>().0 else {
        return false;
    };
    u64::from_be_bytes(*number) % PARTS < u64::from(percent.of_ten_thousand())
}

/// Whether the request with this number is the candidate's.
pub(super) fn picks_turn(percent: Percent, turn: u64) -> bool {
    let place = u128::from(turn.wrapping_mul(STEP)) * u128::from(PARTS);
    (place >> 64) < u128::from(percent.of_ten_thousand())
}

/// What a request is sticky by; none if each is picked by itself.
pub(super) fn sticky_key<'a>(
    rollout: &Rollout,
    headers: &'a HeaderMap,
    key_id: &'a str,
) -> Option<&'a [u8]> {
    let name = rollout.sticky.as_deref()?;
    let is_credential = name == header::AUTHORIZATION.as_str() || name == "x-api-key";
    let value = headers.get(name).filter(|_| !is_credential);
    Some(value.map_or(key_id.as_bytes(), |value| value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::decide::tests::rollout;

    fn percent(percent: f64) -> Percent {
        percent.try_into().unwrap()
    }

    fn picked(id: &str, percent: Percent) -> Vec<bool> {
        let rollout = Rollout {
            id: id.to_owned(),
            ..rollout()
        };
        let key = |number: u32| format!("user-{number}");
        let keys = (0..20_000).map(key);
        keys.map(|key| picks_key(&rollout, percent, key.as_bytes()))
            .collect()
    }

    #[test]
    fn the_right_part_of_the_keys_is_picked_and_a_larger_part_keeps_them() {
        let mut before = vec![false; 20_000];
        for part in [0.0, 0.5, 5.0, 50.0, 95.0, 100.0] {
            let now = picked("0123456789abcdef", percent(part));
            let count = now.iter().filter(|picked| **picked).count() as f64;
            // Five standard deviations at most.
            let expected = 200.0 * part;
            assert!(
                (count - expected).abs() <= 5.0 * 70.0 * (part * (100.0 - part)).sqrt() / 50.0,
                "{part}: {count}"
            );
            assert!(before.iter().zip(&now).all(|(before, now)| *now || !before));
            before = now;
        }
        // Another rollout begins with other callers.
        let [one, other] =
            ["0123456789abcdef", "fedcba9876543210"].map(|id| picked(id, percent(50.0)));
        let same = one
            .iter()
            .zip(&other)
            .filter(|(one, other)| one == other)
            .count();
        assert!((9_500..10_500).contains(&same), "{same}");
    }

    #[test]
    fn of_requests_that_are_picked_by_themselves_any_run_has_the_right_part() {
        for (part, run) in [(0.0, 100), (1.0, 1000), (25.0, 40), (50.0, 20), (100.0, 10)] {
            for start in [0, 7, 1_000_000] {
                let picked = (start..start + run).filter(|turn| picks_turn(percent(part), *turn));
                let (count, expected) = (picked.count() as f64, run as f64 * part / 100.0);
                assert!((count - expected).abs() <= 2.0, "{part}: {count} of {run}");
            }
        }
    }

    #[test]
    fn requests_stick_by_a_header_or_else_by_their_key() {
        let check =
            |sticky: Option<&str>, headers: &[(&'static str, &str)], expected: Option<&str>| {
                let rollout = Rollout {
                    sticky: sticky.map(str::to_owned),
                    ..rollout()
                };
                let headers = headers.iter().map(|(name, value)| {
                    (
                        hyper::header::HeaderName::from_static(name),
                        value.parse().unwrap(),
                    )
                });
                let headers = HeaderMap::from_iter(headers);
                let found = sticky_key(&rollout, &headers, "id");
                assert_eq!(found, expected.map(str::as_bytes), "{sticky:?}");
            };
        check(None, &[("x-user", "a")], None);
        check(Some("x-user"), &[("x-user", "a")], Some("a"));
        check(Some("x-user"), &[("x-other", "a")], Some("id"));
        check(
            Some("authorization"),
            &[("authorization", "Bearer secret")],
            Some("id"),
        );
        check(Some("x-api-key"), &[("x-api-key", "secret")], Some("id"));
    }
}
