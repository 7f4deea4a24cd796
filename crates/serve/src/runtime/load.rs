use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use strata_nn::LevelWeights;
use strata_package::{Access, OpenPackage, PackageError, Pick, Selector, Store};
use strata_spec::Name;

use super::{BatchLimits, Registry, Version, memory::to_sleep};
use crate::{ServeError, ServeOptions, metrics::Metrics};

/// Within what asynchronous programs call short: other connections of the same thread hardly notice.
const INLINE: Duration = Duration::from_micros(100);

/// Where versions come from, and which of them are served.
#[derive(Debug)]
pub(crate) struct Source {
    store: Store,
    models: Option<Vec<Selector>>,
    access: Access,
    limits: BatchLimits,
    /// Bytes of all versions in memory.
    pub(super) memory: usize,
}

/// What should be served at this moment.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) versions: BTreeSet<(Name, u64)>,
    /// What each alias of their models names.
    pub(crate) aliases: BTreeMap<(Name, Name), u64>,
    /// Models of which it cannot be told.
    pub(crate) unknown: BTreeMap<Name, PackageError>,
}

impl Source {
    pub(crate) fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        Ok(Self {
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
            let models = self.store.models()?.into_iter();
            Ok(models.map(|model| model.name.into()).collect())
        };
        let selectors = match &self.models {
            Some(models) => models.clone(),
            None => all()?,
        };
        let mut wanted = Wanted::default();
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
            Pick::Version(version) => version,
            _ => self.store.resolve(selector)?,
        };
        let aliases = self.store.aliases(name)?;
        wanted.versions.insert((name.clone(), version));
        for (alias, version) in aliases {
            if selector.pick == Pick::Highest {
                wanted.versions.insert((name.clone(), version));
            }
            wanted.aliases.insert((name.clone(), alias), version);
        }
        Ok(())
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

    /// The folder of the store.
    pub(crate) fn folder(&self) -> PathBuf {
        self.store.path().to_owned()
    }
}

/// Opens every version that is to be served. Any that cannot be opened is an error: a server that came up
/// without a model would look well.
pub(crate) fn load(source: &Source, metrics: &Metrics) -> Result<Registry, ServeError> {
    let mut wanted = source.wanted()?;
    if let Some((_, error)) = wanted.unknown.pop_first() {
        return Err(error.into());
    }
    let mut registry = Registry::default();
    for (name, number) in &wanted.versions {
        registry.add(Arc::new(source.load(name, *number, metrics)?));
        // Each is opened once, so that one that cannot be opened is named now.
        let asleep = to_sleep(&registry, source.memory, 0, Some(name));
        if !asleep.is_empty() {
            registry = registry.with_asleep(&asleep);
        }
    }
    metrics.asleep_models.set(registry.asleep().len() as i64);
    if registry.is_empty() {
        return Err(ServeError::NoModels {
            store: source.folder(),
        });
    }
    for ((name, alias), number) in &wanted.aliases {
        registry.add_alias(name, alias, *number);
    }
    Ok(registry)
}
