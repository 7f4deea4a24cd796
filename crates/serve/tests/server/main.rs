//! The real server, with real packages, asked over TCP.

mod access;
mod client;
mod explain;
mod inference;
mod limits;
mod model;
mod refusals;
mod running;
mod triton;
