use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Caller;

/// Requests of each key that are being answered: one caller must not take the place of all others.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    /// By the key's identifier; none without a request. Only keys that are valid get here.
    running: Mutex<HashMap<String, usize>>,
}

/// A request of a key, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    key: String,
}

impl Turns {
    /// Up to `most` of each key.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            running: Mutex::default(),
        }
    }

    /// One more of the caller's; none if it has as many as are allowed.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Option<Turn> {
        let mut running = self.lock();
        match running.get_mut(caller.id()) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None if self.most == 0 => return None,
            None => {
                running.insert(caller.id().to_owned(), 1);
            }
        }
        drop(running);
        Some(Turn {
            turns: self.clone(),
            key: caller.id().to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Every change is complete before anything that could panic.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.turns.lock();
        if let Some(count) = running.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.key);
            }
        }
    }
}
