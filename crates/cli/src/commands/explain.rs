use anyhow::{Context, anyhow};
use serde_json::json;
use strata_explain::{Baseline, Explainer, IntegratedGradients};
use strata_spec::Preparation;

use super::{opened::Opened, predict::prepared};
use crate::{
    args::{BaselineArg, Explain},
    files, heat_map,
    output::Output,
};

pub(super) fn run(args: Explain, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(args.model)?;
    let manifest = &opened.manifest;
    let classification = &manifest.final_task().classification;
    let target = args.target.as_deref().map(|target| {
        let by_label =
            (0..classification.classes).find(|class| classification.label(*class) == target);
        let class = by_label.or_else(|| {
            target
                .parse()
                .ok()
                .filter(|class| *class < classification.classes)
        });
        class.ok_or_else(|| {
            anyhow!(
                "--target: expected a label or a class below {}, found `{target}`",
                classification.classes
            )
        })
    });
    let settings = IntegratedGradients {
        steps: args.steps,
        baseline: match args.baseline {
            BaselineArg::Black => Baseline::Black,
            BaselineArg::White => Baseline::White,
            BaselineArg::Grey => Baseline::Grey,
        },
        target: target.transpose()?,
    };
    let row = prepared(&args.input, &opened)?;
    let Preparation::Image(image) = &manifest.preparation;
    let input = manifest.preparation.output_shape();
    let explainer = Explainer::new(
        &input,
        &image.normalisations(),
        &manifest.architecture(),
        &opened.weights,
    );
    let found = explainer.integrated_gradients(&row, &settings)?;

    let picture = heat_map::png(image, &row, &found.values)?;
    files::write(&args.output, &picture)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let label = classification.label(found.target);
    let value = json!({
        "method": "integrated-gradients", "model": manifest.name, "version": manifest.version, "digest": opened.digest,
        "target": found.target, "label": label, "prediction": found.prediction,
        "baseline_prediction": found.baseline_prediction, "completeness_error": found.completeness_error,
        "steps": settings.steps, "picture": args.output, "attribution": found.values,
    });
    output.result(&value, || {
        format!(
            "{}: why {label}: logit {:.3}, {:.3} for the baseline; completeness error {:.1e}\nwrote {}",
            args.input.display(),
            found.prediction,
            found.baseline_prediction,
            found.completeness_error,
            args.output.display()
        )
    })
}
