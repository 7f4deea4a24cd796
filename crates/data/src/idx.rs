//! IDX files, as MNIST came in them: <https://yann.lecun.org/exdb/mnist/index.html>, "File formats".
//!
//! A file starts with big-endian 32-bit numbers: a magic number, the count, and for images the
//! height and width. Then one byte for each label or pixel. Files may be plain or gzip; the content
//! decides, not the name.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use crate::MOST_SIDE;

const IMAGES: u32 = 0x0000_0803;
const LABELS: u32 = 0x0000_0801;

/// No deflate stream unpacks to more than 1,032 times its size: a match of 258 bytes takes at least
/// two bits.
const MOST_RATIO: u64 = 1032;

/// What is wrong with an IDX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// It ends too early.
    #[error("truncated: expected {expected} bytes, found {found}")]
    Truncated {
        /// Bytes that it should unpack to.
        expected: u64,
        /// Bytes that it unpacks to.
        found: u64,
    },
    /// It is of another kind.
    #[error("wrong magic number: expected {expected:#010x} ({kind}), found {found:#010x}")]
    Magic {
        /// The number of the kind that was wanted.
        expected: u32,
        /// That kind.
        kind: &'static str,
        /// Its own number.
        found: u32,
    },
    /// Its gzip stream is cut or damaged.
    #[error("bad gzip: {0}")]
    Gzip(io::Error),
    /// Its header announces more than so many compressed bytes can hold.
    #[error(
        "its header announces {announced} bytes, more than {compressed} compressed bytes can hold"
    )]
    Announced {
        /// Bytes that the header announces.
        announced: u64,
        /// Size of the file.
        compressed: u64,
    },
    /// It goes on after its end.
    #[error("trailing bytes: expected {expected} bytes, found more")]
    Trailing {
        /// Bytes that the header announces.
        expected: u64,
    },
    /// It holds nothing.
    #[error("holds no {kind}")]
    Empty {
        /// Images or labels.
        kind: &'static str,
    },
    /// Its images have an impossible size.
    #[error("images of {height}x{width}: expected 1 to {MOST_SIDE} pixels a side")]
    Size {
        /// Height that the header announces.
        height: u32,
        /// Width that the header announces.
        width: u32,
    },
    /// A label that is no class.
    #[error("label {found} of row {row} is out of range: expected 0 to {}", classes.saturating_sub(1))]
    Label {
        /// The row, from 0.
        row: usize,
        /// Its label.
        found: u8,
        /// Number of classes.
        classes: usize,
    },
}

/// Grey images, as a file holds them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IdxImages {
    pub(crate) count: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) pixels: Vec<u8>,
}

/// Reads a file of images.
pub(crate) fn images(file: &[u8]) -> Result<IdxImages, IdxError> {
    let ([_, count, height, width], pixels) = read(file, |header: &[u32; 4]| {
        let [magic, count, height, width] = *header;
        expect_kind(magic, IMAGES, "images")?;
        if count == 0 {
            return Err(IdxError::Empty { kind: "images" });
        }
        let allowed = 1..=MOST_SIDE as u32;
        if !allowed.contains(&height) || !allowed.contains(&width) {
            return Err(IdxError::Size { height, width });
        }
        // 32 + 13 + 13 bits at most.
        Ok(u64::from(count) * u64::from(height) * u64::from(width))
    })?;
    Ok(IdxImages {
        count: count as usize,
        height: height as usize,
        width: width as usize,
        pixels,
    })
}

