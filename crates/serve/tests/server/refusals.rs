use serde_json::{Value, json};

use crate::{
    client::Client,
    model::{ROW, SIDE},
    running::Running,
};

const INFER: &str = "/v2/models/tiny/infer";

fn check(client: &mut Client, body: impl AsRef<[u8]>, expected: &str) {
    let reply = client.post(INFER, body.as_ref());
    assert_eq!(
        reply.status,
        400,
        "{}",
        String::from_utf8_lossy(&reply.body)
    );
    let error = reply.error();
    assert!(
        error.contains(expected),
        "expected: {expected}\nfound: {error}"
    );
}

fn check_input(client: &mut Client, input: Value, expected: &str) {
    check(client, json!({"inputs": [input]}).to_string(), expected);
}

fn check_data(client: &mut Client, datatype: &str, shape: Value, data: Value, expected: &str) {
    check_input(
        client,
        json!({"name": "image", "datatype": datatype, "shape": shape, "data": data}),
        expected,
    );
}

#[test]
fn a_request_that_is_no_question_is_refused() {
    let running = Running::start();
    let client = &mut running.admin();
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\u{0}",
        "{\"inputs\":5}",
        "{\"inputs\":[]} x",
    ] {
        check(client, body, "the request's JSON");
    }
    check(
        client,
        b"{\"id\":\"\xff\",\"inputs\":[]}",
        "the request's JSON",
    );
    check(client, "[".repeat(100_000), "the request's JSON");
    check(
        client,
        format!("{{\"id\":{}", "[".repeat(100_000)),
        "the request's JSON",
    );
    check(
        client,
        format!("{{\"x\":{}", "[".repeat(100_000)),
        "the request's JSON",
    );
    check(
        client,
        json!({"inputs": []}).to_string(),
        "expected one input, `image`, found 0",
    );
    let input =
        json!({"name": "image", "datatype": "FP32", "shape": [1, ROW], "data": vec![0; ROW]});
    check(
        client,
        json!({"inputs": [input, input]}).to_string(),
        "expected one input, `image`, found 2",
    );
    let outputs = |outputs: Value| json!({"inputs": [input], "outputs": outputs}).to_string();
    check(
        client,
        outputs(json!([{"name": "logits"}])),
        "no output `logits`: expected one of probabilities, label, class",
    );
    check(
        client,
        outputs(json!([{"name": "label"}, {"name": "label"}])),
        "is asked for twice",
    );
    check(
        client,
        outputs(json!([{"name": "label", "parameters": {"classification": 2}}])),
        "not supported",
    );
}

#[test]
fn an_input_that_does_not_fit_is_refused() {
    let running = Running::start();
    let client = &mut running.admin();
    let zeros = json!(vec![0; ROW]);
    check_input(
        client,
        json!({"name": "x", "datatype": "FP32", "shape": [1, ROW], "data": zeros}),
        "no input `x`: expected `image`",
    );
    check_input(
        client,
        json!({"name": "image", "datatype": "FP32", "shape": [1, ROW]}),
        "has no `data`",
    );
    check_data(
        client,
        "INT32",
        json!([1, ROW]),
        zeros.clone(),
        "expected datatype FP32, FP64, FP16, BF16, UINT8 or BYTES, found `INT32`",
    );
    for datatype in ["FP16", "BF16"] {
        check_data(
            client,
            datatype,
            json!([1, ROW]),
            zeros.clone(),
            "is always raw (binary), found numbers one by one",
        );
    }
    check_data(
        client,
        "FP32",
        json!([1, 15]),
        zeros.clone(),
        "expected FP32 of shape [1, 1, 4, 4] or [1, 16]",
    );
    check_data(
        client,
        "FP32",
        json!([ROW]),
        zeros.clone(),
        "expected FP32 of shape",
    );
    check_data(client, "FP32", json!([]), zeros.clone(), "holds nothing");
    check_data(client, "FP32", json!([0, ROW]), json!([]), "holds nothing");
    check_data(
        client,
        "FP32",
        json!([2, ROW]),
        zeros.clone(),
        "holds 32 elements, but its data has shape [16]",
    );
    check_data(
        client,
        "FP32",
        json!([1, 1, SIDE, SIDE]),
        json!([zeros]),
        "but its data has shape [1, 16]",
    );
    check_data(
        client,
        "FP32",
        json!([u64::MAX, u64::MAX]),
        zeros.clone(),
        "is too large",
    );
    check_data(
        client,
        "FP32",
        json!([-1, ROW]),
        zeros.clone(),
        "the request's JSON",
    );
    check_data(
        client,
        "FP32",
        json!([1, ROW]),
        json!(vec!["0"; ROW]),
        "expected numbers, found texts",
    );
    check_data(
        client,
        "FP32",
        json!([1, ROW]),
        json!(vec![None::<f32>; ROW]),
        "expected a number",
    );
    check_data(
        client,
        "FP32",
        json!([1, ROW]),
        json!(vec![3e38; ROW]),
        "too large to compute with",
    );
    for number in [
        "NaN", "Infinity", "-inf", "1e39", "1e400", "0x1", "01", "1.",
    ] {
        let data = vec![number; ROW].join(",");
        let body = format!(
            r#"{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1,{ROW}],"data":[{data}]}}]}}"#
        );
        check(client, body, "the request's JSON");
    }
}

