use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::infer::{Data, INPUT, NestedReader};

/// `instances`: a list of rows, each alone or as `{"image": …}`.
#[derive(Debug)]
pub(super) struct Rows(pub(super) Data);

/// `examples`: a list of `{"image": …}`, which may have other features.
#[derive(Debug)]
pub(super) struct Examples(pub(super) Data);

/// `inputs`: all rows in one list, alone or as `{"image": …}`.
#[derive(Debug)]
pub(super) struct Columns(pub(super) Data);

/// What an object may be where an element is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objects {
    /// `{"b64": …}`
    File,
    /// Besides, one that names the input.
    Named,
    /// One that names the input and may have other names.
    Features,
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Objects::Named).map(Self)
    }
}

impl<'de> Deserialize<'de> for Examples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Objects::Features).map(Self)
    }
}

fn read<'de, D: Deserializer<'de>>(deserializer: D, objects: Objects) -> Result<Data, D::Error> {
    let mut reader = NestedReader::default();
    deserializer.deserialize_seq(List {
        reader: &mut reader,
        depth: 0,
        objects,
    })?;
    reader.finish()
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = NestedReader::default();
        deserializer.deserialize_any(All(&mut reader))?;
        reader.finish().map(Self)
    }
}

/// All rows, or an object with the input's name and them.
struct All<'a>(&'a mut NestedReader);

impl<'de> DeserializeSeed<'de> for All<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(List {
            reader: self.0,
            depth: 0,
            objects: Objects::File,
        })
    }
}

impl<'de> Visitor<'de> for All<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of rows, or `{{\"{INPUT}\": …}}`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List {
            reader: self.0,
            depth: 0,
            objects: Objects::File,
        }
        .visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != INPUT || is_found {
                return Err(unknown(&name));
            }
            map.next_value_seed(All(&mut *self.0))?;
            is_found = true;
        }
        is_found.then_some(()).ok_or_else(missing)
    }
}

struct List<'a> {
    reader: &'a mut NestedReader,
    depth: usize,
    /// Those that its elements may be.
    objects: Objects,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self {
            reader,
            depth,
            objects,
        } = self;
        reader.begin(depth)?;
        let mut count = 0;
        let mut next = || {
            list.next_element_seed(Element {
                reader: &mut *reader,
                depth,
                objects,
            })
        };
        while next()?.is_some() {
            count += 1;
        }
        reader.end(depth, count)
    }
}

/// A number, a file, a list or an object in a list at `depth`.
struct Element<'a> {
    reader: &'a mut NestedReader,
    depth: usize,
    objects: Objects,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.objects == Objects::Features {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.objects {
            Objects::File => "a number, a list or `{\"b64\": …}`",
            Objects::Named => "a number, a list, `{\"b64\": …}` or an object with the input",
            Objects::Features => "an object with the input",
        })
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

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let number = match text {
            "NaN" => f32::NAN,
            "Infinity" => f32::INFINITY,
            "-Infinity" => f32::NEG_INFINITY,
            _ => {
                return Err(E::custom(
                    "expected numbers or files, found a text: send files as {\"b64\": …}",
                ));
            }
        };
        self.reader.push_any(self.depth, number)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List {
            reader: self.reader,
            depth: self.depth + 1,
            objects: Objects::File,
        }
        .visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self {
            reader,
            depth,
            objects,
        } = self;
        let mut is_found = false;
        while let Some(name) = map.next_key::<String>()? {
            if is_found && (name == INPUT || name == "b64") {
                return Err(unknown(&name));
            }
            if name == "b64" && objects != Objects::Features {
                reader.push_text(depth, map.next_value()?)?;
                if let Some(more) = map.next_key::<String>()? {
                    return Err(unknown(&more));
                }
                return Ok(());
            }
            if name == INPUT && objects != Objects::File {
                map.next_value_seed(Element {
                    reader: &mut *reader,
                    depth,
                    objects: Objects::File,
                })?;
                is_found = true;
            } else if objects == Objects::Features {
                map.next_value::<IgnoredAny>()?;
            } else {
                return Err(unknown(&name));
            }
        }
        is_found.then_some(()).ok_or_else(missing)
    }
}

fn unknown<E: Error>(name: &str) -> E {
    let name: String = name.chars().take(80).collect();
    E::custom(format_args!(
        "unexpected name `{}`: the input is `{INPUT}`",
        name.escape_debug()
    ))
}

