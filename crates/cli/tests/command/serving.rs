//! Servers that cannot start.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use crate::{
    place::{Place, words},
    server::{Server, until},
};

#[test]
fn an_address_in_use_is_refused() {
    let place = Place::with_model();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.check_fails(
        &["serve", "--address", &address],
        &["cannot listen on", &address, "in use"],
    );
}

#[test]
fn a_store_without_models_is_refused() {
    let place = Place::with_model();
    place.run(&["models", "remove", "tiny@1"]).success();
    place.check_fails(
        &["serve", "--address", "127.0.0.1:0"],
        &["store: no model to serve"],
    );
    place.check_fails(
        &["serve", "--address", "127.0.0.1:0", "--store", "none"],
        &["none: not a model store"],
    );
}

#[test]
fn without_keys_a_server_says_that_it_refuses_everyone() {
    let place = Place::with_model();
    let server = Server::start(&place, &["--model", "tiny@1"]);
    assert_eq!(server.ask("", "/v2/models/tiny", None).0, 401);
    assert_eq!(server.ask("", "/v2/health/live", None).0, 200);
    let (code, notes) = server.stop();
    assert_eq!(code, Some(0));
    assert!(
        notes.contains("there are no keys yet") && notes.contains("strata keys create"),
        "{notes}"
    );
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_its_last_requests() {
    let place = Place::with_model();
    let created = place.answer(&words("keys create --name a --allow infer --models tiny"));
    let server = Server::start(&place, &["--drain-seconds", "600"]);
    let mut slow = TcpStream::connect(server.address.strip_prefix("http://").unwrap()).unwrap();
    let key = created["key"].as_str().unwrap();
    let head = format!(
        "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).unwrap();
    // It is on its way once the server wants its body.
    let mut word = [0; 12];
    slow.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100");
    server.signal("TERM");
    until("it takes no more callers", || {
        TcpStream::connect(server.address.strip_prefix("http://").unwrap()).is_err()
    });
    let (code, notes) = server.stop();
    assert_eq!(code, Some(1), "{notes}");
    assert!(notes.contains("as asked a second time"), "{notes}");
}

#[test]
fn keys_that_are_damaged_let_nobody_in() {
    let place = Place::with_model();
    let create = words("keys create --name a --allow infer --models tiny --expires never");
    let created = place.answer(&create);
    let (key, id) = (
        created["key"].as_str().unwrap(),
        created["id"].as_str().unwrap(),
    );
    let file = place.store().join("keys.json");
    let whole = fs::read(&file).unwrap();
    let server = Server::start(&place, &[]);
    assert_eq!(server.ask(key, "/v2", None).0, 200);

    for damaged in [&whole[..whole.len() / 2], b"{}", b"[]", b"\0", b""] {
        fs::write(&file, damaged).unwrap();
        let words = ["keys.json: not a file of keys"];
        place.check_fails(&["keys", "list"], &words);
        place.check_fails(&create, &words);
        place.check_fails(&["keys", "revoke", id], &words);
        place.check_fails(&["serve", "--address", "127.0.0.1:0"], &words);
    }
    // Nobody can say any more which keys were taken back.
    server.wait_for(key, "/v2", 503);
    fs::write(&file, whole).unwrap();
    server.wait_for(key, "/v2", 200);
}
