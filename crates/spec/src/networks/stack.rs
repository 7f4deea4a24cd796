//! How networks by name are put together: layers with the published names of their weights, stages, levels.

use crate::{
    BatchNorm, Branches, Conv, Dense, DenseStart, Head, Layer, Level, Name, Pair, Residual, Start,
    error::{list, nearest},
    networks::LevelKeys,
    paths::{BODY, HEAD, branch_place, path_of, residual_places},
};

/// Layers, from the lowest up. Each that has weights comes with its name in the published network, so the two cannot
/// disagree.
#[derive(Debug, Default)]
pub(super) struct Stack(Vec<Part>);

/// A layer, and what in it has weights.
#[derive(Debug)]
struct Part {
    layer: Layer,
    weights: Vec<Weights>,
}

#[derive(Debug)]
struct Weights {
    /// Where in the layer they are, such as `.residual.layers.0`; empty for its own.
    within: String,
    tensors: &'static [&'static str],
    /// The name of the module that has them in the published network.
    module: String,
}

/// A part of a network after which a level may end.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) body: Stack,
    /// Layers that predict the final task; the last stage has them.
    pub(super) head: Option<Stack>,
}

/// A convolution that keeps the size but for the stride, without bias.
pub(super) fn same_conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv {
        stride: stride.into(),
        padding: Pair::from(kernel / 2),
        bias: false,
        ..Conv::square(channels, kernel)
    }
}

/// A convolution without bias, normalized, as GoogLeNet and Inception are made of.
pub(super) fn inception_unit(module: &str, conv: Conv) -> Stack {
    let norm = BatchNorm {
        epsilon: 0.001,
        ..BatchNorm::default()
    };
    let conv = Conv {
        bias: false,
        ..conv
    };
    Stack::new()
        .conv("conv", conv)
        .norm("bn", norm)
        .relu()
        .under(module)
}

impl Stack {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A layer without weights.
    pub(super) fn add(mut self, layer: Layer) -> Self {
        debug_assert!(tensors_of(&layer).is_empty(), "{layer:?} needs a name");
        self.0.push(Part {
            layer,
            weights: Vec::new(),
        });
        self
    }

    pub(super) fn relu(self) -> Self {
        self.add(Layer::Relu)
    }

    pub(super) fn conv(self, module: &str, conv: Conv) -> Self {
        self.named(module, Layer::Conv(conv))
    }

    pub(super) fn norm(self, module: &str, norm: BatchNorm) -> Self {
        self.named(module, Layer::BatchNorm(norm))
    }

    pub(super) fn dense(self, module: &str, units: usize) -> Self {
        self.dense_as(module, Dense::new(units))
    }

    pub(super) fn dense_as(self, module: &str, dense: Dense) -> Self {
        self.named(module, Layer::Dense(dense))
    }

    fn named(mut self, module: &str, layer: Layer) -> Self {
        let weights = Weights {
            within: String::new(),
            tensors: tensors_of(&layer),
            module: module.to_owned(),
        };
        self.0.push(Part {
            layer,
            weights: vec![weights],
        });
        self
    }

    /// The sum of what two stacks give.
    pub(super) fn residual(mut self, layers: Self, shortcut: Self) -> Self {
        let [layers_place, shortcut_place] = residual_places("");
        let (layers, mut weights) = layers.inside(&layers_place);
        let (shortcut, more) = shortcut.inside(&shortcut_place);
        weights.extend(more);
        let layer = Layer::Residual(Residual { layers, shortcut });
        self.0.push(Part { layer, weights });
        self
    }

    /// The channels of what several stacks give, put together.
    pub(super) fn branches(mut self, stacks: impl IntoIterator<Item = Self>) -> Self {
        let (mut branches, mut weights) = (Vec::new(), Vec::new());
        for (index, stack) in stacks.into_iter().enumerate() {
            let (layers, more) = stack.inside(&branch_place("", index));
            branches.push(layers);
            weights.extend(more);
        }
        let layer = Layer::Branches(Branches { branches });
        self.0.push(Part { layer, weights });
        self
    }

    /// These layers and, above them, those of `other`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The same layers as parts of a module.
    pub(super) fn under(mut self, module: &str) -> Self {
        for weights in self.0.iter_mut().flat_map(|part| &mut part.weights) {
            weights.module = format!("{module}.{}", weights.module);
        }
        self
    }

