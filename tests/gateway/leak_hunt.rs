//! The hunt: whatever an upstream shows of a session, in whatever coding and cut wherever, no run of
//! eight bytes of it reaches the client, neither as it came nor decoded.

use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use doorward::emulator::{User, Vendor, contentstack, mfiles};
use doorward::fields::Fields;
use doorward::forward::coding::{self, Decoded, Decoder};
use doorward::secret::{Search, SecretText};
use doorward::shield::Redactor;
use http::header;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::client::Protocol;
use crate::codings::{CODINGS, Code};
use crate::harness::{Scene, Setup};
use crate::puppet::{Puppet, Reply, TOKEN, session_calls};

/// A shorter part of a secret tells nothing.
const RUN_BYTES: usize = 8;

/// Every run of every form of these secrets.
fn runs(secrets: &[String]) -> HashSet<Vec<u8>> {
    let mut runs = HashSet::new();
    for secret in secrets {
        let wide: Vec<u8> = secret.bytes().flat_map(|byte| [byte, 0]).collect();
        let coded = ["", "a", "ab"].map(|before| {
            let text = BASE64.encode(format!("{before}{secret}").as_bytes());
            let from = (before.len() * 8).div_ceil(6);
            text[from..(before.len() + secret.len()) * 8 / 6].to_owned().into_bytes()
        });
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().into_bytes();
        for form in [secret.clone().into_bytes(), wide, percent].into_iter().chain(coded) {
            runs.extend(form.windows(RUN_BYTES).map(<[u8]>::to_vec));
        }
    }
    runs
}

/// The first run that is there.
fn found(runs: &HashSet<Vec<u8>>, seen: &[u8]) -> Option<String> {
    let run = seen.windows(RUN_BYTES).find(|run| runs.contains(*run));
    run.map(|run| String::from_utf8_lossy(run).into_owned())
}

/// The codings, and none.
fn codes() -> Vec<(&'static str, Code)> {
    CODINGS.into_iter().chain([("identity", <[u8]>::to_vec as Code)]).collect()
}

/// How the next answers are coded and cut.
#[derive(Clone, Copy)]
struct Manner {
    coding: &'static str,
    code: Code,
    /// Nothing for one piece of known length.
    chunk: Option<usize>,
}

/// The bytes of an answer with this body.
fn wire(head: &str, body: &[u8], manner: Manner) -> Vec<u8> {
    let body = (manner.code)(body);
    let mut wire = format!("{head}content-encoding: {}\r\n", manner.coding).into_bytes();
    match manner.chunk {
        None => {
            wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            wire.extend_from_slice(&body);
        }
        Some(length) => {
            wire.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(length) {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
        }
    }
    wire
}

/// A vendor's server whose answers are coded and cut on their way.
struct Relay {
    origin: OnceLock<String>,
    manner: Mutex<Manner>,
    /// What it answered, before it was coded.
    answered: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Relay {
    fn answer(&self, request: &str) -> Reply {
        let host = self.origin.get().unwrap().trim_start_matches("http://");
        let mut upstream = TcpStream::connect(host).unwrap();
        // It is coded here.
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = without(head, &["accept-encoding"]);
        let once = format!("{head}\r\nconnection: close\r\n\r\n{body}");
        upstream.write_all(once.as_bytes()).unwrap();
        // Whoever waits here keeps a worker of the test's.
        upstream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        let end = loop {
            let length = upstream.read(&mut buffer).expect("the vendor's server does not answer");
            answer.extend_from_slice(&buffer[..length]);
            if let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") {
                break end;
            }
            assert_ne!(length, 0, "no whole head");
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let fields = head.to_lowercase();
        assert!(!fields.contains("content-encoding:") && !fields.contains("chunked"), "{head}");
        let length = fields.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        while answer.len() < end + 4 + length {
            let length = upstream.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "no whole body");
            answer.extend_from_slice(&buffer[..length]);
        }
        let body = &answer[end + 4..];
        let target = request.split("\r\n").next().unwrap().trim_end_matches(" HTTP/1.1");
        self.answered.lock().unwrap().push((target.to_owned(), answer.clone()));
        if body.is_empty() {
            return Reply::keep(format!("{}\r\n\r\n", without(&head, &["connection"])));
        }
        let head = without(&head, &["connection", "content-length"]);
        Reply::keep(wire(&format!("{head}\r\n"), body, *self.manner.lock().unwrap()))
    }
}

fn without(head: &str, names: &[&str]) -> String {
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap().to_lowercase();
        !names.contains(&name.as_str())
    };
    head.split("\r\n").filter(is_kept).collect::<Vec<_>>().join("\r\n")
}

