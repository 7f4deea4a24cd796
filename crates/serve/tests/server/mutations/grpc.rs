use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};

use super::{Mutator, assert_no_panics, count, watch_panics};
use crate::{
    inference::png,
    model::{ROW, pixels, rows},
    running::Running,
};

/// What `inference.proto` has, as far as a request is built here.
#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    parameters: BTreeMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(float, repeated, tag = "6")]
    fp32: Vec<f32>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    texts: Vec<Bytes>,
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = usize;
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
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = buffer.remaining();
        buffer.advance(length);
        Ok(Some(length))
    }
}

fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let input = |datatype: &str, shape: &[i64], contents| Input {
        name: "image".to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents,
    };
    let infer = |input, raw: Option<Bytes>| {
        let text = "low".to_owned();
        let request = InferRequest {
            model_name: "deep".to_owned(),
            id: "7".to_owned(),
            parameters: BTreeMap::from([("exit".to_owned(), Parameter { text })]),
            inputs: vec![input],
            raw_input_contents: raw.into_iter().collect(),
        };
        request.encode_to_vec()
    };
    let row = rows(1, 1);
    let raw: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let typed = Contents {
        fp32: row,
        texts: Vec::new(),
    };
    let file = Contents {
        fp32: Vec::new(),
        texts: vec![png(&pixels(1, ROW)).into()],
    };
    let shape = [1, ROW as i64];
    let pixels = Bytes::from(pixels(1, ROW));
    vec![
        (
            "ModelInfer",
            infer(input("FP32", &shape, None), Some(raw.into())),
        ),
        (
            "ModelInfer",
            infer(input("UINT8", &[1, 4, 4, 1], None), Some(pixels)),
        ),
        (
            "ModelInfer",
            infer(input("FP32", &shape, Some(typed)), None),
        ),
        ("ModelInfer", infer(input("BYTES", &[1], Some(file)), None)),
        ("ModelMetadata", b"\x0a\x04tiny\x12\x011".to_vec()),
        ("ModelReady", b"\x0a\x04tiny".to_vec()),
        ("ModelStatistics", b"\x0a\x04tiny".to_vec()),
        ("RepositoryIndex", b"\x10\x01".to_vec()),
        ("RepositoryModelLoad", b"\x12\x04none".to_vec()),
        ("ServerMetadata", Vec::new()),
    ]
}

#[test]
fn no_message_is_the_servers_fault() {
    watch_panics();
    let running = Running::start();
    let corpus = corpus();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = format!("http://{}", running.grpc);
        let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
        let mut grpc = Grpc::new(channel);
        let key: tonic::metadata::AsciiMetadataValue =
            format!("Bearer {}", running.admin).parse().unwrap();
        let mut ask = async |call: &str, message: Vec<u8>| {
            let path = format!("/inference.GRPCInferenceService/{call}");
            let mut request = Request::new(message);
            request.metadata_mut().insert("authorization", key.clone());
            grpc.ready().await.unwrap();
            let answer = grpc.unary(request, path.parse().unwrap(), Plain).await;
            answer.map_or_else(|status| status.code(), |_| Code::Ok)
        };
        for (call, message) in &corpus {
            let code = ask(call, message.clone()).await;
            // There is no model `none`.
            let is_good =
                code == Code::Ok || (code == Code::NotFound && *call == "RepositoryModelLoad");
            assert!(is_good, "{code:?} to {call}");
        }
        let mut mutator = Mutator::new(3);
        for turn in 0..count(10_000) {
            let (call, message) = mutator.pick(&corpus).clone();
            let other = mutator.pick(&corpus).1.clone();
            let mut message = message;
            mutator.mutate(&mut message, &other);
            let code = ask(call, message.clone()).await;
            let expected = [
                Code::Ok,
                Code::InvalidArgument,
                Code::NotFound,
                Code::ResourceExhausted,
                Code::DeadlineExceeded,
            ];
            assert!(
                expected.contains(&code),
                "{turn}: {code:?} to {call} {message:?}"
            );
        }
        assert_eq!(ask(corpus[0].0, corpus[0].1.clone()).await, Code::Ok);
    });
    assert_no_panics();
}
