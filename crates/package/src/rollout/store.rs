use std::{fs, path::PathBuf};

use sha2::{Digest as _, Sha256};
use strata_spec::Name;

use super::{Bounds, Ended, Outcome, Percent, Rollout, RolloutMode};
use crate::{
    error::{PackageError, io_error},
    files, layout,
    store::Store,
};

/// Many times what one takes.
const MAX_BYTES: u64 = 64 << 10;

impl Store {
    /// The rollout of a model that is under way, or the last one; none if there was none, or it was aborted.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn rollout(&self, name: &Name) -> Result<Option<Rollout>, PackageError> {
        let path = self.rollout_file(name);
        let Some(bytes) = files::read_if_there(&path, MAX_BYTES)? else {
            return Ok(None);
        };
        let damaged = |problem| PackageError::Damaged {
            path: path.clone(),
            problem,
        };
        let rollout: Rollout = serde_json::from_slice(&bytes)
            .map_err(|error| damaged(format!("not a rollout: {error}")))?;
        rollout.check().map_err(damaged)?;
        Ok(Some(rollout))
    }

    /// Begins a rollout from the version that an alias names to version `to`. That both answer the same requests is for the
    /// caller to check.
    ///
    /// # Errors
    /// There is no such version or alias, another rollout of the model is under way, the settings contradict each other, or
    /// the disk refuses.
    #[expect(clippy::too_many_arguments, reason = "each is a setting of its own")]
    pub fn start_rollout(
        &self,
        name: &Name,
        alias: &Name,
        to: u64,
        mode: RolloutMode,
        sticky: Option<String>,
        bounds: Bounds,
        promote_after: Option<u64>,
    ) -> Result<Rollout, PackageError> {
        let _lock = self.lock()?;
        if !self.versions(name)?.contains(&to) {
            return Err(self.no_version(name, to));
        }
        let aliases = self.aliases(name)?;
        let from = *aliases
            .get(alias)
            .ok_or_else(|| self.no_alias(name, alias))?;
        if let Some(other) = self.rollout(name)?.filter(|other| other.ended.is_none()) {
            return Err(refused(
                name,
                format!(
                    "a rollout from version {} to {} is under way: promote or abort it first",
                    other.from, other.to
                ),
            ));
        }
        let now = jiff::Timestamp::now();
        let rollout = Rollout {
            id: id(&format!(
                "{name} {alias} {from} {to} {}",
                now.as_nanosecond()
            )),
            alias: alias.clone(),
            from,
            to,
            mode,
            sticky,
            bounds,
            promote_after,
            started: crate::now(),
            ended: None,
        };
        rollout.check().map_err(|problem| refused(name, problem))?;
        self.write_rollout(name, &rollout)?;
        Ok(rollout)
    }

    /// Changes the part of the requests that the new version gets. Callers that got it keep it if the part grows.
    ///
    /// # Errors
    /// No rollout of the model is under way, or the disk refuses.
    pub fn set_rollout_percent(
        &self,
        name: &Name,
        percent: Percent,
    ) -> Result<Rollout, PackageError> {
        let _lock = self.lock()?;
        let mut rollout = self.running_rollout(name)?;
        rollout.mode = match rollout.mode {
            RolloutMode::Split(_) => RolloutMode::Split(percent),
            RolloutMode::Shadow(_) => RolloutMode::Shadow(percent),
        };
        self.write_rollout(name, &rollout)?;
        Ok(rollout)
    }

    /// Lets the rollout's alias name the new version.
    ///
    /// # Errors
    /// No rollout of the model is under way, its alias or new version is not what it was, or the disk refuses.
    pub fn promote_rollout(&self, name: &Name) -> Result<Rollout, PackageError> {
        let _lock = self.lock()?;
        let rollout = self.running_rollout(name)?;
        let ended = Ended {
            outcome: Outcome::Promoted,
            at: crate::now(),
            reason: "by hand".to_owned(),
            figures: None,
        };
        self.end(name, rollout, ended)
    }

    /// Ends a rollout by taking its file away: the alias names the old version still.
    ///
    /// # Errors
    /// There is no rollout, or the disk refuses.
    pub fn abort_rollout(&self, name: &Name) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        let path = self.rollout_file(name);
        // A damaged one must be possible to get rid of, so it is not read.
        match fs::remove_file(&path) {
            Ok(()) => files::sync_parent(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(refused(name, "there is no rollout".to_owned()))
            }
            Err(error) => Err(io_error("remove", &path)(error)),
        }
    }

    /// Makes this the file of a model's rollout, or takes it away; for what mirrors another store. Readers check what is in it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn replace_rollout(&self, name: &Name, file: Option<&[u8]>) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        let path = self.rollout_file(name);
        let Some(file) = file else {
            return files::remove_all(&path);
        };
        let folder = self.model_path(name);
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        self.replace_file(&path, file)
    }

    /// Records how a rollout ended by itself, and moves its alias if it was promoted. Does not wait for another writer:
    /// false if one is at work. Nothing is done if this rollout ended or was aborted meanwhile.
    ///
    /// # Errors
    /// The alias or the new version is not what it was, or the disk refuses.
    pub fn end_rollout(&self, name: &Name, id: &str, ended: &Ended) -> Result<bool, PackageError> {
        let Some(_lock) = self.try_lock()? else {
            return Ok(false);
        };
        let now = self.rollout(name)?;
        if let Some(rollout) = now.filter(|now| now.id == id && now.ended.is_none()) {
            self.end(name, rollout, ended.clone())?;
        }
        Ok(true)
    }

    /// The caller holds the lock.
    fn end(
        &self,
        name: &Name,
        mut rollout: Rollout,
        ended: Ended,
    ) -> Result<Rollout, PackageError> {
        if ended.outcome == Outcome::Promoted {
            let mut aliases = self.aliases(name)?;
            let Rollout {
                alias, from, to, ..
            } = &rollout;
            if aliases.get(alias) != Some(from) {
                return Err(refused(
                    name,
                    format!("alias `{alias}` does not name version {from} any more"),
                ));
            }
            if !self.versions(name)?.contains(to) {
                return Err(self.no_version(name, *to));
            }
            // First: from here on the rollout is not under way, whatever its file says.
            aliases.insert(alias.clone(), *to);
            self.write_aliases(name, &aliases)?;
        }
        rollout.ended = Some(ended);
        self.write_rollout(name, &rollout)?;
        Ok(rollout)
    }

    fn running_rollout(&self, name: &Name) -> Result<Rollout, PackageError> {
        let rollout = self.rollout(name)?;
        let Some(rollout) = rollout else {
            return Err(refused(name, "there is no rollout".to_owned()));
        };
        match &rollout.ended {
            None => Ok(rollout),
            Some(ended) => {
                let how = match ended.outcome {
                    Outcome::Promoted => "promoted",
                    Outcome::RolledBack => "rolled back",
                };
                Err(refused(
                    name,
                    format!("the rollout was {how}: {}", ended.reason),
                ))
            }
        }
    }

    fn write_rollout(&self, name: &Name, rollout: &Rollout) -> Result<(), PackageError> {
        self.replace_json(&self.rollout_file(name), rollout)
    }

    fn rollout_file(&self, name: &Name) -> PathBuf {
        self.path().join(layout::rollout(name))
    }
}

fn refused(name: &Name, problem: String) -> PackageError {
    PackageError::Rollout {
        name: name.clone(),
        problem,
    }
}

fn id(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
