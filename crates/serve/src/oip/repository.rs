use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    access::Caller,
    http::{Body, Refusal, Response, State, json as response, object},
    runtime::index as entries,
};

/// The body of `index`; it may be empty.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

/// The body of `load` and `unload`; it may be empty.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ChangeRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// `POST /v2/repository/index`: the versions of the models that the caller's key is for.
///
/// <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md>
pub(crate) fn index(state: &State, caller: &Caller, body: &Body) -> Result<Response, Refusal> {
    let IndexRequest { ready } = read(body)?;
    let all = entries(&state.registry.current(), ready, |model| {
        caller.covers(model)
    });
    let all = all.iter().map(|entry| {
        let mut shown = json!({ "name": entry.name, "state": entry.state() });
        if let Some(version) = entry.version {
            shown["version"] = json!(version.to_string());
        }
        if let Some(reason) = entry.reason() {
            shown["reason"] = json!(reason);
        }
        shown
    });
    Ok(response(Value::Array(all.collect()).to_string()))
}

/// `POST /v2/repository/models/{model}/load`
pub(crate) async fn load(state: &State, model: &str, body: &Body) -> Result<Response, Refusal> {
    let ChangeRequest { parameters } = read(body)?;
    if let Some(name) = parameters.keys().next() {
        return Err(load_parameter(name));
    }
    state.repository.load(model).await?;
    Ok(response("{}"))
}

/// `POST /v2/repository/models/{model}/unload`. Its parameters are about models that use others, of which there are none.
pub(crate) async fn unload(state: &State, model: &str, body: &Body) -> Result<Response, Refusal> {
    let ChangeRequest { .. } = read(body)?;
    state.repository.unload(model).await?;
    Ok(response("{}"))
}

/// A model is what its signed package says: a caller cannot give it another configuration or other files.
pub(crate) fn load_parameter(name: &str) -> Refusal {
    Refusal::Malformed(format!(
        "parameter `{}`: a model is loaded as its package says, without parameters",
        name.escape_debug()
    ))
}

fn read<T: Default + DeserializeOwned>(body: &Body) -> Result<T, Refusal> {
    if body.bytes.is_empty() {
        return Ok(T::default());
    }
    object(&body.bytes)
}
