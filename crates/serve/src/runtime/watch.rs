//! The word of the operating system that a store's folder has changed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::repository::Waker;

/// Wakes whoever follows the store as long as this is there.
#[derive(Debug)]
pub(super) struct Watch {
    has_changed: Arc<AtomicBool>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches a folder and all below it. Changes are told once until [`Watch::take`], however many there are.
    ///
    /// # Errors
    /// The operating system does not tell, or of no more folders.
    pub(super) fn start(folder: &Path, waker: Waker) -> notify::Result<Self> {
        let has_changed = Arc::new(AtomicBool::new(true));
        let changed = Arc::clone(&has_changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Who reads a store changes nothing, and the follower itself reads it.
            let is_change = event.map_or(true, |event| !event.kind.is_access());
            if is_change && !changed.swap(true, Ordering::SeqCst) {
                waker.wake();
            }
        })?;
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Self {
            has_changed,
            _watcher: watcher,
        })
    }

    /// Whether anything changed since this was asked last.
    pub(super) fn take(&self) -> bool {
        self.has_changed.swap(false, Ordering::SeqCst)
    }
}
