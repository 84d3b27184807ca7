//! The configuration is read again while Doorward runs: what has changed counts from the next request
//! on, and what has not goes on untouched.

use std::fs;
use std::time::SystemTime;

use doorward::access::key::ClientKey;
use doorward::access::tombstones;
use doorward::emulator::{Emulator, Options, User, Vendor};
use doorward::telemetry::{Event, ReloadStage, Stage};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::client::{Call, Raw};
use crate::harness::{Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, hear, tunnel};
use crate::vendors::{login_line, read, read_line};

const VENDOR: Vendor = Vendor::Contentstack;

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

fn read_as(scene: &Scene, key: &ClientKey) -> Call {
    read(scene).header("doorward-key", key.expose())
}

/// Logins, logouts and sessions that are open.
fn sessions(scene: &Scene) -> (u64, u64, u64) {
    let counters = scene.control().counters();
    (counters.logins, counters.logouts, counters.live_sessions)
}

/// Fails when something of a configuration that cannot be used is in force, or when it is not said
/// what is wrong and where.
#[tokio::test]
async fn a_configuration_with_a_fault_changes_nothing_and_is_told_with_its_place() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let before = scene.app().reloader().sha256();
    assert!(scene.app().reloader().last().is_none());
    scene.change_config(
        "[[routes]]\n",
        "[timeouts]\nreqest = \"1s\"\n[[routes]]\npath = \"/elsewhere\"\n",
    );
    let told = scene.fail_to_reload().await;
    assert!(told.contains("doorward.toml:") && told.contains("reqest"), "{told}");
    assert_eq!(read(&scene).send().await.status, 200);
    let last = scene.app().reloader().last().unwrap();
    assert_eq!((last.faults().len(), last.sha256), (1, before.clone()));
    // Once it is repaired it counts.
    scene.change_config("reqest", "request");
    let reloaded = scene.reload().await;
    assert_ne!(reloaded.sha256, before);
    assert_eq!(read(&scene).send().await.problem(), "no_route");
    assert_eq!(sessions(&scene), (1, 0, 1));
    // The same once more is the same.
    assert_eq!(scene.reload().await.sha256, reloaded.sha256);
    scene.stop().await;
}

/// Fails when each of many who ask at once has everything read for itself.
#[tokio::test]
async fn who_asks_while_a_reload_waits_gets_what_that_one_comes_to() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    let asked: Vec<_> = (0..50).map(|_| scene.app().reloader().reload()).collect();
    for reloaded in within(futures_util::future::join_all(asked)).await {
        assert!(reloaded.outcome.is_ok(), "{reloaded}");
    }
    let begun = || {
        let is_begun = |event: &&Event| matches!(event, Event::Reload(reload) if reload.stage == ReloadStage::Begun);
        scene.events().iter().filter(is_begun).count()
    };
    until("they are told of", || begun() > 0).await;
    // One that has begun when others ask, and the one that those share.
    assert!(begun() <= 2, "{}", begun());
    scene.change_config("# here", "canary = 1");
    scene.fail_to_reload().await;
    scene.stop().await;
}

/// Fails when what needs a restart is silently left as it was.
#[tokio::test]
async fn what_cannot_be_changed_is_a_fault_that_names_the_key() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    for (from, to, key) in [
        ("cores = 2", "cores = 1", "runtime.cores"),
        ("# here", "[state]\nkey = { file = \"state_key\" }", "state"),
        ("# here", "[audit]\npath = \"audit.jsonl\"", "audit"),
        ("# here", "[log]\nlevel = \"debug\"", "log"),
        ("# here", "[access_log]\npath = \"access.log\"", "access_log"),
    ] {
        scene.change_config(from, to);
        let told = scene.fail_to_reload().await;
        let expected = format!("`{key}` cannot be changed while Doorward runs");
        assert!(told.contains("doorward.toml:") && told.contains(&expected), "{told}");
        scene.change_config(to, from);
    }
    scene.reload().await;
    scene.stop().await;
}

