//! Bodies that are packed on their way. Messages of gRPC are in `clients/triton_grpc.py`.

use std::io::{Read, Write};

use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::json;

use crate::{
    client::Reply,
    model::{ROW, rows},
    running::Running,
};

const INFER: &str = "/v2/models/tiny/infer";

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn body(count: usize) -> String {
    let data = rows(1, count);
    json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [count, ROW], "data": data}]})
        .to_string()
}

fn ask(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    running.admin().ask("POST", INFER, headers, body)
}

#[test]
fn a_packed_body_is_answered_as_it_would_be_unpacked() {
    let running = Running::start();
    let question = body(3);
    let expected = ask(&running, &[], question.as_bytes()).answer();
    // The length of the JSON before binary tensors is that of the unpacked one.
    let row: Vec<u8> = rows(1, 3).iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = json!({"name": "image", "datatype": "FP32", "shape": [3, ROW],
        "parameters": {"binary_data_size": row.len()}});
    let head = json!({"inputs": [tensor]}).to_string();
    let (length, binary) = (head.len().to_string(), [head.as_bytes(), &row].concat());
    let big = [question.as_bytes(), &vec![b' '; 1 << 20]].concat();
    for (name, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", deflate)] {
        let coding = ("Content-Encoding", name);
        for question in [question.as_bytes(), &big] {
            let reply = ask(&running, &[coding], &pack(question));
            assert_eq!(reply.answer(), expected, "{name}");
        }
        let header = ("Inference-Header-Content-Length", &*length);
        let reply = ask(&running, &[coding, header], &pack(&binary));
        assert_eq!(reply.answer(), expected, "{name}");
        let cut = &pack(question.as_bytes())[..100];
        for wrong in [cut, question.as_bytes(), b""] {
            let reply = ask(&running, &[coding], wrong);
            assert_eq!(reply.status, 400, "{name} {}", reply.error());
        }
    }
}

#[test]
fn a_small_body_that_unpacks_to_a_large_one_is_refused() {
    let running = Running::start_with(|options| options.limits.body_bytes = 1 << 20);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let reply = ask(&running, &[("Content-Encoding", "gzip")], &bomb);
    assert_eq!(
        (reply.status, &*reply.error()),
        (
            413,
            "unpacked bytes: more than the 1048576 that are allowed"
        )
    );
    // All of it arrived, so the connection is of use.
    assert_eq!(reply.header("connection"), None);
    let running = Running::start_with(|options| options.limits.all_bodies_bytes = 1 << 20);
    let reply = ask(
        &running,
        &[("Content-Encoding", "gzip")],
        &gzip(&vec![b' '; 2 << 20]),
    );
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(ask(&running, &[], body(1).as_bytes()).status, 200);
}

#[test]
fn a_long_answer_is_packed_for_who_likes_it() {
    let running = Running::start();
    for count in [200, 4000] {
        let question = body(count);
        let plain = ask(&running, &[], question.as_bytes());
        assert_eq!(plain.header("vary"), Some("accept-encoding"));
        assert_eq!(plain.header("content-encoding"), None);
        for (accepted, expected) in [
            ("gzip", Some("gzip")),
            ("deflate", Some("deflate")),
            ("br, gzip;q=0.5, deflate;q=0.7", Some("deflate")),
            ("gzip;q=0", None),
            ("identity", None),
        ] {
            let reply = ask(
                &running,
                &[("Accept-Encoding", accepted)],
                question.as_bytes(),
            );
            assert_eq!(reply.header("content-encoding"), expected, "{accepted}");
            assert_eq!(reply.header("vary"), Some("accept-encoding"));
            let mut unpacked = Vec::new();
            match expected {
                Some("gzip") => GzDecoder::new(&reply.body[..])
                    .read_to_end(&mut unpacked)
                    .unwrap(),
                Some(_) => ZlibDecoder::new(&reply.body[..])
                    .read_to_end(&mut unpacked)
                    .unwrap(),
                None => reply.body.as_slice().read_to_end(&mut unpacked).unwrap(),
            };
            assert!(unpacked == plain.body, "{accepted}");
        }
    }
    let short = ask(&running, &[("Accept-Encoding", "gzip")], body(1).as_bytes());
    assert_eq!(
        (short.header("content-encoding"), short.header("vary")),
        (None, None)
    );
}
