use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stack::{Stack, Stage, inception_unit as unit};
use crate::{AveragePool, Conv, Dense, DenseStart, Dropout, Layer, MaxPool, Name, Pair, Start};

/// Settings of Inception v3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InceptionV3 {
    /// Whether the level that ends with `mixed6` has a head for the final task. Default: true.
    #[serde(default = "super::yes")]
    pub auxiliary: bool,
    /// Stages after which a level ends; an auxiliary head elsewhere is left out. Default: each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<Name>>,
}

impl InceptionV3 {
    pub(super) fn stages(&self, classes: usize) -> Vec<Stage> {
        let stem = unit("Conv2d_1a_3x3", strided(32))
            .and(unit("Conv2d_2a_3x3", Conv::square(32, 3)))
            .and(unit("Conv2d_2b_3x3", padded(64, [3, 3])))
            .add(pool())
            .and(unit("Conv2d_3b_1x1", Conv::square(80, 1)))
            .and(unit("Conv2d_4a_3x3", Conv::square(192, 3)))
            .add(pool());
        let mixed5 = mixed_a("Mixed_5b", 32)
            .and(mixed_a("Mixed_5c", 64))
            .and(mixed_a("Mixed_5d", 64));
        let mixed6 = mixed_b("Mixed_6a")
            .and(mixed_c("Mixed_6b", 128))
            .and(mixed_c("Mixed_6c", 160))
            .and(mixed_c("Mixed_6d", 160))
            .and(mixed_c("Mixed_6e", 192));
        let mixed7 = mixed_d("Mixed_7a")
            .and(mixed_e("Mixed_7b"))
            .and(mixed_e("Mixed_7c"));
        let head = Stack::new()
            .add(Layer::GlobalAveragePool)
            .add(Layer::Dropout(Dropout { rate: 0.5 }))
            .dense("fc", classes);
        let mixed6 = Stage::new("mixed6", mixed6);
        let stages = vec![
            Stage::new("stem", stem),
            Stage::new("mixed5", mixed5),
            if self.auxiliary {
                mixed6.with_head(auxiliary_head(classes))
            } else {
                mixed6
            },
            Stage::new("mixed7", mixed7).with_head(head),
        ];
        let begun = stages.into_iter();
        begun
            .map(|stage| stage.starting(Start::Normal(0.1), DenseStart::Normal(0.1)))
            .collect()
    }
}

fn auxiliary_head(classes: usize) -> Stack {
    let means = AveragePool {
        kernel: 5.into(),
        stride: Some(3.into()),
        padding: 0.into(),
        count_padding: true,
    };
    let small = Dense {
        start: DenseStart::Normal(0.001),
        ..Dense::new(classes)
    };
    Stack::new()
        .add(Layer::AveragePool(means))
        .and(unit("conv0", Conv::square(128, 1)))
        .and(unit("conv1", Conv::square(768, 5)))
        .add(Layer::GlobalAveragePool)
        .dense_as("fc", small)
        .under("AuxLogits")
}

fn mixed_a(module: &str, pooled: usize) -> Stack {
    let branches = [
        unit("branch1x1", Conv::square(64, 1)),
        unit("branch5x5_1", Conv::square(48, 1)).and(unit("branch5x5_2", padded(64, [5, 5]))),
        unit("branch3x3dbl_1", Conv::square(64, 1))
            .and(unit("branch3x3dbl_2", padded(96, [3, 3])))
            .and(unit("branch3x3dbl_3", padded(96, [3, 3]))),
        mean_branch(pooled),
    ];
    Stack::new().branches(branches).under(module)
}

fn mixed_b(module: &str) -> Stack {
    let branches = [
        unit("branch3x3", strided(384)),
        unit("branch3x3dbl_1", Conv::square(64, 1))
            .and(unit("branch3x3dbl_2", padded(96, [3, 3])))
            .and(unit("branch3x3dbl_3", strided(96))),
        Stack::new().add(pool()),
    ];
    Stack::new().branches(branches).under(module)
}

fn mixed_c(module: &str, channels: usize) -> Stack {
    let branches = [
        unit("branch1x1", Conv::square(192, 1)),
        unit("branch7x7_1", Conv::square(channels, 1))
            .and(unit("branch7x7_2", padded(channels, [1, 7])))
            .and(unit("branch7x7_3", padded(192, [7, 1]))),
        unit("branch7x7dbl_1", Conv::square(channels, 1))
            .and(unit("branch7x7dbl_2", padded(channels, [7, 1])))
            .and(unit("branch7x7dbl_3", padded(channels, [1, 7])))
            .and(unit("branch7x7dbl_4", padded(channels, [7, 1])))
            .and(unit("branch7x7dbl_5", padded(192, [1, 7]))),
        mean_branch(192),
    ];
    Stack::new().branches(branches).under(module)
}

fn mixed_d(module: &str) -> Stack {
    let branches = [
        unit("branch3x3_1", Conv::square(192, 1)).and(unit("branch3x3_2", strided(320))),
        unit("branch7x7x3_1", Conv::square(192, 1))
            .and(unit("branch7x7x3_2", padded(192, [1, 7])))
            .and(unit("branch7x7x3_3", padded(192, [7, 1])))
            .and(unit("branch7x7x3_4", strided(192))),
        Stack::new().add(pool()),
    ];
    Stack::new().branches(branches).under(module)
}

fn mixed_e(module: &str) -> Stack {
    let two_ways = |name: &str| {
        Stack::new().branches([
            unit(&format!("{name}a"), padded(384, [1, 3])),
            unit(&format!("{name}b"), padded(384, [3, 1])),
        ])
    };
    let branches = [
        unit("branch1x1", Conv::square(320, 1)),
        unit("branch3x3_1", Conv::square(384, 1)).and(two_ways("branch3x3_2")),
        unit("branch3x3dbl_1", Conv::square(448, 1))
            .and(unit("branch3x3dbl_2", padded(384, [3, 3])))
            .and(two_ways("branch3x3dbl_3")),
        mean_branch(192),
    ];
    Stack::new().branches(branches).under(module)
}

fn mean_branch(channels: usize) -> Stack {
    let means = AveragePool {
        kernel: 3.into(),
        stride: Some(1.into()),
        padding: 1.into(),
        count_padding: true,
    };
    Stack::new()
        .add(Layer::AveragePool(means))
        .and(unit("branch_pool", Conv::square(channels, 1)))
}

/// One that keeps the size.
fn padded(channels: usize, kernel: [usize; 2]) -> Conv {
    Conv {
        kernel: Pair(kernel),
        padding: Pair(kernel.map(|size| size / 2)),
        ..Conv::square(channels, 1)
    }
}

/// One of 3x3 that halves it.
fn strided(channels: usize) -> Conv {
    Conv {
        stride: 2.into(),
        ..Conv::square(channels, 3)
    }
}

fn pool() -> Layer {
    Layer::MaxPool(MaxPool {
        stride: Some(2.into()),
        ..MaxPool::square(3)
    })
}
