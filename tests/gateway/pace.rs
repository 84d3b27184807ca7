//! Clients that are too slow, in real time and with short bounds: what they hold is given back, and
//! nobody else is concerned.

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Raw;
use crate::harness::{Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply};

/// No client may pause for longer than a second; other waits are as long as always.
const SHORT: &str = "[timeouts]\nbody = \"1s\"\nwrite = \"1s\"\n";

/// A head may take a second, and what is between two requests a long time.
const HEAD_SHORT: &str = "[timeouts]\nhead = \"1s\"\nidle = \"1h\"\n";

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const ENDLESS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ncontent-length: 1000000000000\r\n\r\n";

const GET: &str = "GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Answers to `/v3/long` are the test's, all others short.
async fn puppet() -> Puppet {
    Puppet::logged_in(|request| match request.contains("/v3/long") {
        true => Reply::hand_over(ENDLESS),
        false => Reply::json("{}"),
    })
    .await
}

fn setup(puppet: &Puppet, tables: &str) -> Setup {
    puppet.setup(Vendor::Contentstack).tables(tables)
}

/// Waits for as long as the head of a request may take.
pub async fn head_is_late(scene: &Scene) {
    let mut late = Raw::connect(scene.door(), scene.record()).await;
    late.write("GET /v3/x HT").await;
    assert_eq!(late.read_to_end().await, "");
}

/// Sends on until the other side closes.
async fn closed(mut upstream: TcpStream) {
    let piece = vec![b'x'; 64 * 1024];
    let sending = async { while upstream.write_all(&piece).await.is_ok() {} };
    within(sending).await;
}

/// Why requests for this path were reported to have ended.
fn reasons(scene: &Scene, path: &str) -> Vec<&'static str> {
    let events = scene.events();
    let requests = events.iter().filter_map(|event| match event {
        Event::Request(request) if request.path == path => Some(request.reason),
        _ => None,
    });
    requests.collect()
}

/// Fails when a client that stops in its body holds its request for as long as it likes.
#[tokio::test]
async fn a_body_that_does_not_go_on_gets_408_and_its_connection_ends() {
    let puppet = puppet().await;
    let mut setup = setup(&puppet, SHORT);
    // One by one: a request that were not given up would be in the way of the last one.
    setup.upstream.push_str("\nlimits = { in_flight_max = 1 }");
    let scene = setup.start().await;
    let mut slow = Raw::connect(scene.door(), scene.record()).await;
    slow.write("POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{").await;
    puppet.body_begun(1).await;
    let said = slow.read_to_end().await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("connection: close") && said.contains("body_timeout"), "{said}");
    let mut broken_off = puppet.broken_off.clone();
    within(broken_off.wait_for(|count| *count == 1)).await.unwrap();
    assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
    scene.stop().await;
}

/// Fails when over HTTP/2 such a client is not answered, or takes its connection with it.
#[tokio::test]
async fn over_http2_a_body_that_does_not_go_on_gets_408_and_others_go_on() {
    let puppet = puppet().await;
    let scene = setup(&puppet, SHORT).start().await;
    let mut client = Http2::connect(&scene, &[]).await;
    client.request(1, "POST", "/v3/x", Ends::No).await;
    client.frame(DATA, 0, 1, b"{").await;
    puppet.body_begun(1).await;
    let said = client.data(1).await;
    assert!(said.contains("body_timeout"), "{said}");
    client.request(3, "GET", "/v3/y", Ends::Yes).await;
    assert_eq!(client.data(3).await, "{}");
    assert_eq!(reasons(&scene, "/v3/x"), ["body_timeout"]);
    drop(client);
    scene.stop().await;
}

/// Fails when a client that takes nothing of its answer holds its upstream, its place or its memory.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_and_gives_everything_back() {
    for listener_tls in [false, true] {
        let puppet = puppet().await;
        let mut setup = setup(&puppet, SHORT);
        setup.listener_tls = listener_tls;
        setup.upstream.push_str("\nlimits = { in_flight_max = 1 }");
        let scene = setup.start().await;
        let mut slow = Raw::connect(scene.door(), scene.record()).await;
        slow.write(GET.replace("/v3/x", "/v3/long")).await;
        let upstream = puppet.handed_over().await;
        let waiting = scene.call("GET", "/v3/x").spawn();
        closed(upstream).await;
        assert_eq!(within(waiting).await.unwrap().status, 200);
        until("it is reported", || reasons(&scene, "/v3/long") == ["not_taken"]).await;
        // The connection is gone, and not only its request.
        slow.read_bytes_to_end().await;
        scene.stop().await;
    }
}

