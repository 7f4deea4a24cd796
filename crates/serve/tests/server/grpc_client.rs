//! A client for gRPC by tonic, with messages as they are on the wire.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tokio_stream::Stream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};

use crate::{
    model::{ROW, rows},
    running::Running,
};

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Its clones share a connection.
#[derive(Clone)]
pub(crate) struct GrpcClient {
    grpc: Grpc<Channel>,
    key: AsciiMetadataValue,
}

impl GrpcClient {
    /// A caller that may do everything.
    pub(crate) async fn connect(running: &Running) -> Self {
        Self::connect_with(running, |endpoint| endpoint).await
    }

    pub(crate) async fn connect_with(
        running: &Running,
        change: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Self {
        let endpoint = Endpoint::new(format!("http://{}", running.grpc)).unwrap();
        Self {
            grpc: Grpc::new(change(endpoint).connect().await.unwrap()),
            key: format!("Bearer {}", running.admin).parse().unwrap(),
        }
    }

    /// Asks a call of `inference.GRPCInferenceService`.
    pub(crate) async fn ask(&self, call: &str, message: Vec<u8>) -> Result<Bytes, Status> {
        let path = format!("/inference.GRPCInferenceService/{call}");
        let mut grpc = self.grpc.clone();
        grpc.ready()
            .await
            .map_err(|problem| Status::from_error(problem.into()))?;
        let answer = grpc.unary(self.request(message), path.parse().unwrap(), Plain);
        Ok(answer.await?.into_inner())
    }

    /// Opens a stream to any path. Has it as soon as the answer begins.
    pub(crate) async fn stream(
        &self,
        path: &str,
        messages: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = self.grpc.clone();
        grpc.ready()
            .await
            .map_err(|problem| Status::from_error(problem.into()))?;
        let answer = grpc.streaming(self.request(messages), path.parse().unwrap(), Plain);
        Ok(answer.await?.into_inner())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.key.clone());
        request
    }
}

/// Asks a model for the answers to rows.
pub(crate) fn question(model: &str, count: usize) -> Vec<u8> {
    let rows = rows(1, count);
    let raw: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    let input = Input {
        name: "image".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![count as i64, ROW as i64],
        contents: None,
    };
    let request = InferRequest {
        model_name: model.to_owned(),
        id: "7".to_owned(),
        parameters: BTreeMap::new(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
    };
    request.encode_to_vec()
}

/// What `inference.proto` has, as far as a request is built here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(crate) parameters: BTreeMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) inputs: Vec<Input>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(crate) raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    pub(crate) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contents {
    #[prost(float, repeated, tag = "6")]
    pub(crate) fp32: Vec<f32>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(crate) texts: Vec<Bytes>,
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
