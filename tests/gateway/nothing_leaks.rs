//! Nothing of a session and no password leaves: not in answers, not in logs, not in `Debug`.

use doorward::access::key::ClientKey;
use doorward::emulator::{Emulator, Forced, Vendor};
use doorward::server::Address;
use http::HeaderValue;
use serde_json::json;

use crate::client::{Call, Door, Record};
use crate::harness::{Scene, Setup, within, write};
use crate::leaks::leaks;
use crate::puppet::{Puppet, Reply, TOKEN};
use crate::running::{Running, binary};
use crate::vendors::{login_line, read, read_line};

/// Fails when an endpoint that shows the session is not masked, under each of its names.
#[tokio::test]
async fn endpoints_that_show_the_session_show_a_placeholder() {
    let echoes: [(Vendor, &[&str]); 3] = [
        (Vendor::Contentstack, &["/v3/user", "/user", "/v3/user?include_orgs=true"]),
        (
            Vendor::ThoughtSpot,
            &[
                "/callosum/v1/tspublic/v1/session/info",
                "/callosum/v1/session/info",
                "/prism/preauth/info",
                "/api/rest/2.0/auth/session/user",
            ],
        ),
        (
            Vendor::MFiles,
            &[
                "/REST/session/vaults",
                "/REST/server/vaults",
                "/rest/Session/Vaults.aspx",
                "/mfws.ashx?restPath=server/vaults",
                "/REST/session",
                "/REST/session/vault",
                "/REST/objects/0/1/latest/files/1/content",
            ],
        ),
    ];
    for (vendor, targets) in echoes {
        let scene = Scene::of(vendor).await;
        let control = scene.control();
        match vendor {
            Vendor::MFiles => {
                control.switch("compress", json!(true)).unwrap();
                control.switch("download_bytes", json!(10_000)).unwrap();
            }
            Vendor::ThoughtSpot => control.switch("rotate_every", json!(1)).unwrap(),
            Vendor::Contentstack => {}
        }
        for coding in ["identity", "gzip", "br", "gzip, br, zstd"] {
            for target in targets {
                let answer =
                    scene.call("GET", target).header("accept-encoding", coding).send().await;
                assert_eq!(answer.status, 200, "{vendor} {target}");
                assert!(answer.all("set-cookie").is_empty(), "{vendor} {target}");
                assert!(!answer.body.is_empty());
            }
        }
        // With cookies that rotate, the session may end with another one than the login's.
        let mut scene = scene;
        within(scene.take_app().stop()).await;
        scene.ended().assert_no_leak();
    }
}

/// Fails when HEAD and 304 tell the length or the checksums of what the upstream has, where GET shows
/// something else (RFC 9110 section 8.6).
#[tokio::test]
async fn answers_without_a_body_do_not_describe_what_is_masked() {
    let puppet = Puppet::logged_in(|request| {
        let body = format!(r#"{{"user":{{"authtoken":"{TOKEN}"}}}}"#);
        let (status, body) = match request {
            head if head.starts_with("HEAD") => ("200 OK", (body.len(), "")),
            get if get.contains("if-none-match") => ("304 Not Modified", (body.len(), "")),
            _ => ("200 OK", (body.len(), body.as_str())),
        };
        Reply::keep(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\netag: \"1\"\r\n\
             content-digest: sha-256=:AAAA:\r\ncontent-length: {}\r\n\r\n{}",
            body.0, body.1
        ))
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let get = scene.call("GET", "/v3/user").send().await;
    let head = scene.call("HEAD", "/v3/user").send().await;
    let unchanged = scene.call("GET", "/v3/user").header("if-none-match", "W/\"1\"").send().await;
    assert_eq!(
        (get.status.as_u16(), head.status.as_u16(), unchanged.status.as_u16()),
        (200, 200, 304)
    );
    for answer in [head, unchanged] {
        assert_eq!((answer.one("etag"), answer.one("content-digest")), ("W/\"1\"", ""));
        assert!(["", get.one("content-length")].contains(&answer.one("content-length")));
    }
}

/// Fails when only the value as it is, not its other forms, is looked for in header fields.
#[tokio::test]
async fn header_fields_that_hold_the_session_are_masked_in_every_form() {
    use data_encoding::{BASE64, BASE64URL_NOPAD};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        assert_eq!(read(&scene).send().await.status, 200);
        // A vendor makes values that Doorward never sees; it guards those that it holds.
        let control = scene.control();
        let password = vendor.seeded_user().password;
        let is_held = |secret: &String| control.requests_with(secret) > 0 || *secret == password;
        for secret in control.issued().into_iter().filter(is_held) {
            let percent = utf8_percent_encode(&secret, NON_ALPHANUMERIC).to_string();
            let small = percent.replace("%2D", "-").replace("%5F", "_");
            let json = serde_json::to_string(&json!({ "a": secret })).unwrap();
            for (name, value) in [
                ("location", format!("https://elsewhere.example/?auth={secret}")),
                ("location", format!("/x?auth={percent}#a")),
                ("content-location", format!("/x?auth={small}")),
                ("x-debug", json),
                ("x-echo", BASE64.encode(secret.as_bytes())),
                ("x-echo", BASE64URL_NOPAD.encode(secret.as_bytes())),
                ("set-cookie", format!("copy={secret}; Path=/")),
                ("link", format!("</x?{secret}>; rel=next")),
            ] {
                if !value.is_ascii() {
                    continue;
                }
                let forced = Forced {
                    matching: read_line(vendor).to_owned(),
                    status: Some(200),
                    headers: vec![(name.to_owned(), value)],
                    ..Forced::default()
                };
                scene.control().force(forced).unwrap();
                assert_eq!(read(&scene).send().await.status, 200);
            }
        }
        scene.stop().await;
    }
}

/// Fails when trailers of an answer pass unseen.
#[tokio::test]
async fn trailers_do_not_carry_the_session_out() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-token, set-cookie\r\n\r\n\
             2\r\nok\r\n0\r\nx-token: {TOKEN}\r\nset-cookie: a={TOKEN}\r\n\r\n"
        ))
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for protocol in [crate::client::Protocol::Http1, crate::client::Protocol::Http2] {
        let call = scene.call("GET", "/v3/x").header("te", "trailers");
        let (answer, trailers) = call.send_for_trailers(protocol).await;
        assert_eq!(answer.text(), "ok");
        let told = trailers.unwrap();
        assert_eq!((told.len(), &told["x-token"]), (1, &HeaderValue::from_static("*")));
    }
    assert!(!String::from_utf8_lossy(&scene.record().bytes()).contains(TOKEN));
}

