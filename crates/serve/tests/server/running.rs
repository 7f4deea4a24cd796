//! A server in a thread of its own.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use strata_package::{Identity, Store};
use strata_serve::{Action, KeyModels, KeyStore, NewKey, ServeOptions, Server};
use strata_spec::{ExitCalibration, ExitThreshold};
use tokio::sync::oneshot;

use crate::{client::Client, model::Model};

/// Serves `tiny` (versions 1 and 2, `stable` is 1), `wide`, `other` and `deep` (with exits, which are calibrated in version
/// 2), until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Where it listens for gRPC.
    pub(crate) grpc: SocketAddr,
    pub(crate) keys: KeyStore,
    pub(crate) store: Store,
    /// Signs and seals what is in the store.
    pub(crate) identity: Identity,
    /// May do everything.
    pub(crate) admin: String,
    pub(crate) digest: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// The network of a model and version that a server serves.
pub(crate) fn model(name: &str, version: u64) -> Model {
    match (name, version) {
        ("tiny", _) => Model::new(100 * version, 8),
        // Slow enough for batches, where programs are compiled for debugging.
        ("wide", _) => Model::new(7, 1024),
        ("deep", _) => Model::with_exits(1024),
        _ => Model::new(8, 8),
    }
}

/// The least confidence at which a row leaves at `low` in version 2 of `deep`; at `middle` none does.
pub(crate) const CALIBRATED: f64 = 0.4375;

fn calibrate(store: &Store, identity: &Identity) {
    let selector = "deep".parse().unwrap();
    let deep = store.manifest(&selector, &identity.access()).unwrap();
    let exits = ExitCalibration {
        thresholds: vec![ExitThreshold {
            level: "low".parse().unwrap(),
            confidence: CALIBRATED,
        }],
        epsilon: 0.1,
        delta: 0.1,
        method: String::new(),
        data: Vec::new(),
        rows: 0,
        lost: 0.0,
        work: 1.0,
    };
    let added = store.add_calibrated(&deep.manifest, "", exits, identity);
    assert_eq!(added.unwrap().version, 2);
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::init(&folder.path().join("identity")).unwrap();
        let root = folder.path().join("store");
        let store = Store::create_if_missing(&root).unwrap();
        for (name, version) in [
            ("tiny", 1),
            ("tiny", 2),
            ("wide", 1),
            ("other", 1),
            ("deep", 1),
        ] {
            assert_eq!(
                model(name, version).add_to(&store, name, &identity),
                version
            );
        }
        calibrate(&store, &identity);
        // A version that an alias names is served besides the highest one.
        for (name, alias) in [("tiny", "stable"), ("deep", "plain")] {
            let (name, alias) = (name.parse().unwrap(), alias.parse().unwrap());
            store.set_alias(&name, &alias, 1).unwrap();
        }

        let mut options = ServeOptions::new(&root, identity.access());
        options.address.set_port(0);
        options.grpc = Some(options.address);
        change(&mut options);
        let keys = options.keys.clone();
        let server = Server::bind(options).unwrap();
        let address = server.local_addr();
        let grpc = server.grpc_addr().unwrap();
        let digest = server
            .served()
            .iter()
            .find(|served| served.name == "tiny")
            .unwrap()
            .digest
            .clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime
                .block_on(server.run(async { drop(stopped.await) }))
                .unwrap();
        });
        let mut running = Self {
            address,
            grpc,
            keys,
            store,
            identity,
            admin: String::new(),
            digest,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        };
        running.admin = running.key(&[Action::Admin], KeyModels::All);
        running
    }

    /// A new key that the server knows already.
    pub(crate) fn key(&self, actions: &[Action], models: KeyModels) -> String {
        let (name, actions) = ("test".to_owned(), actions.to_vec());
        let token = self
            .keys
            .create(NewKey {
                name,
                actions,
                models,
                expires: None,
            })
            .unwrap()
            .token;
        for _ in 0..100 {
            if self.client().with_key(&token).get("/v2").status == 200 {
                return token.to_string();
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the server does not notice a new key");
    }

    /// A connection whose caller has no key yet.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A connection whose caller may do everything.
    pub(crate) fn admin(&self) -> Client {
        self.client().with_key(&self.admin)
    }

    /// Tells the server to stop, without waiting for it.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        self.wait();
    }
}

/// Waits until something is so, since a server needs a moment.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a line of `/metrics`, by its beginning; 0 without such a line.
pub(crate) fn metric(client: &mut Client, line: &str) -> f64 {
    let text = String::from_utf8(client.get("/metrics").body).unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}
