use std::fmt;

/// What is wrong with a recipe, and where.
///
/// Shown as `FILE:LINE: FIELD: PROBLEM`, and with the nearest valid word if there is one near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeError {
    /// The file, or `--set FIELD=VALUE` where an override is at fault.
    pub origin: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// The field, such as `levels[1].head.layers[0]`.
    pub field: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for RecipeError {}

/// The word of `words` that is nearest to `word`, if any is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near =
        |candidate: &&str| strsim::damerau_levenshtein(word, candidate) <= 1 + candidate.len() / 4;
    words
        .into_iter()
        .filter(near)
        .min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
}

/// Words as a list in quotes.
pub(crate) fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
