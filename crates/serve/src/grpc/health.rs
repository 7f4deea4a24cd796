use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt, once};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as HealthCalls,
};

use crate::http::State;

/// `grpc.health.v1`: whether the server wants requests. Says nothing of models, since it needs no key.
#[derive(Clone, Debug)]
pub(crate) struct Health(pub(crate) Arc<State>);

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

impl Health {
    fn is_known(service: &str) -> bool {
        matches!(service, "" | "inference.GRPCInferenceService")
    }

    fn status(&self) -> ServingStatus {
        if self.0.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl HealthCalls for Health {
    type WatchStream = Answers;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !Self::is_known(&request.get_ref().service) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(response(self.status())))
    }

    /// Says that the server stops when it does, and ends.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Answers>, Status> {
        if !Self::is_known(&request.get_ref().service) {
            let unknown = response(ServingStatus::ServiceUnknown);
            return Ok(Response::new(Box::pin(once(Ok(unknown)))));
        }
        let now = response(self.status());
        let state = self.0.clone();
        let later = once(()).then(move |()| {
            let state = state.clone();
            async move {
                state.drained().await;
                Ok(response(ServingStatus::NotServing))
            }
        });
        Ok(Response::new(Box::pin(once(Ok(now)).chain(later))))
    }
}
