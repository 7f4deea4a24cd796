use std::marker::PhantomData;

use crate::{
    Element, Format, Isa, Window,
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
    window: Window,
    in_channels: usize,
    out_channels: usize,
    groups: usize,
    /// The panels of each group.
    panels: Vec<Vec<f32>>,
    /// The transformed weights, where the kernel may be one for them.
    transformed: Option<Vec<f32>>,
    bias: Vec<f32>,
    format: PhantomData<T>,
}

impl<T: Element> PackedConv2d<T> {
    /// Packs `weight` `[kernel height, kernel width, in_channels / groups, out_channels]` and `bias` `[out_channels]`.
    ///
    /// # Panics
    /// The lengths are others, or the numbers of channels are no multiples of `groups`.
    pub fn pack(
        window: Window,
        in_channels: usize,
        out_channels: usize,
        groups: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Self {
        Self::pack_for(
            isa(),
            window,
            [in_channels, out_channels, groups],
            weight,
            bias,
        )
    }

    pub(super) fn pack_for(
        isa: Isa,
        window: Window,
        [in_channels, out_channels, groups]: [usize; 3],
        weight: &[f32],
        bias: &[f32],
    ) -> Self {
        let conv = Conv2d {
            images: 1,
            input: [0, 0],
            in_channels,
            out_channels,
            groups,
            window,
        };
        conv.check();
        assert_eq!(
            weight.len(),
            conv.weight_len(),
            "weights of the convolution"
        );
        assert_eq!(bias.len(), out_channels, "a bias for each channel");
        let (depth, co) = (conv.taps() * conv.in_of_group(), conv.out_of_group());
        let pack = |group: usize| {
            let matrix = Matrix {
                values: &weight[group * co..],
                depth,
                columns: co,
                order: Order::Steps {
                    stride: out_channels,
                },
            };
            let mut words = vec![0.0; Panels::words::<T>(depth, co)];
            let whole = 0..depth;
            Panels::pack::<T>(isa, matrix, std::slice::from_ref(&whole), &mut words);
            words
        };
        let panels = (0..groups).map(pack).collect();
        // Whether it suits the map is known with the map.
        let suits = T::FORMAT == Format::F32
            && winograd::suits_packed(&Conv2d {
                input: [64, 64],
                ..conv
            });
        let transformed = suits.then(|| {
            let order = Order::Steps {
                stride: out_channels,
            };
            let mut words = vec![0.0; Weights::words(in_channels, out_channels)];
            Weights::transform(
                isa,
                Matrix {
                    values: weight,
                    depth,
                    columns: co,
                    order,
                },
                false,
                &mut words,
            );
            words
        });
        Self {
            transformed,
            isa,
            window,
            in_channels,
            out_channels,
            groups,
            panels,
            bias: bias.to_vec(),
            format: PhantomData,
        }
    }

    /// Channels that come out.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// `y = x * weight + bias + residual`, then the larger of it and 0 where `relu` is set; `x`, `residual` and `y` are
    /// `[height, width, images, channels]`, `x` of height and width `input`.
    ///
    /// # Panics
    /// The lengths are others, or the window does not fit the map.
    pub fn apply(
        &self,
        images: usize,
        input: [usize; 2],
        x: &[T],
        residual: Option<&[T]>,
        relu: bool,
        y: &mut [T],
    ) {
        let &Self {
            window,
            in_channels,
            out_channels,
            groups,
            ..
        } = self;
        let conv = Conv2d {
            images,
            input,
            in_channels,
            out_channels,
            groups,
            window,
        };
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
        let (depth, co) = (conv.taps() * conv.in_of_group(), conv.out_of_group());
        let y = SharedMut::new(y);
        if let (Some(words), Some(x), true) = (
            &self.transformed,
            T::singles(x),
            winograd::suits_packed(&conv),
        ) {
            let weights = Weights::transformed(words, in_channels, out_channels);
            return winograd::multiply(
                self.isa,
                &Tiles::of_input(&conv, x),
                weights,
                |row, columns, sums| {
                    let place =
                        row * out_channels + columns.start..row * out_channels + columns.end;
                    // SAFETY: each row and column comes once.
                    let to = unsafe { y.part(place.clone()) };
                    finish(
                        self.isa,
                        sums,
                        &self.bias[columns],
                        residual.map(|residual| &residual[place]),
                        relu,
                        to,
                    );
                },
            );
        }
        for (group, panels) in self.panels.iter().enumerate() {
            with_words(Purpose::Map, Source::<T>::words(&conv), |memory| {
                let rows = Source::new(self.isa, &conv, x, group, memory);
                multiply(
                    self.isa,
                    &rows,
                    Panels::packed::<T>(panels, depth, co),
                    co,
                    |row, columns, sums| {
                        let columns = group * co + columns.start..group * co + columns.end;
                        let place =
                            row * out_channels + columns.start..row * out_channels + columns.end;
                        // SAFETY: each row and column of a group comes once.
                        let to = unsafe { y.part(place.clone()) };
                        finish(
                            self.isa,
                            sums,
                            &self.bias[columns],
                            residual.map(|residual| &residual[place]),
                            relu,
                            to,
                        );
                    },
                );
            });
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
