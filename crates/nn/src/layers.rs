//! Layers as Burn modules: made from a specification and weights, and given back as weights.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use strata_kernels::Window;
use strata_spec::{
    Approximation, Layer, Level, LevelShapes, Start,
    paths::{BODY, HEAD, branch_place, path_of, residual_places},
};

use crate::{LevelWeights, WeightTensor, weights::output_shape};

#[derive(Module, Debug)]
pub(crate) struct Levels {
    pub(crate) levels: Vec<LevelModule>,
}

#[derive(Module, Debug)]
pub(crate) struct LevelModule {
    pub(crate) body: Vec<LayerModule>,
    pub(crate) head: Vec<LayerModule>,
    /// What its objective needs beside its head while it learns.
    pub(crate) side: Vec<LayerModule>,
}

/// A layer, and the shape of one row that reaches it.
#[derive(Module, Debug)]
pub(crate) struct LayerModule {
    #[module(skip)]
    pub(crate) input: Vec<usize>,
    pub(crate) kind: Kind,
}

#[derive(Module, Debug)]
pub(crate) enum Kind {
    Flatten(Flatten),
    Relu(Relu),
    Gelu(Gelu),
    Dense(Dense),
    Conv(Conv),
    BatchNorm(BatchNorm),
    LayerNorm(LayerNorm),
    MaxPool(Pool),
    AveragePool(Pool),
    AdaptiveAveragePool(AdaptivePool),
    GlobalAveragePool(GlobalPool),
    Dropout(Dropout),
    Scale(Scale),
    Subsample(Subsample),
    Residual(Residual),
    Branches(Branches),
}

#[derive(Module, Debug)]
pub(crate) struct Flatten;

#[derive(Module, Debug)]
pub(crate) struct Relu;

#[derive(Module, Debug)]
pub(crate) struct Gelu {
    #[module(skip)]
    pub(crate) kind: strata_kernels::Gelu,
}

#[derive(Module, Debug)]
pub(crate) struct GlobalPool;

/// `weight` `[outputs, inputs]`, `bias` `[outputs]`.
#[derive(Module, Debug)]
pub(crate) struct Dense {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Param<Tensor<1>>,
}

/// `weight` `[kernel height, kernel width, channels in / groups, channels out]`, as the kernels take it.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    pub(crate) weight: Param<Tensor<4>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) window: Window,
    pub(crate) groups: usize,
    /// Whether the kernel learns; one that was fitted does not.
    pub(crate) learns: bool,
}

/// `weight` and `bias` `[channels]`; the running statistics are the network's.
#[derive(Module, Debug)]
pub(crate) struct BatchNorm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
    pub(crate) epsilon: f32,
    pub(crate) momentum: f64,
    /// Which of the network's running statistics are its own.
    pub(crate) slot: usize,
}

/// `weight` and `bias` `[features]`.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
    pub(crate) epsilon: f32,
}

#[derive(Module, Debug)]
pub(crate) struct Pool {
    #[module(skip)]
    pub(crate) window: Window,
    /// Whether the padding counts in a mean.
    pub(crate) count_padding: bool,
}

#[derive(Module, Debug)]
pub(crate) struct AdaptivePool {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

#[derive(Module, Debug)]
pub(crate) struct Dropout {
    pub(crate) rate: f64,
    /// Which of the network's it is: no two leave out alike.
    pub(crate) number: usize,
}

#[derive(Module, Debug)]
pub(crate) struct Scale {
    pub(crate) by: f64,
}

#[derive(Module, Debug)]
pub(crate) struct Subsample {
    #[module(skip)]
    pub(crate) stride: [usize; 2],
    pub(crate) channels: usize,
}

#[derive(Module, Debug)]
pub(crate) struct Residual {
    pub(crate) layers: Vec<LayerModule>,
    pub(crate) shortcut: Vec<LayerModule>,
}

#[derive(Module, Debug)]
pub(crate) struct Branches {
    pub(crate) branches: Vec<Vec<LayerModule>>,
}

/// The running statistics of a batch normalization, each `[channels]`. They are weights, but nothing that an optimizer
/// steps, so they are no part of the modules.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) mean: Tensor<1>,
    pub(crate) variance: Tensor<1>,
}

