//! What an answer says of the session: expired, alive, ambiguous, out of order.

use std::time::Duration;

use doorward::emulator::{Forced, Vendor, mfiles, thoughtspot};
use serde_json::json;

use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup};
use crate::vendors::{read, read_line, write};

/// Sends a call that the vendor refuses for its own reasons, twice, and proves that it cost no
/// login and arrived once each time. The answer.
async fn refused_by_the_vendor(scene: &Scene, call: impl Fn() -> Call) -> Answer {
    assert_eq!(read(scene).send().await.status, 200);
    scene.control().reset_counters();
    let (first, second) = (call().send().await, call().send().await);
    assert_eq!(first.status, second.status);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests), (0, 2), "{:?}", scene.control().requests());
    assert_eq!(counters.requests_with_live_credential, 2);
    assert_eq!(first.problem(), "");
    first
}

/// Fails when 403 alone counts as expiry, or when the veto of `IsLoggedToApplication` is missing.
#[tokio::test]
async fn a_forbidden_object_of_m_files_is_the_clients_answer() {
    let scene = Scene::of(Vendor::MFiles).await;
    let call = || scene.call("GET", "/REST/objects/0/13/latest").header("x-vault", mfiles::VAULT);
    let answer = refused_by_the_vendor(&scene, call).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["IsLoggedToApplication"], json!(true));
    assert_eq!(answer.one("doorward-replay"), "");
    scene.stop().await;
}

/// Fails when the vetoes of 161 or of another `errors` key are missing.
#[tokio::test]
async fn contentstacks_401s_about_something_else_are_the_clients_answers() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let control = scene.control();
    control.switch("unknown_api_key", json!("unauthorized")).unwrap();
    let call = || scene.call("GET", "/v3/content_types").header("api_key", "bltunknown");
    let answer = refused_by_the_vendor(&scene, call).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error_code"].as_u64()), (401, Some(105)));
    assert!(answer.json()["errors"]["api_key"].is_array());

    control.switch("deny_environment", json!(true)).unwrap();
    control.reset_counters();
    let denied = read(&scene).send().await;
    assert_eq!((denied.status.as_u16(), denied.json()["error_code"].as_u64()), (401, Some(161)));
    assert_eq!((control.counters().logins, control.counters().requests), (0, 1));
    scene.stop().await;
}

/// Fails when 400 or 403 counts as expiry at ThoughtSpot.
#[tokio::test]
async fn a_wrong_org_and_a_missing_privilege_are_the_clients_answers() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    let wrong_org = || {
        scene.call("POST", "/api/rest/2.0/users/search").json(&json!({ "org_identifiers": [7] }))
    };
    let answer = refused_by_the_vendor(&scene, wrong_org).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("13090"));

    let forbidden = || {
        let id = thoughtspot::PRIVATE_LIVEBOARD.replace(' ', "%20");
        let target = format!("/callosum/v1/tspublic/v1/metadata/details?id=%5B%22{id}%22%5D");
        scene.call("GET", &target)
    };
    let answer = refused_by_the_vendor(&scene, forbidden).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_u64()), (403, Some(10023)));
    scene.stop().await;
}

/// Fails when an answer that was looked at is not passed on byte for byte.
#[tokio::test]
async fn an_answer_that_was_looked_at_is_passed_on_byte_for_byte() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let body = "{ \"error_code\" :161,\r\n\t\"x\": \"\\u00e9\", \"error_code\":161 }  ";
    let odd = Forced {
        matching: "GET /v3/odd".to_owned(),
        status: Some(401),
        headers: vec![("x-odd".to_owned(), "1".to_owned())],
        body: body.to_owned(),
        ..Forced::default()
    };
    scene.control().force(odd).unwrap();
    let answer = scene.call("GET", "/v3/odd").send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, body));
    assert_eq!((answer.one("x-odd"), answer.one("content-length")), ("1", "58"));
    scene.stop().await;
}

