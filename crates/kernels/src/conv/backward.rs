use crate::{
    Element, Isa,
    conv::{
        Conv2d, depthwise,
        forward::write,
        gather::{Places, Source, Taps},
        winograd::{self, Tiles, Weights},
    },
    gemm::{
        Matrix, Order, Panels, Purpose, Right, Rows, SharedMut, multiply, multiply_transposed,
        with_words,
    },
};

pub(super) fn input_gradient_for<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    dy: &[T],
    weight: &[f32],
    dx: &mut [T],
) {
    conv.check();
    assert_eq!(
        dy.len(),
        conv.output_len(),
        "a gradient of the convolution's output"
    );
    assert_eq!(
        weight.len(),
        conv.weight_len(),
        "weights of the convolution"
    );
    assert_eq!(
        dx.len(),
        conv.input_len(),
        "room for the gradient of the convolution's input"
    );
    if conv.is_depthwise() {
        return depthwise::input_gradient(isa, conv, dy, weight, dx);
    }
    let (ci, co) = (conv.in_of_group(), conv.out_of_group());
    let depth = conv.taps() * co;
    let places = Places {
        size: conv.input,
        phases: conv.window.stride,
    };
    let dx = SharedMut::new(dx);
    if let Some(dy) = T::singles(dy).filter(|_| winograd::suits_once(conv)) {
        let order = Order::Columns {
            stride: co,
            run: co,
            run_stride: ci * co,
        };
        let matrix = Matrix {
            values: weight,
            depth,
            columns: ci,
            order,
        };
        return with_words(Purpose::Weights, Weights::words(co, ci), |words| {
            let weights = Weights::transform(isa, matrix, true, words);
            winograd::multiply(
                isa,
                &Tiles::of_gradient(conv, dy),
                weights,
                |row, columns, sums| {
                    // SAFETY: each row and column comes once.
                    let to = unsafe { dx.part(row * ci + columns.start..row * ci + columns.end) };
                    write(isa, sums, None, to);
                },
            );
        });
    }
    for group in 0..conv.groups {
        let rows = Taps {
            isa,
            map: dy,
            size: conv.output(),
            images: conv.images,
            row_len: conv.out_channels,
            first: group * co,
            channels: co,
            window: conv.window,
            places,
            backward: true,
        };
        let matrix = Matrix {
            values: &weight[group * co..],
            depth,
            columns: ci,
            order: Order::Columns {
                stride: conv.out_channels,
                run: co,
                run_stride: ci * conv.out_channels,
            },
        };
        let mut live = Vec::new();
        rows.live(0..rows.rows(), &mut live);
        with_words(Purpose::Panels, Panels::words::<T>(depth, ci), |words| {
            let panels = Panels::pack::<T>(isa, matrix, &live, words);
            multiply(isa, &rows, panels, ci, |row, columns, sums| {
                let [y, x] = places.at(row / conv.images);
                let row_of_map = (y * conv.input[1] + x) * conv.images + row % conv.images;
                let start = row_of_map * conv.in_channels + group * ci;
                // SAFETY: each row and column of a group comes once, and each row has a place of its own.
                let to = unsafe { dx.part(start + columns.start..start + columns.end) };
                write(isa, sums, None, to);
            });
        });
    }
}

pub(super) fn weight_gradient_for<T: Element>(
    isa: Isa,
    conv: &Conv2d,
    x: &[T],
    dy: &[T],
    dweight: &mut [f32],
) {
    conv.check();
    assert_eq!(x.len(), conv.input_len(), "a map for the convolution");
    assert_eq!(
        dy.len(),
        conv.output_len(),
        "a gradient of the convolution's output"
    );
    assert_eq!(
        dweight.len(),
        conv.weight_len(),
        "room for the gradient of the weights"
    );
    if conv.images == 0 {
        return dweight.fill(0.0);
    }
    if conv.is_depthwise() {
        return depthwise::weight_gradient(isa, conv, x, dy, dweight);
    }
    if let (true, Some(x), Some(dy)) = (winograd::suits_once(conv), T::singles(x), T::singles(dy)) {
        return winograd::weight_gradient(isa, conv, x, dy, dweight);
    }
    let co = conv.out_of_group();
    for group in 0..conv.groups {
        with_words(Purpose::Map, Source::<T>::words(conv), |memory| {
            let rows = Source::new(isa, conv, x, group, memory);
            let right = Right {
                values: &dy[group * co..],
                stride: conv.out_channels,
                columns: co,
            };
            multiply_transposed(
                isa,
                &rows,
                right,
                &mut dweight[group * co..],
                conv.out_channels,
            );
        });
    }
}
