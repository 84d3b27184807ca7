//! Logins that tell where their account lives: requests go there, and nowhere else that an answer likes.

use doorward::emulator::Vendor;
use tempfile::TempDir;

use crate::harness::{Scene, write};
use crate::puppet::{Puppet, Reply};

const RECIPE: &str = r#"
    name = "spread"
    title = "A service whose login names the account's host"
    parameters.allowed = {}
    parameters.also = { default = "" }
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [{ header = "Authorization", value = "Bearer {{token}}" }]
    verdict = [
        { when = { status = [401] }, then = "expired" },
        { when = { status = [403] }, then = "probe" },
    ]
    probe = { method = "GET", path = "/me", alive = { status = [200] } }
    session.base_url = { value = "home", allow = ["{{allowed}}", "{{also}}"] }
    [[login.steps]]
    name = "log in"
    method = "POST"
    path = "/token"
    form = { username = "{{username}}", password = "{{password}}" }
    take = { token = { json = "/token" }, home = { json = "/home" } }
    [[logout.steps]]
    name = "log out"
    method = "POST"
    path = "/logout"
"#;

type Home = fn(&[String]) -> String;

async fn entrance(homes: Vec<Home>, places: Vec<String>) -> Puppet {
    let logins = std::sync::atomic::AtomicUsize::new(0);
    Puppet::start(move |_| {
        let number = logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let home = homes[number.min(homes.len() - 1)](&places);
        let body = serde_json::json!({ "token": format!("token-of-login-{number}"), "home": home });
        Reply::json(&body.to_string())
    })
    .await
}

async fn home() -> Puppet {
    Puppet::start(|request| {
        let line = request.lines().next().unwrap();
        match line.split(' ').nth(1).unwrap() {
            "/dead" if request.contains("token-of-login-0") => {
                Reply::keep("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
            }
            "/forbidden" => Reply::keep("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"),
            "/moved" => {
                let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                Reply::keep(format!(
                    "HTTP/1.1 302 Found\r\nlocation: http://{host}/there\r\ncontent-length: 0\r\n\r\n"
                ))
            }
            _ => Reply::json("{}"),
        }
    })
    .await
}

async fn scene(entrance: &Puppet, allowed: &str, also: &str) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "spread.toml", RECIPE);
    let mut setup = entrance.setup(Vendor::Contentstack);
    setup.origin = Some(format!("{}/base", entrance.origin()));
    setup.recipe = format!("recipe_file = {path:?}");
    setup.upstream = format!("parameters = {{ allowed = {allowed:?}, also = {also:?} }}");
    (setup.start().await, folder)
}

fn lines(puppet: &Puppet) -> Vec<String> {
    let requests = puppet.requests();
    requests.iter().filter_map(|request| Some(request.lines().next()?.to_owned())).collect()
}

/// Fails when a request, a probe or a logout goes to another place than the login told, or the login to
/// another than the upstream's own.
#[tokio::test]
async fn requests_go_where_the_login_tells() {
    let home = home().await;
    let places = vec![home.origin()];
    let homes: Vec<Home> = vec![|places| places[0].clone()];
    let entrance = entrance(homes, places).await;
    let (mut scene, _folder) = scene(&entrance, &home.origin(), "").await;
    for (path, status) in [("/x?y=1", 200), ("/dead", 200), ("/forbidden", 403)] {
        assert_eq!(scene.call("GET", path).send().await.status.as_u16(), status, "{path}");
    }
    assert_eq!(scene.call("GET", "/moved").send().await.one("location"), "/there");
    let report = scene.take_app().stop().await;
    assert_eq!(report.unconfirmed, 0);
    let login = "POST /base/token HTTP/1.1";
    assert_eq!(lines(&entrance), [login, login]);
    let got = lines(&home);
    let (logouts, others): (Vec<_>, Vec<_>) =
        got.into_iter().partition(|line| line.contains("logout"));
    let expected = ["/x?y=1", "/dead", "/dead", "/forbidden", "/me", "/moved"];
    assert_eq!(others, expected.map(|path| format!("GET {path} HTTP/1.1")));
    assert!(!logouts.is_empty());
    let host = home.origin().replace("http://", "host: ");
    assert!(home.requests().iter().all(|request| request.contains(&host)));
    assert!(!home.heard().contains("password="), "the password left the entrance");
}

/// Fails when an answer can send a session's requests to a place that the recipe does not allow, or when
/// they go to the upstream itself then.
#[tokio::test]
async fn an_answer_cannot_send_a_session_where_the_recipe_does_not_allow() {
    let (allowed, evil) = (home().await, home().await);
    let tricks: Vec<Home> = vec![
        |places| places[1].clone(),
        |places| places[0].replace("http://", "http://x@"),
        |places| format!("{}.evil.example", places[0]),
        |places| format!("{}/path", places[0]),
        |places| places[0].replace("http://", "https://"),
        |places| places[0].replace("http://", "//"),
        |_| String::new(),
        |_| "javascript:alert(1)".to_owned(),
    ];
    for trick in tricks {
        let places = vec![allowed.origin(), evil.origin()];
        let home = trick(&places);
        let entrance = Puppet::start(move |_| {
            Reply::json(&serde_json::json!({ "token": "a-token", "home": home }).to_string())
        })
        .await;
        let (scene, _folder) = scene(&entrance, &allowed.origin(), "").await;
        let answer = scene.call("GET", "/x").send().await;
        assert_eq!(answer.status.as_u16() / 100, 5, "{answer:?}");
        assert_eq!(lines(&entrance).len(), 1, "more than the login");
    }
    assert!(allowed.requests().is_empty() && evil.requests().is_empty());
}

/// Fails when a session of one place is sent to another that a later login tells of.
#[tokio::test]
async fn each_session_goes_to_its_own_place() {
    let (first, second) = (home().await, home().await);
    let places = vec![first.origin(), second.origin()];
    let homes: Vec<Home> = vec![|places| places[0].clone(), |places| places[1].clone()];
    let entrance = entrance(homes, places).await;
    let (scene, _folder) = scene(&entrance, &first.origin(), &second.origin()).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    // Sent again, it goes where the next session lives.
    assert_eq!(scene.call("GET", "/dead").send().await.status, 200);
    assert_eq!(scene.call("GET", "/y").send().await.status, 200);
    assert_eq!(lines(&first), ["GET /x HTTP/1.1", "GET /dead HTTP/1.1"]);
    assert_eq!(lines(&second), ["GET /dead HTTP/1.1", "GET /y HTTP/1.1"]);
    let heard = (first.heard(), second.heard());
    assert!(heard.0.contains("token-of-login-0") && !heard.0.contains("token-of-login-1"));
    assert!(heard.1.contains("token-of-login-1") && !heard.1.contains("token-of-login-0"));
}
