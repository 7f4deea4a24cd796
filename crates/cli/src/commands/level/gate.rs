use anyhow::{Context, ensure};
use serde_json::{Value, json};
use strata_data::{Dataset, Preparer};
use strata_nn::LevelWeights;
use strata_spec::{Gate, GateFigure, Level, Manifest, Preparation};
use strata_train::{
    gate::{Change, Compared, Range, compare},
    rows_of_task,
};

use super::{
    super::data::{data_of, load_source},
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
        let mut failed = self.gate.checks.iter().filter(|check| !check.passes());
        let first = failed.next()?;
        let text = |check: &strata_spec::GateCheck| {
            let (figure, allowed) = (check.figure.word(), check.allowed);
            format!(
                "{figure} is {:.4}, expected at most {allowed}",
                check.measured
            )
        };
        let all = failed
            .map(text)
            .fold(text(first), |all, one| all + "; " + &one);
        Some(format!("the gate refuses: {all}"))
    }

    pub(super) fn to_json(&self) -> Value {
        let range = |range: &Range| json!({ "min": range.min, "max": range.max, "mean": range.mean(), "std": range.std() });
        let compared = self.compared.as_ref();
        let boundary = compared.and_then(|compared| compared.boundary.as_ref());
        json!({
            "passed": self.compared.is_some() && self.refusal().is_none(),
            "data": self.gate.data, "rows": self.gate.rows, "forced": self.gate.forced, "checks": self.gate.checks,
            "metrics": compared.map(|compared| json!({ "old": compared.old.named("test"), "new": compared.new.named("test") })),
            "boundary": boundary.map(|[old, new]| json!({ "old": range(old), "new": range(new) })),
        })
    }

    pub(super) fn table(&self) -> String {
        let Some(data) = &self.gate.data else {
            return "without held rows nothing was measured\n".to_owned();
        };
        let mut text = format!(
            "{} held rows of {data}\n{:<18}{:>9}{:>9}{:>10}{:>9}\n",
            self.gate.rows, "figure", "old", "new", "measured", "allowed"
        );
        for check in &self.gate.checks {
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
        (Err(_), true) if base.gate.data.is_none() => return Ok(Verdict::unmeasured()),
        (Err(error), _) => return Err(error),
    };
    let fitted = preparer.fit(held.test)?;
    let fitted = rows_of_task(&fitted, manifest.final_task(), &held.origins);
    ensure!(
        !fitted.is_empty(),
        "no row of {} has a class of task `{}`",
        held.source,
        manifest.final_task().name
    );
    let old_levels = manifest.architecture();
    let old_weights = base.weights(&old_levels, None)?;
    let change = Change {
        preparation: &manifest.preparation,
        precision: manifest.precision,
        old: (&old_levels, &old_weights),
        new: (levels, weights),
        level: base.index,
    };
    let mut compared = compare(&change, &fitted, &base.gate.allowed())
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
    let classes = manifest.data_classes();
    match &base.gate.data {
        Some(source) => load_source(source, preparer, classes, base.output),
        None => data_of(manifest, preparer, classes)
            .context("no held rows to measure the change on (--force makes the version without)"),
    }
}