fn missing<E: Error>() -> E {
    E::custom(format_args!("an object without the input `{INPUT}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Elements;

    fn check(found: Result<Data, serde_json::Error>, expected: Result<(&[f32], &[usize]), &str>) {
        match (found, expected) {
            (Ok(Data { elements, shape }), Ok((numbers, expected))) => {
                assert_eq!(elements, Elements::Numbers(numbers.to_vec()));
                assert_eq!(shape, expected);
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (found, _) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    fn check_rows(json: &str, expected: Result<(&[f32], &[usize]), &str>) {
        check(
            serde_json::from_str::<Rows>(json).map(|rows| rows.0),
            expected,
        );
    }

    fn check_columns(json: &str, expected: Result<(&[f32], &[usize]), &str>) {
        let columns = serde_json::from_str::<Columns>(json);
        check(columns.map(|columns| columns.0), expected);
    }

    fn check_examples(json: &str, expected: Result<(&[f32], &[usize]), &str>) {
        let examples = serde_json::from_str::<Examples>(json);
        check(examples.map(|examples| examples.0), expected);
    }

    #[test]
    fn rows_are_read_in_each_format() {
        let two: Result<(&[f32], &[usize]), _> = Ok((&[1.0, 2.0, 3.0, 4.0], &[2, 2]));
        check_rows("[[1, 2], [3, 4]]", two);
        check_rows(r#"[{"image": [1, 2]}, {"image": [3, 4.0]}]"#, two);
        check_columns("[[1, 2], [3, 4]]", two);
        check_columns(r#"{"image": [[1, 2], [3, 4]]}"#, two);
        check_examples(
            r#"[{"image": [1, 2], "x": {}}, {"x": [[]], "image": [3, 4]}]"#,
            two,
        );
        check_rows(r#"["Infinity", 1]"#, Ok((&[f32::INFINITY, 1.0], &[2])));
        check_rows("[]", Ok((&[], &[0])));
    }

    #[test]
    fn files_are_read_as_base64() {
        for json in [
            r#"[{"b64": "YQ=="}, {"b64": ""}]"#,
            r#"[{"image": {"b64": "YQ=="}}, {"b64": ""}]"#,
        ] {
            let Data { elements, shape } = serde_json::from_str::<Rows>(json).unwrap().0;
            let texts = vec!["YQ==".to_owned(), String::new()];
            assert_eq!((elements, shape), (Elements::Texts(texts), vec![2]));
        }
    }

    #[test]
    fn what_is_no_row_is_refused() {
        check_rows("5", Err("expected a list of rows"));
        check_rows("[null]", Err("expected a number, a list"));
        check_rows("[true]", Err("expected a number, a list"));
        check_rows(r#"["text"]"#, Err("send files as {\"b64\": …}"));
        check_rows(
            r#"[{"x": 1}]"#,
            Err("unexpected name `x`: the input is `image`"),
        );
        check_rows("[{}]", Err("an object without the input `image`"));
        check_rows(r#"[{"b64": "", "x": 1}]"#, Err("unexpected name `x`"));
        check_rows(r#"[{"b64": 5}]"#, Err("invalid type: integer"));
        check_rows(
            r#"[{"image": 1, "image": 2}]"#,
            Err("unexpected name `image`"),
        );
        check_rows(
            r#"[{"image": {"image": 1}}]"#,
            Err("unexpected name `image`"),
        );
        check_rows(r#"[[{"image": 1}]]"#, Err("unexpected name `image`"));
        check_rows(r#"[1, {"b64": ""}]"#, Err("numbers and texts are mixed"));
        check_rows("[[1, 2], [3]]", Err("lists of 2 and of 1 elements"));
        check_rows("[1e39]", Err("out of the range of FP32"));
        check_columns(r#"{"b64": ""}"#, Err("unexpected name `b64`"));
        check_columns(r#"{"image": 5}"#, Err("expected a list of rows"));
        check_columns("{}", Err("an object without the input"));
        check_examples("[[1]]", Err("an object with the input"));
        check_examples("[1]", Err("an object with the input"));
        check_examples(r#"[{"x": 1}]"#, Err("an object without the input `image`"));
        check_examples(
            r#"[{"b64": ""}]"#,
            Err("an object without the input `image`"),
        );
    }
}
