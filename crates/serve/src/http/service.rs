use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Request,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use tokio::time::timeout_at;

use super::{
    Asked, Body, Coding, Refusal, Response, body,
    coding::{self, unpack},
    find::{Found, Named, find},
    json,
    routes::{Endpoint, Needs, Route},
    state::{Origin, State},
    stream::Linger,
    trace,
};
use crate::{
    access::{Caller, Turn},
    explain, kserve, metrics,
    observe::{Exchange, LEFT},
    oip, openapi,
    rollout::{self, Routed},
    runtime::{Asleep, Registry, Took, Version},
    status, tfserving,
};

/// Milliseconds that a caller is ready to wait.
const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// A request that is being answered. When this is dropped, others are told of it; if it was not answered by then, its caller
/// left.
struct Answering<'a> {
    state: &'a State,
    peer: SocketAddr,
    start: Instant,
    head: &'a Parts,
    trail: Trail,
    status: u16,
}

/// Where a request got to before it was answered or refused.
struct Trail {
    route: Option<&'static Route>,
    version: Option<Arc<Version>>,
    caller: Option<Caller>,
    /// Held until the request is answered.
    turn: Option<Turn>,
    /// What the parts took, once a network answered.
    took: Option<Arc<OnceLock<Took>>>,
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
    let (mut head, body) = request.into_parts();
    state.observer.name(&mut head.headers);
    let mut answering = Answering {
        state,
        peer,
        start,
        head: &head,
        trail: Trail {
            route: None,
            version: None,
            caller: None,
            turn: None,
            took: None,
            body: Progress::Unread(body),
        },
        status: LEFT,
    };
    let trail = &mut answering.trail;
    let mut response = match guarded(state, &head, start, trail).await {
        Ok(response) => response,
        Err(refusal) => {
            let origin = Origin {
                peer,
                method: head.method.as_str(),
                path: head.uri.path(),
                headers: &head.headers,
            };
            state.note(&refusal, &origin, trail.caller.as_ref());
            refusal.response()
        }
    };
    response = coding::packed(state, &head.headers, response).await;
    let echoed = [
        (trace::TRACEPARENT, trace::traceparent(&head.headers)),
        (trace::REQUEST_ID, trace::request_id(&head.headers)),
    ];
    for (name, value) in echoed {
        if let Some(value) = value {
            response.headers_mut().insert(name, value.clone());
        }
    }
    let is_read = match std::mem::replace(&mut trail.body, Progress::Cut) {
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
    let (status, all) = (response.status().as_u16(), start.elapsed());
    match (&trail.version, trail.route) {
        (Some(version), Some(route)) => version.routes.count(route.name, status, all),
        (None, Some(route)) => state.metrics.count(route.name, status),
        (_, None) => state.metrics.count("none", status),
    }
    answering.status = status;
    response
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let Self { head, trail, .. } = self;
        self.state.observer.note(&Exchange {
            protocol: "http",
            peer: self.peer,
            method: head.method.as_str(),
            route: trail.route.map(|route| route.path),
            key: trail.caller.as_ref().map(Caller::id),
            version: trail.version.as_deref(),
            status: self.status,
            all: self.start.elapsed(),
            took: trail.took.as_ref().and_then(|took| took.get()),
            headers: &head.headers,
        });
    }
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
    let (route, model, named) = match found {
        Found::Route {
            route,
            model,
            named,
        } => (route, model, named),
        Found::OtherMethod { allowed } => return Err(Refusal::Method { allowed }),
        Found::Nothing => return Err(Refusal::NotFound("no such path".to_owned())),
    };
    if let Needs::KeyFor(action) = route.needs {
        caller.authorize(action, model)?;
    }
    trail.turn = Some(state.turns.take(caller).ok_or(Refusal::TooMany)?);

