use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::{
    http::Endpoint,
    oip::{ChangeRequest, IndexRequest, InferRequest},
    tfserving::{ClassifyRequest, PredictRequest},
};

/// What the document says of an endpoint.
pub(super) struct Operation {
    pub(super) summary: &'static str,
    pub(super) tag: &'static str,
    pub(super) request: Option<RequestBody>,
    pub(super) answer: Answer,
}

pub(super) struct RequestBody {
    pub(super) schema: Value,
    pub(super) is_required: bool,
    /// Whether it may hold binary tensors.
    pub(super) is_binary: bool,
}

pub(super) struct Answer {
    pub(super) content_type: &'static str,
    /// None if it never answers with 200.
    pub(super) schema: Option<Value>,
    /// Whether it may hold binary tensors.
    pub(super) is_binary: bool,
    /// Whether the origin is in headers.
    pub(super) has_origin: bool,
    pub(super) may_be_unready: bool,
}

/// The schemas of requests.
pub(super) struct Requests {
    infer: Value,
    index: Value,
    change: Value,
    predict: Value,
    classify: Value,
}

impl Requests {
    pub(super) fn new(generator: &mut SchemaGenerator) -> Self {
        Self {
            infer: generator.subschema_for::<InferRequest>().to_value(),
            index: generator.subschema_for::<IndexRequest>().to_value(),
            change: generator.subschema_for::<ChangeRequest>().to_value(),
            predict: generator.subschema_for::<PredictRequest>().to_value(),
            classify: generator.subschema_for::<ClassifyRequest>().to_value(),
        }
    }
}

const OIP: &str = "Open Inference Protocol";
const REPOSITORY: &str = "Model repository";
const TENSORFLOW: &str = "TensorFlow Serving";
const KSERVE: &str = "KServe V1";
const STRATA: &str = "Strata";

pub(super) fn operation(endpoint: Endpoint, requests: &Requests) -> Operation {
    match endpoint {
        Endpoint::Live => get("Whether the server lives", OIP, "Live"),
        Endpoint::Ready => {
            let mut operation = get("Whether the server wants requests", OIP, "Ready");
            operation.answer.may_be_unready = true;
            operation
        }
        Endpoint::Alive => get("Whether the server lives", KSERVE, "Alive"),
        Endpoint::Server => get("What the server is", OIP, "ServerMetadata"),
        Endpoint::Model => get("What a model takes and gives", OIP, "ModelMetadata"),
        Endpoint::ModelReady => get("Whether a model is ready", OIP, "ModelReady"),
        Endpoint::Statistics => get("What was counted and measured", OIP, "Statistics"),
        Endpoint::Infer => {
            let mut operation = post("Asks a model", OIP, &requests.infer, "InferAnswer");
            operation.answer.is_binary = true;
            with_binary(operation)
        }
        Endpoint::Explain => {
            let summary = "Why a model answers as it does";
            with_binary(post(summary, STRATA, &requests.infer, "InferAnswer"))
        }
        Endpoint::Metrics => {
            let mut operation = get("Metrics for Prometheus", STRATA, "Metrics");
            operation.answer.content_type = crate::metrics::CONTENT_TYPE;
            operation
        }
        Endpoint::ServerStatus => get("How the server is", STRATA, "ServerStatus"),
        Endpoint::Rollouts => get("The rollouts of all models", STRATA, "Rollouts"),
        Endpoint::Rollout => get("The rollout of a model", STRATA, "Rollout"),
        Endpoint::OpenApi => get("This document", STRATA, "Document"),
        Endpoint::Index => optional(post(
            "The versions of all models",
            REPOSITORY,
            &requests.index,
            "Index",
        )),
        Endpoint::Load => optional(post(
            "Serves a model as the store has it",
            REPOSITORY,
            &requests.change,
            "Empty",
        )),
        Endpoint::Unload => optional(post(
            "Serves a model no longer",
            REPOSITORY,
            &requests.change,
            "Empty",
        )),
        Endpoint::Status => get("The versions of a model", TENSORFLOW, "ModelStatus"),
        Endpoint::SignatureMetadata => {
            let summary = "What a model takes and gives";
            get(summary, TENSORFLOW, "SignatureMetadata")
        }
        Endpoint::Predict => {
            let summary = "Asks a model, also by KServe V1";
            with_origin(post(summary, TENSORFLOW, &requests.predict, "Predictions"))
        }
        Endpoint::Classify => {
            let summary = "The labels of rows and their probabilities";
            with_origin(post(summary, TENSORFLOW, &requests.classify, "Classes"))
        }
        Endpoint::Regress => {
            let summary = "Refused: models classify";
            let mut operation = post(summary, TENSORFLOW, &requests.classify, "Classes");
            operation.answer.schema = None;
            optional(operation)
        }
        Endpoint::Models => get("The names of all models", KSERVE, "Models"),
        Endpoint::ExplainInstances => with_origin(post(
            "Asks a model, and why it answers so",
            KSERVE,
            &requests.predict,
            "Explanations",
        )),
    }
}

fn get(summary: &'static str, tag: &'static str, answer: &str) -> Operation {
    Operation {
        summary,
        tag,
        request: None,
        answer: Answer {
            content_type: "application/json",
            schema: Some(json!({ "$ref": format!("#/components/schemas/{answer}") })),
            is_binary: false,
            has_origin: false,
            may_be_unready: false,
        },
    }
}

fn post(summary: &'static str, tag: &'static str, request: &Value, answer: &str) -> Operation {
    Operation {
        request: Some(RequestBody {
            schema: request.clone(),
            is_required: true,
            is_binary: false,
        }),
        ..get(summary, tag, answer)
    }
}

/// The same without a need for a body.
fn optional(mut operation: Operation) -> Operation {
    if let Some(request) = &mut operation.request {
        request.is_required = false;
    }
    operation
}

/// The same with binary tensors in the request.
fn with_binary(mut operation: Operation) -> Operation {
    if let Some(request) = &mut operation.request {
        request.is_binary = true;
    }
    operation
}

/// The same with the origin in the answer's headers.
fn with_origin(mut operation: Operation) -> Operation {
    operation.answer.has_origin = true;
    operation
}
