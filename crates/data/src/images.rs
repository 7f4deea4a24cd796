use std::collections::HashMap;

use strata_spec::{Augmentation, DataDigest, DataSpec, Validation};

use crate::{DataError, Preparer, stratified};

/// Labelled images of one size, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Rows x height x width x channels, the channels of a pixel next to each other.
    pub pixels: Vec<u8>,
    /// The class of each row, from 0.
    pub labels: Vec<u32>,
    /// For each row the source that it is from, a place in [`Dataset::origins`]. Empty if all are from the first.
    pub origins: Vec<u8>,
}

/// Rows to learn from and rows to test with, and where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Rows to learn from, at least one.
    pub train: Images,
    /// Rows to choose by while learning, where there are such already.
    pub validation: Option<Images>,
    /// Rows that no training sees, at least one, of the same size as those of `train`.
    pub test: Images,
    /// For people: which data, from where.
    pub source: String,
    /// What was read, by content.
    pub digests: Vec<DataDigest>,
    /// The sources: the recipe's `data.source`, then those of `data.also`.
    pub origins: Vec<Origin>,
}

/// A source of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// As the recipe writes it.
    pub name: String,
    /// What its classes are called, in the order of their numbers; empty where nothing says so.
    pub labels: Vec<String>,
}

impl Dataset {
    /// Its rows as a training takes them: those for validation kept aside if `spec` asks for it and there are none yet,
    /// all in the network's channels and size. Rows of which random parts are taken stay larger
    /// ([`Preparer::fit_for_crops`]). Prepared again, it stays as it is.
    ///
    /// # Errors
    /// The rows are too few, or do not fit into memory.
    pub fn prepared(mut self, spec: &DataSpec, preparer: &Preparer) -> Result<Self, DataError> {
        if let (None, Some(validation)) = (&self.validation, &spec.validation) {
            self = self.with_validation(validation)?;
        }
        self.train = if takes_parts(spec) {
            preparer.fit_for_crops(self.train)?
        } else {
            preparer.fit(self.train)?
        };
        self.validation = self.validation.map(|held| preparer.fit(held)).transpose()?;
        self.test = preparer.fit(self.test)?;
        Ok(self)
    }

    /// A stratified part of its training rows kept aside: of each source, each class gives the same share.
    ///
    /// # Errors
    /// The rows are too few.
    pub fn with_validation(mut self, validation: &Validation) -> Result<Self, DataError> {
        let classes = self.train.labels.iter().max().map_or(0, |&label| label + 1);
        let groups: Vec<u32> = (0..self.train.len())
            .map(|row| self.train.labels[row] + classes * self.train.origin(row) as u32)
            .collect();
        let (train, held) = stratified(&groups, validation.fraction, validation.seed);
        if train.is_empty() || held.is_empty() {
            return Err(DataError::TooFew {
                rows: self.train.len(),
                fraction: validation.fraction,
                what: "validation",
            });
        }
        self.validation = Some(self.train.select(&held));
        self.train = self.train.select(&train);
        Ok(self)
    }
}

impl Dataset {
    /// Gives the classes of a source, a place in `origins`, the numbers that they have in `names`; as they are if nothing
    /// says what they are called.
    ///
    /// # Errors
    /// The classes of the source that are not among `names`; then nothing was changed.
    ///
    /// # Panics
    /// There is no such source.
    pub fn number_classes(&mut self, origin: usize, names: &[String]) -> Result<(), Vec<String>> {
        let own = &self.origins[origin].labels;
        if own.is_empty() || own == names {
            return Ok(());
        }
        let numbers: HashMap<&String, u32> = names.iter().zip(0..).collect();
        let unknown = own.iter().filter(|name| !numbers.contains_key(name));
        let unknown: Vec<String> = unknown.cloned().collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let numbers: Vec<u32> = own.iter().map(|name| numbers[name]).collect();
        for images in [
            Some(&mut self.train),
            self.validation.as_mut(),
            Some(&mut self.test),
        ]
        .into_iter()
        .flatten()
        {
            for row in 0..images.len() {
                if images.origin(row) == origin {
                    images.labels[row] = numbers[images.labels[row] as usize];
                }
            }
        }
        names.clone_into(&mut self.origins[origin].labels);
        Ok(())
    }
}

