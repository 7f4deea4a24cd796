use anyhow::Context;
use serde_json::json;
use strata_serve::{Key, KeyModels, KeyStore, NewKey};
use strata_spec::Name;

use crate::{
    args::{Keys as Command, StoreArgs},
    output::Output,
    places::store_folder,
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Create {
            name,
            allow,
            models,
            expires,
            store,
        } => {
            let new = NewKey {
                name,
                actions: allow,
                models: key_models(&models)?,
                expires: expires.0,
            };
            let created = key_store(store)?.create(new)?;
            let value = json!({ "key": created.token.as_str(), "id": created.key.id, "expires": created.key.expires });
            output.result(&value, || created.token.to_string())?;
            output.note("this is the only time that the key is shown; only its hash is stored");
            Ok(())
        }
        Command::List(store) => {
            let keys = key_store(store)?.list()?;
            let lines = || keys.iter().map(line).collect::<Vec<_>>().join("\n");
            let values: Vec<_> = keys.iter().map(value).collect();
            output.result(&values, lines)
        }
        Command::Revoke { id, store } => {
            let key = key_store(store)?.revoke(identifier(&id))?;
            output.result(&value(&key), || {
                format!("revoked {} ({})", key.id, key.name)
            })
        }
    }
}

fn key_store(store: StoreArgs) -> anyhow::Result<KeyStore> {
    let folder = store_folder(store.store)?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(KeyStore::beside(&folder))
}

fn key_models(models: &[String]) -> anyhow::Result<KeyModels> {
    if models == ["all"] {
        return Ok(KeyModels::All);
    }
    let names: Result<Vec<Name>, _> = models.iter().map(|name| name.parse()).collect();
    Ok(KeyModels::Listed(names.context("--models")?))
}

/// The identifier of a key, or of `strata_<id>_<secret>`: whoever finds a key in the wrong place has all of it. Nothing
/// but the identifier goes on from here, since an error repeats it.
fn identifier(text: &str) -> &str {
    let whole = text
        .strip_prefix("strata_")
        .and_then(|rest| rest.split_once('_'));
    whole.map_or(text, |(id, _)| id)
}

/// All of a key that may be shown: not its hash.
fn value(key: &Key) -> serde_json::Value {
    json!({
        "id": key.id, "name": key.name, "actions": key.actions, "models": key.models, "created": key.created,
        "expires": key.expires, "revoked": key.revoked,
    })
}

fn line(key: &Key) -> String {
    let actions = key
        .actions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let models = match &key.models {
        KeyModels::All => "all".to_owned(),
        KeyModels::Listed(names) => names.iter().map(Name::as_str).collect::<Vec<_>>().join(","),
    };
    let end = match (&key.revoked, &key.expires) {
        (Some(revoked), _) => format!("revoked {revoked}"),
        (None, Some(expires)) => format!("expires {expires}"),
        (None, None) => "never expires".to_owned(),
    };
    format!("{}  {}  {actions}  {models}  {end}", key.id, key.name)
}