/// Fails when bodies are judged before they are decoded, or when codings are asked for that we
/// cannot read.
#[tokio::test]
async fn a_compressed_refusal_is_judged() {
    for (accepted, chosen) in
        [("gzip", "gzip"), ("br", "br"), ("deflate, gzip;q=0.5", "gzip"), ("zstd, br", "br")]
    {
        // Where bodies are searched no coding is asked for.
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.upstream = "search_bodies = \"off\"".to_owned();
        let scene = setup.start().await;
        assert_eq!(read(&scene).send().await.status, 200);
        // Long enough to be worth compressing.
        let padding = "x".repeat(2000);
        let dead = Forced {
            matching: read_line(Vendor::Contentstack).to_owned(),
            times: 2,
            status: Some(401),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: json!({ "x": padding, "error_code": 105 }).to_string(),
            ..Forced::default()
        };
        scene.control().force(dead).unwrap();
        let direct = scene.call_emulator("GET", "/v3/content_types");
        let direct = direct.header("accept-encoding", accepted).send().await;
        assert_eq!((direct.status.as_u16(), direct.one("content-encoding")), (401, chosen));
        let answer = read(&scene).header("accept-encoding", accepted).send().await;
        assert_eq!(answer.status, 200, "{accepted}");
        assert_eq!(scene.control().counters().logins, 2, "{accepted}");
        within_stop(scene).await;
    }
    let mut setup = Setup::of(Vendor::MFiles);
    setup.upstream.push_str("\nsearch_bodies = \"off\"");
    let scene = setup.start().await;
    scene.control().switch("compress", json!(true)).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().expire_sessions();
    assert_eq!(read(&scene).header("accept-encoding", "br").send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 2);
    scene.stop().await;
}

/// Fails when the refusal of the other node of a cluster is not known.
#[tokio::test]
async fn a_token_of_the_other_node_costs_one_login() {
    let scene = Scene::of(Vendor::MFiles).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let oaep = Forced {
        matching: read_line(Vendor::MFiles).to_owned(),
        status: Some(403),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({ "Exception": { "InnerException": {
            "Message": "Error occurred while decoding OAEP padding." } } })
        .to_string(),
        ..Forced::default()
    };
    scene.control().force(oaep).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 2);
    scene.control().switch("two_nodes", json!(true)).unwrap();
    for _ in 0..10 {
        assert_eq!(read(&scene).send().await.status, 200);
    }
    let control = scene.control().clone();
    assert!(control.counters().logins <= 3, "the affinity cookie was not kept");
    within_stop(scene).await;
}

/// The session that was called dead by mistake lives on at the vendor.
async fn within_stop(mut scene: Scene) {
    crate::harness::within(scene.take_app().stop()).await;
    scene.ended().assert_no_leak();
}

fn page(vendor: Vendor, status: u16, times: u32) -> Forced {
    Forced {
        matching: read_line(vendor).to_owned(),
        times,
        status: Some(status),
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: "<html><h2>Forbidden</h2></html>".to_owned(),
        ..Forced::default()
    }
}

fn probes(scene: &Scene) -> usize {
    let records = scene.control().requests();
    records.iter().filter(|record| record.target == "/REST/session").count()
}

/// Fails when an ambiguous 403 logs in by itself, or asks the probe each time.
#[tokio::test]
async fn a_page_with_403_costs_one_probe_and_no_login_while_the_session_lives() {
    let scene = Scene::of(Vendor::MFiles).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().reset_counters();
    scene.control().force(page(Vendor::MFiles, 403, 50)).unwrap();
    let calls: Vec<_> = (0..50).map(|_| read(&scene).spawn()).collect();
    for call in calls {
        let answer = crate::harness::within(call).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.one("content-type")), (403, "text/html"));
    }
    assert_eq!((probes(&scene), scene.control().counters().logins), (1, 0));
    scene.stop().await;
}

