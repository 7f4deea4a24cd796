//! The command against a small server.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

const BODY: &str = r#"{"inputs":[1,2,3]}"#;

/// Serves requests with what `answer` makes of a request's head and number on its connection, until the test ends. An
/// empty answer closes the connection.
fn serve(answer: fn(&str, usize) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || connection(stream, answer));
        }
    });
    address
}

fn connection(stream: TcpStream, answer: fn(&str, usize) -> String) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    for number in 0.. {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let mut body = vec![0; BODY.len()];
        reader.read_exact(&mut body)?;
        assert_eq!(body, BODY.as_bytes());
        let bytes = answer(&head, number);
        if bytes.is_empty() {
            return Ok(());
        }
        writer.write_all(bytes.as_bytes())?;
    }
    Ok(())
}

fn load(address: SocketAddr, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.json");
    std::fs::write(&body, BODY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-load"));
    command
        .arg("--url")
        .arg(format!("http://{address}/infer"))
        .arg("--body")
        .arg(body);
    command.args(arguments).output().unwrap()
}

fn printed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ok(_: &str, _: usize) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned()
}

#[test]
fn it_stops_after_the_number_of_requests() {
    let output = load(serve(ok), &["--connections", "4", "--requests", "100"]);
    let found = printed(&output);
    assert!(output.status.success());
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&100.into(), &0.into()),
        "{found}"
    );
    assert_eq!(found["error_sample"], Value::Null);
    let figure = |value: &Value| value.as_f64().unwrap();
    let rate = figure(&found["requests"]) / figure(&found["seconds"]);
    assert!((figure(&found["requests_per_second"]) - rate).abs() < rate * 1e-9);
    let order = ["min", "p50", "p90", "p99", "max"].map(|key| figure(&found["latency_ms"][key]));
    assert!(order[0] > 0.0 && order.is_sorted(), "{order:?}");
    let mean = figure(&found["latency_ms"]["mean"]);
    assert!((order[0]..=order[4]).contains(&mean), "{found}");
}

#[test]
fn it_stops_after_the_time() {
    let found = printed(&load(
        serve(ok),
        &["--connections", "2", "--seconds", "0.3"],
    ));
    let seconds = found["seconds"].as_f64().unwrap();
    assert!((0.2..3.0).contains(&seconds), "{found}");
    assert_eq!(found["errors"], 0);
}

#[test]
fn chunked_answers_count() {
    let address = serve(|_, _| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned()
    });
    assert_eq!(
        printed(&load(address, &["--requests", "10"]))["requests"],
        10
    );
}

#[test]
fn headers_are_sent() {
    let address = serve(|head, _| {
        let status = if head.contains("\r\nAuthorization: Bearer k\r\n") {
            200
        } else {
            401
        };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\nwho's it?")
    });
    let with = load(
        address,
        &["--requests", "3", "--header", "Authorization: Bearer k"],
    );
    assert_eq!(printed(&with)["requests"], 3);
    let without = load(address, &["--requests", "3"]);
    let found = printed(&without);
    assert!(!without.status.success());
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&0.into(), &3.into())
    );
    assert_eq!(found["error_sample"], "status 401: who's it?");
    assert_eq!(found["latency_ms"]["p50"], Value::Null);
}

#[test]
fn a_closed_connection_is_an_error_and_is_opened_again() {
    // The third request of every connection is not answered.
    let address = serve(|head, number| {
        if number == 2 {
            String::new()
        } else {
            ok(head, number)
        }
    });
    let found = printed(&load(address, &["--requests", "9"]));
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&6.into(), &3.into()),
        "{found}"
    );
    let sample = found["error_sample"].as_str().unwrap();
    assert!(
        sample.contains("closed") || sample.contains("cannot receive"),
        "{sample}"
    );
}

#[test]
fn only_an_expected_answer_counts() {
    // Every third answer is a mixture of the two.
    let address = serve(|_, number| {
        let body = ["aa", "bb", "ab"][number % 3];
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}")
    });
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (first, second) = (file("aa"), file("bb"));
    let arguments = ["--requests", "9", "--answer", &first, "--answer", &second];
    let found = printed(&load(address, &arguments));
    assert_eq!(
        (&found["requests"], &found["errors"], &found["answers"]),
        (&6.into(), &3.into(), &serde_json::json!([3, 3])),
        "{found}"
    );
    assert_eq!(found["error_sample"], "no expected answer: ab");
}

