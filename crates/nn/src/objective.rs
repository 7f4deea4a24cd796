//! What a level loses: by its answers, by how unlike its features are, by what they forgot of the input.

use burn::tensor::{DType, Tensor, TensorData};
use strata_spec::{BatchNorm, Conv, Dense, Layer};

use crate::{forward::Batch, ops};

/// The loss of a level: a sum of up to three, each times its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Cross-entropy of the head's answers.
    pub prediction: f64,
    /// How far the similarities of features are from those of targets (Nøkland & Eidnes 2019, section 2.3).
    pub similarity: f64,
    /// Mean squared error of the network's input, made from the features (Wang et al. 2021, section 4).
    pub reconstruction: f64,
}

impl Objective {
    /// Cross-entropy alone.
    pub const CROSS_ENTROPY: Self = Self {
        prediction: 1.0,
        similarity: 0.0,
        reconstruction: 0.0,
    };

    /// The same, times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            prediction: self.prediction * factor,
            similarity: self.similarity * factor,
            reconstruction: self.reconstruction * factor,
        }
    }
}

/// Channels of a reconstruction's hidden maps, at least.
const HIDDEN: usize = 12;
/// Units before the answers of an auxiliary head.
const UNITS: usize = 128;

/// The head of a level that has none, while it learns: on maps a convolution, the mean of each map and two dense layers, as
/// Wang et al. 2021 have it; a dense layer on rows.
pub fn auxiliary_head(output: &[usize], classes: usize) -> Vec<Layer> {
    let dense = |units| Layer::Dense(Dense::new(units));
    let &[channels, height, _] = output else {
        return vec![dense(classes)];
    };
    let stride = if height > 8 { 2 } else { 1 };
    vec![
        conv(channels, stride, false),
        Layer::BatchNorm(BatchNorm::default()),
        Layer::Relu,
        Layer::GlobalAveragePool,
        dense(UNITS),
        Layer::Relu,
        dense(classes),
    ]
}

/// What an objective needs beside a level's head, for a level that gives rows of shape `output` in a network that takes
/// `input`. It learns with the level and is not kept.
pub fn side_layers(objective: Objective, input: &[usize], output: &[usize]) -> Vec<Layer> {
    assert!(
        objective.similarity == 0.0 || objective.reconstruction == 0.0,
        "one of them"
    );
    if objective.similarity > 0.0 {
        return match *output {
            [channels, _, _] => vec![conv(channels, 1, false)],
            _ => vec![Layer::Dense(Dense::new(output.iter().product()))],
        };
    }
    if objective.reconstruction > 0.0 {
        return match *output {
            [_, height, width] => {
                let channels = pixels_of_a_place(input, [height, width]);
                vec![
                    conv(channels.max(HIDDEN), 1, false),
                    Layer::BatchNorm(BatchNorm::default()),
                    Layer::Relu,
                    conv(channels, 1, true),
                ]
            }
            _ => vec![Layer::Dense(Dense::new(input.iter().product()))],
        };
    }
    Vec::new()
}

fn conv(channels: usize, stride: usize, bias: bool) -> Layer {
    Layer::Conv(Conv {
        stride: stride.into(),
        padding: 1.into(),
        bias,
        ..Conv::square(channels, 3)
    })
}

/// Numbers of the input that a place of a map of `size` stands for: all of its pixels where they are as many for each
/// place, otherwise their mean in each channel.
fn pixels_of_a_place(input: &[usize], [height, width]: [usize; 2]) -> usize {
    match *input {
        [channels, rows, columns]
            if rows.is_multiple_of(height) && columns.is_multiple_of(width) =>
        {
            channels * (rows / height) * (columns / width)
        }
        [channels, ..] => channels,
        [] => 1,
    }
}

/// What should be made of features: `images`, rows of shape `input`, as rows of shape `[pixels of a place, height, width]`.
fn reconstruction_targets(images: &[f32], input: &[usize], size: [usize; 2]) -> Vec<f32> {
    let [height, width] = size;
    let &[channels, rows, columns] = input else {
        return images.to_vec();
    };
    let numbers = pixels_of_a_place(input, size) * height * width;
    let mut targets = Vec::with_capacity(images.len() / (channels * rows * columns) * numbers);
    for image in images.chunks_exact(channels * rows * columns) {
        for channel in image.chunks_exact(rows * columns) {
            if rows.is_multiple_of(height) && columns.is_multiple_of(width) {
                let (down, across) = (rows / height, columns / width);
                for (dy, dx) in (0..down).flat_map(|dy| (0..across).map(move |dx| (dy, dx))) {
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                        targets.push(channel[(y * down + dy) * columns + x * across + dx]);
                    }
                }
                continue;
            }
            let part = |index: usize, of: usize, total: usize| {
                index * total / of..((index + 1) * total).div_ceil(of)
            };
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let lines = part(y, height, rows);
                let places = part(x, width, columns);
                let count = lines.len() * places.len();
                let sum: f32 = lines
                    .flat_map(|line| &channel[line * columns..][places.clone()])
                    .sum();
                targets.push(sum / count as f32);
            }
        }
    }
    targets
}

/// Mean squared error between the network's input and what a level's side made of its features.
pub(crate) fn reconstruction_loss(made: Batch, images: &[f32], input: &[usize]) -> Tensor<1> {
    let targets = match &made {
        Batch::Maps(maps) => {
            let [height, width, ..] = maps.dims();
            reconstruction_targets(images, input, [height, width])
        }
        Batch::Rows(_) => images.to_vec(),
    };
    let made = made.into_rows();
    let targets = Tensor::from_data(TensorData::new(targets, made.dims()), &made.device());
    (made - targets).square().mean()
}

/// Mean squared difference between the similarities of rows of features and those of `targets` `[rows, classes]`.
pub(crate) fn similarity_loss(features: Batch, targets: &[f32]) -> Tensor<1> {
    let features = match features {
        Batch::Rows(rows) => rows,
        // How much a channel varies over the map says what it found there.
        Batch::Maps(maps) => {
            let [height, width, images, channels] = maps.dims();
            let places = height * width;
            let rows = ops::maps_to_rows(maps);
            if places == 1 {
                rows
            } else {
                let rows = rows.reshape([images, channels, places]);
                let centred = rows.clone() - rows.mean_dim(2);
                let variance = centred.square().sum_dim(2) / (places - 1) as f32;
                (variance + EPSILON).sqrt().reshape([images, channels])
            }
        }
    };
    let [rows, _] = features.dims();
    let shape = [rows, targets.len() / rows];
    let targets = Tensor::from_data(TensorData::new(targets.to_vec(), shape), &features.device());
    (similarities(features) - similarities(targets))
        .square()
        .mean()
}

/// Keeps roots and divisors from 0.
const EPSILON: f32 = 1e-8;

/// The correlation of each row with each other, `[rows, rows]`.
fn similarities(rows: Tensor<2>) -> Tensor<2> {
    let rows = rows.cast(DType::F32);
    let centred = rows.clone() - rows.mean_dim(1);
    let length = (centred.clone().square().sum_dim(1) + EPSILON).sqrt();
    let unit = centred / length;
    unit.clone().matmul(unit.transpose())
}
