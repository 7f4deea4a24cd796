use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use tokio::time::timeout_at;
use tonic::{Code, Status, body::Body};
use tonic_health::pb::health_server::HealthServer;

use super::{
    arriving::Arriving,
    calls::Inference,
    health::Health,
    packed::Packed,
    pb::{self, grpc_inference_service_server::GrpcInferenceServiceServer},
    status::{ENCODING, http_status, status},
    table::{CALLS, Call, HEALTH, INFERENCE, REFLECTION, REFLECTION_ALPHA, WATCH},
};
use crate::{
    access::{Caller, Turn},
    http::{
        Coding, Origin, REQUEST_ID, Refusal, Share, State, TRACEPARENT, request_id, traceparent,
    },
    observe::{Exchange, LEFT},
    rollout::Routed,
    runtime::{Took, Version},
};

/// What answers, by the start of a path.
#[derive(Clone)]
pub(crate) struct Service(Arc<Vec<(&'static str, Handler)>>);

type Handler = Box<
    dyn Fn(Request<Arriving>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync,
>;

/// A call that was let in.
pub(crate) struct Ongoing {
    state: Arc<State>,
    peer: SocketAddr,
    call: &'static Call,
    /// None where none is needed.
    caller: Option<Caller>,
    /// Held until the call is answered.
    _turn: Option<Turn>,
    /// Those by which the caller names its request.
    headers: HeaderMap,
    /// The caller's own limit, if it has one.
    until: Option<Instant>,
    deadline: Instant,
    /// Of the first message, if it names one.
    version: OnceLock<Arc<Version>>,
    /// What the parts of its answer took.
    took: OnceLock<Arc<OnceLock<Took>>>,
    /// Something of this program failed.
    fault: OnceLock<()>,
}

impl Ongoing {
    /// The one that a request belongs to.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Arc<Self>, Status> {
        let ongoing = request.extensions().get::<Arc<Self>>().cloned();
        // Whatever came by another way than `answer` is not let in.
        ongoing.ok_or_else(|| Status::internal("the call was not checked"))
    }

    pub(crate) fn caller(&self) -> Result<&Caller, Refusal> {
        let nobody = || Refusal::Internal("the table of calls is wrong");
        self.caller.as_ref().ok_or_else(nobody)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Of a message of a stream that arrives now.
    pub(crate) fn next_deadline(&self) -> Instant {
        let own = Instant::now() + self.state.limits.request_time;
        self.until.map_or(own, |until| until.min(own))
    }

    /// The call is counted with this version.
    pub(crate) fn found(&self, version: &Arc<Version>) {
        let _ = self.version.set(version.clone());
    }

    /// The call is told of with what its answer took.
    pub(crate) fn routed(&self, routed: &Routed) {
        let _ = self.took.set(routed.took.clone());
    }

    /// Counts and logs a refusal; what the caller is told.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Status {
        let origin = Origin {
            peer: self.peer,
            method: "POST",
            path: self.call.path,
            headers: &self.headers,
        };
        self.state.note(refusal, &origin, self.caller.as_ref());
        if refusal.status().is_server_error() {
            let _ = self.fault.set(());
        }
        status(refusal)
    }
}

impl Service {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        let limit = state.limits.body_bytes;
        let inference = GrpcInferenceServiceServer::new(Inference(state.clone()))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX);
        let health = HealthServer::new(Health(state.clone())).max_decoding_message_size(4096);
        let mut all = vec![(INFERENCE, handler(inference)), (HEALTH, handler(health))];
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Fails if what is committed describes no service; a test reads it.
        if let Ok(service) = describe().build_v1() {
            all.push((REFLECTION, handler(service.max_decoding_message_size(4096))));
        }
        if let Ok(service) = describe().build_v1alpha() {
            all.push((
                REFLECTION_ALPHA,
                handler(service.max_decoding_message_size(4096)),
            ));
        }
        Self(Arc::new(all))
    }
}

