use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use strata_serve::Limits;

use crate::{
    model::{ROW, rows},
    running::Running,
};

const INFER: &str = "/v2/models/tiny/infer";
const SHORT: Duration = Duration::from_millis(300);

fn with(change: impl FnOnce(&mut Limits)) -> Running {
    Running::start_with(|options| change(&mut options.limits))
}

fn question(count: usize) -> String {
    let data = rows(1, count);
    json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [count, ROW], "data": data}]})
        .to_string()
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length_and_while_it_arrives() {
    let running = with(|limits| limits.body_bytes = 5000);
    let mut client = running.admin();
    client.send_head("POST", INFER, &[("Content-Length", "5001")]);
    assert_eq!(client.reply().status, 413);
    let mut client = running.admin();
    client.send_head("POST", INFER, &[("Transfer-Encoding", "chunked")]);
    let chunk = format!("{:x}\r\n{}\r\n", 2000, " ".repeat(2000));
    (0..3).for_each(|_| client.send(chunk.as_bytes()));
    assert_eq!(client.reply().status, 413);
    assert_eq!(running.admin().post(INFER, question(1)).status, 200);
    assert_eq!(
        running
            .admin()
            .post(INFER, format!("{}{}", question(1), " ".repeat(3000)))
            .status,
        200
    );
}

#[test]
fn more_rows_than_the_queue_takes_are_refused() {
    let running = with(|limits| limits.queue_rows = 4);
    assert_eq!(running.admin().post(INFER, question(4)).status, 200);
    let reply = running.admin().post(INFER, question(5));
    assert_eq!(
        (reply.status, &*reply.error()),
        (413, "rows: more than the 4 that are allowed")
    );
}

#[test]
fn bodies_that_do_not_fit_together_are_refused_for_now() {
    let running = with(|limits| limits.all_bodies_bytes = 6000);
    let mut first = running.admin();
    first.send_head("POST", INFER, &[("Content-Length", "5000")]);
    first.send(&[b' '; 4000]);
    thread::sleep(Duration::from_millis(300));
    let reply = running
        .admin()
        .post(INFER, format!("{}{}", question(1), " ".repeat(3000)));
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    first.send(&[b' '; 1000]);
    assert_eq!(first.reply().status, 400);
    assert_eq!(
        running
            .admin()
            .post(INFER, format!("{}{}", question(1), " ".repeat(3000)))
            .status,
        200
    );
}

