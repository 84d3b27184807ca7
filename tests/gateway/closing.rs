//! How a connection ends behind its last answer, and what becomes of an upload that has
//! its answer already: what a client still sends takes no answer with it, and keeps no connection.

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::Raw;
use crate::harness::{Scene, refused, until, within};
use crate::pace::{ACK, DATA, Ends, Http2, PING, WINDOW_UPDATE, head_is_late};
use crate::puppet::{Puppet, Reply};

const OK: &str = "{\"ok\":true}";

/// More than the system of a client keeps that has not read anything.
const LONG_BYTES: usize = 128 * 1024;

const NEXT: &str = "GET /v3/next HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Behind the last byte of an upload: answered on a connection that is kept, and the last one there.
const LAST: &str = "GET /v3/last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// So large an upload is not kept, and its upstream is asked whether it wants it.
const LARGE: &str =
    "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000000\r\n\r\n";

/// An answer that passes as it comes, and its first half.
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\n\
                    content-length: 22\r\n\r\nfirst half\n";

fn answered(scene: &Scene) -> usize {
    scene.events().iter().filter(|event| matches!(event, Event::Request(_))).count()
}

async fn connect(scene: &Scene) -> Raw {
    Raw::connect(scene.door(), scene.record()).await
}

/// A client whose system takes little that has not been read: the rest waits at ours.
async fn reading_little(scene: &Scene) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    within(socket.connect(([127, 0, 0, 1], scene.port()).into())).await.unwrap()
}

/// Fails when a connection is closed while the answer is on its way and the client sends: it is
/// reset then, and with it goes what has not arrived.
#[tokio::test]
async fn what_comes_behind_the_last_request_does_not_take_its_answer_away() {
    let long = format!("{{\"long\":\"{}\"}}", "x".repeat(LONG_BYTES));
    let answer = long.clone();
    let puppet = Puppet::logged_in(move |_| Reply::json(&answer)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for (number, last) in [
        "GET /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "GET /v3/x HTTP/1.0\r\nhost: localhost\r\n\r\n",
        "POST /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = reading_little(&scene).await;
        client.write_all(last.as_bytes()).await.unwrap();
        until("all has been given to the system", || answered(&scene) == number + 1).await;
        client.write_all(NEXT.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let read = within(client.read_to_end(&mut all)).await;
        let all = String::from_utf8(all).unwrap();
        assert!(read.is_ok() && all.ends_with(&long), "{last}: {read:?} after {}", all.len());
        assert_eq!(all.matches("HTTP/1.").count(), 1, "{last}");
    }
    assert_eq!(puppet.calls().len(), 3);
    scene.stop().await;
}

/// Fails when a stop takes the end of an answer away from a client of HTTP/2, which says that it has
/// read something while it reads.
#[tokio::test]
async fn over_http2_what_a_client_says_while_it_reads_does_not_take_its_answer_away() {
    let puppet = Puppet::logged_in(|_| Reply::hand_over("")).await;
    let mut scene = puppet.scene(Vendor::Contentstack).await;
    // SETTINGS_INITIAL_WINDOW_SIZE, and that of the connection: there is room for all.
    let mut client = Http2::begin(reading_little(&scene).await, &[0, 4, 0, 16, 0, 0]).await;
    client.frame(WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]).await;
    client.request(1, "GET", "/v3/x", Ends::Yes).await;
    let mut upstream = puppet.handed_over().await;
    let stopping = tokio::spawn(scene.take_app().stop());
    loop {
        let frame = client.next().await.expect("closed before there was an answer");
        // It asks whether all that was sent before has come.
        if frame.kind == PING && frame.flags == 0 {
            client.frame(PING, ACK, 0, &frame.payload).await;
            break;
        }
    }
    let body = "x".repeat(LONG_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG_BYTES}\r\n\r\n{body}");
    upstream.write_all(answer.as_bytes()).await.unwrap();
    let mut read = 0;
    while read < LONG_BYTES {
        let frame = client.next().await.unwrap_or_else(|| panic!("reset after {read} bytes"));
        if frame.kind == DATA {
            read += frame.payload.len();
            client.frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).await;
        }
    }
    drop((client, upstream));
    within(stopping).await.unwrap();
}

