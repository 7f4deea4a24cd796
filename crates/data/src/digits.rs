//! Handwritten digits without a download: strokes, bent and set down by a seeded hand.
//!
//! Only operations whose result IEEE 754 fixes are used (no sine, no logarithm), so a seed gives
//! the same bytes on every machine. Each row has its own random stream, so the bytes do not depend
//! on the number of threads either.

use std::thread;

use crate::{
    Images,
    random::Random,
    strokes::{GLYPHS, Glyph},
};

/// Training rows of the data set `digits`.
pub const DIGITS_TRAIN_ROWS: usize = 20_000;

/// Test rows of the data set `digits`.
pub const DIGITS_TEST_ROWS: usize = 2_000;

/// Height and width of an image.
const SIDE: usize = 28;

/// Straight pieces for each piece of a stroke between two of its points.
const PIECES: usize = 7;

/// Draws handwritten digits, 28x28 and grey, white ink on black. Row `i` shows the digit `i % 10`.
///
/// Each is one of several ways to write the digit, its points shifted, bent by a smooth random
/// field, slanted, turned, scaled and set down a little off the centre with a pen of random width
/// and ink. Equal arguments give equal bytes; rows of different seeds have nothing in common.
pub fn draw(count: usize, seed: u64) -> Images {
    let mut pixels = vec![0; count * SIDE * SIDE];
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
    let rows_each = count.div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (part, chunk) in pixels.chunks_mut(rows_each * SIDE * SIDE).enumerate() {
            scope.spawn(move || {
                for (offset, image) in chunk.chunks_exact_mut(SIDE * SIDE).enumerate() {
                    let row = part * rows_each + offset;
                    draw_one(
                        row % 10,
                        &mut Random::new(b"digits\0\0", seed, row as u64),
                        image,
                    );
                }
            });
        }
    });
    let labels = (0..count).map(|row| (row % 10) as u32).collect();
    Images {
        height: SIDE,
        width: SIDE,
        channels: 1,
        pixels,
        labels,
        origins: Vec::new(),
    }
}

type Point = [f32; 2];

fn draw_one(digit: usize, random: &mut Random, image: &mut [u8]) {
    let glyph = GLYPHS[digit][random.below(GLYPHS[digit].len())];
    let mut lines = written(glyph, random);
    bend(&mut lines, random);
    slant_and_turn(&mut lines, random);
    set_down(&mut lines, random);
    ink(&lines, random, image);
}

/// The strokes as chains of straight pieces, each point a little off.
fn written(glyph: Glyph, random: &mut Random) -> Vec<Vec<Point>> {
    let unsteady = random.uniform(0.006, 0.030);
    let mut chain = |stroke: &[(f32, f32)]| {
        let mut points: Vec<Point> = Vec::with_capacity(stroke.len());
        for (index, &(x, y)) in stroke.iter().enumerate() {
            // A corner stays one: both of its points move alike.
            let is_corner = index > 0 && stroke[index - 1] == (x, y);
            let point = if is_corner {
                points[index - 1]
            } else {
                [x + unsteady * random.bell(), y + unsteady * random.bell()]
            };
            points.push(point);
        }
        let line = smooth(&points);
        // The pen comes down late or leaves early.
        let late = random.below(line.len() / 12 + 1);
        let early = random.below(line.len() / 12 + 1);
        line[late..line.len() - early].to_vec()
    };
    glyph.iter().map(|stroke| chain(stroke)).collect()
}

/// A uniform Catmull-Rom spline through the points, as a chain of straight pieces.
fn smooth(points: &[Point]) -> Vec<Point> {
    let at = |index: usize| points[index.min(points.len() - 1)];
    let mut line = vec![points[0]];
    for index in 0..points.len() - 1 {
        let [before, from, to, after] = [
            at(index.saturating_sub(1)),
            at(index),
            at(index + 1),
            at(index + 2),
        ];
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            line.push(std::array::from_fn(|axis| {
                let (a, b, c, d) = (before[axis], from[axis], to[axis], after[axis]);
                let linear = c - a;
                let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
                let cubic = 3.0 * b - a - 3.0 * c + d;
                b + 0.5 * t * (linear + t * (square + t * cubic))
            }));
        }
    }
    line
}

/// Moves each point by a smooth random field: random vectors on a coarse grid, blended in between.
fn bend(lines: &mut [Vec<Point>], random: &mut Random) {
    const CELLS: usize = 4;
    let strength = random.uniform(0.01, 0.06);
    let field: [[Point; CELLS]; CELLS] = std::array::from_fn(|_| {
        std::array::from_fn(|_| [strength * random.bell(), strength * random.bell()])
    });
    for point in lines.iter_mut().flatten() {
        let place = point
            .map(|coordinate| (coordinate * (CELLS - 1) as f32).clamp(0.0, (CELLS - 1) as f32));
        let cell = place.map(|coordinate| (coordinate as usize).min(CELLS - 2));
        let [u, v]: [f32; 2] = std::array::from_fn(|axis| {
            let t = place[axis] - cell[axis] as f32;
            t * t * (3.0 - 2.0 * t)
        });
        let [x, y] = cell;
        for axis in 0..2 {
            let above = field[y][x][axis] * (1.0 - u) + field[y][x + 1][axis] * u;
            let below = field[y + 1][x][axis] * (1.0 - u) + field[y + 1][x + 1][axis] * u;
            point[axis] += above * (1.0 - v) + below * v;
        }
    }
}

