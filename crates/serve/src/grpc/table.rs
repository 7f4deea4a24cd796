//! The calls, what they need, and what their messages may hold.

use super::{Bound, Bounded, pb};
use crate::Action;

/// One call, or all calls of a service.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name in metrics: that of the route that does the same.
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    /// None for what watches over the server, such as an orchestrator.
    pub(crate) needs: Option<Action>,
    /// Whether it goes on after its first answer.
    pub(crate) is_stream: bool,
}

pub(crate) const INFERENCE: &str = "/inference.GRPCInferenceService/";
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/";
/// May go on as long as its connection does: that its caller is there is shown by the answers to pings.
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(crate) const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/";
pub(crate) const REFLECTION_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

use Action::{Infer, Load, Metadata};

/// All calls. Each one is compared in this order, so the most frequent come first.
pub(crate) static CALLS: [Call; 15] = [
    call(
        "infer",
        "/inference.GRPCInferenceService/ModelInfer",
        Some(Infer),
    ),
    stream(
        "infer",
        "/inference.GRPCInferenceService/ModelStreamInfer",
        Some(Infer),
    ),
    call("live", "/inference.GRPCInferenceService/ServerLive", None),
    call("ready", "/inference.GRPCInferenceService/ServerReady", None),
    call(
        "model-ready",
        "/inference.GRPCInferenceService/ModelReady",
        Some(Metadata),
    ),
    call(
        "server",
        "/inference.GRPCInferenceService/ServerMetadata",
        Some(Metadata),
    ),
    call(
        "model",
        "/inference.GRPCInferenceService/ModelMetadata",
        Some(Metadata),
    ),
    call(
        "statistics",
        "/inference.GRPCInferenceService/ModelStatistics",
        Some(Metadata),
    ),
    call(
        "repository-index",
        "/inference.GRPCInferenceService/RepositoryIndex",
        Some(Metadata),
    ),
    call(
        "load",
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        Some(Load),
    ),
    call(
        "unload",
        "/inference.GRPCInferenceService/RepositoryModelUnload",
        Some(Load),
    ),
    call("ready", "/grpc.health.v1.Health/Check", None),
    stream("ready", WATCH, None),
    stream(
        "reflection",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Some(Metadata),
    ),
    stream(
        "reflection",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Some(Metadata),
    ),
];

const fn call(name: &'static str, path: &'static str, needs: Option<Action>) -> Call {
    Call {
        name,
        path,
        needs,
        is_stream: false,
    }
}

const fn stream(name: &'static str, path: &'static str, needs: Option<Action>) -> Call {
    Call {
        name,
        path,
        needs,
        is_stream: true,
    }
}

const fn bound(field: u32, name: &'static str, most: usize) -> Bound {
    Bound {
        field,
        name,
        most,
        longest: usize::MAX,
        inner: &[],
    }
}

/// As in JSON; a tensor has fewer sides, and they are short.
const MOST: usize = 16;
const MOST_TEXTS: usize = 1 << 16;

const CONTENTS: [Bound; 1] = [bound(8, "bytes_contents", MOST_TEXTS)];
const INPUT: [Bound; 3] = [
    Bound {
        longest: 10 * MOST,
        ..bound(3, "shape", MOST)
    },
    bound(4, "parameters", MOST),
    Bound {
        inner: &CONTENTS,
        ..bound(5, "contents", 1)
    },
];
const OUTPUT: [Bound; 1] = [bound(2, "parameters", MOST)];

impl Bounded for pb::ModelInferRequest {
    const BOUNDS: &'static [Bound] = &[
        bound(4, "parameters", MOST),
        Bound {
            inner: &INPUT,
            ..bound(5, "inputs", MOST)
        },
        Bound {
            inner: &OUTPUT,
            ..bound(6, "outputs", MOST)
        },
        bound(7, "raw_input_contents", MOST),
    ];
}

impl Bounded for pb::RepositoryModelLoadRequest {
    const BOUNDS: &'static [Bound] = &[bound(3, "parameters", MOST)];
}

impl Bounded for pb::RepositoryModelUnloadRequest {
    const BOUNDS: &'static [Bound] = &[bound(3, "parameters", MOST)];
}

impl Bounded for pb::ServerLiveRequest {}
impl Bounded for pb::ServerReadyRequest {}
impl Bounded for pb::ModelReadyRequest {}
impl Bounded for pb::ServerMetadataRequest {}
impl Bounded for pb::ModelMetadataRequest {}
impl Bounded for pb::ModelStatisticsRequest {}
impl Bounded for pb::RepositoryIndexRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_is_open() {
        let open: Vec<_> = CALLS
            .iter()
            .filter(|call| call.needs.is_none())
            .map(|call| call.path)
            .collect();
        assert_eq!(
            open,
            [
                "/inference.GRPCInferenceService/ServerLive",
                "/inference.GRPCInferenceService/ServerReady",
                "/grpc.health.v1.Health/Check",
                "/grpc.health.v1.Health/Watch",
            ]
        );
    }

    #[test]
    fn a_call_is_counted_by_a_routes_name() {
        for call in CALLS.iter().filter(|call| call.name != "reflection") {
            let mut routes = crate::http::ROUTES.iter();
            assert!(routes.any(|route| route.name == call.name), "{}", call.path);
        }
    }
}
