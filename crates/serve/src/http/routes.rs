use hyper::Method;

use crate::Action;

/// One route of the server.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in metrics.
    pub(crate) name: &'static str,
    /// `GET` also stands for `HEAD`.
    pub(crate) method: Method,
    /// `{model}`, `{version}` and `{label}` stand for one segment each without what follows them there.
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) endpoint: Endpoint,
}

/// What a caller needs for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// No key: for what watches over the server, such as an orchestrator.
    Nothing,
    /// A key that allows this, for the route's model if it has one.
    KeyFor(Action),
}

/// What answers a route.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Endpoint {
    Live,
    Ready,
    Server,
    Model,
    ModelReady,
    Infer,
    Explain,
    Metrics,
    Statistics,
    Index,
    Load,
    Unload,
    Status,
    SignatureMetadata,
    Predict,
    Classify,
    Regress,
    Models,
    ExplainInstances,
    Alive,
    OpenApi,
    ServerStatus,
    Rollouts,
    Rollout,
}

impl Endpoint {
    /// Whether it gives what a network makes of rows.
    pub(crate) fn is_question(self) -> bool {
        matches!(
            self,
            Self::Infer | Self::Explain | Self::Predict | Self::Classify | Self::ExplainInstances
        )
    }
}

/// All routes. The most frequent ones come first, since they are compared in this order.
pub(crate) static ROUTES: [Route; 43] = [
    post(
        "infer",
        "/v2/models/{model}/infer",
        Action::Infer,
        Endpoint::Infer,
    ),
    post(
        "infer",
        "/v2/models/{model}/versions/{version}/infer",
        Action::Infer,
        Endpoint::Infer,
    ),
    post(
        "predict",
        "/v1/models/{model}:predict",
        Action::Infer,
        Endpoint::Predict,
    ),
    post(
        "predict",
        "/v1/models/{model}/versions/{version}:predict",
        Action::Infer,
        Endpoint::Predict,
    ),
    post(
        "predict",
        "/v1/models/{model}/labels/{label}:predict",
        Action::Infer,
        Endpoint::Predict,
    ),
    post(
        "classify",
        "/v1/models/{model}:classify",
        Action::Infer,
        Endpoint::Classify,
    ),
    post(
        "classify",
        "/v1/models/{model}/versions/{version}:classify",
        Action::Infer,
        Endpoint::Classify,
    ),
    post(
        "classify",
        "/v1/models/{model}/labels/{label}:classify",
        Action::Infer,
        Endpoint::Classify,
    ),
    post(
        "regress",
        "/v1/models/{model}:regress",
        Action::Infer,
        Endpoint::Regress,
    ),
    post(
        "regress",
        "/v1/models/{model}/versions/{version}:regress",
        Action::Infer,
        Endpoint::Regress,
    ),
    post(
        "regress",
        "/v1/models/{model}/labels/{label}:regress",
        Action::Infer,
        Endpoint::Regress,
    ),
    open("live", "/v2/health/live", Endpoint::Live),
    open("ready", "/v2/health/ready", Endpoint::Ready),
    post(
        "explain",
        "/v2/models/{model}/explain",
        Action::Explain,
        Endpoint::Explain,
    ),
    post(
        "explain",
        "/v2/models/{model}/versions/{version}/explain",
        Action::Explain,
        Endpoint::Explain,
    ),
    // Before the routes of models: one whose name is `stats` is found by its versions.
    get(
        "statistics",
        "/v2/models/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    get("server", "/v2", Action::Metadata, Endpoint::Server),
    get("server", "/v2/", Action::Metadata, Endpoint::Server),
    get(
        "model",
        "/v2/models/{model}",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/versions/{version}",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/versions/{version}/",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model-ready",
        "/v2/models/{model}/ready",
        Action::Metadata,
        Endpoint::ModelReady,
    ),
    get(
        "model-ready",
        "/v2/models/{model}/versions/{version}/ready",
        Action::Metadata,
        Endpoint::ModelReady,
    ),
    get("metrics", "/metrics", Action::Metrics, Endpoint::Metrics),
    get(
        "statistics",
        "/v2/models/{model}/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    get(
        "statistics",
        "/v2/models/{model}/versions/{version}/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    post(
        "repository-index",
        "/v2/repository/index",
        Action::Metadata,
        Endpoint::Index,
    ),
    get(
        "model-status",
        "/v1/models/{model}",
        Action::Metadata,
        Endpoint::Status,
    ),
    get(
        "model-status",
        "/v1/models/{model}/versions/{version}",
        Action::Metadata,
        Endpoint::Status,
    ),
    get(
        "model-status",
        "/v1/models/{model}/labels/{label}",
        Action::Metadata,
        Endpoint::Status,
    ),
    get(
        "signature-metadata",
        "/v1/models/{model}/metadata",
        Action::Metadata,
        Endpoint::SignatureMetadata,
    ),
    get(
        "signature-metadata",
        "/v1/models/{model}/versions/{version}/metadata",
        Action::Metadata,
        Endpoint::SignatureMetadata,
    ),
    get(
        "signature-metadata",
        "/v1/models/{model}/labels/{label}/metadata",
        Action::Metadata,
        Endpoint::SignatureMetadata,
    ),
    get("models", "/v1/models", Action::Metadata, Endpoint::Models),
    post(
        "explain",
        "/v1/models/{model}:explain",
        Action::Explain,
        Endpoint::ExplainInstances,
    ),
    open("live", "/", Endpoint::Alive),
    get(
        "openapi",
        "/openapi.json",
        Action::Metadata,
        Endpoint::OpenApi,
    ),
    get(
        "server-status",
        "/api/v1/status",
        Action::Metadata,
        Endpoint::ServerStatus,
    ),
    get(
        "rollouts",
        "/api/v1/rollouts",
        Action::Metadata,
        Endpoint::Rollouts,
    ),
    get(
        "rollouts",
        "/api/v1/rollouts/{model}",
        Action::Metadata,
        Endpoint::Rollout,
    ),
    post(
        "load",
        "/v2/repository/models/{model}/load",
        Action::Load,
        Endpoint::Load,
    ),
    post(
        "unload",
        "/v2/repository/models/{model}/unload",
        Action::Load,
        Endpoint::Unload,
    ),
];

/// Method and path of every route, such as `("POST", "/v2/models/{model}/infer")`, for documents and tests.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES
        .iter()
        .map(|route| (route.method.as_str(), route.path))
}

const fn open(name: &'static str, path: &'static str, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::GET,
        path,
        needs: Needs::Nothing,
        endpoint,
    }
}

const fn get(name: &'static str, path: &'static str, action: Action, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::GET,
        path,
        needs: Needs::KeyFor(action),
        endpoint,
    }
}

const fn post(name: &'static str, path: &'static str, action: Action, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::POST,
        path,
        needs: Needs::KeyFor(action),
        endpoint,
    }
}
