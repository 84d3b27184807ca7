//! An upstream that breaks in every way that HTTP/2 has: what its client is told, and how often the
//! request was sent. It writes its frames itself, as no server library would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use doorward::emulator::Vendor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Raw;
use crate::faults::{BROKEN, Got, got};
use crate::harness::{Scene, Setup};
use crate::hostile::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, next,
};
use crate::puppet::TOKEN;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// `:status: 200` (RFC 7541 appendix A).
const OK: [u8; 1] = [0x88];

/// Answers of HTTP/1.1 to clients: what is told of a refusal by the upstream.
const UNPROCESSED: Got = Got::Own(502, "upstream_unreachable", "destination_unavailable");

/// What an upstream does with a request.
#[derive(Clone, Debug)]
struct Fault {
    /// These frames; 0 stands for the request's stream.
    frames: Vec<(u8, u8, Vec<u8>)>,
    /// It waits for all of the request before.
    waits: bool,
    /// Then the connection ends.
    ends: bool,
}

fn fault(frames: &[(u8, u8, &[u8])]) -> Fault {
    let frames = frames.iter().map(|(kind, flags, payload)| (*kind, *flags, payload.to_vec()));
    Fault { frames: frames.collect(), waits: true, ends: false }
}

impl Fault {
    fn ends(self) -> Self {
        Self { ends: true, ..self }
    }

    fn at_once(self) -> Self {
        Self { waits: false, ..self }
    }
}

const HEAD: (u8, u8, &[u8]) = (HEADERS, END_HEADERS, &OK);
const HALF: (u8, u8, &[u8]) = (DATA, 0, b"half");
const GOOD: (u8, u8, &[u8]) = (DATA, END_STREAM, b"good");

fn reset(code: u32) -> Vec<u8> {
    code.to_be_bytes().to_vec()
}

/// A farewell: the last stream that is processed, and why.
fn goes(last: u32, code: u32) -> Vec<u8> {
    [last.to_be_bytes(), code.to_be_bytes()].concat()
}

#[derive(Default)]
struct Stage {
    /// One for each request; without any it is good.
    faults: Mutex<Vec<Fault>>,
    /// The connection and the body of each request that is neither login nor logout.
    seen: Mutex<Vec<(usize, Vec<u8>)>>,
}

struct Upstream {
    stage: Arc<Stage>,
    scene: Scene,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(format!("http://{}", listener.local_addr().unwrap()));
        setup.upstream = "http2 = \"always\"\n".to_owned();
        let stage = Arc::<Stage>::default();
        let on_stage = Arc::clone(&stage);
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let stage = Arc::clone(&on_stage);
                tokio::spawn(async move { stage.converse(stream, connections).await });
                connections += 1;
            }
        });
        Self { stage, scene: setup.start().await }
    }

    async fn ask(&self, request: &str) -> Got {
        let mut client = Raw::connect(self.scene.door(), self.scene.record()).await;
        client.write(request).await;
        got(&client.read_to_end().await)
    }

    fn take_seen(&self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.stage.seen.lock().unwrap())
    }

    /// A request at which the upstream breaks in these ways, one after the other, and one at which it
    /// does not.
    async fn meets(&self, faults: &[Fault], request: &str, expected: &[Got], sent: usize) {
        let what = format!("{faults:?}, {:?}", &request[..4]);
        *self.stage.faults.lock().unwrap() = faults.iter().rev().cloned().collect();
        let told = self.ask(request).await;
        assert!(expected.contains(&told), "{what}: {told:?}");
        let seen = self.take_seen();
        assert_eq!(seen.len(), sent, "{what}: {seen:?}");
        assert!(self.stage.faults.lock().unwrap().is_empty(), "{what}: it never came to all");
        if sent > 1 {
            assert!(seen.iter().all(|(_, body)| *body == seen[0].1), "{what}: {seen:?}");
        }
        assert_eq!(self.ask(GET).await, Got::Whole("good"), "{what}: the next one");
        assert_eq!(self.take_seen().len(), 1, "{what}: the next one");
    }
}

