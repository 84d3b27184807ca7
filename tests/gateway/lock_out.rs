//! A login that is refused is not tried until it hurts.

use std::time::Duration;

use doorward::emulator::{Forced, Kind, Totp, User, Vendor};
use doorward::session::Mechanism;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{Scene, Setup, within};
use crate::vendors::{login_line, read};

const MANY: usize = 1000;
/// So many of the `MANY` are under way at a time.
const AT_ONCE: usize = 100;

fn wrong(vendor: Vendor) -> Setup {
    Setup::of(vendor).user(User::new(vendor.seeded_user().login, "not the password"))
}

/// Sends `MANY` reads, `AT_ONCE` at a time; every answer's status and body but for its request id.
async fn many_reads(scene: &Scene) -> Vec<(u16, String)> {
    let mut told = Vec::new();
    let call = read(scene);
    let mut connection = call.http2_connection().await;
    for _ in 0..MANY / AT_ONCE {
        let answers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(connection.send(&call))).collect();
        for answer in answers {
            let answer = within(answer).await.unwrap();
            let mut body = answer.json();
            body.as_object_mut().unwrap().remove("instance");
            told.push((answer.status.as_u16(), body.to_string()));
        }
    }
    told
}

/// How many login calls arrived.
fn logins_sent(scene: &Scene) -> usize {
    let line = login_line(scene.emulator.vendor());
    let records = scene.control().requests();
    let is_login = |record: &&doorward::emulator::RequestRecord| {
        format!("{} {}", record.method, record.target).contains(line)
    };
    records.iter().filter(is_login).count()
}

