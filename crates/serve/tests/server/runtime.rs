//! How requests are queued, kept, counted and given up.

use std::thread;

use serde_json::{Value, json};
use strata_serve::{Action, KeyModels};

use crate::{
    client::Client,
    model::{ROW, rows},
    running::{Running, metric, until},
};

const INFER: &str = "/v2/models/tiny/infer";

fn question(seed: u64, count: usize, parameters: Value) -> String {
    let data = rows(seed, count);
    let image = json!({"name": "image", "datatype": "FP32", "shape": [count, ROW], "data": data});
    json!({"parameters": parameters, "inputs": [image]}).to_string()
}

#[test]
fn the_same_rows_are_answered_from_what_was_kept() {
    let running = Running::start_with(|options| options.limits.cache_bytes = 1 << 20);
    let mut client = running.admin();
    let mut ask = |path: &str, seed, parameters| client.post(path, question(seed, 2, parameters));
    let first = ask(INFER, 1, json!({}));
    // What does not change the answer makes no difference.
    let again = ask(INFER, 1, json!({"priority": 1, "timeout": 20_000_000}));
    assert_eq!((first.status, &first.body), (200, &again.body));
    // Other rows, other versions, and other ways through a network do.
    assert_ne!(first.body, ask(INFER, 2, json!({})).body);
    let other = ask("/v2/models/tiny/versions/2/infer", 1, json!({}));
    assert_ne!(first.json()["outputs"], other.json()["outputs"]);
    let low = ask("/v2/models/deep/infer", 1, json!({"exit": "low"}));
    let top = ask("/v2/models/deep/infer", 1, json!({"exit": "top"}));
    assert_ne!(low.json()["outputs"], top.json()["outputs"]);

    let stats = client.get("/v2/models/tiny/versions/1/stats").json();
    let stats = &stats["model_stats"][0];
    let counted = |name: &str| stats["inference_stats"][name]["count"].clone();
    assert_eq!(counted("cache_hit"), 1);
    assert_eq!(counted("cache_miss"), 2);
    assert_eq!(counted("success"), 3);
    assert_eq!(stats["inference_count"], 4);
    let hits = "strata_cache_hits_total{model=\"tiny\",version=\"1\"}";
    assert_eq!(metric(&mut client, hits), 1.0);
    assert!(metric(&mut client, "strata_cache_bytes ") > 0.0);
    let computed = "strata_stage_seconds_count{model=\"tiny\",version=\"1\",stage=\"compute\"}";
    assert_eq!(metric(&mut client, computed), 2.0);
    let memory = "strata_model_memory_bytes{model=\"wide\",version=\"1\"}";
    assert!(metric(&mut client, memory) > 4.0 * 1024.0 * 1024.0);
}

#[test]
fn a_key_has_so_many_requests_at_a_time_and_others_are_not_kept_waiting() {
    let running = Running::start_with(|options| options.limits.key_requests = 1);
    let one = running.key(&[Action::Infer, Action::Metadata], KeyModels::All);
    let mut busy = running.client().with_key(&one);
    busy.send_head("POST", INFER, &[("Content-Length", "100")]);
    let mut more = running.client().with_key(&one);
    until("the turns are used up", || more.get("/v2").status == 429);
    let refused = more.get("/v2");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(running.admin().get("/v2").status, 200);
    busy.send(&[b' '; 100]);
    assert_eq!(busy.reply().status, 400);
    until("there is a turn again", || more.get("/v2").status == 200);
}

