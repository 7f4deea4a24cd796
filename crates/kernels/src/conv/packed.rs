use std::{marker::PhantomData, ops::Range};

use crate::{
    Element, Format, Isa,
    conv::{
        Conv2d,
        gather::Source,
        winograd::{self, Tiles, Weights},
    },
    gemm::{Matrix, Order, Panels, Purpose, SharedMut, multiply, with_words},
    isa::{for_each_isa, isa},
};

/// A convolution packed for answering, with what follows it: a bias, a map that is added, ReLU.
///
/// Every output is one sum over the kernel's places and channels in their order, so that an image's answer is the same
/// bits in any batch.
#[derive(Debug)]
pub struct PackedConv2d<T> {
    isa: Isa,
    /// Of one image.
    conv: Conv2d,
    /// The panels of each group, or transformed weights.
    weights: Packed,
    bias: Vec<f32>,
    format: PhantomData<T>,
}

#[derive(Debug)]
enum Packed {
    Panels(Vec<Vec<f32>>),
    Transformed(Vec<f32>),
}

impl<T: Element> PackedConv2d<T> {
    /// Packs `weight` `[kernel height, kernel width, in_channels / groups, out_channels]` and `bias` `[out_channels]` of
    /// `conv`, whose number of images does not matter.
    ///
    /// # Panics
    /// The lengths are others, the numbers of channels are no multiples of the groups, or the window does not fit the map.
    pub fn pack(conv: &Conv2d, weight: &[f32], bias: &[f32]) -> Self {
        Self::pack_for(isa(), conv, weight, bias)
    }

    pub(super) fn pack_for(isa: Isa, conv: &Conv2d, weight: &[f32], bias: &[f32]) -> Self {
        let conv = Conv2d { images: 1, ..*conv };
        conv.check();
        assert_eq!(
            weight.len(),
            conv.weight_len(),
            "weights of the convolution"
        );
        assert_eq!(bias.len(), conv.out_channels, "a bias for each channel");
        let (depth, co) = (conv.taps() * conv.in_of_group(), conv.out_of_group());
        let matrix = |group: usize| Matrix {
            values: &weight[group * co..],
            depth,
            columns: co,
            order: Order::Steps {
                stride: conv.out_channels,
            },
        };
        let weights = if T::FORMAT == Format::F32 && winograd::suits_packed(&conv) {
            let mut words = vec![0.0; Weights::words(conv.in_channels, co)];
            Weights::transform(isa, matrix(0), false, &mut words);
            Packed::Transformed(words)
        } else {
            let pack = |group: usize| {
                let mut words = vec![0.0; Panels::words::<T>(depth, co)];
                let whole = 0..depth;
                Panels::pack::<T>(isa, matrix(group), std::slice::from_ref(&whole), &mut words);
                words
            };
            Packed::Panels((0..conv.groups).map(pack).collect())
        };
        Self {
            isa,
            conv,
            weights,
            bias: bias.to_vec(),
            format: PhantomData,
        }
    }

    /// `y = x * weight + bias + residual`, then the larger of it and 0 where `relu` is set; `x`, `residual` and `y` are
    /// `[height, width, images, channels]`.
    ///
    /// # Panics
    /// The lengths are others.
    pub fn apply(&self, images: usize, x: &[T], residual: Option<&[T]>, relu: bool, y: &mut [T]) {
        let conv = Conv2d {
            images,
            ..self.conv
        };
        let (out_channels, co) = (conv.out_channels, conv.out_of_group());
        assert_eq!(x.len(), conv.input_len(), "a map for the convolution");
        assert_eq!(
            y.len(),
            conv.output_len(),
            "room for the convolution's output"
        );
        assert!(
            residual.is_none_or(|residual| residual.len() == y.len()),
            "a residual for each output"
        );
        let y = SharedMut::new(y);
        let write = |row: usize, columns: Range<usize>, sums: &[f32]| {
            let place = row * out_channels + columns.start..row * out_channels + columns.end;
            // SAFETY: each row and column of the output comes once.
            let to = unsafe { y.part(place.clone()) };
            finish(
                self.isa,
                sums,
                &self.bias[columns],
                residual.map(|residual| &residual[place]),
                relu,
                to,
            );
        };
        match (&self.weights, T::singles(x)) {
            (Packed::Transformed(words), Some(x)) => {
                let weights = Weights::transformed(words, conv.in_channels, co);
                winograd::multiply(self.isa, &Tiles::of_input(&conv, x), weights, write);
            }
            (Packed::Transformed(_), None) => unreachable!("only `f32` is transformed"),
            (Packed::Panels(groups), _) => {
                let depth = conv.taps() * conv.in_of_group();
                for (group, panels) in groups.iter().enumerate() {
                    with_words(Purpose::Map, Source::<T>::words(&conv), |memory| {
                        let rows = Source::new(self.isa, &conv, x, group, memory);
                        let panels = Panels::packed::<T>(panels, depth, co);
                        multiply(self.isa, &rows, panels, co, |row, columns, sums| {
                            write(
                                row,
                                group * co + columns.start..group * co + columns.end,
                                sums,
                            );
                        });
                    });
                }
            }
        }
    }
}

for_each_isa! {
    /// Writes a row of sums with what follows the convolution.
    fn finish<T: Element>(sums: &[f32], bias: &[f32], residual: Option<&[T]>, relu: bool, to: &mut [T]) {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        match residual {
            Some(residual) => {
                for (((to, sum), bias), residual) in to.iter_mut().zip(sums).zip(bias).zip(residual) {
                    *to = T::from_f32(keep_above(sum + bias + residual.to_f32(), floor));
                }
            }
            None => {
                for ((to, sum), bias) in to.iter_mut().zip(sums).zip(bias) {
                    *to = T::from_f32(keep_above(sum + bias, floor));
                }
            }
        }
    }
}

/// The larger of the two; a value that is no number stays none.
#[inline(always)]
fn keep_above(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
}