/// Every call whose answer shows a token or a session by what is known of the vendor, and whether
/// it gets as far as the vendor.
fn echoes(vendor: Vendor) -> Vec<(&'static str, &'static str, &'static str, bool)> {
    match vendor {
        Vendor::Contentstack => vec![
            ("GET", "/v3/user", "", true),
            ("GET", "/user?include_orgs=true", "", true),
            ("PUT", "/v3/user", r#"{"user":{"first_name":"A"}}"#, false),
            ("POST", "/v3/user-session", r#"{"user":{"email":"a","password":"b"}}"#, false),
        ],
        Vendor::ThoughtSpot => vec![
            ("GET", "/callosum/v1/tspublic/v1/session/info", "", true),
            ("GET", "/callosum/v1/session/info", "", true),
            ("GET", "/prism/preauth/info", "", true),
            ("GET", "/api/rest/2.0/auth/session/user", "", false),
            ("GET", "/api/rest/2.0/auth/session/token", "", false),
            ("POST", "/api/rest/2.0/auth/token/full", "{}", false),
            ("POST", "/api/rest/2.0/auth/token/object", "{}", false),
            ("POST", "/api/rest/2.0/auth/token/custom", "{}", false),
            ("POST", "/callosum/v1/tspublic/v1/session/auth/token", "", false),
            ("POST", "/callosum/v1/tspublic/v1/session/login/token", "", false),
            ("POST", "/callosum/v1/tspublic/v1/session/login", "", false),
        ],
        Vendor::MFiles => vec![
            ("GET", "/REST/session/vaults", "", true),
            ("GET", "/REST/server/vaults", "", true),
            ("GET", "/rest/Session/Vaults.aspx", "", true),
            ("GET", "/REST/session/authenticationtoken", "", false),
            ("POST", "/REST/server/authenticationtokens", "{}", false),
            ("GET", "/REST/session", "", false),
        ],
    }
}

/// Fails when an endpoint that shows the session shows a part of it in any coding.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_endpoint_of_a_vendor_shows_a_run_of_a_secret() {
    for vendor in Vendor::ALL {
        for search in ["identity", "decode"] {
            let relay = Arc::new(Relay {
                origin: OnceLock::new(),
                manner: Mutex::new(Manner { coding: "gzip", code: CODINGS[0].1, chunk: None }),
                answered: Mutex::default(),
            });
            let answering = Arc::clone(&relay);
            let puppet = Puppet::start(move |request| {
                // The vendor's server runs beside this, and must not wait for it.
                tokio::task::block_in_place(|| answering.answer(request))
            })
            .await;
            // No part of its password is a word that answers have anyway.
            let password = "kT9-vX2_mQ7.zL4~wB8+rN\"5".to_owned();
            let user = User { password, ..vendor.seeded_user() };
            let mut setup: Setup = puppet.setup(vendor).user(user.clone());
            setup.upstream.push_str(&format!("\nsearch_bodies = \"{search}\""));
            let scene = setup.start().await;
            scene.control().add_user(user);
            relay.origin.set(scene.emulator.origin()).unwrap();
            for (place, (coding, code)) in codes().into_iter().enumerate() {
                for (number, (method, target, body, _)) in echoes(vendor).into_iter().enumerate() {
                    let chunk = [None, Some(1), Some(13)][(place + number) % 3];
                    *relay.manner.lock().unwrap() = Manner { coding, code, chunk };
                    let protocol = [Protocol::Http1, Protocol::Http2][(place + number) % 2];
                    let call = scene
                        .call(method, target)
                        .header("accept-encoding", "gzip, deflate, br, zstd")
                        .header("api_key", contentstack::API_KEY)
                        .header("x-vault", mfiles::VAULT)
                        .header("content-type", "application/json");
                    let answer = call.body(body).send_by(protocol).await;
                    assert!(answer.status.as_u16() < 500, "{target} {coding}: {answer:?}");
                }
            }
            // The server's first password is not used here.
            let unused = vendor.seeded_user().password;
            let is_used = |secret: &String| secret.len() >= 16 && *secret != unused;
            let secrets: Vec<String> =
                scene.control().issued().into_iter().filter(is_used).collect();
            let runs = runs(&secrets);
            let shown: BTreeSet<String> = {
                let answered = relay.answered.lock().unwrap();
                let shows = answered.iter().filter(|(_, answer)| found(&runs, answer).is_some());
                shows.map(|(request, _)| request.clone()).collect()
            };
            for (method, target, ..) in echoes(vendor).into_iter().filter(|echo| echo.3) {
                let request = format!("{method} {target}");
                assert!(shown.contains(&request), "{request} shows nothing: {shown:?}");
            }
            let seen = scene.stop().await.record.bytes();
            assert_eq!(found(&runs, &seen), None, "{vendor} {search}");
        }
    }
}

/// The next of a row of numbers that looks like chance (Numerical Recipes).
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// Ways to write the token.
fn written(seed: &mut u64) -> Vec<u8> {
    match next(seed) % 8 {
        0 => BASE64.encode(format!("user:{TOKEN}").as_bytes()).into_bytes(),
        1 => BASE64.encode(format!("me:{TOKEN}!").as_bytes()).into_bytes(),
        2 => BASE64.encode(format!("a:{TOKEN} more").as_bytes()).into_bytes(),
        3 => TOKEN.bytes().flat_map(|byte| [byte, 0]).collect(),
        4 => TOKEN.bytes().flat_map(|byte| [0, byte]).collect(),
        5 => format!("{TOKEN}{TOKEN}").into_bytes(),
        _ => TOKEN.as_bytes().to_vec(),
    }
}

/// A body with the token in it, here and there.
fn echo(seed: &mut u64) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..1 + next(seed) % 5 {
        let padding = ["{\"a\": \"", "<b>", "\n", ",", "blt", "word", "...."][next(seed) % 7];
        body.extend_from_slice(padding.repeat(next(seed) % 300).as_bytes());
        // What joins on would be another token in base64.
        body.push(b' ');
        body.extend_from_slice(&written(seed));
        body.push(b'"');
    }
    body
}

