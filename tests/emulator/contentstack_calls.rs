//! Contentstack, contract rows C-6 to C-8: calls with a session.

use std::io::Read;
use std::time::Duration;

use doorward::emulator::Emulator;
use doorward::emulator::contentstack::{API_KEY, LOGIN, ORGANIZATION, OTHER_API_KEY};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::client::{Answer, Call, call};
use crate::contentstack::{login_as, started, token, user};

const ENTRIES: &str = "/v3/content_types/p/entries";

struct Desk {
    emulator: Emulator,
    token: String,
}

impl Desk {
    async fn open() -> Desk {
        let emulator = started().await;
        let token = token(&emulator).await;
        Desk { emulator, token }
    }

    fn call(&self, method: &str, target: &str) -> Call {
        call(&self.emulator, method, target).header("authtoken", &self.token)
    }

    fn stack_call(&self, method: &str, target: &str) -> Call {
        self.call(method, target).header("api_key", API_KEY)
    }

    fn switch(&self, name: &str, value: Value) {
        self.emulator.control().switch(name, value).unwrap();
    }
}

fn error_keys(answer: &Answer) -> Vec<String> {
    answer.json()["errors"].as_object().unwrap().keys().cloned().collect()
}

fn code(answer: &Answer) -> u64 {
    answer.json()["error_code"].as_u64().unwrap()
}

/// C-6
#[tokio::test]
async fn a_call_without_a_live_token_is_told_that_nobody_is_logged_in() {
    let desk = Desk::open().await;
    let dead = desk.token.clone();
    assert!(desk.emulator.control().expire_session(&dead));
    let foreign = "bltffffffffffffffffffffffffffffffffffffffff";
    for headers in [
        vec![],
        vec![("authtoken", "")],
        vec![("authtoken", dead.as_str())],
        vec![("authtoken", foreign)],
        vec![("authorization", "a management token")],
    ] {
        for target in ["/v3/user", ENTRIES, "/v3/nothing-here"] {
            let bare = call(&desk.emulator, "GET", target);
            let call = headers.iter().fold(bare, |call, (name, value)| call.header(name, value));
            let answer = call.send().await;
            assert_eq!((answer.status.as_u16(), code(&answer)), (401, 105));
            assert_eq!(
                answer.json()["error_message"],
                "You're not allowed in here unless you're logged in."
            );
            assert_eq!(answer.json()["errors"], json!({ "authtoken": ["is not valid."] }));
        }
    }
    let counters = desk.emulator.control().counters();
    assert_eq!(counters.requests_without_credential, 6);
    assert_eq!(counters.requests_with_dead_credential, 3);
    assert_eq!(counters.requests_with_foreign_credential, 6);
    assert_eq!(counters.requests_with_live_credential, 0);
}

/// C-6
#[tokio::test]
async fn a_stack_call_without_its_key_is_a_failed_precondition() {
    let desk = Desk::open().await;
    let answer = desk.call("GET", ENTRIES).send().await;
    assert_eq!((answer.status.as_u16(), error_keys(&answer)), (412, vec!["api_key".to_owned()]));
}

/// C-6
#[tokio::test]
async fn an_unknown_stack_key_is_refused_as_switched_and_the_session_lives_on() {
    let desk = Desk::open().await;
    let unknown = || desk.call("GET", ENTRIES).header("api_key", "blt0000000000000000").send();
    assert_eq!(unknown().await.status, 412);
    desk.switch("unknown_api_key", json!("unauthorized"));
    let answer = unknown().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 105));
    assert_eq!(error_keys(&answer), ["api_key"]);
    assert_eq!(user(&desk.emulator, &desk.token).await.status, 200);
}

/// C-6
#[tokio::test]
async fn a_missing_right_is_401_with_code_161_and_the_session_lives_on() {
    let desk = Desk::open().await;
    desk.switch("deny_environment", json!(true));
    let answer = desk.stack_call("GET", ENTRIES).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 161));
    assert_eq!(user(&desk.emulator, &desk.token).await.status, 200);
}

/// C-7
#[tokio::test]
async fn the_user_record_echoes_the_token_also_after_a_change() {
    let desk = Desk::open().await;
    let read = user(&desk.emulator, &desk.token).await.json();
    assert_eq!(read["user"]["authtoken"], desk.token);
    assert_eq!(read["user"]["email"], LOGIN);
    let change = json!({ "user": { "first_name": "Ewer", "uid": "mine" } });
    let changed = desk.call("PUT", "/v3/user").json(&change).send().await.json();
    assert_eq!(changed["user"]["first_name"], "Ewer");
    assert_eq!(changed["user"]["uid"], read["user"]["uid"]);
    assert_eq!(changed["user"]["authtoken"], desk.token);
    assert_eq!(desk.emulator.control().counters().writes, 1);
}

