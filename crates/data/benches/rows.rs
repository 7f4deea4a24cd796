//! How many rows of 32x32 in colour one core prepares: `cargo bench -p strata-data`.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strata_data::{Images, Preparer, TrainingRows};
use strata_spec::{Augmentation, ImagePreparation};

const ROWS: usize = 512;

fn rows(criterion: &mut Criterion) {
    let setting = ImagePreparation {
        mean: vec![0.4914, 0.4822, 0.4465],
        std: vec![0.247, 0.2435, 0.2616],
        ..ImagePreparation::new(32, 32, 3)
    };
    // As many as CIFAR-10 has, so that they do not fit into a cache.
    let images = Arc::new(Images {
        height: 32,
        width: 32,
        channels: 3,
        pixels: (0..50_000_usize * 3072)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect(),
        labels: vec![0; 50_000],
        origins: vec![],
    });
    let preparer = Arc::new(Preparer::new(&setting));
    let flip = || Augmentation::Flip;
    let crop = || {
        Augmentation::Crop(strata_spec::PaddedCrop {
            padding: 4,
            margin: Default::default(),
        })
    };
    let cases = [
        ("plain", vec![]),
        ("flip, crop", vec![flip(), crop()]),
        (
            "flip, crop, cutout",
            vec![
                flip(),
                crop(),
                Augmentation::Cutout(strata_spec::Cutout { size: 8 }),
            ],
        ),
        (
            "random-resized-crop, flip",
            vec![Augmentation::RandomResizedCrop(Default::default()), flip()],
        ),
        (
            "flip, crop, rand-augment",
            vec![
                flip(),
                crop(),
                Augmentation::RandAugment(Default::default()),
            ],
        ),
        (
            "colour-jitter",
            vec![Augmentation::ColourJitter(strata_spec::ColourJitter {
                brightness: 0.4,
                contrast: 0.4,
                saturation: 0.4,
                hue: 0.1,
            })],
        ),
    ];
    let mut group = criterion.benchmark_group("rows of CIFAR-10");
    group.throughput(Throughput::Elements(ROWS as u64));
    let order = strata_data::permutation(50_000, 1, 0);
    for (name, augmentation) in cases {
        let rows = TrainingRows::new(images.clone(), preparer.clone(), &augmentation, 1);
        let mut out = vec![0.0; ROWS * rows.row_len()];
        let mut epoch = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                epoch += 1;
                let at = epoch as usize * ROWS % (50_000 - ROWS);
                rows.rows(epoch, &order[at..at + ROWS], &mut out);
            });
        });
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
