use serde::de::Error;

/// The elements of a tensor in JSON, flat or nested.
///
/// Which type they should have is checked later: in JSON, `datatype` may come after `data`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Data {
    pub(crate) elements: Elements,
    /// How many elements or lists there are at each depth; one number if `data` is flat.
    pub(crate) shape: Vec<usize>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Elements {
    /// Integers up to 2^24 are exact.
    Numbers(Vec<f32>),
    Texts(Vec<String>),
}

/// Batch, channels, height, width, and as many more.
const DEEPEST: usize = 8;

/// A text takes 3 bytes in JSON and many times that in memory.
pub(crate) const MOST_TEXTS: usize = 1 << 16;

/// Puts the elements of nested lists into one vector, as they are read, and finds out how they are nested.
#[derive(Debug, Default)]
pub(crate) struct NestedReader {
    numbers: Vec<f32>,
    texts: Vec<String>,
    shape: Vec<usize>,
    /// Depth of the elements, once there is one: they are all at the same.
    depth: Option<usize>,
}

impl Default for Elements {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl NestedReader {
    /// A number in a list at `depth`.
    pub(crate) fn push<E: Error>(&mut self, depth: usize, value: f64) -> Result<(), E> {
        let number = value as f32;
        if number.is_infinite() {
            return Err(E::custom("data: a number is out of the range of FP32"));
        }
        self.push_any(depth, number)
    }

    /// The same for a number that need not be finite.
    pub(crate) fn push_any<E: Error>(&mut self, depth: usize, number: f32) -> Result<(), E> {
        self.expect_depth(depth)?;
        self.numbers.push(number);
        Ok(())
    }

    pub(crate) fn push_text<E: Error>(&mut self, depth: usize, text: String) -> Result<(), E> {
        self.expect_depth(depth)?;
        if self.texts.len() == MOST_TEXTS {
            return Err(E::custom(format_args!(
                "data: more than {MOST_TEXTS} texts"
            )));
        }
        self.texts.push(text);
        Ok(())
    }

    fn expect_depth<E: Error>(&mut self, depth: usize) -> Result<(), E> {
        match self.depth {
            Some(known) if known == depth => Ok(()),
            Some(_) => Err(E::custom("data: lists and elements are mixed")),
            None => {
                self.depth = Some(depth);
                Ok(())
            }
        }
    }

    /// A list at `depth` begins.
    pub(crate) fn begin<E: Error>(&self, depth: usize) -> Result<(), E> {
        if depth == DEEPEST {
            return Err(E::custom(format_args!(
                "data: lists nested deeper than {DEEPEST}"
            )));
        }
        Ok(())
    }

    /// A list at `depth` has ended.
    pub(crate) fn end<E: Error>(&mut self, depth: usize, count: usize) -> Result<(), E> {
        if self.shape.len() <= depth {
            // An inner list ends before the outer one, so deeper places are set already, or there are none.
            self.shape.resize(depth + 1, usize::MAX);
        }
        match self.shape[depth] {
            known if known == count => Ok(()),
            usize::MAX => {
                self.shape[depth] = count;
                Ok(())
            }
            known => Err(E::custom(format_args!(
                "data: lists of {known} and of {count} elements at the same depth"
            ))),
        }
    }

    pub(crate) fn finish<E: Error>(self) -> Result<Data, E> {
        let Self {
            numbers,
            texts,
            shape,
            ..
        } = self;
        let elements = match (numbers.is_empty(), texts.is_empty()) {
            (false, false) => return Err(E::custom("data: numbers and texts are mixed")),
            (true, false) => Elements::Texts(texts),
            _ => Elements::Numbers(numbers),
        };
        Ok(Data { elements, shape })
    }
}
