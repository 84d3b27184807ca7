//! WebSockets with a client and a server that are not ours, over HTTP/1.1 and over HTTP/2 (RFC 8441).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use doorward::emulator::Vendor;
use doorward::session::Mechanism;
use doorward::telemetry::{Event, Request};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol as Connect;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use crate::client::{Door, Protocol, Record, Tap};
use crate::harness::{Ended, Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, DEAD, agreeing, hear, hear_end};

/// Longer than the longest message of these tests.
const LIMIT: usize = 16 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT))
}

/// An upstream that answers logins, and echoes what it is told by WebSockets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(converse(stream));
        }
    });
    address
}

async fn converse(mut stream: TcpStream) {
    let mut begin = [0; 4096];
    let read = stream.peek(&mut begin).await.unwrap_or(0);
    if begin[..read].starts_with(b"GET /v3/live") {
        let mut socket = accept_async_with_config(stream, Some(config())).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
        return;
    }
    while let Ok(1..) = stream.read(&mut begin).await {
        let body = r#"{"user":{"authtoken":"blt0123456789abcdef"}}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn echoing(listener_tls: bool, tables: &str) -> Scene {
    let mut setup = Setup::of(Vendor::Contentstack).tables(tables);
    setup.origin = Some(format!("http://{}", echo().await));
    setup.listener_tls = listener_tls;
    setup.start().await
}

/// One HTTP/2 connection for many WebSockets.
async fn connection(door: &Door) -> SendRequest<Empty<Bytes>> {
    handshake(opened(door).await, 1 << 20).await
}

async fn opened(door: &Door) -> Tap {
    door.connect_after(b"", Record::default(), Protocol::Http2).await.unwrap()
}

/// HTTP/2 over `stream`, with so much room for what comes to each of its own.
async fn handshake(stream: impl Stream + 'static, window_bytes: u32) -> SendRequest<Empty<Bytes>> {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window_bytes)
        .initial_connection_window_size(window_bytes.max(1 << 24))
        .handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn connect(path: &str, protocol: &'static str) -> http::Request<Empty<Bytes>> {
    http::Request::connect(format!("http://localhost{path}"))
        .extension(Connect::from_static(protocol))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(Empty::new())
        .unwrap()
}

/// Waits until the server has said that it takes such a CONNECT: without that hyper sends none.
async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: impl Fn() -> http::Request<Empty<Bytes>>,
) -> http::Response<hyper::body::Incoming> {
    let warm_up = http::Request::get("http://localhost/v3/ready").body(Empty::new()).unwrap();
    within(sender.send_request(warm_up)).await.unwrap();
    within(sender.send_request(request())).await.unwrap()
}

async fn over_http2(sender: &mut SendRequest<Empty<Bytes>>) -> Socket {
    let answer = ask(sender, || connect("/v3/live", "websocket")).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let stream = within(hyper::upgrade::on(answer)).await.unwrap();
    let stream: Box<dyn Stream> = Box::new(TokioIo::new(stream));
    WebSocketStream::from_raw_socket(stream, Role::Client, Some(config())).await
}

async fn over_http1(door: &Door) -> Socket {
    let stream = door.connect_after(b"", Record::default(), Protocol::Http1).await.unwrap();
    let stream: Box<dyn Stream> = Box::new(stream);
    let opened = client_async_with_config("ws://localhost/v3/live", stream, Some(config()));
    within(opened).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Message {
    within(socket.next()).await.unwrap().unwrap()
}

/// Says all kinds of things, hears them again, and says goodbye.
async fn converse_with(mut socket: Socket) {
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 8 << 20] {
        let content: Bytes = (0..length).map(|number| (number % 251) as u8).collect();
        // In fragments, with a ping between them.
        let (begin, end) = (content.slice(..length / 3), content.slice(length / 3..));
        let first = Frame::message(begin, OpCode::Data(Data::Binary), false);
        let last = Frame::message(end, OpCode::Data(Data::Continue), true);
        socket.feed(Message::Frame(first)).await.unwrap();
        socket.feed(Message::Ping(Bytes::from_static(b"between"))).await.unwrap();
        socket.send(Message::Frame(last)).await.unwrap();
        let mut pongs = 0;
        let message = loop {
            match next(&mut socket).await {
                Message::Pong(pong) if pong == "between" => pongs += 1,
                message => break message,
            }
        };
        assert!(message == Message::Binary(content), "{length}: not what was sent");
        if pongs == 0 {
            assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"between")));
            pongs += 1;
        }
        assert_eq!(pongs, 1);
    }
    socket.send(Message::text("grüß dich")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("grüß dich"));
    let goodbye = CloseFrame { code: CloseCode::Library(4321), reason: "enough".into() };
    socket.close(Some(goodbye.clone())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Close(Some(goodbye)));
    assert!(within(socket.next()).await.is_none());
}