/// Whether training rows are larger than the network takes, because parts of them are.
pub(crate) fn takes_parts(spec: &DataSpec) -> bool {
    let is_crop = |one: &Augmentation| matches!(one, Augmentation::RandomResizedCrop(_));
    spec.augmentation.iter().any(is_crop)
}

impl Images {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one row: height x width x channels.
    pub fn row_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of row `index`.
    ///
    /// # Panics
    /// There is no such row.
    pub fn row(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.row_len()..][..self.row_len()]
    }

    /// The source of row `index`, a place in [`Dataset::origins`].
    ///
    /// # Panics
    /// There is no such row.
    pub fn origin(&self, index: usize) -> usize {
        assert!(index < self.len(), "there is no row {index}");
        self.origins
            .get(index)
            .map_or(0, |&origin| usize::from(origin))
    }

    /// Appends rows of the same size.
    pub(crate) fn append(&mut self, other: Self, origin: u8) {
        self.origins.resize(self.len(), 0);
        self.origins.resize(self.len() + other.len(), origin);
        self.pixels.extend_from_slice(&other.pixels);
        self.labels.extend_from_slice(&other.labels);
    }

    /// The given rows, in the given order.
    ///
    /// # Panics
    /// There is no such row.
    pub fn select(&self, rows: &[u32]) -> Self {
        let mut pixels = Vec::with_capacity(rows.len() * self.row_len());
        for &row in rows {
            pixels.extend_from_slice(self.row(row as usize));
        }
        let labels = rows.iter().map(|&row| self.labels[row as usize]).collect();
        let origins = match self.origins.as_slice() {
            [] => Vec::new(),
            origins => rows.iter().map(|&row| origins[row as usize]).collect(),
        };
        Self {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels,
            labels,
            origins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_keeps_pixels_with_their_labels() {
        let images = Images {
            height: 1,
            width: 2,
            channels: 1,
            pixels: (0..6).collect(),
            labels: vec![7, 8, 9],
            origins: vec![],
        };
        let chosen = images.select(&[2, 0, 2]);
        assert_eq!(chosen.pixels, [4, 5, 0, 1, 4, 5]);
        assert_eq!(chosen.labels, [9, 7, 9]);
        assert_eq!((chosen.len(), chosen.row(1)), (3, [0, 1].as_slice()));
        assert!(images.select(&[]).is_empty());
    }

    #[test]
    fn classes_take_the_numbers_of_their_names() {
        let images = |labels: &[u32]| Images {
            height: 1,
            width: 1,
            channels: 1,
            pixels: vec![0; labels.len()],
            labels: labels.to_vec(),
            origins: vec![0, 0, 1],
        };
        let names = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let origin = |words: &str| Origin {
            name: String::new(),
            labels: names(words),
        };
        let mut data = Dataset {
            train: images(&[0, 1, 1]),
            validation: Some(images(&[1, 1, 0])),
            test: images(&[1, 0, 0]),
            source: String::new(),
            digests: Vec::new(),
            origins: vec![origin("cat dog"), origin("bee cat")],
        };
        let before = data.clone();
        let unknown = data.number_classes(0, &names("dog cow ant"));
        assert_eq!((unknown, &data), (Err(names("cat")), &before));
        data.number_classes(0, &names("dog ant cat")).unwrap();
        assert_eq!(data.train.labels, [2, 0, 1]);
        assert_eq!(data.validation.unwrap().labels, [0, 0, 0]);
        assert_eq!(data.test.labels, [0, 2, 0]);
        assert_eq!(data.origins, [origin("dog ant cat"), origin("bee cat")]);
    }

    #[test]
    fn each_row_knows_its_source() {
        let images = |rows: usize, value| Images {
            height: 1,
            width: 1,
            channels: 1,
            pixels: vec![value; rows],
            labels: vec![0; rows],
            origins: vec![],
        };
        let mut all = images(2, 10);
        all.append(images(1, 20), 1);
        all.append(images(2, 30), 2);
        assert_eq!(
            (0..5).map(|row| all.origin(row)).collect::<Vec<_>>(),
            [0, 0, 1, 2, 2]
        );
        let chosen = all.select(&[4, 0, 2]);
        assert_eq!(
            (chosen.pixels, chosen.origins),
            (vec![30, 10, 20], vec![2, 0, 1])
        );
    }
}
