//! Who is let in to the admin API, and by which ways nobody is.

use std::os::unix::fs::PermissionsExt;

use doorward::app;
use doorward::emulator::Vendor;
use doorward::secret::Environment;
use doorward::settings::Sources;
use serde_json::json;

use super::{TOKEN, ask, ask_at_port, port, problem, watched, with_port};
use crate::client::{Call, Door};
use crate::harness::{Setup, write};
use doorward::server::Address;

/// Fails when others than the owner may connect, or when the socket outlives its gateway.
#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let mut scene = watched(Setup::of(Vendor::Contentstack)).await;
    let socket = scene.app().admin_socket().unwrap().to_owned();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Neither a token nor a name is asked for.
    let call = ask(&scene, "GET", "/admin/v1/status").host("whatever.example");
    assert_eq!(call.send().await.status, 200);
    let app = scene.take_app();
    crate::harness::within(app.stop()).await;
    assert!(!socket.exists());
}

/// Fails when the port lets anybody in without the token, by another name, or from another site's
/// page.
#[tokio::test]
async fn the_port_wants_the_token_our_name_and_our_own_pages() {
    let scene = with_port(Setup::of(Vendor::Contentstack)).await;
    let own = port(scene.app()).to_string();
    let status = || ask_at_port(&scene, "GET", "/admin/v1/status").host(&own);
    let bearer = format!("Bearer {TOKEN}");
    let with_token = || status().header("authorization", &bearer);
    assert_eq!(with_token().send().await.status, 200);
    assert_eq!(with_token().host("localhost").send().await.status, 200);
    assert_eq!(with_token().host("doorward.internal").send().await.status, 200);

    let refused = status().send().await;
    assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (401, "unauthorized"));
    assert!(refused.one("www-authenticate").starts_with("Bearer"));
    for wrong in ["Bearer wrong", "Bearer ", "Basic YTpi", &bearer[..bearer.len() - 1]] {
        let refused = status().header("authorization", wrong).send().await;
        assert_eq!(problem(&refused), "unauthorized", "{wrong}");
    }
    for host in ["evil.example", "localhost.evil.example", "doorward.internal.evil.example"] {
        let refused = with_token().host(host).send().await;
        assert_eq!(
            (refused.status.as_u16(), problem(&refused).as_str()),
            (421, "misdirected_host")
        );
    }
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = with_token().header(name, value).send().await;
        assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (403, "cross_origin"));
    }
    let same = with_token().header("origin", &format!("http://{own}")).send().await;
    assert_eq!(same.status, 200);
    // It is the same for what is not there, and for what a browser shows.
    assert_eq!(ask_at_port(&scene, "GET", "/nothing").host(&own).send().await.status, 401);
    assert_eq!(ask_at_port(&scene, "GET", "/").host(&own).send().await.status, 401);
    scene.stop().await;
}

/// Fails when a form of another site could change something, or an unknown path is answered
/// otherwise than as JSON.
#[tokio::test]
async fn what_changes_something_is_sent_as_json() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let pause = "/admin/v1/upstreams/vendor/pause";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let call = ask(&scene, "POST", pause).header("content-type", kind).body("{}");
        let refused = call.send().await;
        assert_eq!(refused.status, 415);
        assert_eq!(problem(&refused), "unsupported_media_type");
    }
    assert_eq!(
        problem(&ask(&scene, "POST", pause).body("{}").send().await),
        "unsupported_media_type"
    );
    for body in [json!([]), json!({ "unknown": 1 }), json!({ "retry_after_seconds": 0 })] {
        let refused = ask(&scene, "POST", pause).json(&body).send().await;
        assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (400, "bad_request"));
    }
    let long = ask(&scene, "POST", pause).json(&json!({ "x": "y".repeat(100_000) })).send().await;
    assert!(long.status.is_client_error(), "{long:?}");
    let missing = ask(&scene, "GET", "/admin/v1/nothing").send().await;
    assert_eq!((missing.status.as_u16(), problem(&missing).as_str()), (404, "not_found"));
    let wrong = ask(&scene, "GET", pause).send().await;
    assert_eq!((wrong.status.as_u16(), problem(&wrong).as_str()), (405, "method_not_allowed"));
    let query = ask(&scene, "GET", "/admin/v1/sessions?limit=x").send().await;
    assert_eq!(problem(&query), "bad_request");
    let query = ask(&scene, "GET", "/admin/v1/sessions?limit=1001").send().await;
    assert_eq!(problem(&query), "bad_request");
    // Nothing of all that has paused anything.
    assert_eq!(crate::vendors::read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a client gets to the admin API by a listener for clients, whatever host or path it
/// names.
#[tokio::test]
async fn no_listener_for_clients_leads_there() {
    let scene = with_port(Setup::of(Vendor::Contentstack)).await;
    let own = port(scene.app()).to_string();
    let bearer = format!("Bearer {TOKEN}");
    for target in ["/admin/v1/status", "/livez", "/readyz", "/metrics", "//admin/v1/status"] {
        for host in ["localhost", own.as_str()] {
            let call = scene.call("GET", target).host(host).header("authorization", &bearer);
            let answer = call.send().await;
            assert!(!answer.text().contains("uptime_seconds"), "{target}: {answer:?}");
            assert_ne!(answer.status, 200, "{target} by {host}: {answer:?}");
        }
    }
    // What any Doorward has forwarded is refused, with the token too.
    let call = ask_at_port(&scene, "GET", "/admin/v1/status").host(&own);
    let call = call.header("authorization", &bearer).header("via", "1.1 doorward-0123abcd");
    let refused = call.send().await;
    assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (403, "through_a_gateway"));
    let call = ask(&scene, "GET", "/admin/v1/status").header("via", "1.1 doorward-0123abcd");
    assert_eq!(problem(&call.send().await), "through_a_gateway");

    // A gateway whose upstream it is shows its clients nothing of it.
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("http://{own}"));
    let through = setup.start().await;
    let call = through.call("GET", "/admin/v1/status").header("authorization", &bearer);
    let answer = call.send().await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    assert!(!answer.text().contains("uptime_seconds"), "{answer:?}");
    through.stop().await;
    scene.stop().await;
}

