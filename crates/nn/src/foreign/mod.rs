//! Weights from and for other programs: safetensors and PyTorch files, with the names that torchvision and others gave to
//! their tensors.
//!
//! No code in a file is ever run. What a file claims is compared with what the network needs first; only then are numbers
//! read, and only those: a file cannot ask for more memory than the network itself takes.

mod error;
mod file;
mod matching;
mod numbers;
mod pickle;
mod pytorch;
mod safetensors_file;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use strata_spec::{Level, Name, level_shapes, networks::NamedNetwork, paths::HEAD};

pub use error::{ForeignError, Mismatch};

use crate::{
    LevelWeights, WeightTensor, WeightsError,
    fresh::fresh_weights,
    tensors,
    weights::{Role, tensors_of},
};
use file::WeightFile;
use matching::{Wanted, choose};

/// A network whose weights lie in a file of another program.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The shape of one row that enters it.
    pub input: &'a [usize],
    /// Its levels, checked ones.
    pub levels: &'a [Level],
    /// What it is called, if it was asked for by its name: then its tensors have published names.
    pub network: Option<&'a NamedNetwork>,
}

/// Weights that were read for a network.
#[derive(Debug)]
pub struct GivenWeights {
    /// Of each level, from the lowest to the top one.
    pub levels: Vec<LevelWeights>,
    /// Levels whose heads begin afresh.
    pub fresh_heads: Vec<Name>,
    /// Keys in the file that the network has no use for, and their shapes, in order. Counters of batches are not among
    /// them.
    pub unused: Vec<(String, Vec<usize>)>,
    /// Those of `unused` for which there is no reason, so that the file may be another network's: neither auxiliary heads that
    /// the network has where it is not told to leave them out, nor heads in whose place others begin afresh.
    pub extra: Vec<(String, Vec<usize>)>,
}

/// Reads the weights of a network from a safetensors or PyTorch file (`.pth`, `.pt`, `.th`).
///
/// Tensors have their published names, or those that [`write_weights`] gives to levels that were written out. They may stand under a
/// key such as `state_dict`, and with the prefix `module.` of PyTorch's `DataParallel`. `F16` and `BF16` become `f32`.
///
/// With `fresh_heads`, a seed, heads that the file does not have, or has for other classes, begin afresh: for a network
/// that is to learn something else.
///
/// # Errors
/// There is no such file or it is damaged; something that the network needs is missing, of another shape or type, or not
/// finite.
///
/// # Panics
/// The levels are not checked ones (see `strata_spec`).
pub fn read_weights(
    path: &Path,
    target: Target<'_>,
    fresh_heads: Option<u64>,
) -> Result<GivenWeights, ForeignError> {
    let file = WeightFile::open(path)?;
    let wanted = wanted(target);
    let choice = choose(&file.entries, &wanted, fresh_heads.is_some());
    if choice.mismatch.is_error() {
        return Err(ForeignError::Mismatch {
            path: path.to_owned(),
            mismatch: Box::new(choice.mismatch),
        });
    }

    let shapes = level_shapes(target.input, target.levels).expect("checked levels");
    let mut tensors = vec![BTreeMap::new(); target.levels.len()];
    for tensor in choice.found {
        let Wanted { level, name, .. } = tensor.wanted;
        let values = file.read(&tensor.key)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(file.value_error(&tensor.key, "holds a value that is not finite"));
        }
        if tensor.wanted.role == Role::RunningVariance && values.iter().any(|value| *value < 0.0) {
            return Err(file.value_error(&tensor.key, "holds a negative variance"));
        }
        let shape = tensor.wanted.shape.clone();
        tensors[*level].insert(name.clone(), WeightTensor { shape, values });
    }
    for &index in &choice.fresh_heads {
        let seed = fresh_heads.expect("heads begin afresh only if that is asked for");
        let fresh = fresh_weights(&target.levels[index], &shapes[index], index, seed);
        let head = fresh.iter().filter(|(name, _)| is_of_head(name));
        tensors[index].extend(head.map(|(name, tensor)| (name.clone(), tensor.clone())));
    }
    let left_out = left_out(target);
    let has_reason = |key: &str| {
        let key = key.strip_prefix(&choice.prefix);
        key.is_some_and(|key| {
            left_out.contains(key) || fresh_heads.is_some() && is_key_of_head(key, target, &wanted)
        })
    };
    let unused = choice.mismatch.extra;
    let extra = unused.iter().filter(|(key, _)| !has_reason(key));
    let extra = extra.cloned().collect();
    let levels = target.levels.iter().zip(&shapes).zip(tensors);
    let levels: Result<Vec<LevelWeights>, WeightsError> = levels
        .map(|((level, shapes), tensors)| LevelWeights::new(tensors, level, shapes))
        .collect();
    Ok(GivenWeights {
        levels: levels.expect("every tensor was compared with what its level needs"),
        fresh_heads: choice
            .fresh_heads
            .iter()
            .map(|&index| target.levels[index].name.clone())
            .collect(),
        unused,
        extra,
    })
}

