//! WebSockets and other upgrades: asked for anew, with the session, and then a tunnel.

use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::{Event, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Raw;
use crate::harness::{Ended, Scene, Setup, refused, until, within};
use crate::page::counted;
use crate::puppet::{Puppet, Reply, TOKEN};

/// What Contentstack says of a dead token.
pub const DEAD: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n\
                    content-length: 60\r\n\r\n\
                    {\"error_code\":105,\"errors\":{\"authtoken\":[\"is not valid.\"]}} ";

/// The handshake of RFC 6455 section 1.3.
pub const ASK: &str = "GET /v3/live?room=1 HTTP/1.1\r\nhost: localhost\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\norigin: http://localhost\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
    sec-websocket-protocol: chat\r\n\r\n";

/// The upstream's consent.
pub const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    sec-websocket-protocol: chat\r\nset-cookie: sid=upstreams-own\r\n\r\n";

/// An upstream that agrees to every upgrade.
pub async fn agreeing() -> Puppet {
    Puppet::logged_in(|_| Reply::hand_over(AGREE)).await
}

/// Both ends of a tunnel through the gateway.
pub async fn tunnel(scene: &Scene, puppet: &Puppet) -> (Raw, TcpStream) {
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(ASK).await;
    let upstream = puppet.handed_over().await;
    let told = client.read_to("\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    (client, upstream)
}

/// Reads until `text` has come.
pub async fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    within(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

/// Waits for the end of what the other side has to say; nothing more may come.
pub async fn hear_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    _ = within(stream.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

fn logouts(puppet: &Puppet) -> usize {
    let requests = puppet.requests();
    requests.iter().filter(|request| request.starts_with("DELETE /v3/user-session")).count()
}

/// What was reported of the requests that led to a tunnel.
fn tunnels(ended: &Ended) -> Vec<Request> {
    let requests = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) if request.status == 101 => Some((**request).clone()),
        _ => None,
    });
    requests.collect()
}

/// Fails when the fields of the upgrade are not set anew, the session is missing, or the answer
/// shows something of it.
#[tokio::test]
async fn an_upgrade_is_asked_for_anew_with_the_session_in_it() {
    let agree = AGREE.replace("sid=upstreams-own", TOKEN);
    let agree =
        agree.replace("\r\n\r\n", &format!("\r\nx-mine: {TOKEN}\r\ncontent-length: 5\r\n\r\n"));
    let puppet = Puppet::logged_in(move |_| Reply::hand_over(agree.clone())).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client
        .write(
            ASK.replace("keep-alive", "keep-alive, x-hop").replace("origin", "x-hop: 1\r\norigin"),
        )
        .await;
    let upstream = puppet.handed_over().await;
    let told = client.read_to("\r\n\r\n").await.to_lowercase();

    let asked = puppet.calls().remove(0).to_lowercase();
    assert!(asked.starts_with("get /v3/live?room=1 http/1.1\r\n"), "{asked}");
    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        &format!("authtoken: {TOKEN}"),
        "origin: http://localhost",
        "sec-websocket-key: dghlihnhbxbszsbub25jzq==",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: chat",
    ] {
        assert_eq!(asked.matches(&format!("\r\n{field}\r\n")).count(), 1, "{field}: {asked}");
    }
    assert!(!asked.contains("x-hop") && !asked.contains("keep-alive"), "{asked}");

    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: chat",
    ] {
        assert_eq!(told.matches(&format!("\r\n{field}\r\n")).count(), 1, "{field}: {told}");
    }
    for hidden in ["set-cookie", "content-length", "transfer-encoding", &TOKEN.to_lowercase()] {
        assert!(!told.contains(hidden), "{told}");
    }
    drop((client, upstream));
    scene.stop().await.assert_no_leak();
}

/// Fails when bytes are gathered, lost or doubled, or when what a client sends before it was
/// answered reaches the upstream before it has agreed.
#[tokio::test]
async fn bytes_pass_both_ways_one_by_one_and_none_before_the_answer() {
    for listener_tls in [false, true] {
        let puppet = Puppet::logged_in(|_| Reply::hand_over("")).await;
        let mut setup = puppet.setup(Vendor::Contentstack);
        setup.listener_tls = listener_tls;
        let scene = setup.start().await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        let scheme = if listener_tls { "https" } else { "http" };
        let ask = ASK.replace("origin: http", &format!("origin: {scheme}"));
        client.write(format!("{ask}early")).await;
        let mut upstream = puppet.handed_over().await;
        assert!(puppet.calls()[0].ends_with("\r\n\r\n"));
        let mut byte = [0];
        assert!(upstream.try_read(&mut byte).is_err(), "sent on before the answer");
        upstream.write_all(AGREE.as_bytes()).await.unwrap();
        client.read_to("\r\n\r\n").await;
        hear(&mut upstream, "early").await;

        let text: String = (0..300).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
        for byte in text.as_bytes() {
            client.write([*byte]).await;
            hear(&mut upstream, &char::from(*byte).to_string()).await;
            upstream.write_all(&[*byte]).await.unwrap();
        }
        client.read_to(&text).await;
        // A large piece, with nobody reading at first: neither side may run ahead without end.
        let large = vec![b'x'; 8 << 20];
        let (sent, heard) =
            tokio::join!(within(upstream.write_all(&large)), client.read_some(8 << 20));
        sent.unwrap();
        () = heard;
        drop((client, upstream));
        scene.stop().await;
    }
}

