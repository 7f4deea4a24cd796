/// The class with the highest logit, the first of them if there are several; one that is no number counts as lowest.
pub fn highest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, class| {
        let is_higher = logits[class] > logits[best] || logits[best].is_nan();
        if is_higher { class } else { best }
    })
}

/// Turns one row of logits into probabilities, in place.
pub fn softmax(logits: &mut [f32]) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in logits.iter_mut() {
        *value = (*value - highest).exp();
        sum += *value;
    }
    for value in logits.iter_mut() {
        *value /= sum;
    }
}
