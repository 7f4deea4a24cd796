//! The committed gRPC code is what its `.proto` says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{env, fs, path::Path};

use prost::Message;

/// Needs no `protoc`. Writes the files where `STRATA_GENERATE` is set.
#[test]
fn the_committed_grpc_code_is_what_the_proto_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/grpc");
    let files = protox::compile(["inference.proto"], [&source]).unwrap();
    let made = tempfile::tempdir().unwrap();
    let mut without_comments = files.clone();
    for file in &mut without_comments.file {
        file.source_code_info = None;
    }
    fs::write(
        made.path().join("inference.bin"),
        without_comments.encode_to_vec(),
    )
    .unwrap();
    // Comments of the protocol would be read as Markdown.
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::grpc::Codec")
        .out_dir(made.path())
        .compile_fds(without_comments)
        .unwrap();
    for name in ["inference.rs", "inference.bin"] {
        let committed = source.join("generated").join(name);
        let made = fs::read(made.path().join(name)).unwrap();
        if env::var_os("STRATA_GENERATE").is_some() {
            fs::write(&committed, &made).unwrap();
        }
        assert!(
            fs::read(&committed).is_ok_and(|committed| committed == made),
            "{}: not what inference.proto says: run this test with STRATA_GENERATE=1",
            committed.display()
        );
    }
}
