//! Tunnels, event streams and long answers keep the session that they began with; the settings say
//! what becomes of them when it is replaced.

use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::Raw;
use crate::harness::{Ended, Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, ASK, hear, hear_end};

/// Sessions that live 1000 s; the token says which login gave it.
const RECIPE: &str = r#"
name = "numbered"
title = "Sessions with a number and an end"

[account]
username = { kind = "login_name" }
password = { kind = "secret" }

[[login.steps]]
name = "log in"
method = "POST"
path = "/login"
json = { username = "{{username}}", password = "{{password}}" }
take.token = { json = "/token" }
take.life = { json = "/life" }

[session]
expires = { value = "life", unit = "seconds" }

[[inject]]
header = "X-Token"
value = "{{token}}"

[[verdict]]
when = { status = [401] }
then = "expired"

[[logout.steps]]
name = "log out"
method = "POST"
path = "/logout"
json = {}
"#;

const LIFE: Duration = Duration::from_secs(1000);
const DRAIN: Duration = Duration::from_secs(30);

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                      transfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";
const SLOW: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\n\
                    content-length: 1000\r\n\r\nfirst half\n";

/// An upstream whose sessions are numbered, and whose streams are the test's.
async fn upstream() -> Puppet {
    let logins = std::sync::atomic::AtomicUsize::new(0);
    let dead = std::sync::Mutex::new(Vec::<String>::new());
    Puppet::start(move |request| {
        let line = request.lines().next().unwrap_or_default();
        let token = token(request);
        match line.split(' ').nth(1).unwrap_or_default() {
            "/login" => {
                let number = logins.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                Reply::json(&format!(r#"{{"token":"session-{number}","life":1000}}"#))
            }
            "/logout" => Reply::json("{}"),
            "/kill" => {
                dead.lock().unwrap().push(token);
                Reply::json("{}")
            }
            _ if dead.lock().unwrap().contains(&token) => {
                Reply::keep("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
            }
            "/tunnel" => Reply::hand_over(AGREE),
            "/events" => Reply::hand_over(EVENTS),
            "/slow" => Reply::hand_over(SLOW),
            _ => Reply::json(&format!(r#"{{"by":{token:?}}}"#)),
        }
    })
    .await
}

/// The token in a request.
fn token(request: &str) -> String {
    let mut tokens = request.lines().filter_map(|line| line.strip_prefix("x-token: "));
    tokens.next().unwrap_or_default().to_owned()
}

/// The tokens of the requests to `path`, in order.
fn tokens(puppet: &Puppet, path: &str) -> Vec<String> {
    let requests = puppet.requests();
    let found = requests.iter().filter(|request| request.contains(&format!(" {path} HTTP")));
    found.map(|request| token(request)).collect()
}

async fn scene(puppet: &Puppet, streams: &str) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "numbered.toml", RECIPE);
    let mut setup: Setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    setup.upstream = format!("streams = {streams:?}\nresponse_timeout = \"1h\"");
    setup = setup.tables(
        "[timeouts]\nrequest = \"2h\"\ntunnel_idle = \"20h\"\nlogin = \"20h\"\n\
         logout = \"20h\"\ndrain = \"30s\"\n",
    );
    (setup.start().await, folder)
}

/// A stream through the gateway: the client's end and the upstream's.
struct Stream {
    client: Raw,
    upstream: TcpStream,
    said: usize,
}

/// The three kinds of streams.
const KINDS: [&str; 3] = ["/tunnel", "/events", "/slow"];

async fn begin(scene: &Scene, puppet: &Puppet, kind: &str) -> Stream {
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    let first = match kind {
        "/tunnel" => {
            client.write(ASK.replace("/v3/live?room=1", kind)).await;
            "\r\n\r\n"
        }
        _ => {
            client.write(format!("GET {kind} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            if kind == "/events" { "data: 1" } else { "first half" }
        }
    };
    let upstream = puppet.handed_over().await;
    client.read_to(first).await;
    Stream { client, upstream, said: 0 }
}

impl Stream {
    /// Whether something still arrives at the client.
    async fn goes_on(&mut self) {
        // As long as a chunk of events must be; a tunnel and half an answer take any bytes. The end
        // of a line is never held back.
        self.said += 1;
        let word = format!("still {}", self.said);
        self.upstream.write_all(format!("8\r\n{word}\n\r\n").as_bytes()).await.unwrap();
        self.client.read_to(&word).await;
    }

    /// Ends the stream at the upstream.
    async fn end(mut self, kind: &str) {
        if kind == "/events" {
            self.upstream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        self.upstream.shutdown().await.unwrap();
        drop(self);
    }
}

/// The session is renewed ahead of its end, and the new one is in use.
async fn replace(scene: &Scene, puppet: &Puppet) {
    let logins = tokens(puppet, "/login").len();
    scene.clock.advance(LIFE - LIFE / 10 * 12 / 10);
    step_until(scene, || tokens(puppet, "/login").len() > logins).await;
    let by = format!(r#"{{"by":"session-{}"}}"#, logins + 1);
    within(async { while scene.call("GET", "/x").send().await.text() != by {} }).await;
}

/// Moves the clock no faster than others can follow, until `holds` is true.
async fn step_until(scene: &Scene, holds: impl Fn() -> bool) {
    let moving = async {
        while !holds() {
            scene.clock.advance(Duration::from_secs(1));
            for _ in 0..500 {
                tokio::task::yield_now().await;
            }
        }
    };
    within(moving).await;
}

fn reasons(ended: &Ended) -> Vec<&'static str> {
    let requests = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) if request.path != "/x" => Some(request.reason),
        _ => None,
    });
    requests.collect()
}

/// Fails when a stream's session is exchanged under it, or is logged out before its last stream has
/// ended.
#[tokio::test]
async fn kept_streams_hold_the_session_that_they_began_with_however_long() {
    for kind in KINDS {
        let puppet = upstream().await;
        let (scene, _folder) = scene(&puppet, "keep").await;
        let mut stream = begin(&scene, &puppet, kind).await;
        replace(&scene, &puppet).await;
        let mut other = begin(&scene, &puppet, "/tunnel").await;
        scene.clock.advance(DRAIN * 3);
        stream.goes_on().await;
        other.goes_on().await;
        assert_eq!(scene.call("GET", "/x").send().await.text(), r#"{"by":"session-2"}"#);
        assert_eq!(tokens(&puppet, kind)[0], "session-1");
        assert!(tokens(&puppet, "/logout").is_empty(), "{kind}: logged out under a stream");
        stream.end(kind).await;
        until("the old session is logged out", || tokens(&puppet, "/logout") == ["session-1"])
            .await;
        other.goes_on().await;
        other.end("/tunnel").await;
        scene.stop().await;
        assert_eq!(tokens(&puppet, "/logout"), ["session-1", "session-2"], "{kind}");
    }
}

/// Fails when a session that was replaced is logged out before the drain time is over, or a stream
/// is cut by us.
#[tokio::test]
async fn drained_streams_have_the_drain_time_and_are_not_cut() {
    for kind in KINDS {
        let puppet = upstream().await;
        let (scene, _folder) = scene(&puppet, "drain").await;
        let mut stream = begin(&scene, &puppet, kind).await;
        replace(&scene, &puppet).await;
        let replaced = scene.clock.now();
        stream.goes_on().await;
        step_until(&scene, || tokens(&puppet, "/logout") == ["session-1"]).await;
        let took = scene.clock.now().saturating_since(replaced);
        assert!(took >= DRAIN - Duration::from_secs(2), "{kind}: logged out after {took:?}");
        // What an upstream does to the streams of a closed session is its own affair.
        stream.goes_on().await;
        stream.end(kind).await;
        scene.stop().await;
    }
}

/// Fails when a stream is left on a session that was replaced.
#[tokio::test]
async fn closed_streams_are_cut_at_once_and_the_session_is_logged_out() {
    for kind in KINDS {
        let puppet = upstream().await;
        let (scene, _folder) = scene(&puppet, "close").await;
        let Stream { client, mut upstream, .. } = begin(&scene, &puppet, kind).await;
        replace(&scene, &puppet).await;
        // The clock stands still from here on.
        let told = client.read_to_end().await;
        assert!(!told.ends_with("0\r\n\r\n"), "cut, but told as whole: {told}");
        hear_end(&mut upstream).await;
        until("the old session is logged out", || tokens(&puppet, "/logout") == ["session-1"])
            .await;
        let ended = scene.stop().await;
        assert_eq!(reasons(&ended), ["session_replaced"], "{kind}");
    }
}

/// Fails when an answer that is no stream is cut with those that are.
#[tokio::test]
async fn an_answer_that_has_only_begun_is_not_cut_with_the_streams() {
    let puppet = upstream().await;
    let (scene, _folder) = scene(&puppet, "close").await;
    let tunnel = begin(&scene, &puppet, "/tunnel").await;
    let idle = LIFE - LIFE / 10 * 12 / 10;
    scene.clock.advance(idle);
    // Its head comes less than 10 s before the session is replaced, as far as can be told: the
    // clock is not moved any further than it must be.
    let mut answers = Vec::new();
    while tokens(&puppet, "/login").len() < 2 {
        answers.push(begin(&scene, &puppet, "/slow").await);
        scene.clock.advance(Duration::from_secs(1));
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }
    tunnel.client.read_to_end().await;
    let mut answer = answers.pop().unwrap();
    answer.goes_on().await;
    // Now it is a stream, too.
    scene.clock.advance(Duration::from_secs(10));
    answer.client.read_to_end().await;
    drop(answers);
    scene.stop().await;
}

/// Fails when the streams of a session that its upstream called dead are cut without need, or its
/// logout does not wait for them.
#[tokio::test]
async fn streams_of_a_dead_session_go_on_unless_they_are_to_be_closed() {
    for (streams, kind) in
        [("keep", "/tunnel"), ("drain", "/events"), ("drain", "/tunnel"), ("close", "/events")]
    {
        let puppet = upstream().await;
        let (scene, _folder) = scene(&puppet, streams).await;
        let mut stream = begin(&scene, &puppet, kind).await;
        scene.call("POST", "/kill").send().await;
        assert_eq!(scene.call("GET", "/x").send().await.text(), r#"{"by":"session-2"}"#);
        match streams {
            "close" => _ = stream.client.read_to_end().await,
            _ => {
                scene.clock.advance(DRAIN * 2);
                stream.goes_on().await;
                assert!(tokens(&puppet, "/logout").is_empty(), "{streams}");
                stream.end(kind).await;
            }
        }
        // The verdict may have been mistaken.
        step_until(&scene, || tokens(&puppet, "/logout") == ["session-1"]).await;
        scene.stop().await;
        assert_eq!(tokens(&puppet, "/logout"), ["session-1", "session-2"], "{streams}");
    }
}

/// Fails when the session that a second login gives again is ended by the logout of the first.
#[tokio::test]
async fn a_session_that_a_login_gives_again_is_not_logged_out() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let puppet = Puppet::logged_in(move |_| {
        match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::keep(
                "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n\
                 content-length: 18\r\n\r\n{\"error_code\":105}",
            ),
            _ => Reply::json("{}"),
        }
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
    scene.clock.advance(DRAIN * 2);
    assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
    scene.stop().await;
    let logouts = puppet.requests().iter().filter(|one| one.starts_with("DELETE")).count();
    assert_eq!(logouts, 1, "{:?}", puppet.requests());
}

/// Defect 7 of other gateways: the second sending has a bound that the answer's body falls under.
/// Fails when the body of an answer counts in the request's time.
#[tokio::test]
async fn a_large_slow_download_that_began_by_replay_completes() {
    let bytes: usize = 3 << 20;
    let mut setup = Setup::of(Vendor::MFiles).tables("[timeouts]\nrequest = \"10s\"\n");
    setup.upstream.push_str("\nresponse_timeout = \"10s\"");
    let scene = setup.start().await;
    let control = scene.control();
    control.switch("download_bytes", json!(bytes)).unwrap();
    // Ten seconds for each further 64 KiB: eight minutes in all.
    control.switch("download_pause_ms", json!(10_000)).unwrap();
    assert_eq!(crate::vendors::read(&scene).send().await.status, 200);
    control.expire_sessions();
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    let vault = doorward::emulator::mfiles::VAULT;
    client
        .write(format!(
            "GET /REST/objects/0/1/latest/files/1/content HTTP/1.1\r\nhost: localhost\r\n\
             x-vault: {vault}\r\nconnection: close\r\n\r\n"
        ))
        .await;
    let head = client.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(control.counters().logins, 2);
    let download = tokio::spawn(client.read_bytes_to_end());
    step_until(&scene, || download.is_finished()).await;
    let answer = download.await.unwrap();
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - body, bytes);
    assert!(answer[body..].iter().enumerate().all(|(at, byte)| *byte as usize == at % 251));
    assert_eq!(control.counters().logins, 2);
    scene.stop().await;
}

/// Fails when a tunnel does not survive what happens to the session of others.
#[tokio::test]
async fn a_tunnel_outlives_many_sessions() {
    let puppet = upstream().await;
    let (scene, _folder) = scene(&puppet, "keep").await;
    let Stream { mut client, mut upstream, .. } = begin(&scene, &puppet, "/tunnel").await;
    for renewal in 2..=5 {
        replace(&scene, &puppet).await;
        client.write("hello").await;
        hear(&mut upstream, "hello").await;
        let by = format!(r#"{{"by":"session-{renewal}"}}"#);
        assert_eq!(scene.call("GET", "/x").send().await.text(), by);
    }
    drop((client, upstream));
    scene.stop().await;
    let mut logouts = tokens(&puppet, "/logout");
    logouts.sort();
    assert_eq!(logouts, (1..=5).map(|number| format!("session-{number}")).collect::<Vec<_>>());
}
