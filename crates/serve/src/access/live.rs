//! The keys as the running server has them.

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    key::Key,
    store::{KeyStore, KeysError},
};
use crate::log::{Log, plain};

/// How often the file is looked at. A revocation is effective after this and the time to read the file.
const EVERY: Duration = Duration::from_millis(200);

/// How old what was seen may be. Older only if the thread that looks is dead or hangs.
const OLDEST: Duration = Duration::from_secs(5);

/// Characters of a line about keys that cannot be read.
const LONGEST_LINE: usize = 1000;

/// Keys by identifier, read anew when their file changes.
///
/// While the file cannot be read or understood, or was not looked at for [`OLDEST`], there are no keys:
/// nobody gets in on what it used to say.
#[derive(Debug)]
pub(crate) struct LiveKeys {
    store: KeyStore,
    log: Log,
    current: RwLock<Current>,
    /// What the file was like when it was read last.
    seen: Mutex<Option<Stamp>>,
}

pub(crate) type Ring = HashMap<String, Arc<Key>>;

#[derive(Debug)]
struct Current {
    ring: Option<Arc<Ring>>,
    /// When the last look that came to its end began.
    looked: Instant,
}

/// Changes whenever the file does: a change makes another file (another inode), an edit in place another
/// time or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    inode: u64,
    /// The time of the last change of content or mode.
    #[cfg(unix)]
    changed: (i64, i64),
}

impl LiveKeys {
    /// Reads the keys, and watches them from a thread that ends with them.
    ///
    /// # Errors
    /// The file cannot be read, or the thread cannot be started.
    pub(crate) fn watch(store: KeyStore, log: Log) -> Result<Arc<Self>, KeysError> {
        // Read once for the error; the stamp comes first in `look`, so no change falls between the two.
        store.list()?;
        let keys = Arc::new(Self {
            store,
            log,
            current: RwLock::new(Current {
                ring: None,
                looked: Instant::now(),
            }),
            seen: Mutex::new(None),
        });
        keys.look();
        let weak = Arc::downgrade(&keys);
        let thread = thread::Builder::new().name("strata-keys".to_owned());
        let started = thread.spawn(move || look_again_and_again(&weak));
        started.map_err(|source| KeysError::Io {
            action: "watch",
            path: keys.store.path().to_owned(),
            source,
        })?;
        Ok(keys)
    }

    /// The keys of this moment; none if their file cannot be read.
    pub(crate) fn ring(&self) -> Option<Arc<Ring>> {
        self.ring_at(Instant::now())
    }

    fn ring_at(&self, now: Instant) -> Option<Arc<Ring>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = now.saturating_duration_since(current.looked) <= OLDEST;
        current.ring.clone().filter(|_| is_fresh)
    }

    /// Reads the file if it changed. Tells of a problem last: nothing may come between it and its effect.
    fn look(&self) {
        let problem = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let began = Instant::now();
            let ring = self.read_if_changed(&mut seen);
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            current.looked = began;
            match ring {
                None => None,
                Some(Ok(ring)) => {
                    current.ring = Some(ring);
                    None
                }
                // Said once, not every time that it is tried again.
                Some(Err(problem)) => current.ring.take().map(|_| problem),
            }
        };
        if let Some(problem) = problem {
            let line = format!("keys cannot be read, every request is refused: {problem}");
            self.log.write(plain(&line, LONGEST_LINE));
        }
    }

    /// What the file holds; nothing if it is what it was.
    fn read_if_changed(&self, seen: &mut Option<Stamp>) -> Option<Result<Arc<Ring>, String>> {
        let has_ring = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.ring.is_some()
        };
        let stamp = self.stamp();
        // What could not be read is tried again each time, changed or not.
        if let Ok(stamp) = &stamp
            && has_ring
            && *seen == *stamp
        {
            return None;
        }
        // Where there was one, none is no list of nobody: a folder that is away would make every caller's key a wrong one.
        let stamp = match stamp {
            Ok(None) if seen.is_some() => Err(format!("{} is gone", self.store.path().display())),
            stamp => stamp.map_err(|error| error.to_string()),
        };
        let ring = stamp.and_then(|stamp| {
            let keys = self.store.list().map_err(|error| error.to_string())?;
            *seen = stamp;
            Ok(Arc::new(
                keys.into_iter()
                    .map(|key| (key.id.clone(), Arc::new(key)))
                    .collect::<Ring>(),
            ))
        });
        Some(ring)
    }

    /// What the file is like; nothing if there is none.
    fn stamp(&self) -> io::Result<Option<Stamp>> {
        let metadata = match fs::metadata(self.store.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Ok(Some(Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            inode: metadata.ino(),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }))
    }
}

/// A thread, not a task: it must not wait behind requests.
fn look_again_and_again(keys: &Weak<LiveKeys>) {
    loop {
        thread::sleep(EVERY);
        let Some(keys) = keys.upgrade() else { return };
        keys.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, KeyModels, NewKey};

    #[test]
    fn a_change_of_the_file_changes_the_keys_and_damage_empties_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::beside(folder.path());
        let keys = LiveKeys::watch(store.clone(), Log::start().unwrap()).unwrap();
        assert!(keys.ring().unwrap().is_empty());

        let (actions, models) = (vec![Action::Infer], KeyModels::All);
        let created = store
            .create(NewKey {
                name: "a".to_owned(),
                actions,
                models,
                expires: None,
            })
            .unwrap();
        keys.look();
        assert!(keys.ring().unwrap()[&created.key.id].revoked.is_none());
        store.revoke(&created.key.id).unwrap();
        keys.look();
        assert!(keys.ring().unwrap()[&created.key.id].revoked.is_some());

        let good = fs::read(store.path()).unwrap();
        fs::write(store.path(), &good[..good.len() / 2]).unwrap();
        keys.look();
        assert!(keys.ring().is_none());
        fs::write(store.path(), &good).unwrap();
        keys.look();
        assert!(keys.ring().is_some());
        // A file that is gone is no list of nobody.
        fs::remove_file(store.path()).unwrap();
        keys.look();
        assert!(keys.ring().is_none());
        fs::write(store.path(), good).unwrap();
        keys.look();
        assert!(!keys.ring().unwrap().is_empty());
    }

    #[test]
    fn keys_that_nobody_looks_after_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::beside(folder.path());
        let keys = LiveKeys::watch(store, Log::start().unwrap()).unwrap();
        let now = Instant::now();
        assert!(keys.ring_at(now).is_some());
        assert!(keys.ring_at(now + 100 * OLDEST).is_none());
    }

    #[test]
    fn damage_empties_the_keys_though_nothing_can_be_logged() {
        struct Broken;
        impl io::Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                panic!("as a log does that cannot write");
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::beside(folder.path());
        let keys = LiveKeys::watch(store.clone(), Log::to(Broken).unwrap()).unwrap();
        let good = br#"{"format":1,"keys":[]}"#;
        for _ in 0..3 {
            fs::write(store.path(), "{").unwrap();
            keys.look();
            assert!(keys.ring().is_none());
            fs::write(store.path(), good).unwrap();
            keys.look();
            assert!(keys.ring().is_some());
        }
    }
}
