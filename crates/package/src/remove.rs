use std::fs;

use strata_spec::Name;

use crate::{
    error::{PackageError, io_error},
    files,
    store::Store,
};

impl Store {
    /// Removes a version, and the blobs that no other version has. Its number is never given again.
    ///
    /// # Errors
    /// There is no such version, an alias names it, a rollout to it is under way, or the disk refuses.
    pub fn remove(&self, name: &Name, version: u64) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        if !self.versions(name)?.contains(&version) {
            return Err(self.no_version(name, version));
        }
        if let Some((alias, _)) = self
            .aliases(name)?
            .into_iter()
            .find(|(_, named)| *named == version)
        {
            return Err(PackageError::AliasInUse {
                name: name.clone(),
                version,
                alias,
            });
        }
        // One that cannot be read keeps nothing: its alias answers alone.
        if let Ok(Some(rollout)) = self.rollout(name)
            && rollout.ended.is_none()
            && rollout.to == version
        {
            return Err(PackageError::Rollout {
                name: name.clone(),
                problem: format!(
                    "a rollout to version {version} is under way: promote or abort it first"
                ),
            });
        }
        // Only the highest number could be given again. It is reserved before the version goes, so that a
        // crash in between does not free it; older versions go without a write, also from a full disk.
        let next = self.next_version(name)?;
        if next - 1 == version {
            self.replace_file(&self.next_file(name), format!("{next}\n").as_bytes())?;
        }

        let workspace = self.workspace();
        fs::create_dir_all(&workspace).map_err(io_error("make", &workspace))?;
        // Readers see all of it or nothing; what a crash leaves in the workspace is swept by the next
        // writer.
        let path = self.version_path(name, version);
        fs::rename(&path, workspace.join("removed")).map_err(io_error("remove", &path))?;
        files::sync_parent(&path)?;
        self.collect_blobs()?;
        files::remove_all(&workspace)
    }
}