/// C-7
#[tokio::test]
async fn stacks_are_listed_and_an_organization_with_single_sign_on_must_be_named() {
    let desk = Desk::open().await;
    let stacks = desk.call("GET", "/v3/stacks").send().await.json();
    assert_eq!(stacks["stacks"].as_array().unwrap().len(), 2);
    let stack = desk.stack_call("GET", "/v3/stacks").send().await.json();
    assert_eq!(stack["stack"]["api_key"], API_KEY);

    desk.switch("single_sign_on_organization", json!(true));
    assert_eq!(desk.call("GET", "/v3/stacks").send().await.status, 412);
    let named = desk.call("GET", "/v3/stacks").header("organization_uid", ORGANIZATION);
    let named = named.send().await.json();
    assert_eq!(named["stacks"][0]["org_uid"], ORGANIZATION);
    let target = format!("/v3/stacks?organization_uid={ORGANIZATION}");
    assert_eq!(desk.call("GET", &target).send().await.json(), named);
}

/// C-7
#[tokio::test]
async fn entries_are_created_read_changed_and_deleted() {
    let desk = Desk::open().await;
    let types = desk.stack_call("GET", "/v3/content_types").send().await.json();
    assert!(types["content_types"].as_array().unwrap().iter().any(|kind| kind["uid"] == "p"));

    let made = json!({ "entry": { "title": "One" } });
    let made = desk.stack_call("POST", ENTRIES).json(&made).send().await;
    assert_eq!(made.status, 201);
    let uid = made.json()["entry"]["uid"].as_str().unwrap().to_owned();
    let target = format!("{ENTRIES}/{uid}");
    let change = json!({ "entry": { "title": "Two" } });
    let changed = desk.stack_call("PUT", &target).json(&change).send().await.json();
    assert_eq!(
        (&changed["entry"]["title"], &changed["entry"]["_version"]),
        (&json!("Two"), &json!(2))
    );

    let listed = desk.stack_call("GET", ENTRIES).send().await.json();
    assert_eq!(listed["entries"], json!([changed["entry"]]));
    let other = desk.call("GET", ENTRIES).header("api_key", OTHER_API_KEY).send().await.json();
    assert_eq!(other["entries"], json!([]));

    assert_eq!(desk.stack_call("DELETE", &target).send().await.status, 200);
    assert_eq!(desk.stack_call("GET", &target).send().await.status, 404);
    assert_eq!(desk.emulator.control().counters().writes, 3);
}

/// C-7
#[tokio::test]
async fn a_write_that_is_executed_twice_is_counted_as_a_duplicate() {
    let desk = Desk::open().await;
    for title in ["One", "Two", "One"] {
        let entry = json!({ "entry": { "title": title } });
        assert_eq!(desk.stack_call("POST", ENTRIES).json(&entry).send().await.status, 201);
    }
    // A refused write is not executed.
    let entry = json!({ "entry": { "title": "One" } });
    call(&desk.emulator, "POST", ENTRIES).json(&entry).send().await;
    let counters = desk.emulator.control().counters();
    assert_eq!((counters.writes, counters.duplicate_writes), (3, 1));
}

/// C-7
#[tokio::test]
async fn an_uploaded_asset_is_answered_with_its_name_and_size() {
    let desk = Desk::open().await;
    let content = vec![b'x'; 300_000];
    let mut form =
        b"--cut\r\nContent-Disposition: form-data; name=\"asset[title]\"\r\n\r\nA picture\r\n\
        --cut\r\nContent-Disposition: form-data; name=\"asset[upload]\"; filename=\"a.png\"\r\n\
        Content-Type: image/png\r\n\r\n"
            .to_vec();
    form.extend_from_slice(&content);
    form.extend_from_slice(b"\r\n--cut--\r\n");
    let kind = "multipart/form-data; boundary=cut";
    let upload = |form: Vec<u8>| {
        desk.stack_call("POST", "/v3/assets").header("content-type", kind).body(form).send()
    };

    let answer = upload(form.clone()).await;
    assert_eq!(answer.status, 201);
    let asset = &answer.json()["asset"];
    assert_eq!((&asset["filename"], &asset["file_size"]), (&json!("a.png"), &json!("300000")));
    assert_eq!(asset["title"], "A picture");
    let listed = desk.stack_call("GET", "/v3/assets").send().await.json();
    assert_eq!(listed["assets"], json!([asset]));
    let target = format!("/v3/assets/{}", asset["uid"].as_str().unwrap());
    assert_eq!(&desk.stack_call("GET", &target).send().await.json()["asset"], asset);

    // Half an upload is none.
    form.truncate(200_000);
    assert_eq!(upload(form).await.status, 422);
    assert_eq!(desk.emulator.control().counters().writes, 1);
    assert!(desk.emulator.control().requests().iter().any(|record| record.body_bytes == 200_000));
}

