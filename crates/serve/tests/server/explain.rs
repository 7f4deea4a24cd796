use serde_json::{Value, json};
use strata_serve::Limits;

use crate::{
    client::{Reply, numbers},
    model::{LABELS, ROW, SIDE, rows},
    running::Running,
};

const EXPLAIN: &str = "/v2/models/tiny/explain";

fn ask(running: &Running, count: usize, parameters: Value) -> Reply {
    let input =
        json!({"name": "image", "datatype": "FP32", "shape": [count, ROW], "data": rows(1, count)});
    running.admin().post(
        EXPLAIN,
        json!({"id": "7", "inputs": [input], "parameters": parameters}).to_string(),
    )
}

fn check_error(running: &Running, count: usize, parameters: Value, expected: &str) {
    let reply = ask(running, count, parameters);
    assert_eq!(reply.status, 400);
    assert_eq!(reply.error(), expected);
}

#[test]
fn an_explanation_adds_up_and_names_its_question() {
    let running = Running::start();
    let settings =
        json!({"method": "integrated-gradients", "steps": 60, "baseline": "grey", "target": 2});
    let answer = ask(&running, 1, settings).answer();
    let parameters = &answer["parameters"];
    assert_eq!(answer["id"], "7");
    assert_eq!(parameters["digest"], json!(running.digest));
    assert_eq!(
        (&parameters["version"], &parameters["levels"]),
        (&json!(1), &json!("low,top"))
    );
    assert_eq!(
        (&parameters["method"], &parameters["steps"]),
        (&json!("integrated-gradients"), &json!(60))
    );
    assert_eq!(
        (&parameters["baseline"], &parameters["target"]),
        (&json!("grey"), &json!(2))
    );
    assert_eq!(parameters["label"], LABELS[2]);
    assert_eq!(answer["outputs"][0]["shape"], json!([1, 1, SIDE, SIDE]));
    let values = numbers(&answer, "attribution");
    assert_eq!(values.len(), ROW);
    let number = |name: &str| parameters[name].as_f64().unwrap();
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    let difference = number("prediction") - number("baseline_prediction");
    assert!(
        (sum - difference - number("completeness_error")).abs() < 1e-4,
        "{sum} {parameters}"
    );
    assert!(
        (sum - difference).abs() < 0.05 * difference.abs().max(0.1),
        "{sum} {parameters}"
    );
    assert_eq!(
        answer,
        ask(
            &running,
            1,
            json!({"steps": 60, "baseline": "grey", "target": 2})
        )
        .answer()
    );
}

#[test]
fn a_question_that_cannot_be_explained_is_refused() {
    let running = Running::start();
    check_error(
        &running,
        1,
        json!({"steps": 0}),
        "steps: expected 1 to 500, found 0",
    );
    check_error(
        &running,
        1,
        json!({"steps": 501}),
        "steps: expected 1 to 500, found 501",
    );
    check_error(
        &running,
        1,
        json!({"target": 3}),
        "target: expected a class below 3, found 3",
    );
    check_error(
        &running,
        1,
        json!({"method": "x"}),
        "method: expected integrated-gradients, found `x`",
    );
    check_error(
        &running,
        1,
        json!({"baseline": "x"}),
        "baseline: expected black, white or grey, found `x`",
    );
}

#[test]
fn several_rows_are_explained_each_as_it_would_be_alone() {
    let running = Running::start_with(|options| options.limits.explain_rows = 3);
    let rows = rows(1, 3);
    let input = |rows: &[f32]| {
        let count = rows.len() / ROW;
        json!({"name": "image", "datatype": "FP32", "shape": [count, ROW], "data": rows})
    };
    let ask_rows = |rows: &[f32]| {
        let parameters = json!({"steps": 20, "baseline": "white"});
        let body = json!({"inputs": [input(rows)], "parameters": parameters});
        running.admin().post(EXPLAIN, body.to_string())
    };
    let all = ask_rows(&rows).answer();
    assert_eq!(all["outputs"][0]["shape"], json!([3, 1, SIDE, SIDE]));
    assert_eq!(all["parameters"]["steps"], json!(20));
    assert!(all["parameters"].get("target").is_none());
    for (index, row) in rows.chunks(ROW).enumerate() {
        let one = ask_rows(row).answer();
        let own = &numbers(&all, "attribution")[index * ROW..][..ROW];
        assert_eq!(own, numbers(&one, "attribution"));
        for output in &all["outputs"].as_array().unwrap()[1..] {
            let name = output["name"].as_str().unwrap();
            assert_eq!(output["shape"], json!([3]));
            assert_eq!(output["data"][index], one["parameters"][name], "{name}");
        }
    }
    assert_eq!(all["outputs"].as_array().unwrap().len(), 6);
    let more = ask(&running, 4, json!({}));
    assert_eq!(
        (more.status, &*more.error()),
        (413, "rows: more than the 3 that are allowed")
    );
    // Nobody waits for the rows after the first.
    let late = ask(&running, 3, json!({"steps": 500, "timeout": 1}));
    assert_eq!(late.status, 504);
}

#[test]
fn more_explanations_at_once_than_allowed_are_refused() {
    let running = Running::start_with(|options| {
        options.limits = Limits {
            explanations: 0,
            ..Limits::default()
        }
    });
    let reply = ask(&running, 1, json!({}));
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
}
