use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use strata_nn::LevelWeights;
use strata_package::{Access, Ended, OpenPackage, PackageError, Pick, Rollout, Selector, Store};
use strata_spec::Name;

use super::{BatchLimits, Registry, Version, memory::to_sleep, mirrored::Mirrored};
use crate::{ServeError, ServeOptions, log::Problems, metrics::Metrics, rollout::adopt};

/// Within what asynchronous programs call short: other connections of the same thread hardly notice.
const INLINE: Duration = Duration::from_micros(100);

/// Where versions come from, and which of them are served.
#[derive(Debug)]
pub(crate) struct Source {
    store: Store,
    models: Option<Vec<Selector>>,
    access: Access,
    limits: BatchLimits,
    /// What the store's folder mirrors.
    mirrored: Option<Mirrored>,
    /// Bytes of all versions in memory.
    pub(super) memory: usize,
}

/// What should be served at this moment.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) versions: BTreeSet<(Name, u64)>,
    /// Those of them that only a rollout asks for.
    pub(crate) candidates: BTreeSet<(Name, u64)>,
    /// Those of them that the server was started for by their numbers.
    pub(crate) pinned: BTreeSet<(Name, u64)>,
    /// What each alias of their models names, if it is among them.
    pub(crate) aliases: BTreeMap<(Name, Name), u64>,
    /// Versions of the store that are not to be used, and that nothing asks for.
    pub(crate) unavailable: BTreeSet<(Name, u64)>,
    /// Models of which it cannot be told.
    pub(crate) unknown: BTreeMap<Name, PackageError>,
    /// The rollouts of models, or why they cannot be read: then their aliases answer alone.
    pub(crate) rollouts: BTreeMap<Name, Result<Rollout, PackageError>>,
}

impl Source {
    pub(crate) fn open(
        options: &ServeOptions,
        mirrored: Option<Mirrored>,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            mirrored,
            store: Store::open(&options.store)?,
            models: options.models.clone(),
            access: options.access.clone(),
            memory: options.limits.memory_bytes,
            limits: BatchLimits {
                queue_rows: options.limits.queue_rows,
                batch_rows: options.limits.batch_rows,
                batch_bytes: options.limits.batch_bytes,
                latency_target: options.limits.latency_target,
                inline: INLINE,
            },
        })
    }

    /// What the store says now. It is asked anew each time, so what a selector means may change.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn wanted(&self) -> Result<Wanted, PackageError> {
        let all = || -> Result<Vec<Selector>, PackageError> {
            let names = self.store.names()?.into_iter();
            Ok(names.map(Selector::from).collect())
        };
        let selectors = match &self.models {
            Some(models) => models.clone(),
            None => all()?,
        };
        let mut wanted = Wanted::default();
        if let Some(mirrored) = &self.mirrored {
            wanted.unavailable = mirrored.unavailable().into_keys().collect();
        }
        for selector in selectors {
            if let Err(error) = self.add_wanted(&mut wanted, &selector) {
                wanted.unknown.insert(selector.name, error);
            }
        }
        Ok(wanted)
    }

    fn add_wanted(&self, wanted: &mut Wanted, selector: &Selector) -> Result<(), PackageError> {
        let name = &selector.name;
        let version = match selector.pick {
            // One that is served stays, also if it is removed from the store.
            Pick::Version(version) => {
                wanted.pinned.insert((name.clone(), version));
                version
            }
            _ => self.store.resolve(selector)?,
        };
        let aliases = self.store.aliases(name)?;
        wanted.versions.insert((name.clone(), version));
        for (alias, version) in aliases {
            if selector.pick == Pick::Highest {
                wanted.versions.insert((name.clone(), version));
            }
            // Of what the server was not told to serve there is nothing to name.
            if wanted.versions.contains(&(name.clone(), version)) {
                wanted.aliases.insert((name.clone(), alias), version);
            }
        }
        self.add_rollout(wanted, selector);
        Ok(())
    }

    /// A version that is named by its number never moves, so a rollout is nothing to it.
    fn add_rollout(&self, wanted: &mut Wanted, selector: &Selector) {
        let name = &selector.name;
        let rollout = match (&selector.pick, self.store.rollout(name)) {
            (Pick::Version(_), _) | (_, Ok(None)) => return,
            (Pick::Alias(alias), Ok(Some(rollout))) if *alias != rollout.alias => return,
            (_, Err(error)) => Err(error),
            (_, Ok(Some(rollout))) => Ok(rollout),
        };
        if let Ok(rollout) = &rollout {
            let alias = (name.clone(), rollout.alias.clone());
            if rollout.ended.is_none() && wanted.aliases.get(&alias) == Some(&rollout.from) {
                let candidate = (name.clone(), rollout.to);
                if wanted.versions.insert(candidate.clone()) {
                    wanted.candidates.insert(candidate);
                }
            }
        }
        wanted.rollouts.insert(name.clone(), rollout);
    }

    /// Records how a rollout ended, or has it recorded; false if that has to wait for another writer.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub(crate) fn end_rollout(
        &self,
        name: &Name,
        id: &str,
        ended: &Ended,
    ) -> Result<bool, PackageError> {
        if let Some(mirrored) = &self.mirrored {
            mirrored.end_rollout(name, id, ended);
            return Ok(true);
        }
        self.store.end_rollout(name, id, ended)
    }

    /// Opens a version and makes it ready to answer.
    pub(crate) fn load(
        &self,
        name: &Name,
        number: u64,
        metrics: &Metrics,
    ) -> Result<Version, ServeError> {
        let selector = Selector::version(name.clone(), number);
        let OpenPackage {
            manifest,
            digest,
            weights,
            ..
        } = self.store.open_version(&selector, &self.access)?;
        let levels = manifest.architecture();
        let input = manifest.preparation.output_shape();
        let parsed = LevelWeights::of_levels(&weights, &input, &levels)
            .map_err(|source| ServeError::Weights { selector, source })?;
        Version::start(&manifest, digest, &parsed, self.limits.clone(), metrics)
            .map_err(ServeError::Thread)
    }

    /// Whether the folder mirrors a store that lies elsewhere.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirrored.is_some()
    }

    /// The folder of the store.
    pub(crate) fn folder(&self) -> PathBuf {
        self.store.path().to_owned()
    }
}