/// Fails when a probe that finds the session dead does not lead to a login and a replay.
#[tokio::test]
async fn a_page_with_403_leads_to_a_login_when_the_session_is_dead() {
    let scene = Scene::of(Vendor::MFiles).await;
    scene.control().switch("refusal_body", json!("html")).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().expire_sessions();
    scene.control().reset_counters();
    assert_eq!(write(&scene, 1).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.writes, counters.duplicate_writes), (1, 1, 0));
    scene.stop().await;
}

/// Fails when a probe that got no judgement counts as "dead".
#[tokio::test]
async fn a_probe_that_is_throttled_or_broken_says_nothing() {
    for status in [429, 500, 503] {
        let scene = Scene::of(Vendor::MFiles).await;
        assert_eq!(read(&scene).send().await.status, 200);
        scene.control().reset_counters();
        scene.control().force(page(Vendor::MFiles, 403, 1)).unwrap();
        let busy = Forced {
            matching: "GET /REST/session".to_owned(),
            status: Some(status),
            ..Forced::default()
        };
        scene.control().force(busy).unwrap();
        assert_eq!(read(&scene).send().await.status, 403, "{status}");
        assert_eq!(scene.control().counters().logins, 0, "{status}");
        scene.stop().await;
    }
}

/// Fails when a maintenance page with 200 passes for an answer.
#[tokio::test]
async fn a_maintenance_page_with_200_is_a_typed_503() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().maintenance(true);
    scene.control().reset_counters();
    let answer = read(&scene).send().await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "upstream_unavailable"));
    assert_eq!(answer.one("retry-after"), "30");
    assert_eq!(scene.control().counters().logins, 0);
    scene.control().maintenance(false);
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 0);
    scene.stop().await;
}

/// Fails when a redirect to the login page is passed on instead of understood.
#[tokio::test]
async fn a_redirect_to_the_login_page_leads_to_a_login_and_a_replay() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    scene.control().switch("saml", json!(true)).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().expire_sessions();
    scene.control().reset_counters();
    assert_eq!(write(&scene, 1).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.writes), (1, 1));
    scene.stop().await;
}

/// Fails when an endpoint that always says 401 begins a login for each request.
#[tokio::test]
async fn an_endpoint_that_always_says_401_does_not_start_a_storm_of_logins() {
    let scene = Scene::of(Vendor::Contentstack).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let always = Forced {
        matching: "GET /v3/always".to_owned(),
        times: u32::MAX,
        status: Some(401),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({ "error_code": 105, "errors": { "authtoken": ["is not valid."] } })
            .to_string(),
        ..Forced::default()
    };
    scene.control().force(always).unwrap();
    for _ in 0..100 {
        let answer = scene.call("GET", "/v3/always").send().await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["error_code"], json!(105));
    }
    // One for the first answer; the second one's contradiction makes the probe be asked.
    assert_eq!(scene.control().counters().logins, 2);
    // When the session really dies, it is found dead all the same.
    scene.control().expire_sessions();
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 3);
    within_stop(scene).await;
}

/// Fails when a contradicted session of a recipe without a probe is believed in for ever.
#[tokio::test]
async fn without_a_probe_a_contradicted_session_that_dies_is_found_dead_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let built_in = include_str!("../../config/recipes/contentstack.toml");
    let (before, after) = built_in.split_once("[probe]").unwrap();
    let (_, after) = after.split_once("[[logout.steps]]").unwrap();
    let recipe = format!("{before}[[logout.steps]]{after}");
    let path = crate::harness::write(folder.path(), "recipe.toml", &recipe);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    let scene = setup.start().await;
    let dead = Forced {
        matching: "GET /v3/always".to_owned(),
        times: 20,
        status: Some(401),
        body: json!({ "error_code": 105 }).to_string(),
        ..Forced::default()
    };
    scene.control().force(dead).unwrap();
    for _ in 0..10 {
        assert_eq!(scene.call("GET", "/v3/always").send().await.status, 401);
    }
    assert_eq!(scene.control().counters().logins, 2);
    scene.control().expire_sessions();
    assert_eq!(read(&scene).send().await.status, 401);
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 3);
    within_stop(scene).await;
}
