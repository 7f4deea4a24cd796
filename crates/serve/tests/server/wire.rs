//! What clients send and expect beside the plain form of the protocols.

use serde_json::{Value, json};

use crate::{
    client::{Reply, data},
    model::{ROW, rows},
    running::{self, Running},
};

const INFER: &str = "/v2/models/tiny/infer";
const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

fn raw(rows: &[f32]) -> Vec<u8> {
    rows.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn input(rows: &[f32]) -> Value {
    let count = rows.len() / ROW;
    json!({ "name": "image", "datatype": "FP32", "shape": [count, ROW], "data": rows })
}

/// The JSON of an answer with binary tensors, and the bytes after it.
fn split(reply: &Reply) -> (Value, &[u8]) {
    assert_eq!(reply.status, 200, "{}", reply.error());
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    let length = reply.header("inference-header-content-length").unwrap();
    let (json, binary) = reply.body.split_at(length.parse().unwrap());
    (serde_json::from_slice(json).unwrap(), binary)
}

#[test]
fn a_header_length_of_0_means_one_raw_tensor_and_a_binary_answer() {
    let running = Running::start();
    let rows = rows(5, 2);
    let ask = |body: &[u8]| {
        let header = [(HEADER_LENGTH, "0")];
        running.admin().ask("POST", INFER, &header, body)
    };
    let reply = ask(&raw(&rows));
    let (json, binary) = split(&reply);
    let expected = running::model("tiny", 1).probabilities(&rows);
    assert_eq!(json["outputs"][0]["shape"], json!([2, 3]));
    assert_eq!(binary[..expected.len() * 4], raw(&expected));
    for body in [&[][..], &[0], &raw(&rows)[1..]] {
        let reply = ask(body);
        assert_eq!(reply.status, 400);
        let expected = "a raw tensor of FP32 takes 64 bytes for each row";
        assert!(reply.error().contains(expected), "{}", reply.error());
    }
}

#[test]
fn a_large_tensor_is_read_wherever_it_begins() {
    const COUNT: usize = 1500;
    let running = Running::start();
    let mut rows = rows(7, COUNT);
    let ask = |rows: &[f32], spaces: usize| {
        let tensor = json!({ "name": "image", "datatype": "FP32", "shape": [COUNT, ROW],
                             "parameters": { "binary_data_size": rows.len() * 4 } });
        let output = json!({ "name": "probabilities", "parameters": { "binary_data": true } });
        let question = json!({ "inputs": [tensor], "outputs": [output] });
        let head = question.to_string() + &" ".repeat(spaces);
        let body = [head.as_bytes(), &raw(rows)].concat();
        let header = [(HEADER_LENGTH, &*head.len().to_string())];
        running.admin().ask("POST", INFER, &header, &body)
    };
    let expected = running::model("tiny", 1).probabilities(&rows);
    for spaces in 0..4 {
        let reply = ask(&rows, spaces);
        assert!(split(&reply).1 == raw(&expected), "{spaces}");
    }
    rows[COUNT * ROW - 1] = f32::INFINITY;
    let reply = ask(&rows, 0);
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("not finite"), "{}", reply.error());
}

#[test]
fn outputs_that_are_not_named_are_binary_if_the_request_says_so() {
    let running = Running::start();
    let rows = rows(6, 1);
    let ask = |more: Value| {
        let mut body = json!({ "inputs": [input(&rows)] });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        running.admin().post(INFER, body.to_string())
    };
    let all_binary = json!({ "parameters": { "binary_data_output": true } });
    let reply = ask(all_binary.clone());
    let (json, binary) = split(&reply);
    let sizes: Vec<u64> = json["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| output["parameters"]["binary_data_size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert_eq!(sizes.iter().sum::<u64>(), binary.len() as u64);

    // One that says otherwise of itself, and lists that are empty or missing in other ways.
    let plain = json!({
        "parameters": { "binary_data_output": true },
        "outputs": [{ "name": "class", "parameters": { "binary_data": false } }],
    });
    let answer = ask(plain).answer();
    assert!(data(&answer, "class").is_array());
    for more in [
        json!({}),
        json!({ "outputs": [] }),
        json!({ "outputs": null, "parameters": null, "id": null }),
        json!({ "outputs": [], "parameters": {}, "id": "", "unknown": [{}] }),
    ] {
        let answer = ask(more).answer();
        assert_eq!(answer["outputs"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn a_path_is_found_with_and_without_a_slash_and_without_regard_to_its_query() {
    let running = Running::start();
    let mut client = running.admin();
    for (one, other) in [
        ("/v2", "/v2/"),
        ("/v2/models/tiny", "/v2/models/tiny/"),
        ("/v2/models/tiny/versions/2", "/v2/models/tiny/versions/2/"),
        ("/v2/models/tiny", "/v2/models/tiny?verbose=true"),
        ("/v2/health/live", "/v2/health/live?x"),
    ] {
        assert_eq!(client.get(one).answer(), client.get(other).answer());
    }
}

/// Clients look at the status alone, and some send no key.
#[test]
fn health_is_told_by_the_status_to_anyone() {
    let mut running = Running::start();
    for path in ["/v2/health/live", "/v2/health/ready", "/"] {
        assert_eq!(running.client().get(path).status, 200);
        assert_eq!(running.client().with_key("x").get(path).status, 200);
        let head = running.client().ask("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
    let mut client = running.client();
    assert_eq!(client.get("/v2/health/ready").status, 200);
    running.stop();
    running.wait();
    assert!(client.try_send(b"GET / HTTP/1.1\r\n\r\n").is_err() || client.try_reply().is_none());
}
