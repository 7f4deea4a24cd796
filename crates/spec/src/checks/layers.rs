use super::{Problem, check_range, problem, within};
use crate::{Conv, DenseStart, Layer, Level, Pair, Start};

/// How deep layers may stand in layers.
const MOST_DEPTH: usize = 8;

/// Number of layers, those in layers included. Counts no deeper than layers may stand.
pub(super) fn count_layers(layers: &[Layer]) -> usize {
    count(layers, 0)
}

fn count(layers: &[Layer], depth: usize) -> usize {
    if depth > MOST_DEPTH {
        return 0;
    }
    let below = |layer: &Layer| match layer {
        Layer::Residual(residual) => {
            count(&residual.layers, depth + 1) + count(&residual.shortcut, depth + 1)
        }
        Layer::Branches(branches) => {
            let layers = branches.branches.iter();
            layers.map(|layers| count(layers, depth + 1)).sum()
        }
        _ => 0,
    };
    layers.len() + layers.iter().map(below).sum::<usize>()
}

/// Checks the settings of layers that stand at `place`.
pub(super) fn check_layers(place: &str, layers: &[Layer]) -> Result<(), Problem> {
    check_at(place, layers, 0)
}

fn check_at(place: &str, layers: &[Layer], depth: usize) -> Result<(), Problem> {
    if depth > MOST_DEPTH {
        let text = format!("layers may stand in layers {MOST_DEPTH} deep");
        return Err(problem(place, text));
    }
    for (position, layer) in layers.iter().enumerate() {
        check_layer(&format!("{place}[{position}]"), layer, depth)?;
    }
    Ok(())
}

fn check_layer(place: &str, layer: &Layer, depth: usize) -> Result<(), Problem> {
    let field = |name: &str| format!("{place}.{}.{name}", layer.word());
    let pair = |name: &str, pair: Pair, low| {
        let mut sizes = pair.0.into_iter();
        sizes.try_for_each(|size| check_range(&field(name), size, low, 255))
    };
    let epsilon = |value| within(&field("epsilon"), value, 1e-12, 1.0);
    match layer {
        Layer::Flatten | Layer::Relu | Layer::Gelu(_) | Layer::GlobalAveragePool => Ok(()),
        Layer::Dense(dense) => {
            check_range(&field("units"), dense.units, 1, 1 << 20)?;
            match dense.start {
                DenseStart::Normal(deviation) => check_deviation(&field("start"), deviation),
                DenseStart::Random | DenseStart::Uniform => Ok(()),
            }
        }
        Layer::Conv(conv) => {
            check_range(&field("channels"), conv.channels, 1, 1 << 16)?;
            pair("kernel", conv.kernel, 1)?;
            pair("stride", conv.stride, 1)?;
            pair("padding", conv.padding, 0)?;
            pair("dilation", conv.dilation, 1)?;
            check_range(&field("groups"), conv.groups, 1, 1 << 16)?;
            check_start(&field("start"), conv)?;
            if conv.channels.is_multiple_of(conv.groups) {
                return Ok(());
            }
            let (groups, channels) = (conv.groups, conv.channels);
            let text = format!("expected a divisor of the {channels} channels, found {groups}");
            Err((field("groups"), text))
        }
        Layer::BatchNorm(norm) => {
            epsilon(norm.epsilon)?;
            if norm.momentum > 0.0 && norm.momentum <= 1.0 {
                return Ok(());
            }
            let text = format!(
                "expected more than 0 and at most 1, found {}",
                super::number(norm.momentum)
            );
            Err((field("momentum"), text))
        }
        Layer::LayerNorm(norm) => epsilon(norm.epsilon),
        Layer::MaxPool(pool) => {
            pair("kernel", pool.kernel, 1)?;
            pair("stride", pool.stride.unwrap_or(pool.kernel), 1)?;
            pair("padding", pool.padding, 0)?;
            pair("dilation", pool.dilation, 1)
        }
        Layer::AveragePool(pool) => {
            pair("kernel", pool.kernel, 1)?;
            pair("stride", pool.stride.unwrap_or(pool.kernel), 1)?;
            pair("padding", pool.padding, 0)
        }
        Layer::AdaptiveAveragePool(pool) => {
            check_range(&field("height"), pool.height, 1, 4096)?;
            check_range(&field("width"), pool.width, 1, 4096)
        }
        Layer::Scale(scale) => within(&field("by"), scale.by, 1e-6, 1e6),
        Layer::Dropout(dropout) => within(&field("rate"), dropout.rate, 0.0, 0.99),
        Layer::Subsample(subsample) => {
            pair("stride", subsample.stride, 1)?;
            check_range(&field("channels"), subsample.channels, 1, 1 << 16)
        }
        Layer::Residual(residual) => {
            if residual.layers.is_empty() {
                let text = "expected at least one layer".to_owned();
                return Err((field("layers"), text));
            }
            check_at(&field("layers"), &residual.layers, depth + 1)?;
            check_at(&field("shortcut"), &residual.shortcut, depth + 1)
        }
        Layer::Branches(branches) => {
            let layers = &branches.branches;
            if !(1..=64).contains(&layers.len()) {
                let text = format!("expected 1 to 64 branches, found {}", layers.len());
                return Err((field("branches"), text));
            }
            for (index, layers) in layers.iter().enumerate() {
                let place = format!("{}[{index}]", field("branches"));
                check_at(&place, layers, depth + 1)?;
            }
            Ok(())
        }
    }
}

