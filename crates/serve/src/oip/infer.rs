use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;
use strata_nn::Way;
use tokio::time::timeout_at;

use super::{
    HEADER_LENGTH,
    answer::{self, Task},
    question::{Question, RowLimits, Source},
};
use crate::{
    http::{Asked, Refusal, Response, State, json},
    runtime::Version,
};

/// What is read where it arrives. More goes to another thread, so that other connections do not wait for it.
const READ_INLINE_BYTES: usize = 256 << 10;
/// Pixels and prepared numbers that are worked on where they arrive.
const PREPARE_INLINE: usize = 16 << 10;
/// Probabilities that are written where they arrive.
const WRITE_INLINE: usize = 16 << 10;

/// `POST …/infer`
pub(crate) async fn infer(state: &State, asked: Asked) -> Result<Response, Refusal> {
    let Read {
        question,
        rows,
        deadline,
    } = read(state, &asked).await?;
    let version = &asked.version;
    let way = way(version, &question);
    let answered = version.batcher.answer(rows, way, deadline).await?;
    let numbers = answered.heads.iter().map(Vec::len).sum::<usize>() + answered.probabilities.len();
    let is_short = numbers <= WRITE_INLINE;
    let (version, id, outputs) = (version.clone(), question.id, question.outputs);
    let count = question.count;
    let write = move || {
        Ok(answer::write(
            &version,
            id.as_deref(),
            count,
            &answered,
            &outputs,
        ))
    };
    let body = if is_short {
        write()?
    } else {
        elsewhere(state, deadline, write).await?
    };
    let mut response = json(body.bytes);
    if let Some(length) = body.json {
        let headers = response.headers_mut();
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        headers.insert(
            hyper::header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
    }
    Ok(response)
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
    pub(crate) rows: Vec<f32>,
    /// The request's, or the one that its `timeout` asks for if that is sooner.
    pub(crate) deadline: Instant,
}

/// Reads a body and prepares its rows.
pub(crate) async fn read(state: &State, asked: &Asked) -> Result<Read, Refusal> {
    let start = Instant::now();
    // Four times the body covers FP32, and UINT8 at the network's own size.
    let limits = RowLimits {
        rows: state.limits.queue_rows,
        bytes: state.limits.body_bytes.saturating_mul(4),
    };
    let (body, json_bytes, version) = (
        asked.body.bytes.clone(),
        asked.json_bytes,
        asked.version.clone(),
    );
    let parse = move || Question::read(&body, json_bytes, &version, limits);
    let mut question = if asked.body.bytes.len() <= READ_INLINE_BYTES {
        parse()?
    } else {
        elsewhere(state, asked.deadline, parse).await?
    };

    let wanted = question
        .parameters
        .timeout
        .filter(|&microseconds| microseconds > 0);
    let wanted =
        wanted.and_then(|microseconds| start.checked_add(Duration::from_micros(microseconds)));
    let deadline = wanted.map_or(asked.deadline, |wanted| wanted.min(asked.deadline));
    let source = std::mem::replace(&mut question.source, Source::Prepared(Vec::new()));
    let is_quick = match &source {
        Source::Prepared(_) => true,
        Source::Pixels { bytes, .. } => {
            let numbers = question.count.saturating_mul(asked.version.row_len());
            bytes.len().max(numbers) <= PREPARE_INLINE
        }
        // A small file may hold a large image.
        Source::Encoded(_) => false,
    };
    let version = asked.version.clone();
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

/// Who waits for rows that are prepared elsewhere.
#[derive(Debug)]
pub(crate) struct Waiter {
    deadline: Instant,
    /// Gone when the request is.
    request: Weak<()>,
}

impl Waiter {
    pub(crate) fn of(request: &Arc<()>, deadline: Instant) -> Self {
        Self {
            deadline,
            request: Arc::downgrade(request),
        }
    }

    /// Refuses work that nobody waits for any more: it would only keep others waiting.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.request.strong_count() == 0 || self.deadline <= Instant::now() {
            return Err(Refusal::Overdue);
        }
        Ok(())
    }
}

/// Computes on a thread of its own, one for each core at a time.
async fn elsewhere<T: Send + 'static>(
    state: &State,
    deadline: Instant,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = async {
        let slot = Arc::clone(&state.readers).acquire_owned().await;
        let slot = slot.map_err(|_| Refusal::Internal("the server is stopping"))?;
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: the caller may leave while it goes on.
            let _slot = slot;
            work()
        });
        work.await
            .unwrap_or(Err(Refusal::Internal("the request could not be read")))
    };
    timeout_at(deadline.into(), done)
        .await
        .unwrap_or(Err(Refusal::Overdue))
}