impl Levels {
    /// Modules of checked levels, none of whose weights learns yet, and the running statistics that they refer to.
    pub(crate) fn build(
        levels: &[Level],
        shapes: &[LevelShapes],
        weights: &[LevelWeights],
        device: &Device,
    ) -> (Self, Vec<Running>) {
        let mut running = Vec::new();
        let mut dropouts = 0;
        let mut modules = Vec::new();
        for ((level, shapes), weights) in levels.iter().zip(shapes).zip(weights) {
            let mut builder = Builder {
                weights,
                device,
                running: &mut running,
                dropouts: &mut dropouts,
            };
            modules.push(LevelModule {
                body: builder.layers(&level.layers, BODY, &shapes.input),
                head: level.head.as_ref().map_or(Vec::new(), |head| {
                    builder.layers(&head.layers, HEAD, &shapes.output)
                }),
                side: Vec::new(),
            });
        }
        (Self { levels: modules }, running)
    }
}

impl LevelModule {
    /// A level without layers.
    pub(crate) fn empty() -> Self {
        Self {
            body: Vec::new(),
            head: Vec::new(),
            side: Vec::new(),
        }
    }

    /// The level's weights by name.
    pub(crate) fn tensors(&self, running: &[Running]) -> BTreeMap<String, WeightTensor> {
        let mut tensors = BTreeMap::new();
        read_layers(&self.body, BODY, running, &mut tensors);
        read_layers(&self.head, HEAD, running, &mut tensors);
        tensors
    }

    /// The weights of its side by name.
    pub(crate) fn side_tensors(&self, running: &[Running]) -> BTreeMap<String, WeightTensor> {
        let mut tensors = BTreeMap::new();
        read_layers(&self.side, BODY, running, &mut tensors);
        tensors
    }

    /// Makes its side of the body of `level`.
    pub(crate) fn set_side(
        &mut self,
        level: &Level,
        shapes: &LevelShapes,
        weights: &LevelWeights,
        device: &Device,
        running: &mut Vec<Running>,
    ) {
        let mut builder = Builder {
            weights,
            device,
            running,
            // No objective leaves numbers out.
            dropouts: &mut 0,
        };
        self.side = builder.layers(&level.layers, BODY, &shapes.input);
    }
}

struct Builder<'a> {
    weights: &'a LevelWeights,
    device: &'a Device,
    running: &'a mut Vec<Running>,
    dropouts: &'a mut usize,
}

