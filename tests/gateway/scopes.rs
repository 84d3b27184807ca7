//! Whose session a request carries: everybody's, or its client's own; of which account.

use doorward::access::key::ClientKey;
use doorward::emulator::{User, Vendor};
use doorward::telemetry::{Event, LetGo};

use crate::client::Call;
use crate::harness::{Scene, Setup, until, within, write};
use crate::vendors::read;

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

fn read_as(scene: &Scene, key: &ClientKey) -> Call {
    read(scene).header("doorward-key", key.expose())
}

/// Fails when the client is no part of the session's key.
#[tokio::test]
async fn each_client_has_a_session_of_its_own_where_the_route_says_so() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.route = "session = \"per-client\"".to_owned();
    let scene = setup.keys(&[("alice", &alice), ("bob", &bob)]).start().await;
    for _ in 0..5 {
        assert_eq!(read_as(&scene, &alice).send().await.status, 200);
        assert_eq!(read_as(&scene, &bob).send().await.status, 200);
    }
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.live_sessions), (2, 2));
    let issued = scene.control().issued();
    let used = issued.iter().filter(|token| scene.control().requests_with(token) == 5);
    assert_eq!(used.count(), 2, "each client used its own");
    scene.stop().await;
}

/// Fails when a login does not wait for room under the recipe's cap.
#[tokio::test]
async fn at_the_cap_of_an_account_the_least_used_session_makes_room() {
    let names = ["a", "b", "c", "d", "e"];
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let folder = tempfile::tempdir().unwrap();
    let (_, text) =
        doorward::recipe::BUILT_IN.iter().find(|(name, _)| *name == "contentstack").unwrap();
    let capped = text.replace("sessions_max = 5", "sessions_max = 2");
    assert!(capped != *text, "the recipe has a cap");
    let path = write(folder.path(), "capped.toml", &capped);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    setup.route = "session = \"per-client\"".to_owned();
    let clients: Vec<_> = names.iter().copied().zip(&keys).collect();
    let scene = setup.keys(&clients).start().await;
    for round in 0..3 {
        for key in &keys {
            assert_eq!(read_as(&scene, key).send().await.status, 200, "round {round}");
            assert!(scene.control().counters().live_sessions <= 2);
            scene.clock.advance(std::time::Duration::from_secs(1));
        }
    }
    // All at once, and more logins than the budget has attempts: each gets its turn.
    let calls: Vec<_> = keys.iter().map(|key| read_as(&scene, key).spawn()).collect();
    for call in calls {
        let answer = within(call).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let ended = scene.stop().await;
    let let_go = |event: &&Event| matches!(event, Event::LetGo { why: LetGo::Room, .. });
    assert!(ended.events.iter().filter(let_go).count() >= 13);
}

/// Fails when the bound on all sessions is not asked.
#[tokio::test]
async fn the_number_of_all_sessions_is_bounded() {
    let names = ["a", "b", "c", "d"];
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let mut setup = Setup::of(Vendor::ThoughtSpot).tables("[limits]\nsessions_max = 2\n");
    setup.route = "session = \"per-client\"".to_owned();
    let clients: Vec<_> = names.iter().copied().zip(&keys).collect();
    let scene = setup.keys(&clients).start().await;
    for key in keys.iter().chain(&keys) {
        assert_eq!(read_as(&scene, key).send().await.status, 200);
        until("there are two at most", || scene.control().counters().live_sessions <= 2).await;
        scene.clock.advance(std::time::Duration::from_secs(1));
    }
    scene.stop().await;
}

/// Fails when a client's choice is not asked, or when any name is taken.
#[tokio::test]
async fn a_client_chooses_among_the_accounts_that_its_route_names() {
    let mut setup = Setup::of(Vendor::Contentstack);
    let folder = tempfile::tempdir().unwrap();
    let other = User::new("other@example.com", "another password");
    let password = write(folder.path(), "other", &other.password);
    setup.route = "accounts = [\"other\"]".to_owned();
    let scene = setup
        .tables(&format!(
            "[upstreams.vendor.accounts.other]\nusername = {:?}\npassword = {{ file = {password:?} }}\n\
             [upstreams.vendor.accounts.hidden]\nusername = \"x\"\npassword = {{ file = {password:?} }}\n",
            other.login
        ))
        .start()
        .await;
    scene.control().add_user(other);
    let who = |name: &'static str| scene.call("GET", "/v3/user").header("doorward-account", name);
    let plain = scene.call("GET", "/v3/user").send().await;
    let user = Vendor::Contentstack.seeded_user().login;
    assert_eq!(plain.json()["user"]["email"], user);
    let chosen = who("other").send().await;
    assert_eq!(chosen.json()["user"]["email"], "other@example.com");
    for name in ["hidden", "user", "nobody", ""] {
        let refused = who(name).send().await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (403, "account_not_granted")
        );
    }
    let twice = who("other").header("doorward-account", "other").send().await;
    assert_eq!(twice.problem(), "account_not_granted");
    let sent = scene.control().requests();
    assert_eq!(sent.iter().filter(|request| request.target == "/v3/user").count(), 2);
    assert_eq!(scene.control().counters().logins, 2);
    scene.stop().await;
}
