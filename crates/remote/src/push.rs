//! Versions that are brought to a store.

use std::{fs::File, io::Read, path::Path as FilePath};

use object_store::{ObjectStoreExt, PutMode, PutPayload, WriteMultipart};
use strata_package::{Access, Head, Selector, Store, VerifiedVersion, layout};
use strata_spec::{Blob, Name};

use crate::{Remote, RemoteError, objects::Put, pull::io_error};

/// Bytes of a part of a blob; a smaller blob goes in one piece.
const PART: usize = 8 << 20;

/// Parts on their way at the same time.
const PARTS: usize = 4;

impl Remote {
    /// Brings a version of a folder's store here, where it gets the same number; its manifest, and whether it was not here
    /// yet. All of it is checked first, as [`Store::verify`] does. Blobs that are here already stay.
    ///
    /// # Errors
    /// There is no such version or it is damaged, another one has its number here, or one of the two stores cannot be used.
    /// What was brought until then stays, and the version is not there.
    pub fn push(
        &self,
        from: &Store,
        selector: &Selector,
        access: &Access,
    ) -> Result<(VerifiedVersion, bool), RemoteError> {
        let verified = from.verify(selector, access)?;
        let (name, version) = (&verified.manifest.name, verified.manifest.version);
        let head = from.head(name, version)?;
        let is_new = self.wait(async {
            let there = self.manifest_there(name, version).await?;
            if let Some(there) = &there {
                self.same(name, version, there, &head.manifest)?;
            }
            // Also where the manifest is there: others may have copied a part of a version.
            for level in &verified.manifest.levels {
                let file = from.path().join(layout::blob(&level.blob.digest));
                self.send(&level.blob, &file).await?;
            }
            self.write_beside(name, version, &head).await?;
            if there.is_some() {
                return Ok(false);
            }
            let path = layout::manifest(name, version);
            let put = self.put(&path, head.manifest.clone(), PutMode::Create);
            if put.await? == Put::Refused {
                let there = self.manifest_there(name, version).await?;
                return self.same(name, version, &there.unwrap_or_default(), &head.manifest);
            }
            // Whoever pushed another version of this number at the same time is refused, but its card and signature may have
            // come after these.
            self.write_beside(name, version, &head).await?;
            Ok(true)
        })?;
        Ok((verified, is_new))
    }

    async fn manifest_there(
        &self,
        name: &Name,
        version: u64,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let path = layout::manifest(name, version);
        let found = self
            .small(&path, strata_package::MAX_MANIFEST_BYTES)
            .await?;
        Ok(found.map(|found| found.bytes))
    }

    /// Not new if the two manifests are equal.
    fn same(
        &self,
        name: &Name,
        version: u64,
        there: &[u8],
        here: &[u8],
    ) -> Result<bool, RemoteError> {
        if there == here {
            return Ok(false);
        }
        Err(RemoteError::Taken {
            address: self.address(),
            name: name.clone(),
            version,
        })
    }

    /// Writes what a version has beside its manifest and its weights.
    async fn write_beside(
        &self,
        name: &Name,
        version: u64,
        head: &Head,
    ) -> Result<(), RemoteError> {
        self.write(&layout::card(name, version), &head.card).await?;
        match &head.signature {
            Some(signature) => {
                self.write(&layout::signature(name, version), signature)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Writes a small object, unless it is there as it is.
    async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let there = self
            .small(path, strata_package::MAX_SIGNATURE_BYTES)
            .await?;
        if there.is_some_and(|there| there.bytes == bytes) {
            return Ok(());
        }
        match self.put(path, bytes.to_vec(), PutMode::Overwrite).await? {
            Put::Done => Ok(()),
            Put::Refused => Err(self.failed("write", format!("{path} is refused"))),
        }
    }

    /// Sends a blob, unless one of its size is there.
    async fn send(&self, blob: &Blob, file: &FilePath) -> Result<(), RemoteError> {
        let key = self.key(&layout::blob(&blob.digest));
        let there = self.look_at(&key).await?;
        if there.is_some_and(|there| there.size == blob.bytes) {
            return Ok(());
        }
        let mut source = File::open(file).map_err(io_error("read", file))?;
        let failed = |error| self.failed("write", error);
        let mut first = part(&mut source).map_err(io_error("read", file))?;
        if first.len() < PART {
            let put = self.store.put(&key, PutPayload::from(first));
            self.timed("write", put).await?.map_err(failed)?;
            return Ok(());
        }
        let upload = self.timed("write", self.store.put_multipart(&key)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload.map_err(failed)?, PART);
        while !first.is_empty() {
            upload.put(first.into());
            let room = upload.wait_for_capacity(PARTS);
            self.timed("write", room).await?.map_err(failed)?;
            first = part(&mut source).map_err(io_error("read", file))?;
        }
        self.timed("write", upload.finish())
            .await?
            .map_err(failed)?;
        Ok(())
    }
}

fn part(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PART);
    source.take(PART as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Brings a version of a folder's store into another folder's store, as [`Remote::push`] does.
///
/// # Errors
/// As of [`Remote::push`].
pub fn copy(
    from: &Store,
    selector: &Selector,
    access: &Access,
    into: &Store,
) -> Result<(VerifiedVersion, bool), RemoteError> {
    let verified = from.verify(selector, access)?;
    let (name, version) = (&verified.manifest.name, verified.manifest.version);
    let head = from.head(name, version)?;
    let blobs = from.path().join(layout::BLOBS);
    let is_new = into.receive(name, version, &head, &blobs)?;
    Ok((verified, is_new))
}
