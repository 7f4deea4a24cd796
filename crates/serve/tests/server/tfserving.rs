use std::{fs, path::Path};

use serde_json::{Value, json};
use strata_serve::{Action, KeyModels};

use crate::{
    client::Reply,
    inference::png,
    model::{self, LABELS, ROW, SIDE, rows},
    running::{self, Running},
};

const PREDICT: &str = "/v1/models/tiny:predict";

fn predict(running: &Running, body: Value) -> Reply {
    running.admin().post(PREDICT, body.to_string())
}

fn check_error(running: &Running, path: &str, body: &str, status: u16, expected: &str) {
    let reply = running.admin().post(path, body);
    assert_eq!(reply.status, status, "{path} {body}: {:?}", reply.error());
    assert!(
        reply.error().contains(expected),
        "{body}: {}",
        reply.error()
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// The probabilities of each row, as its answer should hold them.
fn expected(version: u64, rows: &[f32]) -> Value {
    let all = running::model("tiny", version).probabilities(rows);
    all.chunks(LABELS.len())
        .map(|row| json!(row.iter().map(|p| json!(p)).collect::<Vec<_>>()))
        .collect()
}

fn same(found: &Value, expected: &Value) {
    // The shortest texts of the same 32 bits.
    let bits = |value: &Value| -> Vec<u32> {
        let rows = value.as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().unwrap().clone())
            .map(|p| (p.as_f64().unwrap() as f32).to_bits())
            .collect()
    };
    assert_eq!(bits(found), bits(expected), "{found} {expected}");
}

#[test]
fn rows_and_columns_are_predicted_in_each_shape() {
    let running = Running::start();
    let flat = rows(1, 2);
    let wanted = expected(1, &flat);
    let shaped = |shape: &[usize]| -> Value {
        fn nest(values: &[f32], shape: &[usize]) -> Value {
            match shape {
                [] => json!(values[0]),
                [_, inner @ ..] => {
                    let size = inner.iter().product();
                    values.chunks(size).map(|part| nest(part, inner)).collect()
                }
            }
        }
        nest(&flat, shape)
    };
    for shape in [
        &[2, ROW][..],
        &[2, 1, SIDE, SIDE],
        &[2, SIDE, SIDE, 1],
        &[2, SIDE, SIDE],
    ] {
        let rows = shaped(shape);
        let by_row = predict(&running, json!({ "instances": rows })).answer();
        same(&by_row["predictions"], &wanted);
        let named: Vec<Value> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| json!({ "image": row }))
            .collect();
        let by_name = predict(&running, json!({ "instances": named })).answer();
        assert_eq!(by_name, by_row);
        let by_column = predict(&running, json!({ "inputs": rows })).answer();
        assert_eq!(by_column, json!({ "outputs": by_row["predictions"] }));
        let named = json!({ "inputs": { "image": rows }, "signature_name": "serving_default" });
        assert_eq!(predict(&running, named).answer(), by_column);
    }
}

#[test]
fn versions_labels_and_signatures_are_found() {
    let running = Running::start();
    let row = rows(1, 1);
    let ask = |path: &str, body: Value| {
        let reply = running.admin().post(path, body.to_string());
        let version = reply.header("strata-model-version").map(str::to_owned);
        (reply.answer(), version.unwrap())
    };
    let body = || json!({ "instances": [row] });
    for (path, version) in [
        (PREDICT, 1),
        ("/v1/models/tiny/versions/2:predict", 2),
        ("/v1/models/tiny/labels/stable:predict", 1),
    ] {
        let (answer, found) = ask(path, body());
        assert_eq!(found, version.to_string());
        same(&answer["predictions"], &expected(version, &row));
    }
    let reply = predict(&running, body());
    assert_eq!(
        reply.header("strata-model-digest"),
        Some(running.digest.as_str())
    );
    assert_eq!(reply.header("strata-model-levels"), Some("low,top"));

    let all = json!({ "instances": [row], "signature_name": "all" });
    let (answer, _) = ask(PREDICT, all);
    let only = &answer["predictions"][0];
    same(&json!([only["probabilities"]]), &expected(1, &row));
    let class = only["class"].as_u64().unwrap() as usize;
    assert_eq!(only["label"], LABELS[class]);
    // A model with two tasks has two outputs by default, so they are named.
    let (answer, _) = ask("/v1/models/deep:predict", body());
    let names: Vec<&String> = answer["predictions"][0]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["kind.probabilities", "probabilities"]);
    let low = json!({ "inputs": [row], "signature_name": "all", "parameters": { "exit": "low" } });
    let reply = running
        .admin()
        .post("/v1/models/deep:predict", low.to_string());
    assert_eq!(reply.answer()["outputs"]["exit"], json!(["low"]));
    assert_eq!(reply.header("strata-model-exits"), Some("low"));

    for (path, expected) in [
        ("/v1/models/none:predict", "no model `none`"),
        ("/v1/models/tiny/versions/9:predict", "no version `9`"),
        ("/v1/models/tiny/labels/1:predict", "no label `1`"),
        ("/v1/models/none/labels/stable:predict", "no model `none`"),
    ] {
        check_error(&running, path, "{}", 404, expected);
    }
}

