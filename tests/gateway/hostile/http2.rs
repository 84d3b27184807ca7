//! HTTP/2 requests that are none (RFC 9113 section 8).

use super::Stage;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOOD, HEADERS, Outcome, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};

type Field = (Vec<u8>, Vec<u8>);

fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Field {
    (name.as_ref().to_vec(), value.as_ref().to_vec())
}

fn good() -> Vec<Field> {
    GOOD.iter().map(|(name, value)| field(name, value)).collect()
}

/// The good request, but for one field.
fn but(name: &str, value: &[u8]) -> Vec<Field> {
    let mut fields = good();
    fields.iter_mut().filter(|(known, _)| known == name.as_bytes()).for_each(|field| {
        field.1 = value.to_vec();
    });
    fields
}

/// The good request, and more.
fn with(more: &[Field]) -> Vec<Field> {
    [good(), more.to_vec()].concat()
}

fn without(name: &str) -> Vec<Field> {
    let mut fields = good();
    fields.retain(|(known, _)| known != name.as_bytes());
    fields
}

fn shown(fields: &[Field]) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| format!("{}={:?} ", shown(name), shown(value))).collect()
}

/// Sends a request that is none: it is refused, nothing of it arrives, and where the connection
/// lives, the next request on it is answered.
async fn refused(stage: &Stage, fields: &[Field]) -> Outcome {
    let mut frames = Frames::connect(stage).await;
    frames.request(1, fields).await;
    let outcome = frames.outcome(1).await;
    assert!(outcome.is_refusal(), "{}: {outcome:?}", shown(fields));
    let calls = stage.puppet.calls();
    assert!(calls.is_empty(), "{}: {calls:?}", shown(fields));
    if !matches!(outcome, Outcome::Ended(_)) {
        frames.request(3, &GOOD).await;
        assert_eq!(frames.outcome(3).await, Outcome::Answered(200), "{}", shown(fields));
        assert_eq!(stage.puppet.take_calls().len(), 1);
    }
    outcome
}

async fn a_good_one_arrives(stage: &Stage) {
    let mut frames = Frames::connect(stage).await;
    frames.request(1, &with(&[field("x-a", "1"), field("te", "trailers")])).await;
    assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
    let call = stage.puppet.take_calls().remove(0);
    assert_eq!(super::exact(&call), "GET /v3/x HTTP/1.1\r\nx-a: 1\r\n\r\n");
}

/// Case 44. Fails when a field of HTTP/1's connections, or one that breaks a message of HTTP/1, is
/// taken from HTTP/2.
#[tokio::test]
async fn fields_that_http_2_must_not_have_are_refused() {
    let stage = Stage::open().await;
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("X-Upper", "1"),
        ("", "1"),
        ("x a", "1"),
        ("x:a", "1"),
        (":x", "1"),
        ("x\r\ny", "1"),
        ("x\ny", "1"),
        ("x\0y", "1"),
        ("x\x7fy", "1"),
        ("x-a", "1\r\nx-evil: 2"),
        ("x-a", "1\nx-evil: 2"),
        ("x-a", "1\rx-evil: 2"),
        ("x-a", "1\r\n\r\nGET /v3/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("x-a", "1\x002"),
        ("x-a", "1\x7f2"),
        ("x-a", "1\x012"),
        ("content_length", "5"),
        ("transfer_encoding", "chunked"),
    ] {
        refused(&stage, &with(&[field(name, value)])).await;
    }
    a_good_one_arrives(&stage).await;
}

