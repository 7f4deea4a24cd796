use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strata_nn::{Network, Plan, Scratch};

use crate::{Infer, SEED, random::Random};

/// Answers the same rows over and over.
pub(crate) fn runs(infer: &Infer) -> Result<Value> {
    let (input, levels) = (infer.network.input(), infer.network.levels());
    let network = Network::new(&input, &levels, SEED, infer.precision.into());
    let parameters = network.parameters();
    let plan = Plan::compile(&input, &levels, &network.weights(), infer.precision.into());
    drop(network);
    let rows = Random::new().numbers(infer.batch * plan.input_len());
    let mut logits = vec![0.0; infer.batch * plan.output_len()];
    let mut scratch = Scratch::default();

    let mut seconds = Vec::new();
    for _ in 0..infer.warm_up + infer.runs {
        let started = Instant::now();
        plan.run(&rows, &mut logits, &mut scratch);
        seconds.push(started.elapsed().as_secs_f64());
    }
    ensure!(
        logits.iter().all(|logit| logit.is_finite()) && logits.iter().any(|logit| *logit != 0.0),
        "the answers are no logits"
    );
    Ok(json!({ "seconds": seconds[infer.warm_up..], "parameters": parameters }))
}
