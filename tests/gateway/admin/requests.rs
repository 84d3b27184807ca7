//! The last requests and their stories.

use doorward::emulator::Vendor;
use serde_json::{Value, json};

use super::{ADMIN, ask, key, problem, shown, until_shown, watched};
use crate::harness::{Setup, until, within};
use crate::vendors::{login_line, read, read_line};

const REQUESTS: &str = "/admin/v1/requests";

/// Fails when the story of a request leaves out what an operator looks for: which session was refused,
/// who shared the login, that it was sent again.
#[tokio::test]
async fn the_story_of_a_request_tells_what_happened_to_it() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let first = until_shown(&scene, REQUESTS, "it is told", |all| all["total"] == 1).await;
    let first = &first["items"][0];
    assert_eq!((&first["awaited_login"], &first["login_shared_by"]), (&json!(true), &json!(1)));
    let begin = format!("waited for a login; sent with session {}; 200", first["generation"]);
    assert!(first["story"].as_str().unwrap().starts_with(&begin), "{first}");

    assert_eq!(scene.control().expire_sessions(), 1);
    let held = scene.control().hold(read_line(Vendor::Contentstack));
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let calls: Vec<_> = (0..6).map(|_| read(&scene).spawn()).collect();
    within(held.arrived(6)).await;
    held.release();
    within(login.arrived(1)).await;
    let all_wait = |all: &Value| all["items"][0]["waiters"] == 6;
    until_shown(&scene, "/admin/v1/sessions", "all wait", all_wait).await;
    login.release();
    for call in calls {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    let all = until_shown(&scene, REQUESTS, "all are told", |all| all["total"] == 7).await;
    let told = &all["items"][0];
    let (old, new) = (first["generation"].as_u64().unwrap(), told["generation"].as_u64().unwrap());
    assert!(new > old);
    let story = format!(
        "session {old} was refused (401); 1 login shared by 6 waiting requests; replayed with \
         session {new}; 200 from the upstream after "
    );
    assert!(told["story"].as_str().unwrap().starts_with(&story), "{told}");
    assert_eq!(told["refused"], json!({ "generation": old, "status": 401 }));
    assert_eq!((&told["replayed"], &told["reason"]), (&json!(true), &json!("replayed")));
    let logins = shown(&scene, "/admin/v1/logins").await;
    assert_eq!(
        (&logins["items"][0]["trigger"], &logins["items"][0]["shared_by"]),
        (&json!("expired"), &json!(6))
    );
    let one = shown(&scene, &format!("{REQUESTS}/{}", told["id"].as_str().unwrap())).await;
    assert_eq!(&one, told);
    let none = ask(&scene, "GET", &format!("{REQUESTS}/no-such-id")).send().await;
    assert_eq!(problem(&none), "not_found");
    scene.stop().await;
}

/// Fails when filters let the wrong requests through, or what a client put into a path is shown.
#[tokio::test]
async fn requests_are_filtered_and_show_nothing_that_is_secret() {
    let (alice, bob) = (key("alice"), key("bob"));
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice), ("bob", &bob)]);
    let scene = watched(setup).await;
    let send = |by: &doorward::access::key::ClientKey, target: &str| {
        let call = scene.call("GET", target).header("doorward-key", by.expose());
        call.header("api_key", doorward::emulator::contentstack::API_KEY).send()
    };
    assert_eq!(send(&alice, "/v3/content_types?canary=canary-query").await.status, 200);
    assert_eq!(send(&bob, "/v3/content_types").await.status, 200);
    assert_eq!(send(&bob, "/v3/nothing").await.status, 404);
    send(&bob, &format!("/v3/{}", alice.expose())).await;
    let stranger =
        scene.call("GET", "/v3/content_types").header("doorward-key", "canary").send().await;
    assert_eq!(stranger.status, 401);
    let all = until_shown(&scene, REQUESTS, "all are told", |all| all["total"] == 5).await;
    let count = |filter: &str| {
        let target = format!("{REQUESTS}?{filter}");
        let scene = &scene;
        async move { shown(scene, &target).await["total"].as_u64().unwrap() }
    };
    for (filter, expected) in [
        ("client=alice", 1),
        ("client=bob", 3),
        ("client=nobody", 0),
        ("upstream=vendor", 5),
        ("upstream=other", 0),
        ("status=200", 2),
        ("status=4xx", 3),
        ("status=%3E%3D400&client=bob", 2),
        ("path=/v3/content_types", 3),
        ("path=/v3/*", 4),
        ("path=*nothing", 1),
    ] {
        assert_eq!(count(filter).await, expected, "{filter}: {all}");
    }
    for wrong in ["status=abc", "unknown=1", "after=x", "limit=0"] {
        let refused = ask(&scene, "GET", &format!("{REQUESTS}?{wrong}")).send().await;
        assert_eq!(problem(&refused), "bad_request", "{wrong}");
    }
    let text = all.to_string();
    assert!(!text.contains("canary") && !text.contains(&alice.expose()[20..]), "{text}");
    assert!(text.contains("/[client credential]"), "{text}");
    // In parts, the newest first, and nothing twice.
    let (mut ids, mut target) = (Vec::new(), format!("{REQUESTS}?limit=2"));
    loop {
        let page = shown(&scene, &target).await;
        ids.extend(page["items"].as_array().unwrap().iter().map(|one| one["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => target = format!("{REQUESTS}?limit=2&after={next}"),
            None => break,
        }
    }
    let whole: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
    assert_eq!(ids, whole);
    scene.stop().await;
}

/// Fails when more is kept than what was asked for.
#[tokio::test]
async fn the_oldest_requests_make_room() {
    let tables = format!("{ADMIN}requests_kept = 3\n");
    let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(read(&scene).send().await.one("x-request-id").to_owned());
    }
    let last = ids[4].clone();
    let is_there = move |all: &Value| all["items"][0]["id"] == last.as_str();
    let all = until_shown(&scene, REQUESTS, "the last one is told", is_there).await;
    let kept: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    let expected: Vec<Value> = ids.iter().rev().take(3).map(|id| id.as_str().into()).collect();
    assert_eq!(kept, expected);
    scene.stop().await;
}

/// Fails when requests are reported although nobody keeps or watches them, or are not while somebody
/// watches.
#[tokio::test]
async fn where_no_story_is_kept_requests_are_told_only_while_somebody_watches() {
    let tables = format!("{ADMIN}requests_kept = 0\n");
    let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    // This scene's own reader wants all of them: what counts is what is kept.
    assert_eq!(read(&scene).send().await.status, 200);
    until("it is told", || scene.events().iter().any(is_request)).await;
    assert_eq!(shown(&scene, REQUESTS).await["total"], 0);
    scene.stop().await;
}

fn is_request(event: &doorward::telemetry::Event) -> bool {
    matches!(event, doorward::telemetry::Event::Request(_))
}