/// Whose login is let in to an admin API.
const INWARD: &str = r#"name = "inward"
title = "An admin API"

[account]
username = { kind = "login_name" }
password = { kind = "secret" }

[[login.steps]]
name = "ask how it is"
method = "GET"
path = "/admin/v1/status"
headers = { Authorization = "Bearer {{password}}" }
expect = { status = [200] }
take.token = { json = "/started_at" }

[[inject]]
header = "Authorization"
value = "Bearer {{token}}"

[[verdict]]
when = { status = [401] }
then = "expired"
"#;

/// Fails when the clients of a gateway whose recipe is let in to the admin API of another one are let
/// in with it.
#[tokio::test]
async fn a_recipe_that_leads_to_an_admin_api_leads_no_client_there() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let socket = scene.app().admin_socket().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let recipe = write(folder.path(), "inward.toml", INWARD);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {recipe:?}");
    setup.origin = Some("http://localhost".to_owned());
    setup.upstream = format!("unix_socket = {socket:?}");
    let through = setup.start().await;
    for (method, target) in [("GET", "/admin/v1/status"), ("POST", "/admin/v1/drain")] {
        let answer = through.call(method, target).json(&json!({})).send().await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(problem(&answer), "through_a_gateway");
    }
    assert_eq!(super::shown(&scene, "/admin/v1/status").await["state"], "running");
    through.stop().await;
    scene.stop().await;
}

/// Fails when a configuration is taken that leads clients to the admin API.
#[test]
fn an_upstream_that_is_the_admin_api_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "password", "a password");
    write(folder.path(), "admin_token", TOKEN);
    let faults = |upstream: &str, admin: &str| {
        let text = format!(
            "[listeners.main]\naddress = \"127.0.0.1:18080\"\naccess = \"open\"\n\
             [upstreams.any]\nrecipe = \"contentstack\"\n{upstream}\n\
             [upstreams.any.accounts.one]\nusername = \"one\"\n\
             password = {{ file = \"password\" }}\n[[routes]]\nupstream = \"any\"\n{admin}"
        );
        let file = write(folder.path(), "doorward.toml", &text);
        let environment = Environment::given([]);
        app::load(&Sources { files: vec![file], environment }).err().map(|all| all.to_string())
    };
    let at = |address: &str| {
        format!("[admin]\naddress = {address:?}\ntoken = {{ file = \"admin_token\" }}\n")
    };
    let url = "url = \"http://127.0.0.1:18081\"";
    for (upstream, admin) in [
        (url, at("127.0.0.1:18081")),
        (url, at("0.0.0.0:18081")),
        ("url = \"http://localhost:18081\"", at("127.0.0.1:18081")),
        ("url = \"https://a.example\"\naddresses = [\"127.0.0.1:18081\"]", at("127.0.0.1:18081")),
        (
            "url = \"http://localhost\"\nunix_socket = \"admin.sock\"",
            "[admin]\nsocket = \"admin.sock\"\n".to_owned(),
        ),
        (url, "[health]\naddress = \"127.0.0.1:18081\"\n".to_owned()),
    ] {
        let told = faults(upstream, &admin).unwrap_or_else(|| panic!("{upstream} {admin}"));
        assert!(told.contains("own admin API"), "{told}");
    }
    assert_eq!(faults(url, &at("127.0.0.1:18082")), None);
    let clash = faults(url, &at("127.0.0.1:18080")).unwrap();
    assert!(clash.contains("listener `main` has this address already"), "{clash}");
    let both = at("127.0.0.1:18082") + "[health]\naddress = \"127.0.0.1:18082\"\n";
    assert!(faults(url, &both).unwrap().contains("`admin.address` is this address already"));
    let bare = faults(url, "[admin]\naddress = \"127.0.0.1:18082\"\n").unwrap();
    assert!(bare.contains("needs `token`"), "{bare}");
    let text = "[admin]\naddress = \"127.0.0.1:18082\"\ntoken = \"canary in the configuration\"\n";
    let told = faults(url, text).unwrap();
    assert!(
        told.contains("must not stand in the configuration") && !told.contains("canary"),
        "{told}"
    );
    let useless = faults(url, "[admin]\nhosts = [\"a\"]\ntoken = { file = \"admin_token\" }\n");
    assert!(useless.unwrap().contains("without `address`"));
}