/// Reads a file of labels, each below `classes`.
pub(crate) fn labels(file: &[u8], classes: usize) -> Result<Vec<u32>, IdxError> {
    let (_, labels) = read(file, |header: &[u32; 2]| {
        let [magic, count] = *header;
        expect_kind(magic, LABELS, "labels")?;
        if count == 0 {
            Err(IdxError::Empty { kind: "labels" })
        } else {
            Ok(u64::from(count))
        }
    })?;
    let outside = |&(_, &label): &(usize, &u8)| usize::from(label) >= classes;
    if let Some((row, &found)) = labels.iter().enumerate().find(outside) {
        return Err(IdxError::Label {
            row,
            found,
            classes,
        });
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

fn expect_kind(found: u32, expected: u32, kind: &'static str) -> Result<(), IdxError> {
    if found == expected {
        Ok(())
    } else {
        Err(IdxError::Magic {
            expected,
            kind,
            found,
        })
    }
}

/// The header and the body of a file; `body_len` checks the header and says how long the body must be.
fn read<const N: usize>(
    file: &[u8],
    body_len: impl Fn(&[u32; N]) -> Result<u64, IdxError>,
) -> Result<([u32; N], Vec<u8>), IdxError> {
    let size = file.len() as u64;
    if !file.starts_with(&[0x1f, 0x8b]) {
        let truncated = |expected| IdxError::Truncated {
            expected,
            found: size,
        };
        return read_from(&mut &file[..], size, body_len, truncated);
    }
    let mut unpacked = GzDecoder::new(file);
    let too_much = |announced| IdxError::Announced {
        announced,
        compressed: size,
    };
    let content = read_from(
        &mut unpacked,
        size.saturating_mul(MOST_RATIO),
        body_len,
        too_much,
    )?;
    if !unpacked.get_ref().is_empty() {
        return Err(IdxError::Trailing {
            expected: N as u64 * 4 + content.1.len() as u64,
        });
    }
    Ok(content)
}

/// Reads exactly what the header announces. Memory is taken only when it is no more than `most`.
fn read_from<const N: usize>(
    source: &mut impl Read,
    most: u64,
    body_len: impl Fn(&[u32; N]) -> Result<u64, IdxError>,
    above_most: impl Fn(u64) -> IdxError,
) -> Result<([u32; N], Vec<u8>), IdxError> {
    let header_len = N as u64 * 4;
    let mut header = [[0; 4]; N];
    let found = fill(source, header.as_flattened_mut())? as u64;
    if found < 4 {
        return Err(IdxError::Truncated {
            expected: header_len,
            found,
        });
    }
    let header = header.map(u32::from_be_bytes);
    // A short file of another kind is better told as such, and `body_len` looks at the kind first.
    let body_len = match body_len(&header) {
        Err(error @ IdxError::Magic { .. }) => return Err(error),
        _ if found < header_len => {
            return Err(IdxError::Truncated {
                expected: header_len,
                found,
            });
        }
        body_len => body_len?,
    };

    let expected = header_len + body_len;
    if expected > most {
        return Err(above_most(expected));
    }
    let mut body = vec![0; body_len as usize];
    let found = fill(source, &mut body)? as u64;
    if found < body_len {
        return Err(IdxError::Truncated {
            expected,
            found: header_len + found,
        });
    }
    // Reading past the end also makes the gzip decoder compare its checksum.
    if fill(source, &mut [0])? != 0 {
        return Err(IdxError::Trailing { expected });
    }
    Ok((header, body))
}

/// Reads until the buffer is full or the source ends; how much it read.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, IdxError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(IdxError::Gzip(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn file(header: &[u32], body: &[u8]) -> Vec<u8> {
        header
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .chain(body.iter().copied())
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn check_images(file: &[u8], message: &str) {
        assert_eq!(images(file).unwrap_err().to_string(), message);
    }

    fn check_labels(file: &[u8], message: &str) {
        assert_eq!(labels(file, 10).unwrap_err().to_string(), message);
    }

    #[test]
    fn plain_and_gzip_files_give_the_same() {
        let two = file(&[IMAGES, 2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let expected = IdxImages {
            count: 2,
            height: 1,
            width: 3,
            pixels: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(images(&two).unwrap(), expected);
        assert_eq!(images(&gzip(&two)).unwrap(), expected);
        let three = file(&[LABELS, 3], &[9, 0, 4]);
        assert_eq!(labels(&three, 10).unwrap(), [9, 0, 4]);
        assert_eq!(labels(&gzip(&three), 10).unwrap(), [9, 0, 4]);
    }

    #[test]
    fn a_cut_file_is_told_with_its_sizes() {
        let whole = file(&[IMAGES, 2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let message = "truncated: expected 22 bytes, found 21";
        check_images(&whole[..21], message);
        check_images(&gzip(&whole[..21]), message);
        check_images(&whole[..10], "truncated: expected 16 bytes, found 10");
        check_images(&[], "truncated: expected 16 bytes, found 0");
        check_labels(
            &file(&[LABELS, 5], &[1, 2]),
            "truncated: expected 13 bytes, found 10",
        );
    }

    #[test]
    fn a_file_of_another_kind_is_told_by_its_magic_number() {
        check_images(
            &file(&[LABELS, 1], &[1]),
            "wrong magic number: expected 0x00000803 (images), found 0x00000801",
        );
        check_labels(
            b"PK\x03\x04 and more",
            "wrong magic number: expected 0x00000801 (labels), found 0x504b0304",
        );
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let long = file(&[LABELS, 2], &[1, 2, 3]);
        let message = "trailing bytes: expected 10 bytes, found more";
        check_labels(&long, message);
        check_labels(&gzip(&long), message);
        check_labels(&[gzip(&long[..10]), b"more".to_vec()].concat(), message);
    }

    #[test]
    fn a_damaged_gzip_stream_is_told() {
        let noise: Vec<u8> = (0..5000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 10)
            .collect();
        let whole = gzip(&file(&[LABELS, 5000], &noise));
        let mut checksum = whole.clone();
        checksum[whole.len() - 8] ^= 1;
        let mut middle = whole.clone();
        middle[whole.len() / 2] ^= 0x55;
        for damaged in [
            &whole[..whole.len() / 2],
            &whole[..whole.len() - 3],
            &checksum,
            &middle,
            &whole[..5],
        ] {
            let error = labels(damaged, 10).unwrap_err();
            assert!(
                matches!(error, IdxError::Gzip(_) | IdxError::Truncated { .. }),
                "{error}"
            );
        }
        check_labels(
            &checksum,
            "bad gzip: corrupt gzip stream does not have a matching checksum",
        );
    }

    #[test]
    fn a_header_that_claims_too_much_takes_no_memory() {
        let claim = file(&[IMAGES, u32::MAX, 8192, 8192], &[0; 100]);
        check_images(
            &claim,
            "truncated: expected 288230376084602896 bytes, found 116",
        );
        let packed = gzip(&claim);
        let message = format!(
            "its header announces 288230376084602896 bytes, more than {} compressed bytes can hold",
            packed.len()
        );
        check_images(&packed, &message);
    }

    #[test]
    fn empty_files_and_impossible_sizes_are_refused() {
        check_images(&file(&[IMAGES, 0, 28, 28], &[]), "holds no images");
        check_labels(&file(&[LABELS, 0], &[]), "holds no labels");
        check_images(
            &file(&[IMAGES, 1, 0, 28], &[]),
            "images of 0x28: expected 1 to 8192 pixels a side",
        );
        check_images(
            &file(&[IMAGES, 1, 28, 100_000], &[]),
            "images of 28x100000: expected 1 to 8192 pixels a side",
        );
    }

    #[test]
    fn a_label_that_is_no_class_is_refused() {
        check_labels(
            &file(&[LABELS, 3], &[9, 10, 0]),
            "label 10 of row 1 is out of range: expected 0 to 9",
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            header in prop::array::uniform4(prop_oneof![0_u32..70, any::<u32>()]),
            body in prop::collection::vec(any::<u8>(), 0..80),
            packed: bool,
        ) {
            for magic in [IMAGES, LABELS] {
                let plain = file(&[&[magic], &header[..]].concat(), &body);
                let bytes = if packed { gzip(&plain) } else { plain };
                let _ = (images(&bytes), labels(&bytes, 10));
            }
        }
    }
}
