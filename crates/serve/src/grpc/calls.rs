use std::{pin::Pin, sync::Arc, time::Instant};

use hyper::HeaderMap;
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{infer, pb, pb::grpc_inference_service_server::GrpcInferenceService, service::Ongoing};
use crate::{
    Action,
    http::{Refusal, Share, State, awake, covered, find_version, no_version},
    infer::{INPUT, Output, Question, infer as run},
    oip::{EXTENSIONS, NAME, PLATFORM, load_parameter},
    runtime::{Asleep, Counted, Duration, Registry, Version, index},
};

/// The calls of the protocol.
#[derive(Clone, Debug)]
pub(crate) struct Inference(pub(crate) Arc<State>);

type Answers = Pin<Box<dyn Stream<Item = Result<pb::ModelStreamInferResponse, Status>> + Send>>;

/// Empty for none.
fn named(version: &str) -> Option<&str> {
    Some(version).filter(|version| !version.is_empty())
}

impl Inference {
    /// Finds the version that a message names, and counts the call with it.
    fn find(
        &self,
        ongoing: &Ongoing,
        action: Action,
        name: &str,
        version: &str,
    ) -> Result<(Arc<Registry>, Arc<Version>), Refusal> {
        let found = self.look_up(ongoing, action, name, version)?;
        ongoing.found(&found.1);
        Ok(found)
    }

    /// Finds the version that a message names, if its caller may do this to the model.
    fn look_up(
        &self,
        ongoing: &Ongoing,
        action: Action,
        name: &str,
        version: &str,
    ) -> Result<(Arc<Registry>, Arc<Version>), Refusal> {
        ongoing.caller()?.authorize(action, Some(name))?;
        let registry = self.0.registry.current();
        let version = find_version(&registry, name, named(version))?;
        Ok((registry, version))
    }

    /// Loads a model that is not in memory, if its caller may do this to the model.
    async fn awake(
        &self,
        ongoing: &Ongoing,
        action: Action,
        name: &str,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        ongoing.caller()?.authorize(action, Some(name))?;
        awake(&self.0, name, deadline).await
    }

    async fn infer(
        &self,
        ongoing: &Ongoing,
        headers: &HeaderMap,
        message: pb::ModelInferRequest,
        deadline: Instant,
    ) -> Result<pb::ModelInferResponse, Refusal> {
        let (name, version) = (&message.model_name, &message.model_version);
        self.awake(ongoing, Action::Infer, name, deadline).await?;
        let routed = {
            let (registry, found) = self.look_up(ongoing, Action::Infer, name, version)?;
            registry.route(found, named(version), headers, ongoing.caller()?.id())
        };
        ongoing.found(&routed.version);
        ongoing.routed(&routed);
        let bytes = message.encoded_len();
        let is_raw = !message.raw_input_contents.is_empty();
        let parse = move |version: &Version, limits| {
            Question::new(infer::request(message)?, version, limits)
        };
        let write = move |version: &Version, question: &Question, answered: &_| {
            infer::response(version, question, answered, is_raw)
        };
        run(&self.0, &routed, bytes, deadline, parse, write).await
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    type ModelStreamInferStream = Answers;

    async fn server_live(
        &self,
        _: Request<pb::ServerLiveRequest>,
    ) -> Result<Response<pb::ServerLiveResponse>, Status> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<pb::ServerReadyRequest>,
    ) -> Result<Response<pb::ServerReadyResponse>, Status> {
        let ready = self.0.is_ready();
        Ok(Response::new(pb::ServerReadyResponse { ready }))
    }