/// Fails when a client that sends for ever behind its last request keeps its connection.
#[tokio::test]
async fn a_client_that_never_stops_sending_is_left_in_the_end() {
    let puppet = Puppet::logged_in(|_| Reply::json(OK)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = connect(&scene).await;
    client.write(LAST).await;
    client.read_to(OK).await;
    within(client.write_until_closed()).await;
    assert_eq!(puppet.calls().len(), 1);
    scene.stop().await;
}

/// Fails when an upload goes on and is cut, because it is taken for the head of another request; or
/// what comes behind it is lost.
#[tokio::test]
async fn an_upload_goes_on_after_its_answer_as_slowly_as_before() {
    let puppet = Puppet::logged_in(|_| Reply::json(OK)).await;
    puppet.answer_early(Reply::json("{\"early\":true}"));
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.tables.push_str("[timeouts]\nhead = \"1s\"\nidle = \"1s\"\n");
    let scene = setup.start().await;
    let mut client = connect(&scene).await;
    client.write("POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\nx").await;
    client.read_to("early").await;
    for _ in 0..3 {
        head_is_late(&scene).await;
        client.write("xx").await;
    }
    client.write(LAST).await;
    let all = client.read_to_end().await;
    assert!(all.ends_with(OK), "{all}");
    let calls = puppet.calls();
    assert!(calls[0].ends_with("\r\n\r\nxxxxxxx") && calls[0].starts_with("POST /v3/x "));
    scene.stop().await;
}

/// Fails when an upload that nobody takes any more keeps its connection after the answer.
#[tokio::test]
async fn an_upload_that_is_stuck_after_its_answer_ends_its_connection() {
    let puppet = Puppet::logged_in(|_| Reply::json(OK)).await;
    puppet.answer_expecting(Reply::go_on());
    puppet.answer_early(Reply::stall(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}",
    ));
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.tables.push_str("[timeouts]\nbody = \"1s\"\n");
    let scene = setup.start().await;
    let mut client = connect(&scene).await;
    client.write(format!("{LARGE}x")).await;
    let answer = client.read_to(OK).await;
    assert!(!answer.contains("connection: close"), "{answer}");
    within(client.write_until_closed()).await;
    scene.stop().await;
}

/// Fails when an upload that is taken goes on for ever after its answer.
#[tokio::test]
async fn an_upload_without_end_ends_its_connection_after_its_answer() {
    let puppet = Puppet::logged_in(|_| Reply::json(OK)).await;
    puppet.answer_expecting(Reply::go_on());
    puppet.answer_early(Reply::json(OK));
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = connect(&scene).await;
    client.write(format!("{LARGE}x")).await;
    client.read_to(OK).await;
    let written = within(client.write_until_closed()).await;
    assert!(written > 32 << 20, "an upload that is taken was cut after {written} bytes");
    let mut broken_off = puppet.broken_off.clone();
    within(broken_off.wait_for(|count| *count == 1)).await.unwrap();
    scene.stop().await;
}

/// Fails when a stop cuts a request in one of its phases, or waits for more than those that have
/// begun.
#[tokio::test]
async fn a_stop_in_the_middle_of_a_request_lets_it_end() {
    let puppet = Puppet::logged_in(|request| match request.contains("/v3/slow") {
        true => Reply::hand_over(HALF),
        false => Reply::json(OK),
    })
    .await;
    let mut scene = puppet.scene(Vendor::Contentstack).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let post = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n";

    let mut in_head = connect(&scene).await;
    in_head.write(format!("{}GET /v3/x HT", get("/v3/x"))).await;
    in_head.read_to(OK).await;
    let mut in_body = connect(&scene).await;
    in_body.write(format!("{post}\r\nbo")).await;
    puppet.body_begun(1).await;
    let mut asking = connect(&scene).await;
    puppet.answer_expecting(Reply::go_on());
    asking.write(format!("{post}expect: 100-continue\r\n\r\n")).await;
    asking.read_to("100 Continue\r\n\r\n").await;
    let mut answered = connect(&scene).await;
    puppet.answer_early(Reply::json(OK));
    answered.write(format!("{post}\r\nbo")).await;
    answered.read_to(OK).await;
    let mut in_answer = connect(&scene).await;
    in_answer.write(get("/v3/slow")).await;
    let mut upstream = puppet.handed_over().await;
    in_answer.read_to("first half").await;

    let door = scene.door().clone();
    let stopping = tokio::spawn(scene.take_app().stop());
    refused(&door).await;
    in_head.write("TP/1.1\r\nhost: localhost\r\n\r\n").await;
    in_body.write("dy").await;
    asking.write("body").await;
    answered.write("dy").await;
    upstream.write_all(b"other half\n").await.unwrap();
    for (what, client, end, told) in [
        ("a head", in_head, OK, 1),
        ("a body", in_body, OK, 1),
        ("a question", asking, OK, 1),
        ("an upload that is answered", answered, OK, 0),
        ("an answer", in_answer, "first half\nother half\n", 0),
    ] {
        let all = client.read_to_end().await;
        assert!(all.ends_with(end), "{what}: {all}");
        assert_eq!(all.matches("\r\nconnection: close\r\n").count(), told, "{what}: {all}");
    }
    within(stopping).await.unwrap();
    let calls = puppet.calls();
    assert_eq!(calls.iter().filter(|call| call.contains("body")).count(), 3, "{calls:?}");
}