/// Makes narrow or wide, slants and turns.
fn slant_and_turn(lines: &mut [Vec<Point>], random: &mut Random) {
    let aspect = random.uniform(0.65, 1.0);
    let slant = 0.10 + 0.17 * random.bell();
    // Sine and cosine of an angle from the tangent of its half, without a library's approximations.
    let half = 0.05 * random.bell();
    let (sine, cosine) = (
        2.0 * half / (1.0 + half * half),
        (1.0 - half * half) / (1.0 + half * half),
    );
    for point in lines.iter_mut().flatten() {
        let (x, y) = ((point[0] - 0.5) * aspect, point[1] - 0.5);
        let x = x - slant * y;
        *point = [cosine * x - sine * y, sine * x + cosine * y];
    }
}

/// Scales to about 20 pixels on the longer side and places it about the centre of the image.
fn set_down(lines: &mut [Vec<Point>], random: &mut Random) {
    let mut low = [f32::MAX; 2];
    let mut high = [f32::MIN; 2];
    for point in lines.iter().flatten() {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let longer = (high[0] - low[0]).max(high[1] - low[1]).max(0.1);
    let scale = random.uniform(16.5, 20.0) / longer;
    let shift: Point =
        std::array::from_fn(|_| SIDE as f32 / 2.0 + 0.7 * random.bell().clamp(-2.0, 2.0));
    for point in lines.iter_mut().flatten() {
        *point = std::array::from_fn(|axis| {
            (point[axis] - (low[axis] + high[axis]) / 2.0) * scale + shift[axis]
        });
    }
}

/// Lays ink along the lines: white within the pen's width, a soft edge of about a pixel, a little
/// grain.
fn ink(lines: &[Vec<Point>], random: &mut Random, image: &mut [u8]) {
    let width = random.uniform(0.8, 1.8);
    let edge = random.uniform(0.9, 1.5);
    let pressure = random.uniform(0.78, 1.0);
    let mut cover = [0.0_f32; SIDE * SIDE];
    for line in lines {
        let mut radius = width * random.uniform(0.85, 1.15);
        for ends in line.windows(2) {
            // The hand presses more and less as it goes.
            radius = (radius + 0.05 * random.bell()).clamp(0.7 * width, 1.3 * width);
            cover_piece([ends[0], ends[1]], radius, edge, &mut cover);
        }
    }
    let grain = random.uniform(0.0, 0.10);
    for (pixel, cover) in image.iter_mut().zip(cover) {
        if cover > 0.0 {
            let level = cover * pressure * (1.0 + grain * random.bell());
            *pixel = (255.0 * level + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Raises what a straight piece covers, from 1 on it to 0 outside its edge.
fn cover_piece([from, to]: [Point; 2], radius: f32, edge: f32, cover: &mut [f32; SIDE * SIDE]) {
    let reach = radius + edge / 2.0;
    let span = |axis: usize| {
        // The middle of pixel `p` is at `p + 0.5`.
        let first = from[axis].min(to[axis]) - reach - 0.5;
        let last = from[axis].max(to[axis]) + reach + 0.5;
        (first.max(0.0) as usize).min(SIDE)..(last.max(0.0) as usize).min(SIDE)
    };
    let along = [to[0] - from[0], to[1] - from[1]];
    let length = (along[0] * along[0] + along[1] * along[1]).max(1e-9);
    for row in span(1) {
        for column in span(0) {
            let offset = [column as f32 + 0.5 - from[0], row as f32 + 0.5 - from[1]];
            let t = ((offset[0] * along[0] + offset[1] * along[1]) / length).clamp(0.0, 1.0);
            let away = [offset[0] - t * along[0], offset[1] - t * along[1]];
            let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
            let covered = ((reach - distance) / edge).clamp(0.0, 1.0);
            let pixel = &mut cover[row * SIDE + column];
            *pixel = pixel.max(covered);
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_on_every_machine() {
        let hash = Sha256::digest(draw(1_000, 3).pixels);
        let start: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(start, "ee2065521a6525f6");
    }

    #[test]
    fn a_row_does_not_depend_on_how_many_are_drawn() {
        let (few, many) = (draw(13, 5), draw(401, 5));
        assert_eq!(few.pixels, many.pixels[..13 * SIDE * SIDE]);
        assert_ne!(few.pixels, draw(13, 6).pixels);
        assert!(draw(0, 5).is_empty());
    }

    #[test]
    fn every_row_has_ink_and_much_black() {
        let images = draw(2_000, 11);
        for row in 0..images.len() {
            let inked = images.row(row).iter().filter(|&&pixel| pixel > 127).count();
            assert_eq!(images.labels[row], row as u32 % 10);
            assert!(
                (15..300).contains(&inked),
                "row {row} has {inked} white pixels"
            );
        }
    }
}