#[test]
fn files_are_sent_as_base64() {
    let running = Running::start();
    let pixels = model::pixels(9, ROW);
    let row: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
    let wanted = expected(1, &row);
    use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
    let file = png(&pixels);
    for text in [
        BASE64_STANDARD.encode(&file),
        BASE64_STANDARD_NO_PAD.encode(&file),
    ] {
        let file = json!({ "b64": text });
        for body in [
            json!({ "instances": [file] }),
            json!({ "instances": [{ "image": file }] }),
        ] {
            same(&predict(&running, body).answer()["predictions"], &wanted);
        }
        let columns = json!({ "inputs": { "image": [file] } });
        same(&predict(&running, columns).answer()["outputs"], &wanted);
        let body = json!({ "examples": [{ "image": file, "caption": "seaside" }] }).to_string();
        let reply = running.admin().post("/v1/models/tiny:classify", body);
        assert_eq!(reply.answer()["results"][0][0][0], LABELS[0]);
    }
    for (file, expected) in [
        (json!({ "b64": "%" }), "row 0: "),
        (json!({ "b64": "bm8gaW1hZ2U=" }), "row 0: not an image"),
        (json!("bm8gaW1hZ2U="), "send files as"),
    ] {
        let body = json!({ "instances": [file] }).to_string();
        check_error(&running, PREDICT, &body, 400, expected);
    }
}

#[test]
fn labels_are_classified_and_nothing_is_regressed() {
    let running = Running::start();
    let flat = rows(1, 2);
    let examples: Vec<Value> = flat
        .chunks(ROW)
        .map(|row| json!({ "image": row }))
        .collect();
    let body = json!({ "examples": examples, "context": { "x": 1 } }).to_string();
    let reply = running.admin().post("/v1/models/tiny:classify", &body);
    let results = &reply.answer()["results"];
    let labels: Vec<&Value> = (0..3).map(|class| &results[1][class][0]).collect();
    assert_eq!(labels, LABELS);
    let scores = json!([0, 1].map(|row| [0, 1, 2].map(|class| results[row][class][1].clone())));
    same(&scores, &expected(1, &flat));

    for path in ["", "/versions/2", "/labels/stable"] {
        let path = format!("/v1/models/tiny{path}:regress");
        let expected = "Expected regression signature method_name";
        check_error(&running, &path, &body, 400, expected);
    }
    let classify = "/v1/models/tiny:classify";
    check_error(&running, classify, "{}", 400, "missing field `examples`");
    let wrong = r#"{"signature_name": "all", "examples": [{"image": [0]}]}"#;
    check_error(&running, classify, wrong, 400, "not found in signature def");
}

