use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Request,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use jiff::Timestamp;
use tokio::time::timeout_at;

use super::{
    Asked, Refusal, Response, body, json,
    routes::{Endpoint, Found, Needs, Route, find},
    state::State,
    stream::Linger,
};
use crate::{
    access::{Caller, Refused},
    explain, metrics, oip,
    runtime::{Model, Version},
};

/// Milliseconds that a caller is ready to wait.
const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// Where a request got to before it was answered or refused.
struct Trail {
    route: Option<&'static Route>,
    version: Option<Arc<Version>>,
    caller: Option<Caller>,
    body: Progress,
}

/// How much of a body was read.
enum Progress {
    Unread(Incoming),
    /// A part: its reading was refused, or goes on.
    Cut,
    Read,
}

/// Answers one request, and counts it.
pub(crate) async fn answer(
    state: &Arc<State>,
    peer: SocketAddr,
    linger: &Linger,
    request: Request<Incoming>,
) -> Response {
    let start = Instant::now();
    let (head, body) = request.into_parts();
    let mut trail = Trail {
        route: None,
        version: None,
        caller: None,
        body: Progress::Unread(body),
    };
    let mut response = match guarded(state, &head, start, &mut trail).await {
        Ok(response) => response,
        Err(refusal) => {
            if let Some(reason) = refusal.reason() {
                state.metrics.count_refused(reason);
            }
            if let Refusal::Denied(denied) = &refusal {
                state.log.write(&Refused {
                    event: "access-refused",
                    time: Timestamp::now(),
                    peer,
                    method: head.method.as_str(),
                    path: head.uri.path(),
                    status: refusal.status().as_u16(),
                    reason: denied.to_string(),
                    key: trail.caller.as_ref().map(Caller::id),
                });
            }
            refusal.response()
        }
    };
    let is_read = match trail.body {
        Progress::Read => true,
        Progress::Cut => false,
        Progress::Unread(body) if body.is_end_stream() => true,
        // Who waits for a word before sending is not asked to send.
        Progress::Unread(_) if head.headers.contains_key(header::EXPECT) => false,
        Progress::Unread(body) => body::discard(body).await,
    };
    if !is_read {
        // What is left of the body is of no use, so neither is the connection.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        linger.set();
    }
    let status = response.status().as_u16();
    match (&trail.version, trail.route) {
        (Some(version), Some(route)) => version.routes.count(route.name, status, start.elapsed()),
        (None, Some(route)) => state.metrics.count(route.name, status),
        (_, None) => state.metrics.count("none", status),
    }
    response
}

/// The one way to every route: first who calls, then what is there, then whether the caller may.
async fn guarded(
    state: &Arc<State>,
    head: &Parts,
    start: Instant,
    trail: &mut Trail,
) -> Result<Response, Refusal> {
    let found = find(&head.method, head.uri.path());
    if let Found::Route { route, .. } = found {
        trail.route = Some(route);
        if route.needs == Needs::Nothing {
            return without_key(state, route.endpoint);
        }
    }
    let caller = trail
        .caller
        .insert(state.guard.authenticate(&head.headers)?);
    let (route, model, version) = match found {
        Found::Route {
            route,
            model,
            version,
        } => (route, model, version),
        Found::OtherMethod { allowed } => return Err(Refusal::Method { allowed }),
        Found::Nothing => return Err(Refusal::NotFound("no such path".to_owned())),
    };
    if let Needs::KeyFor(action) = route.needs {
        caller.authorize(action, model)?;
    }

    let Some(name) = model else {
        return match route.endpoint {
            Endpoint::Metrics => Ok(metrics_text(state)),
            _ => Ok(oip::server()),
        };
    };
    let version = {
        // Not kept while the request is answered: it holds every version of its time, the request only its own.
        let registry = state.registry.current();
        let no_model = || Refusal::NotFound(format!("no model `{}`", name.escape_debug()));
        let model = registry.model(name).ok_or_else(no_model)?;
        let version = find_version(name, model, version)?.clone();
        trail.version = Some(version.clone());
        if let Endpoint::Model = route.endpoint {
            return Ok(oip::model(model, &version));
        }
        version
    };
    match route.endpoint {
        Endpoint::ModelReady => Ok(oip::model_ready(&version)),
        Endpoint::Infer => {
            oip::infer(state, asked(state, head, trail, version, start).await?).await
        }
        Endpoint::Explain => {
            explain::explain(state, asked(state, head, trail, version, start).await?).await
        }
        Endpoint::Live
        | Endpoint::Ready
        | Endpoint::Server
        | Endpoint::Model
        | Endpoint::Metrics => Err(Refusal::Internal("the table of routes is wrong")),
    }
}

/// What needs no key. Anything else that the table says so of by mistake stays closed.
fn without_key(state: &State, endpoint: Endpoint) -> Result<Response, Refusal> {
    match endpoint {
        Endpoint::Live => Ok(json(r#"{"live":true}"#)),
        Endpoint::Ready if state.is_ready() => Ok(json(r#"{"ready":true}"#)),
        Endpoint::Ready => Err(Refusal::Busy("the server is stopping")),
        _ => Err(Refusal::Internal("the table of routes is wrong")),
    }
}

fn find_version<'a>(
    name: &str,
    model: &'a Model,
    named: Option<&str>,
) -> Result<&'a Arc<Version>, Refusal> {
    let named_or = named.unwrap_or("");
    let missing = || {
        Refusal::NotFound(format!(
            "no version `{}` of model `{name}`",
            named_or.escape_debug()
        ))
    };
    model.version(named).ok_or_else(missing)
}

async fn asked(
    state: &State,
    head: &Parts,
    trail: &mut Trail,
    version: Arc<Version>,
    start: Instant,
) -> Result<Asked, Refusal> {
    let deadline = start + time_allowed(&head.headers, state.limits.request_time)?;
    let json_bytes = json_bytes(&head.headers)?;
    body::check_encoding(&head.headers)?;
    let Progress::Unread(body) = std::mem::replace(&mut trail.body, Progress::Cut) else {
        return Err(Refusal::Internal("the body was read before"));
    };
    let read = body::read(body, &state.limits, &state.bodies);
    let body = timeout_at(deadline.into(), read)
        .await
        .unwrap_or(Err(Refusal::Overdue))?;
    trail.body = Progress::Read;
    Ok(Asked {
        version,
        json_bytes,
        body,
        deadline,
    })
}

fn time_allowed(headers: &HeaderMap, limit: Duration) -> Result<Duration, Refusal> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(limit);
    };
    let wrong = || {
        Refusal::Malformed(format!(
            "{TIMEOUT_HEADER}: expected a number of milliseconds"
        ))
    };
    let milliseconds = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    Ok(Duration::from_millis(milliseconds).min(limit))
}

/// The number of bytes before binary tensors, if the request says that it has some.
fn json_bytes(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(oip::HEADER_LENGTH) else {
        return Ok(None);
    };
    let wrong = || {
        Refusal::Malformed(format!(
            "{}: expected a number of bytes",
            oip::HEADER_LENGTH
        ))
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(wrong)
}

fn metrics_text(state: &State) -> Response {
    let mut response = json(state.metrics.text());
    let text = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
