use strata_spec::{Cutout, ImagePreparation, Margin, Mix, PaddedCrop};

use super::{rand_augment::OPERATIONS, *};

/// Printed by `tests/references/augmentation.py`.
const REFERENCE: &str = include_str!("../../tests/references/augmentation.txt");

fn frame([height, width]: [usize; 2], channels: usize, pixels: &[u8]) -> Frame {
    let mut frame = Frame::default();
    frame.load(height, width, channels, pixels);
    frame
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_operation_gives_the_bytes_of_torchvision() {
    let mut images = std::collections::HashMap::new();
    let mut seen = 0;
    for line in REFERENCE.lines() {
        let mut words = line.split(' ');
        let (name, expected) = (words.next().unwrap(), bytes(words.next_back().unwrap()));
        let numbers: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
        let whole: Vec<usize> = numbers.iter().map(|&number| number as usize).collect();
        let channels = whole[0];
        if ["image", "large"].contains(&name) {
            images.insert((name, channels), expected);
            continue;
        }
        let mut frame = if name == "equalize" {
            frame([17, 18], 1, &images[&("large", 1)])
        } else {
            frame([6, 7], channels, &images[&("image", channels)])
        };
        let factor = numbers.get(1).map_or(0.0, |&factor| factor as f32);
        match name {
            "flip" => frame.flip(),
            "vertical-flip" => frame.flip_vertically(),
            "crop-black" => frame.crop_with_margin(whole[1], Margin::Black, [whole[2], whole[3]]),
            "crop-reflect" => {
                frame.crop_with_margin(whole[1], Margin::Reflect, [whole[2], whole[3]]);
            }
            "resized-crop" => {
                let [top, left, height, width] = [whole[1], whole[2], whole[3], whole[4]];
                let part = Part {
                    top,
                    left,
                    height,
                    width,
                };
                frame.resize_part(part, [5, 6]);
            }
            "brightness" => colour::brighten(&mut frame, factor),
            "contrast" => colour::contrast(&mut frame, factor),
            "saturation" => colour::saturate(&mut frame, factor),
            "hue" => colour::turn_hue(&mut frame, numbers[1]),
            "rand-augment" => OPERATIONS[whole[1]].apply(&mut frame, whole[2], numbers[3]),
            "equalize" => OPERATIONS[13].apply(&mut frame, 9, 1.0),
            name => panic!("unknown operation {name}"),
        }
        // Resizing rounds in another fixed point.
        let most = u8::from(name == "resized-crop");
        let is_same = |(found, expected): (&u8, &u8)| found.abs_diff(*expected) <= most;
        assert!(
            frame.pixels.len() == expected.len() && frame.pixels.iter().zip(&expected).all(is_same),
            "{name} {numbers:?}: expected {expected:?}, found {:?}",
            frame.pixels
        );
        seen += 1;
    }
    assert!(seen > 60, "{seen} lines");
}

#[test]
fn a_cutout_is_a_square_within_the_image() {
    let cut = |centre, size| {
        let mut frame = frame([4, 5], 1, &[9; 20]);
        frame.cut_out(centre, size, &[1]);
        frame
            .pixels
            .chunks(5)
            .map(|line| line.iter().filter(|&&v| v == 1).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(cut([2, 2], 2), [0, 2, 2, 0]);
    assert_eq!(cut([0, 0], 2), [1, 0, 0, 0]);
    assert_eq!(cut([3, 4], 3), [0, 0, 2, 2]);
    assert_eq!(cut([1, 1], 100), [5; 4]);
}

fn preparer(height: usize, width: usize, channels: usize) -> Preparer {
    Preparer::new(&ImagePreparation {
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
        ..ImagePreparation::new(height, width, channels)
    })
}

fn images(rows: usize, [height, width]: [usize; 2], channels: usize) -> Images {
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
    let pixels = (0..rows * height * width * channels).map(value).collect();
    preparer(height, width, channels).images(pixels, vec![0; rows])
}

/// Numbers of every row in two epochs.
fn epochs(rows: &TrainingRows) -> [Vec<f32>; 2] {
    let indices: Vec<u32> = (0..rows.images().len() as u32).collect();
    [0, 1].map(|epoch| {
        let mut numbers = vec![f32::NAN; indices.len() * rows.row_len()];
        rows.rows(epoch, &indices, &mut numbers);
        numbers
    })
}

#[test]
fn chance_is_of_the_row_and_the_epoch_and_rows_become_the_networks_size() {
    let all = [
        Augmentation::VerticalFlip,
        Augmentation::ColourJitter(ColourJitter {
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
        }),
        Augmentation::RandomResizedCrop(RandomResizedCrop::default()),
        Augmentation::Flip,
        Augmentation::Crop(PaddedCrop {
            padding: 2,
            margin: Margin::Reflect,
        }),
        Augmentation::RandAugment(Default::default()),
        Augmentation::Cutout(Cutout { size: 4 }),
    ];
    for channels in [1, 3] {
        let images = Arc::new(images(40, [13, 17], channels));
        let preparer = Arc::new(preparer(12, 16, channels));
        let make = |seed| {
            epochs(&TrainingRows::new(
                images.clone(),
                preparer.clone(),
                &all,
                seed,
            ))
        };
        let [first, second] = make(1);
        assert_ne!(first, second);
        assert_ne!(first, make(2)[0]);
        assert_eq!([first.clone(), second], make(1));
        assert!(first.iter().all(|value| (-2.0..=2.0).contains(value)));
    }
}

#[test]
fn about_half_of_the_images_are_flipped() {
    let images = Arc::new(images(400, [2, 8], 3));
    let preparer = Arc::new(preparer(2, 8, 3));
    let plain = TrainingRows::new(images.clone(), preparer.clone(), &[], 1);
    let flipped = TrainingRows::new(images, preparer, &[Augmentation::Flip], 1);
    let ([plain, _], [flipped, again]) = (epochs(&plain), epochs(&flipped));
    let same = |a: &[f32], b: &[f32]| {
        a.chunks(48)
            .zip(b.chunks(48))
            .filter(|(a, b)| a == b)
            .count()
    };
    assert!(
        (160..240).contains(&same(&plain, &flipped)),
        "{}",
        same(&plain, &flipped)
    );
    assert!((160..240).contains(&same(&flipped, &again)));
}

#[test]
fn an_alternating_flip_turns_each_image_in_every_second_epoch() {
    let images = Arc::new(images(400, [2, 8], 3));
    let preparer = Arc::new(preparer(2, 8, 3));
    let plain = TrainingRows::new(images.clone(), preparer.clone(), &[], 1);
    let flipped = TrainingRows::new(images, preparer, &[Augmentation::AlternatingFlip], 1);
    let ([plain, _], [first, second]) = (epochs(&plain), epochs(&flipped));
    let rows = plain
        .chunks(48)
        .zip(first.chunks(48).zip(second.chunks(48)));
    let mut unturned = 0;
    for (plain, (first, second)) in rows {
        assert!((plain == first) != (plain == second), "once in two epochs");
        unturned += usize::from(plain == first);
    }
    assert!((160..240).contains(&unturned), "{unturned}");
}

#[test]
fn a_random_part_has_the_area_and_the_ratio_that_were_asked_for() {
    let setting = RandomResizedCrop::default();
    let mut random = Random::new(b"testing\0", 0, 0);
    let mut areas = Vec::new();
    for _ in 0..2000 {
        let part = part_of([300, 400], &setting, &mut random);
        assert!(part.top + part.height <= 300 && part.left + part.width <= 400);
        let ratio = part.width as f64 / part.height as f64;
        assert!((0.74..=1.35).contains(&ratio), "{part:?}");
        areas.push((part.height * part.width) as f64 / 120_000.0);
    }
    let mean = areas.iter().sum::<f64>() / areas.len() as f64;
    // The mean of 20,000 parts by torchvision 0.29 is 0.435: large ones fit less often.
    assert!((mean - 0.435).abs() < 0.02, "{mean}");
    assert!(areas.iter().all(|area| (0.075..=1.0).contains(area)));

    // What fits nowhere is cut out of the centre, with the nearest ratio.
    let narrow = RandomResizedCrop {
        scale: [1.0, 1.0],
        ratio: [2.0, 2.0],
    };
    let part = part_of([10, 8], &narrow, &mut random);
    let expected = Part {
        top: 3,
        left: 0,
        height: 4,
        width: 8,
    };
    assert_eq!(part, expected);
}

#[test]
fn mixed_rows_are_those_of_the_row_before_and_shares_say_how_much() {
    let images = Arc::new(images(6, [8, 8], 1));
    let preparer = Arc::new(preparer(8, 8, 1));
    let indices = [3, 1, 4, 0];
    let mixed_by = |augmentation: Augmentation, batch| {
        let rows = TrainingRows::new(images.clone(), preparer.clone(), &[augmentation], 5);
        let mut plain = vec![0.0; indices.len() * rows.row_len()];
        rows.rows(0, &indices, &mut plain);
        let mut numbers = plain.clone();
        let mixed = rows.mix(0, batch, &indices, &mut numbers).unwrap();
        assert_eq!(mixed.partners, [0, 3, 1, 4]);
        assert!(mixed.shares.iter().all(|share| *share == mixed.shares[0]));
        (plain, numbers, mixed.shares[0])
    };
    let mut shares = Vec::new();
    for batch in 0..20 {
        let (plain, numbers, share) = mixed_by(Augmentation::Mixup(Mix::default()), batch);
        for (row, before) in [(0, 3), (1, 0), (2, 1), (3, 2)] {
            for place in 0..64 {
                let expected =
                    plain[row * 64 + place] * share + plain[before * 64 + place] * (1.0 - share);
                assert!((numbers[row * 64 + place] - expected).abs() < 1e-6);
            }
        }
        shares.push(share);

        let (plain, numbers, share) = mixed_by(Augmentation::CutMix(Mix::default()), batch);
        for (row, before) in [(0, 3), (1, 0), (2, 1), (3, 2)] {
            let place = |of: usize, at: usize| plain[of * 64 + at];
            let is_own = |at: &usize| numbers[row * 64 + at] == place(row, *at);
            let differ = |at: &usize| place(row, *at) != place(before, *at);
            assert!((0..64).all(|at| is_own(&at) || numbers[row * 64 + at] == place(before, at)));
            let from_before = (0..64).filter(|at| !is_own(at)).count();
            let alike = (0..64).filter(|at| !differ(at)).count();
            let expected = (1.0 - share) * 64.0;
            assert!((from_before as f32 - expected).abs() <= alike as f32 + 1e-3);
        }
    }
    shares.dedup();
    assert_eq!(shares.len(), 20, "each batch has a share of its own");
}

/// torchvision 0.29: `CutMix.make_params` with `lam`, `r_x` and `r_y` set.
#[test]
fn the_rectangle_of_cutmix_is_that_of_torchvision() {
    let check = |centre, share, [top, left, height, width]: [usize; 4]| {
        let expected = Part {
            top,
            left,
            height,
            width,
        };
        assert_eq!(mix::rectangle([20, 32], centre, share), expected);
    };
    check([10, 16], 0.75, [5, 8, 10, 16]);
    check([0, 31], 0.75, [0, 23, 5, 9]);
    check([19, 2], 0.5, [12, 0, 8, 13]);
    check([4, 4], 1.0, [4, 4, 0, 0]);
    check([10, 16], 0.0, [0, 0, 20, 32]);
}
