//! Clients at the stop that have asked for nothing yet: they are not waited for, and those that
//! have begun are.

use std::io::Write as _;

use doorward::emulator::Vendor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Raw;
use crate::harness::{Scene, Setup, refused, until, within};
use crate::hostile::frames::END_STREAM;
use crate::pace::{ACK, DATA, Ends, GOAWAY, Http2, PING};
use crate::page::sum;
use crate::vendors::read_line;

/// No wait for a client ends by itself while a test lasts.
const PATIENT: &str = "[timeouts]\nhead = \"1h\"\nidle = \"1h\"\n";

const ASK: &str = "GET /v3/user HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// How many connections of clients there have been.
fn connected(scene: &Scene) -> f64 {
    sum(scene, "doorward_connections_accepted_total", &[("listener", "main")])
}

/// A client of HTTP/2 whose settings have been heard, and answered.
async fn http2(scene: &Scene) -> Http2 {
    let stream = TcpStream::connect(("127.0.0.1", scene.port())).await.unwrap();
    let mut client = Http2::begin(stream, &[]).await;
    while client.next().await.unwrap().flags & ACK == 0 {}
    client
}

/// Fails when the stop waits for the first word of a client that says nothing: before its TLS
/// handshake, or ahead of what a listed proxy has to say.
#[tokio::test]
async fn connections_that_have_said_nothing_do_not_hold_the_stop() {
    for (listener_tls, line, before) in [
        (true, "", &b""[..]),
        (false, "\nproxy_protocol = { from = [\"127.0.0.1\"] }", b""),
        (true, "\nproxy_protocol = { from = [\"127.0.0.1\"] }", b"PROXY UNKNOWN\r\n"),
    ] {
        let mut setup = Setup::of(Vendor::Contentstack).tables(PATIENT);
        setup.listener.push_str(line);
        setup.listener_tls = listener_tls;
        let mut scene = setup.start().await;
        let mut silent = TcpStream::connect(("127.0.0.1", scene.port())).await.unwrap();
        silent.write_all(before).await.unwrap();
        until("it is connected", || connected(&scene) == 1.0).await;
        within(scene.take_app().stop()).await;
        assert_eq!(within(silent.read(&mut [0])).await.unwrap_or(0), 0);
    }
}

/// Fails when a client that had begun before the stop is not heard out.
#[tokio::test]
async fn a_client_that_has_begun_to_say_who_it_is_may_finish_during_the_stop() {
    let mut setup = Setup::of(Vendor::Contentstack).tables(PATIENT);
    setup.listener.push_str("\nproxy_protocol = { from = [\"127.0.0.1\"] }");
    let mut scene = setup.start().await;
    let begun = Raw::connect_after(b"PROXY UNK", scene.door(), scene.record());
    let mut begun = begun.await.unwrap();
    until("it is connected", || connected(&scene) == 1.0).await;
    let door = scene.door().clone();
    let stopping = tokio::spawn(scene.take_app().stop());
    refused(&door).await;
    begun.write("NOWN\r\nGET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let said = begun.read_to_end().await;
    assert!(said.starts_with("HTTP/1.1 "), "{said:?}");
    within(stopping).await.unwrap();
}

/// Fails when a client of HTTP/2 that has never asked for anything, and does not answer, is waited
/// for until the drain ends, or is not told.
#[tokio::test]
async fn over_http2_a_client_without_a_request_is_told_and_does_not_hold_the_stop() {
    let mut scene = Setup::of(Vendor::Contentstack).tables(PATIENT).start().await;
    let mut client = http2(&scene).await;
    within(scene.take_app().stop()).await;
    let mut is_told = false;
    while let Some(frame) = client.next().await {
        is_told |= frame.kind == GOAWAY;
    }
    assert!(is_told, "closed without a word");
}

/// Fails when what a client of HTTP/2 has asked before it heard of the stop is not answered.
#[tokio::test]
async fn over_http2_a_request_that_crosses_the_farewell_is_answered() {
    let mut scene = Setup::of(Vendor::Contentstack).tables(PATIENT).start().await;
    let mut client = http2(&scene).await;
    let mut silent = http2(&scene).await;
    let hold = scene.control().hold(read_line(Vendor::Contentstack));
    let stopping = tokio::spawn(scene.take_app().stop());
    while client.next().await.unwrap().kind != GOAWAY {}
    client.request(1, "GET", "/v3/content_types", Ends::Yes).await;
    within(hold.arrived(1)).await;
    // Whoever has no request is waited for no longer.
    while silent.next().await.is_some() {}
    hold.release();
    let mut is_answered = false;
    while let Some(frame) = client.next().await {
        is_answered |= frame.kind == DATA && frame.flags & END_STREAM != 0;
        if frame.kind == PING && frame.flags & ACK == 0 {
            client.frame(PING, ACK, 0, &frame.payload).await;
        }
    }
    assert!(is_answered, "closed before it was answered");
    within(stopping).await.unwrap();
}

/// Fails when a request is lost that had reached this machine before the stop, because its connection
/// had not been accepted or its head not been read by then.
#[tokio::test]
async fn requests_that_have_come_before_the_stop_are_answered() {
    const CLIENTS: usize = 256;
    let mut scene = Setup::of(Vendor::Contentstack).tables(PATIENT).start().await;
    let mut warm = Raw::connect(scene.door(), scene.record()).await;
    warm.write(ASK).await;
    assert!(warm.read_to_end().await.starts_with("HTTP/1.1 200 "));
    let door = ("127.0.0.1", scene.port());
    // Blocking, so that the stop follows at once.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(door).unwrap();
            client.write_all(ASK.as_bytes()).unwrap();
            client.set_nonblocking(true).unwrap();
            client
        })
        .collect();
    let stopping = tokio::spawn(scene.take_app().stop());
    for client in clients {
        let mut answer = String::new();
        within(TcpStream::from_std(client).unwrap().read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    within(stopping).await.unwrap();
}