/// Case 44. Fails when a line of HTTP/1 can be written into a pseudo field, or when one that is no
/// target, no method or no host passes.
#[tokio::test]
async fn pseudo_fields_that_are_none_are_refused() {
    let stage = Stage::open().await;
    for (name, value) in [
        (":path", &b""[..]),
        (":path", b"v3/x"),
        (":path", b"*"),
        (":path", b"?x"),
        (":path", b"/v3/x y"),
        (":path", b"/v3/x HTTP/1.1\r\nx-evil: 1"),
        (":path", b"/v3/x\r\nx-evil: 1"),
        (":path", b"/v3/x\n"),
        (":path", b"/v3/x\0"),
        (":path", b"/v3/x\x7f"),
        (":path", b"/v3/\xff\xfe"),
        (":path", b"http://evil.example/v3/x"),
        (":path", b"evil.example:80"),
        (":method", b""),
        (":method", b"G ET"),
        (":method", b"GET /v3/smuggled HTTP/1.1\r\nx: "),
        (":method", b"GET\r\n"),
        (":method", b"GET\0"),
        (":method", b"TRACE"),
        (":method", b"TRACK"),
        (":method", b"CONNECT"),
        (":method", &[b'X'; 20_000]),
        (":authority", b"local host"),
        (":authority", b"localhost\r\nx-evil: 1"),
        (":authority", b"localhost\0"),
        (":authority", b"user@localhost"),
        (":authority", b"localhost/v3"),
        (":authority", b"localhost?x"),
        (":authority", b"localhost#x"),
        (":authority", b"localhost, evil.example"),
        (":authority", b"localhost:http"),
        (":authority", b"localhost:65536"),
        (":authority", b"[::1"),
        (":authority", b"[localhost]"),
        (":authority", b"evil.example"),
        (":authority", b""),
        (":scheme", b""),
        (":scheme", b"ftp"),
        (":scheme", b"file"),
        (":scheme", b"http://evil.example/"),
        (":scheme", b"ht tp"),
        (":scheme", b"http\r\n"),
    ] {
        refused(&stage, &but(name, value)).await;
    }
    a_good_one_arrives(&stage).await;
}

/// Case 44; `HTTP/2 -> 1.1 version rewrite`. Fails when a pseudo field is there twice, late, or not at
/// all, or when two fields name two hosts.
#[tokio::test]
async fn pseudo_fields_twice_late_unknown_or_missing_are_refused() {
    let stage = Stage::open().await;
    for (name, value) in GOOD {
        refused(&stage, &with(&[field(name, value)])).await;
        let mut twice = good();
        twice.insert(0, field(name, value));
        refused(&stage, &twice).await;
        let mut late = without(name);
        late.extend([field("x-a", "1"), field(name, value)]);
        refused(&stage, &late).await;
        refused(&stage, &without(name)).await;
    }
    for more in [
        vec![field(":status", "200")],
        vec![field(":protocol", "websocket")],
        vec![field(":unknown", "1")],
        vec![field("host", "evil.example")],
        vec![field("host", "localhost"), field("host", "localhost")],
        vec![field("host", "localhost"), field("host", "evil.example")],
    ] {
        let mut first = more.clone();
        first.extend(good());
        refused(&stage, &if more[0].0[0] == b':' { first } else { with(&more) }).await;
    }
    // A tunnel, plain or extended, to wherever.
    let connect = [field(":method", "CONNECT"), field(":authority", "localhost:80")];
    refused(&stage, &connect).await;
    let mut extended = but(":method", b"CONNECT");
    extended.insert(1, field(":protocol", "nobody-knows-this"));
    refused(&stage, &extended).await;
    // The host may stand in either field, or in both.
    for fields in [
        with(&[field("host", "localhost")]),
        [without(":authority"), vec![field("host", "localhost")]].concat(),
    ] {
        let mut frames = Frames::connect(&stage).await;
        frames.request(1, &fields).await;
        assert_eq!(frames.outcome(1).await, Outcome::Answered(200), "{}", shown(&fields));
        let call = stage.puppet.take_calls().remove(0);
        assert_eq!(super::exact(&call), "GET /v3/x HTTP/1.1\r\n\r\n");
    }
}

