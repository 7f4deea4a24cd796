//! Unmodified clients of other programs, each by a script in `clients/`.

use std::{env, process::Command};

use crate::{inference::png, model, running::Running};

/// `pip install tritonclient[all]`
#[test]
fn the_triton_client_is_served() {
    check("triton.py");
}

#[test]
fn the_triton_client_is_served_over_grpc() {
    check("triton_grpc.py");
}

/// `pip install kserve`: its clients for V1, V2 and gRPC.
#[test]
fn the_kserve_clients_are_served() {
    check("kserve_clients.py");
}

/// TensorFlow Serving has no client of its own for REST: its documents ask with `requests`.
#[test]
fn requests_as_to_tensorflow_serving_are_served() {
    check("tensorflow_serving.py");
}

/// `pip install grpcio-reflection`
#[test]
fn a_reflection_client_finds_the_services_and_calls_by_what_it_found() {
    check("reflection.py");
}

/// `pip install prometheus-client`
#[test]
fn prometheus_reads_the_metrics() {
    check("metrics.py");
}

/// `pip install schemathesis`: asks by the document whatever may be asked. `STRATA_SCHEMATHESIS_EXAMPLES` says how often for
/// each route.
#[test]
fn the_document_says_all_that_is_answered() {
    check("openapi.py");
}

/// Gives a script the addresses for HTTP and gRPC, a key, and the file of an image.
fn check(script: &str) {
    let Ok(python) = env::var("STRATA_TEST_PYTHON") else {
        println!(
            "skipped: set STRATA_TEST_PYTHON to a Python with the packages of .ci/requirements.txt"
        );
        return;
    };
    check_on(&Running::start(), &python, script);
}

/// Versions of `tiny` by the header `x-user`, over HTTP and gRPC. A rollout of it must be under way that goes by it.
pub(crate) fn check_users(running: &Running) {
    if let Ok(python) = env::var("STRATA_TEST_PYTHON") {
        check_on(running, &python, "rollout.py");
    } else {
        println!("skipped: set STRATA_TEST_PYTHON");
    }
}

fn check_on(running: &Running, python: &str, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.png");
    std::fs::write(&file, png(&model::pixels(9, model::ROW))).unwrap();
    let output = Command::new(python)
        .arg("-B")
        .arg(format!(
            "{}/tests/server/clients/{script}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .args([running.address.to_string(), running.grpc.to_string()])
        .arg(&running.admin)
        .arg(file)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && shown.contains("all checks passed"),
        "{shown}"
    );
}
