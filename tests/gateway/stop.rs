//! The stop: running requests end, then every session is logged out, all within their bounds.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{User, Vendor};
use doorward::session::Mechanism;

use crate::client::Raw;
use crate::harness::{Scene, Setup, refused, until, within, write};
use crate::vendors::{login_line, logout_line, read, read_line};

/// Fails when sessions are not logged out at stop, or are before the last request has ended.
#[tokio::test]
async fn running_requests_end_and_then_every_session_is_logged_out() {
    for vendor in Vendor::ALL {
        let mut scene = Scene::of(vendor).await;
        let hold = scene.control().hold(read_line(vendor));
        let running: Vec<_> = (0..10).map(|_| read(&scene).spawn()).collect();
        within(hold.arrived(10)).await;
        let door = scene.door().clone();
        let stopping = tokio::spawn(scene.take_app().stop());
        refused(&door).await;
        assert_eq!(scene.control().counters().live_sessions, 1, "{vendor}: logged out too early");
        hold.release();
        for call in running {
            assert_eq!(within(call).await.unwrap().status, 200, "{vendor}");
        }
        let report = within(stopping).await.unwrap();
        assert_eq!((report.confirmed, report.unconfirmed), (1, 0), "{vendor}");
        let counters = scene.control().counters();
        assert_eq!((counters.live_sessions, counters.logouts), (0, 1), "{vendor}");
        scene.ended().assert_no_leak();
    }
}

#[tokio::test]
async fn without_logout_a_session_stays_open() {
    let setup = Setup::of(Vendor::Contentstack).without(Mechanism::Logout);
    let mut scene = setup.start().await;
    read(&scene).send().await;
    let report = within(scene.take_app().stop()).await;
    assert_eq!(report.unconfirmed, 1);
    assert_eq!(scene.control().counters().live_sessions, 1);
}

/// Fails when a request that never ends holds the stop for ever, or keeps its session from the
/// logout.
#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_drain_time() {
    let tables = "[timeouts]\nrequest = \"2h\"\ndrain = \"30s\"\n";
    let mut setup = Setup::of(Vendor::MFiles).tables(tables);
    setup.upstream.push_str("\nresponse_timeout = \"2h\"");
    let mut scene = setup.start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold(read_line(Vendor::MFiles));
    let endless = tokio::spawn(read(&scene).try_send_by(crate::client::Protocol::Http1));
    within(hold.arrived(1)).await;
    scene.stop_cutting_off(Duration::from_secs(30)).await;
    assert!(within(endless).await.unwrap().is_err());
    assert_eq!(scene.control().counters().live_sessions, 0);
}

/// Fails when a logout that hangs is waited for beyond its bound.
#[tokio::test]
async fn a_logout_that_hangs_ends_at_its_bound_and_is_told_as_unconfirmed() {
    for vendor in Vendor::ALL {
        let mut scene = Scene::of(vendor).await;
        read(&scene).send().await;
        let hold = scene.control().hold(logout_line(vendor));
        let stopping = tokio::spawn(scene.take_app().stop());
        within(hold.arrived(1)).await;
        assert!(!stopping.is_finished());
        scene.clock.advance(Duration::from_secs(6));
        let report = within(stopping).await.unwrap();
        assert_eq!((report.confirmed, report.unconfirmed), (0, 1), "{vendor}");
    }
}

/// Fails when a login that lands while Doorward stops is forgotten.
#[tokio::test]
async fn a_login_under_way_at_the_stop_leaves_no_session_open() {
    for vendor in Vendor::ALL {
        let mut scene = Scene::of(vendor).await;
        let login = scene.control().hold(login_line(vendor));
        let leaving = read(&scene).spawn();
        within(login.arrived(1)).await;
        leaving.abort();
        let stopping = tokio::spawn(scene.take_app().stop());
        login.release();
        within(stopping).await.unwrap();
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.live_sessions), (1, 0), "{vendor}");
    }
}

