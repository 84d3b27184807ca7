//! A stale token against forgery is fetched anew, once for everybody, and costs no login.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use tempfile::TempDir;

use crate::harness::{Scene, until, within, write};
use crate::puppet::{Puppet, Reply};

const RECIPE: &str = r#"
    name = "guarded"
    title = "A service whose writes need a token against forgery"
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [
        { cookies = true },
        { header = "X-CSRF-Token", value = "{{csrf}}", methods = "unsafe" },
    ]
    [session]
    cookies = "rolling"
    max_age = "1h"
    [[login.steps]]
    name = "log in"
    method = "POST"
    path = "/login"
    form = { user = "{{username}}", password = "{{password}}" }
    [[renew.steps]]
    name = "fetch a token"
    method = "HEAD"
    path = "/service"
    headers = { X-CSRF-Token = "Fetch" }
    take.csrf = { header = "X-CSRF-Token" }
    [[verdict]]
    when = { status = [403], header = [{ name = "X-CSRF-Token", matches = "(?i)^required$" }] }
    then = "renew"
    [[verdict]]
    when = { status = [401] }
    then = "expired"
"#;

/// Which token is good: the number of those that were fetched, or none ever.
struct Service {
    fetched: AtomicUsize,
    stale: AtomicUsize,
    order: Mutex<Vec<&'static str>>,
}

const NONE_IS_GOOD: usize = usize::MAX;

async fn puppet() -> (Puppet, Arc<Service>) {
    let service = Arc::new(Service {
        fetched: AtomicUsize::new(0),
        stale: AtomicUsize::new(0),
        order: Mutex::default(),
    });
    let shared = Arc::clone(&service);
    let puppet = Puppet::start(move |request| {
        let service = &shared;
        let told = |what| service.order.lock().unwrap().push(what);
        let head = request.split("\r\n\r\n").next().unwrap();
        let required = "HTTP/1.1 403 No\r\nx-csrf-token: Required\r\ncontent-length: 0\r\n\r\n";
        let token = head.lines().find_map(|line| line.strip_prefix("x-csrf-token: "));
        if head.starts_with("POST /login ") {
            told("login");
            Reply::keep("HTTP/1.1 200 OK\r\nset-cookie: sid=1; Path=/\r\ncontent-length: 0\r\n\r\n")
        } else if head.starts_with("HEAD /service ") {
            told("fetch");
            assert!(head.contains("cookie: sid="), "{head}");
            assert_eq!(token, Some("Fetch"), "{head}");
            let number = service.fetched.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::keep(format!(
                "HTTP/1.1 200 OK\r\nx-csrf-token: the-token-number-{number}\r\n\
                 set-cookie: sid=1{number}; Path=/\r\n\r\n"
            ))
        } else if head.starts_with("GET ") {
            told("read");
            assert_eq!(token, None, "{head}");
            Reply::json("{}")
        } else {
            let stale = service.stale.load(Ordering::SeqCst);
            let number = token.and_then(|token| token.strip_prefix("the-token-number-"));
            let number: usize = number.map_or(0, |number| number.parse().unwrap());
            if stale == NONE_IS_GOOD || number <= stale {
                told("refused");
                return Reply::keep(required);
            }
            // The token and the cookie that it was made with.
            let cookie = format!("cookie: sid=1{number}");
            assert!(head.lines().any(|line| line == cookie), "{head}");
            told("written");
            Reply::json("{}")
        }
    })
    .await;
    (puppet, service)
}

async fn scene(puppet: &Puppet) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "guarded.toml", RECIPE);
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    (setup.start().await, folder)
}

impl Service {
    fn told(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.order.lock().unwrap())
    }
}

