//! The listener for whoever watches over a gateway: alive, ready, and nothing else.

use std::net::SocketAddr;

use doorward::emulator::{User, Vendor};
use doorward::server::Address;

use super::{ADMIN, act, ask, problem};
use crate::client::{Answer, Call, Door};
use crate::harness::{Scene, Setup, until, within};
use crate::vendors::{read, read_line};

const HEALTH: &str = "[health]\naddress = \"127.0.0.1:0\"\n";

async fn get(scene: &Scene, address: SocketAddr, target: &str) -> Answer {
    let door = Door { address: Address::Tcp(address), authority_pem: None };
    Call::new(door, scene.record().clone(), "GET", target).send().await
}

fn address(scene: &Scene) -> SocketAddr {
    scene.app().health().unwrap()
}

/// Fails when a probe is told otherwise than what is so, or the listener tells anything else.
#[tokio::test]
async fn it_tells_whether_the_gateway_lives_and_is_ready_and_nothing_else() {
    let scene = Setup::of(Vendor::Contentstack).tables(HEALTH).start().await;
    let address = address(&scene);
    let live = get(&scene, address, "/livez").await;
    assert_eq!((live.status.as_u16(), live.text().as_str()), (200, "ok\n"));
    let ready = get(&scene, address, "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (200, "ready\n"));
    let verbose = get(&scene, address, "/readyz?verbose").await.text();
    for name in ["running", "load", "audit", "logins"] {
        assert!(verbose.contains(&format!("[+] {name} ok\n")), "{verbose}");
    }
    for target in ["/", "/admin/v1/status", "/admin/v1/openapi.json", "/page/style.css"] {
        let missing = get(&scene, address, target).await;
        assert_eq!(
            (missing.status.as_u16(), problem(&missing).as_str()),
            (404, "not_found"),
            "{target}"
        );
    }
    let door = Door { address: Address::Tcp(address), authority_pem: None };
    let call = Call::new(door, scene.record().clone(), "POST", "/livez");
    assert_eq!(call.send().await.status, 405);
    scene.stop().await;
}

/// Fails when a collector gets no metrics, or others than it understands.
#[tokio::test]
async fn collectors_get_metrics_in_the_form_that_they_ask_for() {
    let scene = Setup::of(Vendor::Contentstack).tables(HEALTH).start().await;
    let address = address(&scene);
    for (accept, kind, end) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "\n"),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# EOF\n",
        ),
    ] {
        let door = Door { address: Address::Tcp(address), authority_pem: None };
        let call = Call::new(door, scene.record().clone(), "GET", "/metrics");
        let page = call.header("accept", accept).send().await;
        assert_eq!((page.status.as_u16(), page.one("content-type")), (200, kind));
        let text = page.text();
        assert!(text.contains("\ndoorward_build_info{") && text.ends_with(end), "{text}");
    }
    scene.stop().await;
}

/// Fails when one refused account makes a gateway unready that nobody has asked for, or does not where
/// it was asked for.
#[tokio::test]
async fn a_failed_login_makes_it_unready_only_where_that_is_asked_for() {
    for (asked, status) in [("", 200), ("ready_requires_login = true\n", 503)] {
        let user = User::new(Vendor::Contentstack.seeded_user().login, "canary not the password");
        let tables = format!("{HEALTH}{asked}");
        let scene = Setup::of(Vendor::Contentstack).user(user).tables(&tables).start().await;
        let address = address(&scene);
        // Nobody has needed a login yet.
        assert_eq!(get(&scene, address, "/readyz").await.status, 200);
        assert_eq!(read(&scene).send().await.problem(), "login_refused");
        let ready = get(&scene, address, "/readyz?verbose").await;
        assert_eq!(ready.status, status, "{ready:?}");
        let text = ready.text();
        assert!(text.contains("logins no login: vendor.user (bad_secret)"), "{text}");
        assert_eq!(get(&scene, address, "/livez").await.status, 200);
        scene.stop().await;
    }
}

/// Fails when a probe is told that a gateway is ready which has begun to stop, or is told nothing
/// while requests end.
#[tokio::test]
async fn a_gateway_that_stops_lives_and_is_not_ready() {
    let tables = format!("{HEALTH}{ADMIN}");
    let mut scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    let address = address(&scene);
    let held = scene.control().hold(read_line(Vendor::Contentstack));
    let call = read(&scene).spawn();
    within(held.arrived(1)).await;
    let status = ask(&scene, "GET", "/admin/v1/status");
    let stopping = tokio::spawn(scene.take_app().stop());
    let waiting = async {
        loop {
            let ready = get(&scene, address, "/readyz?verbose").await;
            if ready.status == 503 {
                return ready.text();
            }
        }
    };
    let text = within(waiting).await;
    assert!(text.contains("[-] running the gateway is stopping"), "{text}");
    assert_eq!(get(&scene, address, "/livez").await.status, 200);
    assert_eq!(status.send().await.json()["state"], "stopping");
    held.release();
    assert_eq!(within(call).await.unwrap().status, 200);
    within(stopping).await.unwrap();
    let door = Door { address: Address::Tcp(address), authority_pem: None };
    assert!(crate::client::Raw::try_connect(&door).await.is_err());
    assert_eq!(scene.control().counters().live_sessions, 0);
}

/// Fails when an upstream that is down has a gateway restarted.
#[tokio::test]
async fn an_upstream_that_is_down_is_no_reason_to_restart() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some("http://127.0.0.1:1".to_owned());
    let scene = setup.tables(&format!("{HEALTH}{ADMIN}")).start().await;
    let address = address(&scene);
    assert!(read(&scene).send().await.status.is_server_error());
    for target in ["/livez", "/readyz"] {
        assert_eq!(get(&scene, address, target).await.status, 200, "{target}");
        assert_eq!(ask(&scene, "GET", target).send().await.status, 200, "{target}");
    }
    until("nothing waits", || scene.waiting() == 0).await;
    act(&scene, "/admin/v1/upstreams/vendor/pause", serde_json::json!({})).await;
    assert_eq!(get(&scene, address, "/readyz").await.status, 200);
    scene.stop().await;
}