fn handler<S>(service: S) -> Handler
where
    S: tonic::codegen::Service<
            Request<Arriving>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    Box::new(move |request| {
        let answer = service.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}

/// Whether a request is for a call that only listens, as long as it likes.
pub(crate) fn only_listens<B>(request: &Request<B>) -> bool {
    request.uri().path() == WATCH
}

/// Answers one call, and counts it.
pub(crate) async fn answer(
    service: &Service,
    state: &Arc<State>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let start = Instant::now();
    state.observer.name(request.headers_mut());
    let path = request.uri().path();
    let call = CALLS.iter().find(|call| call.path == path);
    let mut caller = None;
    let let_in = let_in(state, call, request.headers(), &mut caller);
    let let_in = let_in.and_then(|(call, until, coding)| {
        let turn = caller.as_ref().map(|caller| state.turns.take(caller));
        match turn {
            Some(None) => Err(Refusal::TooMany),
            turn => Ok((call, until, coding, turn.flatten())),
        }
    });
    let (call, until, coding, turn) = match let_in {
        Ok(let_in) => let_in,
        Err(refusal) => {
            let origin = Origin {
                peer,
                method: request.method().as_str(),
                path,
                headers: request.headers(),
            };
            state.note(&refusal, &origin, caller.as_ref());
            let counted = refusal.status().as_u16();
            let status = match refusal {
                // As gRPC has it for calls that do not exist.
                Refusal::NotFound(problem) => Status::unimplemented(problem),
                refusal => status(&refusal),
            };
            let name = call.map_or("none", |call| call.name);
            state.metrics.count(name, counted);
            state.observer.note(&Exchange {
                protocol: "grpc",
                peer,
                method: "POST",
                route: call.map(|call| call.path),
                key: caller.as_ref().map(Caller::id),
                version: None,
                status: counted,
                all: start.elapsed(),
                took: None,
                headers: request.headers(),
            });
            return status.into_http();
        }
    };
    let limit = start + state.limits.request_time;
    let ongoing = Arc::new(Ongoing {
        state: state.clone(),
        peer,
        call,
        caller,
        _turn: turn,
        headers: named(request.headers()),
        until,
        deadline: until.map_or(limit, |until| until.min(limit)),
        version: OnceLock::new(),
        took: OnceLock::new(),
        fault: OnceLock::new(),
    });
    // Its part of the budget is given back with the answer.
    let share = Arc::new(Mutex::new(Share::new(&state.bodies)));
    let mut request = request.map(|body| Arriving::new(body, state, &share, call, coding));
    // Unpacked above, and packed below.
    request.headers_mut().remove(ENCODING);
    request.extensions_mut().insert(ongoing.clone());
    let handler = service
        .0
        .iter()
        .find(|(start, _)| call.path.starts_with(start));
    let mut answering = Answering {
        ongoing: &ongoing,
        start,
        status: LEFT,
    };
    let mut response = match handler {
        Some((_, handler)) => timeout_at(ongoing.deadline.into(), handler(request))
            .await
            .unwrap_or_else(|_| ongoing.refused(&Refusal::Overdue).into_http()),
        None => Status::unimplemented("no such call").into_http(),
    };
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let named = match code {
        // A message over the limit, which has another name everywhere else.
        Code::OutOfRange => Code::ResourceExhausted,
        // No message, or a broken one: Tonic's codec takes it for the server's own fault.
        Code::Internal if ongoing.fault.get().is_none() => Code::InvalidArgument,
        code => code,
    };
    if named != code {
        let value = HeaderValue::from(i32::from(named));
        response.headers_mut().insert("grpc-status", value);
    }
    let code = named;
    if let Some(coding) = coding.filter(|_| code == Code::Ok) {
        let name = HeaderValue::from_static(coding.name());
        response.headers_mut().insert(ENCODING, name);
        response = response.map(|body| Body::new(Packed::new(body, coding)));
    }
    response.headers_mut().extend(ongoing.headers.clone());
    let counted = http_status(code);
    let all = start.elapsed();
    match ongoing.version.get() {
        Some(version) => version.routes.count(call.name, counted, all),
        None => state.metrics.count(call.name, counted),
    }
    answering.status = counted;
    response
}

/// A call that is being answered. When this is dropped, others are told of it; if it was not answered by then, its caller
/// left.
struct Answering<'a> {
    ongoing: &'a Ongoing,
    start: Instant,
    status: u16,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let ongoing = self.ongoing;
        ongoing.state.observer.note(&Exchange {
            protocol: "grpc",
            peer: ongoing.peer,
            method: "POST",
            route: Some(ongoing.call.path),
            key: ongoing.caller.as_ref().map(Caller::id),
            version: ongoing.version.get().map(|version| &**version),
            status: self.status,
            all: self.start.elapsed(),
            took: ongoing.took.get().and_then(|took| took.get()),
            headers: &ongoing.headers,
        });
    }
}

/// The headers by which a caller names its request.
fn named(headers: &HeaderMap) -> HeaderMap {
    let named = [
        (TRACEPARENT, traceparent(headers)),
        (REQUEST_ID, request_id(headers)),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?.clone())));
    named.collect()
}

/// The one way to every call: first who calls, then what is there, then whether the caller may. Whether it may do so to a
/// model is known when the message was read.
fn let_in(
    state: &State,
    call: Option<&'static Call>,
    headers: &HeaderMap,
    known: &mut Option<Caller>,
) -> Result<(&'static Call, Option<Instant>, Option<Coding>), Refusal> {
    if call.is_none_or(|call| call.needs.is_some()) {
        let caller = known.insert(state.guard.authenticate(headers)?);
        if let Some(action) = call.and_then(|call| call.needs) {
            caller.authorize(action, None)?;
        }
    }
    let call = call.ok_or_else(|| Refusal::NotFound("no such call".to_owned()))?;
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if !headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(Refusal::Malformed(
            "expected content of type application/grpc".to_owned(),
        ));
    }
    let time = time_allowed(headers)?;
    let until = time.and_then(|time| Instant::now().checked_add(time));
    let coding = Coding::of(headers, ENCODING)?;
    Ok((call, until, coding))
}

/// `grpc-timeout`: at most 8 digits and a unit.
fn time_allowed(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let parse = |text: &str| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let is_short = (1..=8).contains(&digits.len());
        let is_number = is_short && digits.bytes().all(|digit| digit.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_number)?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let wrong = || {
        Refusal::Malformed(
            "grpc-timeout: expected up to 8 digits and one of H, M, S, m, u, n".to_owned(),
        )
    };
    let time = value.to_str().ok().and_then(parse);
    time.map(Some).ok_or_else(wrong)
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.0.iter().map(|(path, _)| path);
        f.debug_list().entries(paths).finish()
    }
}