/// The weights of a network as one safetensors file: under their published names if it has a name, else as
/// `level.layers.0.weight`, by the names of levels and of their tensors.
///
/// # Panics
/// The levels are not checked ones, or the weights are of others.
pub fn write_weights(target: Target<'_>, weights: &[LevelWeights]) -> Vec<u8> {
    assert_eq!(target.levels.len(), weights.len(), "weights of every level");
    let published = published(target);
    let named = target
        .levels
        .iter()
        .zip(weights)
        .flat_map(|(level, weights)| {
            let published = published.get(&level.name);
            weights.iter().map(move |(name, tensor)| {
                let key = published.and_then(|names| names.get(name)).cloned();
                (key.unwrap_or_else(|| own(level, name)), tensor)
            })
        });
    // What readers of PyTorch's tensors look for.
    let texts = tensors::Texts::from([("format".to_owned(), "pt".to_owned())]);
    tensors::write(named, Some(texts))
}

/// What has to be in a file.
fn wanted(target: Target<'_>) -> Vec<Wanted> {
    let shapes = level_shapes(target.input, target.levels).expect("checked levels");
    let published = published(target);
    let mut wanted = Vec::new();
    for (index, (level, shapes)) in target.levels.iter().zip(&shapes).enumerate() {
        let published = published.get(&level.name);
        for tensor in tensors_of(level, shapes) {
            wanted.push(Wanted {
                level: index,
                published: published.and_then(|names| names.get(&tensor.name)).cloned(),
                own: own(level, &tensor.name),
                in_head: is_of_head(&tensor.name),
                name: tensor.name,
                shape: tensor.shape,
                role: tensor.role,
            });
        }
    }
    wanted
}

/// The published keys of a network by name: of each level, of each of its tensors.
fn published(target: Target<'_>) -> BTreeMap<Name, BTreeMap<String, String>> {
    let Some(network) = target.network else {
        return BTreeMap::new();
    };
    // Keys are the same for any task and any classes.
    let task: Name = "task".parse().expect("a name");
    let keys = network.keys(&task, 2).expect("a checked network");
    keys.into_iter()
        .map(|keys| (keys.level, keys.tensors))
        .collect()
}

/// Keys that the network has where it is not told to leave heads out.
fn left_out(target: Target<'_>) -> BTreeSet<String> {
    let whole = target.network.map(NamedNetwork::with_all_heads);
    let whole = Target {
        network: whole.as_ref(),
        ..target
    };
    let keys = published(whole).into_values();
    keys.flat_map(BTreeMap::into_values).collect()
}

/// Whether a key is one of a head, of this network or of another one with the same levels.
fn is_key_of_head(key: &str, target: Target<'_>, wanted: &[Wanted]) -> bool {
    let mut heads = wanted.iter().filter(|wanted| wanted.in_head);
    let mut levels = target.levels.iter();
    heads.any(|wanted| wanted.own == key || wanted.published.as_deref() == Some(key))
        || levels.any(|level| {
            let tensor = key.strip_prefix(level.name.as_str());
            tensor
                .and_then(|tensor| tensor.strip_prefix('.'))
                .is_some_and(is_of_head)
        })
}

/// The key of a tensor that has no published one.
fn own(level: &Level, tensor: &str) -> String {
    format!("{}.{tensor}", level.name)
}

fn is_of_head(name: &str) -> bool {
    name.strip_prefix(HEAD)
        .is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auxiliary_heads_that_a_network_leaves_out_are_known() {
        let network: NamedNetwork =
            serde_json::from_str(r#"{ "googlenet": { "auxiliary": false, "cuts": [] } }"#).unwrap();
        let target = Target {
            input: &[],
            levels: &[],
            network: Some(&network),
        };
        let keys = left_out(target);
        assert!(keys.contains("aux1.conv.conv.weight") && keys.contains("aux2.fc2.bias"));
        assert!(!published(target).values().any(|keys| {
            let mut keys = keys.values();
            keys.any(|key| key.starts_with("aux"))
        }));
    }
}