#[test]
fn a_caller_that_stops_sending_is_given_up() {
    let running = with(|limits| {
        limits.head_time = SHORT;
        limits.body_time = SHORT;
    });
    let mut body = running.admin();
    body.send_head("POST", INFER, &[("Content-Length", "100")]);
    body.send(b"{");
    let mut head = running.client();
    head.send(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: te");
    let idle = running.client();
    let [mut second, mut no_second] = [running.admin(), running.admin()];
    assert_eq!(second.get("/v2").status, 200);
    assert_eq!(no_second.get("/v2").status, 200);
    second.send(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: te");
    let start = Instant::now();
    assert_eq!(body.reply().status, 408);
    for mut closed in [body, head, idle, second, no_second] {
        assert!(closed.try_reply().is_none());
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // One byte at a time does not help.
    let mut slow = running.client();
    let start = Instant::now();
    while slow.try_send(b"G").is_ok() && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_caller_that_takes_answers_slowly_has_them_all() {
    let running = with(|limits| limits.head_time = SHORT);
    let mut client = running.admin();
    // More than there is room for on the way back.
    let answer = running.admin().get("/openapi.json");
    let count = (24 << 20) / answer.body.len();
    (0..count).for_each(|_| client.send_head("GET", "/openapi.json", &[]));
    thread::sleep(3 * SHORT);
    for number in 0..count {
        let reply = client.try_reply().expect("cut off");
        assert!(reply.body == answer.body, "answer {number}");
    }
}

#[test]
fn a_caller_that_takes_no_answers_is_given_up() {
    let running = with(|limits| limits.write_time = SHORT);
    let mut client = running.admin();
    let start = Instant::now();
    // Until the buffers on the way back are full, and then until the server closes.
    let full = || start.elapsed() > Duration::from_secs(15);
    let request = format!(
        "GET /v2/models/tiny HTTP/1.1\r\nX-API-Key: {}\r\nHost: a\r\n\r\n",
        running.admin
    )
    .repeat(64);
    while !full() && client.try_send(request.as_bytes()).is_ok() {}
    assert!(!full(), "still connected");
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let running = with(|limits| limits.head_bytes = 8192);
    let mut client = running.admin().with_header("X-Long", &"a".repeat(10_000));
    client.send_head("GET", "/v2", &[]);
    assert_eq!(client.reply().status, 431);
}

#[test]
fn a_request_whose_time_is_up_is_not_answered() {
    let running = Running::start();
    let check = |header: &str, expected: u16| {
        let mut client = running.admin().with_header("X-Request-Timeout-Ms", header);
        assert_eq!(client.post(INFER, question(1)).status, expected, "{header}");
    };
    check("0", 504);
    // The body's time is part of it.
    let mut late = running.admin().with_header("X-Request-Timeout-Ms", "100");
    late.send_head("POST", INFER, &[("Content-Length", "100")]);
    late.send(b"{");
    let reply = late.reply();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (504, Some("close"))
    );
    assert!(late.try_reply().is_none());
    check("20000", 200);
    check("18446744073709551615", 200);
    check("-1", 400);
    check("soon", 400);
    let mut question: serde_json::Value = serde_json::from_str(&question(200)).unwrap();
    question["parameters"] = json!({"timeout": 1});
    assert_eq!(
        running.admin().post(INFER, question.to_string()).status,
        504
    );
    question["parameters"] = json!({"timeout": 20_000_000});
    assert_eq!(
        running.admin().post(INFER, question.to_string()).status,
        200
    );
}

#[test]
fn connections_over_the_limit_wait_their_turn() {
    let running = with(|limits| limits.connections = 1);
    let mut first = running.admin();
    assert_eq!(first.get("/v2").status, 200);
    let mut second = running.admin();
    second.send_head("GET", "/v2", &[]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(first.get("/v2").status, 200);
    drop(first);
    assert_eq!(second.reply().status, 200);
}

#[test]
fn who_sends_nothing_keeps_nobody_out() {
    let running = with(|limits| limits.connections = 2);
    let mut idle = running.admin();
    assert_eq!(idle.get("/v2").status, 200);
    let question = question(1);
    let mut busy = running.admin();
    let length = question.len().to_string();
    busy.send_head("POST", INFER, &[("Content-Length", &length)]);
    busy.send(&question.as_bytes()[..20]);
    // A part of a head is no request.
    let mut slow = running.client();
    assert!(
        slow.try_send(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: a")
            .is_ok()
    );
    assert_eq!(running.admin().get("/v2").status, 200);
    assert_eq!(running.admin().get("/v2").status, 200);
    // The request that had begun is answered.
    busy.send(&question.as_bytes()[20..]);
    assert_eq!(busy.reply().status, 200);
    assert!(idle.try_reply().is_none(), "an idle connection stays open");
}

#[test]
fn callers_at_the_door_keep_nobody_out() {
    let running = with(|limits| limits.connections = 1);
    // As many as may stand there.
    let mut slow: Vec<_> = (0..4).map(|_| running.client()).collect();
    for client in &mut slow {
        assert!(client.try_send(b"GET /v2 HT").is_ok());
    }
    assert_eq!(running.admin().get("/v2").status, 200);
    // Who is in time is answered.
    let mut late = running.admin();
    late.send(b"GET /v2 HTTP/1.1\r\nHost: x\r\n");
    thread::sleep(Duration::from_millis(300));
    late.send(format!("X-API-Key: {}\r\n\r\n", running.admin).as_bytes());
    assert_eq!(late.reply().status, 200);
}

#[test]
fn health_is_answered_while_all_connections_are_taken() {
    let running = with(|limits| limits.connections = 1);
    let mut busy = running.admin();
    busy.send_head("POST", INFER, &[("Content-Length", "100")]);
    busy.send(b"{");
    thread::sleep(Duration::from_millis(300));
    for path in ["/v2/health/ready", "/v2/health/live", "/"] {
        let mut probe = running.client();
        let reply = probe.get(path);
        // Its connection is none for other requests.
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, Some("close")),
            "{path}"
        );
        assert!(probe.try_reply().is_none(), "{path}");
    }
}

#[test]
fn who_closes_its_side_behind_a_question_of_health_is_answered() {
    let running = Running::start();
    let mut probe = TcpStream::connect(running.address).unwrap();
    let question = b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n";
    probe.write_all(question).unwrap();
    probe.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
}

#[test]
fn a_stopping_server_finishes_what_it_began_and_takes_no_more() {
    let mut running = Running::start();
    let question = question(1);
    let mut busy = running.admin();
    busy.send_head(
        "POST",
        INFER,
        &[("Content-Length", &question.len().to_string())],
    );
    busy.send(&question.as_bytes()[..20]);
    let mut idle = running.admin();
    assert_eq!(idle.get("/v2").status, 200);
    thread::sleep(Duration::from_millis(300));

    running.stop();
    assert!(idle.try_reply().is_none(), "an idle connection stays open");
    thread::sleep(Duration::from_millis(300));
    assert!(
        std::net::TcpStream::connect(running.address).is_err(),
        "still listening"
    );
    busy.send(&question.as_bytes()[20..]);
    assert_eq!(busy.reply().status, 200);
    assert!(busy.try_reply().is_none());
    running.wait();
}

#[test]
fn who_asked_before_a_server_was_told_to_stop_is_answered() {
    let mut running = Running::start();
    // Most of them wait to be let in when it is told.
    let mut clients: Vec<_> = (0..50).map(|_| running.admin()).collect();
    for client in &mut clients {
        client.send_head("GET", "/v2", &[]);
    }
    running.stop();
    for client in &mut clients {
        assert_eq!(client.reply().status, 200);
    }
    running.wait();
}

#[test]
fn a_stopping_server_does_not_wait_for_ever() {
    let mut running = with(|limits| limits.drain_time = SHORT);
    let mut busy = running.admin();
    busy.send_head("POST", INFER, &[("Content-Length", "100")]);
    busy.send(b"{");
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    running.stop();
    running.wait();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(busy.try_reply().is_none());
}
