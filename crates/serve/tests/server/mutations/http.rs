use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Mutator, assert_no_panics, count, watch_panics};
use crate::{
    client::Client,
    compression::gzip,
    inference::png,
    model::{ROW, SIDE, pixels, rows},
    running::Running,
};

const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// A good request.
struct Good {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn good(path: &'static str, body: impl Into<Vec<u8>>) -> Good {
    Good {
        path,
        headers: Vec::new(),
        body: body.into(),
    }
}

/// JSON and the bytes of a tensor after it.
fn binary(path: &'static str, datatype: &str, shape: &[usize], bytes: &[u8]) -> Good {
    let size = json!({ "binary_data_size": bytes.len() });
    let input =
        json!({ "name": "image", "datatype": datatype, "shape": shape, "parameters": size });
    let outputs = json!([{ "name": "class", "parameters": { "binary_data": true } }]);
    let json = json!({ "id": "7", "inputs": [input], "outputs": outputs }).to_string();
    let length = json.len().to_string();
    Good {
        headers: vec![(HEADER_LENGTH, length)],
        ..good(path, [json.as_bytes(), bytes].concat())
    }
}

fn corpus() -> Vec<Good> {
    let infer = "/v2/models/tiny/infer";
    let (row, pixels) = (rows(1, 1), pixels(1, ROW));
    let raw: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = png(&pixels);
    let text = BASE64_STANDARD.encode(&file);
    let tensor = |datatype: &str, shape: &[usize], data| json!({ "name": "image", "datatype": datatype, "shape": shape, "data": data });
    let fp32 = || json!({ "inputs": [tensor("FP32", &[1, ROW], json!(row))] });
    let mut exits = fp32();
    exits["parameters"] = json!({ "confidence": 0.5, "timeout": 60_000_000 });
    let mut explained = fp32();
    explained["parameters"] = json!({ "steps": 2, "baseline": "grey", "target": 1 });
    let of_pixels = tensor("UINT8", &[1, SIDE, SIDE, 1], json!(pixels));
    let of_files = tensor("BYTES", &[1], json!([text]));
    let with_length = [&(file.len() as u32).to_le_bytes()[..], &file].concat();
    let mut alone = good(infer, raw.clone());
    alone.headers.push((HEADER_LENGTH, "0".to_owned()));
    let all = json!({ "instances": [{ "image": row }], "signature_name": "all" });
    let tokens = format!(r#"{{"instances":[[NaN{}]]}}"#, ",-Infinity".repeat(ROW - 1));
    vec![
        good(infer, fp32().to_string()),
        good(infer, json!({ "inputs": [of_pixels] }).to_string()),
        good(infer, json!({ "inputs": [of_files] }).to_string()),
        good("/v2/models/deep/versions/2/infer", exits.to_string()),
        binary(infer, "FP32", &[1, ROW], &raw),
        binary(infer, "UINT8", &[1, SIDE, SIDE, 1], &pixels),
        binary(infer, "BYTES", &[1], &with_length),
        alone,
        good("/v2/models/tiny/explain", explained.to_string()),
        good("/v2/repository/index", r#"{"ready":true}"#),
        good("/v2/repository/models/none/load", r#"{"parameters":{}}"#),
        good("/v1/models/tiny:predict", all.to_string()),
        good("/v1/models/tiny:predict", tokens),
        good(
            "/v1/models/deep/labels/plain:predict",
            json!({ "inputs": { "image": [row] } }).to_string(),
        ),
        good(
            "/v1/models/tiny:predict",
            json!({ "instances": [{ "b64": text }] }).to_string(),
        ),
        good(
            "/v1/models/tiny:classify",
            json!({ "context": {}, "examples": [{ "image": row, "x": [1] }] }).to_string(),
        ),
        good(
            "/v1/models/tiny:explain",
            json!({ "instances": [row], "parameters": { "steps": 2 } }).to_string(),
        ),
    ]
}

/// Whether this is an answer to a caller's mistake, or no mistake.
fn check(status: u16, body: &[u8], shown: &str) {
    let is_fine = match status {
        // An explanation goes on after its caller gave up, and keeps its place.
        503 => shown.contains("explain"),
        // A caller who allows no time gets no answer in it.
        504 => shown.to_ascii_lowercase().contains("timeout"),
        _ => status < 500,
    };
    assert!(is_fine, "{status} to {shown}");
    if status != 200 {
        let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let error = json.as_ref().and_then(|json| json["error"].as_str());
        assert!(error.is_some_and(|error| !error.is_empty()), "{shown}");
    }
}

#[test]
fn no_body_and_no_header_is_the_servers_fault() {
    watch_panics();
    let running = Running::start();
    let corpus = corpus();
    let mut client = running.admin();
    for request in &corpus {
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(n, v)| (*n, v.as_str()))
            .collect();
        let reply = client.ask("POST", request.path, &headers, &request.body);
        // There is no model `none`.
        let expected = if request.path.contains("none") {
            404
        } else {
            200
        };
        assert_eq!(
            reply.status,
            expected,
            "{}: {}",
            request.path,
            reply.error()
        );
    }
    let mut mutator = Mutator::new(1);
    for turn in 0..count(10_000) {
        let request = mutator.pick(&corpus);
        let other = mutator.pick(&corpus);
        let mut body = request.body.clone();
        if mutator.below(8) > 0 {
            mutator.mutate(&mut body, &other.body);
        }
        let mut headers = request.headers.clone();
        if mutator.below(4) == 0 {
            headers.push((HEADER_LENGTH, mutator.below(body.len() + 3).to_string()));
        }
        if mutator.below(8) == 0 {
            body = gzip(&body);
            if mutator.below(2) == 0 {
                mutator.mutate(&mut body, b"gzip");
            }
            headers.push(("Content-Encoding", "gzip".to_owned()));
        } else if mutator.below(16) == 0 {
            let mut value = b"identity".to_vec();
            mutator.mutate(&mut value, b"gzip");
            let name = *mutator.pick(&["Content-Encoding", "X-Request-Timeout-Ms", "Content-Type"]);
            value.retain(|byte| byte.is_ascii_graphic());
            headers.push((name, String::from_utf8(value).unwrap()));
        }
        // What was meant for one route comes to another.
        let path = if mutator.below(8) == 0 {
            other.path
        } else {
            request.path
        };
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let reply = client.ask("POST", path, &headers, &body);
        let body = String::from_utf8_lossy(&body);
        check(
            reply.status,
            &reply.body,
            &format!("{turn}: {path} {headers:?} {body}"),
        );
        if reply.header("connection") == Some("close") {
            client = running.admin();
        }
    }
    assert_good(&mut running.admin());
    assert_no_panics();
}

/// Whole requests, their heads too. What is no HTTP is answered or not, but with no 5xx, and does no harm.
#[test]
fn no_request_is_the_servers_fault() {
    watch_panics();
    let running = Running::start();
    let corpus: Vec<Vec<u8>> = corpus()
        .iter()
        .map(|request| whole(request, &running.admin))
        .chain(
            strata_serve::routes()
                .filter(|route| route.0 == "GET")
                .map(|(_, path)| {
                    let path = path.replace("{model}", "tiny").replace("{version}", "1");
                    let path = path.replace("{label}", "stable");
                    whole_get(&path, &running.admin)
                }),
        )
        .collect();
    let mut mutator = Mutator::new(2);
    for turn in 0..count(3000) {
        let mut bytes = mutator.pick(&corpus).clone();
        let other = mutator.pick(&corpus).clone();
        // Mostly in the head: the other test is for bodies.
        let head = bytes.len().min(400);
        let mut rest = bytes.split_off(head);
        mutator.mutate(&mut bytes, &other);
        bytes.append(&mut rest);
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // The server may have closed it already.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        let shown = String::from_utf8_lossy(&answers);
        // A mistake may make two requests of one.
        for line in shown.lines().filter(|line| line.starts_with("HTTP/1.1 ")) {
            let sent = String::from_utf8_lossy(&bytes);
            let is_fine = !line.starts_with("HTTP/1.1 5") || sent.contains("explain");
            assert!(is_fine, "{turn}: {line} to {sent}");
        }
    }
    assert_good(&mut running.admin());
    assert_no_panics();
}

fn whole(request: &Good, key: &str) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nHost: test\r\n", request.path);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = request.body.len();
    head.push_str(&format!(
        "X-API-Key: {key}\r\nContent-Length: {length}\r\n\r\n"
    ));
    [head.as_bytes(), &request.body].concat()
}

fn whole_get(path: &str, key: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-API-Key: {key}\r\n\r\n").into_bytes()
}

/// The server is what it was.
fn assert_good(client: &mut Client) {
    let body = json!({ "instances": [rows(1, 1)] }).to_string();
    assert_eq!(client.post("/v1/models/tiny:predict", body).status, 200);
    assert_eq!(client.get("/v2/health/ready").status, 200);
}
