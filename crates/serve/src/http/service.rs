use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{HeaderMap, Request, body::Incoming};
use jiff::Timestamp;

use super::{
    Asked, Refusal, Response, body, json,
    routes::{Endpoint, Found, Needs, Route, find},
    state::State,
};
use crate::{
    access::{Caller, Refused},
    explain, metrics, oip,
    runtime::{Model, Version},
};

/// Milliseconds that a caller is ready to wait.
const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// Where a request got to before it was answered or refused.
#[derive(Default)]
struct Trail {
    route: Option<&'static Route>,
    version: Option<Arc<Version>>,
    caller: Option<Caller>,
}

/// Answers one request, and counts it.
pub(crate) async fn answer(
    state: &Arc<State>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response {
    let start = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut trail = Trail::default();
    let response = match guarded(state, request, start, &mut trail).await {
        Ok(response) => response,
        Err(refusal) => {
            if let Some(reason) = refusal.reason() {
                state.metrics.count_refused(reason);
            }
            if let Refusal::Denied(denied) = &refusal {
                state.log.write(Refused {
                    event: "access-refused",
                    time: Timestamp::now(),
                    peer,
                    method: method.as_str(),
                    path: uri.path(),
                    status: refusal.status().as_u16(),
                    reason: denied.to_string(),
                    key: trail.caller.as_ref().map(Caller::id),
                });
            }
            refusal.response()
        }
    };
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
    request: Request<Incoming>,
    start: Instant,
    trail: &mut Trail,
) -> Result<Response, Refusal> {
    let found = find(request.method(), request.uri().path());
    if let Found::Route { route, .. } = found {
        trail.route = Some(route);
        if route.needs == Needs::Nothing {
            return without_key(state, route.endpoint);
        }
    }
    let caller = trail
        .caller
        .insert(state.guard.authenticate(request.headers())?);
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
    let no_model = || Refusal::NotFound(format!("no model `{}`", name.escape_debug()));
    let model = state.registry.model(name).ok_or_else(no_model)?;
    let version = find_version(name, model, version)?.clone();
    trail.version = Some(version.clone());
    match route.endpoint {
        Endpoint::Model => Ok(oip::model(model, &version)),
        Endpoint::ModelReady => Ok(oip::model_ready(&version)),
        Endpoint::Infer => oip::infer(state, asked(state, request, version, start).await?).await,
        Endpoint::Explain => {
            explain::explain(state, asked(state, request, version, start).await?).await
        }
        Endpoint::Live | Endpoint::Ready | Endpoint::Server | Endpoint::Metrics => {
            Err(Refusal::Internal("the table of routes is wrong"))
        }
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
    state: &Arc<State>,
    request: Request<Incoming>,
    version: Arc<Version>,
    start: Instant,
) -> Result<Asked, Refusal> {
    let (head, body) = request.into_parts();
    let deadline = start + time_allowed(&head.headers, state.limits.request_time)?;
    let body = body::read(body, &head.headers, &state.limits, &state.bodies).await?;
    Ok(Asked {
        version,
        headers: head.headers,
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

fn metrics_text(state: &State) -> Response {
    let mut response = json(state.metrics.text());
    let text = hyper::header::HeaderValue::from_static(metrics::CONTENT_TYPE);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, text);
    response
}
