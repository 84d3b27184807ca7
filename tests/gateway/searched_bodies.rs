//! The last line of the shield: session values and passwords in bodies that no recipe marks.

use doorward::emulator::{Forced, Vendor};
use doorward::telemetry::{Event, Request};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::audit::{AUDIT, lines, trail_in};
use crate::client::{Protocol, Raw};
use crate::codings::gzip;
use crate::harness::{Ended, Scene, Setup};
use crate::puppet::{Puppet, Reply, TOKEN};
use crate::vendors::{read, read_line};

/// As many marks as the token has bytes.
fn marks() -> String {
    "*".repeat(TOKEN.len())
}

fn head(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{fields}\r\n")
}

/// A body in chunks of so many bytes.
fn chunked(body: &[u8], length: usize) -> Vec<u8> {
    let mut coded = head("transfer-encoding: chunked\r\n").into_bytes();
    for chunk in body.chunks(length) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// What was reported of the requests to this path.
fn reported(ended: &Ended, path: &str) -> Vec<Request> {
    let requests = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) if request.path == path => Some(Request::clone(request)),
        _ => None,
    });
    requests.collect()
}

/// Fails when a body of an endpoint that the recipe does not mark is not searched, in any form of
/// any value, or when a client's `Accept-Encoding` hides it.
#[tokio::test]
async fn an_endpoint_that_nobody_marked_shows_no_session_value() {
    use data_encoding::BASE64;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    for vendor in Vendor::ALL {
        let scene = Setup::of(vendor).tables(AUDIT).start().await;
        let control = scene.control();
        if vendor != Vendor::ThoughtSpot {
            control.switch("compress", json!(true)).unwrap();
        }
        assert_eq!(read(&scene).send().await.status, 200);
        let password = vendor.seeded_user().password;
        let is_held = |secret: &String| {
            secret.len() >= 16 && (control.requests_with(secret) > 0 || *secret == password)
        };
        let secrets: Vec<String> = control.issued().into_iter().filter(is_held).collect();
        assert!(!secrets.is_empty(), "{vendor}: nothing to look for");
        let mut told = 0;
        for secret in &secrets {
            let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
            let base64 = BASE64.encode(format!("user:{secret}!").as_bytes());
            let bodies = [
                json!({ "padding": "x".repeat(300), "echo": { "of": secret } }).to_string(),
                format!("<b>{secret}</b>{secret}"),
                format!("auth={percent}&more=1"),
                format!("Authorization: Basic {base64}"),
            ];
            for (body, coding) in bodies.iter().zip(["gzip", "br", "gzip, br, zstd", "deflate"]) {
                let forced = Forced {
                    matching: read_line(vendor).to_owned(),
                    times: 2,
                    status: Some(200),
                    headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                    body: body.clone(),
                    ..Forced::default()
                };
                control.force(forced).unwrap();
                for protocol in [Protocol::Http1, Protocol::Http2] {
                    let call = read(&scene).header("accept-encoding", coding);
                    let answer = call.send_by(protocol).await;
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.body.len(), body.len(), "{vendor}: {}", answer.text());
                    assert_eq!(answer.one("content-length"), body.len().to_string());
                    assert!(answer.text().contains("****************"), "{}", answer.text());
                    told += 1;
                }
            }
        }
        let ended = scene.stop().await;
        let redacted = ended
            .events
            .iter()
            .filter(|event| matches!(event, Event::Request(request) if request.redacted > 0));
        assert_eq!(redacted.count(), told, "{vendor}: an operator is not told of each");
        let trail = lines(&trail_in(ended.folder.path()));
        let redacted = trail.iter().filter(|line| line["redacted"].as_u64() > Some(0));
        assert_eq!(redacted.count(), told, "{vendor}: the audit trail does not tell of each");
    }
}

