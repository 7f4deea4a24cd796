use std::thread;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    client::{data, numbers},
    model::{LABELS, ROW, SIDE, pixels, rows},
    running::{Running, model},
};

const INFER: &str = "/v2/models/tiny/infer";

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn highest(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]))
        .unwrap()
}

fn fp32(rows: &[f32]) -> Value {
    json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [rows.len() / ROW, ROW], "data": rows}]})
}

/// What `input` gives in JSON must be what the model of version 1 says of `rows`.
fn check(running: &Running, input: Value, rows: &[f32]) {
    let answer = running
        .admin()
        .post(INFER, json!({"inputs": [input]}).to_string())
        .answer();
    let expected = model("tiny", 1).probabilities(rows);
    assert_eq!(bits(&numbers(&answer, "probabilities")), bits(&expected));
}

#[test]
fn an_answer_holds_all_outputs_and_its_origin() {
    let running = Running::start();
    let rows = rows(1, 2);
    let mut question = fp32(&rows);
    question["id"] = json!("a\"b");
    let answer = running.admin().post(INFER, question.to_string()).answer();
    let probabilities = model("tiny", 1).probabilities(&rows);
    let classes: Vec<_> = probabilities.chunks(LABELS.len()).map(highest).collect();
    assert_eq!(answer["id"], "a\"b");
    assert_eq!(
        (&answer["model_name"], &answer["model_version"]),
        (&json!("tiny"), &json!("1"))
    );
    assert_eq!(
        answer["parameters"],
        json!({"version": 1, "digest": running.digest, "levels": "low,top"})
    );
    assert_eq!(
        bits(&numbers(&answer, "probabilities")),
        bits(&probabilities)
    );
    assert_eq!(data(&answer, "class"), &json!(classes));
    assert_eq!(
        data(&answer, "label"),
        &json!(
            classes
                .iter()
                .map(|&class| LABELS[class])
                .collect::<Vec<_>>()
        )
    );

    question["outputs"] = json!([{"name": "label"}]);
    let answer = running.admin().post(INFER, question.to_string()).answer();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
}

#[test]
fn every_form_of_the_input_gives_the_same_answer() {
    let running = Running::start();
    let (prepared, pixels) = (rows(3, 2), pixels(3, 2 * ROW));
    let input = |datatype: &str, shape: Value, data: Value| json!({"name": "image", "datatype": datatype, "shape": shape, "data": data});
    let nested: Vec<_> = prepared
        .chunks(ROW)
        .map(|row| vec![row.chunks(SIDE).collect::<Vec<_>>()])
        .collect();
    check(
        &running,
        input("FP32", json!([2, ROW]), json!(prepared)),
        &prepared,
    );
    check(
        &running,
        input(
            "FP32",
            json!([2, ROW]),
            json!(prepared.chunks(ROW).collect::<Vec<_>>()),
        ),
        &prepared,
    );
    check(
        &running,
        input("FP32", json!([2, 1, SIDE, SIDE]), json!(prepared)),
        &prepared,
    );
    check(
        &running,
        input("FP32", json!([2, 1, SIDE, SIDE]), json!(nested)),
        &prepared,
    );
    check(
        &running,
        input("UINT8", json!([2, SIDE, SIDE, 1]), json!(pixels)),
        &prepared,
    );
    let rgb: Vec<u8> = pixels.iter().flat_map(|&pixel| [pixel; 3]).collect();
    check(
        &running,
        input("UINT8", json!([2, SIDE, SIDE, 3]), json!(rgb)),
        &prepared,
    );
    let files: Vec<_> = pixels
        .chunks(ROW)
        .map(|image| BASE64_STANDARD.encode(png(image)))
        .collect();
    check(
        &running,
        input("BYTES", json!([2]), json!(files)),
        &prepared,
    );
    check(
        &running,
        input("BYTES", json!([2, 1]), json!(files)),
        &prepared,
    );
}

