//! A real S3 server as a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::{place::Place, server::agent};

/// A server with a bucket `models`; killed when dropped, and what it had is gone.
pub(crate) struct S3 {
    child: Child,
    port: u16,
}

/// What must be in no output.
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-a-secret";

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

impl S3 {
    /// None, with a word, where there is no Python with it.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(0)
    }

    /// The same at a port.
    pub(crate) fn start_at(port: u16) -> Option<Self> {
        let Ok(python) = std::env::var("STRATA_TEST_PYTHON") else {
            println!(
                "skipped: set STRATA_TEST_PYTHON to a Python with the packages of .ci/requirements.txt"
            );
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/s3_server.py");
        let mut child = Command::new(python)
            .args(["-B", script, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server's port");
        Some(Self { child, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The program with what it needs to reach the server.
    pub(crate) fn command(&self, place: &Place, args: &[&str]) -> Command {
        let mut command = place.command(args);
        command
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port),
            )
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    }

    fn url(&self, key: &str) -> String {
        format!("http://127.0.0.1:{}/models/{key}", self.port)
    }

    /// An object, by another way than the program's.
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let ask = agent().get(self.url(key));
        // It asks for a signature and does not check it.
        let mut answer = ask.header("authorization", SIGNATURE).call().unwrap();
        match answer.status().as_u16() {
            200 => Some(answer.body_mut().read_to_vec().unwrap()),
            404 => None,
            status => panic!("{key}: status {status}"),
        }
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let answer = agent()
            .put(self.url(key))
            .header("authorization", SIGNATURE)
            .send(bytes)
            .unwrap();
        assert_eq!(answer.status(), 200);
    }

    pub(crate) fn delete(&self, key: &str) {
        let answer = agent()
            .delete(self.url(key))
            .header("authorization", SIGNATURE)
            .call()
            .unwrap();
        assert_eq!(answer.status(), 204);
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