/// Fails when a value is looked for in each chunk by itself.
#[tokio::test]
async fn a_value_over_the_edges_of_chunks_is_replaced() {
    let puppet = Puppet::logged_in(|request| {
        let length = request.split_once("/v3/").unwrap().1.split(' ').next().unwrap();
        let body = format!("a {TOKEN}, bl{TOKEN}{TOKEN}blt01");
        Reply::keep(chunked(body.as_bytes(), length.parse().unwrap()))
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let expected = format!("a {0}, bl{0}{0}blt01", marks());
    let lengths = [1, 2, 3, 7, TOKEN.len() - 1, TOKEN.len(), TOKEN.len() + 1, 1000];
    for length in lengths {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let path = format!("/v3/{length}");
            let answer = scene.call("GET", &path).send_by(protocol).await;
            assert_eq!(answer.text(), expected, "chunks of {length}");
        }
    }
    let ended = scene.stop().await;
    for length in lengths {
        let reported = reported(&ended, &format!("/v3/{length}"));
        let told: Vec<_> =
            reported.iter().map(|request| (request.redacted, request.body_bytes)).collect();
        assert_eq!(told, [(2, expected.len() as u64); 2], "chunks of {length}");
    }
    assert!(!String::from_utf8_lossy(&ended.record.bytes()).contains(TOKEN));
}

/// Fails when an event waits for the next one, or a value in one passes.
#[tokio::test]
async fn events_are_not_delayed() {
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                  transfer-encoding: chunked\r\n\r\n";
    let puppet = Puppet::logged_in(move |_| Reply::hand_over(events)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write("GET /v3/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = puppet.handed_over().await;
    let (begin, end) = TOKEN.split_at(9);
    let (two, four) =
        (format!("data: 2 {}\n\n", marks()), format!("{}\n\n", "*".repeat(end.len())));
    let said = [
        ("data: 1\n\n".to_owned(), "data: 1\n\n"),
        (format!("data: 2 {TOKEN}\n\n"), two.as_str()),
        // Only a word that has not ended waits, whether it is how the value begins or not.
        (format!("data: 3 {begin}"), "data: 3 "),
        (" and no more\n\n".to_owned(), "blt012345"),
        ("data: 3 another".to_owned(), "data: 3 "),
        (" word\n\n".to_owned(), "another"),
        (format!("data: 4 {begin}"), "data: 4 "),
        (format!("{end}\n\n"), four.as_str()),
    ];
    for (event, seen) in said {
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        upstream.write_all(chunk.as_bytes()).await.unwrap();
        client.read_to(seen).await;
    }
    // What is held back at the end comes with it.
    upstream.write_all(format!("9\r\n{begin}\r\n0\r\n\r\n").as_bytes()).await.unwrap();
    client.read_to("9\r\nblt012345\r\n0\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&scene.record().bytes()).contains(TOKEN));
}

/// Fails when a client can fetch a value in parts.
#[tokio::test]
async fn a_client_that_asks_for_a_part_gets_all() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(head("accept-ranges: bytes\r\netag: \"1\"\r\ncontent-length: 2\r\n") + "ok")
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let call = |scene: &Scene| {
        let call = scene.call("GET", "/v3/x").header("range", "bytes=0-1");
        call.header("if-range", "\"1\"").header("accept-encoding", "gzip")
    };
    let answer = call(&scene).send().await;
    assert_eq!((answer.one("accept-ranges"), answer.one("etag")), ("none", "\"1\""));
    let asked = puppet.take_calls().concat();
    assert!(
        !asked.contains("range:") && asked.contains("accept-encoding: identity\r\n"),
        "{asked}"
    );
}

/// Fails when a part of a body passes in which a value may begin or end, or when what is no part of a
/// body is taken for one.
#[tokio::test]
async fn a_part_that_nobody_asked_for_is_withheld() {
    let (begin, end) = TOKEN.split_at(20);
    let parts = [
        ("content-range: bytes 0-19/44\r\n", 502),
        ("content-range: Bytes 24-43/*\r\n", 502),
        ("content-type: Multipart/ByteRanges; boundary=b\r\n", 502),
        // As some list a part of what they have.
        ("content-range: 0-14/*\r\n", 206),
        ("", 206),
    ];
    for search in ["identity", "decode"] {
        for (fields, status) in parts {
            let puppet = Puppet::logged_in(move |request| {
                let body = if request.contains("/begin") { begin } else { end };
                let head =
                    format!("HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\n", body.len());
                Reply::keep(format!("{head}{fields}\r\n{body}"))
            })
            .await;
            let mut setup: Setup = puppet.setup(Vendor::Contentstack);
            setup.upstream = format!("search_bodies = \"{search}\"");
            let scene = setup.start().await;
            for path in ["/v3/begin", "/v3/end"] {
                // One that Apache and others take for `Range`.
                let call = scene.call("GET", path).header("request-range", "bytes=0-19");
                assert_eq!(call.send().await.status, status, "{search} {fields}");
            }
        }
    }
    // Nothing of the body is in what says that there is no such part.
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(
            "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */44\r\n\
             content-length: 0\r\n\r\n",
        )
    })
    .await;
    let answer = puppet.scene(Vendor::Contentstack).await.call("GET", "/v3/x").send().await;
    assert_eq!((answer.status.as_u16(), answer.one("content-range")), (416, "bytes */44"));
}

/// Fails when a body passes in a transfer coding that hides it: nobody asked for one.
#[tokio::test]
async fn a_transfer_coding_that_hides_the_body_is_refused() {
    for codings in ["gzip, chunked", "gzip", "x\r\ntransfer-encoding: chunked"] {
        let puppet = Puppet::logged_in(move |_| {
            let mut reply = head(&format!("transfer-encoding: {codings}\r\n")).into_bytes();
            let body = gzip(TOKEN.as_bytes());
            if codings.ends_with("chunked") {
                reply.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                reply.extend_from_slice(&body);
                reply.extend_from_slice(b"\r\n0\r\n\r\n");
            } else {
                reply.extend_from_slice(&body);
            }
            Reply::close(reply)
        })
        .await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let answer = scene.call("GET", "/v3/x").send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (502, "upstream_broken".to_owned()), "{codings}");
    }
}

