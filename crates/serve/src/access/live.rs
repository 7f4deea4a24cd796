//! The keys as the running server has them.

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    key::Key,
    store::{KeyStore, KeysError},
};

/// How often the file is looked at. A revocation is effective after this and the time to read the file.
const EVERY: Duration = Duration::from_millis(200);

/// Keys by identifier, read anew when their file changes.
///
/// While the file cannot be read or understood there are no keys: nobody gets in on what it used to say.
#[derive(Debug)]
pub(crate) struct LiveKeys {
    store: KeyStore,
    ring: RwLock<Option<Arc<Ring>>>,
    /// What the file was like when it was read last.
    seen: Mutex<Option<Stamp>>,
}

pub(crate) type Ring = HashMap<String, Arc<Key>>;

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
    pub(crate) fn watch(store: KeyStore) -> Result<Arc<Self>, KeysError> {
        // Read once for the error; the stamp comes first in `look`, so no change falls between the two.
        store.list()?;
        let keys = Arc::new(Self {
            store,
            ring: RwLock::new(None),
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
        self.ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp();
        // What could not be read is tried again each time, changed or not.
        if let (Ok(stamp), Some(_)) = (&stamp, self.ring())
            && *seen == *stamp
        {
            return;
        }
        let ring = stamp.map_err(|error| error.to_string()).and_then(|stamp| {
            let keys = self.store.list().map_err(|error| error.to_string())?;
            *seen = stamp;
            Ok(Arc::new(
                keys.into_iter()
                    .map(|key| (key.id.clone(), Arc::new(key)))
                    .collect::<Ring>(),
            ))
        });
        let mut current = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if let (Err(problem), Some(_)) = (&ring, &*current) {
            eprintln!("keys cannot be read, every request is refused: {problem}");
        }
        *current = ring.ok();
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
        let keys = LiveKeys::watch(store.clone()).unwrap();
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
        fs::write(store.path(), good).unwrap();
        keys.look();
        assert!(keys.ring().is_some());
        fs::remove_file(store.path()).unwrap();
        keys.look();
        assert!(keys.ring().unwrap().is_empty());
    }
}
