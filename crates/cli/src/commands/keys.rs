use anyhow::{Context, ensure};
use serde_json::json;
use strata_serve::{Key, KeyModels, KeyStore, KeysError, NewKey};
use strata_spec::Name;

use crate::{
    args::{Keys as Command, KeysArgs, StoreArgs},
    output::Output,
    places::{folder_of, store_folder},
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Create {
            name,
            allow,
            models,
            expires,
            keys,
            store,
        } => {
            let new = NewKey {
                name,
                actions: allow,
                models: key_models(models),
                expires: expires.0,
            };
            let keys = key_store(keys, store)?;
            let folder = folder_of(keys.path());
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            let created = keys.create(new)?;
            let value = json!({ "key": created.token.as_str(), "id": created.key.id, "expires": created.key.expires });
            output.result(&value, || created.token.to_string())?;
            output.note("this is the only time that the key is shown; only its hash is stored");
            Ok(())
        }
        Command::List { keys, store } => {
            let keys = key_store(keys, store)?.list()?;
            let lines = || keys.iter().map(line).collect::<Vec<_>>().join("\n");
            let values: Vec<_> = keys.iter().map(value).collect();
            output.result(&values, lines)
        }
        Command::Revoke { id, keys, store } => {
            let id = identifier(&id)?;
            let keys = key_store(keys, store)?;
            // Without a key there need not even be a folder for them.
            if keys.list()?.is_empty() {
                return Err(KeysError::Unknown(id.to_owned()).into());
            }
            let key = keys.revoke(id)?;
            output.result(&value(&key), || {
                format!("revoked {} ({})", key.id, key.name)
            })
        }
    }
}

fn key_store(keys: KeysArgs, store: StoreArgs) -> anyhow::Result<KeyStore> {
    if let Some(file) = keys.keys {
        return Ok(KeyStore::at(file));
    }
    let folder = store_folder(store.store).context("no file of keys: give one by --keys")?;
    Ok(KeyStore::beside(&folder))
}

fn key_models(models: Vec<Name>) -> KeyModels {
    match models.as_slice() {
        [name] if name.as_str() == "all" => KeyModels::All,
        _ => KeyModels::Listed(models),
    }
}

/// The identifier of a key, or of `strata_<id>_<secret>`, also as it stands in a header: whoever finds a key in the wrong
/// place has all of it. Nothing but an identifier goes on from here, since an error repeats it; what is none may be a
/// secret, so this error does not.
fn identifier(text: &str) -> anyhow::Result<&str> {
    let text = text.trim();
    let id = match text.rsplit_once("strata_") {
        Some((_, key)) => key.split_once('_').map_or(key, |(id, _)| id),
        None => text,
    };
    let is_id = id.len() == 16 && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    ensure!(
        is_id,
        "that is no identifier: expected its 16 digits, as `strata keys list` shows them, or the whole key"
    );
    Ok(id)
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

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn only_an_identifier_goes_on_from_what_may_be_a_secret() {
        let secret = "5".repeat(64);
        let id = "0123456789abcdef";
        for text in [
            id.to_owned(),
            format!(" {id}\n"),
            format!("strata_{id}_{secret}"),
            format!("Authorization: Bearer strata_{id}_{secret}"),
            format!("strata_{id}"),
        ] {
            assert_eq!(identifier(&text).unwrap(), id, "{text}");
        }
        for text in [
            secret.clone(),
            format!("{id}_{secret}"),
            format!("strata_{secret}"),
            format!("Bearer {id} {secret}"),
            String::new(),
        ] {
            let error = identifier(&text).unwrap_err().to_string();
            assert!(error.starts_with("that is no identifier: ") && !error.contains("555"));
        }
    }
}