    /// A model that is not there is not ready, which is an answer and no error.
    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Result<Response<pb::ModelReadyResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let pb::ModelReadyRequest { name, version } = request.into_inner();
        let is_allowed = ongoing
            .caller()
            .and_then(|caller| Ok(caller.authorize(Action::Metadata, Some(&name))?));
        is_allowed.map_err(|refusal| ongoing.refused(&refusal))?;
        if let Some(asleep) = self.0.registry.current().asleep_model(&name) {
            // It answers as soon as it is asked.
            let ready = asleep.version(named(&version)).is_some();
            return Ok(Response::new(pb::ModelReadyResponse { ready }));
        }
        let ready = match self.find(&ongoing, Action::Metadata, &name, &version) {
            Ok((_, version)) => !version.batcher.is_broken(),
            Err(Refusal::NotFound(_)) => false,
            Err(refusal) => return Err(ongoing.refused(&refusal)),
        };
        Ok(Response::new(pb::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<pb::ServerMetadataRequest>,
    ) -> Result<Response<pb::ServerMetadataResponse>, Status> {
        Ok(Response::new(pb::ServerMetadataResponse {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Result<Response<pb::ModelMetadataResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let pb::ModelMetadataRequest { name, version } = request.into_inner();
        self.awake(&ongoing, Action::Metadata, &name, ongoing.deadline())
            .await
            .map_err(|refusal| ongoing.refused(&refusal))?;
        let (registry, version) = self
            .find(&ongoing, Action::Metadata, &name, &version)
            .map_err(|refusal| ongoing.refused(&refusal))?;
        let numbers = registry.model(&name).into_iter().flat_map(|m| m.numbers());
        Ok(Response::new(metadata(
            &version,
            numbers.map(|number| number.to_string()).collect(),
        )))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let (metadata, _, message) = request.into_parts();
        let headers = metadata.into_headers();
        let answer = self.infer(&ongoing, &headers, message, ongoing.deadline());
        answer
            .await
            .map(Response::new)
            .map_err(|refusal| ongoing.refused(&refusal))
    }

    /// One after the other: who wants answers beside each other makes calls beside each other. Ends when the server stops.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let own = self.clone();
        let (metadata, _, messages) = request.into_parts();
        let headers = Arc::new(metadata.into_headers());
        let answers = messages.then(move |message| {
            let (own, ongoing, headers) = (own.clone(), ongoing.clone(), headers.clone());
            async move {
                let message = message?;
                let id = message.id.clone();
                let mut share = Share::new(&own.0.bodies);
                let answered = match share.grow(message.encoded_len()) {
                    Ok(()) => {
                        let deadline = ongoing.next_deadline();
                        own.infer(&ongoing, &headers, message, deadline).await
                    }
                    Err(refusal) => Err(refusal),
                };
                Ok(match answered {
                    Ok(answer) => pb::ModelStreamInferResponse {
                        error_message: String::new(),
                        infer_response: Some(answer),
                    },
                    Err(refusal) => pb::ModelStreamInferResponse {
                        error_message: ongoing.refused(&refusal).message().to_owned(),
                        infer_response: Some(pb::ModelInferResponse {
                            id,
                            ..pb::ModelInferResponse::default()
                        }),
                    },
                })
            }
        });
        Ok(Response::new(Box::pin(UntilDrained::new(
            Box::pin(answers),
            self.0.clone(),
        ))))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Result<Response<pb::ModelStatisticsResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let pb::ModelStatisticsRequest { name, version } = request.into_inner();
        let all = || -> Result<Vec<pb::ModelStatistics>, Refusal> {
            let registry = self.0.registry.current();
            if name.is_empty() {
                let all = covered(&registry, ongoing.caller()?);
                return Ok(all.iter().map(|version| statistics(version)).collect());
            }
            ongoing.caller()?.authorize(Action::Metadata, Some(&name))?;
            if let Some(asleep) = registry.asleep_model(&name) {
                return no_statistics(asleep, &name, &version);
            }
            let (registry, found) = self.find(&ongoing, Action::Metadata, &name, &version)?;
            Ok(match registry.model(&name) {
                Some(model) if version.is_empty() => model
                    .versions()
                    .map(|version| statistics(version))
                    .collect(),
                _ => vec![statistics(&found)],
            })
        };
        let model_stats = all().map_err(|refusal| ongoing.refused(&refusal))?;
        Ok(Response::new(pb::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Result<Response<pb::RepositoryIndexResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let caller = ongoing
            .caller()
            .map_err(|refusal| ongoing.refused(&refusal))?;
        let registry = self.0.registry.current();
        let all = index(&registry, request.get_ref().ready, |model| {
            caller.covers(model)
        });
        let models = all.into_iter().map(|entry| {
            let (state, reason) = (entry.state(), entry.reason().unwrap_or_default());
            pb::repository_index_response::ModelIndex {
                state: state.to_owned(),
                reason: reason.to_owned(),
                version: entry.version.map(|v| v.to_string()).unwrap_or_default(),
                name: entry.name,
            }
        });
        Ok(Response::new(pb::RepositoryIndexResponse {
            models: models.collect(),
        }))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let message = request.into_inner();
        let done = async {
            let model = Some(message.model_name.as_str());
            ongoing.caller()?.authorize(Action::Load, model)?;
            if let Some(name) = message.parameters.keys().next() {
                return Err(load_parameter(name));
            }
            self.0.repository.load(&message.model_name).await
        };
        done.await.map_err(|refusal| ongoing.refused(&refusal))?;
        Ok(Response::new(pb::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        let ongoing = Ongoing::of(&request)?;
        let message = request.into_inner();
        let done = async {
            let model = Some(message.model_name.as_str());
            ongoing.caller()?.authorize(Action::Load, model)?;
            self.0.repository.unload(&message.model_name).await
        };
        done.await.map_err(|refusal| ongoing.refused(&refusal))?;
        Ok(Response::new(pb::RepositoryModelUnloadResponse {}))
    }
}

/// Ends the stream of answers when the server stops; an answer on its way is still given.
struct UntilDrained {
    answers: Answers,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl UntilDrained {
    fn new(answers: Answers, state: Arc<State>) -> Self {
        Self {
            answers,
            drained: Box::pin(async move { state.drained().await }),
        }
    }
}

impl Stream for UntilDrained {
    type Item = Result<pb::ModelStreamInferResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let answer = self.answers.as_mut().poll_next(context);
        if answer.is_pending() && self.drained.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(None);
        }
        answer
    }
}

fn metadata(version: &Version, versions: Vec<String>) -> pb::ModelMetadataResponse {
    use pb::model_metadata_response::TensorMetadata;
    let with_rows = |sides: &[usize]| {
        let sides = sides.iter().map(|&side| i64::try_from(side).unwrap_or(-1));
        [-1].into_iter().chain(sides).collect()
    };
    let outputs = Output::all(version).map(|output| TensorMetadata {
        name: output.name(version).into_owned(),
        datatype: output.datatype().to_owned(),
        shape: with_rows(output.width(version).as_slice()),
    });
    pb::ModelMetadataResponse {
        name: version.name.to_string(),
        versions,
        platform: PLATFORM.to_owned(),
        inputs: vec![TensorMetadata {
            name: INPUT.to_owned(),
            datatype: "FP32".to_owned(),
            shape: with_rows(&version.shape),
        }],
        outputs: outputs.collect(),
    }
}

/// Of versions that are not in memory, of which nothing was counted since.
fn no_statistics(
    asleep: &Asleep,
    name: &str,
    version: &str,
) -> Result<Vec<pb::ModelStatistics>, Refusal> {
    let found = asleep
        .version(named(version))
        .ok_or_else(|| no_version(name, named(version)))?;
    let numbers = asleep.numbers.iter().copied();
    let numbers = numbers.filter(|number| version.is_empty() || *number == found);
    let nothing = Counted::default();
    Ok(numbers
        .map(|number| counted(name, number, &nothing))
        .collect())
}

fn statistics(version: &Version) -> pb::ModelStatistics {
    let all = version.batcher.statistics().read();
    counted(version.name.as_str(), version.number, &all)
}

fn counted(name: &str, number: u64, counted: &Counted) -> pb::ModelStatistics {
    let duration = |Duration { count, ns }: Duration| Some(pb::StatisticDuration { count, ns });
    let none = duration(Duration::default());
    let batches = counted
        .batches
        .iter()
        .map(|(size, computed)| pb::InferBatchStatistics {
            batch_size: *size as u64,
            compute_input: none,
            compute_infer: duration(*computed),
            compute_output: none,
        });
    pb::ModelStatistics {
        name: name.to_owned(),
        version: number.to_string(),
        last_inference: counted.last_milliseconds,
        inference_count: counted.rows,
        execution_count: counted.executions(),
        batch_stats: batches.collect(),
        inference_stats: Some(pb::InferStatistics {
            success: duration(counted.success),
            fail: duration(counted.fail),
            queue: duration(counted.queue),
            compute_input: duration(counted.input),
            compute_infer: duration(counted.compute),
            compute_output: duration(counted.output),
            cache_hit: duration(counted.cache_hit),
            cache_miss: duration(counted.cache_miss),
        }),
    }
}
