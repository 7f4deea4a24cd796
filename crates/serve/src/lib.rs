//! The model server: models from a store, asked over HTTP by callers with a key.
//!
//! [`Server::bind`] opens packages (verified, unsealed in memory), compiles their plans and listens;
//! [`Server::run`] answers until it is told to stop, then lets requests in flight finish. The protocol is
//! the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol) version 2 over
//! HTTP/1.1 with its binary tensor extension, and over gRPC where [`ServeOptions::grpc`] says so; besides, TensorFlow
//! Serving's REST interface, KServe's V1, and one route of Strata's own for explanations. `/openapi.json` describes them.
//!
//! What holds:
//!
//! - One table lists all [`routes`], and one guard stands in front of them: without a valid API key every
//!   path, known or not, answers 401. Only liveness and readiness are open.
//! - A key for some models gets 403 for all others, whether they exist or not; only who may see every
//!   model gets 404.
//! - A row's answer does not depend on what else is computed with it.
//! - Nothing grows without a bound: heads, bodies, connections, queues and waiting times have limits
//!   ([`Limits`]), and each limit answers with a status of its own.
//! - No answer without its origin: version, digest of the manifest, and the levels that gave it.
//!
//! The folders: `access` (keys and the guard), `runtime` (models in memory and their batches), `http` (connections,
//! routes, refusals), `infer` (one request for an answer, whatever protocol it came by), `oip`, `grpc`, `tfserving`,
//! `kserve` and `explain` (the protocols), `rollout` (which of two versions answers, and how they compare), `openapi`.
//! Whatever is logged goes through `log`; what is told of each request, as a line or as a span, through `observe`.
//!
//! ```no_run
//! use strata_package::Access;
//! use strata_serve::{ServeOptions, Server};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind(ServeOptions::new("store", Access::find(None)?))?;
//! println!("http://{}", server.local_addr());
//! let interrupted = async { drop(tokio::signal::ctrl_c().await) };
//! server.run(interrupted).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod error;
mod explain;
mod grpc;
mod http;
mod infer;
mod kserve;
mod log;
mod metrics;
mod observe;
mod oip;
mod openapi;
mod options;
mod rollout;
mod runtime;
mod server;
mod status;
#[cfg(test)]
mod testing;
mod tfserving;

pub use access::{Action, ActionError, CreatedKey, Key, KeyModels, KeyStore, KeysError, NewKey};
pub use error::ServeError;
pub use http::routes;
pub use options::{Limits, Origin, ServeOptions};
pub use server::{Served, Server};