/// What a kernel's start asks of its convolution alone.
fn check_start(field: &str, conv: &Conv) -> Result<(), Problem> {
    let is_plain = conv.groups == 1 && conv.dilation == Pair::from(1);
    match conv.start {
        Start::Normal(deviation) => check_deviation(field, deviation),
        Start::Identity | Start::Whitening if !is_plain => {
            let text = "needs one group and no dilation".to_owned();
            Err(problem(field, text))
        }
        _ => Ok(()),
    }
}

fn check_deviation(field: &str, deviation: f64) -> Result<(), Problem> {
    if deviation > 0.0 && deviation <= 1.0 {
        return Ok(());
    }
    let found = super::number(deviation);
    let text = format!("expected a deviation of more than 0 and at most 1, found {found}");
    Err((format!("{field}.normal"), text))
}

/// Checks that nothing but the lowest layer, which takes rows of shape `input`, is fitted to the training rows.
pub(super) fn check_fitted(levels: &[Level], input: &[usize]) -> Result<(), Problem> {
    for (index, level) in levels.iter().enumerate() {
        let head = level.head.iter().flat_map(|head| &head.layers);
        let head = head
            .enumerate()
            .map(|(position, layer)| ("head.layers", position, layer));
        let body = level.layers.iter().enumerate();
        let body = body.map(|(position, layer)| ("layers", position, layer));
        for (part, position, layer) in body.chain(head) {
            let is_lowest = index == 0 && position == 0 && part == "layers";
            let place = format!("levels[{index}].{part}[{position}]");
            match layer {
                Layer::Conv(conv) if is_lowest && conv.start == Start::Whitening => {
                    let [height, width] = conv.kernel.0;
                    let most = 2 * input[0] * height * width;
                    if !conv.channels.is_multiple_of(2) || conv.channels > most {
                        let found = conv.channels;
                        let text = format!(
                            "a whitening kernel has an even number of channels, at most {most} here, found {found}"
                        );
                        return Err((format!("{place}.conv.channels"), text));
                    }
                }
                layer if is_fitted(layer) => {
                    let text = "only the lowest layer of a network can start with `whitening`";
                    return Err((place, text.to_owned()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a layer, or one in it, is fitted to the training rows.
fn is_fitted(layer: &Layer) -> bool {
    match layer {
        Layer::Conv(conv) => conv.start == Start::Whitening,
        Layer::Residual(residual) => {
            let mut layers = residual.layers.iter().chain(&residual.shortcut);
            layers.any(is_fitted)
        }
        Layer::Branches(branches) => branches.branches.iter().flatten().any(is_fitted),
        _ => false,
    }
}
