use std::{collections::BTreeSet, time::Duration};

use strata_nn::LevelWeights;
use strata_package::{OpenPackage, Pick, Selector, Store};
use strata_spec::Name;

use super::{BatchLimits, Registry, Version};
use crate::{ServeError, ServeOptions, metrics::Metrics};

/// Within what asynchronous programs call short: other connections of the same thread hardly notice.
const INLINE: Duration = Duration::from_micros(100);

/// Opens every version that is to be served. Any that cannot be opened is an error: a server that came up
/// without a model would look well.
pub(crate) fn load(options: &ServeOptions, metrics: &Metrics) -> Result<Registry, ServeError> {
    let store = Store::open(&options.store)?;
    let mut registry = Registry::default();
    for (name, number) in wanted(&store, options.models.as_deref())? {
        let selector = Selector::version(name, number);
        let package = store.open_version(&selector, &options.access)?;
        registry.add(start(&selector, &package, options, metrics)?);
    }
    if registry.is_empty() {
        return Err(ServeError::NoModels {
            store: options.store.clone(),
        });
    }
    for model in store.models()? {
        for (alias, number) in &model.aliases {
            registry.add_alias(&model.name, alias, *number);
        }
    }
    Ok(registry)
}

fn wanted(store: &Store, models: Option<&[Selector]>) -> Result<BTreeSet<(Name, u64)>, ServeError> {
    let all = || -> Result<Vec<Selector>, ServeError> {
        Ok(store
            .models()?
            .into_iter()
            .map(|model| model.name.into())
            .collect())
    };
    let selectors = models.map_or_else(all, |models| Ok(models.to_vec()))?;
    let mut wanted = BTreeSet::new();
    for selector in selectors {
        wanted.insert((selector.name.clone(), store.resolve(&selector)?));
        if selector.pick == Pick::Highest {
            let aliases = store.aliases(&selector.name)?;
            wanted.extend(
                aliases
                    .into_values()
                    .map(|number| (selector.name.clone(), number)),
            );
        }
    }
    Ok(wanted)
}

fn start(
    selector: &Selector,
    package: &OpenPackage,
    options: &ServeOptions,
    metrics: &Metrics,
) -> Result<Version, ServeError> {
    let OpenPackage {
        manifest,
        digest,
        weights,
        ..
    } = package;
    let levels = manifest.architecture();
    let input = manifest.preparation.output_shape();
    let parsed = LevelWeights::of_levels(weights, &input, &levels);
    let parsed = parsed.map_err(|source| ServeError::Weights {
        selector: selector.clone(),
        source,
    })?;
    let limits = BatchLimits {
        queue_rows: options.limits.queue_rows,
        batch_rows: options.limits.batch_rows,
        inline: INLINE,
    };
    Version::start(manifest, *digest, &parsed, limits, metrics).map_err(ServeError::Thread)
}
