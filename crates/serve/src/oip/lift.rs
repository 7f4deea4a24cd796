//! A quicker way through requests whose tensors are long lists of numbers, which are most of those in JSON.
//!
//! The lists are read first, and the rest of the request, some hundred bytes, as any other JSON. Whatever is not plain is left
//! to the reader of all JSON, which also says what is wrong with it.

use memchr::memmem;

use super::request::InferRequest;
use crate::{
    http::object,
    infer::{Data, Elements},
};

/// Shorter requests are not worth it.
const LEAST: usize = 512;

/// The field whose lists are read first. Between quotes that are not escaped it can only be a whole text.
const FIELD: &[u8] = br#""data""#;

/// What stands in the place of a list that was read.
const LIFTED: &[u8] = b"true";

/// 10 to the power of the index, each exact.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Digits that a number may have for its significand to be exact as one of 64-bit floating point.
const DIGITS: usize = 15;

/// Reads a request all of whose tensors are flat lists of numbers. None for any other, and for what is no request.
pub(super) fn read(json: &[u8]) -> Option<InferRequest> {
    if json.len() < LEAST {
        return None;
    }
    let (rest, lists) = lift(json)?;
    let mut lists = lists.into_iter();
    let mut request: InferRequest = object(&rest).ok()?;
    for input in &mut request.inputs {
        if let Some(data) = &mut input.data {
            // Lists come in the order of the inputs, unless others are elsewhere in the request: then some are left over.
            let numbers = lists.next().filter(|_| data.is_lifted())?;
            *data = Data {
                shape: vec![numbers.len()],
                elements: Elements::Numbers(numbers),
            };
        }
    }
    lists.next().is_none().then_some(request)
}

/// The request without its lists, and these.
fn lift(json: &[u8]) -> Option<(Vec<u8>, Vec<Vec<f32>>)> {
    let mut rest = Vec::with_capacity(LEAST);
    let mut lists = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memmem::find(json.get(at..)?, FIELD) {
        let field = at + found;
        if field > 0 && json[field - 1] == b'\\' {
            return None;
        }
        at = spaces(json, field + FIELD.len());
        if json.get(at) != Some(&b':') {
            // A text, not a field.
            continue;
        }
        at = spaces(json, at + 1);
        rest.extend_from_slice(&json[copied..at]);
        rest.extend_from_slice(LIFTED);
        let (numbers, end) = list(json, at)?;
        lists.push(numbers);
        (copied, at) = (end, end);
    }
    rest.extend_from_slice(&json[copied..]);
    (!lists.is_empty()).then_some((rest, lists))
}

/// The numbers of a list that is not empty, and where it ends.
fn list(json: &[u8], at: usize) -> Option<(Vec<f32>, usize)> {
    let mut numbers = Vec::with_capacity(1024);
    let mut at = at;
    if json.get(at) != Some(&b'[') {
        return None;
    }
    loop {
        let (value, end) = number(json, spaces(json, at + 1))?;
        let value = value as f32;
        if value.is_infinite() {
            return None;
        }
        numbers.push(value);
        at = spaces(json, end);
        match json.get(at)? {
            b',' => {}
            b']' => return Some((numbers, at + 1)),
            _ => return None,
        }
    }
}

/// The number that begins here, and where it ends.
#[inline]
fn number(json: &[u8], start: usize) -> Option<(f64, usize)> {
    let is_negative = json.get(start) == Some(&b'-');
    let first = start + usize::from(is_negative);
    let (whole, mut at) = digits(json, first, 0);
    let whole_digits = at - first;
    // JSON has no numbers that begin with a point, nor with a 0 before other digits.
    if whole_digits == 0 || (whole_digits > 1 && json[first] == b'0') {
        return None;
    }
    let (mut significand, mut decimals) = (whole, 0);
    if json.get(at) == Some(&b'.') {
        let (all, end) = digits(json, at + 1, whole);
        decimals = end - at - 1;
        if decimals == 0 {
            return None;
        }
        (significand, at) = (all, end);
    }
    if matches!(json.get(at), Some(b'e' | b'E')) || whole_digits + decimals > DIGITS {
        return long_number(json, start);
    }
    // Both are exact, so their quotient is the nearest one.
    let value = significand as f64 / POWERS[decimals];
    Some((if is_negative { -value } else { value }, at))
}