#[test]
fn models_that_do_not_fit_into_memory_are_loaded_when_they_are_asked() {
    // `wide` takes some 8 MiB, the two versions of `deep` some 32 MiB, and the others nearly nothing.
    let running = Running::start_with(|options| options.limits.memory_bytes = 36 << 20);
    let mut client = running.admin();
    let asleep = |client: &mut Client| -> Vec<String> {
        let index = client.post("/v2/repository/index", "").json();
        let all = index.as_array().unwrap().iter();
        let asleep = all.filter(|entry| entry["reason"].is_string());
        let names = asleep.map(|entry| {
            assert_eq!(entry["state"], "READY");
            let part = |name: &str| entry[name].as_str().unwrap();
            format!("{}@{}", part("name"), part("version"))
        });
        names.collect()
    };
    let deep = ["deep@1", "deep@2"];
    let path = |name: &str| format!("/v2/models/{name}/infer");
    let mut other = running.admin();
    let mut ask = |name: &str| other.post(&path(name), question(1, 1, json!({}))).status;
    assert_eq!(ask("wide"), 200);
    assert_eq!(asleep(&mut client), deep);
    // Who watches over it does not wake it, and learns what one would who did.
    let watched = [
        "/v2/models/deep/ready",
        "/v2/models/deep/versions/plain/ready",
        "/v1/models/deep",
        "/v1/models/deep/labels/plain",
        "/v2/models/deep/stats",
        "/v2/models/deep/versions/2/stats",
    ];
    let told = |client: &mut Client| watched.map(|path| client.get(path).answer());
    let told_asleep = told(&mut client);
    for path in [
        "/v2/models/deep/versions/3/ready",
        "/v1/models/deep/versions/3",
        "/v1/models/deep/labels/2",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let status = client.get("/api/v1/status").answer();
    let shown = &status["models"]["deep"];
    assert_eq!(shown["versions"]["2"]["state"], "asleep", "{shown}");
    assert_eq!(shown["aliases"]["plain"], 1, "{shown}");
    assert_eq!(
        client.get("/v1/models").answer()["models"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(asleep(&mut client), deep);
    assert_eq!(metric(&mut client, "strata_asleep_models "), 1.0);
    assert_eq!(ask("tiny"), 200);
    assert_eq!(ask("deep"), 200);
    assert_eq!(asleep(&mut client), ["wide@1"]);
    assert_eq!(client.get("/v2/models/deep").status, 200);
    let told_awake = told(&mut client);
    assert_eq!(told_asleep[..4], told_awake[..4]);
    for (asleep, awake) in told_asleep[4..].iter().zip(&told_awake[4..]) {
        let names = |told: &Value| -> Vec<Value> {
            let all = told["model_stats"].as_array().unwrap().iter();
            all.map(|one| json!([one["name"], one["version"]]))
                .collect()
        };
        assert_eq!(names(asleep), names(awake));
        assert_eq!(asleep["model_stats"][0]["inference_count"], 0);
    }
    assert_eq!(ask("wide"), 200);
    assert_eq!(asleep(&mut client), deep);
    // All that wait for one are answered when it is there.
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let reply = running
                    .admin()
                    .post(&path("deep"), question(1, 1, json!({})));
                assert_eq!(reply.status, 200);
            });
        }
    });
    assert_eq!(asleep(&mut client), ["wide@1"]);
    assert_eq!(ask("wide"), 200);
    // Unloading has nothing to do with it.
    let unload = "/v2/repository/models/wide/unload";
    assert_eq!(client.post(unload, "").status, 200);
    assert_eq!(ask("wide"), 404);
    assert_eq!(ask("deep"), 200);
    assert_eq!(
        client.post("/v2/repository/models/deep/load", "").status,
        200
    );
}

#[test]
fn what_names_a_request_is_in_its_answer() {
    let running = Running::start();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (traceparent, expected) in [(trace, Some(trace)), ("00-1-2-3", None)] {
        let mut client = running
            .admin()
            .with_header("traceparent", traceparent)
            .with_header("X-Request-Id", "question-7");
        // Refusals too.
        for path in ["/v2", "/v2/models/none"] {
            let reply = client.get(path);
            assert_eq!(reply.header("traceparent"), expected, "{path}");
            assert_eq!(reply.header("x-request-id"), Some("question-7"), "{path}");
        }
    }
}

#[test]
fn a_caller_that_leaves_is_not_computed_for() {
    let running = Running::start();
    let mut client = running.admin();
    let long = question(1, 1024, json!({}));
    until("one is counted", || {
        let mut caller = running.admin();
        let length = long.len().to_string();
        let length = [("Content-Length", &*length)];
        caller.send_head("POST", "/v2/models/wide/infer", &length);
        caller.send(long.as_bytes());
        drop(caller);
        metric(&mut client, "strata_cancelled_total") > 0.0
    });
}