/// Fails when the end of one direction ends the other one.
#[tokio::test]
async fn each_direction_ends_by_itself() {
    let puppet = agreeing().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;
    client.write("last word").await;
    client.end().await;
    hear(&mut upstream, "last word").await;
    hear_end(&mut upstream).await;
    upstream.write_all(b"and mine").await.unwrap();
    client.read_to("and mine").await;
    upstream.shutdown().await.unwrap();
    assert!(client.read_to_end().await.ends_with("and mine"));

    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;
    upstream.shutdown().await.unwrap();
    client.write("still here").await;
    hear(&mut upstream, "still here").await;
    client.end().await;
    hear_end(&mut upstream).await;

    counted(&scene, "http_server_request_body_size_bytes_sum", &[], 19.0).await;
    let tunnels = tunnels(&scene.stop().await);
    let told: Vec<_> = tunnels.iter().map(|one| (one.reason, one.body_bytes)).collect();
    assert_eq!(told, [("upgraded", 8), ("upgraded", 0)]);
}

/// Fails when a side that is gone leaves the other one waiting.
#[tokio::test]
async fn a_side_that_goes_away_takes_the_other_one_with_it() {
    let puppet = agreeing().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let (client, mut upstream) = tunnel(&scene, &puppet).await;
    drop(client);
    hear_end(&mut upstream).await;
    drop(upstream);
    let (client, upstream) = tunnel(&scene, &puppet).await;
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    client.read_to_end().await;
    scene.stop().await;
}

/// Fails when a refused upgrade is not judged as any other answer.
#[tokio::test]
async fn an_upgrade_on_a_dead_session_is_asked_for_again_on_a_new_one() {
    let refusals = std::sync::atomic::AtomicUsize::new(0);
    let puppet = Puppet::logged_in(move |_| {
        match refusals.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::keep(DEAD),
            _ => Reply::hand_over(AGREE),
        }
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;
    client.write("hello").await;
    hear(&mut upstream, "hello").await;
    let calls = puppet.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.contains("upgrade: websocket\r\n")), "{calls:?}");
    drop((client, upstream));
    let ended = scene.stop().await;
    assert_eq!(tunnels(&ended).iter().map(|one| one.generation).collect::<Vec<_>>(), [Some(2)]);
}

