//! An upstream that breaks in every way: what its client is told, how often the request was sent,
//! and that nothing of it is left behind.

use std::time::Duration;

use doorward::emulator::{Certificate, Vendor};
use doorward::telemetry::Event;

use crate::client::Raw;
use crate::faulty::{Fault, Faulty, GOOD};
use crate::harness::{Scene, Setup, within, write};
use crate::leaks::leaks;
use crate::puppet::TOKEN;

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// What a client must get.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// The whole answer with this body.
    Whole(&'static str),
    /// Doorward's own answer, with its status, code and `Proxy-Status`.
    Own(u16, &'static str, &'static str),
    /// An answer that is not passed off as complete.
    Cut,
}

/// What becomes of the connection on which it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Connection {
    /// It takes the next request.
    UsedAgain,
    /// It is in doubt, or gone.
    NeverAgain,
}

pub const BROKEN: Got = Got::Own(502, "upstream_broken", "http_response_incomplete");

/// A request with its body, all of which is sent at once.
const REQUESTS: [&str; 3] = [
    "GET /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "POST /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 5\r\n\r\nsmall",
    "POST /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
     transfer-encoding: chunked\r\n\r\n3\r\nstr\r\n5\r\neamed\r\n0\r\n\r\n",
];

/// An upstream and a gateway in front of it, in which one request at a time is let in: one whose
/// place is not given back keeps all others out.
struct Stage {
    upstream: Faulty,
    scene: Scene,
    /// Which transport this is, in failures.
    name: &'static str,
}

impl Stage {
    async fn plain() -> Self {
        Self::over("plain", None).await
    }

    async fn encrypted() -> Self {
        Self::over("TLS", Some(Certificate::for_names(&["127.0.0.1"]).unwrap())).await
    }

    async fn over(name: &'static str, certificate: Option<Certificate>) -> Self {
        let upstream = Faulty::start(certificate).await;
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(upstream.origin());
        "limits = { in_flight_max = 1, waiting_max = 0 }\n".clone_into(&mut setup.upstream);
        if let Some(pem) = upstream.authority_pem() {
            let path = write(folder.path(), "authority.pem", pem);
            setup.upstream.push_str(&format!("tls = {{ ca_file = {path:?} }}\n"));
        }
        setup.user.password = "canary-Tr0ub4dor-password".to_owned();
        Self { upstream, scene: setup.start().await, name }
    }

    /// What a client gets for a request.
    async fn ask(&self, request: &str) -> Got {
        let mut client = Raw::connect(self.scene.door(), self.scene.record()).await;
        client.write(request).await;
        got(&client.read_to_end().await)
    }

    /// A request at which the upstream breaks, and one at which it does not.
    async fn meets(&self, fault: &Fault, request: &str, expected: &Got, then: Connection) {
        let what = format!("{}, {:?}, {}", self.name, shown(fault), &request[..4]);
        self.upstream.take_seen();
        self.upstream.breaks(fault.clone());
        let told = self.ask(request).await;
        assert_eq!(&told, expected, "{what}");
        let seen = self.upstream.take_seen();
        assert_eq!(seen.len(), 1, "{what}: sent {seen:?}");
        self.is_good_again(&what, seen[0].connection, then).await;
    }

    async fn is_good_again(&self, what: &str, broken: usize, then: Connection) {
        // Its place is given back with its last byte, which its client may see a moment sooner.
        let next = within(async {
            loop {
                match self.ask(REQUESTS[0]).await {
                    Got::Own(503, "overloaded", _) => tokio::task::yield_now().await,
                    other => break other,
                }
            }
        });
        assert_eq!(next.await, Got::Whole("good"), "{what}: the next one");
        let seen = self.upstream.take_seen();
        assert_eq!(seen.len(), 1, "{what}: the next one was sent {seen:?}");
        let is_again = seen[0].connection == broken;
        // Two cores have connections of their own: another one may be another core's.
        assert!(!is_again || then == Connection::UsedAgain, "{what}: its connection is used again");
    }

    /// Stops: what a request still held would keep its session, and so the stop, waiting.
    async fn ends(self) {
        let record = self.scene.record().clone();
        let ended = self.scene.stop().await;
        let [logins, logouts] = self.upstream.logins_and_logouts();
        assert_eq!((logins, logouts), (1, 1), "{}: logins and logouts", self.name);
        let secrets = [TOKEN.to_owned(), "canary-Tr0ub4dor-password".to_owned()];
        let events = format!("{:?}", ended.events).into_bytes();
        for bytes in [record.bytes(), events] {
            assert_eq!(leaks(&secrets, &bytes), [], "{}", self.name);
        }
        // Each request has ended, and said how.
        let asked = ended.events.iter().filter(|event| matches!(event, Event::Request(_)));
        assert!(asked.count() > 1);
    }
}

