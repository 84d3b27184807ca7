//! Reloads while much goes on: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use doorward::telemetry::{Event, Reload, ReloadStage};

use crate::harness::{Setup, within};
use crate::vendors::read;

const RELOADS: usize = 200;

/// What the configuration says in turn, in place of the line before; those that end with `!` cannot
/// be used.
const TURNS: [&str; 10] = [
    "[timeouts]\nrequest = \"40s\"",
    "[timeouts]\nreqest = \"40s\"\n# !",
    "[limits]\nconnections_max = 900",
    "[[routes]]\npath = \"/more\"\nupstream = \"nobody\"\n# !",
    "[[routes]]\npath = \"/more\"\nupstream = \"vendor\"\nlimits = { in_flight_max = 50 }",
    "[upstreams.second]\nurl = \"http://127.0.0.1:9\"\nrecipe_file = \"missing.toml\"\n# !",
    "[clients.more]\nkeys = [\"KEY\"]\ngrants = [{}]",
    "[state]\nkey = { file = \"state_key\" }\n# !",
    "[upstreams.second]\nurl = \"http://127.0.0.1:9\"\nrecipe = \"contentstack\"\n\
     [upstreams.second.accounts.one]\nusername = \"one\"\npassword = { file = \"password\" }\n\
     [[routes]]\npath = \"/second\"\nupstream = \"second\"",
    "[listeners.main]\naddress = \"127.0.0.1:1\"\n# !",
];

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// Fails when a reload, of a configuration that can be used or of one that cannot, costs a request or
/// a login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_cost_no_request_and_no_login() {
    let (ci, more) = (key("ci"), key("more"));
    let setup = Setup::of(Vendor::Contentstack).keys(&[("ci", &ci)]).tables("# here\n");
    let scene = setup.start().await;
    let call = read(&scene).header("doorward-key", ci.expose());
    assert_eq!(call.clone().send().await.status, 200);

    let is_over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let workers = (0..8).map(|number| {
        let (call, is_over, done) = (call.clone(), Arc::clone(&is_over), Arc::clone(&done));
        tokio::spawn(async move {
            // Half of them keep their connection, the others come anew each time.
            let mut connection = match number % 2 {
                0 => Some(call.http2_connection().await),
                _ => None,
            };
            while !is_over.load(Ordering::Relaxed) {
                let answer = match &mut connection {
                    Some(connection) => within(connection.send(&call)).await,
                    None => call.clone().send().await,
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut said = "# here".to_owned();
    for turn in 0..RELOADS {
        let written = TURNS[turn % TURNS.len()].replace("KEY", &more.digest().to_string());
        scene.change_config(&said, &written);
        said.clone_from(&written);
        let before = done.load(Ordering::Relaxed);
        match written.ends_with('!') {
            false => _ = scene.reload().await,
            true => assert!(!scene.fail_to_reload().await.is_empty(), "{written}"),
        }
        // Some requests begin and end between any two reloads.
        within(async {
            while done.load(Ordering::Relaxed) < before + 8 {
                assert!(workers.iter().all(|worker| !worker.is_finished()), "a request failed");
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        within(worker).await.unwrap();
    }
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logouts), (1, 0), "after {done:?} requests");
    let ended = scene.stop().await;
    let count = |is_meant: fn(&ReloadStage) -> bool| {
        let meant = ended.events.iter().filter(|event| match event {
            Event::Reload(Reload { stage, .. }) => is_meant(stage),
            _ => false,
        });
        meant.count()
    };
    assert_eq!(count(|stage| *stage == ReloadStage::Begun), RELOADS);
    assert_eq!(count(|stage| matches!(stage, ReloadStage::Done { .. })), RELOADS / 2);
    assert_eq!(count(|stage| matches!(stage, ReloadStage::Failed { .. })), RELOADS / 2);
}
