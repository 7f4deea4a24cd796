use std::collections::BTreeMap;

use serde_json::json;
use strata_package::Store;
use strata_spec::{Digest, Layer, Name, level_shapes};

use super::super::opened::access;
use crate::{args::ModelArgs, output::Output, places::store_folder};

pub(super) fn run(args: ModelArgs, output: Output) -> anyhow::Result<()> {
    let access = access(&args.access)?;
    let store = Store::open(&store_folder(args.store.store)?)?;
    let version = store.manifest(&args.model, &access)?;
    let manifest = &version.manifest;
    let users = store.blob_users()?;
    let architecture = manifest.architecture();
    let shapes =
        level_shapes(&manifest.preparation.output_shape(), &architecture).expect("checked levels");

    let mut text = format!("{}@{}\n", manifest.name, manifest.version);
    let mut values = Vec::new();
    for (level, shapes) in manifest.levels.iter().zip(&shapes) {
        let (blob, own) = (&level.blob, &level.architecture);
        let parameters = own.parameters(shapes);
        let first = first_of(&users, &blob.digest, &manifest.name);
        text.push_str(&format!(
            "{}\n  {parameters} weights, {} bytes {}, {}, first in {}@{first}\n",
            own.summary(shapes),
            blob.bytes,
            if blob.sealed { "sealed" } else { "not sealed" },
            blob.digest,
            manifest.name,
        ));
        let words = |layers: &[Layer]| layers.iter().map(Layer::word).collect::<Vec<_>>();
        let head = own.head.as_ref().map(|head| {
            json!({ "task": head.task, "layers": words(&head.layers), "output": shapes.head })
        });
        values.push(json!({
            "name": own.name, "layers": words(&own.layers), "input": shapes.input, "output": shapes.output, "head": head,
            "parameters": parameters, "blob": blob, "first_version": first,
        }));
    }
    let value = json!({
        "model": manifest.name, "version": manifest.version, "digest": version.digest, "levels": values,
        "change": manifest.lineage.change,
    });
    output.result(&value, || text)
}

/// The lowest version of a model that has a blob.
fn first_of(users: &BTreeMap<Digest, Vec<(Name, u64)>>, blob: &Digest, model: &Name) -> u64 {
    let users = users.get(blob).into_iter().flatten();
    let own = users.filter(|(name, _)| name == model);
    let first = own.map(|(_, version)| *version).min();
    first.expect("the version itself has it")
}