/// Fails when a value passes as the name of a field.
#[tokio::test]
async fn a_field_that_is_named_by_the_session_is_removed() {
    let puppet = Puppet::logged_in(|_| {
        let fields = format!("x-of-{TOKEN}: 1\r\n{TOKEN}: 2\r\nx-of: 3\r\ncontent-length: 2\r\n");
        Reply::keep(head(&fields) + "ok")
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = scene.call("GET", "/v3/x").send().await;
    assert_eq!((answer.one("x-of"), answer.text().as_str()), ("3", "ok"));
    let shown = format!("{:?}", answer.headers);
    assert!(!shown.contains(TOKEN), "{shown}");
}

/// Fails when the setting does nothing.
#[tokio::test]
async fn a_search_that_is_switched_off_changes_nothing() {
    let puppet = Puppet::logged_in(|_| {
        let length = TOKEN.len();
        let fields = format!("accept-ranges: bytes\r\ncontent-length: {length}\r\n");
        Reply::keep(head(&fields) + TOKEN)
    })
    .await;
    let mut setup: Setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = "search_bodies = \"off\"".to_owned();
    let scene = setup.start().await;
    let call =
        scene.call("GET", "/v3/x").header("range", "bytes=0-1").header("accept-encoding", "zstd");
    let answer = call.send().await;
    assert_eq!((answer.text().as_str(), answer.one("accept-ranges")), (TOKEN, "bytes"));
    assert!(puppet.calls()[0].contains("range: bytes=0-1\r\n"));
    assert_eq!(reported(&scene.stop().await, "/v3/x")[0].redacted, 0);
}
