use std::{env, process::Command};

use crate::{inference::png, model, running::Running};

/// Runs `triton.py` with the unmodified client of the Triton Inference Server (`pip install
/// tritonclient[http]`).
#[test]
fn the_triton_client_is_served() {
    let Ok(python) = env::var("STRATA_TEST_PYTHON") else {
        println!("skipped: set STRATA_TEST_PYTHON to a Python that has tritonclient[http]");
        return;
    };
    let running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.png");
    std::fs::write(&file, png(&model::pixels(9, model::ROW))).unwrap();
    let output = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/server/triton.py"
        ))
        .args([running.address.to_string(), running.admin.clone()])
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
