use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use strata_data::Preparer;
use strata_explain::Explainer;
use strata_nn::{LevelWeights, Plan};
use strata_spec::{Classification, Digest, Interface, Manifest, Name, Preparation};

use super::{BatchLimits, Batcher, Exits, origin::Origin};
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
    /// Of the final task, in the order of the class numbers.
    pub(crate) labels: Vec<String>,
    /// What it answers besides, from the same pass.
    pub(crate) others: Vec<OtherTask>,
    pub(crate) exits: Exits,
    /// What callers rely on.
    pub(crate) interface: Interface,
    pub(crate) preparer: Preparer,
    pub(crate) explainer: Explainer,
    pub(crate) batcher: Batcher,
    pub(crate) origin: Origin,
    pub(crate) routes: Routes,
    /// Bytes of its weights, once for the plan and once for explanations.
    pub(crate) memory: usize,
    used: AtomicU64,
}

/// How often a version was looked up, in all.
static LOOKED_UP: AtomicU64 = AtomicU64::new(0);

/// A task of a version that is not the final one.
#[derive(Debug)]
pub(crate) struct OtherTask {
    pub(crate) name: Name,
    /// In the order of the class numbers.
    pub(crate) labels: Vec<String>,
    /// Its head among those of the plan: the highest, if it has several.
    pub(crate) head: usize,
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
        let (name, number) = (manifest.name.clone(), manifest.version);
        let plan = Plan::compile(&shape, &levels, weights, manifest.precision);
        let exits = Exits::new(&plan, manifest);
        let batches = metrics.batches(name.as_str(), number, &exits.names);
        let memory = memory(weights);
        batches.memory.set(memory as i64);
        let level_names: Vec<_> = levels.iter().map(|level| level.name.to_string()).collect();
        Ok(Self {
            origin: Origin::new(&name, number, digest, &level_names),
            others: other_tasks(&plan, manifest),
            exits,
            interface: Interface::of(manifest),
            batcher: Batcher::start(plan, limits, batches)?,
            explainer: Explainer::new(&shape, &image.normalisations(), &levels, weights),
            preparer: Preparer::new(image),
            labels: labels(&manifest.final_task().classification),
            levels: level_names,
            routes: Routes::new(name.as_str(), number, metrics),
            shape,
            digest,
            name,
            number,
            memory,
            used: AtomicU64::new(LOOKED_UP.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// It was looked up for a request.
    pub(crate) fn touch(&self) {
        let now = LOOKED_UP.fetch_add(1, Ordering::Relaxed);
        self.used.store(now, Ordering::Relaxed);
    }

    /// When it was last looked up, by the count of look-ups.
    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Numbers in one prepared row.
    pub(crate) fn row_len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Bytes of the weights, once for the plan and once for explanations. What a plan packs in other formats is about as large.
fn memory(weights: &[LevelWeights]) -> usize {
    let tensors = weights.iter().flat_map(LevelWeights::iter);
    let numbers: usize = tensors.map(|(_, tensor)| tensor.values.len()).sum();
    2 * numbers * size_of::<f32>()
}

fn labels(task: &Classification) -> Vec<String> {
    (0..task.classes).map(|class| task.label(class)).collect()
}

/// In the order of the manifest, without those that no head predicts.
fn other_tasks(plan: &Plan, manifest: &Manifest) -> Vec<OtherTask> {
    let last = &manifest.final_task().name;
    let others = manifest.tasks.iter().filter(|task| task.name != *last);
    let with_head = others.filter_map(|task| {
        let head = plan
            .heads()
            .iter()
            .rposition(|head| head.task == task.name)?;
        Some(OtherTask {
            name: task.name.clone(),
            labels: labels(&task.classification),
            head,
        })
    });
    with_head.collect()
}

impl Routes {
    fn new(model: &str, version: u64, metrics: &Metrics) -> Self {
        let names = crate::http::ROUTES.iter().map(|route| route.name);
        // Several routes may have one name, and it has one counter.
        let names: BTreeSet<&'static str> = names.collect();
        Self(
            names
                .into_iter()
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
