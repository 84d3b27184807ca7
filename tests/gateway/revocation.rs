//! Keys that are revoked while Doorward runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use doorward::access::key::ClientKey;
use doorward::access::tombstones::{self, Outcome};
use doorward::app::StartError;
use doorward::emulator::Vendor;
use doorward::telemetry::{Event, Learned, Revocation};
use tempfile::TempDir;

use crate::client::{Http2Connection, Raw};
use crate::harness::{Scene, Setup, until, within};
use crate::local_login::{logged_in, login};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, ASK, hear_end};

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                      transfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";
const SLOW: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\nconnection: close\r\n\
                    content-length: 15\r\n\r\nfirst ";

struct Place {
    scene: Scene,
    puppet: Puppet,
    alice: ClientKey,
    bob: ClientKey,
    folder: TempDir,
}

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

async fn place() -> Place {
    place_with("").await
}

async fn place_with(upstream: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let (alice, bob) = (key("alice"), key("bob"));
    let puppet = Puppet::logged_in(|request| match request.split(' ').nth(1).unwrap() {
        "/v3/live?room=1" => Reply::hand_over(AGREE),
        "/v3/events" => Reply::hand_over(EVENTS),
        "/v3/slow" => Reply::hand_over(SLOW),
        _ => Reply::json("{}"),
    })
    .await;
    let mut setup: Setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = upstream.to_owned();
    let setup = setup.keys(&[("alice", &alice), ("bob", &bob)]);
    let file = folder.path().join("revoked");
    let setup = setup.tables(&format!("[access]\nrevoked_path = {file:?}\n"));
    Place { scene: setup.start().await, puppet, alice, bob, folder }
}

impl Place {
    fn file(&self) -> PathBuf {
        self.folder.path().join("revoked")
    }

    fn revoke(&self, key: &ClientKey) {
        revoke(&self.file(), key);
    }

    async fn told(&self, key: &ClientKey) -> String {
        let call = self.scene.call("GET", "/v3/x").header("doorward-key", key.expose());
        call.send().await.problem()
    }

    /// Waits until a key is refused on this connection.
    async fn refused_on(&self, connection: &mut Http2Connection, key: &ClientKey) {
        let call = self.scene.call("GET", "/v3/x").header("doorward-key", key.expose());
        let asking = async {
            loop {
                let answer = connection.send(&call).await;
                match answer.problem().as_str() {
                    "" => assert_eq!(answer.status, 200),
                    problem => break assert_eq!(problem, "client_key_revoked"),
                }
                tokio::task::yield_now().await;
            }
        };
        within(asking).await;
    }

    fn revocations(&self) -> Vec<Revocation> {
        let events = self.scene.events().into_iter();
        let revocations = events.filter_map(|event| match event {
            Event::Revocation(revocation) => Some(revocation),
            _ => None,
        });
        revocations.collect()
    }
}

fn revoke(file: &Path, key: &ClientKey) {
    let keys = [(key.digest(), Some(key.id().clone()))];
    assert_eq!(tombstones::append(file, &keys, SystemTime::now()).unwrap(), [Outcome::Revoked]);
}

/// Fails when a revocation needs a restart or a new connection, hits another client, or is forgotten
/// at a start.
#[tokio::test]
async fn a_key_that_is_revoked_is_refused_at_once_on_every_connection_and_for_ever() {
    let mut place = place().await;
    let call = place.scene.call("GET", "/v3/x");
    let mut kept = call.http2_connection().await;
    assert_eq!(
        kept.send(&call.clone().header("doorward-key", place.alice.expose())).await.status,
        200
    );
    place.revoke(&place.alice);
    place.refused_on(&mut kept, &place.alice).await;
    // On every core.
    for _ in 0..8 {
        assert_eq!(place.told(&place.alice).await, "client_key_revoked");
        assert_eq!(place.told(&place.bob).await, "");
    }
    until("it is told", || !place.revocations().is_empty()).await;
    let told = place.revocations();
    assert!(
        matches!(&told[..], [Revocation::Taken { client, key, learned: Learned::Running, .. }]
            if &**client == "alice" && *key == place.alice.digest().beginning()),
        "{told:?}"
    );
    within(place.scene.take_app().stop()).await;
    // The configuration still has the key.
    place.scene.start_again();
    assert_eq!(place.told(&place.alice).await, "client_key_revoked");
    assert_eq!(place.told(&place.bob).await, "");
    until("it is told again", || place.revocations().len() == 2).await;
    assert!(matches!(place.revocations()[1], Revocation::Taken { learned: Learned::AtStart, .. }));
}

/// Fails when a stream outlives its key, or when a request under way does not.
#[tokio::test]
async fn streams_of_a_revoked_key_are_cut_and_other_answers_come_to_their_end() {
    let place = place().await;
    let ask = |path: &str, key: &ClientKey| {
        let key = key.expose();
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ndoorward-key: {key}\r\n\r\n")
    };
    let begin = async |text: String, first: &str| {
        let mut client = Raw::connect(place.scene.door(), place.scene.record()).await;
        client.write(text).await;
        client.read_to(first).await;
        (client, place.puppet.handed_over().await)
    };
    let tunnel = |key: &ClientKey| {
        let field = format!("\r\ndoorward-key: {}\r\n\r\n", key.expose());
        ASK.replace("\r\n\r\n", &field)
    };
    let (cut_tunnel, mut cut_upstream) = begin(tunnel(&place.alice), "101 Switching").await;
    let (mut kept_tunnel, mut kept_upstream) = begin(tunnel(&place.bob), "101 Switching").await;
    let (cut_events, _upstream) = begin(ask("/v3/events", &place.alice), "data: 1").await;
    let (mut slow, mut slow_upstream) = begin(ask("/v3/slow", &place.alice), "first").await;
    place.revoke(&place.alice);
    hear_end(&mut cut_upstream).await;
    assert!(!cut_tunnel.read_to_end().await.contains("late"));
    assert!(!cut_events.read_to_end().await.ends_with("0\r\n\r\n"), "it looks whole");
    tokio::io::AsyncWriteExt::write_all(&mut slow_upstream, b"and last.").await.unwrap();
    slow.read_to("first and last.").await;
    tokio::io::AsyncWriteExt::write_all(&mut kept_upstream, b"still here").await.unwrap();
    kept_tunnel.read_to("still here").await;
    let cut = || {
        let events = place.scene.events();
        let of =
            |event: &&Event| matches!(event, Event::Request(one) if one.reason == "key_revoked");
        events.iter().filter(of).count() == 2
    };
    until("both are told", cut).await;
}