/// Fails when nobody is woken to cut such a client, because its upload is stuck as well.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_though_its_upload_is_stuck_too() {
    let puppet = puppet().await;
    puppet.answer_expecting(Reply::go_on());
    // Whoever cannot write all of this reads nothing either.
    puppet.answer_early(Reply::stall([ENDLESS.as_bytes(), &vec![b'x'; 64 << 20]].concat()));
    let scene = setup(&puppet, "[timeouts]\nwrite = \"1s\"\n").start().await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000000\r\n\r\n";
    client.write(head).await;
    within(client.write_until_closed()).await;
    until("it is reported", || reasons(&scene, "/v3/x") == ["not_taken"]).await;
    scene.stop().await;
}

/// Fails when a part of a head that came behind another request has longer than any other.
#[tokio::test]
async fn a_head_that_began_during_a_request_has_no_longer_than_any_other() {
    let puppet = puppet().await;
    let scene = setup(&puppet, HEAD_SHORT).start().await;
    for rest in ["GET /v3/y HT", "GET /v3/y HTTP/1.1\r\nhost: localh", "\r"] {
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(format!("{GET}{rest}")).await;
        let said = client.read_to_end().await;
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    // Nor one of which a part came behind a body.
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    let post = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbo";
    client.write(post).await;
    puppet.body_begun(1).await;
    client.write("dyGET /v3/y HT").await;
    let said = client.read_to_end().await;
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    scene.stop().await;
}

/// Fails when what begins like a connection of HTTP/2 and does not go on has longer than any head.
#[tokio::test]
async fn the_beginning_of_http2_has_no_longer_than_any_head() {
    let puppet = puppet().await;
    let scene = setup(&puppet, HEAD_SHORT).start().await;
    for length in [1, 3, 4, 14, 23] {
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(&PREFACE[..length]).await;
        assert_eq!(client.read_to_end().await, "", "{length}");
    }
    scene.stop().await;
}

/// Fails when a connection of HTTP/2 that came in pieces is taken for one whose head is late.
#[tokio::test]
async fn over_http2_a_beginning_in_pieces_is_as_good_as_a_whole_one() {
    let puppet = puppet().await;
    let tables = HEAD_SHORT.replace("head = \"1s\"", "head = \"2s\"");
    let scene = setup(&puppet, &tables).start().await;
    assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
    let mut clients = Vec::new();
    for length in [1, 3, 10, 18, 23] {
        let mut stream = TcpStream::connect(("127.0.0.1", scene.port())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&PREFACE[..length]).await.unwrap();
        // Whoever has answered these has read that, on whatever core it is; if not, it is no matter.
        for _ in 0..4 {
            assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
        }
        stream.write_all(&PREFACE[length..]).await.unwrap();
        let mut client = Http2 { stream };
        client.frame(SETTINGS, 0, 0, &[]).await;
        clients.push(client);
    }
    for _ in 0..2 {
        head_is_late(&scene).await;
        for client in &mut clients {
            client.frame(PING, 0, 0, b"and me? ").await;
        }
    }
    for client in &mut clients {
        client.request(1, "GET", "/v3/x", Ends::Yes).await;
        assert_eq!(client.data(1).await, "{}");
    }
    drop(clients);
    scene.stop().await;
}

/// Fails when somebody who waits for a slow upstream is taken for a slow client.
#[tokio::test]
async fn a_client_that_waits_for_its_upstream_is_not_cut() {
    let puppet = puppet().await;
    let scene = setup(&puppet, SHORT).start().await;
    let mut patient = Raw::connect(scene.door(), scene.record()).await;
    patient.write(GET.replace("/v3/x", "/v3/long")).await;
    let mut upstream = puppet.handed_over().await;
    let mut other = Http2::connect(&scene, &[]).await;
    other.request(1, "GET", "/v3/long", Ends::Yes).await;
    let mut other_upstream = puppet.handed_over().await;

    // Somebody begins later and is cut.
    let mut slow = Raw::connect(scene.door(), scene.record()).await;
    slow.write(GET.replace("/v3/x", "/v3/long?slow")).await;
    closed(puppet.handed_over().await).await;

    upstream.write_all(b"still here\n").await.unwrap();
    patient.read_to("still here").await;
    other_upstream.write_all(b"here, too\n").await.unwrap();
    assert_eq!(other.data(1).await, "here, too\n");
    drop((patient, other, upstream, other_upstream));
    scene.stop().await;
}

/// Fails when a stream without room for its answer holds its request, or when others of its
/// connection pay for it.
#[tokio::test]
async fn over_http2_a_stream_that_takes_nothing_is_reset_and_others_go_on() {
    let puppet = puppet().await;
    let scene = setup(&puppet, SHORT).start().await;
    // SETTINGS_INITIAL_WINDOW_SIZE: no stream has room for anything until it is given some.
    let mut client = Http2::connect(&scene, &[0, 4, 0, 0, 0, 0]).await;
    let slow: Vec<u8> = (1..40).step_by(2).collect();
    let mut upstreams = Vec::new();
    for stream in &slow {
        client.request(*stream, "GET", "/v3/long", Ends::Yes).await;
        let mut upstream = puppet.handed_over().await;
        upstream.write_all(b"something\n").await.unwrap();
        upstreams.push(upstream);
    }
    let mut reset = Vec::new();
    while reset.len() < slow.len() {
        let frame = client.next().await.unwrap();
        if frame.kind == RST_STREAM {
            reset.push(frame.stream);
        }
    }
    reset.sort_unstable();
    assert_eq!(reset, slow);
    until("all are reported", || reasons(&scene, "/v3/long").len() == slow.len()).await;
    assert!(reasons(&scene, "/v3/long").iter().all(|reason| *reason == "not_taken"));
    for upstream in upstreams {
        closed(upstream).await;
    }
    client.request(41, "GET", "/v3/x", Ends::Yes).await;
    client.frame(WINDOW_UPDATE, 0, 41, &[0, 0, 0, 127]).await;
    assert_eq!(client.data(41).await, "{}");
    drop(client);
    scene.stop().await;
}

/// Fails when frames that are no request keep a connection for ever, or when it is closed without a
/// word.
#[tokio::test]
async fn over_http2_a_connection_without_a_request_is_told_to_leave() {
    let puppet = puppet().await;
    let tables = "[timeouts]\nidle = \"1s\"\nhead = \"1s\"\n";
    let scene = setup(&puppet, tables).start().await;
    let mut client = Http2::connect(&scene, &[]).await;
    let mut told = false;
    let staying = async {
        loop {
            client.frame(PING, 0, 0, b"and me? ").await;
            // Pings that come after the farewell may meet a closed connection.
            let Some(frame) = client.next().await else { return };
            told |= frame.kind == GOAWAY;
            // Who does not answer is taken for gone, which is another matter.
            if frame.kind == PING && frame.flags == 0 {
                client.frame(PING, ACK, 0, &frame.payload).await;
            }
        }
    };
    within(staying).await;
    assert!(told, "it was closed without a word");
    scene.stop().await;
}

pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const ACK: u8 = 1;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// A connection of HTTP/2 whose frames the test writes (RFC 9113 section 4.1).
pub struct Http2 {
    stream: TcpStream,
}

pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    stream: u8,
    pub payload: Vec<u8>,
}

