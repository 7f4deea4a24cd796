use crate::{
    Element, Isa,
    conv::{
        Conv2d, depthwise,
        gather::Source,
        winograd::{self, Tiles, Weights},
    },
    gemm::{Matrix, Order, Panels, Purpose, Rows, SharedMut, multiply, with_words},
    isa::for_each_isa,
};

pub(super) fn conv2d_for<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    x: &[T],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [T],
) {
    conv.check();
    assert_eq!(x.len(), conv.input_len(), "a map for the convolution");
    assert_eq!(
        weight.len(),
        conv.weight_len(),
        "weights of the convolution"
    );
    assert_eq!(
        y.len(),
        conv.output_len(),
        "room for the convolution's output"
    );
    assert!(
        bias.is_none_or(|bias| bias.len() == conv.out_channels),
        "a bias for each channel"
    );
    if conv.is_depthwise() {
        return depthwise::forward(isa, conv, x, weight, bias, y);
    }
    let (ci, co) = (conv.in_of_group(), conv.out_of_group());
    let depth = conv.taps() * ci;
    let y = SharedMut::new(y);
    if let Some(x) = T::singles(x).filter(|_| winograd::suits_once(conv)) {
        let matrix = Matrix {
            values: weight,
            depth,
            columns: co,
            order: Order::Steps { stride: co },
        };
        return with_words(Purpose::Weights, Weights::words(ci, co), |words| {
            let weights = Weights::transform(isa, matrix, false, words);
            winograd::multiply(
                isa,
                &Tiles::of_input(conv, x),
                weights,
                |row, columns, sums| {
                    // SAFETY: each row and column comes once.
                    let to = unsafe { y.part(row * co + columns.start..row * co + columns.end) };
                    write(isa, sums, bias.map(|bias| &bias[columns]), to);
                },
            );
        });
    }
    for group in 0..conv.groups {
        let matrix = Matrix {
            values: &weight[group * co..],
            depth,
            columns: co,
            order: Order::Steps {
                stride: conv.out_channels,
            },
        };
        let bias = bias.map(|bias| &bias[group * co..][..co]);
        with_words(Purpose::Map, Source::<T>::words(conv), |memory| {
            let rows = Source::new(isa, conv, x, group, memory);
            let mut live = Vec::new();
            rows.live(0..rows.rows(), &mut live);
            with_words(Purpose::Panels, Panels::words::<T>(depth, co), |words| {
                let panels = Panels::pack::<T>(isa, matrix, &live, words);
                multiply(isa, &rows, panels, co, |row, columns, sums| {
                    let place = row * conv.out_channels + group * co;
                    // SAFETY: each row and column of a group comes once.
                    let to = unsafe { y.part(place + columns.start..place + columns.end) };
                    write(isa, sums, bias.map(|bias| &bias[columns]), to);
                });
            });
        });
    }
}

for_each_isa! {
    /// Writes a row of sums, and what is added to them.
    pub(super) fn write<T: Element>(sums: &[f32], bias: Option<&[f32]>, to: &mut [T]) {
        match bias {
            Some(bias) => {
                for ((to, sum), bias) in to.iter_mut().zip(sums).zip(bias) {
                    *to = T::from_f32(sum + bias);
                }
            }
            None => {
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to = T::from_f32(*sum);
                }
            }
        }
    }
}