fn shown(fault: &Fault) -> String {
    let text = match fault {
        Fault::Close(bytes) => format!("closes after {:?}", String::from_utf8_lossy(bytes)),
        Fault::Reset(bytes) => format!("resets after {:?}", String::from_utf8_lossy(bytes)),
        Fault::Stay(bytes) => format!("stays after {:?}", String::from_utf8_lossy(bytes)),
        other => format!("{other:?}"),
    };
    text.chars().take(160).collect()
}

/// What these bytes are for a client that reads them as RFC 9112 says.
pub fn got(bytes: &str) -> Got {
    let Some((head, body)) = bytes.split_once("\r\n\r\n") else { return Got::Cut };
    let status: u16 = head[9..12].parse().unwrap();
    let field = |name: &str| {
        let is_it = |line: &&str| line.to_lowercase().starts_with(&format!("{name}: "));
        head.lines().find(is_it).map(|line| line[name.len() + 2..].to_owned())
    };
    let is_chunked = field("transfer-encoding").is_some();
    let content = match (is_chunked, field("content-length")) {
        (true, _) => match chunks(body) {
            Some(content) => content,
            None => return Got::Cut,
        },
        (false, Some(length)) if length.parse::<usize>().unwrap() > body.len() => return Got::Cut,
        (false, Some(_)) => body.to_owned(),
        (false, None) => panic!("the end of this answer cannot be told: {bytes:?}"),
    };
    match field("proxy-status").and_then(|status| Some(status.split_once("error=")?.1.to_owned())) {
        Some(error) => {
            let problem: serde_json::Value = serde_json::from_str(&content).unwrap();
            let code = problem["code"].as_str().unwrap().to_owned();
            Got::Own(status, code.leak(), error.leak())
        }
        None => Got::Whole(content.leak()),
    }
}

/// The content of chunks, if the last one is there.
fn chunks(mut coded: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, rest) = coded.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return rest.starts_with("\r\n").then_some(content);
        }
        content.push_str(rest.get(..size)?);
        coded = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

fn bytes(text: impl Into<String>) -> Vec<u8> {
    text.into().into_bytes()
}

/// Every fault with what its client gets, and what becomes of the connection. All of them happen
/// when the request has come whole.
fn faults() -> Vec<(Fault, Got, Connection)> {
    use Connection::{NeverAgain, UsedAgain};
    use Fault::{ByteByByte, Close, Reset, Stay};
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let ok = |fields: &str, body: &str| bytes(format!("{OK}{fields}\r\n{body}"));
    let half = ok("content-length: 100\r\n", "half");
    let half_a_chunk = ok("transfer-encoding: chunked\r\n", "8\r\nhalf");
    let no_last_chunk = ok("transfer-encoding: chunked\r\n", "4\r\nhalf\r\n");
    let mut faults = vec![
        // Dies before the answer, in its head, in its body.
        (Close(Vec::new()), BROKEN, NeverAgain),
        (Reset(Vec::new()), BROKEN, NeverAgain),
        (Close(bytes("HTTP/1.1 200 OK\r\ncontent-le")), BROKEN, NeverAgain),
        (Reset(bytes("HTTP/1.1 200 OK\r\ncontent-le")), BROKEN, NeverAgain),
        (Close(half.clone()), Got::Cut, NeverAgain),
        (Close(half_a_chunk.clone()), Got::Cut, NeverAgain),
        (Close(no_last_chunk), Got::Cut, NeverAgain),
        (Close(ok("transfer-encoding: chunked\r\n", "")), Got::Cut, NeverAgain),
        (Close(ok("transfer-encoding: chunked\r\n", "0\r\n")), Got::Cut, NeverAgain),
        // Is slow.
        (ByteByByte(bytes(GOOD)), Got::Whole("good"), UsedAgain),
        (
            ByteByByte(ok("transfer-encoding: chunked\r\n", "2\r\ngo\r\n2;x\r\nod\r\n0\r\n\r\n")),
            Got::Whole("good"),
            UsedAgain,
        ),
        // Says more than its answer.
        (Stay(bytes(format!("{GOOD}more"))), Got::Whole("good"), NeverAgain),
        (Stay(bytes(format!("{GOOD}{GOOD}"))), Got::Whole("good"), NeverAgain),
        (
            Stay(ok("connection: close\r\ncontent-length: 4\r\n", "good")),
            Got::Whole("good"),
            NeverAgain,
        ),
        (
            Stay(bytes("HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood")),
            Got::Whole("good"),
            NeverAgain,
        ),
        // Has no end, or more than one.
        (Stay(ok("content-length: 2\r\ncontent-length: 3\r\n", "{} ")), BROKEN, NeverAgain),
        (Stay(ok("content-length: 2, 3\r\n", "{} ")), BROKEN, NeverAgain),
        (Stay(ok("content-length: -2\r\n", "{}")), BROKEN, NeverAgain),
        (
            Stay(ok("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")),
            BROKEN,
            NeverAgain,
        ),
        (Stay(ok("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n")), BROKEN, NeverAgain),
        (Stay(ok("x: a\r\n b\r\ncontent-length: 0\r\n", "")), BROKEN, NeverAgain),
        (Stay(bytes("220 mail.example ESMTP\r\n")), BROKEN, NeverAgain),
        // Chunks that are none.
        (Stay(ok("transfer-encoding: chunked\r\n", "4\r\nhalfXX\r\n")), Got::Cut, NeverAgain),
        (
            Stay(ok("transfer-encoding: chunked\r\n", "+4\r\ngood\r\n0\r\n\r\n")),
            Got::Cut,
            NeverAgain,
        ),
        (Stay(ok("transfer-encoding: chunked\r\n", "4\ngood\r\n0\r\n\r\n")), Got::Cut, NeverAgain),
        // Answers before the answer.
        (Stay(bytes(format!("{}{GOOD}", hints.repeat(100)))), Got::Whole("good"), UsedAgain),
        (Stay(bytes(format!("{}{GOOD}", hints.repeat(1000)))), BROKEN, NeverAgain),
        (Stay(bytes("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")), BROKEN, NeverAgain),
    ];
    // How much of it a reset takes with it is the kernel's to say; none of it is a whole answer.
    faults.push((Reset(half), Got::Cut, NeverAgain));
    faults.push((Reset(half_a_chunk), Got::Cut, NeverAgain));
    faults
}