#[derive(PartialEq)]
pub enum Ends {
    Yes,
    No,
}

impl Http2 {
    async fn connect(scene: &Scene, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", scene.port())).await.unwrap();
        Self::begin(stream, settings).await
    }

    pub async fn begin(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.write_all(PREFACE).await.unwrap();
        let mut client = Self { stream };
        client.frame(SETTINGS, 0, 0, settings).await;
        client
    }

    /// One frame; a connection that is gone takes none.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
        _ = within(self.stream.write_all(&[&head, payload].concat())).await;
    }

    /// A head in literals without Huffman coding (RFC 7541 section 6.2.2).
    pub async fn request(&mut self, stream: u8, method: &str, path: &str, ends: Ends) {
        let mut block = Vec::new();
        for (index, value) in [(2, method), (6, "http"), (4, path), (1, "localhost")] {
            block.extend([index, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        let flags = if ends == Ends::Yes { 0x5 } else { 0x4 };
        self.frame(HEADERS, flags, stream, &block).await;
    }

    /// The next frame; nothing at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream: head[8], payload })
    }

    /// The next data of a stream.
    async fn data(&mut self, stream: u8) -> String {
        loop {
            let frame = self.next().await.expect("closed before there was data");
            if frame.kind == DATA && frame.stream == stream {
                return String::from_utf8(frame.payload).unwrap();
            }
        }
    }
}
