//! Spans by OpenTelemetry, sent by OTLP over HTTP.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hyper::Uri;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use super::Exchange;
use crate::{ServeError, http::traceparent};

/// How long an end waits for what was not sent yet.
const END: Duration = Duration::from_secs(5);

/// Of an answer of what takes spans; it says nothing that is needed.
const MOST_ANSWER: u64 = 1 << 20;

/// Sends spans to where the environment says, from a thread of its own; those that find too many others before them are
/// lost.
pub(super) struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    parents: TraceContextPropagator,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the exporter, whose headers may hold credentials.
        f.write_str("Spans")
    }
}

impl Spans {
    /// With the settings of the standard variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and their like.
    pub(super) fn start() -> Result<Self, ServeError> {
        check_addresses()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .build()
            .map_err(|error| ServeError::Telemetry(error.to_string()))?;
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let resource = Resource::builder();
        let resource = if named {
            resource
        } else {
            resource.with_service_name("strata")
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let scope = InstrumentationScope::builder("strata")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            parents: TraceContextPropagator::new(),
        })
    }

    pub(super) fn record(&self, exchange: &Exchange<'_>, end: SystemTime) {
        let parent = match traceparent(exchange.headers) {
            Some(_) => self.parents.extract(&HeaderExtractor(exchange.headers)),
            None => Context::new(),
        };
        let began = end - exchange.all;
        let route = exchange.route.unwrap_or("");
        let method = known(exchange.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.response.status_code", i64::from(exchange.status)),
            KeyValue::new("client.address", exchange.peer.ip().to_string()),
        ];
        if exchange.protocol == "grpc" {
            attributes.push(KeyValue::new("rpc.system", "grpc"));
        }
        if let Some(route) = exchange.route {
            attributes.push(KeyValue::new("http.route", route));
        }
        if let Some(key) = exchange.key {
            attributes.push(KeyValue::new("strata.key", key.to_owned()));
        }
        if let Some(version) = exchange.version {
            attributes.push(KeyValue::new("strata.model", version.name.to_string()));
            attributes.push(KeyValue::new("strata.version", version.number.to_string()));
            attributes.push(KeyValue::new("strata.digest", version.digest.to_string()));
        }
        let mut span = SpanBuilder::from_name(format!("{method} {route}").trim_end().to_owned())
            .with_kind(SpanKind::Server)
            .with_start_time(began)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        if exchange.status >= 500 {
            span.set_status(Status::error(""));
        }
        let of_parts = parent.with_remote_span_context(span.span_context().clone());
        span.end_with_timestamp(end);
        let Some(took) = exchange.took else { return };
        // What lies between the parts is short, so they are drawn one after the other up to the end.
        let parts = [
            ("prepare", took.input),
            ("queue", took.queue),
            ("compute", took.compute),
            ("encode", took.output),
        ];
        let all: Duration = parts.iter().map(|(_, took)| *took).sum();
        let mut start = end - all.min(exchange.all);
        for (name, took) in parts {
            let mut part = SpanBuilder::from_name(name)
                .with_kind(SpanKind::Internal)
                .with_start_time(start)
                .start_with_context(&self.tracer, &of_parts);
            start += took;
            part.end_with_timestamp(start.min(end));
        }
    }

    pub(super) fn end(&self) {
        // What takes spans may be gone, which is nothing to this server.
        let _ = self.provider.shutdown_with_timeout(END);
    }
}

/// An address that cannot be understood would be passed over for another one.
fn check_addresses() -> Result<(), ServeError> {
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ] {
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let address = value.to_str().and_then(|text| text.parse::<Uri>().ok());
        let is_good = |address: Uri| {
            matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some()
        };
        if !address.is_some_and(is_good) {
            // Without the value, which may hold a credential.
            let problem =
                format!("{name}: expected an address that begins with http:// or https://");
            return Err(ServeError::Telemetry(problem));
        }
    }
    Ok(())
}

/// A method as spans have it: any other than the standard's is one, so that callers cannot make names.
fn known(method: &str) -> &'static str {
    const ALL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    ALL.into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}

/// What carries spans. It blocks, in the thread that has nothing else to do.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Self(config.into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut post = self.0.post(head.uri.to_string());
        for (name, value) in &head.headers {
            post = post.header(name, value);
        }
        let mut answer = post.send(&body[..])?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(MOST_ANSWER);
        let body = Bytes::from(body.read_to_vec()?);
        Ok(Response::builder().status(status).body(body)?)
    }
}
