use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use strata_nn::Way;
use tokio::time::timeout_at;

use super::{Question, RowLimits, Source, Task, Waiter, cache::key};
use crate::{
    http::{Refusal, State},
    rollout::{Routed, Shadow},
    runtime::{Answered, Ask, Priority, Rows, Took, Unanswered, Version},
};

/// What is read where it arrives. More goes to another thread, so that other connections do not wait for it.
const READ_INLINE_BYTES: usize = 256 << 10;
/// Pixels and prepared numbers that are worked on where they arrive.
const PREPARE_INLINE: usize = 16 << 10;
/// Probabilities that are written where they arrive.
const WRITE_INLINE: usize = 16 << 10;

/// Answers a request, and counts it among those of its version.
///
/// What a protocol is made of are `parse`, which reads the `bytes` bytes of a body, and `write`, which makes an answer.
pub(crate) async fn infer<T: Send + 'static>(
    state: &State,
    routed: &Routed,
    bytes: usize,
    deadline: Instant,
    parse: impl FnOnce(&Version, RowLimits) -> Result<Question, Refusal> + Send + 'static,
    write: impl FnOnce(&Version, &Question, &Answered) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let began = Instant::now();
    let version = &routed.version;
    let mut caller = Leaving {
        cancelled: Some(&state.metrics.cancelled),
    };
    let answer = async {
        let Read {
            question,
            rows,
            deadline,
        } = read(state, version, bytes, deadline, parse).await?;
        let read_in = began.elapsed();
        let (answered, is_kept) = answered(state, routed, &question, rows, deadline).await?;
        // As in Triton, rows that were not computed are not counted as such.
        let count = if is_kept { 0 } else { question.count };
        let took = answered.took;
        let numbers =
            answered.heads.iter().map(Vec::len).sum::<usize>() + answered.probabilities.len();
        let computed = Instant::now();
        let own = version.clone();
        let write = move || Ok(write(&own, &question, &answered));
        let written = if numbers <= WRITE_INLINE {
            write()?
        } else {
            elsewhere(state, deadline, write).await?
        };
        let took = Took {
            input: read_in,
            output: computed.elapsed(),
            ..took
        };
        Ok((written, count, took))
    };
    let answer = answer.await;
    caller.cancelled = None;
    let statistics = version.batcher.statistics();
    match answer {
        Ok((written, rows, took)) => {
            statistics.succeeded(rows, &took, began.elapsed());
            // Of a stream the first answer counts.
            let _ = routed.took.set(took);
            version.batcher.metrics().count(&took, rows > 0);
            Ok(written)
        }
        Err(refusal) => {
            statistics.failed(began.elapsed());
            Err(refusal)
        }
    }
}

/// What was answered before, or what is computed now; and whether it was before.
async fn answered(
    state: &State,
    routed: &Routed,
    question: &Question,
    rows: Rows,
    deadline: Instant,
) -> Result<(Arc<Answered>, bool), Refusal> {
    let began = Instant::now();
    let version = &*routed.version;
    let cache = state.cache.as_ref();
    let cache = cache.map(|cache| (cache, key(version, question, &rows)));
    if let Some((cache, key)) = &cache {
        let found = cache.get(key);
        version.batcher.looked_up(found.is_some(), began.elapsed());
        if let Some(found) = found {
            return Ok((found, true));
        }
    }
    let shadow = Shadow::of(routed, &rows, question.count, |other| way(other, question));
    let ask = Ask {
        rows,
        way: way(version, question),
        deadline,
        priority: Priority::new(question.parameters.priority),
    };
    let outcome = version.batcher.answer(ask).await;
    // A caller who waits less than the server allows says nothing of the version.
    let is_hasty = deadline.saturating_duration_since(began) < state.limits.request_time / 2;
    if !(is_hasty && matches!(outcome, Err(Unanswered::Overdue))) {
        routed.count(outcome.as_ref().map_err(|problem| *problem));
    }
    let answered = Arc::new(outcome?);
    if let Some(shadow) = shadow {
        let deadline = Instant::now() + state.limits.request_time;
        shadow.ask(answered.clone(), deadline);
    }
    if let Some((cache, key)) = cache {
        let kept = Answered {
            took: Took::default(),
            ..(*answered).clone()
        };
        cache.insert(key, Arc::new(kept));
    }
    Ok((answered, false))
}