fn tunnels(ended: &Ended) -> Vec<Request> {
    let requests = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) if request.reason == "upgraded" => Some((**request).clone()),
        _ => None,
    });
    requests.collect()
}

/// Fails when a message, a fragment, a ping, a pong or a close code is lost or changed on its way.
#[tokio::test]
async fn whatever_websockets_say_arrives() {
    for listener_tls in [false, true] {
        let scene = echoing(listener_tls, "").await;
        converse_with(over_http1(scene.door()).await).await;
        let mut sender = connection(scene.door()).await;
        converse_with(over_http2(&mut sender).await).await;
        drop(sender);
        let mut scene = scene;
        within(scene.take_app().stop()).await;
        assert_eq!(tunnels(&scene.ended()).len(), 2);
    }
}

/// Fails when WebSockets share more than a connection, or one waits for another.
#[tokio::test]
async fn many_websockets_live_side_by_side() {
    let scene = echoing(false, "[limits]\nstreams_max = 400\n").await;
    let mut sender = connection(scene.door()).await;
    let mut sockets = vec![over_http2(&mut sender).await];
    let opening = (0..299).map(|_| sender.clone()).map(async |mut sender| {
        let answer = sender.send_request(connect("/v3/live", "websocket")).await.unwrap();
        assert_eq!(answer.status(), 200);
        let stream: Box<dyn Stream> =
            Box::new(TokioIo::new(hyper::upgrade::on(answer).await.unwrap()));
        WebSocketStream::from_raw_socket(stream, Role::Client, Some(config())).await
    });
    sockets.extend(within(futures_util::future::join_all(opening)).await);
    for _ in 0..20 {
        sockets.push(over_http1(scene.door()).await);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(number.to_string())).await.unwrap();
    }
    for (number, socket) in sockets.iter_mut().enumerate().rev() {
        assert_eq!(next(socket).await, Message::text(number.to_string()));
    }
    drop((sockets, sender));
    scene.stop().await;
}

