//! HTTP/1.1 and HTTP/1.0 as clients speak them: connections that are kept and closed, requests one
//! behind the other, and where a body ends.

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Raw;
use crate::harness::{Scene, refused, within};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, ASK};

const OK: &str = "{\"ok\":true}";

async fn stage(answer: &'static str) -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(move |_| Reply::close(answer)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    (puppet, scene)
}

async fn json() -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|_| Reply::json(OK)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    (puppet, scene)
}

async fn connect(scene: &Scene) -> Raw {
    Raw::connect(scene.door(), scene.record()).await
}

/// Sends bytes on a connection of their own and reads to its end.
async fn said(scene: &Scene, bytes: impl AsRef<[u8]>) -> String {
    let mut raw = connect(scene).await;
    raw.write(bytes).await;
    raw.read_to_end().await
}

fn answers(said: &str) -> usize {
    said.matches("HTTP/1.").count()
}

/// Fails when a connection is kept that its client does not take another answer on, or is closed
/// though it does.
#[tokio::test]
async fn a_connection_is_kept_as_its_version_and_its_client_say() {
    let (_puppet, scene) = json().await;
    for (version, connection, expected) in [
        ("1.1", "", "HTTP/1.1 200 OK\r\n"),
        ("1.1", "connection: x-a, keep-alive\r\n", "HTTP/1.1 200 OK\r\n"),
        ("1.0", "connection: Keep-Alive\r\n", "HTTP/1.0 200 OK\r\n"),
    ] {
        let request = format!("GET /v3/x HTTP/{version}\r\nhost: localhost\r\n{connection}\r\n");
        let mut client = connect(&scene).await;
        client.write(&request).await;
        let first = client.read_to(OK).await;
        assert!(first.starts_with(expected), "{first}");
        assert!(!first.contains("connection: close"), "{first}");
        assert_eq!(version == "1.0", first.contains("\r\nconnection: keep-alive\r\n"), "{first}");
        client.write(request.replace("/v3/x", "/v3/y")).await;
        client.write("GET /v3/last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let all = client.read_to_end().await;
        assert_eq!(answers(&all), 3, "{all}");
        assert_eq!(all.matches("\r\nconnection: close\r\n").count(), 1, "{all}");
    }
    for (version, connection) in [
        ("1.1", "connection: close\r\n"),
        ("1.1", "connection: keep-alive\r\nconnection: x-a, CLOSE\r\n"),
        ("1.0", ""),
        ("1.0", "connection: keep-alive, close\r\n"),
    ] {
        let request = format!("GET /v3/x HTTP/{version}\r\nhost: localhost\r\n{connection}\r\n");
        let all = said(&scene, request.repeat(2)).await;
        assert_eq!(answers(&all), 1, "{all}");
        assert!(all.ends_with(OK), "{all}");
    }
    scene.stop().await;
}

/// Fails when answers overtake each other, or a request is begun before the one before it is
/// answered.
#[tokio::test]
async fn requests_one_behind_the_other_are_answered_in_order() {
    let puppet = Puppet::logged_in(|request| {
        let line = request.lines().next().unwrap_or_default();
        let target = line.split(' ').nth(1).unwrap_or_default();
        let body = request.split_once("\r\n\r\n").unwrap().1;
        Reply::json(&format!("[{:?},{:?}]", target.len(), body.len()))
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut bytes = String::new();
    let mut expected = Vec::new();
    for number in 0..60 {
        let target = format!("/v3/{}", "x".repeat(number));
        let (framing, body) = match number % 3 {
            0 => (String::new(), String::new()),
            1 => (format!("content-length: {}\r\n", number * 50), "b".repeat(number * 50)),
            _ => {
                let chunk = format!("{:x};x\r\n{}\r\n", number * 50, "c".repeat(number * 50));
                ("transfer-encoding: chunked\r\n".into(), format!("{chunk}0\r\nx: y\r\n\r\n"))
            }
        };
        bytes.push_str(&format!("PUT {target} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n{body}"));
        let length = if number % 3 == 0 { 0 } else { number * 50 };
        expected.push((target.len(), length));
    }
    let last = "GET /v3/last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let all = said(&scene, bytes + last).await;
    let bodies: Vec<&str> =
        all.split("\r\n\r\n").skip(1).map(|part| &part[..part.find(']').unwrap()]).collect();
    assert_eq!(bodies.len(), 61);
    for ((target, body), seen) in expected.iter().zip(bodies) {
        let seen: Vec<&str> = seen[1..].split(',').collect();
        assert_eq!(seen[0], target.to_string());
        // What was sent to the upstream has chunks where the client's had.
        let length: usize = seen[1].parse().unwrap();
        assert!(length >= *body && (*body > 0 || length == 0), "{length} {body}");
    }
    scene.stop().await;
}

/// Fails when it makes a difference how much the system gives at once, or what is behind a request
/// for an upgrade is lost.
#[tokio::test]
async fn requests_that_come_byte_by_byte_are_as_good_as_whole_ones() {
    let puppet = Puppet::logged_in(|request| match request.contains("upgrade: ") {
        true => Reply::hand_over(AGREE),
        false => Reply::json(OK),
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let bytes = format!(
        "\r\nPOST /v3/1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody\r\n\
         PUT /v3/2 HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
         transfer-encoding: chunked\r\n\r\n3;x=y\r\none\r\n1\r\n2\r\n0\r\nx: y\r\n\r\n\
         GET /v3/3 HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n{ASK}behind it"
    );
    for width in [1, 2, 3, bytes.len()] {
        puppet.answer_expecting(Reply::go_on());
        let mut client = connect(&scene).await;
        for piece in bytes.as_bytes().chunks(width) {
            client.write(piece).await;
        }
        let mut upstream = puppet.handed_over().await;
        crate::upgrades::hear(&mut upstream, "behind it").await;
        upstream.write_all(b"and back").await.unwrap();
        let all = client.read_to("and back").await;
        let all = all.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        assert_eq!((answers(&all), all.matches(OK).count()), (4, 3), "{width}: {all}");
        let calls = puppet.take_calls();
        assert!(calls[0].starts_with("POST /v3/1 ") && calls[0].ends_with("\r\n\r\nbody"));
        assert!(calls[1].starts_with("PUT /v3/2 ") && !calls[1].contains("x: y"), "{calls:?}");
        assert!(calls[2].starts_with("GET /v3/3 ") && calls[2].ends_with("\r\n\r\n"));
        assert_eq!(calls.len(), 4, "{width}");
    }
    scene.stop().await;
}

/// Fails when an old client gets chunks, or the end of an answer is told in no way.
#[tokio::test]
async fn an_old_client_reads_a_body_of_unknown_length_to_the_end_of_its_connection() {
    let (_puppet, scene) =
        stage("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n").await;
    let old = "GET /v3/x HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n";
    let all = said(&scene, old).await;
    assert!(all.starts_with("HTTP/1.0 200 OK\r\n") && all.ends_with("\r\n\r\nbody"), "{all}");
    for field in ["transfer-encoding", "content-length", "keep-alive"] {
        assert!(!all.contains(field), "{all}");
    }
    scene.stop().await;
}

/// Fails when an old client takes a part of an answer for the whole: it knows the end by nothing but
/// the connection's, and must see that reset.
#[tokio::test]
async fn an_old_client_is_told_that_an_answer_was_cut() {
    let puppet = Puppet::logged_in(|_| {
        Reply::close("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n4\r\nbo")
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let doorward::server::Address::Tcp(address) = &scene.door().address else { panic!("no port") };
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /v3/x HTTP/1.0\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let ended = within(client.read_to_end(&mut all)).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    scene.stop().await;
}

/// Fails when the answer to a request that is refused with its body unread is lost: a connection
/// that is closed while its client sends is reset.
#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_goes_on_sending() {
    let (puppet, scene) = json().await;
    let mut smuggler = connect(&scene).await;
    let two = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\
               transfer-encoding: chunked\r\n\r\n";
    smuggler.write(two).await;
    smuggler.write(vec![b'x'; 1 << 20]).await;
    let answer = smuggler.read_to("bad_request").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    let mut large = connect(&scene).await;
    large.write("GET /v3/x HTTP/1.1\r\n").await;
    large.write(format!("x-long: {}", "x".repeat(1 << 20))).await;
    let answer = large.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop((smuggler, large));
    assert!(puppet.calls().is_empty());
    let events = scene.stop().await.events;
    let reported = events.iter().filter_map(|event| match event {
        Event::Request(request) => Some((request.status, request.reason)),
        _ => None,
    });
    assert_eq!(reported.collect::<Vec<_>>(), [(StatusCode::BAD_REQUEST, "bad_request")]);
}

/// Fails when a client that waits for leave is not told that its connection ends with a refusal, or
/// gets the leave all the same.
#[tokio::test]
async fn a_body_that_nobody_asked_for_ends_the_connection_with_the_answer() {
    let (_puppet, scene) = json().await;
    let all = said(
        &scene,
        "POST /v3/%00 HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
         content-length: 4\r\n\r\n",
    )
    .await;
    assert!(all.starts_with("HTTP/1.1 4"), "{all}");
    assert_eq!((answers(&all), all.matches("connection: close").count()), (1, 1), "{all}");
    // Whoever asks for something else does not wait, and is not read either.
    let all = said(
        &scene,
        "POST /v3/%00 HTTP/1.1\r\nhost: localhost\r\nexpect: something\r\n\
         content-length: 4\r\n\r\nbodyGET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    assert!(all.starts_with("HTTP/1.1 4"), "{all}");
    assert_eq!((answers(&all), all.matches("connection: close").count()), (1, 1), "{all}");
    // HTTP/1.0 does not know the question.
    let all = said(
        &scene,
        "POST /v3/x HTTP/1.0\r\nhost: localhost\r\nexpect: 100-continue\r\n\
         content-length: 4\r\n\r\nbody",
    )
    .await;
    assert!(all.starts_with("HTTP/1.0 200 ") && answers(&all) == 1, "{all}");
    scene.stop().await;
}

/// Fails when a broken preface of HTTP/2 is answered as anything but a bad request, or what comes
/// behind it as a request.
#[tokio::test]
async fn a_preface_that_is_none_is_a_bad_request() {
    let (puppet, scene) = json().await;
    for preface in
        ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "PRI / HTTP/2.0\r\n\r\n"]
    {
        let all =
            said(&scene, format!("{preface}GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert!(all.starts_with("HTTP/1.1 400 ") && answers(&all) == 1, "{all}");
    }
    assert!(puppet.calls().is_empty());
    scene.stop().await;
}

/// Fails when a stop waits for a connection that has nothing under way, or does not tell the client
/// of one that has.
#[tokio::test]
async fn a_stop_closes_what_waits_and_tells_the_rest() {
    let puppet = Puppet::logged_in(|request| match request.contains("/v3/slow") {
        true => Reply::hand_over(""),
        false => Reply::json(OK),
    })
    .await;
    let mut scene = puppet.scene(Vendor::Contentstack).await;
    let new = connect(&scene).await;
    let mut used = connect(&scene).await;
    used.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    used.read_to(OK).await;
    let mut busy = connect(&scene).await;
    busy.write("GET /v3/slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = puppet.handed_over().await;
    let door = scene.door().clone();
    let stopping = tokio::spawn(scene.take_app().stop());
    refused(&door).await;
    assert_eq!(new.read_to_end().await, "");
    assert_eq!(answers(&used.read_to_end().await), 1);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{OK}", OK.len());
    upstream.write_all(answer.as_bytes()).await.unwrap();
    let all = busy.read_to_end().await;
    assert!(all.contains("\r\nconnection: close\r\n") && all.ends_with(OK), "{all}");
    drop(upstream);
    within(stopping).await.unwrap();
}

/// Fails when a request whose client goes away goes on, or is reported as answered.
#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let puppet = Puppet::logged_in(|_| Reply::hand_over("")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = connect(&scene).await;
    client.write("POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody").await;
    let mut upstream = puppet.handed_over().await;
    drop(client);
    crate::upgrades::hear_end(&mut upstream).await;
    drop(upstream);
    let events = scene.stop().await.events;
    let reasons = events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(request.reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["client_left"]);
}
