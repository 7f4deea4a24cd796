use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Socket, Type};

use crate::{
    ServeError, ServeOptions,
    access::Guard,
    http::{self, Listening, State},
    log::{Log, Problems},
    metrics::Metrics,
    observe::Observer,
    runtime::{self, Keeper, Repository, Source},
};

/// A server that listens and has its models in memory.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    grpc: Option<(TcpListener, SocketAddr)>,
    state: Arc<State>,
}

/// A version that a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Digest of its manifest.
    pub digest: String,
}

impl Server {
    /// Opens the models, then listens. From here on connections wait to be accepted by [`Server::run`], and the store is
    /// followed: see [`ServeOptions::models`].
    ///
    /// Blocks while it reads; needs no runtime.
    ///
    /// # Errors
    /// A model that was named cannot be opened, none can, the keys cannot be read, or the address is taken.
    pub fn bind(options: ServeOptions) -> Result<Self, ServeError> {
        let metrics = Metrics::new();
        let log = Log::start().map_err(ServeError::Thread)?;
        let keeper = runtime::mirror(&options, &log, &metrics)?;
        let source = Source::open(&options, keeper.as_ref().map(Keeper::mirrored))?;
        let mut problems = Problems::new(log.clone());
        let registry = runtime::load(&source, &metrics, &mut problems)?;
        let observer = Observer::new(&options, &log)?;
        let guard = Guard::new(options.keys, log.clone())?;
        let (listener, address) = listen(options.address)?;
        let grpc = options.grpc.map(listen).transpose()?;
        let (repository, commands) = Repository::new();
        let state = Arc::new(State::new(
            guard,
            registry,
            repository,
            metrics,
            options.limits,
            log.clone(),
            observer,
        ));
        runtime::follow(source, &state, commands, log, problems).map_err(ServeError::Thread)?;
        if let Some(keeper) = keeper {
            keeper.start(&state).map_err(ServeError::Thread)?;
        }
        Ok(Self {
            listener,
            address,
            grpc,
            state,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for gRPC, if it does.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// What it has in memory, by name and version.
    pub fn served(&self) -> Vec<Served> {
        let registry = self.state.registry.current();
        let versions = registry.versions().map(|version| Served {
            name: version.name.to_string(),
            version: version.number,
            digest: version.digest.to_string(),
        });
        let mut served: Vec<_> = versions.collect();
        served.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        served
    }

    /// Models that do not fit into memory beside the others: they are loaded when they are asked.
    pub fn asleep(&self) -> Vec<String> {
        let registry = self.state.registry.current();
        registry.asleep().keys().map(ToString::to_string).collect()
    }

    /// Answers requests until `shutdown` completes. Then it is no longer ready, accepts no connection,
    /// closes idle ones and waits for requests in flight, at most
    /// [`Limits::drain_time`](crate::Limits::drain_time).
    ///
    /// Needs a Tokio runtime with time and I/O; several threads are best.
    ///
    /// # Errors
    /// The runtime does not take a listener, or the system refuses a thread.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let listening = Listening {
            http: self.listener,
            grpc: self
                .grpc
                .map(|(listener, address)| started(listener, address))
                .transpose()?,
        };
        let served = http::serve(listening, self.state.clone(), shutdown).await;
        served.map_err(ServeError::Thread)?;
        let ended = tokio::task::spawn_blocking(move || self.state.observer.end());
        // Fails only if it panics, which costs the last spans.
        let _ = ended.await;
        Ok(())
    }
}

/// Connections that wait to be accepted. Of more the callers try again, and only after a second.
const BACKLOG: i32 = 4096;

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listen = || -> io::Result<_> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, None)?;
        // As the standard library does: what is left of connections of an earlier server is in nobody's way.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source| ServeError::Address { address, source })
}

fn started(
    listener: TcpListener,
    address: SocketAddr,
) -> Result<tokio::net::TcpListener, ServeError> {
    tokio::net::TcpListener::from_std(listener)
        .map_err(|source| ServeError::Address { address, source })
}
