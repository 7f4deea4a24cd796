use std::{net::SocketAddr, sync::Arc, time::Instant};

use hyper::HeaderMap;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::{Refusal, body::Budget, trace};
use crate::{
    Limits,
    access::{Caller, Guard, RefusalLog, Refused, Turns},
    infer::Cache,
    log::Log,
    metrics::Metrics,
    observe::Observer,
    runtime::{LiveRegistry, Registry, Repository},
};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) guard: Guard,
    pub(crate) registry: LiveRegistry,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) log: RefusalLog,
    pub(crate) bodies: Arc<Budget>,
    /// One permit for each explanation that may run.
    pub(crate) explanations: Arc<Semaphore>,
    /// One permit for each thread that may read large requests and images.
    readers: Arc<Semaphore>,
    pub(crate) repository: Repository,
    pub(crate) turns: Arc<Turns>,
    /// None where no answers are kept.
    pub(crate) cache: Option<Cache>,
    pub(crate) observer: Observer,
    pub(crate) started: Instant,
    is_draining: watch::Sender<bool>,
}

/// Where a request comes from and what it is for, as logs have it.
pub(crate) struct Origin<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl State {
    pub(crate) fn new(
        guard: Guard,
        registry: Registry,
        repository: Repository,
        metrics: Metrics,
        limits: Limits,
        log: Log,
        observer: Observer,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bodies: Arc::new(Budget::new(limits.all_bodies_bytes)),
            explanations: Arc::new(Semaphore::new(
                limits.explanations.min(Semaphore::MAX_PERMITS),
            )),
            readers: Arc::new(Semaphore::new(cores)),
            turns: Arc::new(Turns::new(limits.key_requests)),
            cache: Some(limits.cache_bytes)
                .filter(|bytes| *bytes > 0)
                .map(Cache::new),
            repository,
            guard,
            registry: LiveRegistry::new(registry),
            metrics,
            limits,
            log: RefusalLog::new(log),
            observer,
            started: Instant::now(),
            is_draining: watch::Sender::new(false),
        }
    }

    /// Computes on a thread of its own, one for each core at a time.
    pub(crate) async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let slot = Arc::clone(&self.readers).acquire_owned().await;
        let slot = slot.map_err(|_| Refusal::Internal("the server is stopping"))?;
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: the caller may leave while it goes on.
            let _slot = slot;
            work()
        });
        work.await
            .unwrap_or(Err(Refusal::Internal("the request could not be read")))
    }

    /// Whether it wants requests.
    pub(crate) fn is_ready(&self) -> bool {
        !*self.is_draining.borrow()
    }

    pub(crate) fn drain(&self) {
        self.is_draining.send_replace(true);
    }

    /// Comes to an end when the server wants no more requests.
    pub(crate) async fn drained(&self) {
        // The sender is here, so the channel does not close.
        let _ = self
            .is_draining
            .subscribe()
            .wait_for(|is_draining| *is_draining)
            .await;
    }

    /// Counts a refusal, and logs one of the guard's.
    pub(crate) fn note(&self, refusal: &Refusal, origin: &Origin<'_>, caller: Option<&Caller>) {
        if let Some(reason) = refusal.reason() {
            self.metrics.count_refused(reason);
        }
        if let Refusal::Denied(denied) = refusal {
            self.log.write(&Refused {
                event: "access-refused",
                time: Timestamp::now(),
                peer: origin.peer,
                method: origin.method,
                path: origin.path,
                trace: trace::trace_id(origin.headers),
                request: trace::request_id(origin.headers).and_then(|id| id.to_str().ok()),
                status: refusal.status().as_u16(),
                reason: denied.to_string(),
                key: caller.map(Caller::id),
            });
        }
    }
}
