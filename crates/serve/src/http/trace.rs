//! Who asked, across programs.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

use hyper::{HeaderMap, header::HeaderValue};

/// The header that names the trace and the caller's step in it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The header by which a caller names its request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Characters of a request's name; a longer one is not taken.
const LONGEST_ID: usize = 128;

/// The `traceparent` of a request, if it has exactly one that is valid. Others are ignored, as the standard asks.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, TRACEPARENT).filter(|value| value.to_str().is_ok_and(is_traceparent))
}

/// The trace of a valid `traceparent`.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    traceparent(headers)?.to_str().ok()?.get(3..35)
}

/// The name of a request, if it has a printable one that is not too long.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_good = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    only(headers, REQUEST_ID).filter(is_good)
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// `00-<32 digits>-<16 digits>-<2 digits>`; further versions may have more after a hyphen.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        part.len() == length && part.bytes().all(is_digit)
    };
    let is_zero = |part: &str| part.bytes().all(|c| c == b'0');
    let mut parts = text.splitn(5, '-');
    let mut next = || parts.next().unwrap_or("");
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    let is_whole = match parts.next() {
        None => true,
        Some(_) => version != "00",
    };
    let is_version = is_hex(version, 2) && version != "ff";
    let is_trace = is_hex(trace, 32) && !is_zero(trace);
    let is_parent = is_hex(parent, 16) && !is_zero(parent);
    is_version && is_trace && is_parent && is_hex(flags, 2) && is_whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_counts() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACEPARENT, value.parse().unwrap());
            }
            assert_eq!(trace_id(&headers), expected, "{values:?}");
        };
        let good = format!("00-{trace}-{parent}-01");
        check(&[&good], Some(trace));
        check(&[&format!("cc-{trace}-{parent}-01-more")], Some(trace));
        check(&[&good, &good], None);
        let zeros = ("0".repeat(32), "0".repeat(16));
        for bad in [
            String::new(),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{trace}-{parent}-01-more"),
            format!("00-{trace}-{parent}"),
            format!("00-{}-{parent}-01", zeros.0),
            format!("00-{trace}-{}-01", zeros.1),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}0-{parent}-01"),
        ] {
            check(&[&bad], None);
        }
    }

    #[test]
    fn a_request_has_a_short_printable_name_or_none() {
        let check = |value: &str, is_taken: bool| {
            let headers = [(REQUEST_ID.parse().unwrap(), value.parse().unwrap())];
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(request_id(&headers).is_some(), is_taken, "{value}");
        };
        check("a-1", true);
        check(&"a".repeat(128), true);
        check(&"a".repeat(129), false);
        check("", false);
        check("a b", false);
    }
}