    let Some(name) = model else {
        return match route.endpoint {
            Endpoint::Server => Ok(oip::server()),
            Endpoint::Models => Ok(kserve::models(state, caller)),
            Endpoint::OpenApi => Ok(openapi::document()),
            Endpoint::Rollouts => Ok(rollout::reports(state, caller)),
            Endpoint::Metrics => Ok(metrics_text(state)),
            Endpoint::ServerStatus => Ok(status::status(state, caller)),
            Endpoint::Statistics => {
                let registry = state.registry.current();
                Ok(oip::statistics(&covered(&registry, caller)))
            }
            Endpoint::Index => {
                let caller = caller.clone();
                let (body, _) = read_body(state, head, 0, trail, start).await?;
                oip::index(state, &caller, &body)
            }
            _ => Err(Refusal::Internal("the table of routes is wrong")),
        };
    };
    if let Endpoint::Load | Endpoint::Unload = route.endpoint {
        let (body, deadline) = read_body(state, head, 0, trail, start).await?;
        let done = async {
            match route.endpoint {
                Endpoint::Load => oip::load(state, name, &body).await,
                _ => oip::unload(state, name, &body).await,
            }
        };
        return timeout_at(deadline.into(), done)
            .await
            .unwrap_or(Err(Refusal::Overdue));
    }
    if let Endpoint::Rollout = route.endpoint {
        return rollout::report(state, name);
    }
    let is_asleep = {
        let registry = state.registry.current();
        let asleep = registry.asleep_model(name);
        if let Some(asleep) = asleep
            && let Some(answer) = of_asleep(route.endpoint, &registry, name, named, asleep)?
        {
            return Ok(answer);
        }
        asleep.is_some()
    };
    if is_asleep {
        let deadline = start + time_allowed(&head.headers, state.limits.request_time)?;
        awake(state, name, deadline).await?;
    }
    let found = {
        // Not kept while the request is answered: it holds every version of its time, the request only its own.
        let registry = state.registry.current();
        let found = match named {
            Some(Named::Label(label)) => find_label(&registry, name, label)?,
            Some(Named::Version(version)) => find_version(&registry, name, Some(version))?,
            None => find_version(&registry, name, None)?,
        };
        let routed = if route.endpoint.is_question() {
            let named = named.map(|(Named::Version(named) | Named::Label(named))| named);
            registry.route(found, named, &head.headers, caller.id())
        } else {
            Routed::to(found)
        };
        let found = &routed.version;
        trail.version = Some(found.clone());
        trail.took = Some(Arc::clone(&routed.took));
        match (route.endpoint, registry.model(name)) {
            (Endpoint::Model, Some(model)) => {
                return Ok(oip::model(model, found, &failed(&registry, name)));
            }
            (Endpoint::Status, Some(model)) if named.is_none() => {
                let failed = failed(&registry, name);
                return Ok(tfserving::status(name, states(model.versions()), &failed));
            }
            (Endpoint::Statistics, Some(model)) if named.is_none() => {
                let all: Vec<_> = model.versions().cloned().collect();
                return Ok(oip::statistics(&all));
            }
            _ => routed,
        }
    };
    let version = &found.version;
    match route.endpoint {
        Endpoint::ModelReady => oip::model_ready(version),
        Endpoint::Status => {
            let only = std::slice::from_ref(version).iter();
            Ok(tfserving::status(name, states(only), &[]))
        }
        Endpoint::SignatureMetadata => Ok(tfserving::metadata(version)),
        Endpoint::Regress => Err(tfserving::regress()),
        Endpoint::Predict => {
            tfserving::predict(state, asked(state, head, trail, found, start).await?).await
        }
        Endpoint::Classify => {
            tfserving::classify(state, asked(state, head, trail, found, start).await?).await
        }
        Endpoint::ExplainInstances => {
            kserve::explain(state, asked(state, head, trail, found, start).await?).await
        }
        Endpoint::Statistics => Ok(oip::statistics(std::slice::from_ref(version))),
        Endpoint::Infer => oip::infer(state, asked(state, head, trail, found, start).await?).await,
        Endpoint::Explain => {
            explain::explain(state, asked(state, head, trail, found, start).await?).await
        }
        _ => Err(Refusal::Internal("the table of routes is wrong")),
    }
}

/// Versions, and whether they failed.
fn states<'a>(
    versions: impl Iterator<Item = &'a Arc<Version>>,
) -> impl Iterator<Item = (u64, bool)> {
    versions.map(|version| (version.number, version.batcher.is_broken()))
}

/// What is told of a model without loading it: who watches over models keeps none awake. None for what only a loaded one can
/// tell.
fn of_asleep(
    endpoint: Endpoint,
    registry: &Registry,
    name: &str,
    named: Option<Named<'_>>,
    asleep: &Asleep,
) -> Result<Option<Response>, Refusal> {
    if !matches!(
        endpoint,
        Endpoint::ModelReady | Endpoint::Status | Endpoint::Statistics
    ) {
        return Ok(None);
    }
    let number = match named {
        None => asleep.version(None),
        Some(Named::Version(version)) => asleep.version(Some(version)),
        Some(Named::Label(label)) => asleep.aliases.get(label).copied(),
    };
    let number = number.ok_or_else(|| match named {
        Some(Named::Label(label)) => no_label(name, label),
        Some(Named::Version(version)) => no_version(name, Some(version)),
        None => no_version(name, None),
    })?;
    let numbers = asleep.numbers.iter().copied();
    let numbers = numbers.filter(|other| named.is_none() || *other == number);
    let failed = match named {
        None => failed(registry, name),
        Some(_) => Vec::new(),
    };
    Ok(Some(match endpoint {
        Endpoint::ModelReady => oip::ready(name, number),
        Endpoint::Statistics => oip::no_statistics(name, numbers),
        _ => tfserving::status(name, numbers.map(|number| (number, false)), &failed),
    }))
}

/// The served versions of the models that the caller's key is for, by name and number.
pub(crate) fn covered(registry: &Registry, caller: &Caller) -> Vec<Arc<Version>> {
    let covered = registry
        .versions()
        .filter(|version| caller.covers(version.name.as_str()));
    let mut covered: Vec<_> = covered.cloned().collect();
    covered.sort_by(|a, b| (&a.name, a.number).cmp(&(&b.name, b.number)));
    covered
}

