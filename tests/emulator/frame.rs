//! What every emulator does, whosever server it is: protocols, control, admin.

use std::time::{Duration, SystemTime};

use doorward::clock::Clock;
use doorward::emulator::{Certificate, Emulator, Forced, Options, Vendor};
use serde_json::json;

use crate::client::call;

async fn started(vendor: Vendor) -> Emulator {
    Emulator::start(vendor, Options::default()).await.unwrap()
}

#[tokio::test]
async fn http_1_and_http_2_are_served_on_one_port() {
    let emulator = started(Vendor::Contentstack).await;
    let first = call(&emulator, "GET", "/a").send().await;
    let second = call(&emulator, "GET", "/a").send_h2().await;
    assert_eq!(first.status, second.status);
    assert_eq!(emulator.control().counters().requests, 2);
    emulator.stop().await;
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_and_speaks_what_the_client_offers() {
    let certificate = Certificate::for_names(&["localhost", "127.0.0.1"]).unwrap();
    let authority = certificate.authority_pem().to_owned();
    let options = Options { tls: Some(certificate), ..Options::default() };
    let emulator = Emulator::start(Vendor::MFiles, options).await.unwrap();
    for offered in ["h2", "http/1.1"] {
        let (_, chosen) = call(&emulator, "GET", "/a").send_tls(&authority, &[offered]).await;
        assert_eq!(chosen, offered);
    }
    assert!(emulator.origin().starts_with("https://localhost:"));
    emulator.stop().await;
}

#[tokio::test]
async fn the_raw_target_is_recorded_as_it_was_sent() {
    let emulator = started(Vendor::MFiles).await;
    let target = "/REST//views/a%252Fb/../%c3%A9/items?q=a%20b+c&auth=";
    call(&emulator, "GET", target).header("X-One", "1").body("four").send().await;
    let records = emulator.control().requests();
    assert_eq!(records[0].target, target);
    assert_eq!(records[0].header_names, ["host", "x-one", "content-length"]);
    assert!(records[0].status.is_some());
    emulator.stop().await;
}

#[tokio::test]
async fn a_forced_answer_with_a_status_replaces_the_real_one_so_many_times() {
    let emulator = started(Vendor::Contentstack).await;
    let forced = Forced {
        matching: "GET /busy".into(),
        times: 2,
        status: Some(429),
        headers: vec![("retry-after".into(), "7".into())],
        body: "later".into(),
        ..Forced::default()
    };
    emulator.control().force(forced).unwrap();
    assert_ne!(call(&emulator, "GET", "/other").send().await.status, 429);
    for _ in 0..2 {
        let answer = call(&emulator, "GET", "/busy").send().await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (429, "later"));
        assert_eq!(answer.all("retry-after"), ["7"]);
    }
    assert_ne!(call(&emulator, "GET", "/busy").send().await.status, 429);
    assert_eq!(emulator.control().counters().forced, 2);
    emulator.stop().await;
}

#[tokio::test]
async fn a_forced_reset_loses_the_answer() {
    let emulator = started(Vendor::Contentstack).await;
    emulator.control().force(Forced { reset: true, ..Forced::default() }).unwrap();
    assert!(call(&emulator, "GET", "/a").try_send().await.is_err());
    assert_eq!(emulator.control().requests()[0].status, None);
    assert!(call(&emulator, "GET", "/a").try_send().await.is_ok());
    emulator.stop().await;
}

#[tokio::test]
async fn a_forced_delay_runs_on_the_emulators_clock() {
    let clock = Clock::manual(SystemTime::now());
    let options = Options { clock: clock.clone(), ..Options::default() };
    let emulator = Emulator::start(Vendor::Contentstack, options).await.unwrap();
    let hour = Duration::from_secs(3600);
    emulator.control().force(Forced { delay: hour, ..Forced::default() }).unwrap();

    let slow = tokio::spawn(call(&emulator, "GET", "/slow").send());
    while emulator.control().counters().forced == 0 {
        tokio::task::yield_now().await;
    }
    call(&emulator, "GET", "/quick").send().await;
    assert!(!slow.is_finished());
    clock.advance(hour);
    slow.await.unwrap();
    emulator.stop().await;
}

