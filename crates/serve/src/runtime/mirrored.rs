//! The folder that a server serves from, kept like a store at an address.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use strata_package::{Ended, PackageError, Store};
use strata_remote::{Mirror, Remote, RemoteError, Synced};
use strata_spec::Name;

use crate::{
    Origin, ServeError, ServeOptions,
    http::State,
    log::{Log, Problems},
    metrics::Metrics,
};

/// A store at an address, and what is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrored(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    synced: Synced,
    /// How rollouts ended here, by their identifiers, until that is recorded in the store.
    ends: BTreeMap<String, (Name, Ended)>,
}

impl Mirrored {
    /// Versions that are in the store and not to be used, and why.
    pub(super) fn unavailable(&self) -> BTreeMap<(Name, u64), String> {
        self.known().synced.unavailable.clone()
    }

    /// Has it recorded in the store how a rollout ended.
    pub(super) fn end_rollout(&self, name: &Name, id: &str, ended: &Ended) {
        let mut known = self.known();
        let end = (name.clone(), ended.clone());
        if known.ends.insert(id.to_owned(), end).is_none() {
            self.0.woken.notify_one();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until `poll` is over or there is something to record; what there is.
    fn wait(&self, poll: Duration) -> Vec<(String, Name, Ended)> {
        let known = self.known();
        let nothing = |known: &mut Known| known.ends.is_empty();
        let waited = self.0.woken.wait_timeout_while(known, poll, nothing);
        let (known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let ends = known.ends.iter();
        ends.map(|(id, (name, ended))| (id.clone(), name.clone(), ended.clone()))
            .collect()
    }
}

/// What keeps the folder like the store.
pub(crate) struct Keeper {
    mirror: Mirror,
    mirrored: Mirrored,
    poll: Duration,
    log: Log,
    /// With a version, a model or the store.
    problems: Problems,
}

/// Makes the folder like the store at its address, if it has one, for the first time. If that one cannot be reached, what
/// the folder has from an earlier time is served.
///
/// # Errors
/// The store cannot be reached and the folder has nothing, or the folder cannot be used.
pub(crate) fn mirror(
    options: &ServeOptions,
    log: &Log,
    metrics: &Metrics,
) -> Result<Option<Keeper>, ServeError> {
    let Some(Origin { bucket, poll }) = &options.origin else {
        metrics.store_reachable.set(1);
        return Ok(None);
    };
    let remote = Remote::from_env(bucket)?;
    let (models, access) = (options.models.clone(), options.access.clone());
    let mut keeper = Keeper {
        mirror: Mirror::open(remote, &options.store, models, access)?,
        mirrored: Mirrored::default(),
        poll: *poll,
        log: log.clone(),
        problems: Problems::new(log.clone()),
    };
    match keeper.mirror.sync() {
        Ok(synced) => {
            metrics.store_reachable.set(1);
            metrics.store_synced.set(now());
            keeper.take(synced);
        }
        Err(error) if keeper.mirror.has_models() => {
            keeper.problems.tell(UNREACHABLE.to_owned(), &error);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(keeper))
}

const UNREACHABLE: &str = "the store cannot be followed";

impl Keeper {
    pub(crate) fn mirrored(&self) -> Mirrored {
        self.mirrored.clone()
    }

    /// Keeps the folder like the store, from a thread that ends with `state`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(mut self, state: &Arc<State>) -> io::Result<()> {
        let state = Arc::downgrade(state);
        let thread = thread::Builder::new().name("strata-mirror".to_owned());
        thread.spawn(move || self.keep(&state))?;
        Ok(())
    }

    fn keep(&mut self, state: &Weak<State>) {
        let mut next = Instant::now() + self.poll;
        loop {
            let ends = self
                .mirrored
                .wait(next.saturating_duration_since(Instant::now()));
            if state.strong_count() == 0 {
                return;
            }
            // What could not be recorded waits for its turn too: the store is not asked without a pause.
            let is_recorded = ends.iter().all(|end| self.record(end));
            let result = self.mirror.sync();
            let Some(state) = state.upgrade() else { return };
            state.metrics.store_reachable.set(result.is_ok().into());
            match result {
                Ok(synced) => {
                    if self.problems.forget(UNREACHABLE) {
                        self.log.write("the store can be followed again".to_owned());
                    }
                    state.metrics.store_synced.set(now());
                    self.take(synced);
                }
                Err(error) => {
                    self.problems.tell(UNREACHABLE.to_owned(), &error);
                }
            }
            next = Instant::now() + self.poll;
            if !is_recorded {
                thread::sleep(self.poll);
            }
        }
    }

    fn record(&mut self, (id, name, ended): &(String, Name, Ended)) -> bool {
        let end =
            |store: &Store| -> Result<bool, EndError> { Ok(store.end_rollout(name, id, ended)?) };
        let recorded = self.mirror.remote().change(name, end);
        match recorded {
            Ok(_) => {
                self.mirrored.known().ends.remove(id);
                true
            }
            Err(error) => {
                let what = format!("the end of the rollout {id} of {name} cannot be recorded");
                self.problems.tell(what, &error);
                // One that the store refuses is one that it has no longer as it was.
                if matches!(error, EndError::Refused(_)) {
                    self.mirrored.known().ends.remove(id);
                }
                matches!(error, EndError::Refused(_))
            }
        }
    }

    fn take(&mut self, synced: Synced) {
        for ((name, version), problem) in &synced.unavailable {
            self.problems
                .tell(format!("{name}@{version} is not to be used"), problem);
        }
        for (name, problem) in &synced.unknown {
            self.problems
                .tell(format!("{name} cannot be followed"), problem);
        }
        self.mirrored.known().synced = synced;
    }
}

/// Why the end of a rollout was not recorded.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Refused(#[from] PackageError),
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
