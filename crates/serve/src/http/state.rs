use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::{Refusal, body::Budget};
use crate::{
    Limits,
    access::{Caller, Guard, RefusalLog, Refused},
    log::Log,
    metrics::Metrics,
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
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) repository: Repository,
    is_draining: watch::Sender<bool>,
}

impl State {
    pub(crate) fn new(
        guard: Guard,
        registry: Registry,
        repository: Repository,
        metrics: Metrics,
        limits: Limits,
        log: Log,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bodies: Arc::new(Budget::new(limits.all_bodies_bytes)),
            explanations: Arc::new(Semaphore::new(
                limits.explanations.min(Semaphore::MAX_PERMITS),
            )),
            readers: Arc::new(Semaphore::new(cores)),
            repository,
            guard,
            registry: LiveRegistry::new(registry),
            metrics,
            limits,
            log: RefusalLog::new(log),
            is_draining: watch::Sender::new(false),
        }
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
    pub(crate) fn note(
        &self,
        refusal: &Refusal,
        peer: SocketAddr,
        method: &str,
        path: &str,
        caller: Option<&Caller>,
    ) {
        if let Some(reason) = refusal.reason() {
            self.metrics.count_refused(reason);
        }
        if let Refusal::Denied(denied) = refusal {
            self.log.write(&Refused {
                event: "access-refused",
                time: Timestamp::now(),
                peer,
                method,
                path,
                status: refusal.status().as_u16(),
                reason: denied.to_string(),
                key: caller.map(Caller::id),
            });
        }
    }
}
