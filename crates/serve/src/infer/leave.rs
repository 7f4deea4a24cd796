//! Where the rows of a request leave, as its parameters say it.

use std::{fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Parameters;
use crate::{
    http::Refusal,
    runtime::{Leave, Version},
};

/// A parameter whose kind is checked when it is known what it is for, so that a wrong one is named.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Nothing,
    Number(f64),
    Text(String),
    /// What it is.
    Other(&'static str),
}

/// Reads the parameters `exit`, `confidence` and `budget_ms`, of which at most one may be there. `rows` is how many rows the
/// request has.
pub(super) fn leave(
    parameters: &Parameters,
    version: &Version,
    rows: usize,
) -> Result<Leave, Refusal> {
    let all = [
        ("exit", &parameters.exit),
        ("confidence", &parameters.confidence),
        ("budget_ms", &parameters.budget_ms),
    ];
    let mut given = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .filter(|(_, value)| **value != Scalar::Nothing);
    let Some((name, value)) = given.next() else {
        return Ok(Leave::AsCalibrated);
    };
    if let Some((other, _)) = given.next() {
        return wrong(format!(
            "parameters `{name}` and `{other}`: expected one of `exit`, `confidence` and `budget_ms`"
        ));
    }
    let exits = &version.exits;
    if name == "exit" {
        let position = |text: &String| exits.names.iter().position(|exit| exit == text);
        return match value {
            Scalar::Text(text) => position(text).map_or_else(
                || {
                    wrong(format!(
                        "parameter `exit`: expected {}, found `{}`",
                        exits.names.join(", "),
                        text.chars().take(80).collect::<String>().escape_debug()
                    ))
                },
                |exit| Ok(Leave::At(exit)),
            ),
            other => wrong(format!(
                "parameter `exit`: expected the name of a level, found {other}"
            )),
        };
    }
    let (what, is_good): (_, fn(f64) -> bool) = if name == "confidence" {
        ("a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
    } else {
        ("a number of more than 0", |value| value > 0.0)
    };
    let number = match value {
        Scalar::Number(number) if is_good(*number) => *number,
        other => {
            return wrong(format!(
                "parameter `{name}`: expected {what}, found {other}"
            ));
        }
    };
    if !exits.is_any_below_top() {
        return wrong(format!(
            "parameter `{name}`: the model has no exit below its top level"
        ));
    }
    Ok(if name == "confidence" {
        Leave::Confidence(number as f32)
    } else {
        let budget = Duration::try_from_secs_f64(number / 1e3).unwrap_or(Duration::MAX);
        Leave::At(exits.within(budget, rows))
    })
}

fn wrong<T>(problem: String) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem))
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(_) => f.write_str("a text"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other("a truth value"))
    }

    /// Read to its end, but not kept: it may be as long as a body.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn check(version: &Version, parameters: &str, expected: Result<Leave, &str>) {
        let read: Parameters = serde_json::from_str(parameters).unwrap();
        match (leave(&read, version, 2), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{parameters}"),
            (Err(found), Err(expected)) => {
                let found = found.to_string();
                assert!(found.contains(expected), "{parameters}: {found}");
            }
            (found, _) => panic!("{parameters}: {found:?}"),
        }
    }

    #[test]
    fn a_request_says_in_one_way_where_its_rows_leave() {
        let version = testing::version_with_exits();
        let check = |parameters: &str, expected| check(&version, parameters, expected);
        check("{}", Ok(Leave::AsCalibrated));
        check(
            r#"{"exit": null, "confidence": 0.5}"#,
            Ok(Leave::Confidence(0.5)),
        );
        check(r#"{"exit": "top"}"#, Ok(Leave::At(2)));
        check(r#"{"exit": "low"}"#, Ok(Leave::At(0)));
        check(r#"{"confidence": 1}"#, Ok(Leave::Confidence(1.0)));
        check(r#"{"budget_ms": 1e300}"#, Ok(Leave::At(2)));
        check(r#"{"budget_ms": 1e-12}"#, Ok(Leave::At(0)));
        check(
            r#"{"exit": "kind"}"#,
            Err("parameter `exit`: expected low, middle, top, found `kind`"),
        );
        check(
            r#"{"exit": 1}"#,
            Err("parameter `exit`: expected the name of a level, found 1.0"),
        );
        check(
            r#"{"confidence": 1.01}"#,
            Err("parameter `confidence`: expected a number from 0 to 1, found 1.01"),
        );
        check(r#"{"confidence": "high"}"#, Err("found a text"));
        check(
            r#"{"confidence": [[1], {}]}"#,
            Err("parameter `confidence`: expected a number from 0 to 1, found a list"),
        );
        check(r#"{"confidence": true}"#, Err("found a truth value"));
        check(
            r#"{"budget_ms": 0}"#,
            Err("parameter `budget_ms`: expected a number of more than 0, found 0.0"),
        );
        check(r#"{"budget_ms": {"a": 1}}"#, Err("found an object"));
        check(
            r#"{"exit": "top", "budget_ms": 5}"#,
            Err("parameters `exit` and `budget_ms`: expected one of"),
        );
    }

    #[test]
    fn a_model_without_exits_is_answered_at_its_top() {
        let version = testing::version(1);
        check(&version, r#"{"exit": "top"}"#, Ok(Leave::At(0)));
        check(
            &version,
            r#"{"exit": "low"}"#,
            Err("parameter `exit`: expected top, found `low`"),
        );
        let none = "the model has no exit below its top level";
        check(&version, r#"{"confidence": 0.5}"#, Err(none));
        check(&version, r#"{"budget_ms": 5}"#, Err(none));
    }
}
