use strata_spec::{Augmentation, Cutout, ImagePreparation, Mix, PaddedCrop};

use super::*;
use crate::{Preparer, draw, permutation};

const ROWS: usize = 53;
const BATCH: usize = 8;

fn training_rows(seed: u64) -> Arc<TrainingRows> {
    let setting = ImagePreparation {
        mean: vec![0.1307],
        std: vec![0.3081],
        ..ImagePreparation::new(28, 28, 1)
    };
    let augmentation = [
        Augmentation::Flip,
        Augmentation::Crop(PaddedCrop {
            padding: 4,
            margin: Default::default(),
        }),
        Augmentation::Cutout(Cutout { size: 8 }),
        Augmentation::RandAugment(Default::default()),
        Augmentation::Mixup(Mix { alpha: 0.2 }),
        Augmentation::CutMix(Mix::default()),
    ];
    let images = Arc::new(draw(ROWS, 1));
    let preparer = Arc::new(Preparer::new(&setting));
    Arc::new(TrainingRows::new(images, preparer, &augmentation, seed))
}

/// The batches of an epoch from `first` on.
fn epoch(loader: &mut Loader, epoch: u64, first: usize) -> Vec<Batch> {
    loader.start(epoch, permutation(ROWS, 7, epoch), first);
    std::iter::from_fn(|| loader.next_batch()).collect()
}

#[test]
fn batches_are_the_same_with_any_number_of_threads_and_after_a_resume() {
    let expected: Vec<Vec<Batch>> = {
        let mut loader = Loader::new(training_rows(3), BATCH, 0);
        (0..3).map(|number| epoch(&mut loader, number, 0)).collect()
    };
    assert_eq!(expected[0].len(), ROWS.div_ceil(BATCH));
    assert_ne!(expected[0][0].rows, expected[1][0].rows);
    let indices: Vec<u32> = expected[1]
        .iter()
        .flat_map(|batch| batch.indices.clone())
        .collect();
    assert_eq!(indices, permutation(ROWS, 7, 1));
    for threads in [1, 2, 5] {
        let mut loader = Loader::new(training_rows(3), BATCH, threads);
        // Left in the middle.
        loader.start(9, permutation(ROWS, 7, 9), 0);
        loader.next_batch();
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(epoch(&mut loader, number as u64, 0), *expected);
            assert_eq!(epoch(&mut loader, number as u64, 4), expected[4..]);
            assert_eq!(loader.next_batch(), None);
        }
    }
    let other = epoch(&mut Loader::new(training_rows(4), BATCH, 1), 0, 0);
    assert_ne!(other[0].rows, expected[0][0].rows);
}

/// Whoever asks for a batch in parts, in parallel, gets the same.
#[test]
fn a_row_does_not_depend_on_its_batch() {
    let rows = training_rows(3);
    let len = rows.row_len();
    let mut together = vec![0.0; 20 * len];
    let indices: Vec<u32> = (10..30).collect();
    rows.rows(2, &indices, &mut together);
    for (place, index) in indices.iter().enumerate() {
        let mut alone = vec![0.0; len];
        rows.rows(2, &[*index], &mut alone);
        assert_eq!(alone, together[place * len..][..len]);
    }
}

#[test]
fn a_panic_comes_out_at_its_batch_and_the_loader_goes_on() {
    for threads in [0, 1, 3] {
        let mut loader = Loader::new(training_rows(3), BATCH, threads);
        let mut order: Vec<u32> = (0..32).collect();
        order[17] = ROWS as u32;
        loader.start(0, order, 0);
        for _ in 0..2 {
            assert!(loader.next_batch().is_some());
        }
        assert!(catch_unwind(AssertUnwindSafe(|| loader.next_batch())).is_err());
        assert_eq!(
            loader.next_batch().unwrap().indices,
            (24..32).collect::<Vec<_>>()
        );
        assert_eq!(loader.next_batch(), None);
    }
}

#[test]
fn a_loader_ends_with_batches_left() {
    let mut loader = Loader::new(training_rows(3), BATCH, 3);
    let rows = Arc::downgrade(&loader.shared);
    loader.start(0, (0..ROWS as u32).collect(), 0);
    loader.next_batch();
    drop(loader);
    assert!(rows.upgrade().is_none(), "a thread is still there");
}