/// Fails when the upstream is not asked for an upgrade as by a client of HTTP/1.1, or the client is
/// told of one.
#[tokio::test]
async fn an_extended_connect_is_an_upgrade_to_the_upstream() {
    let puppet = Puppet::logged_in(|request| {
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let Some(key) = key else { return Reply::json("{}") };
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        Reply::hand_over(AGREE.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept))
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut sender = connection(scene.door()).await;
    let from_a_page = || {
        let mut request = connect("/v3/live?room=1", "websocket");
        request.headers_mut().insert("origin", "http://localhost".parse().unwrap());
        request
    };
    let answer = ask(&mut sender, from_a_page).await;
    let mut upstream = puppet.handed_over().await;
    let call = puppet.calls().pop().unwrap();
    assert!(call.starts_with("GET /v3/live?room=1 HTTP/1.1\r\n"), "{call}");
    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: chat",
        "origin: http://localhost",
    ] {
        assert_eq!(call.matches(&format!("\r\n{field}\r\n")).count(), 1, "{field}: {call}");
    }
    assert_eq!(call.matches("\r\nauthtoken: ").count(), 1);
    let key = call.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    assert_eq!(data_encoding::BASE64.decode(key.as_bytes()).unwrap().len(), 16);

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["sec-websocket-accept", "upgrade", "connection", "set-cookie", "content-length"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut client = TokioIo::new(within(hyper::upgrade::on(answer)).await.unwrap());
    client.write_all(b"hello").await.unwrap();
    hear(&mut upstream, "hello").await;
    // Each direction ends by itself.
    client.shutdown().await.unwrap();
    hear_end(&mut upstream).await;
    upstream.write_all(b"goodbye").await.unwrap();
    upstream.shutdown().await.unwrap();
    let mut said = String::new();
    within(client.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "goodbye");
    drop((client, sender));
    let ended = scene.stop().await;
    let [tunnel] = &tunnels(&ended)[..] else { panic!("{:?}", tunnels(&ended)) };
    assert_eq!(
        (tunnel.status.as_u16(), tunnel.method.as_str(), tunnel.body_bytes),
        (200, "GET", 7)
    );
}

/// What an extended CONNECT is answered by an upstream that answers upgrades so.
async fn answered(
    upgrades: &str,
    protocol: &'static str,
    reply: &'static str,
) -> (u16, String, usize) {
    let puppet = Puppet::logged_in(move |request| match request.contains("upgrade") {
        true => Reply::keep(reply),
        false => Reply::json("{}"),
    })
    .await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream.push_str(&format!("\nupgrades = {upgrades}"));
    let scene = setup.start().await;
    let mut sender = connection(scene.door()).await;
    let answer = ask(&mut sender, || connect("/v3/live", protocol)).await;
    let status = answer.status().as_u16();
    let body = within(answer.into_body().collect()).await.unwrap().to_bytes();
    drop(sender);
    scene.stop().await;
    (status, String::from_utf8(body.to_vec()).unwrap(), puppet.calls().len() - 1)
}

/// Fails when a tunnel is made of anything but the upstream's consent to what was asked (RFC 8441
/// section 5), or a refusal does not arrive.
#[tokio::test]
async fn only_a_consent_to_what_was_asked_makes_a_tunnel() {
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    assert_eq!(answered("[\"websocket\"]", "websocket", refusal).await, (403, "no".into(), 1));
    for reply in [
        // The key of another handshake.
        AGREE,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (status, body, calls) = answered("[\"websocket\"]", "websocket", reply).await;
        assert_eq!((status, calls), (502, 1), "{reply}");
        assert!(body.contains("upstream_broken"), "{body}");
    }
}

/// Fails when a protocol is tunnelled that nobody has allowed.
#[tokio::test]
async fn a_connect_to_what_is_not_allowed_is_a_501() {
    for (upgrades, protocol) in [
        ("[]", "websocket"),
        ("[\"spdy/3.1\"]", "websocket"),
        ("[\"websocket\", \"connect-udp\"]", "connect-udp"),
        ("[\"websocket\"]", "webtransport"),
    ] {
        let (status, body, calls) = answered(upgrades, protocol, AGREE).await;
        assert_eq!((status, calls), (501, 0), "{upgrades} {protocol}");
        assert!(body.contains("protocol_not_supported"), "{body}");
    }
}

/// Fails when a CONNECT without a protocol is answered by a tunnel.
#[tokio::test]
async fn a_plain_connect_over_http_2_is_refused() {
    let puppet = agreeing().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut sender = connection(scene.door()).await;
    let connect = http::Request::connect("localhost:80").body(Empty::new()).unwrap();
    let answer = within(sender.send_request(connect)).await.unwrap();
    assert_eq!(answer.status(), 405);
    assert!(puppet.calls().is_empty());
    drop(sender);
    scene.stop().await;
}

/// Fails when a stop does not wait for tunnels of HTTP/2, or waits for them without end, or logs
/// their session out under them.
#[tokio::test]
async fn a_stop_drains_tunnels_of_http_2_and_then_cuts_them_off() {
    let mut scene = echoing(false, "[timeouts]\ndrain = \"20s\"\n").await;
    let mut sender = connection(scene.door()).await;
    let mut socket = over_http2(&mut sender).await;
    let mut stop = std::pin::pin!(scene.take_app().stop());
    // The drain time counts from the first look.
    let begun = poll_fn(|context| Poll::Ready(stop.as_mut().poll(context).is_pending())).await;
    assert!(begun, "nothing was waited for");
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::text("still here"));
    scene.clock.advance(Duration::from_secs(20));
    within(stop).await;
    until("the client is cut off", || sender.is_closed()).await;
    assert!(!matches!(within(socket.next()).await, Some(Ok(_))));
    let ended = scene.ended();
    assert_eq!(ended.events.iter().filter(|event| matches!(event, Event::Request(_))).count(), 2);
}

