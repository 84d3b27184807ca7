//! Steps that go to an identity provider, and requests that go to the upstream: nothing that belongs to
//! one reaches the other.

use std::time::Duration;

use doorward::cli::Exit;
use doorward::emulator::Vendor;
use tempfile::TempDir;

use crate::doctor::{ON_PAPER, Subject};
use crate::harness::{Scene, until, within, write};
use crate::puppet::{Puppet, Reply};

const RECIPE: &str = r#"
    name = "elsewhere"
    title = "An API whose tokens an identity provider gives"
    parameters.issuer = {}
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [
        { header = "Authorization", value = "Bearer {{token}}" },
        { header = "X-Only-Put", value = "{{token}}", methods = ["PUT"] },
        { query = "tenant", value = "{{tenant}}" },
        { cookies = true },
    ]
    verdict = [{ when = { status = [401] }, then = "expired" }]
    [session]
    cookies = "login"
    expires = { value = "lives", unit = "seconds" }
    [[login.steps]]
    name = "get a token"
    method = "POST"
    origin = "{{issuer}}"
    path = "/realm/token"
    form = { username = "{{username}}", password = "{{password}}" }
    take = { token = { json = "/token" }, again = { json = "/again" }, lives = { json = "/lives" } }
    [[login.steps]]
    name = "begin"
    method = "GET"
    path = "/begin"
    headers = { Authorization = "Bearer {{token}}" }
    take = { tenant = { json = "/tenant" } }
    [[refresh.steps]]
    name = "get another"
    method = "POST"
    origin = "{{issuer}}"
    path = "/realm/token"
    form = { again = "{{again}}" }
    take = { token = { json = "/token" }, again = { json = "/again" }, lives = { json = "/lives" } }
    [[logout.steps]]
    name = "revoke it"
    method = "POST"
    origin = "{{issuer}}"
    path = "/realm/revoke"
    form = { token = "{{token}}" }
"#;

fn provider(request: &str) -> Reply {
    match request.split(' ').nth(1).unwrap_or_default() {
        "/realm/token" => {
            let number = if request.contains("again=") { "two" } else { "one" };
            let body = format!(
                r#"{{"token":"token-{number}-of-the-provider","again":"again-{number}-of-it","lives":600}}"#
            );
            Reply::keep(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: sso=1\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            ))
        }
        "/realm/revoke" => Reply::json("{}"),
        _ => Reply::keep("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"),
    }
}

fn api(request: &str) -> Reply {
    match request.starts_with("GET /base/begin") {
        true => Reply::keep(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: sid=9; Path=/\r\n\
             content-length: 14\r\n\r\n{\"tenant\":\"t\"}",
        ),
        false => Reply::json("{}"),
    }
}

async fn scene(upstream: &Puppet, issuer: &str) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "elsewhere.toml", RECIPE);
    let mut setup = upstream.setup(Vendor::Contentstack);
    setup.user.password = "the provider's password".to_owned();
    setup.origin = Some(format!("{}/base", upstream.origin()));
    setup.recipe = format!("recipe_file = {path:?}");
    setup.upstream = format!("parameters = {{ issuer = {issuer:?} }}");
    (setup.start().await, folder)
}

/// Fails when a step reaches somebody else than it says, when a password or a refresh token reaches the
/// upstream, or when a cookie, a field or a parameter of the session reaches the provider.
#[tokio::test]
async fn a_provider_gets_what_its_steps_say_and_nothing_of_the_session() {
    let (issuer, upstream) = (Puppet::start(provider).await, Puppet::start(api).await);
    let (mut scene, _folder) = scene(&upstream, &issuer.origin()).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    let requests = upstream.requests();
    assert!(requests[0].starts_with("GET /base/begin HTTP/1.1"), "{requests:?}");
    assert!(
        requests[0].contains("authorization: Bearer token-one-of-the-provider"),
        "{requests:?}"
    );
    assert!(!requests[0].contains("cookie"), "{requests:?}");
    assert!(requests[1].starts_with("GET /base/x?tenant=t HTTP/1.1"), "{requests:?}");
    assert!(requests[1].contains("cookie: sid=9\r\n"), "{requests:?}");

    for (method, is_sent) in [("PUT", true), ("POST", false), ("GET", false)] {
        scene.call(method, "/x").send().await;
        let request = upstream.requests().pop().unwrap();
        assert_eq!(request.contains("x-only-put: token-one"), is_sent, "{request}");
    }

    scene.clock.advance(Duration::from_secs(590));
    until("it is refreshed", || issuer.requests().len() == 2).await;
    let is_second = || upstream.requests().pop().unwrap().contains("Bearer token-two");
    let landed = async {
        while !is_second() {
            assert_eq!(scene.call("GET", "/x").send().await.status, 200);
        }
    };
    within(landed).await;
    let report = scene.take_app().stop().await;
    assert_eq!((report.confirmed, report.unconfirmed), (1, 0));

    let asked = issuer.requests();
    let lines: Vec<&str> = asked.iter().filter_map(|request| request.lines().next()).collect();
    let token = "POST /realm/token HTTP/1.1";
    assert_eq!(lines, [token, token, "POST /realm/revoke HTTP/1.1"]);
    assert!(asked[0].contains("password=the%20provider%27s%20password"), "{asked:?}");
    assert!(asked[1].ends_with("\r\n\r\nagain=again-one-of-it"), "{asked:?}");
    assert!(asked[2].ends_with("\r\n\r\ntoken=token-two-of-the-provider"), "{asked:?}");
    for request in &asked {
        let head = request.split("\r\n\r\n").next().unwrap();
        let host = issuer.origin().replace("http://", "host: ");
        assert!(head.contains(&host), "{head}");
        for name in ["authorization:", "cookie:", "tenant", "sid"] {
            assert!(!head.contains(name), "{head}");
        }
    }
    let all = upstream.heard();
    for secret in ["the%20provider", "again-one", "again-two"] {
        assert!(!all.contains(secret), "{secret} reached the upstream");
    }
}

/// Fails when a login falls back to the upstream where the provider cannot be reached.
#[tokio::test]
async fn without_the_provider_there_is_no_session() {
    let upstream = Puppet::start(api).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let (scene, _folder) = scene(&upstream, &issuer).await;
    assert_eq!(scene.call("GET", "/x").send().await.problem(), "upstream_unreachable");
    assert!(upstream.requests().is_empty());
}

/// Fails when the doctor has somebody look for the fault at the upstream where the provider cannot be
/// reached.
#[tokio::test]
async fn the_doctor_names_the_provider_that_it_cannot_reach() {
    let upstream = Puppet::start(api).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "elsewhere.toml", RECIPE);
    let recipe =
        format!("recipe_file = {path:?}\nparameters = {{ issuer = \"http://{address}\" }}");
    let user = Vendor::Contentstack.seeded_user();
    let subject = Subject::with_recipe(Vendor::Contentstack, &upstream.origin(), &user, &recipe);
    let said = subject.tried(ON_PAPER, &[]).await;
    assert_eq!(said.exit, Exit::Unreachable, "{}", said.out);
    let advice = format!(
        "nothing listens at {address}, or a firewall is in between: check `origin` of the step \
         `get a token` in "
    );
    let text = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&advice) && !text.contains("`url` of"), "{text}");
}
