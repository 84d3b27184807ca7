//! Values that later answers bring: anti-forgery pairs, and tokens that every answer replaces.

use doorward::emulator::Vendor;

use crate::harness::{Scene, write};
use crate::puppet::{Puppet, Reply};

/// The cookie of the pair is percent-encoded, and the field that repeats it is not, as in several
/// web frameworks.
const RECIPE: &str = r#"
    name = "pairs"
    title = "A session with an anti-forgery pair and a token that slides"
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    verdict = [{ when = { status = [401] }, then = "expired" }]
    inject = [
        { header = "X-Token", value = "{{token}}" },
        { header = "X-XSRF-TOKEN", value = "{{pair | percent_decode}}", methods = "unsafe" },
        { cookies = true },
    ]
    [[login.steps]]
    name = "log in"
    method = "POST"
    path = "/login"
    form = { username = "{{username}}", password = "{{password}}" }
    take.token = { header = "X-Token" }
    [session]
    cookies = "rolling"
    roll.token = { header = "X-Token" }
    roll.pair = { cookie = "XSRF-TOKEN" }
"#;

fn answer(fields: &str) -> Reply {
    Reply::keep(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\n{{}}"))
}

/// What an answer may show: the token before and the one now, and the pair as a page reads it.
const SHOWN: [&str; 4] = [
    "token-one-0123456789",
    "token-two-0123456789",
    "pair%2Fof%3Dthe+session",
    "pair/of=the+session",
];

/// Answers a login, a call that brings something new, and others.
fn upstream(request: &str) -> Reply {
    match request.split(' ').nth(1).unwrap_or_default() {
        "/login" => answer("x-token: token-one-0123456789\r\nset-cookie: sid=1; Path=/\r\n"),
        "/new" => answer(
            "x-token: token-two-0123456789\r\nset-cookie: sid=2; Path=/\r\n\
             set-cookie: XSRF-TOKEN=pair%2Fof%3Dthe+session; Path=/\r\n",
        ),
        "/echo" => Reply::json(&serde_json::json!(SHOWN).to_string()),
        "/gone" => answer("set-cookie: sid=; Path=/; Max-Age=0\r\n"),
        _ => answer(""),
    }
}

async fn scene(puppet: &Puppet) -> (Scene, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "pairs.toml", RECIPE);
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    (setup.start().await, folder)
}

/// A field of the request that arrived last.
fn last_field(puppet: &Puppet, name: &str) -> Option<String> {
    let request = puppet.requests().pop().unwrap();
    let mut fields = request.lines().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}

/// Fails when an answer's new values are not sent from then on, when a value that is not there yet
/// is sent as something, or when one for unsafe methods goes into others.
#[tokio::test]
async fn an_anti_forgery_pair_and_a_sliding_token_are_followed() {
    let puppet = Puppet::start(upstream).await;
    let (scene, _folder) = scene(&puppet).await;
    let field = |name| last_field(&puppet, name);

    assert_eq!(scene.call("POST", "/write").send().await.status, 200);
    assert_eq!(field("x-token").as_deref(), Some("token-one-0123456789"));
    assert_eq!((field("x-xsrf-token"), field("cookie")), (None, Some("sid=1".to_owned())));

    let brought = scene.call("GET", "/new").send().await;
    assert_eq!(brought.status, 200);
    assert!(brought.all("set-cookie").is_empty());
    let shown = format!("{:?}", brought.headers);
    assert!(!shown.contains("token-two"), "{shown}");

    // The one before is still shown by answers that were on their way.
    let echo = scene.call("GET", "/echo").send().await.text();
    assert!(SHOWN.iter().all(|value| !echo.contains(value)), "{echo}");

    scene.call("POST", "/write").send().await;
    assert_eq!(field("x-token").as_deref(), Some("token-two-0123456789"));
    assert_eq!(field("x-xsrf-token").as_deref(), Some("pair/of=the+session"));
    let cookies = "sid=2; XSRF-TOKEN=pair%2Fof%3Dthe+session";
    assert_eq!(field("cookie").as_deref(), Some(cookies));
    scene.call("GET", "/read").send().await;
    assert_eq!(field("x-xsrf-token"), None);

    scene.call("GET", "/gone").send().await;
    scene.call("GET", "/read").send().await;
    let left = "XSRF-TOKEN=pair%2Fof%3Dthe+session";
    assert_eq!(field("cookie").as_deref(), Some(left));

    let logins = puppet.requests().iter().filter(|request| request.contains(" /login ")).count();
    assert_eq!(logins, 1);
}
