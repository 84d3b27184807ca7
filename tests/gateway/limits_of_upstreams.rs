//! What an upstream says of its own limits: pauses, and what is left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorward::emulator::{Forced, Vendor, contentstack};
use doorward::telemetry::Event;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::vendors::{self, read, read_line};

const VENDOR: Vendor = Vendor::Contentstack;

fn arrived(scene: &Scene, line: &str) -> usize {
    let requests = scene.control().requests();
    requests.iter().filter(|one| format!("{} {}", one.method, one.target) == line).count()
}

/// An organization that may read three times a second, and write twice.
async fn start() -> Scene {
    let scene = Setup::of(VENDOR).start().await;
    for (name, value) in [
        ("rate_limit", json!(true)),
        ("reads_per_second", json!(3)),
        ("writes_per_second", json!(2)),
    ] {
        scene.control().switch(name, value).unwrap();
    }
    // The emulator counts in whole seconds.
    let into = scene.clock.now().since_first().subsec_nanos();
    scene.clock.advance(Duration::from_secs(1) - Duration::from_nanos(into.into()));
    scene
}

/// Fails when the last answer before a 429 is not heeded, when everybody waits longer than the
/// vendor's window, or when writes wait where only reads are used up.
#[tokio::test]
async fn where_nothing_is_left_everybody_waits_instead_of_being_told_429() {
    let scene = start().await;
    for _ in 0..3 {
        assert_eq!(read(&scene).send().await.status, 200);
        scene.clock.advance(Duration::from_millis(200));
    }
    let waiting: Vec<_> = (0..4).map(|_| read(&scene).spawn()).collect();
    until("all wait", || scene.waiting() == 4).await;
    assert_eq!(vendors::write(&scene, 0).send().await.status, 201, "a write does not wait");
    scene.clock.advance(Duration::from_millis(390));
    assert_eq!((scene.waiting(), arrived(&scene, read_line(VENDOR))), (4, 3));
    scene.clock.advance(Duration::from_millis(20));
    // The first one of the next window goes, and with it all that wait: nothing bounds them here.
    until("all go on", || scene.waiting() == 0).await;
    let answers = statuses(waiting).await;
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 3);
    assert_eq!(scene.control().counters().rate_limited, 1);
    scene.stop().await;
}

/// The status of each answer.
async fn statuses(calls: Vec<JoinHandle<Answer>>) -> Vec<u16> {
    let mut answers = Vec::new();
    for call in calls {
        answers.push(within(call).await.unwrap().status.as_u16());
    }
    answers
}