async fn every_fault_on(stage: Stage) {
    for (fault, expected, then) in faults() {
        for request in REQUESTS {
            if let (Fault::Reset(sent), Got::Cut) = (&fault, &expected) {
                reset_in_a_body(&stage, sent, request).await;
                continue;
            }
            stage.meets(&fault, request, &expected, then).await;
        }
    }
    stage.ends().await;
}

/// A reset can overtake what was sent before it: then the client is told that there is no answer.
async fn reset_in_a_body(stage: &Stage, sent: &[u8], request: &str) {
    stage.upstream.take_seen();
    stage.upstream.breaks(Fault::Reset(sent.to_vec()));
    let told = stage.ask(request).await;
    assert!(told == Got::Cut || told == BROKEN, "{}: {told:?}", stage.name);
    let seen = stage.upstream.take_seen();
    assert_eq!(seen.len(), 1, "{}: sent {seen:?}", stage.name);
    let what = format!("{}, a reset in a body", stage.name);
    stage.is_good_again(&what, seen[0].connection, Connection::NeverAgain).await;
}

/// Fails when a broken answer is told as another one, a request is sent twice, a connection in doubt
/// is used again, or anything that a request holds is not given back.
#[tokio::test]
async fn every_fault_is_told_once_and_leaves_nothing_behind() {
    every_fault_on(Stage::plain().await).await;
}

/// The same over TLS, where the end of a connection without a word is no end of an answer.
#[tokio::test]
async fn every_fault_is_told_once_and_leaves_nothing_behind_over_tls() {
    let stage = Stage::encrypted().await;
    for request in REQUESTS {
        let unended = bytes(format!("{OK}\r\nup to the end"));
        stage.meets(&Fault::Close(unended), request, &Got::Cut, Connection::NeverAgain).await;
    }
    every_fault_on(stage).await;
}

/// Fails when there is a byte after which a dying upstream passes for one that has answered.
#[tokio::test]
async fn an_answer_that_ends_after_any_byte_is_whole_only_after_the_last() {
    let stage = Stage::plain().await;
    let body = GOOD.find("\r\n\r\n").unwrap() + 4;
    for length in 0..=GOOD.len() {
        let expected = match length {
            length if length < body => BROKEN,
            length if length < GOOD.len() => Got::Cut,
            _ => Got::Whole("good"),
        };
        let fault = Fault::Close(GOOD.as_bytes()[..length].to_vec());
        let request = REQUESTS[length % REQUESTS.len()];
        stage.meets(&fault, request, &expected, Connection::NeverAgain).await;
    }
    let unended = Fault::Close(bytes(format!("{OK}\r\nup to the end")));
    let whole = Got::Whole("up to the end");
    stage.meets(&unended, REQUESTS[0], &whole, Connection::NeverAgain).await;
    stage.ends().await;
}

