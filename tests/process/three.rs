//! Three processes that know nothing of each other log in with one account, which has room for
//! twenty sessions.

use doorward::emulator::{Emulator, Options, Vendor};
use serde_json::json;

use crate::site::{Doorward, Site, ask, until};

/// Requests of each process between one event and the next.
const REQUESTS: usize = 100;

async fn all_are_served(doorwards: &[Doorward]) {
    for _ in 0..REQUESTS {
        let asking: Vec<_> = doorwards
            .iter()
            .map(|doorward| tokio::spawn(ask(doorward.address, Vendor::Contentstack)))
            .collect();
        for answer in asking {
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

/// Fails when processes end each other's sessions, when one session's end costs more than one login,
/// or when a process that was killed logs in again although its session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_account_leave_each_others_sessions_alone() {
    let emulator = Emulator::start(Vendor::Contentstack, Options::default()).await.unwrap();
    let control = emulator.control();
    control.switch("rate_limit", json!(false)).unwrap();
    assert_eq!(control.switches()["token_cap"], json!(20));
    let sites = [(); 3].map(|()| Site::new(&emulator));
    let mut doorwards = Vec::new();
    for site in &sites {
        doorwards.push(site.start(0).await);
    }
    all_are_served(&doorwards).await;
    assert_eq!(control.counters().logins, 3);

    for ends in 1..=3 {
        // The oldest of those that live.
        assert!(control.issued().iter().any(|token| control.expire_session(token)));
        all_are_served(&doorwards).await;
        let counters = control.counters();
        assert_eq!((counters.logins, counters.live_sessions), (3 + ends, 3));
    }

    doorwards.remove(0).kill().await;
    doorwards.push(sites[0].start(1).await);
    all_are_served(&doorwards).await;
    let counters = control.counters();
    assert_eq!((counters.logins, counters.live_sessions), (6, 3));
    for doorward in &mut doorwards {
        doorward.stop().await;
    }
    until("every process has logged out", || control.counters().live_sessions == 0).await;
    let counters = control.counters();
    assert_eq!((counters.logins_refused, counters.lockouts), (0, 0));
    emulator.stop().await;
}
