use std::{future::poll_fn, task::Poll};

use super::*;
use crate::{metrics::Metrics, testing};

fn limits(queue_rows: usize, batch_rows: usize, inline: Duration) -> BatchLimits {
    BatchLimits {
        queue_rows,
        batch_rows,
        batch_bytes: usize::MAX,
        latency_target: None,
        inline,
    }
}

fn start(queue_rows: usize, batch_rows: usize, inline: Duration) -> Batcher {
    let metrics = Metrics::new().batches("tiny", 1, &[]);
    let limits = limits(queue_rows, batch_rows, inline);
    Batcher::start(testing::plan(), limits, metrics).unwrap()
}

/// Without an actor, so that jobs stay where they are.
fn without_actor(limits: BatchLimits) -> Shared {
    let metrics = Metrics::new().batches("tiny", 1, &[]);
    Shared::new(testing::plan(), limits, metrics, &mut Desk::default())
}

fn ask(rows: Vec<f32>) -> Ask {
    Ask {
        rows: rows.into(),
        way: None,
        deadline: Instant::now() + Duration::from_secs(20),
        priority: Priority::new(None),
    }
}

fn late(rows: Vec<f32>) -> Ask {
    Ask {
        deadline: Instant::now(),
        ..ask(rows)
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_gets_the_same_bits_in_a_batch_and_alone() {
    let alone = start(64, 8, Duration::MAX);
    let batched = Arc::new(start(1024, 8, Duration::ZERO));
    let asked: Vec<_> = (0..200)
        .map(|seed| {
            let (batched, rows) = (batched.clone(), testing::rows(seed, 1 + seed as usize % 3));
            tokio::spawn(async move { batched.answer(ask(rows)).await.unwrap().probabilities })
        })
        .collect();
    for (seed, answer) in asked.into_iter().enumerate() {
        let rows = testing::rows(seed as u64, 1 + seed % 3);
        let mut expected = Vec::new();
        for row in rows.chunks(testing::ROW) {
            expected.extend(alone.answer(ask(row.to_vec())).await.unwrap().probabilities);
        }
        assert_eq!(bits(&answer.await.unwrap()), bits(&expected));
    }
}

#[test]
fn a_full_queue_refuses_and_callers_that_left_or_are_late_are_skipped() {
    let shared = without_actor(limits(4, 2, Duration::ZERO));
    let row = |seed| testing::rows(seed, 1);

    let _waits = shared.append(ask(row(0))).unwrap();
    drop(shared.append(ask(row(1))).unwrap());
    let mut late = shared.append(late(row(2))).unwrap();
    let _waits_too = shared.append(ask(row(3))).unwrap();
    let refused = shared.append(ask(row(4))).unwrap_err();
    assert_eq!(
        refused,
        Unanswered::Full(shared.pace.of(4, shared.batch_rows()))
    );

    let batch = shared.next_batch(true).unwrap();
    assert_eq!(
        batch
            .iter()
            .map(|job| job.rows.to_vec())
            .collect::<Vec<_>>(),
        [row(0), row(3)]
    );
    assert_eq!(late.try_recv().unwrap().unwrap_err(), Unanswered::Overdue);
    assert_eq!(lock(&shared.queue).rows(), 0);

    let _large = shared.append(ask(testing::rows(5, 4))).unwrap();
    assert_eq!(
        shared.next_batch(true).unwrap().len(),
        1,
        "a job larger than a batch goes alone"
    );
    lock(&shared.queue).is_open = false;
    assert!(shared.next_batch(true).is_none());
}

#[tokio::test]
async fn rows_of_impossible_numbers_spoil_no_other_answer() {
    for inline in [Duration::ZERO, Duration::MAX] {
        let batcher = start(64, 64, inline);
        let huge = vec![f32::MAX; testing::ROW];
        let (huge, good) = tokio::join!(
            batcher.answer(ask(huge)),
            batcher.answer(ask(testing::rows(1, 1)))
        );
        assert_eq!(huge, Err(Unanswered::NotFinite));
        assert!(good.is_ok());
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_none() {
    for inline in [Duration::ZERO, Duration::MAX] {
        let answer = start(64, 64, inline)
            .answer(late(testing::rows(1, 1)))
            .await;
        assert_eq!(answer, Err(Unanswered::Overdue));
    }
}

#[test]
fn a_batch_has_no_more_rows_than_its_bytes_and_the_latency_target_allow() {
    let check = |limits: BatchLimits, expected: usize| {
        let shared = without_actor(limits);
        let waiting: Vec<_> = (0..8)
            .map(|seed| shared.append(ask(testing::rows(seed, 1))).unwrap())
            .collect();
        assert_eq!(shared.next_batch(true).unwrap().len(), expected);
        drop(waiting);
    };
    let row_bytes = testing::ROW * size_of::<f32>();
    check(limits(64, 8, Duration::ZERO), 8);
    for (batch_bytes, expected) in [(3 * row_bytes + 1, 3), (0, 1)] {
        check(
            BatchLimits {
                batch_bytes,
                ..limits(64, 8, Duration::ZERO)
            },
            expected,
        );
    }
    for (target, expected) in [(Duration::ZERO, 1), (Duration::MAX, 8)] {
        check(
            BatchLimits {
                latency_target: Some(target),
                ..limits(64, 8, Duration::ZERO)
            },
            expected,
        );
    }
}

#[tokio::test]
async fn a_computation_that_panics_costs_its_batch_and_ends_this_model_alone() {
    for inline in [Duration::ZERO, Duration::MAX] {
        let (broken, other) = (start(64, 64, inline), start(64, 64, inline));
        // No caller can send a part of a row: the plan takes it for a fault of this program.
        let part = testing::rows(1, 1)[1..].to_vec();
        let more = [testing::rows(1, 1), part].concat();
        assert_eq!(broken.answer(ask(more)).await, Err(Unanswered::Failed));
        assert!(broken.is_broken());
        let next = broken.answer(ask(testing::rows(1, 1))).await;
        assert_eq!(next, Err(Unanswered::Broken));
        assert!(other.answer(ask(testing::rows(1, 1))).await.is_ok());
    }
}

#[tokio::test]
async fn rows_that_are_read_together_are_computed_together() {
    let alone = start(64, 8, Duration::MAX);
    let shared = without_actor(limits(64, 8, Duration::MAX));
    let row = |seed| testing::rows(seed, 1);
    // A caller who leaves before anything is computed costs nothing, and one whose time is up gets no answer.
    let mut left = Box::pin(shared.gather(ask(row(0))));
    poll_fn(|context| {
        assert!(left.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(left);
    let huge = vec![f32::MAX; testing::ROW];
    let (first, two, late, huge) = tokio::join!(
        shared.gather(ask(row(1))),
        shared.gather(ask(testing::rows(2, 2))),
        shared.gather(late(row(3))),
        shared.gather(ask(huge)),
    );
    assert_eq!(late, Err(Unanswered::Overdue));
    assert_eq!(huge, Err(Unanswered::NotFinite));
    for (found, rows) in [(first, row(1)), (two, testing::rows(2, 2))] {
        let expected = alone.answer(ask(rows)).await.unwrap().probabilities;
        assert_eq!(bits(&found.unwrap().probabilities), bits(&expected));
    }
    let batches = shared.statistics.read().batches;
    assert_eq!(batches.keys().collect::<Vec<_>>(), [&4]);
    assert_eq!(lock(&shared.gathered).rows(), 0);
}

#[tokio::test]
async fn what_is_gathered_is_cut_into_batches() {
    let shared = without_actor(limits(64, 2, Duration::MAX));
    let gather = |seed| shared.gather(ask(testing::rows(seed, 1)));
    let (a, b, c) = tokio::join!(gather(1), gather(2), gather(3));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let batches = shared.statistics.read().batches;
    assert_eq!(batches.keys().collect::<Vec<_>>(), [&1, &2]);
}

#[tokio::test]
async fn a_computation_that_panics_is_told_to_all_who_waited_for_it() {
    let shared = without_actor(limits(64, 8, Duration::MAX));
    let part = testing::rows(1, 2)[1..].to_vec();
    let (broken, other) = tokio::join!(
        shared.gather(ask(part)),
        shared.gather(ask(testing::rows(2, 1)))
    );
    assert_eq!(broken, Err(Unanswered::Failed));
    assert_eq!(other, Err(Unanswered::Failed));
}

#[tokio::test]
async fn in_a_flood_nobody_waits_for_more() {
    let shared = without_actor(limits(64, 8, Duration::MAX));
    let mut waiting: Vec<_> = (0..MOST_GATHERING as u64)
        .map(|seed| Box::pin(shared.gather(ask(testing::rows(seed, 1)))))
        .collect();
    let mut next = Box::pin(shared.gather(ask(testing::rows(1, 1))));
    poll_fn(|context| {
        for waits in &mut waiting {
            assert!(waits.as_mut().poll(context).is_pending());
        }
        assert!(matches!(next.as_mut().poll(context), Poll::Ready(Ok(_))));
        Poll::Ready(())
    })
    .await;
    // What waited was computed with it.
    assert_eq!(lock(&shared.gathered).rows(), 0);
    for waits in waiting {
        assert!(waits.await.is_ok());
    }
    assert_eq!(shared.gathering.load(Ordering::Relaxed), 0);
}
