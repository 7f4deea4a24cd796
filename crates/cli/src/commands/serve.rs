use std::{env, time::Duration};

use anyhow::{Context, bail};
use strata_remote::Address;
use strata_serve::{KeyStore, Origin, ServeOptions, Server};
use tokio::runtime::Runtime;

use super::opened::access;
use crate::{
    args::Serve,
    output::Output,
    places::{cache_folder, store_address},
};

pub(super) fn run(args: Serve, output: Output) -> anyhow::Result<()> {
    let access = access(&args.access)?;
    let mut options = match store_address(args.store.store)? {
        Address::Folder(folder) => ServeOptions::new(folder, access),
        Address::Bucket(bucket) => {
            let folder = match args.store_cache {
                Some(folder) => folder,
                None => cache_folder("served", &bucket)?,
            };
            let mut options = ServeOptions::new(folder, access);
            options.origin = Some(Origin {
                bucket,
                poll: Duration::from_secs(args.poll.into()),
            });
            options
        }
    };
    if let Some(file) = args.keys.keys {
        options.keys = KeyStore::at(file);
    }
    options.address = args.address;
    options.grpc = args.grpc;
    options.models = (!args.models.is_empty()).then_some(args.models);
    options.log_requests = args.log_requests;
    options.export_spans = wants_spans();
    options.limits.body_bytes = (args.body_mib as usize) << 20;
    options.limits.queue_rows = args.queue_rows as usize;
    options.limits.batch_rows = args.batch_rows as usize;
    options.limits.latency_target = args
        .latency_target_ms
        .map(|milliseconds| Duration::from_millis(milliseconds.into()));
    options.limits.memory_bytes = args.memory.unwrap_or(usize::MAX);
    options.limits.cache_bytes = args.cache.unwrap_or(0);
    options.limits.key_requests = args.key_requests as usize;
    options.limits.request_time = Duration::from_secs(args.request_seconds.into());
    options.limits.drain_time = Duration::from_secs(args.drain_seconds.into());
    options.limits.connections = connections(options.limits.connections, output);
    let keys = options.keys.clone();
    let server = Server::bind(options)?;
    for served in server.served() {
        output.note(&format!(
            "{}@{} {}",
            served.name, served.version, served.digest
        ));
    }
    for name in server.asleep() {
        output.note(&format!(
            "{name} does not fit into memory: loaded when it is asked"
        ));
    }
    if keys.list()?.is_empty() {
        output.note(&format!(
            "there are no keys yet in {}, so every request is refused: make one by `strata keys create`",
            keys.path().display()
        ));
    }
    output.note(&format!("listening on http://{}", server.local_addr()));
    if let Some(address) = server.grpc_addr() {
        output.note(&format!("listening for gRPC on {address}"));
    }
    run_until_done(runtime()?, async {
        tokio::select! {
            done = server.run(asked_to_stop(1)) => done.map_err(Into::into),
            // Who asks again does not want to wait for what is not answered yet.
            () = asked_to_stop(2) => bail!("stopped before every request was answered, as asked a second time"),
        }
    })
}

/// As many connections as there may be open files for, at most `most`: shells allow as many as other programs need.
fn connections(most: usize, output: Output) -> usize {
    /// Of each address, with those of callers who wait at the door.
    const FILES: u64 = 6;
    /// For everything else.
    const OTHERS: u64 = 64;
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            output.note(&format!("cannot ask for more open files: {error}"));
            return most;
        }
    };
    let room = usize::try_from(files.saturating_sub(OTHERS) / FILES).unwrap_or(usize::MAX);
    if room < most {
        output.note(&format!(
            "{files} files may be open at a time, so at most {} connections of each address: raise the limit (ulimit -n) for more",
            room.max(1)
        ));
    }
    room.clamp(1, most)
}

/// Whether the environment says where spans are taken, by OpenTelemetry's own variables.
fn wants_spans() -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let places = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ];
    places.into_iter().any(is_set)
        && !is_off("OTEL_SDK_DISABLED", "true")
        && !is_off("OTEL_TRACES_EXPORTER", "none")
}

pub(super) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the server's threads")
}

/// Ends with `work`. What goes on in the runtime's own threads is not waited for: how long a server may take
/// to stop is said by its drain time alone.
pub(super) fn run_until_done<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// Until Ctrl-C or SIGTERM came so many times.
pub(super) async fn asked_to_stop(times: usize) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Where a signal cannot be listened for, the other one still works.
        let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        let mut signals = signals.map(|signal| signal.ok());
        let [terminate, interrupt] = &mut signals;
        for _ in 0..times {
            tokio::select! {
                Some(()) = next(terminate) => {}
                Some(()) = next(interrupt) => {}
                else => std::future::pending().await,
            }
        }
    }
    #[cfg(not(unix))]
    for _ in 0..times {
        drop(tokio::signal::ctrl_c().await);
    }
}

#[cfg(unix)]
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}