/// Counts a caller that left: then the request's future is dropped where it waits, and with it what was not computed yet.
struct Leaving<'a> {
    cancelled: Option<&'a Counter>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(cancelled) = self.cancelled {
            cancelled.inc();
        }
    }
}

/// What the rows are asked on their way: whatever the outputs need, and nothing else. There is only one way to a single head.
fn way(version: &Version, question: &Question) -> Option<Way> {
    let plan = version.batcher.plan();
    if plan.heads().len() == 1 {
        return None;
    }
    let is_wanted = |task| {
        question
            .outputs
            .iter()
            .any(|wanted| wanted.output.task() == task)
    };
    let way = if is_wanted(Task::Final) {
        version.exits.way(plan, &question.leave)
    } else {
        Way::nowhere(plan)
    };
    let others = version.others.iter().enumerate();
    let wanted = others.filter(|(index, _)| is_wanted(Task::Other(*index)));
    Some(wanted.fold(way, |way, (_, task)| way.and(task.head)))
}

/// A question and its prepared rows.
pub(crate) struct Read {
    pub(crate) question: Question,
    pub(crate) rows: Rows,
    /// The request's, or the one that its `timeout` asks for if that is sooner.
    pub(crate) deadline: Instant,
}

/// Reads a body and prepares its rows.
pub(crate) async fn read(
    state: &State,
    version: &Arc<Version>,
    bytes: usize,
    deadline: Instant,
    parse: impl FnOnce(&Version, RowLimits) -> Result<Question, Refusal> + Send + 'static,
) -> Result<Read, Refusal> {
    let start = Instant::now();
    // Four times the body covers FP32, and UINT8 at the network's own size.
    let limits = RowLimits {
        rows: state.limits.queue_rows,
        bytes: state.limits.body_bytes.saturating_mul(4),
    };
    let own = version.clone();
    let parse = move || parse(&own, limits);
    let mut question = if bytes <= READ_INLINE_BYTES {
        parse()?
    } else {
        elsewhere(state, deadline, parse).await?
    };

    let wanted = question
        .parameters
        .timeout
        .filter(|&microseconds| microseconds > 0);
    let wanted =
        wanted.and_then(|microseconds| start.checked_add(Duration::from_micros(microseconds)));
    let deadline = wanted.map_or(deadline, |wanted| wanted.min(deadline));
    let source = std::mem::replace(&mut question.source, Source::Prepared(Vec::new().into()));
    let is_quick = match &source {
        Source::Prepared(_) => true,
        Source::Pixels { bytes, .. } => {
            let numbers = question.count.saturating_mul(version.row_len());
            bytes.len().max(numbers) <= PREPARE_INLINE
        }
        // A small file may hold a large image.
        Source::Encoded(_) => false,
    };
    let version = version.clone();
    // Lives until the rows are there, or until the caller leaves and this future is dropped.
    let request = Arc::new(());
    let waiter = Waiter::of(&request, deadline);
    let prepare = move || source.prepare(&version, &waiter);
    let rows = if is_quick {
        prepare()?
    } else {
        elsewhere(state, deadline, prepare).await?
    };
    Ok(Read {
        question,
        rows,
        deadline,
    })
}

/// Computes on a thread of its own, as long as somebody waits for it.
async fn elsewhere<T: Send + 'static>(
    state: &State,
    deadline: Instant,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    timeout_at(deadline.into(), state.elsewhere(work))
        .await
        .unwrap_or(Err(Refusal::Overdue))
}