/// What an upstream answers that repeats what it was sent, by the number in the target.
fn echoed(request: &str) -> Reply {
    let number = request.split("/v3/").nth(1).unwrap().split(' ').next().unwrap();
    let mut seed = number.parse().unwrap();
    let body = echo(&mut seed);
    let all = codes();
    let (coding, code) = all[next(&mut seed) % all.len()];
    let chunk = [None, Some(1), Some(1 + next(&mut seed) % 60)][next(&mut seed) % 3];
    let percent = utf8_percent_encode(TOKEN, NON_ALPHANUMERIC);
    let head = format!(
        "HTTP/1.1 200 {TOKEN}\r\nx-echo: {TOKEN}\r\nlocation: /?auth={percent}\r\n\
         x-basic: {}\r\nx-{TOKEN}: 1\r\nset-cookie: a={TOKEN}\r\netag: \"{TOKEN}\"\r\n",
        BASE64.encode(format!("user:{TOKEN}").as_bytes()),
    );
    Reply::keep(wire(&head, &body, Manner { coding, code, chunk }))
}

/// Fails when a value passes in a head or a body of an upstream that repeats what it was sent.
#[tokio::test]
async fn an_upstream_that_repeats_everything_shows_no_run_of_the_token() {
    for search in ["identity", "decode"] {
        let puppet = Puppet::logged_in(echoed).await;
        let mut setup: Setup = puppet.setup(Vendor::Contentstack);
        setup.upstream = format!("search_bodies = \"{search}\"");
        let scene: Scene = setup.start().await;
        let runs = runs(&[TOKEN.to_owned()]);
        for number in 0..120_u64 {
            let protocol = [Protocol::Http1, Protocol::Http2][number as usize % 2];
            let call = scene.call("GET", &format!("/v3/{number}"));
            let answer = call.header("accept-encoding", "*").send_by(protocol).await;
            let mut seed = number;
            let sent = echo(&mut seed);
            assert_eq!(answer.body.len(), sent.len(), "{number}");
            assert!(found(&runs, &sent).is_some(), "{number}: nothing was sent");
            assert_eq!(found(&runs, &answer.body), None, "{search} {number}");
        }
        assert_eq!(found(&runs, &scene.stop().await.record.bytes()), None, "{search}");
    }
    assert!(session_calls("GET /v3/0").is_none());
}