/// Case 44. Fails when a length and the bytes that come disagree, and the request is taken for whole.
#[tokio::test]
async fn a_length_that_is_not_kept_is_never_a_whole_request() {
    let stage = Stage::open().await;
    let post = |more: &[Field]| [but(":method", b"POST"), more.to_vec()].concat();
    let length = |value: &str| field("content-length", value);
    let open = |fields: &[Field]| frame(HEADERS, END_HEADERS, 1, &block(fields));
    for (fields, data) in [
        (post(&[length("5")]), &b"four"[..]),
        (post(&[length("3")]), b"four"),
        (post(&[length("5"), length("4")]), b"four"),
        (post(&[length("4, 4")]), b"four"),
        (post(&[length("+4")]), b"four"),
        (post(&[length("0x4")]), b"four"),
        (post(&[length("-1")]), b"four"),
        (post(&[length("")]), b"four"),
        (post(&[length("18446744073709551620")]), b"four"),
        (post(&[length("4")]), b""),
    ] {
        let mut frames = Frames::connect(&stage).await;
        frames.write(&open(&fields)).await;
        frames.write(&frame(DATA, END_STREAM, 1, data)).await;
        let outcome = frames.outcome(1).await;
        assert!(outcome.is_refusal(), "{} {data:?}: {outcome:?}", shown(&fields));
        let calls = stage.puppet.calls();
        assert!(calls.is_empty(), "{} {data:?}: {calls:?}", shown(&fields));
    }
    // Who says that there is no body has said all that there is to send on.
    let mut frames = Frames::connect(&stage).await;
    frames.write(&open(&post(&[length("0")]))).await;
    frames.write(&frame(DATA, END_STREAM, 1, b"four")).await;
    assert!(matches!(frames.outcome(1).await, Outcome::Reset(_) | Outcome::Ended(_)));
    for call in stage.puppet.take_calls() {
        assert_eq!(super::exact(&call), "POST /v3/x HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    }
    // A length with the end of the request, and no body.
    refused(&stage, &post(&[length("4")])).await;
    let mut frames = Frames::connect(&stage).await;
    frames.write(&open(&post(&[length("4")]))).await;
    frames.write(&frame(DATA, 0, 1, b"fo")).await;
    frames.write(&frame(DATA, END_STREAM, 1, b"ur")).await;
    assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
    let call = stage.puppet.take_calls().remove(0);
    assert_eq!(super::exact(&call), "POST /v3/x HTTP/1.1\r\ncontent-length: 4\r\n\r\nfour");
}

/// Cases 13 and 44. Fails when trailers of HTTP/2 travel on, or pass where they are none.
#[tokio::test]
async fn trailers_of_http_2_end_here() {
    let stage = Stage::open().await;
    let start = [
        frame(HEADERS, END_HEADERS, 1, &block(&but(":method", b"POST"))),
        frame(DATA, 0, 1, b"four"),
    ]
    .concat();
    for (trailers, flags) in [
        (vec![field("x-a", "evil\r\nx: y")], END_STREAM),
        (vec![field("transfer-encoding", "chunked")], END_STREAM),
        (vec![field("x-a", "evil")], 0),
    ] {
        let mut frames = Frames::connect(&stage).await;
        frames.write(&start).await;
        frames.write(&frame(HEADERS, END_HEADERS | flags, 1, &block(&trailers))).await;
        let outcome = frames.outcome(1).await;
        assert!(outcome.is_refusal(), "{}: {outcome:?}", shown(&trailers));
        assert!(stage.puppet.calls().is_empty(), "{}", shown(&trailers));
    }
    let mut frames = Frames::connect(&stage).await;
    // The library passes over pseudo fields here; they go the way of all trailers.
    let trailers = [
        (":path", "/v3/evil"),
        (":method", "EVIL"),
        ("authtoken", "evil"),
        ("host", "evil"),
        ("content-length", "9"),
        ("x-a", "evil"),
    ];
    frames.write(&start).await;
    frames.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers))).await;
    assert_eq!(frames.outcome(1).await, Outcome::Answered(200));
    let call = stage.puppet.take_calls().remove(0);
    let expected =
        "POST /v3/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n";
    assert_eq!(super::exact(&call), expected);
    assert!(!stage.puppet.heard().contains("evil"));
}

/// Case 44. Fails when a frame that breaks the protocol is passed over.
#[tokio::test]
async fn frames_that_are_none_end_the_connection() {
    let stage = Stage::open().await;
    let headers = block(&GOOD);
    let too_long = [0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1];
    for (name, bytes) in [
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, &headers)),
        ("HEADERS on an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &headers)),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x")),
        ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &headers)),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("RST_STREAM of three bytes", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an ACK with settings", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a window beyond all", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("PUSH_PROMISE of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &headers)),
        ("WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("WINDOW_UPDATE beyond all", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a block that is no HPACK", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20])),
        ("a frame that is too long", too_long.to_vec()),
        (
            "another frame within a block",
            [frame(HEADERS, 0, 1, &headers), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("another preface", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        let mut frames = Frames::connect(&stage).await;
        frames.write(&bytes).await;
        let outcome = frames.outcome(u32::MAX).await;
        assert!(matches!(outcome, Outcome::Ended(_)), "{name}: {outcome:?}");
        assert!(stage.puppet.calls().is_empty(), "{name}");
    }
    a_good_one_arrives(&stage).await;
}