#[tokio::test]
async fn held_answers_wait_until_they_are_released() {
    let emulator = started(Vendor::Contentstack).await;
    let hold = emulator.control().hold("GET /held");
    let calls: Vec<_> =
        (0..3).map(|_| tokio::spawn(call(&emulator, "GET", "/held").send())).collect();
    hold.arrived(3).await;
    call(&emulator, "GET", "/free").send().await;
    assert!(calls.iter().all(|held| !held.is_finished()));
    hold.release();
    for held in calls {
        held.await.unwrap();
    }
    call(&emulator, "GET", "/held").send().await;
    emulator.stop().await;
}

#[tokio::test]
async fn stopping_ends_held_connections_and_frees_the_port() {
    let emulator = started(Vendor::Contentstack).await;
    let address = emulator.address();
    let control = emulator.control().clone();
    let hold = control.hold("");
    let held = tokio::spawn(call(&emulator, "GET", "/held").try_send());
    let stream = tokio::spawn(call(&emulator, "GET", "/held").send_h2());
    hold.arrived(2).await;
    emulator.stop().await;
    // Nobody waits any more: the tasks have ended, not only their connections.
    assert_eq!(hold.waiting(), 0);
    assert!(held.await.unwrap().is_err());
    assert!(stream.await.is_err());
    let again = Options { address, ..Options::default() };
    Emulator::start(Vendor::Contentstack, again).await.unwrap().stop().await;
}

#[tokio::test]
async fn everything_of_the_control_is_served_to_other_languages() {
    let emulator = started(Vendor::Contentstack).await;
    let admin = |method: &str, path: &str| call(&emulator, method, &format!("/__admin/{path}"));

    call(&emulator, "GET", "/a").send().await;
    assert_eq!(admin("GET", "counters").send().await.json()["requests"], 1);
    assert_eq!(admin("GET", "requests").send().await.json()[0]["target"], "/a");
    assert_eq!(admin("POST", "counters/reset").send().await.status, 204);
    assert_eq!(admin("GET", "counters").send().await.json()["requests"], 0);

    let forced = json!({ "matching": "GET /b", "status": 503, "delay_ms": 1 });
    assert_eq!(admin("POST", "force").json(&forced).send().await.status, 204);
    assert_eq!(call(&emulator, "GET", "/b").send().await.status, 503);
    let forced = json!({ "status": 1 });
    assert_eq!(admin("POST", "force").json(&forced).send().await.status, 400);

    let hold = admin("POST", "hold").json(&json!({ "matching": "/c" })).send().await.json();
    let hold = hold["hold"].as_u64().unwrap();
    let (arrived, release) = (format!("hold/{hold}?arrived=1"), format!("hold/{hold}/release"));
    let held = tokio::spawn(call(&emulator, "GET", "/c").send());
    let waiting = admin("GET", &arrived).send().await.json();
    assert_eq!(waiting["waiting"], 1);
    assert_eq!(admin("POST", &release).send().await.status, 204);
    held.await.unwrap();

    let before = admin("GET", "clock").send().await.json()["wall_ms"].as_u64().unwrap();
    let hour = json!({ "advance_ms": 3_600_000 });
    assert_eq!(admin("POST", "clock").json(&hour).send().await.status, 204);
    let after = admin("GET", "clock").send().await.json()["wall_ms"].as_u64().unwrap();
    assert!(after >= before + 3_600_000);

    let user = json!({ "login": "new", "password": "a new password", "kind": "locked" });
    assert_eq!(admin("POST", "users").json(&user).send().await.status, 204);
    let issued = admin("GET", "issued").send().await.json();
    assert!(issued.as_array().unwrap().contains(&json!("a new password")));

    let kind = json!({ "second_factor": { "secret": "JBSWY3DPEHPK3PXP" } });
    let user = json!({ "login": "two", "password": "a second password", "kind": kind });
    assert_eq!(admin("POST", "users").json(&user).send().await.status, 204);

    let turn = json!({ "name": "no such switch", "value": 1 });
    assert_eq!(admin("POST", "switches").json(&turn).send().await.status, 400);
    assert_eq!(admin("POST", "expire").json(&json!({})).send().await.json()["expired"], 0);
    emulator.stop().await;
}

#[tokio::test]
async fn the_judges_door_is_shut_to_requests_that_came_through_a_proxy() {
    let emulator = started(Vendor::Contentstack).await;
    let answer = call(&emulator, "GET", "/__admin/issued").header("via", "1.1 x").send().await;
    assert_ne!(answer.status, 200);
    emulator.stop().await;
}
