use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use strata_nn::{Lesson, Network, Optimizer, one_hot};
use strata_spec::{Adam, Optimizer as Rule, Sgd};

use crate::{
    MlpEpoch, SEED, Step, checked_losses,
    network::{DIGITS, PIXELS, perceptron},
    random::Random,
};

/// Learns the same rows over and over.
pub(crate) fn steps(step: &Step) -> Result<Value> {
    let (input, levels) = (step.network.input(), step.network.levels());
    let mut random = Random::new();
    let rows = random.numbers(step.batch * input.iter().product::<usize>());
    let targets = random.classes(step.batch, step.network.classes);
    let targets = one_hot(&targets, step.network.classes);
    let rule = Rule::Sgd(Sgd {
        learning_rate: 1e-3,
        momentum: 0.9,
        nesterov: false,
        weight_decay: 0.0,
    });
    let rate = rule.learning_rate();
    let mut optimizer = Optimizer::new(rule, None);
    let mut network = Network::new(&input, &levels, SEED, step.precision.into());

    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..step.warm_up + step.steps {
        let started = Instant::now();
        let lesson = Lesson::new(rows.clone(), &targets, levels.len(), rate);
        let result = network.learn(lesson, &mut optimizer);
        seconds.push(started.elapsed().as_secs_f64());
        losses.push(result.highest().loss);
    }
    Ok(json!({
        "seconds": seconds[step.warm_up..],
        "losses": checked_losses(&losses)?,
        "parameters": network.parameters(),
    }))
}

/// Learns rows that lie in memory, in a new order each epoch.
pub(crate) fn epochs(epoch: &MlpEpoch) -> Result<Value> {
    let mut random = Random::new();
    let rows = random.numbers(epoch.rows * PIXELS);
    let targets = random.classes(epoch.rows, DIGITS);
    let rule = Rule::Adam(Adam::default());
    let rate = rule.learning_rate();
    let mut optimizer = Optimizer::new(rule, None);
    let levels = perceptron();
    let mut network = Network::new(&[PIXELS], &levels, SEED, epoch.precision.into());

    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for number in 0..epoch.warm_up + epoch.epochs {
        let started = Instant::now();
        let mut loss = 0.0;
        let order = strata_data::permutation(epoch.rows, SEED, number as u64);
        for chosen in order.chunks(epoch.batch) {
            let mut batch = vec![0.0; chosen.len() * PIXELS];
            // On the kernels' threads, as `strata train` prepares its rows.
            let share = chosen.len().div_ceil(strata_nn::threads());
            let shares = chosen.chunks(share).zip(batch.chunks_mut(share * PIXELS));
            strata_nn::parallel_for_each(shares, |(chosen, batch)| {
                for (&row, batch) in chosen.iter().zip(batch.chunks_exact_mut(PIXELS)) {
                    batch.copy_from_slice(&rows[row as usize * PIXELS..][..PIXELS]);
                }
            });
            let classes: Vec<u32> = chosen.iter().map(|&row| targets[row as usize]).collect();
            let classes = one_hot(&classes, DIGITS);
            let lesson = Lesson::new(batch, &classes, levels.len(), rate);
            let result = network.learn(lesson, &mut optimizer);
            loss += result.highest().loss * chosen.len() as f32;
        }
        seconds.push(started.elapsed().as_secs_f64());
        losses.push(loss / epoch.rows as f32);
    }
    Ok(json!({
        "seconds": seconds[epoch.warm_up..],
        "losses": checked_losses(&losses)?,
        "parameters": network.parameters(),
    }))
}