/// Fails when an answer that is no consent does not arrive whole, or ends the client's connection.
#[tokio::test]
async fn an_ordinary_answer_to_an_upgrade_is_an_ordinary_answer() {
    let puppet = Puppet::logged_in(|request| match request.contains("upgrade") {
        true => Reply::keep(format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 1000003\r\n\r\n{}end",
            "x".repeat(1_000_000)
        )),
        false => Reply::json(r#"{"ok":true}"#),
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(ASK).await;
    let answer = client.read_to("end").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{}", &answer[..100]);
    client.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    client.read_to(r#"{"ok":true}"#).await;
    scene.stop().await;
}

/// Fails when a connection becomes one that nobody asked for.
#[tokio::test]
async fn an_answer_that_switches_to_another_protocol_is_a_502() {
    for (asked, answered) in [
        (ASK.to_owned(), AGREE.replace("websocket\r\n", "h2c\r\n")),
        (ASK.to_owned(), AGREE.replace("websocket\r\n", "websocket, h2c\r\n")),
        (ASK.to_owned(), AGREE.replace("upgrade: websocket\r\n", "")),
        (ASK.replace("WebSocket", "h2c"), AGREE.to_owned()),
    ] {
        let puppet = Puppet::logged_in(move |_| Reply::keep(answered.clone())).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(asked).await;
        let answer = client.read_to("}").await;
        assert!(
            answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_broken"),
            "{answer}"
        );
        drop(client);
        scene.stop().await;
    }
}

/// Fails when an upgrade travels on that is not in the list, or that has no plain meaning.
#[tokio::test]
async fn an_upgrade_that_may_not_be_is_sent_on_as_an_ordinary_request() {
    let post = ASK.replace("GET ", "POST ");
    for (upgrades, asked) in [
        ("[]", ASK.to_owned()),
        ("[\"spdy/3.1\"]", ASK.to_owned()),
        ("[\"websocket\"]", ASK.replace("WebSocket", "h2c")),
        ("[\"websocket\"]", ASK.replace("keep-alive, Upgrade", "keep-alive")),
        ("[\"websocket\"]", ASK.replace("HTTP/1.1", "HTTP/1.0")),
        ("[\"websocket\"]", post),
        ("[\"websocket\"]", ASK.replace("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody")),
    ] {
        let puppet = Puppet::logged_in(|_| Reply::json(r#"{"ok":true}"#)).await;
        let mut setup = puppet.setup(Vendor::Contentstack);
        setup.upstream.push_str(&format!("\nupgrades = {upgrades}"));
        let scene = setup.start().await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(&asked).await;
        client.read_to(r#"{"ok":true}"#).await;
        let call = puppet.calls().remove(0).to_lowercase();
        assert!(!call.contains("upgrade"), "{upgrades} {asked}: {call}");
        drop(client);
        scene.stop().await;
    }
}

/// Fails when an upgrade is asked for over HTTP/2, which has none.
#[tokio::test]
async fn an_upgrade_has_an_http_1_connection_of_its_own() {
    let mut setup = Setup::of(Vendor::Contentstack);
    (setup.upstream_tls, setup.listener_tls) = (true, true);
    let scene = setup.start().await;
    assert_eq!(crate::vendors::read(&scene).send().await.status, 200);
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(ASK.replace("origin: http", "origin: https")).await;
    client.read_to("\r\n\r\n").await;
    let requests = scene.control().requests();
    let [.., ordinary, upgrade] = &requests[..] else { panic!("{requests:?}") };
    let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
    // Only HTTP/1.1 has a field for the host.
    assert!(!has(&ordinary.header_names, "host"), "{ordinary:?}");
    assert!(has(&upgrade.header_names, "host") && has(&upgrade.header_names, "upgrade"));
    drop(client);
    scene.stop().await;
}

/// Fails when a tunnel in which nothing moves stays for ever, or one in which something does is
/// cut.
#[tokio::test]
async fn a_tunnel_ends_when_nothing_moves_in_either_direction() {
    let puppet = agreeing().await;
    let tables = "[timeouts]\ntunnel_idle = \"8m\"\n";
    let scene = puppet.setup(Vendor::Contentstack).tables(tables).start().await;
    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;
    for _ in 0..4 {
        for way in [true, false] {
            // More than half of the bound, but never more than it, without a byte.
            for _ in 0..5 {
                scene.clock.advance(Duration::from_secs(60));
                settle().await;
            }
            match way {
                true => {
                    client.write("ping").await;
                    hear(&mut upstream, "ping").await;
                }
                false => {
                    upstream.write_all(b"pong").await.unwrap();
                    client.read_some(4).await;
                }
            }
        }
    }
    let cut = tokio::spawn(client.read_to_end());
    let mut minutes = 0;
    while !cut.is_finished() {
        scene.clock.advance(Duration::from_secs(60));
        minutes += 1;
        settle().await;
        assert!(minutes < 10_000, "never cut");
    }
    assert!(minutes >= 8, "cut after {minutes} minutes");
    hear_end(&mut upstream).await;
    assert_eq!(tunnels(&scene.stop().await)[0].reason, "tunnel_idle");
}

/// Lets the cores' threads see a clock that was moved.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Fails when a stop cuts a tunnel before its time, or waits for it without end, or logs its
/// session out under it.
#[tokio::test]
async fn a_tunnel_goes_on_while_the_gateway_stops_and_is_cut_after_the_drain_time() {
    let puppet = agreeing().await;
    // The clock may be moved too far by the time that the cut is seen.
    let tables = "[timeouts]\nlogout = \"20h\"\n";
    let mut scene = puppet.setup(Vendor::Contentstack).tables(tables).start().await;
    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;
    let door = scene.door().clone();
    let stopping = tokio::spawn(scene.take_app().stop());
    refused(&door).await;
    client.write("still").await;
    hear(&mut upstream, "still").await;
    assert_eq!(logouts(&puppet), 0);
    let cut = tokio::spawn(client.read_to_end());
    until("the tunnel is cut", || {
        scene.clock.advance(Duration::from_secs(1));
        cut.is_finished()
    })
    .await;
    let report = within(stopping).await.unwrap();
    assert_eq!((report.confirmed, report.unconfirmed, logouts(&puppet)), (1, 0, 1));
    scene.ended().assert_no_leak();
}

/// Fails when the stop waits for more than the tunnels that are there.
#[tokio::test]
async fn a_stop_is_over_as_soon_as_the_last_tunnel_is() {
    let puppet = agreeing().await;
    let mut scene = puppet.scene(Vendor::Contentstack).await;
    let (client, mut upstream) = tunnel(&scene, &puppet).await;
    let stopping = tokio::spawn(scene.take_app().stop());
    drop(client);
    hear_end(&mut upstream).await;
    assert!(!stopping.is_finished(), "the upstream's side has not ended");
    drop(upstream);
    // The clock stands still.
    let report = within(stopping).await.unwrap();
    assert_eq!((report.confirmed, report.unconfirmed), (1, 0));
}