/// Fails when a session that a late login gives is dropped once the others have been taken out.
#[tokio::test]
async fn a_login_that_lands_after_the_other_sessions_were_taken_out_is_logged_out_too() {
    let other = Scene::of(Vendor::ThoughtSpot).await;
    let password = other.folder.path().join("password");
    let tables = format!(
        "[upstreams.other]\nurl = {:?}\nrecipe = \"thoughtspot\"\n\
         [upstreams.other.accounts.user]\nusername = {:?}\n\
         password = {{ file = {password:?}, verbatim = true }}\n\
         [[routes]]\npath = \"/callosum\"\nupstream = \"other\"\n",
        other.emulator.origin(),
        Vendor::ThoughtSpot.seeded_user().login,
    );
    let mut scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    let target = "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK";
    assert_eq!(scene.call("GET", target).send().await.status, 200);
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let leaving = read(&scene).spawn();
    within(login.arrived(1)).await;
    leaving.abort();

    let logout = other.control().hold(logout_line(Vendor::ThoughtSpot));
    let stopping = tokio::spawn(scene.take_app().stop());
    // The clock moves no further than it must for the other session's logout to begin.
    let begun = async {
        while logout.waiting() == 0 {
            scene.clock.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    within(begun).await;
    login.release();
    until("the late session is logged out", || {
        let counters = scene.control().counters();
        (counters.logins, counters.live_sessions) == (1, 0)
    })
    .await;
    logout.release();
    let report = within(stopping).await.unwrap();
    assert_eq!((report.confirmed, report.unconfirmed), (2, 0));
    other.stop().await;
}

/// Fails when an idle connection is waited for at the stop.
#[tokio::test]
async fn idle_connections_do_not_hold_the_stop() {
    let mut scene = Scene::of(Vendor::ThoughtSpot).await;
    let mut used = Raw::connect(scene.door(), scene.record()).await;
    used.write("GET /api/rest/2.0/auth/session/user HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    used.read_to("}").await;
    let _silent = Raw::connect(scene.door(), scene.record()).await;
    // Both clocks stand still: only the connections' own end can end the stop.
    let report = within(scene.take_app().stop()).await;
    assert_eq!((report.confirmed, report.unconfirmed), (1, 0));
}

/// Fails when the cores of an `App` live on after it: the runtime would wait for them for ever.
#[tokio::test]
async fn a_gateway_that_is_dropped_accepts_nothing_more() {
    let mut scene = Scene::of(Vendor::Contentstack).await;
    let door = scene.door().clone();
    drop(scene.take_app());
    refused(&door).await;
}

/// Fails when a login that waits for room gets what the stop has freed, and begins.
#[tokio::test]
async fn a_login_that_waits_for_room_is_not_sent_while_doorward_stops() {
    // Which of two things that are ready is seen first is chance: a few rounds.
    for _ in 0..8 {
        let keys = ["a", "b"].map(|name| ClientKey::generate(name.parse().unwrap()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let recipe = include_str!("../../config/recipes/contentstack.toml")
            .replace("sessions_max = 5", "sessions_max = 1");
        let recipe = write(folder.path(), "one.toml", &recipe);
        let mut setup = Setup::of(Vendor::Contentstack).keys(&[("a", &keys[0]), ("b", &keys[1])]);
        setup.recipe = format!("recipe_file = {recipe:?}");
        setup.route = "session = \"per-client\"\naccounts = [\"other\"]".to_owned();
        let other = User::new("other@example.com", "another password");
        let password = write(folder.path(), "other", &other.password);
        let mut scene = setup
            .tables(&format!(
                "[timeouts]\nlogin = \"1h\"\nlogout = \"1h\"\n[upstreams.vendor.accounts.other]\nusername = {:?}\npassword = {{ file = {password:?} }}\n",
                other.login
            ))
            .start()
            .await;
        scene.control().add_user(other);
        let read_as =
            |scene: &Scene, key: &ClientKey| read(scene).header("doorward-key", key.expose());
        assert_eq!(read_as(&scene, &keys[0]).send().await.status, 200);
        let of_other = read_as(&scene, &keys[0]).header("doorward-account", "other");
        assert_eq!(of_other.send().await.status, 200);
        let hold = scene.control().hold(logout_line(Vendor::Contentstack));
        let waiting = read_as(&scene, &keys[1]).spawn();
        within(hold.arrived(1)).await;
        let door = scene.door().clone();
        let stopping = tokio::spawn(scene.take_app().stop());
        refused(&door).await;
        // The running request is cut, and its login goes on waiting until the session of the other
        // account is logged out: then sessions are stopped, too.
        scene.clock.advance(Duration::from_secs(31));
        within(hold.arrived(2)).await;
        drop(hold);
        within(stopping).await.unwrap();
        waiting.abort();
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.live_sessions), (2, 0));
    }
}
