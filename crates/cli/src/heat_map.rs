//! An attribution as a picture beside its input.

use std::{
    fs::{self, OpenOptions},
    io::{self, Cursor, Write},
    path::Path,
};

use image::{ImageFormat, Rgb, RgbImage, imageops};
use strata_spec::ImagePreparation;

/// Pixels between the two pictures.
const GAP: u32 = 8;
/// Small images are enlarged to about this many pixels a side, in whole steps.
const SIDE: u32 = 280;

/// The input on the left; on the right what spoke for the class (red) and against it (blue), on white. The colours are
/// scaled to the largest value; channels are added up.
pub(crate) fn png(
    image: &ImagePreparation,
    row: &[f32],
    values: &[f32],
) -> image::ImageResult<Vec<u8>> {
    let (height, width) = (image.height as u32, image.width as u32);
    let pixels = image.height * image.width;
    let input = RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        let channel = |channel: usize| {
            let channel = channel.min(image.channels - 1);
            let (mean, std) = image.normalisation(channel);
            ((row[channel * pixels + at] * std + mean) * 255.0)
                .round()
                .clamp(0.0, 255.0) as u8
        };
        Rgb([channel(0), channel(1), channel(2)])
    });
    let sums: Vec<f32> = (0..pixels)
        .map(|at| {
            (0..image.channels)
                .map(|channel| values[channel * pixels + at])
                .sum()
        })
        .collect();
    let largest = sums
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let heat = RgbImage::from_fn(width, height, |x, y| {
        let share = sums[(y * width + x) as usize] / largest;
        let faded = (255.0 * (1.0 - share.abs())).round() as u8;
        if share >= 0.0 {
            Rgb([255, faded, faded])
        } else {
            Rgb([faded, faded, 255])
        }
    });

    let scale = (SIDE / width.max(height)).max(1);
    let enlarge = |picture: &RgbImage| {
        imageops::resize(
            picture,
            width * scale,
            height * scale,
            imageops::FilterType::Nearest,
        )
    };
    let mut both = RgbImage::from_pixel(
        2 * width * scale + GAP,
        height * scale,
        Rgb([255, 255, 255]),
    );
    imageops::replace(&mut both, &enlarge(&input), 0, 0);
    imageops::replace(
        &mut both,
        &enlarge(&heat),
        i64::from(width * scale + GAP),
        0,
    );
    let mut file = Cursor::new(Vec::new());
    both.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

/// Writes a file as a whole or not at all. A link stays one, and what is there but is no plain file (a pipe, a device)
/// is written to as it is.
pub(crate) fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let target = match fs::metadata(file) {
        // By the name that was given: what `/dev/stdout` leads to may have none of its own.
        Ok(found) if !found.is_file() => {
            return OpenOptions::new()
                .write(true)
                .open(file)?
                .write_all(content);
        }
        Ok(_) => fs::canonicalize(file)?,
        // There is nothing there, or a link to nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is its owner's only; a picture is as readable as any file that the user makes. The system takes
    // away what the umask forbids.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(content)?;
    temporary.persist(target)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_written_file_keeps_links_and_has_the_usual_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, usual] = ["file", "link", "usual"].map(|name| folder.path().join(name));
        write(&file, b"one").unwrap();
        symlink(&file, &link).unwrap();
        write(&link, b"two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        fs::write(&usual, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&usual));
    }

    #[test]
    fn a_device_is_written_to_and_stays_one() {
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_to_a_pipe_is_written_through() {
        use std::{io::Read, os::fd::AsRawFd};
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let (mut reader, writer) = io::pipe().unwrap();
        symlink(format!("/proc/self/fd/{}", writer.as_raw_fd()), &link).unwrap();
        write(&link, b"picture").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mut found = [0; 7];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"picture");
    }
}
