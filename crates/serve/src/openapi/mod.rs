//! `GET /openapi.json`: what the server answers, as a document of OpenAPI 3.1.
//!
//! It is made of the table of routes ([`routes`](crate::routes)), so none can be missing: what is said of each endpoint is in
//! `operations`. The schemas of requests are made of the types that read them; those of answers, which are written by hand,
//! are in `answers.json`. `HEAD`, which stands beside each `GET`, is not listed.

mod operations;

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::operations::{Answer, Operation, Requests, operation};
use crate::{
    http::{Needs, ROUTES, Response, Route, json as response},
    tfserving,
};

/// The schemas of answers by name.
const ANSWERS: &str = include_str!("answers.json");

/// Answers the route.
pub(crate) fn document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| build().to_string());
    response(TEXT.as_bytes())
}

fn build() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let requests = Requests::new(&mut generator);
    let mut paths = Map::new();
    for route in &ROUTES {
        let operation = describe(route, &requests);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = generator.take_definitions(true);
    let answers: Map<String, Value> =
        serde_json::from_str(ANSWERS).expect("the file is an object, which a test checks");
    schemas.extend(answers);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Strata",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A server of models: Open Inference Protocol, TensorFlow Serving REST and KServe V1.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "security": [{ "bearer": [] }, { "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            },
        },
    })
}

fn describe(route: &Route, requests: &Requests) -> Value {
    let Operation {
        summary,
        tag,
        request,
        answer,
    } = operation(route.endpoint, requests);
    let mut described = json!({
        "operationId": operation_id(route),
        "summary": summary,
        "tags": [tag],
        "responses": responses(route, &answer, request.is_some()),
    });
    let mut parameters: Vec<Value> = path_parameters(route.path).collect();
    if let Some(request) = request {
        parameters.push(json!({
            "name": "X-Request-Timeout-Ms", "in": "header", "schema": { "type": "integer", "minimum": 0 },
            "description": "Milliseconds that the caller is ready to wait",
        }));
        let mut content = json!({ "application/json": { "schema": request.schema } });
        if request.is_binary {
            parameters.push(json!({
                "name": "Inference-Header-Content-Length", "in": "header", "schema": { "type": "integer", "minimum": 0 },
                "description": "The bytes of JSON before binary tensors; 0 for one raw tensor",
            }));
            content["application/octet-stream"] = json!({});
        }
        described["requestBody"] = json!({ "required": request.is_required, "content": content });
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if route.needs == Needs::Nothing {
        described["security"] = json!([]);
    }
    described
}

/// Method and path, in characters that generated programs can have in names.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let slash = if route.path.ends_with('/') {
        "_slash"
    } else {
        ""
    };
    let method = route.method.as_str().to_ascii_lowercase();
    format!("{method}_{}{slash}", words.join("_"))
}

fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('{').skip(1);
    names
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| {
            let description = match name {
                "model" => "The name of a model",
                "version" => "The number of a version, or an alias",
                _ => "An alias",
            };
            json!({
                "name": name, "in": "path", "required": true, "description": description,
                "schema": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" },
            })
        })
}

/// All statuses that a route may answer with.
fn responses(route: &Route, answer: &Answer, has_body: bool) -> Value {
    let mut responses = Map::new();
    if let Some(schema) = &answer.schema {
        let mut ok = json!({
            "description": "The answer",
            "content": { answer.content_type: { "schema": schema } },
        });
        if answer.is_binary {
            ok["content"]["application/octet-stream"] = json!({});
        }
        if answer.has_origin {
            let header = |name: &str| (name.to_owned(), json!({ "schema": { "type": "string" } }));
            ok["headers"] = Value::Object(tfserving::HEADERS.into_iter().map(header).collect());
        }
        responses.insert("200".to_owned(), ok);
    }
    let mut refused = |status: u16, description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        let content = json!({ "application/json": { "schema": schema } });
        let mut refusal = json!({ "description": description, "content": content });
        let header = match status {
            401 => Some("WWW-Authenticate"),
            415 => Some("Accept-Encoding"),
            429 | 503 => Some("Retry-After"),
            _ => None,
        };
        if let Some(header) = header {
            refusal["headers"] = json!({ header: { "schema": { "type": "string" } } });
        }
        responses.insert(status.to_string(), refusal);
    };
    if route.needs == Needs::Nothing {
        if answer.may_be_unready {
            refused(503, "The server is stopping");
        }
        return Value::Object(responses);
    }
    refused(401, "No key, or one that is not valid");
    refused(403, "The key does not allow this, or not to this model");
    refused(429, "The key has as many requests at a time as it may");
    refused(503, "The server cannot answer now");
    if route.path.contains('{') {
        refused(404, "There is no such model or version");
    }
    if has_body {
        refused(400, "The request is wrong");
        refused(408, "The body did not arrive in time");
        refused(413, "More than is allowed");
        refused(
            415,
            "The body is packed, and neither by gzip nor by deflate",
        );
        refused(500, "A fault of the server");
        refused(504, "The time that was allowed is up");
    }
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::Method;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_no_other() {
        let document = build();
        let paths = document["paths"].as_object().unwrap().iter();
        let documented: BTreeSet<(String, String)> = paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
            })
            .collect();
        let routes = crate::routes().map(|(method, path)| (method.to_owned(), path.to_owned()));
        assert_eq!(documented, routes.collect());
    }

    #[test]
    fn names_and_references_lead_somewhere() {
        let document = build();
        let mut ids = BTreeSet::new();
        for route in &ROUTES {
            assert!(ids.insert(operation_id(route)), "{}", route.path);
            assert!(matches!(route.method, Method::GET | Method::POST));
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let (pointer, _) = reference.split_once('"').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            let reference = format!("#/components/schemas/{name}\"");
            assert!(text.contains(&reference), "{name} is not used");
        }
    }
}
