//! What a server tells of its requests: lines, spans, and how it is.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    images::row,
    place::{Place, words},
    server::{Server, agent},
};

const INFER: &str = "/v2/models/tiny/infer";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn key(place: &Place, models: &str) -> Value {
    let create = format!("keys create --name a --allow infer,metadata --models {models}");
    place.answer(&words(&create))
}

/// Asks by a request that is a part of a trace.
fn ask(server: &Server, key: &str) -> u16 {
    let agent = agent();
    let body = json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 64], "data": row(2) }] });
    let asked = agent
        .post(format!("{}{INFER}", server.address))
        .header("authorization", format!("Bearer {key}"))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-request-id", "order-7")
        .send(body.to_string());
    asked.unwrap().status().as_u16()
}

#[test]
fn a_line_for_each_request_says_who_and_what_and_nothing_that_was_asked() {
    let place = Place::with_model();
    let created = key(&place, "tiny");
    let (key, id) = (
        created["key"].as_str().unwrap(),
        created["id"].as_str().unwrap(),
    );
    let server = Server::start(&place, &["--log-requests"]);
    assert_eq!(ask(&server, key), 200);
    assert_eq!(server.ask("", "/v2/models/tiny?secret=1", None).0, 401);
    let named = agent()
        .get(format!("{}/v2/health/live", server.address))
        .call()
        .unwrap();
    let named = named.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(server.ask(key, "/v2/models/none-of-these", None).0, 403);
    assert_eq!(server.ask(key, "/nothing/of/the/kind", None).0, 404);
    let (_, notes) = server.stop();
    let lines = notes
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| line["event"] == "request").collect();
    let [answered, unknown, alive, refused, nothing] = &lines[..] else {
        panic!("{notes}");
    };
    assert_eq!((&alive["request"], named.len()), (&json!(named), 16));
    assert_ne!(unknown["request"], alive["request"]);
    assert_eq!(answered["route"], "/v2/models/{model}/infer");
    assert_eq!(
        (&answered["model"], &answered["version"]),
        (&json!("tiny"), &json!(1))
    );
    assert_eq!(
        (&answered["key"], &answered["status"]),
        (&json!(id), &json!(200))
    );
    assert_eq!(
        (&answered["trace"], &answered["request"]),
        (&json!(TRACE), &json!("order-7"))
    );
    let (all, parts) = (answered["ms"].as_f64().unwrap(), &answered["stages_ms"]);
    let parts: f64 = ["prepare", "queue", "compute", "encode"]
        .iter()
        .map(|part| parts[part].as_f64().unwrap())
        .sum();
    assert!(0.0 < parts && parts <= all, "{answered}");
    assert_eq!(
        (&unknown["status"], &unknown["key"]),
        (&json!(401), &Value::Null)
    );
    assert_eq!(
        (&refused["status"], &refused["key"]),
        (&json!(403), &json!(id))
    );
    assert_eq!(
        (&nothing["status"], &nothing["route"]),
        (&json!(404), &Value::Null)
    );
    assert!(!notes.contains(key) && !notes.contains("secret=1") && !notes.contains("inputs"));
}

#[test]
fn who_leaves_before_the_answer_has_a_line_too() {
    let place = Place::with_model();
    let create = "keys create --name a --allow explain --models tiny";
    let created = place.answer(&words(create));
    let key = created["key"].as_str().unwrap();
    let server = Server::start(&place, &["--log-requests"]);
    let body = json!({
        "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 64], "data": row(2) }],
        "parameters": { "method": "integrated-gradients", "steps": 500 },
    });
    let body = body.to_string();
    let head = format!(
        "POST /v2/models/tiny/explain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let address = server.address.strip_prefix("http://").unwrap();
    // An explanation takes some milliseconds, in which some callers will be gone.
    for _ in 0..200 {
        let mut caller = TcpStream::connect(address).unwrap();
        caller.write_all(head.as_bytes()).unwrap();
        caller.write_all(body.as_bytes()).unwrap();
    }
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0), "{notes}");
    let lines = notes
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut left = lines.filter(|line| line["status"] == 499);
    let left = left.next().expect("a line of a caller that left");
    assert_eq!(
        (&left["route"], &left["model"], &left["key"]),
        (
            &json!("/v2/models/{model}/explain"),
            &json!("tiny"),
            &created["id"]
        )
    );
}