    /// The layers, and where their weights are if they stand at `place`.
    fn inside(self, place: &str) -> (Vec<Layer>, Vec<Weights>) {
        let (mut layers, mut found) = (Vec::new(), Vec::new());
        for (position, part) in self.0.into_iter().enumerate() {
            layers.push(part.layer);
            found.extend(part.weights.into_iter().map(|weights| Weights {
                within: path_of(place, position) + &weights.within,
                ..weights
            }));
        }
        (layers, found)
    }
}

impl Stage {
    pub(super) fn new(name: impl Into<String>, body: Stack) -> Self {
        Self {
            name: name.into(),
            body,
            head: None,
        }
    }

    pub(super) fn with_head(self, head: Stack) -> Self {
        Self {
            head: Some(head),
            ..self
        }
    }

    /// The same with these starts, as the published network begins; a layer keeps one of its own.
    pub(super) fn starting(mut self, conv: Start, dense: DenseStart) -> Self {
        let head = self.head.iter_mut().flat_map(|head| &mut head.0);
        for part in self.body.0.iter_mut().chain(head) {
            set_start(&mut part.layer, conv, dense);
        }
        self
    }
}

fn set_start(layer: &mut Layer, conv: Start, dense: DenseStart) {
    match layer {
        Layer::Conv(layer) if layer.start == Start::Random => layer.start = conv,
        Layer::Dense(layer) if layer.start == DenseStart::Random => layer.start = dense,
        Layer::Residual(residual) => {
            let layers = residual.layers.iter_mut().chain(&mut residual.shortcut);
            layers.for_each(|layer| set_start(layer, conv, dense));
        }
        Layer::Branches(branches) => {
            let layers = branches.branches.iter_mut().flatten();
            layers.for_each(|layer| set_start(layer, conv, dense));
        }
        _ => {}
    }
}

/// Levels that end after the stages named by `cuts`, or after each stage; a level is named after its last stage and has
/// that stage's head.
///
/// # Errors
/// A cut is no stage, or is named twice; the field begins with `cuts`.
pub(super) fn levels_of(
    stages: Vec<Stage>,
    cuts: Option<&[Name]>,
    task: &Name,
) -> Result<Vec<(Level, LevelKeys)>, (String, String)> {
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    for (index, cut) in cuts.unwrap_or_default().iter().enumerate() {
        let problem = if !names.contains(&cut.as_str()) {
            let text = format!("expected a stage ({}), found `{cut}`", list(&names));
            match nearest(cut.as_str(), names.iter().copied()) {
                Some(name) => format!("{text}; did you mean `{name}`?"),
                None => text,
            }
        } else if cuts.unwrap_or_default()[..index].contains(cut) {
            format!("`{cut}` is named twice")
        } else {
            continue;
        };
        return Err((format!("cuts[{index}]"), problem));
    }

    let top = stages.len();
    let mut levels = Vec::new();
    let mut below = Stack::new();
    for (index, stage) in stages.into_iter().enumerate() {
        below = below.and(stage.body);
        let is_cut =
            |cuts: &[Name]| cuts.iter().any(|cut| cut.as_str() == stage.name) || index + 1 == top;
        if cuts.is_none_or(is_cut) {
            let body = std::mem::take(&mut below);
            levels.push(level_of(&stage.name, body, stage.head, task));
        }
    }
    Ok(levels)
}

fn level_of(name: &str, body: Stack, head: Option<Stack>, task: &Name) -> (Level, LevelKeys) {
    let name: Name = name.parse().expect("a stage's name is a name");
    let (layers, mut weights) = body.inside(BODY);
    let head = head.map(|head| {
        let (layers, more) = head.inside(HEAD);
        weights.extend(more);
        Head {
            task: task.clone(),
            layers,
            mirrored: false,
        }
    });
    let keys = weights.iter().flat_map(|weights| {
        let key = |tensor: &&str| {
            let path = format!("{}.{tensor}", weights.within);
            (path, format!("{}.{tensor}", weights.module))
        };
        weights.tensors.iter().map(key)
    });
    let keys = LevelKeys {
        level: name.clone(),
        tensors: keys.collect(),
    };
    (Level { name, layers, head }, keys)
}

/// The names of a layer's own tensors, which are those of PyTorch's modules.
fn tensors_of(layer: &Layer) -> &'static [&'static str] {
    match layer {
        Layer::Conv(conv) if !conv.bias => &["weight"],
        Layer::Conv(_) | Layer::Dense(_) | Layer::LayerNorm(_) => &["weight", "bias"],
        Layer::BatchNorm(_) => &["weight", "bias", "running_mean", "running_var"],
        _ => &[],
    }
}