/// What needs no key. Anything else that the table says so of by mistake stays closed.
fn without_key(state: &State, endpoint: Endpoint) -> Result<Response, Refusal> {
    match endpoint {
        Endpoint::Alive => Ok(kserve::alive()),
        Endpoint::Live => Ok(json(r#"{"live":true}"#)),
        Endpoint::Ready if state.is_ready() => Ok(json(r#"{"ready":true}"#)),
        Endpoint::Ready => Err(Refusal::Busy("the server is stopping")),
        _ => Err(Refusal::Internal("the table of routes is wrong")),
    }
}

/// Loads a model that is not in memory.
pub(crate) async fn awake(state: &State, name: &str, deadline: Instant) -> Result<(), Refusal> {
    if !state.registry.current().is_asleep(name) {
        return Ok(());
    }
    let woken = state.repository.wake(&state.registry, name);
    timeout_at(deadline.into(), woken)
        .await
        .unwrap_or(Err(Refusal::Overdue))
}

/// The version that a caller names by number or alias, or the one that answers where none is named.
pub(crate) fn find_version(
    registry: &Registry,
    name: &str,
    named: Option<&str>,
) -> Result<Arc<Version>, Refusal> {
    let Some(model) = registry.model(name) else {
        return Err(if registry.is_failed(name) {
            Refusal::NotServed(format!(
                "model `{name}` cannot be opened; see the server's log"
            ))
        } else {
            Refusal::NotFound(format!("no model `{}`", name.escape_debug()))
        });
    };
    let number = model.named(named);
    let is_named = |number: &u64| named == Some(&number.to_string());
    let number = number.or_else(|| failed(registry, name).into_iter().find(is_named));
    let number = number.ok_or_else(|| no_version(name, named))?;
    let found = model.numbered(number).cloned();
    found.ok_or_else(|| not_served(name, number))
}

/// No other answers in its place.
fn not_served(name: &str, number: u64) -> Refusal {
    Refusal::NotServed(format!(
        "version {number} of model `{name}` cannot be opened; see the server's log"
    ))
}

pub(crate) fn no_version(name: &str, named: Option<&str>) -> Refusal {
    Refusal::NotFound(format!(
        "no version `{}` of model `{name}`",
        named.unwrap_or("").escape_debug()
    ))
}

fn no_label(name: &str, label: &str) -> Refusal {
    Refusal::NotFound(format!(
        "no label `{}` of model `{name}`",
        label.escape_debug()
    ))
}

/// The version that an alias names.
fn find_label(registry: &Registry, name: &str, label: &str) -> Result<Arc<Version>, Refusal> {
    let Some(model) = registry.model(name) else {
        return find_version(registry, name, None);
    };
    let number = model.alias(label).ok_or_else(|| no_label(name, label))?;
    let found = model.numbered(number).cloned();
    found.ok_or_else(|| not_served(name, number))
}

/// The versions of a model that should be served and cannot be.
fn failed(registry: &Registry, name: &str) -> Vec<u64> {
    let failed = registry.failed();
    let own = failed.filter(|(failed, _)| failed.as_str() == name);
    own.map(|(_, version)| version).collect()
}

async fn asked(
    state: &State,
    head: &Parts,
    trail: &mut Trail,
    routed: Routed,
    start: Instant,
) -> Result<Asked, Refusal> {
    let json_bytes = json_bytes(&head.headers)?;
    let tensors = json_bytes.unwrap_or(0);
    let (body, deadline) = read_body(state, head, tensors, trail, start).await?;
    Ok(Asked {
        routed,
        json_bytes,
        body,
        deadline,
    })
}

/// Reads the body, unpacks it, and finds out until when the caller waits. Tensors are from byte `tensors` on, if it has any.
async fn read_body(
    state: &State,
    head: &Parts,
    tensors: usize,
    trail: &mut Trail,
    start: Instant,
) -> Result<(Body, Instant), Refusal> {
    let deadline = start + time_allowed(&head.headers, state.limits.request_time)?;
    let coding = Coding::of(&head.headers, header::CONTENT_ENCODING.as_str())?;
    let Progress::Unread(body) = std::mem::replace(&mut trail.body, Progress::Cut) else {
        return Err(Refusal::Internal("the body was read before"));
    };
    let body = body::read(body, tensors, deadline, &state.limits, &state.bodies).await?;
    trail.body = Progress::Read;
    let Some(coding) = coding else {
        return Ok((body, deadline));
    };
    let limit = state.limits.body_bytes;
    let (packed, _share) = body.into_parts();
    let unpacked = unpack(state, coding, packed, limit, "the body");
    let body = timeout_at(deadline.into(), unpacked)
        .await
        .unwrap_or(Err(Refusal::Overdue))?;
    Ok((body, deadline))
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
    if let Some(cache) = &state.cache {
        state.metrics.cache.set(cache.bytes() as i64);
    }
    let mut response = json(state.metrics.text());
    let text = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
