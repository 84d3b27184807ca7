//! Three gateways that know nothing of each other log in with one account.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{Control, Vendor};
use doorward::telemetry::Event;
use serde_json::json;

use crate::harness::{Scene, Setup};
use crate::leaks::leaks;
use crate::vendors::read;

const CLIENTS: [&str; 3] = ["alice", "bob", "carol"];

/// Three gateways in front of the first one's vendor.
struct Three {
    scenes: Vec<Scene>,
}

impl Three {
    /// With `third` as the last one.
    async fn start(third: Setup) -> Self {
        let mut scenes = vec![Scene::of(Vendor::Contentstack).await];
        let origin = scenes[0].emulator.origin();
        for mut setup in [Setup::of(Vendor::Contentstack), third] {
            setup.origin = Some(origin.clone());
            scenes.push(setup.start().await);
        }
        Self { scenes }
    }

    /// The vendor's judge.
    fn control(&self) -> &Control {
        self.scenes[0].control()
    }

    fn advance(&self, by: Duration) {
        self.scenes.iter().for_each(|scene| scene.clock.advance(by));
    }

    /// Ends the next of the living sessions, in a turn that goes round all of them.
    fn kill_one(&self, turn: usize) {
        let control = self.control();
        let mut issued = control.issued();
        let first = turn % issued.len();
        issued.rotate_left(first);
        assert!(issued.iter().any(|token| control.expire_session(token)), "none was alive");
    }

    /// Stops all three. Returns the events of all, when nothing is left open and nothing leaked.
    async fn stop(self) -> Vec<Event> {
        let control = self.control().clone();
        let (mut events, mut emulators) = (Vec::new(), Vec::new());
        for mut scene in self.scenes {
            crate::harness::within(scene.take_app().stop()).await;
            let ended = scene.ended();
            ended.assert_no_leak();
            let seen = format!("{:?}", ended.events).into_bytes();
            for bytes in [ended.record.bytes(), seen] {
                assert_eq!(leaks(&control.issued(), &bytes), []);
            }
            events.extend(ended.events);
            // The first one's vendor is the others', too.
            emulators.push(ended.emulator);
        }
        assert_eq!(control.counters().live_sessions, 0, "a session was left open");
        events
    }
}

fn displaced(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Displaced { .. })).count()
}

/// Fails when a session that somebody ended once is taken for a fight, when one session's end ends
/// others, or when replaced sessions are left open until they take the room of living ones.
#[tokio::test]
async fn three_gateways_on_one_account_with_room_never_end_each_others_sessions() {
    let keys = CLIENTS.map(|name| ClientKey::generate(name.parse().unwrap()).unwrap());
    let clients: Vec<_> = CLIENTS.iter().copied().zip(&keys).collect();
    let mut third = Setup::of(Vendor::Contentstack).keys(&clients);
    third.route = "session = \"per-client\"".to_owned();
    let three = Three::start(third).await;
    assert_eq!(three.control().switches()["token_cap"], json!(20));

    // Twelve hours in steps of five minutes. A session is ended in every seventh.
    let mut kills = 0;
    for step in 1..=144 {
        for scene in &three.scenes[..2] {
            for call in (0..4).map(|_| read(scene).spawn()).collect::<Vec<_>>() {
                assert_eq!(crate::harness::within(call).await.unwrap().status, 200);
            }
        }
        for key in &keys {
            let answer = read(&three.scenes[2]).header("doorward-key", key.expose()).send().await;
            assert_eq!(answer.status, 200);
        }
        assert!(three.control().counters().live_sessions <= 5, "step {step}");
        if step % 7 == 0 {
            three.kill_one(step);
            kills += 1;
        }
        three.advance(Duration::from_secs(300));
    }
    let counters = three.control().counters();
    // The first logins, and one for each end.
    assert_eq!(counters.logins, 2 + CLIENTS.len() as u64 + kills);
    // At an end four requests may be under way; what was called dead is logged out in the end.
    assert!(counters.requests_with_dead_credential <= 5 * kills, "{counters:?}");
    assert_eq!((counters.logins_refused, counters.lockouts), (0, 0));
    let events = three.stop().await;
    assert_eq!(displaced(&events), 0);
}

/// Logins of three gateways within an hour on one slot: each has a few deaths that are taken for
/// chance, then pauses of 30 s, doubled up to 15 minutes.
const LOGINS_MAX: u64 = 36;

/// Fails when a session that somebody else keeps ending is logged in again each time.
#[tokio::test]
async fn three_gateways_on_one_slot_do_not_fight_for_ever() {
    let three = Three::start(Setup::of(Vendor::Contentstack)).await;
    three.control().switch("token_cap", json!(1)).unwrap();
    // An hour in steps of five seconds.
    let (mut served, mut held) = (0, 0);
    for _ in 0..720 {
        for scene in &three.scenes {
            let answer = read(scene).send().await;
            if answer.status == 200 {
                served += 1;
                continue;
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.problem(), "login_held_back");
            assert!(answer.text().contains("displaced"), "{answer:?}");
            assert!(!answer.one("retry-after").is_empty());
            held += 1;
        }
        three.advance(Duration::from_secs(5));
    }
    let counters = three.control().counters();
    assert!(counters.logins <= LOGINS_MAX, "{} logins", counters.logins);
    assert!(held > 0 && served > 0, "{served} served, {held} held back");
    let events = three.stop().await;
    assert!(displaced(&events) >= 3, "each of them has noticed");
}
