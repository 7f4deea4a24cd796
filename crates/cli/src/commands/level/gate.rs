use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};
use strata_data::{Dataset, Preparer};
use strata_nn::LevelWeights;
use strata_spec::{Gate, GateFigure, Level, Manifest, Name, Preparation};
use strata_train::{
    gate::{Change, Compared, Range, compare},
    held_rows_of_task,
};

use super::{
    super::data::{data_of, load_sources},
    base::Base,
};

/// What the gate says of a change.
pub(super) struct Verdict {
    pub(super) gate: Gate,
    /// Nothing if there were no held rows.
    pub(super) compared: Option<Compared>,
}

impl Verdict {
    /// Why the version is not to be stored.
    pub(super) fn refusal(&self) -> Option<String> {
        let failed = self.gate.checks.iter().filter(|check| !check.passes());
        let failed = failed.map(|check| {
            let head = self.gate.head_of(check);
            let of = head.map_or(String::new(), |head| format!(" of {head}"));
            let (figure, allowed) = (check.figure.word(), check.allowed);
            format!(
                "{figure}{of} is {:.4}, expected at most {allowed}",
                check.measured
            )
        });
        let unmeasured = self
            .gate
            .unmeasured()
            .map(|head| format!("{head} was not measured, since no held row has a class of it: name data that has by --data"));
        let all: Vec<String> = failed.chain(unmeasured).collect();
        (!all.is_empty()).then(|| format!("the gate refuses: {}", all.join("; ")))
    }

    pub(super) fn to_json(&self) -> Value {
        let range = |range: &Range| json!({ "min": range.min, "max": range.max, "mean": range.mean(), "std": range.std() });
        let compared = self.compared.as_ref();
        let boundary = compared.and_then(|compared| compared.boundary.as_ref());
        let [old, new] = self.metrics();
        json!({
            "passed": self.compared.is_some() && self.refusal().is_none(),
            "data": self.gate.data, "rows": self.gate.rows, "forced": self.gate.forced,
            "heads": self.gate.heads, "checks": self.gate.checks,
            "metrics": compared.map(|_| json!({ "old": old, "new": new })),
            "boundary": boundary.map(|[old, new]| json!({ "old": range(old), "new": range(new) })),
        })
    }

    /// The figures with the old level and with the new one, named as those of a training: `test.accuracy` is of the final
    /// task, `LEVEL.test.accuracy` of a head below the top.
    pub(super) fn metrics(&self) -> [BTreeMap<String, f64>; 2] {
        let mut named = [BTreeMap::new(), BTreeMap::new()];
        let Some(compared) = &self.compared else {
            return named;
        };
        for (index, compared_head) in compared.heads.iter().enumerate() {
            let prefix = if index + 1 == compared.heads.len() {
                "test".to_owned()
            } else {
                format!("{}.test", compared_head.head.level)
            };
            let metrics = compared_head.metrics.iter().flatten();
            for (named, metrics) in named.iter_mut().zip(metrics) {
                named.extend(metrics.named(&prefix));
            }
        }
        named
    }

    pub(super) fn table(&self) -> String {
        let Some(data) = &self.gate.data else {
            return "without held rows nothing was measured\n".to_owned();
        };
        let mut text = format!(
            "{} held rows of {data}\n{:<18}{:>9}{:>9}{:>10}{:>9}\n",
            self.gate.rows, "figure", "old", "new", "measured", "allowed"
        );
        let mut of = None;
        for check in &self.gate.checks {
            if let Some(head) = self.gate.head_of(check)
                && of != Some(head)
            {
                text.push_str(&format!("{head}, {} rows\n", head.rows));
                of = Some(head);
            }
            let side =
                |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
            text.push_str(&format!(
                "{:<18}{:>9}{:>9}{:>10.4}{:>9}  {}\n",
                check.figure.word(),
                side(check.old),
                side(check.new),
                check.measured,
                check.allowed,
                if check.passes() { "passes" } else { "fails" },
            ));
        }
        for head in self.gate.unmeasured() {
            text.push_str(&format!(
                "{head} was not measured: no held row has a class of it\n"
            ));
        }
        let compared = self.compared.as_ref();
        if let Some([old, new]) = compared.and_then(|compared| compared.boundary.as_ref()) {
            let range = |range: &Range| {
                let (min, max, mean, std) = (range.min, range.max, range.mean(), range.std());
                format!("{min:.4} to {max:.4}, mean {mean:.4}, std {std:.4}")
            };
            text.push_str(&format!(
                "above the level   old {}\n                  new {}\n",
                range(old),
                range(new)
            ));
        }
        text
    }
}

/// Measures what a change does to the answers to held rows. Where the level is at home, the levels above are used to its
/// numbers, whatever those of the one are that goes: as where a level that was forced in is rolled back.
pub(super) fn measure(
    base: &Base,
    levels: &[Level],
    weights: &[LevelWeights],
    is_at_home: bool,
) -> anyhow::Result<Verdict> {
    let manifest = &base.package.manifest;
    let Preparation::Image(setting) = &manifest.preparation;
    let preparer = Preparer::new(setting);
    let held = match (held_rows(base, manifest, &preparer), base.gate.force) {
        (Ok(held), _) => held,
        (Err(_), true) if base.gate.data.is_empty() => return Ok(Verdict::unmeasured()),
        (Err(error), _) => return Err(error),
    };
    let fitted = preparer.fit(held.test)?;
    let rows_of = |task: &Name| {
        let mut tasks = manifest.tasks.iter();
        let task = tasks.find(|own| own.name == *task);
        let task = task.expect("a checked manifest: the head's task exists");
        held_rows_of_task(&fitted, task, &held.origins, manifest)
    };
    let old_levels = manifest.architecture();
    let old_weights = base.weights(&old_levels, None)?;
    let change = Change {
        preparation: &manifest.preparation,
        precision: manifest.precision,
        old: (&old_levels, &old_weights),
        new: (levels, weights),
        level: base.index,
    };
    let mut compared = compare(&change, &fitted, &rows_of, &base.gate.allowed())
        .with_context(|| format!("{}@{}", manifest.name, manifest.version))?;
    if is_at_home {
        compared
            .checks
            .retain(|check| check.figure != GateFigure::OutsideRange);
    }
    let mut verdict = Verdict {
        gate: Gate {
            data: Some(held.source),
            rows: fitted.len(),
            forced: false,
            heads: compared.heads.iter().map(|of| of.head.clone()).collect(),
            checks: compared.checks.clone(),
        },
        compared: Some(compared),
    };
    verdict.gate.forced = base.gate.force && verdict.refusal().is_some();
    Ok(verdict)
}

impl Verdict {
    fn unmeasured() -> Self {
        let gate = Gate {
            data: None,
            rows: 0,
            forced: true,
            heads: Vec::new(),
            checks: Vec::new(),
        };
        Self {
            gate,
            compared: None,
        }
    }
}

/// The data whose test rows the model did not learn from.
fn held_rows(base: &Base, manifest: &Manifest, preparer: &Preparer) -> anyhow::Result<Dataset> {
    match &base.gate.data[..] {
        [] => data_of(manifest, preparer, base.output)
            .context("no held rows to measure the change on (--force makes the version without)"),
        sources => load_sources(manifest, sources, preparer, base.output),
    }
}