/// The digits that begin here, after others that make `value`, and where they end. Of too many the value is wrong.
#[inline]
fn digits(json: &[u8], at: usize, value: u64) -> (u64, usize) {
    let (mut at, mut value) = (at, value);
    while let Some(digit) = json
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit < 10)
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// A number with an exponent or many digits.
#[cold]
fn long_number(json: &[u8], start: usize) -> Option<(f64, usize)> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = json[start..]
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    let end = start + length;
    let value = serde_json::from_slice(&json[start..end]).ok()?;
    Some((value, end))
}

fn spaces(json: &[u8], at: usize) -> usize {
    let mut at = at;
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the two ways give: the numbers of each input. The quick one may leave it to the other, and never gives something
    /// else.
    fn check(json: &str, is_quick: bool) {
        let padded = format!("{}{json}", " ".repeat(LEAST));
        let shown = |request: InferRequest| format!("{request:?}");
        let quick = read(padded.as_bytes()).map(shown);
        let whole = object::<InferRequest>(json.as_bytes()).map(shown);
        assert_eq!(quick.is_some(), is_quick, "{json}");
        if quick.is_some() {
            assert_eq!(quick, whole.ok(), "{json}");
        }
    }

    fn input(data: &str) -> String {
        format!(r#"{{"name":"image","shape":[1],"datatype":"FP32","data":{data}}}"#)
    }

    fn request(inputs: &[String], more: &str) -> String {
        format!(r#"{{"inputs":[{}]{more}}}"#, inputs.join(","))
    }

    #[test]
    fn lists_of_numbers_are_read_quickly_and_all_else_as_ever() {
        for data in [
            "[1]",
            "[0]",
            "[-0]",
            "[0.5,-0.25]",
            "[ 1 ,\t2\n, 3.125 ]",
            "[123456789012345]",
            "[1234567890123456]",
            "[0.8444218515250481,0.12345678901234567]",
            "[1e3,-2.5E-3,1e-400]",
            "[0.000000000000001]",
            "[99999999999999999999999]",
        ] {
            check(&request(&[input(data)], ""), true);
        }
        for data in [
            "[]", "[[1]]", "[null]", "true", "[true]", "[\"a\"]", "[1,]", "[,1]", "[1", "[01]",
            "[.5]", "[1.]", "[-]", "[1e]", "[+1]", "[1 2]", "[NaN]", "[1e39]", "[1e999]", "[0x1]",
            "[1.5.5]", "[1-1]", "{}", "",
        ] {
            check(&request(&[input(data)], ""), false);
        }
        check(&request(&[input("[1,2]"), input("[3]")], ""), true);
        check(&request(&[input("[1,2]"), input("[\"a\"]")], ""), false);
        check(&request(&[input("[1,2]"), input("true")], ""), false);
        // Fields of that name elsewhere, and texts that look like it.
        check(
            &request(&[input("[1,2]")], r#","parameters":{"data":[3]}"#),
            false,
        );
        check(&request(&[input("[1,2]")], r#","id":"data""#), true);
        check(&request(&[input("[1,2]")], r#","id":"\"data\":[1]""#), true);
        check(&request(&[input("[1,2]")], r#","a\"data":[1]"#), false);
        check(
            &request(&[input("[1,2]").replace("\"data\":", "\"data\" : ")], ""),
            true,
        );
        check(&request(&[input("[1],\"data\":[2]")], ""), false);
        check("[1]", false);
    }

    proptest! {
        #[test]
        fn any_number_is_the_same_by_both_ways(
            numbers in prop::collection::vec(any::<f32>().prop_filter("finite", |n| n.is_finite()), 1..20),
            decimals in 0..9_usize,
        ) {
            let exact: Vec<String> = numbers.iter().map(|n| format!("{n:?}")).collect();
            check(&request(&[input(&format!("[{}]", exact.join(",")))], ""), true);
            let rounded: Vec<String> = numbers.iter().map(|n| format!("{:.decimals$}", n % 1000.0)).collect();
            check(&request(&[input(&format!("[{}]", rounded.join(",")))], ""), true);
        }

        #[test]
        fn any_bytes_are_the_same_by_both_ways(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = request(&[input("[1,2.5,-3e2]"), input("[0.25]")], r#","id":"data""#).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let padded = [&[b' '; LEAST][..], &bytes].concat();
            if let Some(quick) = read(&padded) {
                let whole = object::<InferRequest>(&bytes);
                prop_assert_eq!(format!("{:?}", quick), format!("{:?}", whole.unwrap()));
            }
        }
    }
}
