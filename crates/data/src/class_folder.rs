//! A data set that is a folder of image files.

use std::path::Path;

use strata_spec::{DataDigest, DataSpec};

use crate::{
    DataError, Dataset, Images, Origin, Preparer,
    files::{self, FILES_FOR_ONE_UNREADABLE, Rows, Unreadable},
    folder::{self, ImageFile, Listing},
    images::takes_parts,
    load::check_classes,
};

/// Reads a folder of image files, prepared: those to learn from in a larger size where parts of them are learned from.
///
/// Files that cannot be read are left out, if they are at most one in 20 and leave each class some.
pub(crate) fn read_class_folder(
    folder: &Path,
    spec: &DataSpec,
    preparer: &Preparer,
    classes: usize,
) -> Result<Dataset, DataError> {
    let mut listing = folder::list(folder)?;
    check_classes(
        &folder.display().to_string(),
        listing.classes.len(),
        classes,
    )?;
    let keeps_test = listing.keep_test_aside()?;
    let mut validation = listing.validation.take();
    if let Some(wanted) = &spec.validation {
        if validation.is_some() {
            return Err(DataError::HasValidation {
                folder: folder.join("val"),
            });
        }
        let rows = listing.train.len();
        let held = folder::split_off(&mut listing.train, wanted.fraction, wanted.seed);
        if held.is_empty() {
            return Err(DataError::TooFew {
                rows,
                fraction: wanted.fraction,
                what: "validation",
            });
        }
        validation = Some(held);
    }

    let mut unreadable = Vec::new();
    let mut digests = Vec::new();
    let mut read = |part: &str, files: &[ImageFile], preparer: &Preparer| {
        let rows: Rows = files::read(folder, files, preparer)?;
        unreadable.extend(rows.unreadable);
        digests.push(DataDigest {
            name: format!("images/{part}"),
            digest: rows.digest,
        });
        Ok::<Images, DataError>(rows.images)
    };
    let larger = takes_parts(spec).then(|| preparer.for_crops());
    let train = read("train", &listing.train, larger.as_ref().unwrap_or(preparer))?;
    let held = validation
        .as_ref()
        .map(|files| read("validation", files, preparer))
        .transpose()?;
    let test_files = listing.test.as_deref().unwrap_or_default();
    let test = read("test", test_files, preparer)?;

    let files = listing.train.len() + validation.map_or(0, |held| held.len()) + test_files.len();
    check_unreadable(&listing, &unreadable, files, [&train, &test])?;
    let mut source = format!(
        "{} classes of images from {}",
        listing.classes.len(),
        folder.display()
    );
    if keeps_test {
        source.push_str(&format!(
            ", {} of each class kept aside as test rows",
            folder::TEST_SHARE
        ));
    }
    if !unreadable.is_empty() {
        source.push_str(&format!(
            ", {} of {files} files left out that cannot be read (`strata data inspect` lists them)",
            unreadable.len()
        ));
    }
    Ok(Dataset {
        train,
        validation: held,
        test,
        source,
        digests,
        origins: vec![Origin {
            name: String::new(),
            labels: listing.classes,
        }],
    })
}

/// Refuses a folder too much of which cannot be read.
fn check_unreadable(
    listing: &Listing,
    unreadable: &[Unreadable],
    files: usize,
    [train, test]: [&Images; 2],
) -> Result<(), DataError> {
    if let [first, ..] = unreadable
        && (unreadable.len() * FILES_FOR_ONE_UNREADABLE > files || test.is_empty())
    {
        return Err(DataError::TooManyUnreadable {
            folder: listing.root.clone(),
            count: unreadable.len(),
            files,
            first: Box::new(first.clone()),
        });
    }
    let mut has_rows = vec![false; listing.classes.len()];
    for &label in &train.labels {
        has_rows[label as usize] = true;
    }
    match has_rows.iter().position(|has_rows| !has_rows) {
        Some(class) => Err(DataError::EmptyClass {
            folder: listing.root.join(&listing.classes[class]),
        }),
        None => Ok(()),
    }
}
