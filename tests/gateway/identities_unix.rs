//! Clients that show who they are by the process at the other end of a Unix socket.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use nix::unistd::{Group, User, getegid, geteuid};
use tempfile::TempDir;

use crate::client::Protocol;
use crate::harness::{Scene, Setup};
use crate::local_login::{cookie, logged_in, login, read_with};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

/// A Unix socket with these clients, and the upstream behind it.
async fn scene(clients: &str) -> (Scene, Puppet, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup: Setup = puppet.setup(Vendor::Contentstack);
    setup.address = format!("unix:{}", folder.path().join("doorward.sock").display());
    setup.listener = "access = \"clients\"".to_owned();
    (setup.tables(clients).start().await, puppet, folder)
}

async fn told(scene: &Scene, key: Option<&ClientKey>, protocol: Protocol) -> String {
    let mut call = scene.call("GET", "/v3/x");
    if let Some(key) = key {
        call = call.header("doorward-key", key.expose());
    }
    let answer = call.send_by(protocol).await;
    match answer.problem().as_str() {
        "" => answer.status.as_u16().to_string(),
        problem => problem.to_owned(),
    }
}

fn client(name: &str, ways: &str) -> String {
    format!("[clients.{name}]\ngrants = [{{}}]\n{ways}\n")
}

/// Fails when the process is not looked at, or when its user or group need not be the one that is
/// named.
#[tokio::test]
async fn a_process_is_the_client_whose_user_or_group_it_has() {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let user = User::from_uid(geteuid()).unwrap().unwrap().name;
    let group = Group::from_gid(getegid()).unwrap().unwrap().name;
    let (other_uid, other_gid) = (uid + 1, gid + 1);
    for (owner, expected) in [
        (format!("uid = {uid}"), "200"),
        (format!("user = {user:?}"), "200"),
        (format!("gid = {gid}"), "200"),
        (format!("group = {group:?}"), "200"),
        (format!("uid = {other_uid}"), "client_key_missing"),
        (format!("gid = {other_gid}"), "client_key_missing"),
    ] {
        let ways = format!("unix = [{{ {owner} }}]");
        let (scene, puppet, _folder) = scene(&client("alice", &ways)).await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            assert_eq!(told(&scene, None, protocol).await, expected, "{owner}");
        }
        assert_eq!(puppet.calls().len(), if expected == "200" { 2 } else { 0 }, "{owner}");
        if expected != "200" {
            let detail = scene.call("GET", "/v3/x").send().await.json()["detail"].to_string();
            assert!(detail.contains("connect as a user"), "{detail}");
            assert!(!detail.contains("key"), "nobody has a key: {detail}");
        }
    }
}

/// Fails when two clients can be one process, or a process another client than its key.
#[tokio::test]
async fn a_process_or_a_key_of_two_clients_is_neithers() {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let [alice, bob] = ["alice", "bob"].map(|name| ClientKey::generate(name.parse().unwrap()));
    let (alice, bob) = (alice.unwrap(), bob.unwrap());
    let keys = |key: &ClientKey| format!("keys = [\"{}\"]", key.digest());
    let both = client("alice", &format!("unix = [{{ uid = {uid} }}]"))
        + &client("bob", &format!("unix = [{{ gid = {gid} }}]"));
    let (two, _puppet, _folder) = scene(&both).await;
    assert_eq!(told(&two, None, Protocol::Http1).await, "client_conflicting");
    let ways = format!("unix = [{{ uid = {uid} }}]\n{}", keys(&alice));
    let one = client("alice", &ways) + &client("bob", &keys(&bob));
    let (one, _puppet, _folder) = scene(&one).await;
    assert_eq!(told(&one, None, Protocol::Http1).await, "200");
    assert_eq!(told(&one, Some(&alice), Protocol::Http1).await, "200");
    assert_eq!(told(&one, Some(&bob), Protocol::Http1).await, "client_conflicting");
}

/// A vendor's emulator behind a socket at which this process is Alice, who has a key too, as Bob has.
async fn at_home(vendor: Vendor) -> (Scene, ClientKey, ClientKey, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| ClientKey::generate(name.parse().unwrap()));
    let (alice, bob) = (alice.unwrap(), bob.unwrap());
    let mut setup = Setup::of(vendor);
    setup.address = format!("unix:{}", folder.path().join("doorward.sock").display());
    let setup = setup.tables("[timeouts]\nclient_token = \"10m\"\n").keys(&[("bob", &bob)]);
    let ways = format!("keys = [\"{}\"]\nunix = [{{ uid = {} }}]", alice.digest(), geteuid());
    let scene = setup.tables(&client("alice", &ways)).start().await;
    (scene, alice, bob, folder)
}

/// Fails when a client without a key cannot use an SDK that logs in, or is given a token for none.
#[tokio::test]
async fn who_is_a_client_by_its_process_logs_in_with_any_password_and_gets_no_token() {
    for vendor in Vendor::ALL {
        let (scene, alice, bob, _folder) = at_home(vendor).await;
        for password in ["", "a person's password"] {
            let answer = login(&scene, password).send().await;
            assert!(answer.status.is_success(), "{vendor}: {answer:?}");
            let given = match vendor {
                Vendor::Contentstack => {
                    answer.json()["user"]["authtoken"].as_str().map(str::to_owned)
                }
                Vendor::ThoughtSpot => cookie(&answer, "JSESSIONID"),
                Vendor::MFiles => answer.json()["Value"].as_str().map(str::to_owned),
            };
            let given = given.unwrap();
            assert!(!given.contains("doorward_T_"), "{vendor}: {answer:?}");
            assert_eq!(read_with(&scene, &given).send().await.status, 200, "{vendor}");
        }
        let wrong = login(&scene, bob.expose()).send().await;
        assert_eq!(wrong.problem(), "client_conflicting", "{vendor}");
        // Who has a key as well may use it, and is no worse off when its token has ended.
        let token = logged_in(&scene, &alice).await;
        scene.clock.advance(Duration::from_secs(700));
        assert_eq!(read_with(&scene, &token).send().await.status, 200, "{vendor}");
        let bobs = ClientKey::expose(&bob);
        let both = read_with(&scene, &token).header("x-api-key", bobs).send().await;
        assert_eq!(both.problem(), "client_conflicting", "{vendor}");
        assert_eq!(scene.control().counters().logins_refused, 0, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a page of another site can use a connection that shows a client by itself.
#[tokio::test]
async fn a_connection_alone_is_no_proof_for_pages_of_other_sites() {
    let (scene, alice, _bob, _folder) = at_home(Vendor::Contentstack).await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let page = read(&scene).header(name, value);
        assert_eq!(page.clone().send().await.problem(), "cross_origin", "{name}: {value}");
        // Its cookies and what is no token are no better.
        let cookies = page.clone().header("cookie", "a=doorward_T_AAAA").send().await;
        assert_eq!(cookies.problem(), "cross_origin", "{name}: {value}");
        assert_eq!(page.header("x-api-key", alice.expose()).send().await.status, 200);
        let login = login(&scene, "x").header(name, value).send().await;
        assert_eq!(login.problem(), "cross_origin", "{name}: {value}");
    }
    let own = read(&scene).header("origin", "http://localhost");
    assert_eq!(own.header("sec-fetch-site", "same-origin").send().await.status, 200);
    scene.stop().await;
}
