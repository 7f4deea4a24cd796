//! Every path against sums in `f64`.

use proptest::prelude::*;

use super::*;
use crate::{bf16, isa::available, rows::testing::numbers};

/// Calls `visit` with the places of input, weight and output of every product of a convolution.
fn for_each_product(conv: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let ([oh, ow], [kh, kw]) = (conv.output(), conv.window.kernel);
    let (ci, co) = (conv.in_of_group(), conv.out_of_group());
    for (oy, ox, ky, kx) in (0..oh * ow * kh * kw).map(|i| {
        (
            i / (kh * kw) / ow,
            i / (kh * kw) % ow,
            i % (kh * kw) / kw,
            i % kw,
        )
    }) {
        let iy = conv.window.place(0, oy, ky, conv.input[0]);
        let ix = conv.window.place(1, ox, kx, conv.input[1]);
        let (Some(iy), Some(ix)) = (iy, ix) else {
            continue;
        };
        for n in 0..conv.images {
            let x = ((iy * conv.input[1] + ix) * conv.images + n) * conv.in_channels;
            let y = ((oy * ow + ox) * conv.images + n) * conv.out_channels;
            for (i, o) in
                (0..ci * conv.out_channels).map(|i| (i / conv.out_channels, i % conv.out_channels))
            {
                let weight = ((ky * kw + kx) * ci + i) * conv.out_channels + o;
                visit(x + o / co * ci + i, weight, y + o);
            }
        }
    }
}

/// `expected` and, beside it, the sum of the sizes of what was added, which rounding errors are measured by.
struct Sums(Vec<(f64, f64)>);

impl Sums {
    fn new(length: usize) -> Self {
        Self(vec![(0.0, 0.0); length])
    }

    fn add(&mut self, place: usize, value: f64) {
        self.0[place].0 += value;
        self.0[place].1 += value.abs();
    }

    fn check<T: Element>(&self, found: &[T], what: &str, is_rounded: bool) {
        let tolerance = if T::FORMAT == Format::Bf16 && is_rounded {
            1e-2
        } else {
            1e-5
        };
        for (place, (found, (expected, size))) in found.iter().zip(&self.0).enumerate() {
            let error = (f64::from(found.to_f32()) - expected).abs();
            assert!(
                error <= tolerance * size + 1e-30,
                "{what} {place}: {found:?}, expected {expected}"
            );
        }
    }
}

fn check<T: Element>(conv: &Conv2d, seed: u64) {
    let x: Vec<T> = numbers(conv.input_len(), seed);
    let dy: Vec<T> = numbers(conv.output_len(), !seed);
    // Weights that `bf16` holds exactly: the products are what is tested.
    let weight: Vec<f32> = numbers::<bf16>(conv.weight_len(), seed ^ 99)
        .into_iter()
        .map(Element::to_f32)
        .collect();
    let bias: Vec<f32> = numbers(conv.out_channels, seed ^ 7);
    let mut sums = [
        Sums::new(dy.len()),
        Sums::new(dy.len()),
        Sums::new(x.len()),
        Sums::new(weight.len()),
    ];
    for place in 0..dy.len() {
        sums[0].add(place, f64::from(bias[place % conv.out_channels]));
        sums[1].add(place, f64::from(bias[place % conv.out_channels]));
        sums[1].add(place, f64::from(dy[place].to_f32()));
    }
    for_each_product(conv, |i, w, o| {
        let (x, w_value, dy) = (
            f64::from(x[i].to_f32()),
            f64::from(weight[w]),
            f64::from(dy[o].to_f32()),
        );
        sums[0].add(o, x * w_value);
        sums[1].add(o, x * w_value);
        sums[2].add(i, dy * w_value);
        sums[3].add(w, dy * x);
    });
    sums[1]
        .0
        .iter_mut()
        .for_each(|(sum, _)| *sum = sum.max(0.0));
    let poison = T::from_f32(f32::NAN);
    for isa in available() {
        let name = |what: &str| format!("{isa:?} {:?} {what} of {conv:?}", T::FORMAT);
        let mut y = vec![poison; dy.len()];
        forward::conv2d_for(isa, conv, &x, &weight, Some(&bias), &mut y);
        sums[0].check(&y, &name("output"), true);
        let packed = PackedConv2d::<T>::pack_for(isa, conv, &weight, &bias);
        let mut y = vec![poison; dy.len()];
        packed.apply(conv.images, &x, Some(&dy), true, &mut y);
        sums[1].check(&y, &name("packed output"), true);
        let mut dx = vec![poison; x.len()];
        backward::input_gradient_for(isa, conv, &dy, &weight, &mut dx);
        sums[2].check(&dx, &name("input gradient"), true);
        let mut dweight = vec![f32::NAN; weight.len()];
        backward::weight_gradient_for(isa, conv, &x, &dy, &mut dweight);
        sums[3].check(&dweight, &name("weight gradient"), false);
    }
}