/// Fails when a stale token costs a login, when only half of the pair is renewed, or when the request is
/// not sent again.
#[tokio::test]
async fn a_stale_token_is_fetched_anew_without_a_login() {
    let (puppet, service) = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let write = |text: &str| scene.call("POST", "/things").body(text.to_owned());
    assert_eq!(scene.call("GET", "/things").send().await.status, 200);
    assert_eq!(service.told(), ["login", "read"]);

    assert_eq!(write("one").send().await.status, 200);
    assert_eq!(service.told(), ["refused", "fetch", "written"]);
    assert_eq!(write("two").send().await.status, 200);
    assert_eq!(service.told(), ["written"]);
    let body = puppet.requests().pop().unwrap();
    assert!(body.ends_with("\r\n\r\ntwo"), "{body}");

    service.stale.store(1, Ordering::SeqCst);
    scene.clock.advance(Duration::from_secs(5));
    let answer = write("three").send().await;
    assert_eq!((answer.status.as_u16(), answer.all("x-csrf-token").len()), (200, 0));
    assert_eq!(service.told(), ["refused", "fetch", "written"]);
    let told = |wanted: fn(&Event) -> bool| scene.events().iter().filter(|it| wanted(it)).count();
    let renewals = || told(|event| matches!(event, Event::Renewed { outcome: Ok(_), .. }));
    until("both are told", || renewals() == 2).await;
    assert_eq!(told(|event| matches!(event, Event::Refreshed { .. })), 0, "it is no refresh");
}

/// Fails when many stale answers cost as many renewals, or one of them is lost.
#[tokio::test]
async fn a_hundred_stale_answers_cost_one_renewal() {
    let (puppet, service) = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    assert_eq!(scene.call("GET", "/things").send().await.status, 200);
    let writes: Vec<_> =
        (0..100).map(|_| scene.call("POST", "/things").body("x").spawn()).collect();
    for write in writes {
        assert_eq!(within(write).await.unwrap().status, 200);
    }
    let told = service.told();
    let count = |what| told.iter().filter(|told| **told == what).count();
    assert_eq!((count("login"), count("fetch"), count("written")), (1, 1, 100), "{told:?}");
}

/// Fails when an endpoint that calls every token stale costs a renewal for each request, a login, or hides
/// its answer.
#[tokio::test]
async fn an_endpoint_that_takes_no_token_is_passed_on() {
    let (puppet, service) = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    service.stale.store(NONE_IS_GOOD, Ordering::SeqCst);
    for _ in 0..5 {
        let answer = scene.call("POST", "/things").body("x").send().await;
        assert_eq!((answer.status.as_u16(), answer.one("x-csrf-token")), (403, "Required"));
    }
    let told = service.told();
    let count = |what| told.iter().filter(|told| **told == what).count();
    assert_eq!((count("login"), count("fetch"), count("refused")), (1, 1, 6), "{told:?}");
    scene.clock.advance(Duration::from_secs(2));
    scene.call("POST", "/things").body("x").send().await;
    until("it is tried again after a while", || service.told().contains(&"fetch")).await;
}

/// Fails when a renewal that gives nothing ends the session, or the client gets something else than the
/// upstream's answer.
#[tokio::test]
async fn a_renewal_that_fails_leaves_the_answer_as_it_is() {
    let puppet = Puppet::start(|request| match request.split(' ').next().unwrap() {
        "HEAD" => Reply::keep("HTTP/1.1 500 Broken\r\n\r\n"),
        "GET" => Reply::json("{}"),
        _ if request.starts_with("POST /login ") => Reply::json("{}"),
        _ => {
            Reply::keep("HTTP/1.1 403 No\r\nx-csrf-token: Required\r\ncontent-length: 3\r\n\r\nwhy")
        }
    })
    .await;
    let (scene, _folder) = scene(&puppet).await;
    let answer = scene.call("POST", "/things").body("x").send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (403, "why"));
    assert_eq!(scene.call("GET", "/things").send().await.status, 200);
    let logins = puppet.requests().iter().filter(|request| request.contains(" /login ")).count();
    assert_eq!(logins, 1);
}