impl Wanted {
    /// Whether nobody names a version, and others of its model are named: one that was added and not yet tried out.
    fn is_spare(&self, name: &Name, number: u64) -> bool {
        let aliases = self.aliases.iter().filter(|((model, _), _)| model == name);
        let mut named = aliases.map(|(_, named)| *named).peekable();
        named.peek().is_some()
            && named.all(|named| named != number)
            && !self.pinned.contains(&(name.clone(), number))
    }
}

/// Opens every version that is to be served.
///
/// Where models were named, any that cannot be opened is an error: a server that came up without one would look well. Only
/// versions may be missing without which callers have another: one that but a rollout asks for, and one that is but the
/// highest, where aliases name others. A server of all models comes up without those that cannot be opened, as long as there
/// is one that can: the others are not to wait for it.
///
/// What is missing is said by `problems`; the thread that follows the store tries again.
pub(crate) fn load(
    source: &Source,
    metrics: &Metrics,
    problems: &mut Problems,
) -> Result<Registry, ServeError> {
    let mut wanted = source.wanted()?;
    let is_any_missing = source.models.is_none();
    let mut first = None;
    let mut registry = Registry::default();
    for (name, error) in std::mem::take(&mut wanted.unknown) {
        if !is_any_missing {
            return Err(error.into());
        }
        problems.tell(cannot_be_followed(&name), &error);
        registry.add_unknown(&name);
        first.get_or_insert(error.into());
    }
    for (name, number) in &wanted.versions {
        match source.load(name, *number, metrics) {
            Ok(version) => registry.add(Arc::new(version)),
            Err(error) => {
                let is_candidate = wanted.candidates.contains(&(name.clone(), *number));
                if !(is_any_missing || is_candidate || wanted.is_spare(name, *number)) {
                    return Err(error);
                }
                problems.tell(cannot_be_served(name, *number), &error);
                // Of a candidate the rollout is idle, and it is shown there.
                if !is_candidate {
                    registry.add_failed(name, *number);
                }
                first.get_or_insert(error);
                continue;
            }
        }
        // Each is opened once, so that one that cannot be opened is named now.
        let asleep = to_sleep(&registry, source.memory, 0, Some(name));
        if !asleep.is_empty() {
            registry = registry.with_asleep(&asleep);
        }
    }
    for (name, number) in &wanted.unavailable {
        registry.add_failed(name, *number);
    }
    metrics.asleep_models.set(registry.asleep().len() as i64);
    if registry.is_empty() {
        let none = || ServeError::NoModels {
            store: source.folder(),
        };
        return Err(first.unwrap_or_else(none));
    }
    metrics.failed_versions.set(registry.missing() as i64);
    for ((name, alias), number) in &wanted.aliases {
        registry.add_alias(name, alias, *number);
    }
    let rollouts = adopt(
        &wanted.rollouts,
        &registry,
        &Registry::default(),
        &metrics.rollouts,
    );
    registry.set_rollouts(rollouts);
    Ok(registry)
}

/// A problem with a model, as it is told.
pub(super) fn cannot_be_followed(name: &Name) -> String {
    format!("{name} cannot be followed")
}

/// A problem with a version, as it is told.
pub(super) fn cannot_be_served(name: &Name, number: u64) -> String {
    format!("{name}@{number} cannot be served")
}
