use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use bytes::Bytes;
use strata_data::{MOST_PIXELS, decode};

use super::INPUT;
use crate::{
    http::Refusal,
    runtime::{Rows, Version},
};

/// What the rows are made of.
#[derive(Debug)]
pub(crate) enum Source {
    /// They are there.
    Prepared(Rows),
    /// Pictures of one size, one after the other.
    Pixels {
        height: usize,
        width: usize,
        channels: usize,
        bytes: Bytes,
    },
    /// Image files.
    Encoded(Vec<Bytes>),
}

/// Who waits for rows that are prepared elsewhere.
#[derive(Debug)]
pub(crate) struct Waiter {
    deadline: Instant,
    /// Gone when the request is.
    request: Weak<()>,
}

impl Waiter {
    pub(crate) fn of(request: &Arc<()>, deadline: Instant) -> Self {
        Self {
            deadline,
            request: Arc::downgrade(request),
        }
    }

    /// Refuses work that nobody waits for any more: it would only keep others waiting.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.request.strong_count() == 0 || self.deadline <= Instant::now() {
            return Err(Refusal::Overdue);
        }
        Ok(())
    }
}

impl Source {
    /// The prepared rows. Given up between two pictures when nobody waits for them any more.
    pub(crate) fn prepare(self, version: &Version, waiter: &Waiter) -> Result<Rows, Refusal> {
        let preparer = &version.preparer;
        let mut rows = Vec::new();
        match self {
            Self::Prepared(prepared) => return Ok(prepared),
            Self::Pixels {
                height,
                width,
                channels,
                bytes,
            } => {
                // Not zero: shapes without elements were refused.
                for picture in bytes.chunks(height * width * channels) {
                    waiter.check()?;
                    let row = preparer.pixels(height, width, channels, picture);
                    let row = row
                        .map_err(|error| Refusal::Malformed(format!("input `{INPUT}`: {error}")))?;
                    append(&mut rows, row);
                }
            }
            Self::Encoded(files) => {
                let mut pixels = 0;
                for (index, file) in files.iter().enumerate() {
                    waiter.check()?;
                    let broken = |error| {
                        Refusal::Malformed(format!("input `{INPUT}`: row {index}: {error}"))
                    };
                    let image = decode(file).map_err(broken)?;
                    // Small files may hold large images: the body's bound is none for the work.
                    pixels += image.height * image.width;
                    if pixels > MOST_PIXELS {
                        return Err(Refusal::TooLarge {
                            what: "pixels in all files",
                            limit: MOST_PIXELS,
                        });
                    }
                    let (height, width) = (image.height, image.width);
                    let row = preparer.pixels(height, width, image.channels, &image.pixels);
                    append(&mut rows, row.map_err(broken)?);
                }
            }
        }
        Ok(rows.into())
    }
}

/// Without a copy of the first one, which mostly is the only one.
fn append(rows: &mut Vec<f32>, row: Vec<f32>) {
    if rows.is_empty() {
        *rows = row;
    } else {
        rows.extend(row);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    use super::*;
    use crate::testing;

    const LONG: Duration = Duration::from_secs(600);

    fn png(side: u32) -> Bytes {
        let mut file = Vec::new();
        let pixels = vec![0; (side * side) as usize];
        PngEncoder::new(&mut file)
            .write_image(&pixels, side, side, ExtendedColorType::L8)
            .unwrap();
        file.into()
    }

    #[test]
    fn rows_that_nobody_waits_for_are_not_prepared() {
        let version = testing::version(1);
        let pixels = || Source::Pixels {
            height: 1,
            width: 1,
            channels: 1,
            bytes: Bytes::from_static(&[0; 4]),
        };
        let files = || Source::Encoded(vec![png(1); 4]);
        let check = |waiter: &Waiter, is_prepared: bool| {
            for source in [pixels(), files()] {
                match source.prepare(&version, waiter) {
                    Ok(rows) => assert!(is_prepared && rows.len() == 4 * testing::ROW),
                    Err(refusal) => {
                        assert!(!is_prepared && matches!(refusal, Refusal::Overdue));
                    }
                }
            }
        };
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        check(&waiter, true);
        drop(request);
        check(&waiter, false);
        let request = Arc::new(());
        check(&Waiter::of(&request, Instant::now()), false);
    }

    #[test]
    fn files_have_a_bound_on_all_their_pixels() {
        let version = testing::version(1);
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        // Four are as many as one may have.
        let file = png(2896);
        let prepare = |count| Source::Encoded(vec![file.clone(); count]).prepare(&version, &waiter);
        assert_eq!(prepare(4).unwrap().len(), 4 * testing::ROW);
        let refusal = prepare(5).unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal}");
    }
}