/// A text that shows a secret in its forms, and how it is cut.
fn case() -> impl Strategy<Value = (String, Vec<u8>, usize, Vec<usize>)> {
    let secret = "[A-Za-z0-9+/=_%&<>\"'-]{16,60}";
    secret.prop_flat_map(|secret| {
        let forms = SecretText::from(secret.clone()).forms();
        let form = any::<prop::sample::Index>()
            .prop_map(move |form| form.get(&forms).expose().as_bytes().to_vec());
        let noise = prop_oneof![
            "[ -~]{0,80}".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..60),
            (any::<u8>(), 0..40_000_usize).prop_map(|(byte, length)| vec![byte; length]),
        ];
        let text = vec(prop_oneof![form, noise], 1..10).prop_map(|parts| parts.concat());
        let lengths = prop_oneof![Just(vec![1]), vec(1..3000_usize, 1..9)];
        (Just(secret), text, 0..CODINGS.len(), lengths)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Fails when a coding, or the edges of chunks before and behind the decoder, change what is
    /// replaced.
    #[test]
    fn whatever_the_coding_and_the_chunks_the_same_is_replaced(
        (secret, text, coding, lengths) in case(),
    ) {
        let (coding, code) = CODINGS[coding];
        let forms = SecretText::from(secret.clone()).forms();
        let mut expected = text.clone();
        for form in forms.iter().map(|form| form.expose().as_bytes()) {
            for at in (0..text.len()).filter(|at| form.len() >= 16 && text[*at..].starts_with(form)) {
                expected[at..at + form.len()].fill(b'*');
            }
        }
        let headers = Fields::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())]);
        let mut decoder = Decoder::new(&coding::codings(&headers).unwrap());
        let secret = SecretText::from(secret);
        let mut redactor = Redactor::new(Arc::new(Search::new([&secret].into_iter())));
        let (mut rest, mut lengths) = (Bytes::from(code(&text)), lengths.iter().cycle());
        let mut out = Vec::new();
        loop {
            match decoder.next_content().unwrap() {
                Decoded::Content(content) => {
                    let passed = redactor.push(content);
                    out.extend_from_slice(&passed.before);
                    out.extend_from_slice(&passed.now);
                }
                Decoded::Hungry if rest.is_empty() => decoder.finish(),
                Decoded::Hungry => {
                    decoder.push(rest.split_to((*lengths.next().unwrap()).min(rest.len())));
                }
                Decoded::End => break,
            }
        }
        out.extend_from_slice(&redactor.finish());
        prop_assert!(out == expected, "{coding}");
    }
}
