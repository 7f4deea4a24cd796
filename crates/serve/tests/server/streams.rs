//! Callers of gRPC that are slow, silent or many, and a server that stops.

use std::time::Duration;

use strata_serve::Limits;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, once, pending, wrappers::ReceiverStream};
use tonic::Code;

use crate::{
    grpc_client::{GrpcClient, question, runtime},
    running::Running,
};

const SHORT: Duration = Duration::from_millis(300);
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// What `Watch` says: serving, not serving, no such service.
const STATES: [&[u8]; 3] = [b"\x08\x01", b"\x08\x02", b"\x08\x03"];

fn with(change: impl FnOnce(&mut Limits)) -> Running {
    Running::start_with(|options| change(&mut options.limits))
}

/// Asks until it is answered.
async fn until_answered(grpc: &GrpcClient) {
    for _ in 0..2000 {
        if grpc
            .ask("ModelReady", b"\x0a\x04tiny".to_vec())
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never answered");
}

#[test]
fn who_never_takes_an_answer_loses_the_stream_and_not_the_connection() {
    let running = with(|limits| {
        limits.write_time = SHORT;
        limits.key_requests = 1;
    });
    runtime().block_on(async {
        for window in [1, 20_000] {
            let narrow = GrpcClient::connect_with(&running, |endpoint| {
                endpoint.initial_stream_window_size(window)
            });
            let grpc = narrow.await;
            let messages = once(question("tiny", 3000)).chain(pending());
            // Nothing of its answer is asked for, so none of it has a way.
            let mut stuck = grpc.stream(STREAM, messages).await.unwrap();
            // The key has one request at a time, so the stream is gone when it has another.
            until_answered(&GrpcClient::connect(&running).await).await;
            assert!(stuck.message().await.is_err());
            drop(stuck);
            until_answered(&grpc).await;
        }
    });
}

#[test]
fn a_stream_on_which_nothing_is_asked_ends_with_a_word_why() {
    let running = with(|limits| limits.stream_time = Duration::from_secs(1));
    runtime().block_on(async {
        let grpc = GrpcClient::connect(&running).await;
        let messages = tokio_stream::iter([question("tiny", 1), question("wide", 2)]);
        let mut stream = grpc
            .stream(STREAM, messages.chain(pending()))
            .await
            .unwrap();
        for _ in 0..2 {
            assert!(stream.message().await.unwrap().is_some());
        }
        let end = stream.message().await.unwrap_err();
        assert_eq!(end.code(), Code::DeadlineExceeded);
        assert!(end.message().contains("nothing was asked"), "{end}");
    });
}

#[test]
fn a_health_watch_outlives_idle_streams_and_knows_no_model() {
    let running = with(|limits| limits.stream_time = Duration::from_secs(1));
    runtime().block_on(async {
        let grpc = GrpcClient::connect(&running).await;
        let mut watch = grpc.stream(WATCH, once(Vec::new())).await.unwrap();
        let mut idle = grpc.stream(STREAM, pending()).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap(), STATES[0]);
        assert!(idle.message().await.is_err());
        // Health needs no key, so it says of no model whether it is there.
        for service in ["tiny", "none"] {
            let message = [b"\x0a\x04", service.as_bytes()].concat();
            let mut unknown = grpc.stream(WATCH, once(message)).await.unwrap();
            assert_eq!(unknown.message().await.unwrap().unwrap(), STATES[2]);
            assert!(unknown.message().await.unwrap().is_none());
        }
        let next = tokio::time::timeout(Duration::from_secs(3), watch.message()).await;
        assert!(next.is_err(), "{next:?}");
    });
}

#[test]
fn who_only_listens_makes_room_and_who_asks_does_not() {
    let running = with(|limits| limits.connections = 2);
    runtime().block_on(async {
        let listener = GrpcClient::connect(&running).await;
        let mut watch = listener.stream(WATCH, once(Vec::new())).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap(), STATES[0]);
        let busy = GrpcClient::connect(&running).await;
        until_answered(&busy).await;
        let (send, messages) = mpsc::channel(1);
        let own = busy.clone();
        let answer =
            tokio::spawn(async move { own.stream(INFER, ReceiverStream::new(messages)).await });
        let mut others = Vec::new();
        for _ in 0..2 {
            let other = GrpcClient::connect(&running).await;
            until_answered(&other).await;
            others.push(other);
        }
        let end = watch.message().await;
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
        send.send(question("tiny", 1)).await.unwrap();
        drop(send);
        let mut answer = answer.await.unwrap().unwrap();
        assert!(answer.message().await.unwrap().is_some());
    });
}

#[test]
fn a_stopping_server_answers_what_it_began_and_tells_who_watches() {
    let mut running = Running::start();
    runtime().block_on(async {
        let grpc = GrpcClient::connect(&running).await;
        let mut watch = grpc.stream(WATCH, once(Vec::new())).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap(), STATES[0]);
        let mut stream = grpc.stream(STREAM, pending()).await.unwrap();
        let (send, messages) = mpsc::channel(1);
        let own = grpc.clone();
        let answer =
            tokio::spawn(async move { own.stream(INFER, ReceiverStream::new(messages)).await });
        // The second is sent after the call, and calls of a connection begin in their order.
        until_answered(&grpc).await;
        until_answered(&grpc).await;
        running.stop();
        assert_eq!(watch.message().await.unwrap().unwrap(), STATES[1]);
        assert!(watch.message().await.unwrap().is_none());
        assert!(stream.message().await.unwrap().is_none());
        // Not begun on the connection that is there, whatever the client calls that, and there is no new one.
        let mut refused = Ok(Default::default());
        for _ in 0..2000 {
            refused = grpc.ask("ModelReady", b"\x0a\x04tiny".to_vec()).await;
            if refused.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let code = refused.unwrap_err().code();
        assert!(
            matches!(code, Code::Unavailable | Code::Cancelled),
            "{code}"
        );
        assert!(std::net::TcpStream::connect(running.grpc).is_err());
        send.send(question("tiny", 1)).await.unwrap();
        drop(send);
        let mut answer = answer.await.unwrap().unwrap();
        assert!(answer.message().await.unwrap().is_some());
    });
    running.wait();
}
