//! Bodies in content codings: taken off as they stream, searched, and passed on as they are.

use std::io::Write;

use doorward::emulator::{User, Vendor};
use doorward::telemetry::{Decoded, Event, Request};
use tokio::io::AsyncWriteExt;

use crate::audit::{AUDIT, lines, trail_in};
use crate::client::{Protocol, Raw};
use crate::codings::{CODINGS, deflate, gzip, zstd};
use crate::harness::{Ended, Scene, Setup, within};
use crate::puppet::{Puppet, Reply, TOKEN};

/// A coded answer, of known length or in chunks.
fn answer(coding: &str, body: &[u8], chunk: Option<usize>) -> Reply {
    let mut fields = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nvary: accept-encoding\r\netag: \"1\"\r\n\
         content-digest: md5=:AA==:\r\naccept-ranges: bytes\r\ncontent-encoding: {coding}\r\n"
    )
    .into_bytes();
    match chunk {
        None => {
            fields.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            fields.extend_from_slice(body);
        }
        Some(length) => {
            fields.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(length) {
                fields.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                fields.extend_from_slice(chunk);
                fields.extend_from_slice(b"\r\n");
            }
            fields.extend_from_slice(b"0\r\n\r\n");
        }
    }
    Reply::keep(fields)
}

async fn scene(puppet: &Puppet, search: &str) -> Scene {
    let mut setup: Setup = puppet.setup(Vendor::Contentstack).tables(AUDIT);
    setup.upstream = format!("search_bodies = \"{search}\"");
    setup.start().await
}

/// What was reported of the requests to the upstream, in order.
fn reported(ended: &Ended) -> Vec<Request> {
    let requests = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(Request::clone(request)),
        _ => None,
    });
    requests.collect()
}

/// Fails when a coded body is passed on, or searched, as it came; when what describes it stays; and
/// when nobody is told.
#[tokio::test]
async fn every_coding_is_taken_off_searched_and_told_of() {
    let text = format!("{}{TOKEN}{}", "before ".repeat(1000), " after".repeat(1000));
    let expected = text.replace(TOKEN, &"*".repeat(TOKEN.len()));
    for search in ["decode", "identity"] {
        let plain = text.clone();
        let puppet = Puppet::logged_in(move |request| {
            let target = request.split(' ').nth(1).unwrap();
            let mut parts = target.trim_start_matches("/v3/").split('/');
            let (coding, code) = CODINGS[parts.next().unwrap().parse::<usize>().unwrap()];
            answer(coding, &code(plain.as_bytes()), parts.next().unwrap().parse().ok())
        })
        .await;
        let scene = scene(&puppet, search).await;
        let mut told = Vec::new();
        for (place, (coding, code)) in CODINGS.into_iter().enumerate() {
            for (chunk, protocol) in
                [("whole", Protocol::Http1), ("1", Protocol::Http2), ("7", Protocol::Http1)]
            {
                let call = scene.call("GET", &format!("/v3/{place}/{chunk}"));
                let call = call.header("accept-encoding", "br, zstd;q=0.5, compress");
                let answer = call.send_by(protocol).await;
                assert_eq!(answer.text(), expected, "{search} {coding}");
                for gone in ["content-encoding", "content-length", "content-digest"] {
                    assert!(answer.all(gone).is_empty(), "{search} {coding}: {gone}");
                }
                assert_eq!(answer.one("etag"), "W/\"1\"");
                assert_eq!(answer.one("vary"), "accept-encoding");
                assert_eq!(answer.one("accept-ranges"), "none");
                let asked = puppet.take_calls().concat();
                let wanted = if search == "decode" { "br, zstd;q=0.5" } else { "identity" };
                assert!(asked.contains(&format!("accept-encoding: {wanted}\r\n")), "{asked}");
                told.push((coding, code(text.as_bytes()).len() as u64));
            }
            // HEAD and 304 have nothing to decode, and say what GET would.
            let head = scene.call("HEAD", &format!("/v3/{place}/whole")).send().await;
            assert_eq!((head.status.as_u16(), head.one("etag")), (200, "W/\"1\""));
            assert!(head.all("content-encoding").is_empty() && head.body.is_empty());
            puppet.take_calls();
        }
        let ended = scene.stop().await;
        assert!(!String::from_utf8_lossy(&ended.record.bytes()).contains(TOKEN));
        let decoded: Vec<_> = reported(&ended).into_iter().filter_map(|it| it.decoded).collect();
        let normal = |coding: &str| {
            let coding = coding.to_lowercase().replace("identity,", "");
            coding.replace("x-gzip", "gzip").into_boxed_str()
        };
        let expected = told.iter().map(|(coding, coded_bytes)| Decoded {
            codings: normal(coding),
            coded_bytes: *coded_bytes,
        });
        assert_eq!(decoded, expected.collect::<Vec<_>>());
        let trail = lines(&trail_in(ended.folder.path()));
        let lines = trail.iter().filter(|line| line["coded_bytes"].as_u64() > Some(0));
        assert_eq!(lines.filter(|line| line["decoded"].is_string()).count(), told.len());
    }
}

