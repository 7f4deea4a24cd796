//! `strata serve` as a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::place::Place;

/// A server that listens; killed if it still runs when dropped.
pub(crate) struct Server {
    child: Child,
    /// Such as `http://127.0.0.1:41234`.
    pub(crate) address: String,
    notes: thread::JoinHandle<String>,
}

impl Server {
    /// Starts it on any free port.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        let args = [&["serve", "--address", "127.0.0.1:0"], args].concat();
        Self::of(&mut place.command(&args), "listening on ")
    }

    /// Starts a command and waits for the line with its address after `word`, on whichever output it stands.
    pub(crate) fn of(command: &mut Command, word: &'static str) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        // Holds the pipe's other end, without which the reader below would never see its end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lines = BufReader::new(reader);
        let mut notes = String::new();
        let address = loop {
            let start = notes.len();
            if lines.read_line(&mut notes).unwrap() == 0 {
                panic!("no address in:\n{notes}");
            }
            if let Some(address) = notes[start..].strip_prefix(word) {
                break address.trim().to_owned();
            }
        };
        // What it still says must be taken from it, or it would wait for that.
        let notes = thread::spawn(move || {
            lines.read_to_string(&mut notes).unwrap();
            notes
        });
        Self {
            child,
            address,
            notes,
        }
    }

    /// Asks with a key; status and answer.
    pub(crate) fn ask(&self, key: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let agent = agent();
        let (url, key) = (format!("{}{path}", self.address), format!("Bearer {key}"));
        let answer = match body {
            None => agent.get(&url).header("authorization", key).call(),
            Some(body) => agent
                .post(&url)
                .header("authorization", key)
                .send(body.to_string()),
        };
        let mut answer = answer.unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Waits until a key gets this status; how long that took.
    pub(crate) fn wait_for(&self, key: &str, path: &str, status: u16) -> Duration {
        let began = Instant::now();
        while self.ask(key, path, None).0 != status {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{path} never answers {status}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Sends SIGTERM and waits; the exit status, and all that it has said.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        signal(&self.child, "TERM");
        let code = self.child.wait().unwrap().code();
        let notes = std::mem::replace(&mut self.notes, thread::spawn(String::new));
        (code, notes.join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks by HTTP; any status is an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

/// Sends a signal, such as `TERM`.
pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success(), "cannot send SIG{name}");
}
