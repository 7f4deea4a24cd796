//! Aliases and rollouts, changed by conditional writes.

use std::fs;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, PutMode};
use strata_package::{PackageError, Store, layout};
use strata_spec::Name;

use crate::{
    Remote, RemoteError,
    objects::{Put, Small},
    pull::{NotPulled, io_error, scratch},
};

/// How often a change is tried that others made impossible.
const MOST_TRIES: usize = 8;

/// Many times what aliases or a rollout take.
const MAX_BYTES: u64 = 1 << 20;

/// Versions whose heads are fetched at the same time.
const AT_ONCE: usize = 16;

/// A store in which a model stands without weights.
struct Outlined {
    folder: tempfile::TempDir,
    /// The paths of its aliases and its rollout, and what they are at the address.
    files: Vec<(String, Option<Small>)>,
}

impl Remote {
    /// Lets `change` work on a store in which the model stands as it stands here, but without weights, and takes over what it
    /// made of aliases and rollout, if both are still what they were; else it begins anew. So what the methods of [`Store`]
    /// check for a folder holds here too.
    ///
    /// # Errors
    /// What `change` returns, others changed them again and again, or the store cannot be used.
    pub fn change<T, E: From<RemoteError> + From<PackageError>>(
        &self,
        name: &Name,
        change: impl Fn(&Store) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..MOST_TRIES {
            let outlined = self.outlined(name)?;
            let store = Store::open(outlined.folder.path())?;
            let result = change(&store)?;
            if self.take_over(&outlined)? {
                return Ok(result);
            }
        }
        Err(RemoteError::Contended {
            address: self.address(),
            name: name.clone(),
        }
        .into())
    }

    /// Lets `read` look at a store in which the model stands as it stands here, but without weights.
    ///
    /// # Errors
    /// What `read` returns, or the store cannot be read.
    pub fn outline<T, E: From<RemoteError> + From<PackageError>>(
        &self,
        name: &Name,
        read: impl FnOnce(&Store) -> Result<T, E>,
    ) -> Result<T, E> {
        let outlined = self.outlined(name)?;
        read(&Store::open(outlined.folder.path())?)
    }

    fn outlined(&self, name: &Name) -> Result<Outlined, RemoteError> {
        let model = self.list_model(name)?;
        if model.versions().next().is_none() {
            return Err(RemoteError::None {
                address: self.address(),
                what: format!("model `{name}`"),
            });
        }
        let folder = scratch()?;
        let store = Store::create_if_missing(folder.path())?;
        let heads = self.wait(
            stream::iter(model.versions())
                .map(async |version| (version, self.head(name, version).await))
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>(),
        );
        for (version, head) in heads {
            match head {
                // A damaged version is none that could be named.
                Ok(head) => drop(store.outline(name, version, &head)),
                Err(NotPulled::Version(_)) => {}
                Err(NotPulled::Other(error)) => return Err(error),
            }
        }
        // Aliases first: a rollout that was promoted counts as such from when its alias moves.
        let files = [layout::aliases(name), layout::rollout(name)];
        let files = self.wait(
            stream::iter(files)
                .then(async |path| {
                    let found = self.small(&path, MAX_BYTES).await?;
                    Ok::<_, RemoteError>((path, found))
                })
                .try_collect::<Vec<_>>(),
        )?;
        for (path, found) in &files {
            if let Some(found) = found {
                let file = folder.path().join(path);
                fs::write(&file, &found.bytes).map_err(io_error("write", &file))?;
            }
        }
        Ok(Outlined { folder, files })
    }

    /// Writes what is not as it was; false if somebody else was faster.
    fn take_over(&self, outlined: &Outlined) -> Result<bool, RemoteError> {
        for (path, before) in &outlined.files {
            let file = outlined.folder.path().join(path);
            let after = match fs::read(&file) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(io_error("read", &file)(error)),
            };
            let put = match (before, after) {
                (None, None) => continue,
                (Some(before), Some(after)) if before.bytes == after => continue,
                (Some(before), Some(after)) => {
                    let mode = PutMode::Update(before.update.clone());
                    self.wait(self.put(path, after, mode))?
                }
                (None, Some(after)) => self.wait(self.put(path, after, PutMode::Create))?,
                (Some(_), None) => self.wait(self.remove(path))?,
            };
            if put == Put::Refused {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes an object away. Stores have no condition for this; the last of several who change it at a time wins.
    async fn remove(&self, path: &str) -> Result<Put, RemoteError> {
        let key = self.key(path);
        match self.timed("write", self.store.delete(&key)).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(Put::Done),
            Err(error) => Err(self.failed("write", error)),
        }
    }
}
