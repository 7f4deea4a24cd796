use strata_spec::DataDigest;

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
}

/// Rows to learn from and rows to test with, and where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Rows to learn from, at least one.
    pub train: Images,
    /// Rows that no training sees, at least one, of the same size as those of `train`.
    pub test: Images,
    /// For people: which data, from where.
    pub source: String,
    /// What was read, by content.
    pub digests: Vec<DataDigest>,
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
        Self {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels,
            labels,
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
        };
        let chosen = images.select(&[2, 0, 2]);
        assert_eq!(chosen.pixels, [4, 5, 0, 1, 4, 5]);
        assert_eq!(chosen.labels, [9, 7, 9]);
        assert_eq!((chosen.len(), chosen.row(1)), (3, [0, 1].as_slice()));
        assert!(images.select(&[]).is_empty());
    }
}
