use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use super::{Mutator, assert_no_panics, count, watch_panics};
use crate::{
    grpc_client::{Contents, GrpcClient, InferRequest, Input, Parameter, runtime},
    inference::png,
    model::{ROW, pixels, rows},
    running::Running,
};

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
    runtime().block_on(async {
        let grpc = GrpcClient::connect(&running).await;
        let ask = async |call: &str, message: Vec<u8>| {
            let answer = grpc.ask(call, message).await;
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
