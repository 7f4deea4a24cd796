use std::{
    fs, thread,
    time::{Duration, Instant},
};

use strata_serve::{Action, KeyModels, routes};

use crate::{client::Client, model, running::Running};

const INFER: &str = "/v2/models/tiny/infer";

fn question() -> String {
    let data = model::rows(1, 1);
    serde_json::json!({
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, model::ROW], "data": data}]
    })
    .to_string()
}

/// A body that suits the route.
fn body(method: &str, path: &str) -> String {
    let row = model::rows(1, 1);
    match path.rsplit_once(':') {
        _ if method != "POST" => String::new(),
        Some((_, "classify")) => serde_json::json!({ "examples": [{ "image": row }] }).to_string(),
        Some(_) => serde_json::json!({ "instances": [row] }).to_string(),
        None => question(),
    }
}

fn check(client: &mut Client, method: &str, path: &str, expected: u16) {
    let body = body(method, path);
    let reply = client.ask(method, path, &[], body.as_bytes());
    assert_eq!(
        reply.status,
        expected,
        "{method} {path}: {}",
        String::from_utf8_lossy(&reply.body)
    );
    if expected == 401 {
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
}

#[test]
fn every_route_but_health_needs_a_key() {
    let running = Running::start();
    let mut count = 0;
    for (method, pattern) in routes() {
        let path = pattern
            .replace("{model}", "tiny")
            .replace("{version}", "1")
            .replace("{label}", "stable");
        let is_open = path.starts_with("/v2/health/") || path == "/";
        check(
            &mut running.client(),
            method,
            &path,
            if is_open { 200 } else { 401 },
        );
        if method == "GET" {
            check(
                &mut running.client(),
                "HEAD",
                &path,
                if is_open { 200 } else { 401 },
            );
        }
        for other in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
            check(&mut running.client(), other, &path, 401);
        }
        // A classifier has nothing to regress.
        let expected = if path.ends_with(":regress") { 400 } else { 200 };
        check(&mut running.admin(), method, &path, expected);
        count += 1;
    }
    assert!(count >= 15);
    for path in [
        "//",
        "/v2/models",
        "/v2/models/none/infer",
        "/v1/models/none",
        "/v1/models/none:predict",
        "/v1",
        "/favicon.ico",
        "/metrics/",
        "/v2/health",
    ] {
        check(&mut running.client(), "GET", path, 401);
        check(&mut running.client(), "POST", path, 401);
    }
}

#[test]
fn a_wrong_key_is_refused_before_the_body_is_read() {
    let running = Running::start();
    let wrong = format!("{}0", &running.admin[..running.admin.len() - 1]);
    let keys = [
        "",
        "x",
        "strata_",
        &running.admin[..running.admin.len() - 1],
        &wrong,
    ];
    for key in keys.into_iter().filter(|key| **key != *running.admin) {
        check(&mut running.client().with_key(key), "POST", INFER, 401);
        check(
            &mut running.client().with_header("X-API-Key", key),
            "POST",
            INFER,
            401,
        );
    }
    let mut client = running.client();
    client.send_head(
        "POST",
        INFER,
        &[("Content-Length", "1000000"), ("Expect", "100-continue")],
    );
    assert_eq!(client.reply().status, 401);
    check(
        &mut running.client().with_header("X-API-Key", &running.admin),
        "POST",
        INFER,
        200,
    );
}

#[test]
fn a_key_allows_its_actions_and_models_and_tells_nothing_of_others() {
    let running = Running::start();
    let tiny = || KeyModels::Listed(vec!["tiny".parse().unwrap(), "planned".parse().unwrap()]);
    let mut infer = running
        .client()
        .with_key(&running.key(&[Action::Infer], tiny()));
    check(&mut infer, "POST", INFER, 200);
    check(&mut infer, "GET", "/v2/models/tiny", 200);
    check(&mut infer, "GET", "/v2", 200);
    check(&mut infer, "POST", "/v2/models/tiny/explain", 403);
    check(&mut infer, "GET", "/metrics", 403);
    check(&mut infer, "POST", "/v2/models/planned/infer", 404);
    check(&mut infer, "POST", "/v2/models/tiny/versions/9/infer", 404);

    let mut refusal = |path: &str| {
        let reply = infer.post(path, question());
        (reply.status, reply.body)
    };
    let existing = refusal("/v2/models/other/infer");
    assert_eq!(existing.0, 403);
    assert_eq!(existing, refusal("/v2/models/none/infer"));
    assert_eq!(existing, refusal("/v2/models/other/versions/1/infer"));
    assert_eq!(existing, refusal("/v2/models/other/versions/9/explain"));
    assert_eq!(existing, refusal("/v2/models/..%2Ftiny/infer"));

    let mut metadata = running
        .client()
        .with_key(&running.key(&[Action::Metadata], KeyModels::All));
    check(&mut metadata, "POST", INFER, 403);
    check(&mut metadata, "GET", "/v2/models/other", 200);
    check(&mut metadata, "GET", "/v2/models/none", 404);
    let mut metrics = running
        .client()
        .with_key(&running.key(&[Action::Metrics], KeyModels::All));
    check(&mut metrics, "GET", "/metrics", 200);
}