/// Fails when `Debug` of any room shows what it holds.
#[tokio::test]
async fn debug_of_a_running_gateway_shows_no_secret() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        assert_eq!(read(&scene).send().await.status, 200);
        let login = scene.control().hold(login_line(vendor));
        scene.control().expire_sessions();
        let during = read(&scene).spawn();
        within(login.arrived(1)).await;
        let shown = [format!("{:?}", scene.app()), format!("{:#?}", scene.app())].concat();
        login.release();
        within(during).await.unwrap();
        let shown = format!("{shown}{:?}", scene.app());
        assert!(shown.contains("secret, "), "nothing of the accounts is shown");
        let secrets = scene.control().issued();
        let leaked = leaks(&secrets, shown.as_bytes());
        assert!(leaked.is_empty(), "{vendor}: {leaked:?}");
        scene.stop().await;
    }
}

/// Fails when a log line holds a query, a header field or a body.
#[tokio::test]
async fn the_most_talkative_log_holds_no_secret_and_no_key() {
    for vendor in Vendor::ALL {
        for format in ["json", "human"] {
            let alice = ClientKey::generate("alice".parse().unwrap()).unwrap();
            let setup = Setup::of(vendor).start().await;
            let said = talkative_run(&setup.emulator, &alice, format).await;
            for phrase in ["logged in", "session expired", "login failed", "request"] {
                assert!(said.contains(phrase), "{vendor}: {phrase:?} was not logged: {said}");
            }
            let mut secrets = setup.control().issued();
            secrets.push(alice.expose().to_owned());
            let leaked = leaks(&secrets, said.as_bytes());
            assert!(leaked.is_empty(), "{vendor}: {leaked:?}");
        }
    }
}

/// Runs the binary at level `trace` through a login, an expiry, a refused login; its output.
async fn talkative_run(emulator: &Emulator, key: &ClientKey, format: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let user = emulator.vendor().seeded_user();
    let password = write(folder.path(), "password", &user.password);
    let text = format!(
        "[listeners.main]\naddress = \"127.0.0.1:0\"\n[clients.alice]\nkeys = [\"{}\"]\ngrants = [{{}}]\n\
         [upstreams.vendor]\nurl = {:?}\nrecipe = \"{}\"\n\
         [upstreams.vendor.accounts.user]\nusername = {:?}\n\
         password = {{ file = {password:?}, verbatim = true }}\n\
         [[routes]]\nupstream = \"vendor\"\n[log]\nformat = {format:?}\nlevel = \"trace\"\n",
        key.digest(),
        emulator.origin(),
        emulator.vendor(),
        user.login,
    );
    let mut command = binary(&write(folder.path(), "doorward.toml", &text));
    command.env("RUST_LOG", "trace");
    let doorward = Running::start(command).await;
    let address = Address::Tcp(doorward.address());
    let door = Door { address, authority_pem: None };
    let call = |target: &str| Call::new(door.clone(), Record::default(), "GET", target);
    let with = |call: Call| call.header("authorization", &format!("Bearer {}", key.expose()));
    let target = format!("/v3/user?key={}&auth=x", key.expose());
    with(call(&target)).send().await;
    emulator.control().expire_sessions();
    with(call("/callosum/v1/tspublic/v1/session/info")).send().await;
    with(call("/REST/session/vaults")).send().await;
    emulator.control().expire_sessions();
    let refused = Forced {
        matching: login_line(emulator.vendor()).to_owned(),
        times: 10,
        status: Some(401),
        body: emulator.control().issued().join(" "),
        ..Forced::default()
    };
    emulator.control().force(refused).unwrap();
    for target in ["/v3/user", "/callosum/v1/tspublic/v1/session/info", "/REST/session/vaults"] {
        with(call(target)).send().await;
    }
    call("/v3/user").header("x-api-key", &key.expose()[..30]).send().await;
    doorward.stop().await
}
