//! Loads an HTTP/1.1 or gRPC server with one request over and over, and prints what came of it as one JSON object.
//!
//! ```text
//! strata-load --url http://127.0.0.1:8000/v2/models/mnist-mlp/infer --body body.json \
//!     --header 'Content-Type: application/json' --connections 32 --seconds 10
//! strata-load --grpc --url http://127.0.0.1:8001/inference.GRPCInferenceService/ModelInfer --body message.bin
//! ```
//!
//! Each connection sends the next request as soon as the last one is answered (a closed loop), so more connections mean
//! more requests in flight. With `--rate` requests come by themselves, at random times of that mean rate (an open loop), and
//! `--connections` are the most in flight. A latency then counts from when the request was due, not from when there was a
//! connection for it: a server that stalls cannot hide it by keeping the client from asking.
//!
//! Everything but the clock of `--rate` runs on one thread and the request's bytes are built once, so that on a small
//! machine the processor is left to the server. Memory does not grow with the number of requests: latencies go into a
//! histogram and answers' bodies are counted, not kept.
//!
//! - `request`: the command line's request as bytes.
//! - `response`: one answer from a socket, whichever way its length is given.
//! - `grpc`: one unary call over HTTP/2.
//! - `arrivals`: when requests are due that do not wait for each other.
//! - `client`: the connections, until the time or the number of requests is over.
//! - `tally`: what is counted, and how it is printed; `histogram`: latencies in bounded memory.

mod arrivals;
mod client;
mod grpc;
mod histogram;
mod request;
mod response;
mod tally;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::arrivals::Arrivals;
use crate::client::{Load, Request};
use crate::request::Target;

/// Load an HTTP/1.1 or gRPC server with one request over and over.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the requests go: `http://host:port/path`.
    #[arg(long)]
    url: String,
    /// Unary gRPC calls in place of POST requests over HTTP/1.1: the path is the method, the headers are metadata.
    #[arg(long)]
    grpc: bool,
    /// File with the body of the request; for gRPC its message.
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// A header line, `Name: value`; may be repeated.
    #[arg(long = "header", value_name = "LINE")]
    headers: Vec<String>,
    /// File with a body that an answer may have; any other is an error, and it is counted how often each came. May be
    /// repeated. Without it, any body will do.
    #[arg(long = "answer", value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Send so many requests a second, at random times (a Poisson process) and whether the last are answered or not; those
    /// for which no connection is free wait, which counts. Default: each connection sends when it has its answer.
    #[arg(long, value_name = "REQUESTS_A_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// What the random times come from.
    #[arg(long, default_value_t = 1, requires = "rate")]
    seed: u64,
    /// How long new requests are sent.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Stop earlier, after this many requests.
    #[arg(long)]
    requests: Option<u64>,
}

/// Requests a second that `--rate` takes; the most is more than one thread can send.
const RATES: RangeInclusive<f64> = 0.001..=1e6;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let target = Target::parse(&arguments.url)?;
    let read = |file: &PathBuf| {
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let body = read(&arguments.body)?;
    let answers = arguments.answers.iter().map(read).collect::<Result<_>>()?;
    let request = if arguments.grpc {
        Request::Grpc(Box::new(grpc::Call::new(
            &target,
            &arguments.headers,
            &body,
        )?))
    } else {
        Request::Http1(request::post(&target, &arguments.headers, &body)?)
    };
    ensure!(
        arguments.seconds > 0.0,
        "expected more than 0 seconds, found {}",
        arguments.seconds
    );
    let duration = Duration::try_from_secs_f64(arguments.seconds).context("wrong --seconds")?;

    let load = Load {
        address: target.address()?,
        request,
        connections: arguments.connections,
        arrivals: arguments
            .rate
            .map(|rate| Arrivals::new(rate, duration, arguments.seed)),
        duration,
        limit: arguments.requests.unwrap_or(u64::MAX),
        answers,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = runtime.block_on(client::run(load));
    println!("{}", tally.to_json());
    Ok(if tally.answered() > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err(format!(
            "expected a number from {} to {}, found {text}",
            RATES.start(),
            RATES.end()
        )),
    }
}