/// Fails when an account that is kept at its vendor's rate meets its 429, or is slower than that.
#[tokio::test]
async fn an_account_at_its_vendors_rate_never_meets_a_429() {
    let mut setup = Setup::of(VENDOR);
    setup.upstream = "limits = { reads = { requests = 10, per = \"1s\" } }".to_owned();
    let scene = setup.start().await;
    scene.control().switch("rate_limit", json!(true)).unwrap();
    let calls: Vec<_> = (0..50).map(|_| read(&scene).spawn()).collect();
    let done =
        |calls: &[JoinHandle<Answer>]| calls.iter().filter(|call| call.is_finished()).count();
    until("the burst is answered", || done(&calls) == 10 && scene.waiting() == 40).await;
    for second in 1..=4 {
        scene.clock.advance(Duration::from_millis(990));
        assert_eq!(done(&calls), 10 * second, "the upstream has nothing left");
        scene.clock.advance(Duration::from_millis(10));
        until("ten more are answered", || done(&calls) == 10 + 10 * second).await;
    }
    assert_eq!(scene.control().counters().rate_limited, 0);
    for call in calls {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    scene.stop().await;
}

/// Fails when a date in `Retry-After` is not understood.
#[tokio::test]
async fn a_429_may_say_until_when_by_a_date() {
    let scene = Setup::of(VENDOR).start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let until_then = httpdate::fmt_http_date(scene.clock.wall() + Duration::from_secs(90));
    let too_much = Forced {
        matching: read_line(VENDOR).to_owned(),
        times: 1,
        status: Some(429),
        headers: vec![("retry-after".to_owned(), until_then)],
        ..Forced::default()
    };
    scene.control().force(too_much).unwrap();
    assert_eq!(read(&scene).send().await.status, 429);
    // It would be told too late.
    let refused = read(&scene).send().await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (429, "rate_limited".to_owned()));
    let seconds: u64 = refused.one("retry-after").parse().unwrap();
    assert!((89..=90).contains(&seconds), "{seconds}");
    assert_eq!(refused.one("ratelimit"), format!("\"account-reads\";r=0;t={seconds}"));
    scene.clock.advance(Duration::from_secs(90));
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

const THROTTLE: &str = r#"
[throttle]
pause = "5s"
remaining = "X-Left"
reset = { header = "X-More-At", unit = "epoch_seconds" }
"#;

/// A puppet behind Contentstack's recipe with other words about its limits.
async fn told_by(
    throttle: &str,
    script: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> (Scene, Puppet) {
    let puppet = Puppet::logged_in(script).await;
    let (_, recipe) =
        *doorward::recipe::BUILT_IN.iter().find(|(name, _)| *name == "contentstack").unwrap();
    let recipe = recipe.split("\n[throttle]").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "mine.toml", &format!("{recipe}\n{throttle}"));
    let mut setup = puppet.setup(VENDOR);
    setup.recipe = format!("recipe_file = {path:?}");
    (setup.start().await, puppet)
}

fn ask(scene: &Scene, method: &str) -> Call {
    scene.call(method, "/v3/stacks").header("api_key", contentstack::API_KEY)
}

fn epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn answer(status: u16, fields: &str) -> Reply {
    Reply::keep(format!("HTTP/1.1 {status} Whatever\r\n{fields}content-length: 0\r\n\r\n"))
}

/// Fails when the recipe's own fields are not read, when its pause is not taken, or when what it
/// says of nothing is taken for more than the longest pause.
#[tokio::test]
async fn a_recipe_says_where_an_upstream_tells_what_is_left() {
    let now = epoch(SystemTime::now());
    let (scene, puppet) = told_by(THROTTLE, move |request| {
        let case = request.lines().find_map(|line| line.strip_prefix("x-case: "));
        match case.unwrap_or_default() {
            "left" => answer(200, &format!("x-left: 4\r\nx-more-at: {}\r\n", now + 9000)),
            "none" => answer(200, &format!("x-left: 0\r\nx-more-at: {}\r\n", now + 30)),
            "never" => answer(200, &format!("x-left: 0\r\nx-more-at: {}\r\n", now * 2)),
            "silent" => answer(429, ""),
            _ => answer(200, ""),
        }
    })
    .await;
    let case = |name: &str| ask(&scene, "GET").header("x-case", name).send();
    assert_eq!(case("left").await.status, 200);
    assert_eq!(case("").await.status, 200, "with some left nobody waits");
    assert_eq!(case("none").await.status, 200);
    let waits = ask(&scene, "POST").spawn();
    until("it waits", || scene.waiting() == 1).await;
    scene.clock.advance(Duration::from_secs(28));
    assert_eq!((scene.waiting(), puppet.calls().len()), (1, 3));
    scene.clock.advance(Duration::from_secs(3));
    assert_eq!(within(waits).await.unwrap().status, 200);
    // A 429 without a word: as long as the recipe says.
    assert_eq!(case("silent").await.status, 429);
    let waits = ask(&scene, "GET").spawn();
    until("it waits", || scene.waiting() == 1).await;
    scene.clock.advance(Duration::from_millis(4900));
    assert_eq!(scene.waiting(), 1);
    scene.clock.advance(Duration::from_millis(200));
    assert_eq!(within(waits).await.unwrap().status, 200);
    assert_eq!(case("never").await.status, 200);
    let refused = case("").await;
    assert_eq!((refused.status.as_u16(), refused.one("retry-after")), (429, "900"));
    scene.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(case("").await.status, 200);
    let ended = scene.stop().await;
    let told = ended.events.iter().filter(|event| matches!(event, Event::Paused { .. })).count();
    assert_eq!(told, 1, "only the 429 is told of");
}

/// Fails when the field of the draft is read though the recipe does not say so, or not read though
/// it does.
#[tokio::test]
async fn the_field_of_the_draft_is_read_where_the_recipe_says_so() {
    for (throttle, waiting) in [("", 0), ("[throttle]\nratelimit = true\n", 1)] {
        let (scene, _puppet) =
            told_by(throttle, |_| answer(200, "ratelimit: \"default\";r=0;t=20\r\n")).await;
        assert_eq!(ask(&scene, "GET").send().await.status, 200);
        let next = ask(&scene, "GET").spawn();
        until("it waits, or is answered", || scene.waiting() == 1 || next.is_finished()).await;
        assert_eq!(scene.waiting(), waiting);
        scene.clock.advance(Duration::from_secs(20));
        assert_eq!(within(next).await.unwrap().status, 200);
        scene.stop().await;
    }
}
