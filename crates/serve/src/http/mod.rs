//! HTTP/1.1: connections, the table of routes, bodies and refusals.

mod body;
mod calls;
mod coding;
mod connection;
mod door;
mod find;
mod refusal;
mod routes;
mod seats;
mod service;
mod state;
mod stream;
mod trace;

pub(crate) use body::{Body, Budget, Share};
pub(crate) use coding::{Coding, UNDERSTOOD, unpack};
pub(crate) use connection::{Listening, serve};
pub(crate) use refusal::Refusal;
pub use routes::routes;
pub(crate) use routes::{Endpoint, Needs, ROUTES, Route};
pub(crate) use service::{awake, covered, find_version, no_version};
pub(crate) use state::{Origin, State};
pub(crate) use trace::{REQUEST_ID, TRACEPARENT, request_id, trace_id, traceparent};

/// An answer; its body is always complete.
pub(crate) type Response = hyper::Response<http_body_util::Full<bytes::Bytes>>;

/// What a route's code gets of a request, once the guard let it in.
pub(crate) struct Asked {
    pub(crate) routed: crate::rollout::Routed,
    /// The length of the body's JSON, if binary tensors follow it.
    pub(crate) json_bytes: Option<usize>,
    pub(crate) body: Body,
    pub(crate) deadline: std::time::Instant,
}

/// Reads a body that is an object in JSON.
///
/// # Errors
/// It is no JSON, or something else: where fields are expected a list would do as well, with its elements in their order.
pub(crate) fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    let wrong = |problem: String| Refusal::Malformed(format!("the request's JSON: {problem}"));
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(wrong("expected an object, found a list".to_owned()));
    }
    serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))
}

/// An answer in JSON.
pub(crate) fn json(body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    let json = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    response
}
