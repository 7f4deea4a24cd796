use std::{env, net::SocketAddr, process::Command};

use crate::{inference::png, model, running::Running};

/// Runs `triton.py` with the unmodified client of the Triton Inference Server (`pip install
/// tritonclient[all]`).
#[test]
fn the_triton_client_is_served() {
    let running = Running::start();
    check("triton.py", running.address, &running);
}

/// The same with its client for gRPC.
#[test]
fn the_triton_client_is_served_over_grpc() {
    let running = Running::start();
    check("triton_grpc.py", running.grpc, &running);
}

fn check(script: &str, address: SocketAddr, running: &Running) {
    let Ok(python) = env::var("STRATA_TEST_PYTHON") else {
        println!("skipped: set STRATA_TEST_PYTHON to a Python that has tritonclient[all]");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.png");
    std::fs::write(&file, png(&model::pixels(9, model::ROW))).unwrap();
    let output = Command::new(python)
        .arg(format!(
            "{}/tests/server/{script}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .args([address.to_string(), running.admin.clone()])
        .arg(file)
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
