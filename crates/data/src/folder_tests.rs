use super::*;

/// Makes files, each with nothing in it.
fn make(paths: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in paths {
        let place = folder.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, []).unwrap();
        }
    }
    folder
}

fn paths(files: &[ImageFile]) -> Vec<(&str, u32)> {
    let path = |file: &ImageFile| file.path.to_str().unwrap().to_owned();
    files
        .iter()
        .map(|file| (&*path(file).leak(), file.class))
        .collect()
}

fn check_refused(paths: &[&str], expected: &str) {
    let folder = make(paths);
    let message = list(folder.path()).unwrap_err().to_string();
    assert!(message.contains(expected), "`{message}` lacks `{expected}`");
}

#[test]
fn classes_are_folders_sorted_by_name() {
    let folder = make(&[
        "dog/2.PNG",
        "dog/1.jpeg",
        "Cat/a/b.jpg",
        "cat/x.png",
        "cat/notes.txt",
        "cat/.hidden.png",
        ".git/x.png",
        "readme.md",
    ]);
    let mut listing = list(folder.path()).unwrap();
    assert_eq!(listing.classes, ["Cat", "cat", "dog"]);
    let expected = [
        ("Cat/a/b.jpg", 0),
        ("cat/x.png", 1),
        ("dog/1.jpeg", 2),
        ("dog/2.PNG", 2),
    ];
    assert_eq!(paths(&listing.train), expected);
    assert_eq!((listing.other_files, listing.links), (1, 0));
    assert!(listing.test.is_none() && listing.validation.is_none());
    // One of the two dogs; the others are alone.
    assert!(listing.keep_test_aside().unwrap());
    assert_eq!((listing.train.len(), listing.test.unwrap().len()), (3, 1));
}

#[test]
fn parts_are_folders_of_folders() {
    let folder = make(&["train/a/1.png", "train/b/2.png", "val/b/3.png"]);
    let listing = list(folder.path()).unwrap();
    assert_eq!(
        paths(&listing.train),
        [("train/a/1.png", 0), ("train/b/2.png", 1)]
    );
    assert_eq!(paths(&listing.test.unwrap()), [("val/b/3.png", 1)]);
    assert_eq!(listing.validation, None);

    let folder = make(&["train/a/1.png", "val/a/2.png", "test/a/3.png"]);
    let listing = list(folder.path()).unwrap();
    assert_eq!(paths(&listing.validation.unwrap()), [("val/a/2.png", 0)]);
    assert_eq!(paths(&listing.test.unwrap()), [("test/a/3.png", 0)]);

    // Classes may be called so, too.
    let folder = make(&["train/1.png", "car/2.png"]);
    assert_eq!(list(folder.path()).unwrap().classes, ["car", "train"]);
}

#[test]
fn a_folder_that_cannot_be_a_data_set_is_refused() {
    check_refused(&["cat/1.png", "dog/"], "/dog: no image files");
    check_refused(&["cat/1.png", "dog/notes.txt"], "/dog: no image files");
    check_refused(
        &["train/cat/1.png", "test/cat/"],
        "/test/cat: no image files",
    );
    check_refused(
        &["train/cat/1.png", "test/dog/1.png"],
        "/test/dog: no such class in ",
    );
    check_refused(&["1.png"], "expected a folder for each class");
    check_refused(&["train/1.png"], "/train: expected a folder for each class");
    check_refused(&["a/b/c/d/e/f/g/h/i/j/k.png"], "more than 8 folders deep");
    let folder = make(&["a/1.png"]);
    let error = list(folder.path()).unwrap().keep_test_aside().unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 rows are too few to keep 0.1 of each class for tests"
    );
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed() {
    use std::os::unix::fs::symlink;

    let outside = make(&["secret.png", "more/1.png"]);
    let folder = make(&["a/1.png"]);
    let class = folder.path().join("a");
    symlink(outside.path().join("secret.png"), class.join("2.png")).unwrap();
    symlink(outside.path().join("more"), class.join("more")).unwrap();
    symlink(folder.path(), class.join("round")).unwrap();
    symlink("nowhere.png", class.join("3.png")).unwrap();
    symlink("1.png", class.join("4.png")).unwrap();
    symlink(outside.path(), folder.path().join("b")).unwrap();
    let listing = list(folder.path()).unwrap();
    assert_eq!(listing.classes, ["a"]);
    assert_eq!(paths(&listing.train), [("a/1.png", 0), ("a/4.png", 0)]);
    assert_eq!(listing.links, 4);
}
