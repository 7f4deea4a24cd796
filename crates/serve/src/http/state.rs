use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;

use super::body::Budget;
use crate::{
    Limits,
    access::{Guard, RefusalLog},
    log::Log,
    metrics::Metrics,
    runtime::{LiveRegistry, Registry},
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
    is_draining: AtomicBool,
}

impl State {
    pub(crate) fn new(
        guard: Guard,
        registry: Registry,
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
            guard,
            registry: LiveRegistry::new(registry),
            metrics,
            limits,
            log: RefusalLog::new(log),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Whether it wants requests.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}