pub(crate) fn png(pixels: &[u8]) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let image = image::GrayImage::from_raw(SIDE as u32, SIDE as u32, pixels.to_vec()).unwrap();
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn binary_tensors_go_in_and_out() {
    let running = Running::start();
    let (prepared, pixels) = (rows(4, 2), pixels(4, 2 * ROW));
    let expected = model("tiny", 1).probabilities(&prepared);
    let check = |datatype: &str, shape: Value, bytes: &[u8]| {
        let question = json!({
            "inputs": [{"name": "image", "datatype": datatype, "shape": shape,
                        "parameters": {"binary_data_size": bytes.len()}}],
            "outputs": [{"name": "class"}, {"name": "probabilities", "parameters": {"binary_data": true}}],
        });
        let mut body = question.to_string().into_bytes();
        let length = body.len().to_string();
        body.extend_from_slice(bytes);
        let headers = [
            ("Content-Length", &*body.len().to_string()),
            ("Inference-Header-Content-Length", &length),
        ];
        let mut client = running.admin();
        client.send_head("POST", INFER, &headers);
        client.send(&body);
        let reply = client.reply();
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        let length: usize = reply
            .header("inference-header-content-length")
            .unwrap()
            .parse()
            .unwrap();
        let answer: Value = serde_json::from_slice(&reply.body[..length]).unwrap();
        assert_eq!(answer["outputs"][1]["parameters"]["binary_data_size"], 24);
        let numbers: Vec<f32> = reply.body[length..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        assert_eq!(bits(&numbers), bits(&expected));
    };
    check(
        "FP32",
        json!([2, ROW]),
        &prepared
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<_>>(),
    );
    check("UINT8", json!([2, SIDE, SIDE, 1]), &pixels);
    let mut files = Vec::new();
    for image in pixels.chunks(ROW) {
        let file = png(image);
        files.extend((file.len() as u32).to_le_bytes());
        files.extend(file);
    }
    check("BYTES", json!([2]), &files);
}

#[test]
fn a_model_is_addressed_by_version_alias_or_neither() {
    let running = Running::start();
    let check = |path: &str, version: u64| {
        let rows = rows(5, 1);
        let answer = running
            .admin()
            .post(&format!("{path}/infer"), fp32(&rows).to_string())
            .answer();
        assert_eq!(answer["model_version"], version.to_string(), "{path}");
        assert_eq!(
            bits(&numbers(&answer, "probabilities")),
            bits(&model("tiny", version).probabilities(&rows))
        );
    };
    check("/v2/models/tiny", 1);
    check("/v2/models/tiny/versions/stable", 1);
    check("/v2/models/tiny/versions/1", 1);
    check("/v2/models/tiny/versions/2", 2);
}

#[test]
fn a_row_gets_the_same_bits_in_any_batch() {
    let running = Running::start();
    for name in ["tiny", "wide"] {
        let path = format!("/v2/models/{name}/infer");
        let all = rows(6, 70);
        let batch = running.admin().post(&path, fp32(&all).to_string()).answer();
        let batch = numbers(&batch, "probabilities");
        let mut client = running.admin();
        for (row, expected) in all.chunks(ROW).zip(batch.chunks(LABELS.len())) {
            let alone = client.post(&path, fp32(row).to_string()).answer();
            assert_eq!(bits(&numbers(&alone, "probabilities")), bits(expected));
        }
    }
}

#[test]
fn two_hundred_requests_at_once_get_their_own_answers() {
    let running = Running::start();
    for name in ["tiny", "wide"] {
        let model = model(name, 1);
        thread::scope(|scope| {
            for seed in 0..200 {
                let (running, model) = (&running, &model);
                scope.spawn(move || {
                    let rows = rows(seed, 1 + seed as usize % 3);
                    let path = format!("/v2/models/{name}/infer");
                    let answer = running
                        .admin()
                        .post(&path, fp32(&rows).to_string())
                        .answer();
                    assert_eq!(
                        bits(&numbers(&answer, "probabilities")),
                        bits(&model.probabilities(&rows))
                    );
                });
            }
        });
    }
}

#[test]
fn a_chunked_body_and_requests_on_one_connection_are_answered() {
    let running = Running::start();
    let question = fp32(&rows(7, 1)).to_string();
    let mut client = running.admin();
    let plain = client.post(INFER, &question).answer();
    client.send_head("POST", INFER, &[("Transfer-Encoding", "chunked")]);
    for chunk in question.as_bytes().chunks(50) {
        client.send(format!("{:x}\r\n", chunk.len()).as_bytes());
        client.send(chunk);
        client.send(b"\r\n");
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.reply().answer(), plain);
    // Two at once.
    for _ in 0..2 {
        client.send_head(
            "POST",
            INFER,
            &[("Content-Length", &question.len().to_string())],
        );
        client.send(question.as_bytes());
    }
    assert_eq!(client.reply().answer(), plain);
    assert_eq!(client.reply().answer(), plain);
}

#[test]
fn metadata_says_what_is_served_and_what_it_takes() {
    let running = Running::start();
    let mut client = running.admin();
    assert_eq!(client.get("/v2").answer()["name"], "strata");
    let model = client.get("/v2/models/tiny").answer();
    assert_eq!(model["versions"], json!(["1", "2"]));
    assert_eq!(model["inputs"][0]["name"], "image");
    assert_eq!(model["inputs"][0]["shape"], json!([-1, 1, SIDE, SIDE]));
    assert_eq!(
        model["outputs"][0],
        json!({"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]})
    );
    assert_eq!(model["parameters"]["version"], 1);
    assert_eq!(
        client.get("/v2/models/tiny/versions/2").answer()["parameters"]["version"],
        2
    );
    assert_eq!(client.get("/v2/models/tiny/ready").answer()["ready"], true);
    assert_eq!(client.get("/v2/models/tiny/versions/9/ready").status, 404);
    assert_eq!(client.get("/v2/models/none").error(), "no model `none`");
}