/// Fails when a client that names no coding, or only some that nobody reads, costs the upstream its
/// choice, or lets it choose what cannot be searched.
#[tokio::test]
async fn the_upstream_may_choose_among_the_codings_that_are_read() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = scene(&puppet, "decode").await;
    let all = "gzip, deflate, br, zstd";
    for (asked, sent) in
        [(None, all), (Some("*"), all), (Some("dcz"), "identity"), (Some("gzip, dcb"), "gzip")]
    {
        let mut call = scene.call("GET", "/v3/x").header("range", "bytes=0-1");
        if let Some(asked) = asked {
            call = call.header("accept-encoding", asked);
        }
        assert_eq!(call.send().await.one("content-length"), "2");
        let calls = puppet.take_calls().concat();
        assert!(calls.contains(&format!("accept-encoding: {sent}\r\n")), "{calls}");
        assert!(!calls.contains("range:"), "{calls}");
    }
    scene.stop().await;
}

/// Fails when a client that named no coding gets one because there is nothing to search for.
#[tokio::test]
async fn a_session_without_a_long_value_is_decoded_too() {
    let puppet = Puppet::start(|request| match request.split(' ').next() {
        Some("GET") => answer("br", &CODINGS[4].1(b"content"), None),
        _ => Reply::json(r#"{"user":{"authtoken":"short"}}"#),
    })
    .await;
    let user = Vendor::Contentstack.seeded_user();
    let mut setup =
        puppet.setup(Vendor::Contentstack).user(User { password: "short".to_owned(), ..user });
    setup.upstream = "search_bodies = \"decode\"".to_owned();
    let scene = setup.start().await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let seen = client.read_to("7\r\ncontent\r\n").await;
    assert!(!seen.contains("content-encoding"), "{seen}");
}

/// Fails when bytes that are not what their coding says are passed on, or what was cut off passes
/// for a whole body.
#[tokio::test]
async fn a_body_that_is_damaged_or_cut_off_breaks_off() {
    let text = format!("{}{TOKEN}", "before ".repeat(30_000));
    let whole = gzip(text.as_bytes());
    let half = whole[..whole.len() / 2].to_vec();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let behind = [&whole[..], TOKEN.as_bytes()].concat();
    let cut = deflate(text.as_bytes());
    let cut = cut[..cut.len() - 5].to_vec();
    let bodies = [
        ("gzip", text.clone().into_bytes()),
        ("gzip", half),
        ("gzip", changed),
        ("gzip", behind),
        ("deflate", cut),
        ("zstd, gzip", whole),
        ("br", vec![0xff; 64]),
    ];
    for search in ["identity", "decode"] {
        for (coding, body) in bodies.clone() {
            let puppet = Puppet::logged_in(move |_| answer(coding, &body, Some(1000))).await;
            let scene = scene(&puppet, search).await;
            for protocol in [Protocol::Http1, Protocol::Http2] {
                let call = scene.call("GET", "/v3/x");
                let came = within(call.try_send_by(protocol)).await;
                assert!(came.is_err(), "{search} {coding} {protocol:?}");
            }
            let ended = scene.stop().await;
            assert_eq!(reported(&ended)[0].reason, "undecodable", "{search} {coding}");
            let seen = ended.record.bytes();
            let is_there = |text: &[u8]| seen.windows(text.len()).any(|part| part == text);
            assert!(!is_there(TOKEN.as_bytes()) && !is_there(&gzip(b"")[..4]), "{coding}");
        }
    }
}

/// Fails when a coding that nobody here knows passes, or more codings than are taken off.
#[tokio::test]
async fn a_coding_that_is_not_known_is_withheld() {
    for coding in ["compress", "dcz", "gzip, exi", "gzip, gzip, gzip, gzip", "g\u{fc}zip"] {
        for search in ["identity", "decode"] {
            let puppet = Puppet::logged_in(move |_| answer(coding, TOKEN.as_bytes(), None)).await;
            let scene = scene(&puppet, search).await;
            let answer = scene.call("GET", "/v3/x").send().await;
            let told = (answer.status.as_u16(), answer.problem());
            assert_eq!(told, (502, "answer_withheld".to_owned()), "{coding}");
            assert!(!String::from_utf8_lossy(&scene.stop().await.record.bytes()).contains(TOKEN));
        }
    }
}

/// Fails when an event waits in the decoder for the next one.
#[tokio::test]
async fn events_in_a_coding_are_not_delayed() {
    #[derive(Clone, Default)]
    struct Coded(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl Write for Coded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let puppet = Puppet::logged_in(move |_| {
            Reply::hand_over(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 content-encoding: {coding}\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
        })
        .await;
        let scene = scene(&puppet, "decode").await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write("GET /v3/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut upstream = puppet.handed_over().await;
        let coded = Coded::default();
        let level = flate2::Compression::fast();
        let mut encoder: Box<dyn Write + Send> = match coding {
            "gzip" => Box::new(flate2::write::GzEncoder::new(coded.clone(), level)),
            "deflate" => Box::new(flate2::write::ZlibEncoder::new(coded.clone(), level)),
            "br" => Box::new(brotli::CompressorWriter::new(coded.clone(), 4096, 5, 20)),
            _ => Box::new(zstd::Encoder::new(coded.clone(), 1).unwrap()),
        };
        for number in 1..4 {
            encoder.write_all(format!("data: {number} {TOKEN}\n\n").as_bytes()).unwrap();
            encoder.flush().unwrap();
            let event = std::mem::take(&mut *coded.0.lock().unwrap());
            let chunk = [format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
            upstream.write_all(&chunk).await.unwrap();
            client.read_to(&format!("data: {number} {}\n\n", "*".repeat(TOKEN.len()))).await;
        }
        drop(client);
        drop(upstream);
        assert!(!String::from_utf8_lossy(&scene.record().bytes()).contains(TOKEN), "{coding}");
    }
}

/// Fails when more of a body is decoded than its client has asked for: one that expands a
/// thousandfold is taken from the upstream as slowly as the client reads it.
#[tokio::test]
async fn a_body_that_expands_is_decoded_at_the_pace_of_its_client() {
    const BYTES: usize = 512 << 20;
    let block = zstd(&vec![b'.'; 1 << 20]);
    let puppet = Puppet::logged_in(|_| {
        Reply::hand_over("HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\n\r\n")
    })
    .await;
    let scene = scene(&puppet, "decode").await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut upstream = puppet.handed_over().await;
    let bomb = block.repeat(BYTES >> 20);
    upstream.write_all(&bomb).await.unwrap();
    upstream.shutdown().await.unwrap();
    client.read_some(1 << 20).await;
    drop(client);
    let ended = scene.stop().await;
    let request = reported(&ended).remove(0);
    assert_eq!(request.decoded.unwrap().codings, "zstd".into());
    assert!(request.body_bytes < BYTES as u64 / 2, "{} bytes", request.body_bytes);
}
