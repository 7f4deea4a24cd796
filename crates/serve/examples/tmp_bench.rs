//! tmp
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;
use std::collections::BTreeMap;
use strata_nn::{LevelWeights, WeightTensor};
use strata_package::{Identity, NewLevel, NewVersion, Sealing, Store};
use strata_serve::*;
use strata_spec::*;
fn main() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::init(&folder.path().join("id")).unwrap();
    let root = folder.path().join("store");
    let store = Store::create_if_missing(&root).unwrap();
    let head = Head { task: "digit".parse().unwrap(), layers: vec![Layer::Dense(Dense { units: 10 })] };
    let levels = vec![
        Level { name: "hidden".parse().unwrap(), layers: vec![Layer::Flatten, Layer::Dense(Dense { units: 128 }), Layer::Relu], head: None },
        Level { name: "digits".parse().unwrap(), layers: vec![], head: Some(head) },
    ];
    let preparation: Preparation = serde_json::from_str(r#"{"image":{"height":28,"width":28}}"#).unwrap();
    let shapes = level_shapes(&preparation.output_shape(), &levels).unwrap();
    let mut x = 1u32;
    let mut t = |shape: Vec<usize>| { let n = shape.iter().product(); WeightTensor { shape, values: (0..n).map(|_| { x = x.wrapping_mul(1664525).wrapping_add(1013904223); (x >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05 }).collect() } };
    let w = [BTreeMap::from([("layers.1.weight".to_owned(), t(vec![128, 784])), ("layers.1.bias".to_owned(), t(vec![128]))]),
        BTreeMap::from([("head.0.weight".to_owned(), t(vec![10, 128])), ("head.0.bias".to_owned(), t(vec![10]))])];
    let new = levels.iter().zip(&shapes).zip(w).map(|((l, s), w)| NewLevel { architecture: l.clone(), shapes: s.clone(), weights: LevelWeights::new(w, l, s).unwrap().to_safetensors() }).collect();
    let zero = Digest::from_bytes([0; 32]);
    store.add(NewVersion { name: "mnist".parse().unwrap(), description: String::new(), levels: new,
        tasks: vec![Task { name: "digit".parse().unwrap(), classification: Classification { classes: 10, labels: vec![] } }],
        preparation, lineage: Lineage { recipe: zero, data: vec![], seed: 0, strategy: Strategy::EndToEnd, code: "x".into(), parent: None },
        metrics: BTreeMap::new(), precision: Precision::F32, card: String::new() }, &identity, Sealing::Sealed).unwrap();
    let mut options = ServeOptions::new(&root, identity.access());
    options.address = "127.0.0.1:8099".parse().unwrap();
    let token = options.keys.create(NewKey { name: "b".into(), actions: vec![Action::Admin], models: KeyModels::All, expires: None }).unwrap().token;
    std::fs::write("/tmp/token", &*token).unwrap();
    let workers = std::env::var("WORKERS").ok().and_then(|w| w.parse().ok()).unwrap_or(2);
    let server = Server::bind(options).unwrap();
    eprintln!("{:?} {}", server.served(), server.local_addr());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    runtime.block_on(server.run(async { tokio::signal::ctrl_c().await.unwrap() })).unwrap();
}