/// Fails when a tunnel of HTTP/2 in which nothing moves stays for ever.
#[tokio::test]
async fn a_tunnel_of_http_2_ends_when_nothing_moves() {
    let scene = echoing(false, "[timeouts]\ntunnel_idle = \"8m\"\n").await;
    let mut sender = connection(scene.door()).await;
    let mut socket = over_http2(&mut sender).await;
    let end = tokio::spawn(async move { socket.next().await });
    while !end.is_finished() {
        scene.clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert!(!matches!(within(end).await.unwrap(), Some(Ok(_))));
    until("why is told", || {
        let events = scene.events();
        events.iter().any(|event| match event {
            Event::Request(request) => request.reason == "tunnel_idle",
            _ => false,
        })
    })
    .await;
    // The connection lives on.
    let again = over_http2(&mut sender).await;
    drop((again, sender));
    scene.stop().await;
}

/// The consent to the WebSocket that a request asks for, if it does.
fn agree(request: &str) -> Option<String> {
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "))?;
    Some(AGREE.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &derive_accept_key(key.as_bytes())))
}

/// Fails when a dead session costs a WebSocket over HTTP/2.
#[tokio::test]
async fn an_extended_connect_on_a_dead_session_is_asked_for_again_on_a_new_one() {
    for without in [None, Some(Mechanism::Replay)] {
        let refusals = AtomicUsize::new(0);
        let puppet = Puppet::logged_in(move |request| {
            let Some(agree) = agree(request) else { return Reply::json("{}") };
            match refusals.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::keep(DEAD),
                _ => Reply::hand_over(agree),
            }
        })
        .await;
        let mut setup = puppet.setup(Vendor::Contentstack);
        setup.without = without;
        let scene = setup.start().await;
        let mut sender = connection(scene.door()).await;
        let answer = ask(&mut sender, || connect("/v3/live", "websocket")).await;
        assert_eq!(answer.status(), if without.is_none() { 200 } else { 401 });
        if answer.status() == 200 {
            // Nothing more comes from there either.
            drop(puppet.handed_over().await);
        }
        drop((answer, sender));
        scene.stop().await;
    }
}

/// A gateway that waits no longer than a second for whoever takes nothing, and an upstream that agrees to
/// every WebSocket.
async fn impatient() -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|request| match agree(request) {
        Some(agree) => Reply::hand_over(agree),
        None => Reply::json("{}"),
    })
    .await;
    let setup = puppet.setup(Vendor::Contentstack).tables("[timeouts]\nwrite = \"1s\"\n");
    let scene = setup.start().await;
    (puppet, scene)
}

/// Fails when a tunnel stays after its connection has been cut because the client takes nothing.
#[tokio::test]
async fn a_tunnel_of_http_2_ends_with_a_connection_that_can_not_be_written_to() {
    let (puppet, scene) = impatient().await;
    let mut stream = opened(scene.door()).await;
    let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
    let mut passing = Box::pin(tokio::io::copy_bidirectional(&mut stream, &mut ours));
    let asking = async {
        let mut sender = handshake(theirs, 1 << 30).await;
        let answer = ask(&mut sender, || connect("/v3/live", "websocket")).await;
        assert_eq!(answer.status(), 200);
        (sender, answer)
    };
    let client = tokio::select! {
        client = asking => client,
        _ = passing.as_mut() => panic!("the connection ended"),
    };
    // Nobody reads from now on.
    let mut upstream = puppet.handed_over().await;
    let piece = vec![b'x'; 64 * 1024];
    within(async { while upstream.write_all(&piece).await.is_ok() {} }).await;
    drop((client, passing));
    scene.stop().await;
}

/// Fails when an upstream that says nothing and does not end keeps the tunnel of a client that is gone.
#[tokio::test]
async fn a_tunnel_of_http_2_does_not_outlive_its_connection_for_long() {
    let (puppet, scene) = impatient().await;
    let mut sender = connection(scene.door()).await;
    let answer = ask(&mut sender, || connect("/v3/live", "websocket")).await;
    let mut client = TokioIo::new(within(hyper::upgrade::on(answer)).await.unwrap());
    let mut upstream = puppet.handed_over().await;
    client.write_all(b"the last word").await.unwrap();
    client.shutdown().await.unwrap();
    hear(&mut upstream, "the last word").await;
    hear_end(&mut upstream).await;
    drop((client, sender));
    // It ends when all tunnels have, and no clock of theirs moves.
    scene.stop().await;
    drop(upstream);
}
