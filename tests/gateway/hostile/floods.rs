//! HTTP/2 clients that ask for work without end (case 45): each bound is met, and others are
//! answered meanwhile.

use doorward::emulator::Vendor;
use tokio::io::AsyncWriteExt;

use super::Stage;
use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOOD, HEADERS,
    Outcome, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, text,
};
use crate::client::Protocol;
use crate::harness::within;
use crate::puppet::{Puppet, Reply};

/// Others are answered, over both protocols.
async fn others_are_answered(stage: &Stage) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let answer = stage.scene.call("GET", "/v3/other").send_by(protocol).await;
        assert_eq!(answer.status, 200);
    }
}

/// How often the upstream got the good request.
fn asked(stage: &Stage) -> usize {
    stage.puppet.calls().iter().filter(|call| call.starts_with("GET /v3/x ")).count()
}

fn post(stream: u32) -> Vec<u8> {
    let mut fields = GOOD;
    fields[0] = (":method", "POST");
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// Rapid reset (CVE-2023-44487). Fails when requests that are reset at once are taken for ever.
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let stage = Stage::open().await;
    let mut frames = Frames::connect(&stage).await;
    let pairs: Vec<u8> = (0..20_000_u32)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let headers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GOOD));
            [headers, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let given_up = frames.flood(&pairs, 1).await;
    assert_eq!(given_up, Some(Some(ENHANCE_YOUR_CALM)));
    assert!(asked(&stage) < 1000, "{}", asked(&stage));
    others_are_answered(&stage).await;
}

/// The same at a pace at which each request is begun before it is reset. Fails when that goes on for
/// ever on one connection.
#[tokio::test]
async fn requests_that_are_reset_one_by_one_end_the_connection() {
    let stage = Stage::open().await;
    others_are_answered(&stage).await;
    let mut frames = Frames::connect(&stage).await;
    let mut given_up = None;
    for number in 0..2000_u32 {
        let stream = 2 * number + 1;
        let headers = frame(HEADERS, END_HEADERS, stream, &block(&GOOD));
        frames.write(&headers).await;
        // The answer to this tells that the request was taken.
        if let Some(code) = frames.flood(&frame(PING, 0, 0, &[0; 8]), 1).await {
            given_up = Some((number, code));
            break;
        }
        frames.write(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
    }
    let (requests, _) = given_up.expect("2000 requests were reset, and it went on");
    assert!(requests < 1000, "{requests}");
    others_are_answered(&stage).await;
}

/// What a client sends on a stream of its own so that it is reset.
type Fault = fn(u32) -> Vec<u8>;

/// MadeYouReset (CVE-2025-8671). Fails when a client can have its requests reset for ever.
#[tokio::test]
async fn requests_that_make_us_reset_them_end_the_connection() {
    let stage = Stage::open().await;
    // What a client does so that its stream is reset: a window update by nothing, one beyond all,
    // more data than was said, data behind the end.
    let faults: [(&str, Fault); 5] = [
        ("a window update by nothing", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("one beyond all", |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])),
        ("trailers that do not end it", |stream| {
            frame(HEADERS, END_HEADERS, stream, &block(&[("x", "y")]))
        }),
        ("a short priority", |stream| frame(PRIORITY, 0, stream, &[0; 4])),
        ("a field that is none", |stream| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("X", "y")]))
        }),
    ];
    for (name, fault) in faults {
        let mut frames = Frames::connect(&stage).await;
        let bytes: Vec<u8> = (0..5000_u32)
            .flat_map(|number| [post(2 * number + 1), fault(2 * number + 1)].concat())
            .collect();
        let given_up = frames.flood(&bytes, 1).await;
        assert!(given_up.is_some(), "{name}: 5000 streams were reset, and it went on");
    }
    assert_eq!(asked(&stage), 0);
    others_are_answered(&stage).await;
}

/// CONTINUATION (RUSTSEC-2024-0332). Fails when a head has no end.
#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let stage = Stage::open().await;
    let field = block(&[("x-a", "1".repeat(1000))]);
    for (name, piece) in [
        ("fields", frame(CONTINUATION, 0, 1, &field)),
        ("small fields", frame(CONTINUATION, 0, 1, &block(&[("x", "")]))),
        ("nothing", frame(CONTINUATION, 0, 1, b"")),
    ] {
        let mut frames = Frames::connect(&stage).await;
        frames.write(&frame(HEADERS, END_STREAM, 1, &block(&GOOD))).await;
        let given_up = frames.flood(&piece, 200_000).await;
        assert!(given_up.is_some(), "{name}: 200 000 pieces, and it went on");
    }
    assert_eq!(asked(&stage), 0);
    others_are_answered(&stage).await;
}

/// Empty DATA (CVE-2019-9518, RUSTSEC-2026-0258). Fails when pieces of nothing are taken for ever.
#[tokio::test]
async fn pieces_of_nothing_end_the_connection() {
    let stage = Stage::open().await;
    let mut frames = Frames::connect(&stage).await;
    frames.write(&post(1)).await;
    let given_up = frames.flood(&frame(DATA, 0, 1, b""), 500_000).await;
    assert_eq!(given_up, Some(Some(ENHANCE_YOUR_CALM)));
    assert!(stage.puppet.calls().is_empty());
    others_are_answered(&stage).await;
}

