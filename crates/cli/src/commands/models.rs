use std::path::Path;

use anyhow::bail;
use clap::{CommandFactory, error::ErrorKind};
use serde_json::json;
use strata_package::{Identity, ModelEntry, Pick, Selector, Store, VerifiedVersion};
use strata_remote::{Address, Remote};
use strata_spec::{Manifest, Name};
use strata_train::Run;

use super::{exits, opened::access};
use crate::{
    args::{Cli, ModelArgs, Models as Command, StoreArgs},
    output::Output,
    packaging,
    places::{store_address, store_folder},
    stores::{change, look_at, readable},
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List(store) => list(&entries(store)?, output),
        Command::Push { model, to, alias } => push(model, to, alias, output),
        Command::Pull { model, from } => pull(model, from, output),
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
                change(store.store, &model.name, |store| {
                    Ok(store.remove_alias(&model.name, &alias)?)
                })?;
                let value = json!({ "name": model.name, "alias": alias, "version": null });
                return output.result(&value, || format!("{}:{alias} is no more", model.name));
            }
            let version = exact(&model, "strata models alias NAME@VERSION ALIAS")?;
            change(store.store, &model.name, |store| {
                Ok(store.set_alias(&model.name, &alias, version)?)
            })?;
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
pub(super) fn usage(text: String) -> anyhow::Error {
    Cli::command()
        .error(ErrorKind::ValueValidation, text)
        .into()
}

fn checked(args: ModelArgs, weights_too: bool) -> anyhow::Result<VerifiedVersion> {
    let access = access(&args.access)?;
    if weights_too {
        let (store, selector) = readable(args.store.store, &args.model, &access)?;
        return Ok(store.verify(&selector, &access)?);
    }
    look_at(args.store.store, &args.model.name, |store| {
        Ok(store.manifest(&args.model, &access)?)
    })
}

fn push(args: ModelArgs, to: Address, alias: Option<Name>, output: Output) -> anyhow::Result<()> {
    let access = access(&args.access)?;
    let store = Store::open(&store_folder(args.store.store)?)?;
    let (pushed, is_new) = match &to {
        Address::Folder(folder) => {
            let other = Store::create_if_missing(folder)?;
            strata_remote::copy(&store, &args.model, &access, &other)?
        }
        Address::Bucket(bucket) => Remote::from_env(bucket)?.push(&store, &args.model, &access)?,
    };
    let (name, version) = (&pushed.manifest.name, pushed.manifest.version);
    if let Some(alias) = &alias {
        change(Some(to.clone()), name, |store| {
            Ok(store.set_alias(name, alias, version)?)
        })?;
    }
    moved(&pushed, is_new, &to, output)
}

fn pull(args: ModelArgs, from: Address, output: Output) -> anyhow::Result<()> {
    let access = access(&args.access)?;
    let folder = store_folder(args.store.store)?;
    let store = Store::create_if_missing(&folder)?;
    let (pulled, is_new) = match &from {
        Address::Folder(other) => {
            strata_remote::copy(&Store::open(other)?, &args.model, &access, &store)?
        }
        Address::Bucket(bucket) => {
            let remote = Remote::from_env(bucket)?;
            let version = remote.resolve(&args.model)?;
            remote.pull(&args.model.name, version, &access, &store)?
        }
    };
    moved(&pulled, is_new, &Address::Folder(folder), output)
}

/// Says where a version is now.
fn moved(
    version: &VerifiedVersion,
    is_new: bool,
    to: &Address,
    output: Output,
) -> anyhow::Result<()> {
    let manifest = &version.manifest;
    let value = json!({ "name": manifest.name, "version": manifest.version, "digest": version.digest,
                        "store": to.to_string(), "new": is_new });
    output.result(&value, || {
        let how = if is_new {
            "is now in"
        } else {
            "was already in"
        };
        format!("{}@{} {how} {to}", manifest.name, manifest.version)
    })
}

/// The models of a store.
fn entries(store: StoreArgs) -> anyhow::Result<Vec<ModelEntry>> {
    match store_address(store.store)? {
        Address::Folder(folder) => Ok(Store::open(&folder)?.models()?),
        Address::Bucket(bucket) => {
            let remote = Remote::from_env(&bucket)?;
            let listing = remote.list()?;
            let whole = listing
                .into_iter()
                .map(|(name, model)| (name, model.versions().collect::<Vec<_>>()))
                .filter(|(_, versions)| !versions.is_empty());
            let entry = |(name, versions): (Name, _)| {
                Ok(ModelEntry {
                    aliases: remote.aliases(&name)?,
                    name,
                    versions,
                })
            };
            whole.map(entry).collect()
        }
    }
}

fn list(models: &[ModelEntry], output: Output) -> anyhow::Result<()> {
    let values: Vec<_> = models
        .iter()
        .map(|model| json!({ "name": model.name, "versions": model.versions, "aliases": model.aliases }))
        .collect();
    output.result(&values, || {
        let line = |model: &ModelEntry| {
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
    for data in &lineage.level_data {
        text.push_str(&format!("level data {} {}\n", data.name, data.digest));
    }
    text.push('\n');
    text.push_str(&version.card);
    text
}
