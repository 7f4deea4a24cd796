//! A recipe's text, with what is needed to say where in it something stands.

use serde_path_to_error::Segment;
use toml::{Spanned, de::DeValue};

use crate::{
    RecipeError,
    error::{list, nearest},
};

/// Parts of a field in an override. Recipes have a handful, and each part is a table in a table, whose depth the stack
/// bounds.
const MOST_PARTS: usize = 32;

/// A recipe's text as a tree, with what is needed to say where something stands.
pub(crate) struct Source<'a> {
    text: &'a str,
    file: &'a str,
    overrides: Vec<(Vec<String>, String)>,
    spans: Spanned<DeValue<'a>>,
    pub(crate) tree: toml::Value,
}

impl<'a> Source<'a> {
    pub(crate) fn read(
        text: &'a str,
        file: &'a str,
        overrides: &[String],
    ) -> Result<Self, RecipeError> {
        let syntax = |error: &toml::de::Error| RecipeError {
            origin: file.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            field: String::new(),
            problem: format!("not TOML: {}", error.message()),
        };
        let spans = toml::de::DeTable::parse(text).map_err(|error| syntax(&error))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error))?;
        let spans = Spanned::new(spans.span(), DeValue::Table(spans.into_inner()));
        let tree = toml::Value::Table(table);
        let mut source = Self {
            text,
            file,
            overrides: Vec::new(),
            spans,
            tree,
        };
        for setting in overrides {
            source.set(setting)?;
        }
        Ok(source)
    }

    fn set(&mut self, setting: &str) -> Result<(), RecipeError> {
        let origin = format!("--set {setting}");
        let fail = |field: &str, problem: String| RecipeError {
            origin: origin.clone(),
            line: None,
            field: field.to_owned(),
            problem,
        };
        let Some((field, value)) = setting.split_once('=') else {
            return Err(fail(
                "",
                "expected FIELD=VALUE, such as train.epochs=3".to_owned(),
            ));
        };
        let field = field.trim();
        let value = value.trim();
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
        let parsed = parsed
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"));
        let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));

        let path = parts(field);
        if path.len() > MOST_PARTS {
            let found = path.len();
            let text = format!("expected a field of at most {MOST_PARTS} parts, found {found}");
            return Err(RecipeError {
                origin: "--set".to_owned(),
                ..fail("", text)
            });
        }
        set_at(&mut self.tree, &path, value).map_err(|problem| fail(field, problem))?;
        self.overrides.push((path, origin));
        Ok(())
    }
}

impl Source<'_> {
    /// An error about the field at `path`, such as `levels[0].name`.
    pub(crate) fn error(&self, path: &str, problem: String) -> RecipeError {
        let parts = parts(path);
        let by_override = self
            .overrides
            .iter()
            .rev()
            .find(|(set, _)| parts.starts_with(set) || set.starts_with(&parts));
        if let Some((_, origin)) = by_override {
            return RecipeError {
                origin: origin.clone(),
                line: None,
                field: path.to_owned(),
                problem,
            };
        }
        RecipeError {
            origin: self.file.to_owned(),
            line: self.line(&parts),
            field: path.to_owned(),
            problem,
        }
    }

    /// The line of the field, or of the nearest thing around it that the file has.
    fn line(&self, parts: &[String]) -> Option<usize> {
        let mut value = &self.spans;
        let mut at = None;
        for part in parts {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let Some((key, next)) = table.iter().find(|(key, _)| key.get_ref() == part)
                    else {
                        break;
                    };
                    at = Some(key.span().start);
                    value = next;
                }
                DeValue::Array(items) => {
                    let Some(next) = part
                        .parse::<usize>()
                        .ok()
                        .and_then(|index| items.get(index))
                    else {
                        break;
                    };
                    at = Some(next.span().start);
                    value = next;
                }
                _ => break,
            }
        }
        at.map(|offset| line_of(self.text, offset))
    }

    /// An error of the typed reading, in the words of a recipe.
    pub(crate) fn form_error(
        &self,
        error: &serde_path_to_error::Error<toml::de::Error>,
    ) -> RecipeError {
        let message = error.inner().message();
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => path.push_str(&format!("[{index}]")),
                Segment::Map { key } | Segment::Enum { variant: key } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Segment::Unknown => {}
            }
        }
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let unknown = |kind: &str| {
            let (word, expected) = quoted.split_first()?;
            Some(match nearest(word, expected.iter().copied()) {
                Some(near) => format!("{kind}; did you mean `{near}`?"),
                None => format!("{kind}; expected one of {}", list(expected)),
            })
        };
        let text = if message.starts_with("unknown field") {
            let word = quoted.first().copied().unwrap_or_default();
            if path.rsplit('.').next() != Some(word) {
                path = if path.is_empty() {
                    word.to_owned()
                } else {
                    format!("{path}.{word}")
                };
            }
            unknown("unknown field")
        } else if message.starts_with("unknown variant") {
            let word = quoted.first().copied().unwrap_or_default();
            unknown(&format!("unknown word `{word}`"))
        } else {
            None
        };
        self.error(&path, text.unwrap_or_else(|| message.trim().to_owned()))
    }
}

/// Puts `new` at `path` below `tree`, making the tables that are missing.
fn set_at(tree: &mut toml::Value, path: &[String], new: toml::Value) -> Result<(), String> {
    let Some((part, rest)) = path.split_first() else {
        *tree = new;
        return Ok(());
    };
    match tree {
        toml::Value::Table(table) => {
            let next = table
                .entry(part.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            set_at(next, rest, new)
        }
        toml::Value::Array(items) => {
            let count = items.len();
            let item = part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index));
            let item = item.ok_or_else(|| {
                format!("expected the number of an item below {count}, found `{part}`")
            })?;
            set_at(item, rest, new)
        }
        _ => Err(format!("there is no `{part}` in a {}", tree.type_str())),
    }
}

/// `levels[0].name` as its parts.
fn parts(field: &str) -> Vec<String> {
    field
        .replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(str::to_owned)
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
}
