//! Images whose class can be seen from where they are bright, in every form in which the program takes them.

/// Height and width.
pub(crate) const SIDE: usize = 8;
/// Left, middle and right.
pub(crate) const CLASSES: usize = 3;

/// A file in the format of MNIST.
pub(crate) fn idx(magic: u32, sizes: &[usize], content: &[u8]) -> Vec<u8> {
    let mut file = magic.to_be_bytes().to_vec();
    for size in sizes {
        file.extend((*size as u32).to_be_bytes());
    }
    file.extend(content);
    file
}

/// An 8x8 image of a class.
pub(crate) fn image(class: usize, row: usize, salt: usize) -> Vec<u8> {
    let pixel = |place: usize| {
        let noise = (((row * 37 + place * 101 + salt) * 2_654_435_761) >> 8 & 127) as u8;
        if place % SIDE * CLASSES / SIDE == class {
            128 + noise
        } else {
            noise
        }
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// The same as a PNG file.
pub(crate) fn png(class: usize) -> Vec<u8> {
    png_of(class, 7)
}

/// One of the images of a class as a PNG file.
pub(crate) fn png_of(class: usize, row: usize) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let pixels = image(class, row, 3);
    let side = SIDE as u32;
    let (color, format) = (image::ExtendedColorType::L8, image::ImageFormat::Png);
    image::write_buffer_with_format(&mut file, &pixels, side, side, color, format).unwrap();
    file.into_inner()
}

/// The same as the row that the program makes of it.
pub(crate) fn row(class: usize) -> Vec<f32> {
    image(class, 7, 3)
        .into_iter()
        .map(|value| f32::from(value) / 255.0)
        .collect()
}
