use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor,
};

use crate::infer::{Data, NestedReader};

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = NestedReader::default();
        deserializer.deserialize_any(List {
            reader: &mut reader,
            depth: 0,
        })?;
        reader.finish()
    }
}

impl Data {
    /// Whether there is no list, but what stands in the place of one that was [lifted](super::lift).
    pub(super) fn is_lifted(&self) -> bool {
        self.shape.is_empty()
    }
}

struct List<'a> {
    reader: &'a mut NestedReader,
    depth: usize,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers or texts")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if value {
            Ok(())
        } else {
            Err(E::invalid_type(Unexpected::Bool(value), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reader, depth } = self;
        reader.begin(depth)?;
        let mut count = 0;
        while list.next_element_seed(Element { reader, depth })?.is_some() {
            count += 1;
        }
        reader.end(depth, count)
    }
}

/// A number, a text or a list in a list at `depth`.
struct Element<'a> {
    reader: &'a mut NestedReader,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text or a list")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.reader.push(self.depth, value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.reader.push(self.depth, value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.reader.push(self.depth, value as f64)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<(), E> {
        self.reader.push_text(self.depth, value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List {
            reader: self.reader,
            depth: self.depth + 1,
        }
        .visit_seq(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{Elements, MOST_TEXTS};

    fn check(json: &str, elements: Elements, shape: &[usize]) {
        let expected = Data {
            elements,
            shape: shape.to_vec(),
        };
        assert_eq!(
            serde_json::from_str::<Data>(json).unwrap(),
            expected,
            "{json}"
        );
    }

    fn check_error(json: &str, expected: &str) {
        let error = serde_json::from_str::<Data>(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }

    fn numbers(numbers: &[f32]) -> Elements {
        Elements::Numbers(numbers.to_vec())
    }

    #[test]
    fn flat_and_nested_data_is_read() {
        check("[]", numbers(&[]), &[0]);
        check(
            "[1, -2, 0.5, 1e-3, 3E2]",
            numbers(&[1.0, -2.0, 0.5, 1e-3, 300.0]),
            &[5],
        );
        check(
            "[[1, 2, 3], [4, 5, 6]]",
            numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            &[2, 3],
        );
        check("[[[1]], [[2]]]", numbers(&[1.0, 2.0]), &[2, 1, 1]);
        check(
            r#"["a", "\n"]"#,
            Elements::Texts(vec!["a".to_owned(), "\n".to_owned()]),
            &[2],
        );
        check("[[], []]", numbers(&[]), &[2, 0]);
    }

    #[test]
    fn numbers_are_the_nearest_ones() {
        for text in [
            "0.1",
            "0.123456789",
            "3.4028234e38",
            "1e-45",
            "16777217",
            "0.30000001192092896",
        ] {
            check(
                &format!("[{text}]"),
                numbers(&[text.parse().unwrap()]),
                &[1],
            );
        }
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        check_error("5", "expected a list of numbers or texts");
        check_error("[1, null]", "expected a number, a text or a list");
        check_error("[true]", "expected a number, a text or a list");
        check_error("[{}]", "expected a number, a text or a list");
        check_error("[NaN]", "expected value");
        check_error("[Infinity]", "expected value");
        check_error("[1e39]", "out of the range of FP32");
        check_error("[-1e39]", "out of the range of FP32");
        check_error("[1e999]", "number out of range");
        check_error("[1, [2]]", "mixed");
        check_error("[[1], 2]", "mixed");
        check_error("[1, \"2\"]", "mixed");
        check_error(
            "[[1, 2], [3]]",
            "lists of 2 and of 1 elements at the same depth",
        );
        check_error("[[[[[[[[[1]]]]]]]]]", "nested deeper than 8");
        let texts = |count| format!("[{}\"\"]", "\"\",".repeat(count - 1));
        check(
            &texts(MOST_TEXTS),
            Elements::Texts(vec![String::new(); MOST_TEXTS]),
            &[MOST_TEXTS],
        );
        check_error(&texts(MOST_TEXTS + 1), "more than 65536 texts");
        check_error("[1, 2", "EOF");
        check_error("[1 2]", "expected `,` or `]`");
    }
}