#[test]
fn a_connection_that_the_server_ends_politely_is_no_error() {
    let address = serve(|_, _| {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let found = printed(&load(address, &["--requests", "5"]));
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&5.into(), &0.into()),
        "{found}"
    );
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let output = load(address, &["--requests", "2"]);
    assert!(!output.status.success());
    assert!(
        printed(&output)["error_sample"]
            .as_str()
            .unwrap()
            .starts_with("cannot connect")
    );
}

/// Requests of an open loop that were due: answered, failed and not sent.
fn due(found: &Value) -> [u64; 3] {
    ["requests", "errors", "unsent"].map(|key| found[key].as_u64().unwrap())
}

const OPEN: [&str; 4] = ["--rate", "200", "--seconds", "0.5"];

#[test]
fn in_an_open_loop_requests_come_by_the_clock() {
    let find = |more: &[&str]| {
        let arguments = [&OPEN[..], &["--connections", "8"], more].concat();
        due(&printed(&load(serve(ok), &arguments)))
    };
    let [requests, errors, unsent] = find(&[]);
    // Five standard deviations of a Poisson variable.
    assert!((50..150).contains(&requests), "{requests}");
    assert_eq!((errors, unsent), (0, 0));
    assert_eq!(find(&[])[0], requests);
    assert_ne!(find(&["--seed", "5"])[0], requests);
    assert_eq!(find(&["--requests", "7"]), [7, 0, 0]);
}

#[test]
fn a_stall_counts_for_all_whose_turn_came_meanwhile() {
    let address = serve(|head, number| {
        if number == 0 {
            thread::sleep(Duration::from_millis(400));
        }
        ok(head, number)
    });
    let found = printed(&load(address, &OPEN));
    // Four of five came during the stall, evenly spread.
    let latency = |key: &str| found["latency_ms"][key].as_f64().unwrap();
    assert!(latency("p50") > 50.0 && latency("p90") > 200.0, "{found}");
}

#[test]
fn what_could_not_be_sent_is_counted() {
    let all: u64 = due(&printed(&load(serve(ok), &OPEN))).iter().sum();
    let address = serve(|head, number| {
        if number == 3 {
            thread::sleep(Duration::from_secs(60));
        }
        ok(head, number)
    });
    let output = load(address, &OPEN);
    let found = printed(&output);
    assert_eq!(due(&found), [3, 1, all - 4], "{found}");
    assert_eq!(found["error_sample"], "no answer in time");
}

#[test]
fn wrong_usage_exits_with_2() {
    let address = serve(ok);
    assert_eq!(
        load(address, &["--connections", "0"]).status.code(),
        Some(2)
    );
    assert_eq!(load(address, &["--speed", "1"]).status.code(), Some(2));
    for rate in ["0", "-1", "NaN", "1e9"] {
        let output = load(address, &[&format!("--rate={rate}")]);
        assert_eq!(output.status.code(), Some(2), "{rate}");
    }
}

/// A gRPC server whose answers are a message of two bytes, with the status that `status` gives by the request's metadata.
fn serve_grpc(status: fn(&http::HeaderMap) -> &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(grpc_connection(stream, status));
            }
        });
    });
    address
}

async fn grpc_connection(
    stream: tokio::net::TcpStream,
    status: fn(&http::HeaderMap) -> &'static str,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let status = status(request.headers());
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                message.extend_from_slice(&data);
            }
            assert_eq!((path.as_str(), &message[5..]), ("/infer", BODY.as_bytes()));
            let response = http::Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream
                .send_data(bytes::Bytes::from_static(b"\0\0\0\0\x02ok"), false)
                .unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            trailers.insert("grpc-message", "who".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
    }
}

#[test]
fn unary_calls_count_by_their_status_and_their_message() {
    let address = serve_grpc(|metadata| match metadata.get("authorization") {
        Some(key) if key == "Bearer k" => "0",
        _ => "16",
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer");
    std::fs::write(&file, "ok").unwrap();
    let calls = |more: &[&str]| {
        let answer = [
            "--grpc",
            "--requests",
            "20",
            "--connections",
            "3",
            "--answer",
        ];
        let mut arguments = answer.to_vec();
        arguments.push(file.to_str().unwrap());
        arguments.extend_from_slice(more);
        printed(&load(address, &arguments))
    };
    let found = calls(&["--header", "Authorization: Bearer k"]);
    assert_eq!(
        (&found["requests"], &found["errors"], &found["answers"]),
        (&20.into(), &0.into(), &serde_json::json!([20])),
        "{found}"
    );
    let found = calls(&[]);
    assert_eq!(
        (&found["requests"], &found["errors"]),
        (&0.into(), &20.into())
    );
    assert_eq!(found["error_sample"], "grpc-status 16: who");
}
