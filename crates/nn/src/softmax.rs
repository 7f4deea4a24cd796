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
