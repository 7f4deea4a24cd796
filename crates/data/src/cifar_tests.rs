use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::*;

/// A member of an archive, with whatever path it claims.
fn append(archive: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(content.len() as u64);
    header.set_entry_type(kind);
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A row whose red is 1, whose green is 2, and whose blue is 3, but for the first pixel's red, which is `first`.
fn row(labels: &[u8], first: u8) -> Vec<u8> {
    let planes = [[1; PLANE], [2; PLANE], [3; PLANE]];
    let mut row = [labels, planes.as_flattened()].concat();
    row[labels.len()] = first;
    row
}

const NAMES: &str = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";

/// The files of a small CIFAR-10 archive: two rows in each training file, one test row.
fn files() -> Vec<(String, Vec<u8>)> {
    let path = |name: &str| format!("cifar-10-batches-bin/{name}");
    let mut files = vec![(path("batches.meta.txt"), NAMES.as_bytes().to_vec())];
    for (index, name) in CIFAR_10.train.iter().enumerate() {
        let index = index as u8;
        let rows = [row(&[index], 10 + index), row(&[index + 1], 20 + index)];
        files.push((path(name), rows.concat()));
    }
    files.push((path("test_batch.bin"), row(&[9], 99)));
    files
}

fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    append(
        &mut archive,
        "cifar-10-batches-bin/",
        EntryType::Directory,
        &[],
    );
    for (path, content) in files {
        append(&mut archive, path, EntryType::Regular, content);
    }
    gzip(&archive.into_inner().unwrap())
}

fn check_refused(archive: &[u8], expected: &str) {
    let message = CIFAR_10.read(archive).unwrap_err().to_string();
    assert!(message.contains(expected), "`{message}` lacks `{expected}`");
}

/// After a file was replaced, the error must be this one.
fn check_replaced(index: usize, content: &[u8], expected: &str) {
    let mut files = files();
    files[index].1 = content.to_vec();
    check_refused(&pack(&files), expected);
}

#[test]
fn rows_come_in_the_order_of_the_files_names() {
    let mut files = files();
    files.reverse();
    let contents = CIFAR_10.read(pack(&files).as_slice()).unwrap();
    assert_eq!(contents.train.labels, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
    assert_eq!(contents.train.row(3)[..6], [21, 2, 3, 1, 2, 3]);
    assert_eq!(
        (contents.test.labels, contents.test.pixels[0]),
        (vec![9], 99)
    );
    assert_eq!(contents.names.concat(), "abcdefghij");
}

#[test]
fn the_fine_label_is_the_second_of_cifar_100() {
    let names: String = (0..100).map(|class| format!("class {class}\n")).collect();
    let files = [
        ("train.bin", [row(&[3, 42], 7), row(&[19, 99], 8)].concat()),
        ("test.bin", row(&[0, 5], 9)),
        ("fine_label_names.txt", names.into_bytes()),
        ("coarse_label_names.txt", b"fish\n".to_vec()),
    ]
    .map(|(name, content)| (format!("cifar-100-binary/{name}"), content));
    let contents = CIFAR_100.read(pack(&files).as_slice()).unwrap();
    assert_eq!(contents.train.labels, [42, 99]);
    assert_eq!(contents.train.row(1)[..4], [8, 2, 3, 1]);
    assert_eq!(contents.names[99], "class 99");
}

#[test]
fn what_is_wrong_with_an_archive_is_said() {
    let whole = pack(&files());
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        check_refused(&whole[..length], "cut short or damaged");
    }
    let mut damaged = whole.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    check_refused(&damaged, "cut short or damaged");
    check_refused(b"not an archive", "cut short or damaged");
    check_refused(
        &pack(&files()[..6]),
        "no file `cifar-10-batches-bin/test_batch.bin`",
    );
    check_refused(
        &pack(&files()[1..]),
        "no file `cifar-10-batches-bin/batches.meta.txt`",
    );
    check_refused(&pack(&[files(), files()].concat()), "twice");
    check_replaced(
        1,
        &row(&[0], 0)[1..],
        "has 3072 bytes: expected 1 to 50000 rows of 3073 bytes",
    );
    check_replaced(6, &[], "`cifar-10-batches-bin/test_batch.bin` has 0 bytes");
    check_replaced(
        6,
        &row(&[10], 0),
        "label 10 of row 0 is out of range: expected 0 to 9",
    );
    check_replaced(
        0,
        b"one\ntwo\n",
        "expected 10 class names, one a line, found 2",
    );
    check_replaced(0, &[0xff, 0xfe], "cut short or damaged");
}

#[test]
fn an_archive_cannot_climb_link_or_swell() {
    for path in [
        "../x",
        "cifar-10-batches-bin/../../etc/passwd",
        "/etc/passwd",
    ] {
        let mut files = files();
        files.push((path.to_owned(), vec![1]));
        check_refused(
            &pack(&files),
            &format!("`{path}` climbs out of the archive's folder"),
        );
    }
    let mut archive = Builder::new(Vec::new());
    append(
        &mut archive,
        "cifar-10-batches-bin/test_batch.bin",
        EntryType::Symlink,
        &[],
    );
    check_refused(
        &gzip(&archive.into_inner().unwrap()),
        "no file `cifar-10-batches-bin/test_batch.bin`",
    );

    // A header that announces an extended name of 300 MB, which compresses to nearly nothing.
    let mut header = Header::new_gnu();
    header.set_size(300 << 20);
    header.set_entry_type(EntryType::GNULongName);
    header.set_cksum();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(header.as_bytes()).unwrap();
    for _ in 0..300 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    check_refused(&encoder.finish().unwrap(), "unpacks to more than");
}