/// HPACK bomb (CVE-2016-6581). Fails when a small head that stands for a large one is written out.
#[tokio::test]
async fn a_head_that_unpacks_to_megabytes_is_refused() {
    let stage = Stage::open().await;
    let mut frames = Frames::connect(&stage).await;
    let mut bomb = block(&GOOD);
    // A field that is remembered, and then named by one byte each time.
    bomb.push(0x40);
    text(&mut bomb, b"x-bomb");
    text(&mut bomb, &[b'y'; 3900]);
    bomb.extend([0xbe; 12_000]);
    frames.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let outcome = frames.outcome(1).await;
    assert!(outcome.is_refusal(), "{outcome:?}");
    assert_eq!(asked(&stage), 0);
    // A head a little over the bound is told so.
    let mut frames = Frames::connect(&stage).await;
    let long = frame(HEADERS, END_STREAM, 1, &block(&GOOD));
    frames.write(&long).await;
    for number in 0..5 {
        let flags = if number == 4 { END_HEADERS } else { 0 };
        let piece = block(&[(format!("x-{number}"), "y".repeat(16_000))]);
        frames.write(&frame(CONTINUATION, flags, 1, &piece)).await;
    }
    assert_eq!(frames.outcome(1).await, Outcome::Answered(431));
    others_are_answered(&stage).await;
}

/// PING and SETTINGS floods (CVE-2019-9512, 9515). Fails when answers to them are kept for a client
/// that does not read them, or when they harm its own requests or others.
#[tokio::test]
async fn questions_of_the_connection_are_answered_no_faster_than_they_are_read() {
    let stage = Stage::open().await;
    for question in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        // Read, they are answered, and a request behind them is.
        let mut frames = Frames::connect(&stage).await;
        assert_eq!(frames.flood(&question, 20_000).await, None);
        frames.request(1, &GOOD).await;
        assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
        // Not read, they are not taken either: 256 MiB never leave the client.
        let mut frames = Frames::connect(&stage).await;
        let many = question.repeat(100_000);
        let flooding = async {
            for _ in 0..256 {
                frames.write_unread(&many).await;
            }
        };
        let others = async {
            for _ in 0..50 {
                others_are_answered(&stage).await;
            }
        };
        tokio::select! {
            () = flooding => panic!("all were taken"),
            () = others => {}
        }
    }
}

/// PRIORITY flood (CVE-2019-9513). Fails when what nobody heeds harms anybody.
#[tokio::test]
async fn priorities_are_passed_over() {
    let stage = Stage::open().await;
    let mut frames = Frames::connect(&stage).await;
    for number in 0..100_u32 {
        let many: Vec<u8> = (0..1000)
            .flat_map(|other| frame(PRIORITY, 0, 2 * (number * 1000 + other) + 1, &[0; 5]))
            .collect();
        frames.write(&many).await;
    }
    frames.request(300_001, &GOOD).await;
    assert_eq!(frames.outcome(300_001).await, Outcome::Answered(200));
    // Acknowledgements of settings that nobody sent are nothing.
    assert_eq!(asked(&stage), 1);
    frames.write(&frame(SETTINGS, ACK, 0, &[]).repeat(10)).await;
    others_are_answered(&stage).await;
}

/// Fails when a client has more requests at a time on one connection than the bound.
#[tokio::test]
async fn streams_beyond_the_bound_are_refused() {
    let stage = Stage::with(|setup| setup.tables("[limits]\nstreams_max = 10\n")).await;
    let mut frames = Frames::connect(&stage).await;
    let settings = frames.next_of(SETTINGS).await;
    let maxima: Vec<_> = settings.payload.chunks(6).filter(|one| one[1] == 3).collect();
    assert_eq!(maxima, [[0, 3, 0, 0, 0, 10]]);
    for number in 0..11 {
        frames.write(&post(2 * number + 1)).await;
    }
    // REFUSED_STREAM: it was not begun.
    assert_eq!(frames.outcome(21).await, Outcome::Reset(7));
    frames.write(&frame(DATA, END_STREAM, 1, b"four")).await;
    assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
    others_are_answered(&stage).await;
}

/// Zero window (CVE-2019-9511, 9517). Fails when an answer that its client does not take is gathered,
/// or keeps others from theirs.
#[tokio::test]
async fn an_answer_that_is_not_taken_is_not_gathered() {
    const BYTES: usize = 64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
    let puppet = Puppet::logged_in(move |request| match request.starts_with("GET /v3/x ") {
        true => Reply::hand_over(head.clone()),
        false => Reply::json("{}"),
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let stage = Stage { puppet, scene };
    // No window at all for answers; one that lets each frame carry a byte; and all the window there
    // is, for a client that reads nothing.
    for window in [0, 1, 0x7fff_ffff] {
        let mut frames = Frames::connect_with(&stage, &[(4, window)]).await;
        if window > 1 {
            let wide = (0x7fff_ffff_u32 - 0xffff).to_be_bytes();
            frames.write(&frame(WINDOW_UPDATE, 0, 0, &wide)).await;
        }
        frames.request(1, &GOOD).await;
        assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
        let mut upstream = stage.puppet.handed_over().await;
        let mut writing =
            tokio::spawn(
                async move { upstream.write_all(&vec![b'x'; BYTES]).await.map(|()| upstream) },
            );
        for _ in 0..50 {
            others_are_answered(&stage).await;
        }
        assert!(!writing.is_finished(), "64 MiB were gathered");
        drop(frames);
        // The client's leaving ends it at the upstream, too.
        assert!(within(&mut writing).await.unwrap().is_err());
    }
}