/// Fails when a refused account is tried again, or when waiters begin logins of their own.
#[tokio::test]
async fn a_wrong_password_costs_one_login_and_everybody_is_told_the_same() {
    for vendor in Vendor::ALL {
        let scene = wrong(vendor).start().await;
        let told = many_reads(&scene).await;
        assert_eq!(told.len(), MANY);
        assert_eq!(told[0].0, 502, "{vendor}: {}", told[0].1);
        assert!(told[0].1.contains(r#""code":"login_refused""#));
        assert!(told.iter().all(|one| *one == told[0]), "{vendor}: not the same for all");
        // Hours later nothing has changed: only another secret, or an operator, opens it again.
        scene.clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(read(&scene).send().await.problem(), "login_refused");

        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (0, 1), "{vendor}");
        assert_eq!((logins_sent(&scene), counters.lockouts), (1, 0), "{vendor}");
        // M-Files is asked once whether its token works; that is part of the login.
        let verification = u64::from(vendor == Vendor::MFiles);
        assert_eq!(counters.requests, 1 + verification, "{vendor}: something got through");
        assert_eq!(counters.requests_without_credential, 0, "{vendor}");
        let ended = scene.stop().await;
        let quarantined = |event: &&doorward::telemetry::Event| {
            matches!(event, doorward::telemetry::Event::Quarantined { .. })
        };
        assert_eq!(ended.events.iter().filter(quarantined).count(), 1, "{vendor}");
    }
}

#[tokio::test]
async fn without_the_lock_out_guard_the_vendor_locks_the_account() {
    let scene = wrong(Vendor::ThoughtSpot).without(Mechanism::LockOutGuard).start().await;
    for _ in 0..10 {
        read(&scene).send().await;
    }
    let counters = scene.control().counters();
    assert!(counters.logins_refused > 3 && counters.lockouts > 0, "{counters:?}");
}

/// Fails when an unclassified refusal is free, or when the last attempt does not quarantine.
#[tokio::test]
async fn a_refusal_that_nobody_classified_never_costs_more_than_the_budget() {
    for (vendor, budget) in
        [(Vendor::Contentstack, 3), (Vendor::ThoughtSpot, 2), (Vendor::MFiles, 3)]
    {
        let scene = Scene::of(vendor).await;
        let odd = Forced {
            matching: login_line(vendor).to_owned(),
            times: u32::MAX,
            status: Some(418),
            body: "I am a teapot".to_owned(),
            ..Forced::default()
        };
        scene.control().force(odd).unwrap();
        let mut codes = Vec::new();
        // Longer than every pause, shorter than the budget's window.
        for _ in 0..12 {
            let calls: Vec<_> = (0..20).map(|_| read(&scene).spawn()).collect();
            for call in calls {
                codes.push(within(call).await.unwrap().problem());
            }
            scene.clock.advance(Duration::from_secs(400));
        }
        assert_eq!(logins_sent(&scene), budget, "{vendor}");
        assert!(codes.iter().all(|code| code == "login_refused" || code == "login_held_back"));
        assert_eq!(codes.last().unwrap(), "login_refused", "{vendor}");
        assert_eq!(scene.control().counters().requests as usize, budget, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a class that only an operator can mend is tried again by itself.
#[tokio::test]
async fn a_locked_account_and_one_with_a_second_factor_are_left_alone() {
    let totp = Totp::from_base32("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
    for vendor in [Vendor::Contentstack, Vendor::ThoughtSpot] {
        for kind in [Kind::Locked, Kind::SecondFactor { secret: totp.clone() }, Kind::SingleSignOn]
        {
            let user = User::new("other@example", "a password of somebody").kind(kind);
            let scene = Setup::of(vendor).user(user.clone()).start().await;
            scene.control().add_user(user);
            for _ in 0..5 {
                assert_eq!(read(&scene).send().await.problem(), "login_refused", "{vendor}");
                scene.clock.advance(Duration::from_secs(1000));
            }
            assert_eq!(logins_sent(&scene), 1, "{vendor}");
            scene.stop().await;
        }
    }
}

/// Fails when a 429 on the login counts as a refusal of the secret, or is tried before its time.
#[tokio::test]
async fn a_throttled_login_waits_as_long_as_the_vendor_says_and_costs_no_attempt() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let busy = Forced {
        matching: login_line(Vendor::Contentstack).to_owned(),
        times: 5,
        status: Some(429),
        headers: vec![("retry-after".to_owned(), "17".to_owned())],
        ..Forced::default()
    };
    scene.control().force(busy).unwrap();
    for round in 1..=5 {
        for _ in 0..10 {
            let answer = read(&scene).send().await;
            assert_eq!((answer.status.as_u16(), answer.one("retry-after")), (503, "17"));
            assert_eq!(answer.json()["retry_after_seconds"], json!(17));
        }
        assert_eq!(logins_sent(&scene), round);
        scene.clock.advance(Duration::from_secs(17));
    }
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a refused renewal of a session that was found dead lets the stale answer through.
#[tokio::test]
async fn a_login_that_fails_after_an_expiry_is_told_as_ours_not_as_the_stale_answer() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    assert_eq!(read(&scene).send().await.status, 200);
    // The password changes at the vendor, which ends the sessions of the old one.
    let login = Vendor::ThoughtSpot.seeded_user().login;
    scene.control().add_user(User::new(login, "a new password"));
    scene.control().expire_sessions();
    for _ in 0..20 {
        let answer = read(&scene).send().await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "login_refused"));
    }
    let counters = scene.control().counters();
    assert_eq!((counters.logins_refused, counters.lockouts), (1, 0));
    assert_eq!(counters.requests_with_dead_credential, 1);
    scene.stop().await;
}

/// Fails when an upstream that cannot be reached costs attempts.
#[tokio::test]
async fn an_upstream_that_is_down_costs_no_attempt() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut setup = Setup::of(Vendor::ThoughtSpot);
    setup.origin = Some(format!("http://{address}"));
    let scene = setup.start().await;
    for _ in 0..6 {
        let first = read(&scene).send().await;
        assert_eq!((first.status.as_u16(), first.problem()), (502, "upstream_unreachable".into()));
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
        scene.clock.advance(Duration::from_secs(400));
    }
    scene.stop().await;
}

/// Listens, and never says a word of TLS: connections are begun and never made.
async fn mute(lines: &str) -> (Setup, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = Setup::of(Vendor::ThoughtSpot);
    setup.origin = Some(format!("https://{}", listener.local_addr().unwrap()));
    setup.upstream = lines.to_owned();
    (setup, listener)
}

/// Fails when the time for an answer runs while a connection is made: nothing was sent, and nobody
/// may count it as an attempt.
#[tokio::test]
async fn a_connection_that_takes_longer_than_an_answer_may_costs_no_attempt() {
    let times = "connect_timeout = \"300ms\"\nresponse_timeout = \"50ms\"";
    let (setup, _listener) = mute(times).await;
    let scene = setup.start().await;
    for _ in 0..4 {
        let first = read(&scene).send().await;
        let told = (first.status.as_u16(), first.problem());
        assert_eq!(told, (504, "upstream_connect_timeout".to_owned()));
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
        scene.clock.advance(Duration::from_secs(400));
    }
    scene.stop().await;
}

/// Fails when a login whose time is up before there is a connection counts as one that may have been
/// sent.
#[tokio::test]
async fn a_login_whose_time_is_up_before_it_is_connected_costs_no_attempt() {
    let (setup, listener) = mute("connect_timeout = \"60s\"").await;
    let scene = setup.tables("\n[timeouts]\nlogin = \"5s\"\n").start().await;
    for _ in 0..4 {
        let call = read(&scene).spawn();
        let _held = within(listener.accept()).await.unwrap();
        // Its time began before it connected.
        scene.clock.advance(Duration::from_secs(5));
        let first = within(call).await.unwrap();
        let told = (first.status.as_u16(), first.problem());
        assert_eq!(told, (504, "upstream_connect_timeout".to_owned()));
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
        scene.clock.advance(Duration::from_secs(400));
    }
    scene.stop().await;
}
