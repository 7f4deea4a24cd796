use std::{collections::BTreeMap, time::Duration};

use strata_data::Preparer;
use strata_explain::Explainer;
use strata_nn::{LevelWeights, Plan};
use strata_spec::{Digest, Manifest, Name, Preparation};

use super::{BatchLimits, Batcher, origin::Origin};
use crate::metrics::{Metrics, RouteMetrics};

/// One version of a model, ready to answer.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: Name,
    pub(crate) number: u64,
    /// Of the manifest.
    pub(crate) digest: Digest,
    /// From the lowest to the top one; all of them give an answer.
    pub(crate) levels: Vec<String>,
    /// Shape of one prepared row: channels, height, width.
    pub(crate) shape: Vec<usize>,
    /// In the order of the class numbers.
    pub(crate) labels: Vec<String>,
    pub(crate) preparer: Preparer,
    pub(crate) explainer: Explainer,
    pub(crate) batcher: Batcher,
    pub(crate) origin: Origin,
    pub(crate) routes: Routes,
}

/// The counters of a version's routes.
#[derive(Debug)]
pub(crate) struct Routes(BTreeMap<&'static str, RouteMetrics>);

impl Version {
    /// Compiles the plan of a checked manifest and its weights, and starts its actor.
    ///
    /// # Errors
    /// The actor's thread cannot be started.
    pub(crate) fn start(
        manifest: &Manifest,
        digest: Digest,
        weights: &[LevelWeights],
        limits: BatchLimits,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        let Preparation::Image(image) = &manifest.preparation;
        let shape = manifest.preparation.output_shape();
        let levels = manifest.architecture();
        let task = &manifest.final_task().classification;
        let (name, number) = (manifest.name.clone(), manifest.version);
        let batches = metrics.batches(name.as_str(), number);
        let level_names: Vec<_> = levels.iter().map(|level| level.name.to_string()).collect();
        Ok(Self {
            origin: Origin::new(&name, number, digest, &level_names),
            batcher: Batcher::start(
                Plan::compile(&shape, &levels, weights, manifest.precision),
                limits,
                batches,
            )?,
            explainer: Explainer::new(&shape, &image.normalisations(), &levels, weights),
            preparer: Preparer::new(image),
            labels: (0..task.classes).map(|class| task.label(class)).collect(),
            levels: level_names,
            routes: Routes::new(name.as_str(), number, metrics),
            shape,
            digest,
            name,
            number,
        })
    }

    /// Numbers in one prepared row.
    pub(crate) fn row_len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Routes {
    fn new(model: &str, version: u64, metrics: &Metrics) -> Self {
        let names = crate::http::ROUTES.iter().map(|route| route.name);
        Self(
            names
                .map(|name| (name, metrics.route(model, version, name)))
                .collect(),
        )
    }

    pub(crate) fn count(&self, route: &str, status: u16, took: Duration) {
        if let Some(metrics) = self.0.get(route) {
            metrics.count(status, took);
        }
    }
}