#[test]
fn images_that_cannot_be_prepared_are_refused() {
    let running = Running::start();
    let client = &mut running.admin();
    let zeros = json!(vec![0; ROW]);
    check_data(
        client,
        "UINT8",
        json!([1, ROW]),
        zeros.clone(),
        "expected UINT8 of shape [rows, height, width, channels]",
    );
    check_data(
        client,
        "UINT8",
        json!([1, 8, 1, 2]),
        zeros.clone(),
        "expected 1 channel (grey) or 3 (RGB), found 2",
    );
    check_data(
        client,
        "UINT8",
        json!([1, SIDE, SIDE, 1]),
        json!(vec![256; ROW]),
        "no integer from 0 to 255",
    );
    check_data(
        client,
        "UINT8",
        json!([1, SIDE, SIDE, 1]),
        json!(vec![0.5; ROW]),
        "no integer from 0 to 255",
    );
    check_data(
        client,
        "BYTES",
        json!([1]),
        json!(["not base64!"]),
        "row 0: ",
    );
    check_data(
        client,
        "BYTES",
        json!([1]),
        json!(["bm8gaW1hZ2U="]),
        "row 0: not an image",
    );
    check_data(
        client,
        "BYTES",
        json!([1]),
        json!(["iVBORw0KGgo="]),
        "row 0: broken image",
    );
    check_data(
        client,
        "BYTES",
        json!([2]),
        json!(["bm8gaW1hZ2U="]),
        "holds 2 elements, but its data has shape [1]",
    );
    check_data(
        client,
        "BYTES",
        json!([1, 2]),
        json!(["", ""]),
        "expected BYTES of shape [rows]",
    );
    check_data(
        client,
        "BYTES",
        json!([1]),
        json!([0]),
        "expected base64 texts, found numbers",
    );
    // A PNG of a few bytes that claims 100,000 x 100,000 pixels.
    let claims = "iVBORw0KGgoAAAANSUhEUgABhqAAAYagCAAAAACdI7WZAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
    let reply = client.post(
        INFER,
        json!({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [claims]}]})
            .to_string(),
    );
    assert_eq!(reply.status, 400);
    assert!(
        reply.error().starts_with("input `image`: row 0: "),
        "{}",
        reply.error()
    );
}

