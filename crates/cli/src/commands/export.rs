use std::{io::Write, path::Path};

use anyhow::Context;
use serde_json::json;
use strata_nn::foreign::{Target, write_weights};

use super::opened::Opened;
use crate::{args::Export, output::Output, places::folder_of};

pub(super) fn run(args: Export, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(args.model)?;
    let manifest = &opened.manifest;
    let target = Target {
        input: &manifest.preparation.output_shape(),
        levels: &manifest.architecture(),
        network: manifest.network.as_ref(),
    };
    let bytes = write_weights(target, &opened.weights);
    write(&args.file, &bytes).with_context(|| format!("cannot write {}", args.file.display()))?;
    output.note("these weights are neither sealed nor signed");
    let value = json!({
        "name": manifest.name, "version": manifest.version, "file": args.file, "bytes": bytes.len(),
    });
    output.result(&value, || {
        let (name, version) = (&manifest.name, manifest.version);
        format!(
            "{} has the weights of {name}@{version}",
            args.file.display()
        )
    })
}

/// A new file, whole or not at all, its owner's only: what was sealed lies open in it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}