/// C-7
#[tokio::test]
async fn answers_are_compressed_for_clients_that_accept_it() {
    let desk = Desk::open().await;
    let get = |codings: &'static str| {
        desk.call("GET", "/v3/user").header("accept-encoding", codings).send()
    };
    let plain = get("identity").await;
    assert!(plain.all("content-encoding").is_empty());

    let gzip = get("gzip, compress, deflate, br").await;
    assert_eq!(gzip.all("content-encoding"), ["gzip"]);
    let mut decoded = Vec::new();
    GzDecoder::new(&gzip.body[..]).read_to_end(&mut decoded).unwrap();
    assert_eq!(decoded, plain.body);

    let brotli = get("br").await;
    assert_eq!(brotli.all("content-encoding"), ["br"]);
    let mut decoded = Vec::new();
    let mut decoder = brotli_decompressor::Decompressor::new(&brotli.body[..], 4096);
    decoder.read_to_end(&mut decoded).unwrap();
    assert_eq!(decoded, plain.body);

    assert!(get("gzip;q=0").await.all("content-encoding").is_empty());
    desk.switch("compress", json!(false));
    assert!(get("gzip").await.all("content-encoding").is_empty());
}

/// The common counter: requests of one token.
#[tokio::test]
async fn requests_are_counted_for_each_token() {
    let desk = Desk::open().await;
    let other = token(&desk.emulator).await;
    for _ in 0..3 {
        user(&desk.emulator, &desk.token).await;
    }
    user(&desk.emulator, &other).await;
    let control = desk.emulator.control();
    assert_eq!((control.requests_with(&desk.token), control.requests_with(&other)), (3, 1));
    control.reset_counters();
    assert_eq!(control.requests_with(&other), 0);
}

/// C-8
#[tokio::test]
async fn reads_and_writes_beyond_ten_a_second_get_429_without_a_time_to_come_back() {
    let desk = Desk::open().await;
    let read = || desk.stack_call("GET", ENTRIES).send();
    let write =
        || desk.stack_call("POST", ENTRIES).json(&json!({ "entry": { "title": "x" } })).send();
    for left in (0..10).rev() {
        let answer = read().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.all("x-ratelimit-limit"), ["10"]);
        assert_eq!(answer.all("x-ratelimit-remaining"), [left.to_string()]);
    }
    let beyond = read().await;
    assert_eq!(beyond.status, 429);
    assert_eq!(beyond.all("x-ratelimit-remaining"), ["0"]);
    assert!(beyond.all("retry-after").is_empty());

    for _ in 0..10 {
        assert_eq!(write().await.status, 201);
    }
    assert_eq!(write().await.status, 429);
    assert_eq!(desk.emulator.control().counters().writes, 10);
    assert_eq!(desk.emulator.control().counters().rate_limited, 2);

    desk.emulator.control().clock().advance(Duration::from_secs(1));
    assert_eq!(read().await.status, 200);
}

/// C-8
#[tokio::test]
async fn the_limit_belongs_to_the_organization_and_not_to_the_token() {
    let desk = Desk::open().await;
    for _ in 0..10 {
        desk.stack_call("GET", ENTRIES).send().await;
    }
    let other_token = token(&desk.emulator).await;
    let again = call(&desk.emulator, "GET", ENTRIES).header("authtoken", &other_token);
    assert_eq!(again.header("api_key", API_KEY).send().await.status, 429);
    let other = desk.call("GET", ENTRIES).header("api_key", OTHER_API_KEY).send().await;
    assert_eq!(other.status, 200);
}

/// C-8
#[tokio::test]
async fn one_bulk_operation_a_second_and_logins_without_a_limit() {
    let desk = Desk::open().await;
    let bulk =
        || desk.stack_call("POST", "/v3/bulk/publish").json(&json!({ "entries": [] })).send();
    assert_eq!(bulk().await.status, 200);
    assert_eq!(bulk().await.status, 429);
    for _ in 0..15 {
        assert_eq!(login_as(&desk.emulator, json!({ "email": "a" })).await.status, 422);
    }
    desk.switch("rate_limit", json!(false));
    assert_eq!(bulk().await.status, 200);
}

/// The common switch: the maintenance page.
#[tokio::test]
async fn maintenance_answers_every_path_with_a_page() {
    let desk = Desk::open().await;
    desk.emulator.control().maintenance(true);
    let answer = user(&desk.emulator, &desk.token).await;
    assert_eq!(answer.status, 503);
    assert!(answer.all("content-type")[0].starts_with("text/html"));
    desk.emulator.control().maintenance(false);
    assert_eq!(user(&desk.emulator, &desk.token).await.status, 200);
}

/// The common switch: an answer that is lost after its request was executed.
#[tokio::test]
async fn a_write_whose_answer_is_lost_was_executed() {
    let desk = Desk::open().await;
    let lost = doorward::emulator::Forced { reset: true, ..Default::default() };
    desk.emulator.control().force(lost).unwrap();
    let entry = json!({ "entry": { "title": "lost" } });
    assert!(desk.stack_call("POST", ENTRIES).json(&entry).try_send().await.is_err());
    assert_eq!(desk.emulator.control().counters().writes, 1);
}