prop_compose! {
    fn convolutions()(
        images in 1_usize..4, input in [1_usize..9, 1_usize..9], groups in 1_usize..4, ci in 1_usize..6, co in 1_usize..6,
        wide in 0_usize..5, kernel in [1_usize..4, 1_usize..4], stride in [1_usize..4, 1_usize..4],
        padding in [0_usize..4, 0_usize..4], dilation in [1_usize..3, 1_usize..3],
    ) -> Conv2d {
        // Now and then one group with more channels than a panel or a tile has, or depthwise.
        let (groups, ci, co) = match wide {
            0 => (1, ci + 30, co + 30),
            1 => (1, ci, co + 62),
            2 => (ci * 9, 1, 1),
            _ => (groups, ci, co),
        };
        let window = Window { kernel, stride, padding, dilation, ceil: false };
        Conv2d { images, input, in_channels: groups * ci, out_channels: groups * co, groups, window }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_path_computes_a_convolution_and_its_gradients(conv in convolutions(), seed: u64) {
        prop_assume!(conv.window.output(conv.input).is_some());
        check::<f32>(&conv, seed);
        check::<bf16>(&conv, seed);
    }
}

/// Sizes that are computed by way of frequencies, with even and odd maps and every padding.
#[test]
fn convolutions_by_frequencies_too() {
    for (images, input, ci, co, padding) in [
        (3, [7, 5], 48, 96, 1),
        (3, [6, 7], 32, 144, 0),
        (4, [4, 5], 160, 32, 2),
        (35, [8, 9], 32, 48, 1),
    ] {
        let window = Window::square(3, 1).padded(padding);
        let conv = Conv2d {
            images,
            input,
            in_channels: ci,
            out_channels: co,
            groups: 1,
            window,
        };
        assert!(winograd::suits_once(&conv));
        check::<f32>(&conv, 3);
    }
}

/// Sizes that take more than one block of rows, chunk of the sum, and part of the gradient's rows.
#[test]
fn large_convolutions_too() {
    let window = Window::square(3, 1).padded(1);
    for conv in [
        Conv2d {
            images: 5,
            input: [9, 8],
            in_channels: 96,
            out_channels: 70,
            groups: 1,
            window,
        },
        Conv2d {
            images: 33,
            input: [8, 8],
            in_channels: 8,
            out_channels: 12,
            groups: 1,
            window,
        },
        Conv2d {
            images: 7,
            input: [6, 5],
            in_channels: 40,
            out_channels: 320,
            groups: 2,
            window,
        },
        Conv2d {
            images: 3,
            input: [16, 16],
            in_channels: 3,
            out_channels: 33,
            groups: 1,
            window: Window::square(7, 2).padded(3),
        },
    ] {
        check::<f32>(&conv, 1);
        check::<bf16>(&conv, 2);
    }
}

#[test]
fn an_image_is_the_same_bits_in_any_batch() {
    fn check<T: Element>(ci: usize, co: usize) {
        let (window, input) = (Window::square(3, 1).padded(1), [5, 6]);
        let weight: Vec<f32> = numbers(9 * ci * co, 4);
        let bias: Vec<f32> = numbers(co, 5);
        for (isa, images) in available()
            .into_iter()
            .flat_map(|isa| [(isa, 7), (isa, 40)])
        {
            let conv = Conv2d {
                images: 1,
                input,
                in_channels: ci,
                out_channels: co,
                groups: 1,
                window,
            };
            let packed = PackedConv2d::<T>::pack_for(isa, &conv, &weight, &bias);
            let x: Vec<T> = numbers(30 * images * ci, 6);
            let mut together = vec![T::default(); 30 * images * co];
            packed.apply(images, &x, None, false, &mut together);
            for image in 0..images {
                let alone: Vec<T> = x
                    .chunks(ci)
                    .skip(image)
                    .step_by(images)
                    .flatten()
                    .copied()
                    .collect();
                let mut y = vec![T::default(); 30 * co];
                packed.apply(1, &alone, None, false, &mut y);
                let expected: Vec<T> = together
                    .chunks(co)
                    .skip(image)
                    .step_by(images)
                    .flatten()
                    .copied()
                    .collect();
                assert_eq!(y, expected, "{isa:?} {image}");
            }
        }
    }
    for (ci, co) in [(20, 40), (32, 48), (160, 160)] {
        check::<f32>(ci, co);
        check::<bf16>(ci, co);
    }
}
