//! The command on small work.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn engine(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-engine"));
    command.args(arguments.split(' ')).output().unwrap()
}

/// What it printed, which has `count` times and names what was measured.
fn check(arguments: &str, count: usize, parameters: u64) -> Value {
    let output = engine(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds = found["seconds"].as_array().unwrap();
    assert_eq!(seconds.len(), count);
    assert!(seconds.iter().all(|value| value.as_f64().unwrap() > 0.0));
    assert_eq!(found["parameters"], parameters);
    assert!(found["isa"].is_string());
    if cfg!(target_os = "linux") {
        assert!(found["peak_mib"].as_f64().unwrap() > 1.0);
    }
    found
}

#[test]
fn steps_learn() {
    for precision in ["f32", "bf16"] {
        let arguments = format!(
            "step --size 32 --batch 4 --classes 10 --steps 4 --warm-up 1 --precision {precision}"
        );
        let found = check(&arguments, 4, 11_181_642);
        let losses = [&found["losses"][0], &found["losses"][1]].map(|loss| loss.as_f64().unwrap());
        assert!(losses[1] < losses[0], "{losses:?}");
    }
}

#[test]
fn plans_answer() {
    for precision in ["f32", "bf16"] {
        let arguments = format!(
            "infer --stem cifar --size 8 --classes 10 --runs 3 --warm-up 0 --precision {precision}"
        );
        check(&arguments, 3, 11_173_962);
    }
}

#[test]
fn epochs_are_timed() {
    for precision in ["f32", "bf16"] {
        let arguments =
            format!("mlp-epoch --rows 300 --epochs 2 --warm-up 0 --precision {precision}");
        check(&arguments, 2, 101_770);
    }
}

#[test]
fn the_instructions_can_be_limited() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-engine"));
    let output = command.arg("isa").env("STRATA_ISA", "portable").output();
    let found: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(found["isa"], "portable");
    assert!(found["threads"].as_u64().unwrap() >= 1);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in ["step --batch 0", "infer --network alexnet", "rest"] {
        assert_eq!(engine(arguments).status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn exits_without_a_run_are_refused() {
    let output = engine("exits nowhere");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("nowhere"), "{errors}");
}