impl Stage {
    async fn converse(&self, stream: TcpStream, connection: usize) {
        let (mut reading, mut writing) = stream.into_split();
        if reading.read_exact(&mut [0; 24]).await.is_err() {
            return;
        }
        let mut bodies = HashMap::<u32, Vec<u8>>::new();
        let mut waiting = HashMap::<u32, Fault>::new();
        // Logins and logouts have connections of their own, and begin with a POST.
        let mut is_control = None;
        let mut out = frame(SETTINGS, 0, 0, b"");
        loop {
            if writing.write_all(&out).await.is_err() {
                return;
            }
            out.clear();
            let Ok(come) = next(&mut reading).await else { return };
            let Frame { kind, flags, stream, payload } = come;
            match kind {
                SETTINGS if flags & ACK == 0 => out = frame(SETTINGS, ACK, 0, b""),
                PING if flags & ACK == 0 => out = frame(PING, ACK, 0, &payload),
                HEADERS => {
                    let is_post = payload.first() == Some(&0x83);
                    let is_control = *is_control.get_or_insert(is_post);
                    bodies.insert(stream, Vec::new());
                    let next = match is_control {
                        true => login(),
                        false => {
                            let fault = self.faults.lock().unwrap().pop();
                            fault.unwrap_or_else(|| self::fault(&[HEAD, GOOD]))
                        }
                    };
                    waiting.insert(stream, next);
                }
                DATA => {
                    bodies.get_mut(&stream).unwrap().extend(&payload);
                    let more = u32::try_from(payload.len()).unwrap();
                    if more > 0 {
                        out = frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
                    }
                }
                _ => continue,
            }
            let is_whole = flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA);
            let is_due = waiting.get(&stream).is_some_and(|fault| is_whole || !fault.waits);
            let Some(fault) = is_due.then(|| waiting.remove(&stream)).flatten() else { continue };
            if is_control == Some(false) {
                self.seen.lock().unwrap().push((connection, bodies[&stream].clone()));
            }
            for (kind, flags, payload) in fault.frames {
                let is_for_all = kind == GOAWAY;
                out.extend(frame(kind, flags, if is_for_all { 0 } else { stream }, &payload));
            }
            if fault.ends {
                _ = writing.write_all(&out).await;
                return;
            }
        }
    }
}