#[test]
fn bare_tokens_are_taken_and_given() {
    let running = Running::start();
    let good = rows(1, 1);
    let texts: Vec<String> = good.iter().map(f32::to_string).collect();
    let good_text = texts.join(",");
    for token in ["NaN", "Infinity", "-Infinity", "\"NaN\""] {
        let bad = format!("{token},{}", texts[1..].join(","));
        let body = format!(r#"{{"instances": [[{good_text}], [{bad}]]}}"#);
        let reply = running.admin().post(PREDICT, body);
        let text = String::from_utf8(reply.body.clone()).unwrap();
        assert!(text.ends_with(",[NaN,NaN,NaN]]}"), "{text}");
        let finite: Value = serde_json::from_str(&text.replace("NaN", "0")).unwrap();
        same(&json!([finite["predictions"][0]]), &expected(1, &good));
    }
    let body = format!(r#"{{"instances": [[NaN{}]]}}"#, ",0".repeat(ROW - 1));
    let explain = "/v1/models/tiny:explain";
    check_error(&running, explain, &body, 400, "not finite");
    let body = body.replace("NaN", "null");
    check_error(&running, PREDICT, &body, 400, "the request's JSON");
}

#[test]
fn status_and_metadata_are_as_each_client_wants_them() {
    let running = Running::start();
    let get = |path: &str| running.admin().get(path).answer();
    let available = |version: &str| {
        json!({ "version": version, "state": "AVAILABLE",
                "status": { "error_code": "OK", "error_message": "" } })
    };
    let status = |versions: &[Value]| json!({ "name": "tiny", "ready": true, "model_version_status": versions });
    assert_eq!(
        get("/v1/models/tiny"),
        status(&[available("2"), available("1")])
    );
    assert_eq!(get("/v1/models/tiny/versions/2"), status(&[available("2")]));
    assert_eq!(
        get("/v1/models/tiny/labels/stable"),
        status(&[available("1")])
    );
    assert_eq!(running.admin().get("/v1/models/none").status, 404);
    assert_eq!(
        get("/v1/models"),
        json!({ "models": ["deep", "other", "tiny", "wide"] })
    );
    assert_eq!(get("/"), json!({ "status": "alive" }));

    let metadata = get("/v1/models/tiny/labels/stable/metadata");
    assert_eq!(
        metadata["model_spec"],
        json!({ "name": "tiny", "signature_name": "", "version": "1" })
    );
    let signatures = &metadata["metadata"]["signature_def"]["signature_def"];
    let default = &signatures["serving_default"];
    assert_eq!(default["method_name"], "tensorflow/serving/predict");
    let sizes = |tensor: &Value| -> Vec<String> {
        let dim = tensor["tensor_shape"]["dim"].as_array().unwrap();
        dim.iter()
            .map(|dim| dim["size"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(sizes(&default["inputs"]["image"]), ["-1", "4", "4", "1"]);
    assert_eq!(sizes(&default["outputs"]["probabilities"]), ["-1", "3"]);
    assert_eq!(signatures["all"]["outputs"]["label"]["dtype"], "DT_STRING");
    assert_eq!(
        signatures["classify"]["method_name"],
        "tensorflow/serving/classify"
    );
}

#[test]
fn a_version_that_cannot_be_opened_is_shown_as_such() {
    let running = Running::start();
    // Damaged before the server can see it.
    let versions = running.store.path().join("models/tiny/versions");
    let made = running.store.path().join("made");
    fs::create_dir(&made).unwrap();
    for file in ["manifest.json", "model.sig"] {
        fs::copy(versions.join("2").join(file), made.join(file)).unwrap();
    }
    damage(&made.join("manifest.json"));
    fs::rename(&made, versions.join("3")).unwrap();
    let find = || {
        let status = running.admin().get("/v1/models/tiny").answer();
        status["model_version_status"][0].clone()
    };
    for _ in 0..500 {
        let newest = find();
        if newest["version"] == "3" && newest["state"] == "END" {
            assert_eq!(newest["status"]["error_code"], "INTERNAL");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{}", find());
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_key_sees_its_own_models_only() {
    let running = Running::start();
    let only = |actions: &[Action]| {
        let models = KeyModels::from(vec!["tiny".parse().unwrap()]);
        running.client().with_key(&running.key(actions, models))
    };
    let mut infers = only(&[Action::Infer]);
    assert_eq!(
        infers.get("/v1/models").answer(),
        json!({ "models": ["tiny"] })
    );
    let body = json!({ "instances": [rows(1, 1)] }).to_string();
    assert_eq!(infers.post(PREDICT, &body).status, 200);
    assert_eq!(infers.post("/v1/models/tiny:explain", &body).status, 403);
    let other = infers.post("/v1/models/other:predict", &body);
    let none = infers.post("/v1/models/none:predict", &body);
    assert_eq!((other.status, &other.body), (403, &none.body));
    let mut explains = only(&[Action::Explain]);
    assert_eq!(explains.post("/v1/models/tiny:explain", &body).status, 200);
    assert_eq!(explains.post(PREDICT, &body).status, 403);
}

#[test]
fn rows_are_explained_by_kserves_route() {
    let running = Running::start();
    let row = rows(1, 1);
    let body = json!({ "instances": [row], "parameters": { "steps": 60, "target": 2 } });
    let explain = |body: &Value| {
        let path = "/v1/models/tiny:explain";
        running.admin().post(path, body.to_string())
    };
    let answer = explain(&body).answer();
    same(&answer["predictions"], &expected(1, &row));
    let only = &answer["explanations"][0];
    assert_eq!(
        (&only["target"], &only["label"]),
        (&json!(2), &json!(LABELS[2]))
    );
    assert_eq!(only["attribution"][0].as_array().unwrap().len(), SIDE);

    // The same as by the other route.
    let tensor = json!({ "name": "image", "datatype": "FP32", "shape": [1, ROW], "data": row });
    let other = json!({ "inputs": [tensor], "parameters": body["parameters"] });
    let other = running
        .admin()
        .post("/v2/models/tiny/explain", other.to_string())
        .answer();
    let flat: Vec<&Value> = only["attribution"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|channel| channel.as_array().unwrap())
        .flat_map(|line| line.as_array().unwrap())
        .collect();
    assert_eq!(json!(flat), other["outputs"][0]["data"]);

    // Of several rows the first is the same.
    let two = json!({ "instances": [row, rows(2, 1)], "parameters": body["parameters"] });
    let two = explain(&two).answer();
    let explanations = two["explanations"].as_array().unwrap();
    assert_eq!(two["predictions"].as_array().unwrap().len(), 2);
    assert_eq!((explanations.len(), &explanations[0]), (2, only));
    assert_ne!(explanations[1], *only);
    let many = json!({ "instances": rows(1, 17).chunks(ROW).collect::<Vec<_>>() });
    assert_eq!(explain(&many).status, 413);
}
