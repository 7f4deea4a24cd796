//! Levels as units of packaging: listed, compared, replaced, rolled back.

mod base;
mod change;
mod diff;
mod gate;
mod list;
mod retrain;

use anyhow::{anyhow, bail, ensure};
use strata_package::Selector;
use strata_spec::{LevelOrigin, LevelSource, Manifest, Name};

use crate::{
    args::{Level as Command, LevelSelector},
    output::Output,
};
use base::Base;
use change::NewLevel;

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list::run(args, output),
        Command::Diff {
            old,
            new,
            store,
            access,
        } => diff::run(&old, &new, store, &access, output),
        Command::Replace { change, from } => {
            let base = Base::open(change, output)?;
            let new = replacement(&base, &from)?;
            base.change(new)
        }
        Command::Rollback { change, to } => {
            let base = Base::open(change, output)?;
            let new = earlier(&base, to)?;
            base.change(new)
        }
        Command::Retrain {
            change,
            recipe,
            set,
        } => {
            let base = Base::open(change, output)?;
            let new = retrain::learned(&base, recipe.as_deref(), &set)?;
            base.change(new)
        }
    }
}

/// The level that another package has.
fn replacement(base: &Base, from: &LevelSelector) -> anyhow::Result<NewLevel> {
    let level = from.level.as_ref().unwrap_or_else(|| base.level());
    let new = base.level_of(&from.version, level, LevelOrigin::Replaced);
    let hint = from.as_alias();
    new.map_err(|error| match hint {
        Some(alias) if error.is::<NoLevel>() => {
            anyhow!("{error}; if an alias is meant, write {alias}")
        }
        _ => error,
    })
}

/// The level as an earlier version of the model had it.
fn earlier(base: &Base, to: Option<u64>) -> anyhow::Result<NewLevel> {
    let own = &base.package.manifest;
    let at = |version| Selector::version(own.name.clone(), version);
    if let Some(version) = to {
        ensure!(
            version < own.version,
            "--to {version}: expected a version before {}@{}",
            own.name,
            own.version
        );
        return base.level_of(&at(version), base.level(), LevelOrigin::RolledBack);
    }
    let versions = base.store.versions(&own.name)?;
    let before = versions.into_iter().rev();
    for version in before.filter(|version| *version < own.version) {
        let manifest = base.store.manifest(&at(version), &base.access)?.manifest;
        if let Ok(index) = level_index(&manifest, base.level())
            && !base.is_same(&manifest.levels[index])
        {
            return base.level_of(&at(version), base.level(), LevelOrigin::RolledBack);
        }
    }
    bail!(
        "no version before {}@{} has another level `{}`",
        own.name,
        own.version,
        base.level()
    )
}

impl Base {
    /// A level of another version, checked to fit.
    fn level_of(
        &self,
        version: &Selector,
        level: &Name,
        origin: fn(LevelSource) -> LevelOrigin,
    ) -> anyhow::Result<NewLevel> {
        let other = self.store.open_version(version, &self.access)?;
        let from = level_index(&other.manifest, level)?;
        let own = &self.package.manifest;
        let found = format!(
            "level `{level}` of {}@{}",
            other.manifest.name, other.manifest.version
        );
        let architecture = own.with_level_of(self.index, &other.manifest, from)?;
        ensure!(
            !self.is_same(&other.manifest.levels[from]),
            "{found} is the one that {}@{} has already: there is nothing to change",
            own.name,
            own.version
        );
        let mut lineage = own.lineage.clone();
        let theirs = &other.manifest.lineage;
        lineage.add_level_data(&theirs.data, theirs.validation.as_ref());
        lineage.add_level_data(&theirs.level_data, None);
        Ok(NewLevel {
            architecture,
            lineage,
            is_at_home: self.is_all_but_the_level_of(&other.manifest),
            weights: other.weights[from].clone(),
            origin: origin(LevelSource {
                model: other.manifest.name.clone(),
                version: other.manifest.version,
                digest: other.digest,
                level: level.clone(),
            }),
        })
    }
}

/// A name that no level of a version has.
#[derive(Debug, thiserror::Error)]
#[error("{model}@{version} has no level `{level}`: expected one of {levels}")]
struct NoLevel {
    model: Name,
    version: u64,
    level: Name,
    levels: String,
}

fn level_index(manifest: &Manifest, level: &Name) -> Result<usize, NoLevel> {
    let mut names = manifest.levels.iter().map(|level| &level.architecture.name);
    let found = names.clone().position(|name| name == level);
    found.ok_or_else(|| NoLevel {
        model: manifest.name.clone(),
        version: manifest.version,
        level: level.clone(),
        levels: names
            .by_ref()
            .map(Name::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    })
}