fn login() -> Fault {
    let body = format!(r#"{{"user":{{"authtoken":"{TOKEN}"}}}}"#);
    let head = [&OK[..], &block(&[("content-type", "application/json")])].concat();
    fault(&[(HEADERS, END_HEADERS, &head), (DATA, END_STREAM, body.as_bytes())])
}

const GET: &str = "GET /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const PUT: &str = "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                   content-length: 5\r\n\r\nsmall";

/// Fails when a broken answer is told as another one, or a request is sent twice that the upstream may
/// have executed.
#[tokio::test]
async fn every_fault_of_http_2_is_told_once() {
    let upstream = Upstream::start().await;
    let whole = || vec![Got::Whole("good")];
    // Where what was sent before the end is lost with it, nobody has had an answer.
    let cut = || vec![Got::Cut, BROKEN];
    let broken = || vec![BROKEN];
    let long = [&OK[..], &block(&[("content-length", "100")])].concat();
    let hint = block(&[(":status", "103")]);
    let hints = [(HEADERS, END_HEADERS, &hint[..])].repeat(100);
    let promise = [&8_u32.to_be_bytes()[..], &[0x82, 0x87, 0x84]].concat();
    for (fault, expected) in [
        // Whole, whatever comes behind its end.
        (fault(&[HEAD, GOOD]), whole()),
        (fault(&[HEAD, GOOD, (RST_STREAM, 0, &reset(NO_ERROR))]), whole()),
        (fault(&[HEAD, (DATA, 0, b"good"), (HEADERS, END_HEADERS | END_STREAM, b"")]), whole()),
        (fault(&[HEAD, (DATA, 0, b"good"), (DATA, END_STREAM, b"")]), whole()),
        (fault(&[&hints[..], &[HEAD, GOOD]].concat()), whole()),
        (fault(&[HEAD, GOOD, (GOAWAY, 0, &goes(u32::MAX >> 1, NO_ERROR))]), whole()),
        (fault(&[(GOAWAY, 0, &goes(u32::MAX >> 1, NO_ERROR)), HEAD, GOOD]), whole()),
        // Dies before the answer, or in it.
        (fault(&[]).ends(), broken()),
        (fault(&[HEAD, HALF]).ends(), cut()),
        (fault(&[(RST_STREAM, 0, &reset(INTERNAL_ERROR))]), broken()),
        (fault(&[(RST_STREAM, 0, &reset(CANCEL))]), broken()),
        (fault(&[(RST_STREAM, 0, &reset(NO_ERROR))]), broken()),
        (fault(&[HEAD, HALF, (RST_STREAM, 0, &reset(INTERNAL_ERROR))]), cut()),
        (fault(&[HEAD, HALF, (RST_STREAM, 0, &reset(CANCEL))]), cut()),
        (fault(&[HEAD, HALF, (RST_STREAM, 0, &reset(REFUSED_STREAM))]), cut()),
        (fault(&[HEAD, HALF, (RST_STREAM, 0, &reset(NO_ERROR))]), cut()),
        (fault(&[HEAD, (RST_STREAM, 0, &reset(NO_ERROR))]), cut()),
        (fault(&[HEAD, HALF, (GOAWAY, 0, &goes(u32::MAX >> 1, INTERNAL_ERROR))]).ends(), cut()),
        (fault(&[(GOAWAY, 0, &goes(u32::MAX >> 1, INTERNAL_ERROR))]).ends(), broken()),
        // Not as long as it says.
        (fault(&[(HEADERS, END_HEADERS, &long), GOOD]), cut()),
        (fault(&[(HEADERS, END_HEADERS, &long), HALF, (RST_STREAM, 0, &reset(NO_ERROR))]), cut()),
        // What no answer has.
        (fault(&[GOOD]), broken()),
        (fault(&[(HEADERS, END_HEADERS, b"")]), broken()),
        (fault(&[(HEADERS, END_HEADERS, &[0xff; 8])]), broken()),
        (fault(&[(PUSH_PROMISE, END_HEADERS, &promise)]), broken()),
    ] {
        for request in [GET, PUT] {
            upstream.meets(std::slice::from_ref(&fault), request, &expected, 1).await;
        }
        upstream.meets(&[fault.at_once()], PUT, &expected, 1).await;
    }
    upstream.scene.stop().await.assert_no_leak();
}

/// Fails when a request is lost that the upstream says it has not processed, when it is sent without
/// end, or without its body.
#[tokio::test]
async fn what_the_upstream_has_not_processed_is_sent_again() {
    let upstream = Upstream::start().await;
    let refused = fault(&[(RST_STREAM, 0, &reset(REFUSED_STREAM))]);
    // No stream of ours has that number: what comes after it was not processed.
    let gone = fault(&[(GOAWAY, 0, &goes(0, NO_ERROR))]);
    let gone_in_trouble = fault(&[(GOAWAY, 0, &goes(0, INTERNAL_ERROR))]).ends();
    for one in [refused.clone(), gone, gone_in_trouble] {
        for request in [GET, PUT] {
            let twice = [one.clone(), one.clone()];
            upstream.meets(&twice[..1], request, &[Got::Whole("good")], 2).await;
            upstream.meets(&twice, request, &[Got::Whole("good")], 3).await;
        }
    }
    let thrice = [refused.clone(), refused.clone(), refused];
    for request in [GET, PUT] {
        upstream.meets(&thrice, request, &[UNPROCESSED], 3).await;
    }
    upstream.scene.stop().await.assert_no_leak();
}
