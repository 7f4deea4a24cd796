use std::{fmt, str::FromStr};

use strata_spec::Name;

/// A choice of one version of a model, written `NAME`, `NAME@VERSION` or `NAME:ALIAS`.
///
/// ```
/// use strata_package::{Pick, Selector};
///
/// let selector: Selector = "mnist@3".parse()?;
/// assert_eq!((selector.name.as_str(), selector.pick), ("mnist", Pick::Version(3)));
/// # Ok::<(), strata_package::SelectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The model.
    pub name: Name,
    /// Which of its versions.
    pub pick: Pick,
}

/// Which version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// The one with the highest number.
    Highest,
    /// The one with this number.
    Version(u64),
    /// The one that this alias names.
    Alias(Name),
}

/// A text that is no [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` selects no model: {problem} (expected NAME, NAME@VERSION or NAME:ALIAS)")]
pub struct SelectorError {
    text: String,
    problem: String,
}

impl Selector {
    /// The version of `name` with this number.
    pub fn version(name: Name, version: u64) -> Self {
        Self {
            name,
            pick: Pick::Version(version),
        }
    }
}

impl From<Name> for Selector {
    /// The highest version.
    fn from(name: Name) -> Self {
        Self {
            name,
            pick: Pick::Highest,
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |problem: String| SelectorError {
            text: text
                .chars()
                .take(160)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            problem,
        };
        let parse_name = |part: &str| part.parse::<Name>().map_err(|e| error(e.to_string()));
        if let Some((name, version)) = text.split_once('@') {
            let number = parse_version(version)
                .ok_or_else(|| error("its version is not a number from 1".to_owned()))?;
            return Ok(Self::version(parse_name(name)?, number));
        }
        if let Some((name, alias)) = text.split_once(':') {
            return Ok(Self {
                name: parse_name(name)?,
                pick: Pick::Alias(parse_name(alias)?),
            });
        }
        Ok(parse_name(text)?.into())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pick {
            Pick::Highest => write!(f, "{}", self.name),
            Pick::Version(version) => write!(f, "{}@{version}", self.name),
            Pick::Alias(alias) => write!(f, "{}:{alias}", self.name),
        }
    }
}

/// A version number as it is written in selectors and folder names: decimal, from 1, without leading zeros.
pub(crate) fn parse_version(text: &str) -> Option<u64> {
    let canonical = !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_back_what_it_writes() {
        for text in [
            "mnist",
            "mnist@1",
            "mnist@18446744073709551615",
            "mnist:stable",
            "a:3",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_selector_says_what_is_expected() {
        for text in [
            "",
            "@1",
            "m@",
            "m@0",
            "m@01",
            "m@+1",
            "m@x",
            "m:",
            "m@1:a",
            "m:a@1",
            "../m",
            "m@99999999999999999999",
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` selects no model: ")),
                "{error}"
            );
            assert!(
                error.ends_with("(expected NAME, NAME@VERSION or NAME:ALIAS)"),
                "{error}"
            );
        }
    }
}