impl Builder<'_> {
    fn layers(&mut self, layers: &[Layer], place: &str, input: &[usize]) -> Vec<LayerModule> {
        let mut input = input.to_vec();
        let mut modules = Vec::with_capacity(layers.len());
        for (position, layer) in layers.iter().enumerate() {
            let output = output_shape(layer, &input);
            let kind = self.kind(layer, &path_of(place, position), &input);
            modules.push(LayerModule { input, kind });
            input = output;
        }
        modules
    }

    fn kind(&mut self, layer: &Layer, path: &str, input: &[usize]) -> Kind {
        match layer {
            Layer::Flatten => Kind::Flatten(Flatten),
            Layer::Relu => Kind::Relu(Relu),
            Layer::Gelu(gelu) => Kind::Gelu(Gelu {
                kind: gelu_of(*gelu),
            }),
            Layer::Dense(_) => Kind::Dense(Dense {
                weight: self.parameter(path, "weight"),
                bias: self.parameter(path, "bias"),
            }),
            Layer::Conv(conv) => Kind::Conv(Conv {
                weight: self.kernel(path),
                bias: conv.bias.then(|| self.parameter(path, "bias")),
                window: window_of(conv.window()),
                groups: conv.groups,
                learns: conv.start != Start::Whitening,
            }),
            Layer::BatchNorm(norm) => {
                let slot = self.running.len();
                let statistics = |name| {
                    let tensor = self.weights.of(path, name);
                    // Never on the tape.
                    Tensor::from_data(data_of(tensor), &self.device.clone().inner())
                };
                let running = Running {
                    mean: statistics("running_mean"),
                    variance: statistics("running_var"),
                };
                self.running.push(running);
                Kind::BatchNorm(BatchNorm {
                    weight: self.parameter(path, "weight"),
                    bias: self.parameter(path, "bias"),
                    epsilon: norm.epsilon as f32,
                    momentum: norm.momentum,
                    slot,
                })
            }
            Layer::LayerNorm(norm) => Kind::LayerNorm(LayerNorm {
                weight: self.parameter(path, "weight"),
                bias: self.parameter(path, "bias"),
                epsilon: norm.epsilon as f32,
            }),
            Layer::MaxPool(pool) => Kind::MaxPool(Pool {
                window: window_of(pool.window()),
                count_padding: false,
            }),
            Layer::AveragePool(pool) => Kind::AveragePool(Pool {
                window: window_of(pool.window()),
                count_padding: pool.count_padding,
            }),
            Layer::AdaptiveAveragePool(pool) => Kind::AdaptiveAveragePool(AdaptivePool {
                height: pool.height,
                width: pool.width,
            }),
            Layer::GlobalAveragePool => Kind::GlobalAveragePool(GlobalPool),
            Layer::Dropout(dropout) => {
                let number = *self.dropouts;
                *self.dropouts += 1;
                Kind::Dropout(Dropout {
                    rate: dropout.rate,
                    number,
                })
            }
            Layer::Scale(scale) => Kind::Scale(Scale { by: scale.by }),
            Layer::Subsample(subsample) => Kind::Subsample(Subsample {
                stride: subsample.stride.0,
                channels: subsample.channels,
            }),
            Layer::Residual(residual) => {
                let [layers, shortcut] = residual_places(path);
                Kind::Residual(Residual {
                    layers: self.layers(&residual.layers, &layers, input),
                    shortcut: self.layers(&residual.shortcut, &shortcut, input),
                })
            }
            Layer::Branches(branches) => {
                let branch = |(index, layers): (usize, &Vec<Layer>)| {
                    self.layers(layers, &branch_place(path, index), input)
                };
                Kind::Branches(Branches {
                    branches: branches.branches.iter().enumerate().map(branch).collect(),
                })
            }
        }
    }

    fn parameter<const D: usize>(&self, path: &str, name: &str) -> Param<Tensor<D>> {
        let data = data_of(self.weights.of(path, name));
        Param::initialized(ParamId::new(), Tensor::from_data(data, self.device))
    }

    fn kernel(&self, path: &str) -> Param<Tensor<4>> {
        let (values, shape) = kernel_in_kernels_order(self.weights.of(path, "weight"));
        let data = TensorData::new(values, shape);
        Param::initialized(ParamId::new(), Tensor::from_data(data, self.device))
    }
}

fn read_layers(
    layers: &[LayerModule],
    place: &str,
    running: &[Running],
    tensors: &mut BTreeMap<String, WeightTensor>,
) {
    for (position, layer) in layers.iter().enumerate() {
        read_layer(&layer.kind, &path_of(place, position), running, tensors);
    }
}

