//! The real server, with real packages, asked over TCP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod access;
mod client;
mod clients;
mod compression;
mod exits;
mod explain;
mod grpc_client;
mod inference;
mod limits;
mod model;
mod mutations;
mod refusals;
mod rollout;
mod running;
mod runtime;
mod streams;
mod swap;
mod tfserving;
mod wire;
