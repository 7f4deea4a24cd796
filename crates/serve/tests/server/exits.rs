//! Requests that leave a network early, and several tasks from one pass.

use std::thread;

use serde_json::{Value, json};

use crate::{
    client::{data, numbers},
    model::{KINDS, LABELS, Model, ROW, rows},
    running::{CALIBRATED, Running, model},
};

const DEEP: &str = "/v2/models/deep/versions/1/infer";
const CALIBRATED_DEEP: &str = "/v2/models/deep/versions/2/infer";
/// The level of each exit.
const EXITS: [(&str, usize); 3] = [("low", 0), ("middle", 1), ("top", 3)];
const KIND: usize = 2;

/// Whether a row leaves at an exit, by the exit's probabilities.
type Leaves = Box<dyn Fn(usize, &[f32]) -> bool>;

fn question(rows: &[f32], parameters: Value) -> Value {
    json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [rows.len() / ROW, ROW], "data": rows}],
           "parameters": parameters})
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn sureness(probabilities: &[f32]) -> f32 {
    probabilities.iter().copied().fold(0.0, f32::max)
}

/// Expects that each row left where it should, with that exit's answer, and that the other task was answered too.
fn check(answer: &Value, model: &Model, rows: &[f32], leaves: impl Fn(usize, &[f32]) -> bool) {
    let found = numbers(answer, "probabilities");
    let mut taken = [false; 3];
    for (index, row) in rows.chunks(ROW).enumerate() {
        let at = |exit: usize| model.probabilities_at(EXITS[exit].1, row);
        let exit = (0..2).find(|exit| leaves(*exit, &at(*exit))).unwrap_or(2);
        taken[exit] = true;
        assert_eq!(data(answer, "exit")[index], EXITS[exit].0, "row {index}");
        let own = &found[index * LABELS.len()..(index + 1) * LABELS.len()];
        assert_eq!(bits(own), bits(&at(exit)), "row {index}");
    }
    let names: Vec<&str> = (0..3)
        .filter(|exit| taken[*exit])
        .map(|exit| EXITS[exit].0)
        .collect();
    assert_eq!(answer["parameters"]["exit"], names.join(","));
    let kinds = numbers(answer, "kind.probabilities");
    assert_eq!(bits(&kinds), bits(&model.probabilities_at(KIND, rows)));
}

/// A confidence that about half of the rows have at the lowest exit.
fn middling(model: &Model, rows: &[f32]) -> f32 {
    let mut sure: Vec<f32> = rows
        .chunks(ROW)
        .map(|row| sureness(&model.probabilities_at(0, row)))
        .collect();
    sure.sort_by(f32::total_cmp);
    sure[sure.len() / 2]
}

#[test]
fn a_request_says_where_its_rows_leave() {
    let running = Running::start();
    let (model, rows) = (model("deep", 1), rows(1, 9));
    let mut client = running.admin();
    let mut ask = |path: &str, parameters: Value| {
        client
            .post(path, question(&rows, parameters).to_string())
            .answer()
    };

    check(&ask(DEEP, json!({})), &model, &rows, |_, _| false);
    check(&ask(DEEP, json!({"exit": "top"})), &model, &rows, |_, _| {
        false
    });
    check(
        &ask(DEEP, json!({"exit": "low"})),
        &model,
        &rows,
        |exit, _| exit == 0,
    );
    check(
        &ask(DEEP, json!({"exit": "middle"})),
        &model,
        &rows,
        |exit, _| exit == 1,
    );
    let confidence = middling(&model, &rows);
    let is_sure = |_, row: &[f32]| sureness(row) >= confidence;
    check(
        &ask(DEEP, json!({"confidence": confidence})),
        &model,
        &rows,
        is_sure,
    );
    check(
        &ask(DEEP, json!({"confidence": 0})),
        &model,
        &rows,
        |exit, _| exit == 0,
    );
    check(
        &ask(DEEP, json!({"budget_ms": 1e9})),
        &model,
        &rows,
        |_, _| false,
    );
    check(
        &ask(DEEP, json!({"budget_ms": 1e-9})),
        &model,
        &rows,
        |exit, _| exit == 0,
    );

    let as_calibrated = |exit, row: &[f32]| exit == 0 && sureness(row) >= CALIBRATED as f32;
    check(
        &ask(CALIBRATED_DEEP, json!({})),
        &model,
        &rows,
        as_calibrated,
    );
    check(
        &ask(CALIBRATED_DEEP, json!({"exit": "top"})),
        &model,
        &rows,
        |_, _| false,
    );
}