/// Fails when a request that is under way loses its route, or a new one is let through it.
#[tokio::test]
async fn a_request_under_way_keeps_the_route_that_it_began_with() {
    let scene = Scene::of(VENDOR).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold(read_line(VENDOR));
    let running: Vec<_> = (0..4).map(|_| read(&scene).spawn()).collect();
    within(hold.arrived(4)).await;
    scene.change_config("account = \"user\"\n", "account = \"user\"\npath = \"/elsewhere\"\n");
    scene.reload().await;
    assert_eq!(read(&scene).send().await.problem(), "no_route");
    hold.release();
    for call in running {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    assert_eq!(sessions(&scene), (1, 0, 1));
    scene.stop().await;
}

/// Fails when a download or a tunnel is cut, or its session logged out, because its account, its
/// upstream and its route are gone.
#[tokio::test]
async fn a_download_and_a_tunnel_outlive_the_upstream_that_they_began_with() {
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ncontent-length: 22\r\n\r\n";
    let puppet = Puppet::logged_in(move |request| match request.starts_with("GET /v3/slow") {
        true => Reply::hand_over(format!("{half}first half\n")),
        false => Reply::hand_over(AGREE),
    })
    .await;
    let mut setup = puppet.setup(VENDOR);
    setup.upstream = "streams = \"keep\"".to_owned();
    let scene = setup.start().await;
    let mut download = Raw::connect(scene.door(), scene.record()).await;
    download.write("GET /v3/slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut rest = puppet.handed_over().await;
    download.read_to("first half").await;
    let (mut client, mut upstream) = tunnel(&scene, &puppet).await;

    let other = Emulator::start(VENDOR, Options::default()).await.unwrap();
    scene.change_config(&puppet.origin(), &other.origin());
    scene.change_config("[[routes]]\n", "[[routes]]\npath = \"/other\"\n");
    scene.reload().await;
    assert_eq!(scene.call("GET", "/v3/slow").send().await.problem(), "no_route");
    let logouts = || {
        let requests = puppet.requests();
        requests.iter().filter(|one| one.starts_with("DELETE /v3/user-session")).count()
    };
    rest.write_all(b"other half\n").await.unwrap();
    download.read_to("other half").await;
    client.write("to the upstream").await;
    hear(&mut upstream, "to the upstream").await;
    upstream.write_all(b"to the client").await.unwrap();
    client.read_to("to the client").await;
    assert_eq!(logouts(), 0, "a stream's session was logged out");
    upstream.shutdown().await.unwrap();
    client.end().await;
    until("the session is logged out where it was opened", || logouts() == 1).await;
    scene.stop().await;
}

/// A second account of the same upstream, which clients choose by name.
const SECOND: &str = "[upstreams.vendor.accounts.second]\nusername = \"second@example.com\"\n\
                      password = { file = \"second\", verbatim = true }\n";

/// Fails when the sessions of other accounts do not survive that one comes or goes, or when that of
/// one that is gone stays open.
#[tokio::test]
async fn an_account_comes_and_goes_and_nobody_else_notices() {
    let mut setup = Setup::of(VENDOR).tables("# here\n");
    setup.route = "accounts = []".to_owned();
    let scene = setup.start().await;
    scene.control().add_user(User::new("second@example.com", "the second password"));
    write(scene.folder.path(), "second", "the second password");
    let second = || read(&scene).header("doorward-account", "second");
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(second().send().await.problem(), "account_not_granted");
    scene.change_config("# here\n", SECOND);
    scene.change_config("accounts = []", "accounts = [\"second\"]");
    scene.reload().await;
    assert_eq!(second().send().await.status, 200);
    assert_eq!(sessions(&scene), (2, 0, 2));
    // It is used while it goes: its request ends first.
    let hold = scene.control().hold(read_line(VENDOR));
    let running = second().spawn();
    within(hold.arrived(1)).await;
    scene.change_config(SECOND, "# here\n");
    scene.change_config("accounts = [\"second\"]", "accounts = []");
    scene.reload().await;
    assert_eq!(second().send().await.problem(), "account_not_granted");
    assert_eq!(sessions(&scene), (2, 0, 2), "logged out under a request");
    hold.release();
    assert_eq!(within(running).await.unwrap().status, 200);
    until("the account's session is logged out", || sessions(&scene) == (2, 1, 1)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(sessions(&scene), (2, 1, 1));
    scene.stop().await;
}

/// Fails when a login that is under way while its account goes leaves a session open.
#[tokio::test]
async fn a_login_under_way_for_an_account_that_goes_leaves_nothing_open() {
    let mut setup = Setup::of(VENDOR).tables(SECOND);
    setup.route = "accounts = [\"second\"]".to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "second", "the second password");
    setup.tables = SECOND.replace("\"second\", v", &format!("{file:?}, v"));
    let scene = setup.start().await;
    scene.control().add_user(User::new("second@example.com", "the second password"));
    let hold = scene.control().hold(login_line(VENDOR));
    let asking = read(&scene).header("doorward-account", "second").spawn();
    within(hold.arrived(1)).await;
    // Nobody waits for it any more.
    asking.abort();
    let text = fs::read_to_string(scene.config()).unwrap();
    let (begin, _) = text.split_once("[upstreams.vendor.accounts.second]").unwrap();
    fs::write(scene.config(), begin.replace("accounts = [\"second\"]", "")).unwrap();
    scene.reload().await;
    hold.release();
    until("what it gave is logged out", || sessions(&scene) == (1, 1, 0)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when an upstream that has moved is asked where it was, or its session sent where it is.
#[tokio::test]
async fn an_upstream_that_moves_is_logged_in_to_anew_and_logged_out_where_it_was() {
    let scene = Scene::of(VENDOR).await;
    let other = Scene::of(VENDOR).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.change_config(&scene.emulator.origin(), &other.emulator.origin());
    scene.reload().await;
    assert_eq!(read(&scene).send().await.status, 200);
    until("the old session is logged out", || sessions(&scene) == (1, 1, 0)).await;
    assert_eq!(sessions(&other), (1, 0, 1));
    let issued = scene.control().issued();
    assert!(issued.iter().all(|token| other.control().requests_with(token) == 0));
    within(async {
        let mut scene = scene;
        scene.take_app().stop().await;
    })
    .await;
    assert_eq!(sessions(&other), (1, 1, 0));
    other.stop().await;
}

/// Fails when a session lives on under another recipe than it was opened by, or when a recipe that
/// says the same in other words costs a login.
#[tokio::test]
async fn a_recipe_that_changes_has_its_sessions_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let recipes = doorward::recipe::BUILT_IN;
    let (_, text) = recipes.iter().find(|(name, _)| *name == "contentstack").unwrap();
    let path = write(folder.path(), "mine.toml", text);
    let mut setup = Setup::of(VENDOR);
    setup.recipe = format!("recipe_file = {path:?}");
    let scene = setup.start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    write(folder.path(), "mine.toml", &format!("# The same.\n{text}"));
    scene.reload().await;
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(sessions(&scene), (1, 0, 1));
    write(folder.path(), "mine.toml", "this is no recipe");
    assert!(scene.fail_to_reload().await.contains("mine.toml"));
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(sessions(&scene), (1, 0, 1));
    write(folder.path(), "mine.toml", &text.replace("sessions_max = 5", "sessions_max = 4"));
    scene.reload().await;
    assert_eq!(read(&scene).send().await.status, 200);
    until("the old session is logged out", || sessions(&scene) == (2, 1, 1)).await;
    scene.stop().await;
}

/// Fails when what has nothing to do with sessions costs a login.
#[tokio::test]
async fn how_an_upstream_is_treated_changes_without_a_login() {
    let mut setup = Setup::of(VENDOR).tables("# here\n");
    setup.upstream = "# there".to_owned();
    let scene = setup.start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    for (from, to) in [
        ("# there", "search_bodies = \"off\""),
        ("search_bodies = \"off\"", "response_timeout = \"20s\"\nconnect_timeout = \"3s\""),
        ("response_timeout", "streams = \"close\"\nresponse_timeout"),
        ("# here", "[limits]\nsessions_max = 7\nreplay_body_bytes_max = 4096\n# here"),
        ("# here", "[timeouts]\ndrain = \"9s\"\nsession_idle = \"2h\"\n# here"),
    ] {
        scene.change_config(from, to);
        scene.reload().await;
        assert_eq!(read(&scene).send().await.status, 200, "{to}");
    }
    assert_eq!(sessions(&scene), (1, 0, 1));
    scene.stop().await;
}

/// Fails when a secret that has changed in the configuration breaks before it makes.
#[tokio::test]
async fn a_secret_that_is_kept_elsewhere_is_rotated_to() {
    let scene = Scene::of(VENDOR).await;
    scene.control().switch("sessions_outlive_password", json!(true)).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    let login = VENDOR.seeded_user().login;
    scene.control().add_user(User::new(&login, "the new password"));
    write(scene.folder.path(), "new", "the new password");
    let old = scene.folder.path().join("password");
    let new = scene.folder.path().join("new");
    scene.change_config(&format!("{old:?}"), &format!("{new:?}"));
    scene.reload().await;
    let is_done = |event: &Event| matches!(event, Event::Rotation(rotation) if matches!(rotation.stage, Stage::Done { .. }));
    until("the rotation is done", || scene.events().iter().any(is_done)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    until("the old session is logged out", || sessions(&scene) == (2, 1, 1)).await;
    scene.stop().await;
}

/// Fails when a client keeps what it had: its key, its grants.
#[tokio::test]
async fn a_client_that_loses_its_key_or_its_grant_is_refused_from_the_next_request_on() {
    let (alice, bob) = (key("alice"), key("bob"));
    let scene = Setup::of(VENDOR).keys(&[("alice", &alice), ("bob", &bob)]).start().await;
    let (by_alice, by_bob) = (read_as(&scene, &alice), read_as(&scene, &bob));
    // One connection each, which lives on.
    let mut of_alice = by_alice.http2_connection().await;
    let mut of_bob = by_bob.http2_connection().await;
    assert_eq!(of_alice.send(&by_alice).await.status, 200);
    assert_eq!(of_bob.send(&by_bob).await.status, 200);
    let digest = alice.digest().to_string();
    scene.change_config(
        &format!("[clients.alice]\nkeys = [\"{digest}\"]\ngrants = [{{}}]"),
        &format!("[clients.alice]\nkeys = [\"{digest}\"]\ngrants = [{{ methods = [\"POST\"] }}]"),
    );
    let carol = key("carol");
    scene.change_config(&bob.digest().to_string(), &carol.digest().to_string());
    scene.change_config("[clients.bob]", "[clients.carol]");
    scene.reload().await;
    assert_eq!(of_alice.send(&by_alice).await.problem(), "not_granted");
    assert_eq!(of_bob.send(&by_bob).await.problem(), "client_key_invalid");
    assert_eq!(of_bob.send(&read_as(&scene, &carol)).await.status, 200);
    assert_eq!(sessions(&scene), (1, 0, 1));
    scene.stop().await;
}

/// Fails when a client gets another one's session, or when that of one that is gone stays open.
#[tokio::test]
async fn the_session_of_a_client_that_goes_is_nobodys() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut setup = Setup::of(VENDOR).keys(&[("alice", &alice), ("bob", &bob)]);
    setup.route = "session = \"per-client\"".to_owned();
    let scene = setup.start().await;
    assert_eq!(read_as(&scene, &alice).send().await.status, 200);
    assert_eq!(read_as(&scene, &bob).send().await.status, 200);
    assert_eq!(sessions(&scene), (2, 0, 2));
    // She comes first in the order of names, and so in any numbering.
    let aaron = key("aaron");
    scene.change_config(&alice.digest().to_string(), &aaron.digest().to_string());
    scene.change_config("[clients.alice]", "[clients.aaron]");
    scene.reload().await;
    until("her session is logged out", || sessions(&scene) == (2, 1, 1)).await;
    assert_eq!(read_as(&scene, &bob).send().await.status, 200);
    assert_eq!(sessions(&scene), (2, 1, 1), "his session was not his any more");
    assert_eq!(read_as(&scene, &aaron).send().await.status, 200);
    assert_eq!(sessions(&scene), (3, 1, 2));
    scene.stop().await;
}

/// Fails when a reload gives what was used up back, or a pause that the upstream asked for ends.
#[tokio::test]
async fn what_is_used_of_a_limit_stays_used() {
    let limits = |burst: u32, per: &str| {
        let rate = format!("{{ requests = 1, per = {per:?}, burst = {burst} }}");
        format!("limits = {{ rate = {rate}, waiting_max = 0 }}")
    };
    let mut setup = Setup::of(VENDOR).tables("# here\n");
    setup.upstream = limits(3, "1m");
    let scene = setup.start().await;
    for _ in 0..3 {
        assert_eq!(read(&scene).send().await.status, 200);
    }
    assert_eq!(read(&scene).send().await.problem(), "rate_limited");
    scene.change_config("# here", "# other");
    scene.reload().await;
    assert_eq!(read(&scene).send().await.problem(), "rate_limited", "by a reload");
    scene.change_config(&limits(3, "1m"), &limits(50, "1m"));
    scene.reload().await;
    assert_eq!(read(&scene).send().await.problem(), "rate_limited", "by a larger burst");
    scene.change_config(&limits(50, "1m"), &limits(50, "1s"));
    scene.reload().await;
    scene.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(read(&scene).send().await.status, 200, "the new rate counts");
    assert_eq!(read(&scene).send().await.problem(), "rate_limited");
    scene.stop().await;
}

/// Fails when a login that was refused is tried again because the configuration was read again.
#[tokio::test]
async fn a_quarantine_outlives_reloads() {
    let mut setup = Setup::of(VENDOR);
    setup.user = User::new(&VENDOR.seeded_user().login, "not the password");
    let scene = setup.tables("# here\n").start().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    let refused = scene.control().counters().logins_refused;
    for (from, to) in
        [("# here", "[timeouts]\nlogin = \"9s\""), ("login = \"9s\"", "login = \"8s\"")]
    {
        scene.change_config(from, to);
        scene.reload().await;
        assert_eq!(read(&scene).send().await.problem(), "login_refused");
    }
    // Not even under another name of the account.
    scene.change_config("[upstreams.vendor.accounts.user]", "[upstreams.vendor.accounts.other]");
    scene.change_config("account = \"user\"", "account = \"other\"");
    scene.reload().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    assert_eq!(scene.control().counters().logins_refused, refused);
    scene.stop().await;
}

/// Fails when a key that is revoked is good again after a reload.
#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let (alice, bob) = (key("alice"), key("bob"));
    let setup = Setup::of(VENDOR).keys(&[("alice", &alice), ("bob", &bob)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    let scene = setup.tables(&format!("[access]\nrevoked_path = {file:?}\n")).start().await;
    assert_eq!(read_as(&scene, &alice).send().await.status, 200);
    let keys = [(alice.digest(), Some(alice.id().clone()))];
    tombstones::append(&file, &keys, SystemTime::now()).unwrap();
    within(async {
        while read_as(&scene, &alice).send().await.problem() != "client_key_revoked" {}
    })
    .await;
    let elsewhere = folder.path().join("elsewhere");
    scene.change_config(&format!("{file:?}"), &format!("{elsewhere:?}"));
    scene.reload().await;
    assert_eq!(read_as(&scene, &alice).send().await.problem(), "client_key_revoked");
    assert_eq!(read_as(&scene, &bob).send().await.status, 200);
    scene.stop().await;
}
