use std::path::Path;

use anyhow::bail;
use clap::{CommandFactory, error::ErrorKind};
use serde_json::json;
use strata_package::{Identity, Pick, Selector, Store, VerifiedVersion};
use strata_spec::Manifest;
use strata_train::Run;

use super::{exits, opened::access};
use crate::{
    args::{Cli, ModelArgs, Models as Command},
    output::Output,
    packaging,
    places::store_folder,
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List(store) => list(&Store::open(&store_folder(store.store)?)?, output),
        Command::Show(args) => {
            let version = checked(args, false)?;
            let value = json!({ "digest": version.digest, "signed": version.signed, "manifest": version.manifest });
            output.result(&value, || describe(&version))
        }
        Command::Verify(args) => {
            let version = checked(args, true)?;
            let manifest = &version.manifest;
            let value = json!({ "name": manifest.name, "version": manifest.version, "digest": version.digest,
                                "signed": version.signed, "verified": version.signed, "opened": version.opened });
            output.result(&value, || {
                let mut text = format!(
                    "{}@{} is whole: {}",
                    manifest.name, manifest.version, version.digest
                );
                if !version.signed {
                    text.push_str(
                        "\nno signature was checked, so anyone may have made it as it is",
                    );
                }
                if !version.opened {
                    text.push_str(
                        "\nthere is no key to open its weights with, so only what is stored was checked",
                    );
                }
                text
            })
        }
        Command::Alias {
            model,
            alias,
            remove,
            store,
        } => {
            if remove {
                if model.pick != Pick::Highest {
                    let text = format!(
                        "`{model}` is more than a name: expected `strata models alias NAME ALIAS --remove`"
                    );
                    return Err(usage(text));
                }
                let store = Store::open(&store_folder(store.store)?)?;
                store.remove_alias(&model.name, &alias)?;
                let value = json!({ "name": model.name, "alias": alias, "version": null });
                return output.result(&value, || format!("{}:{alias} is no more", model.name));
            }
            let version = exact(&model, "strata models alias NAME@VERSION ALIAS")?;
            let store = Store::open(&store_folder(store.store)?)?;
            store.set_alias(&model.name, &alias, version)?;
            let value = json!({ "name": model.name, "alias": alias, "version": version });
            output.result(&value, || {
                format!("{}:{alias} is version {version}", model.name)
            })
        }
        Command::Remove { model, store } => {
            let version = exact(&model, "strata models remove NAME@VERSION")?;
            Store::open(&store_folder(store.store)?)?.remove(&model.name, version)?;
            let value = json!({ "name": model.name, "removed": version });
            output.result(&value, || format!("removed {}@{version}", model.name))
        }
        Command::Add {
            run,
            store,
            identity,
            sealing,
        } => {
            let sealing = sealing.sealing()?;
            let run = Run::open(&run)?;
            let Some(trained) = run.result()? else {
                let folder = run.folder().display();
                bail!(
                    "{folder} is not finished: go on with it by `strata train --resume {folder}`"
                );
            };
            let identity = Identity::find(identity.identity.as_deref())?;
            let store = Store::create_if_missing(&store_folder(store.store)?)?;
            let manifest = packaging::package(&run, &trained, &store, &identity, sealing)?;
            added(&manifest, store.path(), output)
        }
    }
}

/// Says which version a package became.
pub(super) fn added(manifest: &Manifest, store: &Path, output: Output) -> anyhow::Result<()> {
    let value = json!({ "name": manifest.name, "version": manifest.version, "store": store });
    output.result(&value, || {
        format!(
            "{}@{} in {}",
            manifest.name,
            manifest.version,
            store.display()
        )
    })
}

/// The version of a selector that names one by its number.
pub(super) fn exact(model: &Selector, expected: &str) -> anyhow::Result<u64> {
    match &model.pick {
        Pick::Version(version) => Ok(*version),
        _ => Err(usage(format!(
            "`{model}` names no single version: expected `{expected}`"
        ))),
    }
}

/// Wrong usage that depends on several arguments, told as clap tells of each.
fn usage(text: String) -> anyhow::Error {
    Cli::command()
        .error(ErrorKind::ValueValidation, text)
        .into()
}

fn checked(args: ModelArgs, weights_too: bool) -> anyhow::Result<VerifiedVersion> {
    let access = access(&args.access)?;
    let store = Store::open(&store_folder(args.store.store)?)?;
    Ok(if weights_too {
        store.verify(&args.model, &access)?
    } else {
        store.manifest(&args.model, &access)?
    })
}

fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let models = store.models()?;
    let values: Vec<_> = models
        .iter()
        .map(|model| json!({ "name": model.name, "versions": model.versions, "aliases": model.aliases }))
        .collect();
    output.result(&values, || {
        let line = |model: &strata_package::ModelEntry| {
            let versions: Vec<String> = model.versions.iter().map(u64::to_string).collect();
            let aliases = model
                .aliases
                .iter()
                .map(|(alias, version)| format!("  {alias}={version}"));
            format!(
                "{}  versions {}{}",
                model.name,
                versions.join(" "),
                aliases.collect::<String>()
            )
        };
        models.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn describe(version: &VerifiedVersion) -> String {
    let manifest = &version.manifest;
    let mut text = format!(
        "{}@{}\ndigest     {}\ncreated    {}\nsigned     {}\nprecision  {}\ntask       {}, {} classes\n",
        manifest.name,
        manifest.version,
        version.digest,
        manifest.created,
        version.signed,
        manifest.precision.word(),
        manifest.final_task().name,
        manifest.final_task().classification.classes,
    );
    for level in &manifest.levels {
        let blob = &level.blob;
        let seal = if blob.sealed { "sealed" } else { "not sealed" };
        let head = level
            .head_output
            .as_ref()
            .map_or(String::new(), |head| format!(", head -> {:?}", head.shape));
        text.push_str(&format!(
            "level      {}: {:?} -> {:?}{head}, {} bytes {seal}, {}\n",
            level.architecture.name, level.input.shape, level.output.shape, blob.bytes, blob.plain
        ));
    }
    for (name, value) in &manifest.metrics {
        text.push_str(&format!("metric     {name} = {value:.4}\n"));
    }
    if let Some(exits) = &manifest.exits {
        text.push_str(&exits::describe(exits));
    }
    let lineage = &manifest.lineage;
    text.push_str(&format!(
        "recipe     {}\nseed       {}\ncode       {}\n",
        lineage.recipe, lineage.seed, lineage.code
    ));
    for data in &lineage.data {
        text.push_str(&format!("data       {} {}\n", data.name, data.digest));
    }
    text.push('\n');
    text.push_str(&version.card);
    text
}