#[test]
fn outputs_by_task_come_from_one_pass_and_only_those_that_are_named() {
    let running = Running::start();
    let (model, rows) = (model("deep", 1), rows(2, 3));
    let mut asked = question(&rows, json!({}));
    asked["outputs"] = json!([{"name": "kind.label"}, {"name": "kind.class"}]);
    let answer = running.admin().post(DEEP, asked.to_string()).answer();
    let names: Vec<_> = answer["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| &output["name"])
        .collect();
    assert_eq!(names, ["kind.label", "kind.class"]);
    assert_eq!(answer["parameters"]["exit"], Value::Null);
    let kinds = model.probabilities_at(KIND, &rows);
    for (index, row) in kinds.chunks(KINDS.len()).enumerate() {
        let class = usize::from(row[1] > row[0]);
        assert_eq!(data(&answer, "kind.class")[index], class);
        assert_eq!(data(&answer, "kind.label")[index], KINDS[class]);
    }
    asked["outputs"] = json!([{"name": "exit"}]);
    let answer = running.admin().post(DEEP, asked.to_string()).answer();
    assert_eq!(data(&answer, "exit"), &json!(["top", "top", "top"]));
    asked["outputs"] = json!([{"name": "shape.label"}]);
    let reply = running.admin().post(DEEP, asked.to_string());
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.error(),
        "no output `shape.label`: expected one of probabilities, label, class, exit, kind.probabilities, kind.label, kind.class"
    );
}

#[test]
fn requests_of_one_batch_leave_where_each_of_them_says() {
    let running = Running::start();
    let model = model("deep", 1);
    thread::scope(|scope| {
        for seed in 0..60_u64 {
            let (running, model) = (&running, &model);
            scope.spawn(move || {
                let rows = rows(seed, 1 + seed as usize % 4);
                let confidence = middling(model, &rows);
                let (parameters, leaves): (_, Leaves) = match seed % 4 {
                    0 => (json!({}), Box::new(|_, _| false)),
                    1 => (json!({"exit": "low"}), Box::new(|exit, _| exit == 0)),
                    2 => (json!({"exit": "middle"}), Box::new(|exit, _| exit == 1)),
                    _ => (
                        json!({"confidence": confidence}),
                        Box::new(move |_, row| sureness(row) >= confidence),
                    ),
                };
                let answer = running
                    .admin()
                    .post(DEEP, question(&rows, parameters).to_string());
                check(&answer.answer(), model, &rows, leaves);
            });
        }
    });
}

#[test]
fn what_a_request_may_not_say_is_refused_by_the_parameters_name() {
    let running = Running::start();
    let mut client = running.admin();
    let mut check = |model: &str, parameters: Value, expected: &str| {
        let path = format!("/v2/models/{model}/infer");
        let reply = client.post(&path, question(&rows(1, 1), parameters).to_string());
        assert_eq!(reply.status, 400, "{expected}");
        assert_eq!(reply.error(), expected);
    };
    check(
        "deep",
        json!({"exit": "kind"}),
        "parameter `exit`: expected low, middle, top, found `kind`",
    );
    check(
        "deep",
        json!({"confidence": 2}),
        "parameter `confidence`: expected a number from 0 to 1, found 2.0",
    );
    check(
        "deep",
        json!({"budget_ms": "1"}),
        "parameter `budget_ms`: expected a number of more than 0, found a text",
    );
    check(
        "deep",
        json!({"exit": "low", "confidence": 1}),
        "parameters `exit` and `confidence`: expected one of `exit`, `confidence` and `budget_ms`",
    );
    check(
        "tiny",
        json!({"confidence": 0.5}),
        "parameter `confidence`: the model has no exit below its top level",
    );
    check(
        "tiny",
        json!({"exit": "low"}),
        "parameter `exit`: expected top, found `low`",
    );
}

#[test]
fn metadata_and_metrics_know_the_exits() {
    let running = Running::start();
    let mut client = running.admin();
    client
        .post(
            DEEP,
            question(&rows(1, 5), json!({"exit": "middle"})).to_string(),
        )
        .answer();
    let text = String::from_utf8(client.get("/metrics").body).unwrap();
    let line = "strata_exit_rows_total{model=\"deep\",version=\"1\",exit=\"middle\"} 5";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(
        !text.contains("strata_exit_rows_total{model=\"tiny\""),
        "{text}"
    );

    let parameters = &client.get("/v2/models/deep").answer()["parameters"];
    assert_eq!(parameters["exits"], "low,middle,top");
    assert_eq!(parameters["exit_confidences"], "0.4375,never");
    let times = parameters["exit_ms"].as_str().unwrap().split(',');
    let times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
    assert!(times.len() == 3 && times[0] <= times[2], "{times:?}");
    let tiny = client.get("/v2/models/tiny").answer();
    assert_eq!(tiny["parameters"]["exits"], Value::Null);
}