fn read_layer(
    kind: &Kind,
    path: &str,
    running: &[Running],
    tensors: &mut BTreeMap<String, WeightTensor>,
) {
    let mut add = |name: &str, tensor| tensors.insert(format!("{path}.{name}"), tensor);
    match kind {
        Kind::Flatten(_)
        | Kind::Relu(_)
        | Kind::Gelu(_)
        | Kind::MaxPool(_)
        | Kind::AveragePool(_)
        | Kind::AdaptiveAveragePool(_)
        | Kind::GlobalAveragePool(_)
        | Kind::Dropout(_)
        | Kind::Scale(_)
        | Kind::Subsample(_) => {}
        Kind::Dense(dense) => {
            add("weight", read_tensor(dense.weight.val()));
            add("bias", read_tensor(dense.bias.val()));
        }
        Kind::Conv(conv) => {
            let kernel = read_tensor(conv.weight.val());
            add("weight", kernel_in_stored_order(&kernel));
            if let Some(bias) = &conv.bias {
                add("bias", read_tensor(bias.val()));
            }
        }
        Kind::BatchNorm(norm) => {
            add("weight", read_tensor(norm.weight.val()));
            add("bias", read_tensor(norm.bias.val()));
            let statistics = &running[norm.slot];
            add("running_mean", read_tensor(statistics.mean.clone()));
            add("running_var", read_tensor(statistics.variance.clone()));
        }
        Kind::LayerNorm(norm) => {
            add("weight", read_tensor(norm.weight.val()));
            add("bias", read_tensor(norm.bias.val()));
        }
        Kind::Residual(residual) => {
            let [layers, shortcut] = residual_places(path);
            read_layers(&residual.layers, &layers, running, tensors);
            read_layers(&residual.shortcut, &shortcut, running, tensors);
        }
        Kind::Branches(branches) => {
            for (index, layers) in branches.branches.iter().enumerate() {
                read_layers(layers, &branch_place(path, index), running, tensors);
            }
        }
    }
}

/// A stored kernel `[channels out, channels in / groups, height, width]` as the kernels take it,
/// `[height, width, channels in / groups, channels out]`, and that shape.
pub(crate) fn kernel_in_kernels_order(kernel: &WeightTensor) -> (Vec<f32>, [usize; 4]) {
    let shape: [usize; 4] = kernel.shape[..].try_into().expect("a kernel's dimensions");
    let [outputs, inputs, height, width] = shape;
    let mut values = vec![0.0; kernel.values.len()];
    let places = height * width;
    for output in 0..outputs {
        for input in 0..inputs {
            for place in 0..places {
                values[(place * inputs + input) * outputs + output] =
                    kernel.values[(output * inputs + input) * places + place];
            }
        }
    }
    (values, [height, width, inputs, outputs])
}

/// The inverse of [`kernel_in_kernels_order`].
fn kernel_in_stored_order(kernel: &WeightTensor) -> WeightTensor {
    let shape: [usize; 4] = kernel.shape[..].try_into().expect("a kernel's dimensions");
    let [height, width, inputs, outputs] = shape;
    let places = height * width;
    let mut values = vec![0.0; kernel.values.len()];
    for output in 0..outputs {
        for input in 0..inputs {
            for place in 0..places {
                values[(output * inputs + input) * places + place] =
                    kernel.values[(place * inputs + input) * outputs + output];
            }
        }
    }
    WeightTensor {
        shape: vec![outputs, inputs, height, width],
        values,
    }
}

/// What the kernels call it.
pub(crate) fn gelu_of(gelu: strata_spec::Gelu) -> strata_kernels::Gelu {
    match gelu.approximation {
        Approximation::None => strata_kernels::Gelu::Erf,
        Approximation::Tanh => strata_kernels::Gelu::Tanh,
    }
}

/// A specification's window as the kernels take it.
pub(crate) fn window_of(window: strata_spec::Window) -> Window {
    Window {
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        ceil: window.ceil,
    }
}

fn data_of(tensor: &WeightTensor) -> TensorData {
    TensorData::new(tensor.values.clone(), tensor.shape.clone())
}

pub(crate) fn read_tensor<const D: usize>(tensor: Tensor<D>) -> WeightTensor {
    let shape = tensor.dims().to_vec();
    let values = tensor
        .into_data()
        .try_into_vec()
        .expect("weights, losses and rows are f32");
    WeightTensor { shape, values }
}