/// Fails when the answer to a body that is still coming is kept from its client, or the rest of that
/// body becomes a request.
#[tokio::test]
async fn an_answer_before_the_requests_end_is_the_answer() {
    for stage in [Stage::plain().await, Stage::encrypted().await] {
        for (begin, rest) in [
            ("content-length: 10\r\n\r\nhalf ", "a body"),
            ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nmore\r\n0\r\n\r\n"),
        ] {
            for (answer, end, expected) in [
                (GOOD.to_owned(), "good", Got::Whole("good")),
                (GOOD.replace("200 OK", "413 Content Too Large"), "good", Got::Whole("good")),
                (format!("{OK}content-length: x\r\n\r\n"), "}", BROKEN),
            ] {
                let what = format!("{}, {answer:?} before {rest:?}", stage.name);
                stage.upstream.take_seen();
                stage.upstream.breaks(Fault::BeforeItsEnd(answer.into_bytes()));
                let mut client = Raw::connect(stage.scene.door(), stage.scene.record()).await;
                let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\n";
                client.write(format!("{head}{begin}")).await;
                let told = got(&client.read_to(end).await);
                assert_eq!(told, expected, "{what}");
                // Now the rest is nobody's, and no request.
                client.write(rest).await;
                drop(client);
                let seen = stage.upstream.take_seen();
                assert_eq!(seen.len(), 1, "{what}: sent {seen:?}");
                let then = match expected {
                    Got::Whole(_) => Connection::UsedAgain,
                    _ => Connection::NeverAgain,
                };
                stage.is_good_again(&what, seen[0].connection, then).await;
            }
        }
        stage.ends().await;
    }
}

/// Fails when bytes that come after an answer, or the end of a connection that waits, become
/// anybody's answer.
#[tokio::test]
async fn what_comes_on_a_connection_that_waits_is_nobodys_answer() {
    for stage in [Stage::plain().await, Stage::encrypted().await] {
        for later in ["", "x", GOOD] {
            // Of each core's connections one may wait.
            for _ in 0..6 {
                stage.upstream.breaks(Fault::Later(bytes(later)));
                assert_eq!(stage.ask(REQUESTS[0]).await, Got::Whole("good"));
                let broken = stage.upstream.take_seen()[0].connection;
                stage.upstream.goes_on().await;
                let what = format!("{}, later {later:?}", stage.name);
                stage.is_good_again(&what, broken, Connection::NeverAgain).await;
            }
        }
        stage.ends().await;
    }
}

/// Fails when a request that an upstream may have executed is sent again because its connection was
/// one that had waited.
#[tokio::test]
async fn a_connection_that_closes_as_the_next_request_arrives_takes_it_with_it() {
    for stage in [Stage::plain().await, Stage::encrypted().await] {
        for request in REQUESTS {
            stage.upstream.breaks(Fault::AtTheNext);
            assert_eq!(stage.ask(REQUESTS[0]).await, Got::Whole("good"));
            let closing = stage.upstream.take_seen()[0].connection;
            // Sooner or later it is the core with that connection that is asked.
            let told = within(async {
                loop {
                    let told = stage.ask(request).await;
                    let seen = stage.upstream.take_seen();
                    assert!(seen.len() <= 1, "{}: sent {seen:?}", stage.name);
                    if seen.iter().any(|one| one.connection == closing) {
                        break told;
                    }
                }
            });
            assert_eq!(told.await, BROKEN, "{}", stage.name);
            let what = format!("{}, closes at the next", stage.name);
            stage.is_good_again(&what, closing, Connection::NeverAgain).await;
        }
        stage.ends().await;
    }
}

/// Fails when an upstream that reads nothing and says nothing keeps a client beyond the time that it
/// has, or its connection is used again.
#[tokio::test]
async fn an_upstream_that_is_deaf_is_waited_for_no_longer_than_it_has() {
    let stage = Stage::plain().await;
    // Nothing waits any more that could take the request.
    stage.upstream.breaks(Fault::Later(Vec::new()));
    assert_eq!(stage.ask(REQUESTS[0]).await, Got::Whole("good"));
    stage.upstream.goes_on().await;
    stage.upstream.take_seen();
    let before = stage.upstream.connections();
    stage.upstream.breaks(Fault::Deaf);
    let mut client = Raw::connect(stage.scene.door(), stage.scene.record()).await;
    client.write(REQUESTS[0]).await;
    stage.upstream.knocked().await;
    stage.scene.clock.advance(Duration::from_secs(3600));
    let told = got(&client.read_to_end().await);
    assert_eq!(told, Got::Own(504, "upstream_timeout", "http_response_timeout"));
    assert!(stage.upstream.take_seen().is_empty());
    stage.is_good_again("deaf", before, Connection::NeverAgain).await;
    stage.ends().await;
}