#[test]
fn a_revoked_key_is_refused_within_a_second() {
    let running = Running::start();
    let key = running.key(&[Action::Infer], KeyModels::All);
    let mut client = running.client().with_key(&key);
    check(&mut client, "POST", INFER, 200);
    running.keys.revoke(&key[7..23]).unwrap();
    let revoked = Instant::now();
    while client.post(INFER, question()).status == 200 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "still let in");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        client.post(INFER, question()).error(),
        "the key was revoked"
    );
    check(&mut running.admin(), "POST", INFER, 200);
}

#[test]
fn nobody_gets_in_while_the_keys_cannot_be_read() {
    let running = Running::start();
    let mut client = running.admin();
    let good = fs::read(running.keys.path()).unwrap();
    fs::write(running.keys.path(), &good[..good.len() - 9]).unwrap();
    thread::sleep(Duration::from_millis(600));
    let reply = client.post(INFER, question());
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(running.client().post(INFER, question()).status, 401);
    check(&mut running.client(), "GET", "/v2/health/live", 200);
    fs::write(running.keys.path(), good).unwrap();
    thread::sleep(Duration::from_millis(600));
    check(&mut client, "POST", INFER, 200);
    // As of a folder that is away for a while: it is not the key that is wrong.
    fs::remove_file(running.keys.path()).unwrap();
    thread::sleep(Duration::from_millis(600));
    check(&mut client, "POST", INFER, 503);
}

#[test]
fn metrics_count_answers_and_refusals() {
    let running = Running::start();
    check(&mut running.client(), "POST", INFER, 401);
    check(&mut running.admin(), "POST", INFER, 200);
    check(
        &mut running.admin(),
        "POST",
        "/v2/models/tiny/versions/2/infer",
        200,
    );
    assert_eq!(running.admin().post(INFER, "{").status, 400);
    let text = running.admin().get("/metrics");
    assert_eq!(
        text.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(text.body).unwrap();
    for line in [
        "strata_requests_total{model=\"tiny\",version=\"1\",route=\"infer\",status=\"200\"} 1",
        "strata_requests_total{model=\"tiny\",version=\"2\",route=\"infer\",status=\"200\"} 1",
        "strata_requests_total{model=\"tiny\",version=\"1\",route=\"infer\",status=\"400\"} 1",
        "strata_request_seconds_count{model=\"tiny\",version=\"1\",route=\"infer\"} 2",
        "strata_batch_rows_count{model=\"tiny\",version=\"1\"} 1",
        "strata_queue_rows{model=\"tiny\",version=\"1\"} 0",
        "strata_refused_total{reason=\"no-credential\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn only_a_key_for_it_loads_and_unloads_and_the_index_shows_the_keys_models() {
    let running = Running::start();
    let tiny = || KeyModels::from(vec!["tiny".parse().unwrap()]);
    let asks = running.key(&[Action::Infer], tiny());
    let loads = running.key(&[Action::Load], tiny());
    let unload = |key: &str, model: &str| {
        let path = format!("/v2/repository/models/{model}/unload");
        running.client().with_key(key).post(&path, "").status
    };
    assert_eq!(unload(&asks, "tiny"), 403);
    assert_eq!(unload(&loads, "wide"), 403);
    assert_eq!(unload(&loads, "none"), 403);
    let index = || {
        let reply = running
            .client()
            .with_key(&asks)
            .post("/v2/repository/index", "");
        reply.answer().as_array().unwrap().len()
    };
    assert_eq!(index(), 2);
    let stats = running.client().with_key(&asks).get("/v2/models/stats");
    assert_eq!(stats.answer()["model_stats"].as_array().unwrap().len(), 2);
    assert_eq!(unload(&loads, "tiny"), 200);
    assert_eq!(index(), 1);
    assert_eq!(running.admin().get("/v2/models/tiny").status, 404);
}