/// Fails when a link lets in twice, or its cookie is for more than it is.
#[tokio::test]
async fn a_link_opens_the_page_once() {
    let scene = with_port(Setup::of(Vendor::Contentstack)).await;
    let own = port(scene.app()).to_string();
    let link = super::act(&scene, "/admin/v1/links", json!({})).await;
    let url = link["url"].as_str().unwrap();
    let target = url.strip_prefix(&format!("http://{own}")).unwrap();
    assert_eq!(link["expires_in_seconds"], 60);
    let open = || ask_at_port(&scene, "GET", target).host(&own);
    // A link that a page of another site leads to opens nothing, and is still good.
    let refused = open().header("sec-fetch-site", "cross-site").send().await;
    assert_eq!(problem(&refused), "cross_origin");
    let opened = open().send().await;
    assert_eq!((opened.status.as_u16(), opened.one("location")), (303, "/"));
    let cookie = opened.one("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(problem(&open().send().await), "unauthorized");
    let pair = cookie.split(';').next().unwrap();
    let page = ask_at_port(&scene, "GET", "/").host(&own).header("cookie", pair).send().await;
    assert_eq!((page.status.as_u16(), page.one("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.one("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (file, kind) in [("style.css", "text/css"), ("page.js", "text/javascript")] {
        assert!(page.text().contains(&format!("\"/page/{file}\"")), "{file}");
        let file = ask_at_port(&scene, "GET", &format!("/page/{file}")).host(&own);
        let file = file.header("cookie", pair).send().await;
        assert_eq!(file.one("content-type"), format!("{kind}; charset=utf-8"));
    }
    let none = ask_at_port(&scene, "GET", "/page/none.js").host(&own).header("cookie", pair);
    assert_eq!(problem(&none.send().await), "not_found");
    // A page of another site that sends the cookie is refused all the same.
    let forged = ask_at_port(&scene, "POST", "/admin/v1/drain").host(&own).header("cookie", pair);
    let forged = forged.header("origin", "http://127.0.0.1:1").json(&json!({})).send().await;
    assert_eq!(problem(&forged), "cross_origin");
    scene.stop().await;
}

/// Fails when a relay for a browser lets in whoever has no link, or passes on what it should not.
#[tokio::test]
async fn a_relay_serves_a_browser_that_knows_no_sockets() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let relay = doorward::admin::Relay::open(scene.app().admin_socket().unwrap()).unwrap();
    let link = relay.link().unwrap();
    let (authority, target) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let address: std::net::SocketAddr = authority.parse().unwrap();
    assert!(address.ip().is_loopback());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    let call = |method: &str, target: &str| {
        let door = Door { address: Address::Tcp(address), authority_pem: None };
        Call::new(door, scene.record().clone(), method, target).host(authority)
    };
    let refused = call("GET", "/admin/v1/status").send().await;
    assert_eq!(problem(&refused), "unauthorized");
    let refused = call("GET", &format!("/{target}")).host("evil.example").send().await;
    assert_eq!(problem(&refused), "misdirected_host");
    let opened = call("GET", &format!("/{target}")).send().await;
    assert_eq!(opened.status, 303);
    let pair = opened.one("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(problem(&call("GET", &format!("/{target}")).send().await), "unauthorized");
    let status = call("GET", "/admin/v1/status").header("cookie", &pair).send().await;
    assert_eq!(status.json()["state"], "running");
    super::fits("get", "/admin/v1/status", &status.json());
    let paused = call("POST", "/admin/v1/upstreams/vendor/pause").header("cookie", &pair);
    assert_eq!(paused.json(&json!({})).send().await.status, 200);
    stop.cancel();
    crate::harness::within(running).await.unwrap().unwrap();
    scene.stop().await;
}