#[test]
fn spans_are_sent_where_the_environment_says() {
    let Some(mut collector) = Collector::start() else {
        return;
    };
    let place = Place::with_model();
    let created = key(&place, "tiny");
    let key = created["key"].as_str().unwrap();
    let mut command = place.command(&["serve", "--address", "127.0.0.1:0"]);
    command
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://127.0.0.1:{}", collector.port),
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=an-otlp-token")
        .env("OTEL_SERVICE_NAME", "shop");
    let server = Server::of(&mut command, "listening on ");
    assert_eq!(ask(&server, key), 200);
    assert_eq!(server.ask(key, "/v2/models/none", None).0, 403);
    // What was not sent yet is sent at the end.
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0), "{notes}");
    assert!(!notes.contains("an-otlp-token"));
    let spans = collector.take(6);
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let request = of("POST /v2/models/{model}/infer");
    assert_eq!(
        (&request["trace"], &request["parent"]),
        (&json!(TRACE), &json!(PARENT))
    );
    assert_eq!(
        (&request["service"], &request["kind"]),
        (&json!("shop"), &json!(2))
    );
    let attributes = &request["attributes"];
    assert_eq!(attributes["http.response.status_code"], 200);
    assert_eq!(
        (&attributes["strata.model"], &attributes["strata.version"]),
        (&json!("tiny"), &json!("1"))
    );
    assert_eq!(attributes["strata.key"], created["id"]);
    for part in ["prepare", "queue", "compute", "encode"] {
        let span = of(part);
        assert_eq!(
            (&span["trace"], &span["parent"]),
            (&json!(TRACE), &request["span"])
        );
        assert!(request["start"].as_u64() <= span["start"].as_u64());
        assert!(span["end"].as_u64() <= request["end"].as_u64());
    }
    let refused = of("GET /v2/models/{model}");
    assert_ne!(refused["trace"], json!(TRACE));
    assert!(!spans.iter().any(|span| span.to_string().contains(key)));
}

#[test]
fn a_server_goes_on_where_nobody_takes_its_spans() {
    let place = Place::with_model();
    let created = key(&place, "tiny");
    let key = created["key"].as_str().unwrap();
    let mut command = place.command(&["serve", "--address", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let server = Server::of(&mut command, "listening on ");
    assert_eq!(ask(&server, key), 200);
    assert_eq!(server.stop().0, Some(0));
    place.check_command_fails(
        place
            .command(&["serve"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address"),
        &["OTEL_EXPORTER_OTLP_ENDPOINT"],
    );
}

#[test]
fn its_status_tells_of_the_models_that_a_key_is_for() {
    let place = Place::with_model();
    place.run(&words("models alias tiny@1 stable")).success();
    let server = Server::start(&place, &[]);
    let created = key(&place, "tiny");
    let key_of_other = key(&place, "other");
    let key = created["key"].as_str().unwrap();
    server.wait_for(key, "/v2/models/tiny", 200);
    assert_eq!(ask(&server, key), 200);
    let (status, shown) = server.ask(key, "/api/v1/status", None);
    assert_eq!(
        (status, &shown["ready"], &shown["store_reachable"]),
        (200, &json!(true), &json!(true))
    );
    let tiny = &shown["models"]["tiny"];
    assert_eq!(tiny["aliases"], json!({ "stable": 1 }));
    let version = &tiny["versions"]["1"];
    assert_eq!(
        (&version["state"], &version["answered"]),
        (&json!("ready"), &json!(1))
    );
    assert_eq!(version["memory_bytes"], shown["memory_bytes"]);
    let other = key_of_other["key"].as_str().unwrap();
    server.wait_for(other, "/api/v1/status", 200);
    assert_eq!(
        server.ask(other, "/api/v1/status", None).1["models"],
        json!({})
    );
    assert_eq!(server.ask("", "/api/v1/status", None).0, 401);
}

/// A program that takes spans; killed when dropped.
struct Collector {
    child: Child,
    port: u16,
    lines: BufReader<ChildStdout>,
}

impl Collector {
    /// None, with a word, where there is no Python with it.
    fn start() -> Option<Self> {
        let Ok(python) = std::env::var("STRATA_TEST_PYTHON") else {
            println!(
                "skipped: set STRATA_TEST_PYTHON to a Python with the packages of .ci/requirements.txt"
            );
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/otlp_server.py");
        let mut child = Command::new(python)
            .args(["-B", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("the collector's port");
        Some(Self { child, port, lines })
    }

    /// So many spans.
    fn take(&mut self, count: usize) -> Vec<Value> {
        let lines = self.lines.by_ref().lines().take(count);
        lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
