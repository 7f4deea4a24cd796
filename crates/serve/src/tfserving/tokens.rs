use serde::de::DeserializeOwned;

use crate::http::{Refusal, object};

/// Numbers that JSON does not have, as bare words.
const TOKENS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Reads JSON in which `NaN`, `Infinity` and `-Infinity` may be bare: they become texts, as in the JSON of Protocol Buffers.
pub(super) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    // Nearly all requests have none, and are read at once.
    object(json).or_else(|refusal| match quoted(json) {
        Some(quoted) => object(&quoted),
        None => Err(refusal),
    })
}

/// The same with bare tokens as texts; nothing if there are none.
fn quoted(json: &[u8]) -> Option<Vec<u8>> {
    let mut quoted = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while at < json.len() {
        if json[at] == b'"' {
            at = end_of_text(json, at);
            continue;
        }
        let Some(token) = TOKENS.iter().find(|token| json[at..].starts_with(token)) else {
            at += 1;
            continue;
        };
        quoted.extend_from_slice(&json[copied..at]);
        quoted.push(b'"');
        quoted.extend_from_slice(token);
        quoted.push(b'"');
        at += token.len();
        copied = at;
    }
    if copied == 0 {
        return None;
    }
    quoted.extend_from_slice(&json[copied..]);
    Some(quoted)
}

/// The place after the text that begins at `start`.
fn end_of_text(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<&str>) {
        let found = quoted(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(found.as_deref(), expected, "{json}");
    }

    #[test]
    fn bare_tokens_become_texts() {
        check("[NaN]", Some(r#"["NaN"]"#));
        check(
            "[1, NaN,-Infinity ,Infinity]",
            Some(r#"[1, "NaN","-Infinity" ,"Infinity"]"#),
        );
        check(r#"["NaN", "a\"NaN", "\\"]"#, None);
        check(r#"["\\", NaN]"#, Some(r#"["\\", "NaN"]"#));
        check("[1, 2]", None);
        check("", None);
        check("\"NaN", None);
        check("\"\\", None);
        check("NaN", Some("\"NaN\""));
    }
}