/// Fails when a request that was let in before its key was revoked, and still waits for its turn, is
/// sent.
#[tokio::test]
async fn what_waits_with_a_revoked_key_is_never_sent() {
    let place = place_with("limits = { in_flight_max = 1 }").await;
    assert_eq!(place.told(&place.alice).await, "");
    let slow = place.scene.call("GET", "/v3/slow").header("doorward-key", place.bob.expose());
    let slow = slow.spawn();
    let mut upstream = place.puppet.handed_over().await;
    let call = |key: &ClientKey| {
        place.scene.call("POST", "/v3/late").header("doorward-key", key.expose()).spawn()
    };
    let (alices, bobs) = (call(&place.alice), call(&place.bob));
    until("both wait", || place.scene.waiting() == 2).await;
    place.revoke(&place.alice);
    until("it is told", || !place.revocations().is_empty()).await;
    tokio::io::AsyncWriteExt::write_all(&mut upstream, b"and last.").await.unwrap();
    assert_eq!(within(slow).await.unwrap().status, 200);
    assert_eq!(within(alices).await.unwrap().problem(), "client_key_revoked");
    assert_eq!(within(bobs).await.unwrap().status, 200);
    let sent = place.puppet.calls();
    assert_eq!(sent.iter().filter(|one| one.starts_with("POST /v3/late")).count(), 1, "{sent:?}");
}

/// Fails when a token outlives its key's revocation, or when another client's does not.
#[tokio::test]
async fn tokens_of_a_revoked_key_are_good_no_more_and_their_streams_are_cut() {
    let place = place().await;
    let told = async |token: &str| {
        place.scene.call("GET", "/v3/x").header("authtoken", token).send().await.problem()
    };
    let alices = logged_in(&place.scene, &place.alice).await;
    let bobs = logged_in(&place.scene, &place.bob).await;
    assert_eq!((told(&alices).await, told(&bobs).await), (String::new(), String::new()));
    let mut client = Raw::connect(place.scene.door(), place.scene.record()).await;
    let events =
        format!("GET /v3/events HTTP/1.1\r\nhost: localhost\r\nauthtoken: {alices}\r\n\r\n");
    client.write(events).await;
    client.read_to("data: 1").await;
    let _upstream = place.puppet.handed_over().await;
    place.revoke(&place.alice);
    assert!(!client.read_to_end().await.ends_with("0\r\n\r\n"), "it looks whole");
    assert_eq!(told(&alices).await, "client_token_invalid");
    assert_eq!(told(&bobs).await, "");
    let again = login(&place.scene, place.alice.expose()).send().await;
    assert_eq!(again.problem(), "client_key_revoked");
    let again = login(&place.scene, &alices).send().await;
    assert_eq!(again.problem(), "client_token_invalid");
}

/// Fails when a damaged file lets a start pass, or makes a running gateway forget.
#[tokio::test]
async fn a_damaged_file_is_told_with_its_line_stops_no_gateway_and_starts_none() {
    let mut place = place().await;
    place.revoke(&place.alice);
    until("it is taken", || !place.revocations().is_empty()).await;
    let good = fs::read_to_string(place.file()).unwrap();
    let other = place.folder.path().join("other");
    revoke(&other, &place.bob);
    let bobs = fs::read_to_string(&other).unwrap().lines().nth(1).unwrap().to_owned();
    fs::write(place.file(), format!("{}{bobs}\n", good.replace("alice", "malice"))).unwrap();
    let unreadable = |place: &Place| {
        place.revocations().iter().any(|one| {
            matches!(one, Revocation::Unreadable { why } if why.contains("revoked:2: this line is damaged"))
        })
    };
    until("it is told", || unreadable(&place)).await;
    // What was revoked stays so, and the lines that can be read count.
    assert_eq!(place.told(&place.alice).await, "client_key_revoked");
    assert_eq!(place.told(&place.bob).await, "client_key_revoked");
    within(place.scene.take_app().stop()).await;
    let refused = place.scene.try_start().unwrap_err();
    assert!(matches!(refused, StartError::Revoked(_)), "{refused}");
    fs::write(place.file(), &good).unwrap();
    place.scene.start_again();
    assert_eq!(place.told(&place.bob).await, "");
}

/// Fails when whoever removes the file, or its lines, makes a running gateway take keys again.
#[tokio::test]
async fn a_file_that_loses_its_lines_is_told_and_makes_no_key_good() {
    let place = place().await;
    place.revoke(&place.alice);
    until("it is taken", || !place.revocations().is_empty()).await;
    fs::remove_file(place.file()).unwrap();
    until("it is told", || place.revocations().contains(&Revocation::Missing { keys: 1 })).await;
    assert_eq!(place.told(&place.alice).await, "client_key_revoked");
    // It goes on from there.
    place.revoke(&place.bob);
    until("the next is taken", || place.revocations().len() >= 3).await;
    assert_eq!(place.told(&place.bob).await, "client_key_revoked");
}