#[test]
fn binary_tensors_that_do_not_fit_are_refused() {
    let running = Running::start();
    let client = &mut running.admin();
    let mut check = |length: &str, datatype: &str, size: usize, bytes: &[u8], expected: &str| {
        let shape = if datatype == "BYTES" {
            json!([1])
        } else {
            json!([1, ROW])
        };
        let input = json!({"name": "image", "datatype": datatype, "shape": shape,
                           "parameters": {"binary_data_size": size}});
        let mut body = json!({"inputs": [input]}).to_string().into_bytes();
        let length = if length == "right" {
            body.len().to_string()
        } else {
            length.to_owned()
        };
        body.extend_from_slice(bytes);
        let reply = client.ask(
            "POST",
            INFER,
            &[("Inference-Header-Content-Length", &length)],
            &body,
        );
        assert_eq!(
            reply.status,
            400,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        assert!(reply.error().contains(expected), "{}", reply.error());
    };
    check("x", "FP32", 64, &[0; 64], "expected a number of bytes");
    check("-1", "FP32", 64, &[0; 64], "expected a number of bytes");
    check("99999", "FP32", 64, &[0; 64], "99999 bytes by its header");
    check("5", "FP32", 64, &[0; 64], "the request's JSON");
    check(
        "right",
        "FP32",
        64,
        &[0; 63],
        "binary_data_size is 64, but 63 bytes follow",
    );
    check(
        "right",
        "FP32",
        64,
        &[0; 65],
        "binary_data_size is 64, but 65 bytes follow",
    );
    check(
        "right",
        "FP32",
        63,
        &[0; 63],
        "its shape takes 64 bytes, found 63",
    );
    check("right", "FP32", 64, &[0xff; 64], "not finite");
    check(
        "right",
        "BYTES",
        3,
        &[0; 3],
        "its shape says 1 rows, found 0",
    );
    check(
        "right",
        "BYTES",
        5,
        &[9, 0, 0, 0, 1],
        "row 0: 9 bytes are said, 1 left",
    );
    check(
        "right",
        "BYTES",
        8,
        &[0; 8],
        "its shape says 1 rows, found 2",
    );
    check("right", "BYTES", 4, &[0; 4], "row 0: not an image");
}

#[test]
fn wrong_paths_methods_and_encodings_have_their_own_status() {
    let running = Running::start();
    let mut client = running.admin();
    let reply = client.get(INFER);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    let reply = client.post("/v2/models/tiny", "");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(client.get("/nothing").status, 404);
    assert_eq!(
        client.post("/v2/models/none/infer", "{}").error(),
        "no model `none`"
    );
    assert_eq!(
        client
            .post("/v2/models/tiny/versions/3/infer", "{}")
            .error(),
        "no version `3` of model `tiny`"
    );
    assert_eq!(
        client
            .post("/v2/models/tiny/versions/latest/infer", "{}")
            .status,
        404
    );
    let reply = client.ask("POST", INFER, &[("Content-Encoding", "br")], b"{}");
    assert_eq!(
        (reply.status, reply.header("accept-encoding")),
        (415, Some("gzip, deflate"))
    );
}

#[test]
fn a_refusal_is_read_even_by_a_caller_who_sends_on() {
    let running = Running::start();
    let body = vec![b' '; 8 << 20];
    let reply = running.client().post(INFER, &body);
    assert_eq!(
        (reply.status, reply.header("connection")),
        (401, Some("close"))
    );
    let reply = running.admin().post("/v2/models/none/infer", &body);
    assert_eq!(
        (reply.status, reply.header("connection")),
        (404, Some("close"))
    );
    let reply = running.admin().post(INFER, vec![b' '; 20 << 20]);
    assert_eq!(
        (reply.status, reply.header("connection")),
        (413, Some("close"))
    );
    let brotli = ("Content-Encoding", "br");
    let reply = running.admin().ask("POST", INFER, &[brotli], &body);
    assert_eq!(
        (reply.status, reply.header("connection")),
        (415, Some("close"))
    );
    let tight = Running::start_with(|options| options.limits.all_bodies_bytes = 10_000);
    let reply = tight.admin().post(INFER, &body);
    assert_eq!(
        (reply.status, reply.header("connection")),
        (503, Some("close"))
    );
    // A small body is passed over, and the connection stays.
    let mut client = running.admin();
    for _ in 0..3 {
        let reply = client.post("/v2/models/none/infer", [b' '; 10_000]);
        assert_eq!((reply.status, reply.header("connection")), (404, None));
        let reply = client.ask("POST", INFER, &[brotli], b"{}");
        assert_eq!((reply.status, reply.header("connection")), (415, None));
        let rows = json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [5000, ROW]}]});
        let reply = client.post(INFER, rows.to_string());
        assert_eq!((reply.status, reply.header("connection")), (413, None));
    }
}
