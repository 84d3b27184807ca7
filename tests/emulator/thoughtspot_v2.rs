//! ThoughtSpot, contract rows T-2, T-5, T-6 and T-11: REST API v2, tokens, large bodies.

use std::time::Duration;

use doorward::emulator::thoughtspot::{LOGIN, PASSWORD, PRIVATE_LIVEBOARD, SECRET_KEY};
use doorward::emulator::{Credential, Emulator, User};
use serde_json::{Value, json};

use crate::client::{Answer, Call, call};
use crate::thoughtspot::{cookies, started};

const V2: &str = "/api/rest/2.0";

fn post(emulator: &Emulator, target: &str, body: &Value) -> Call {
    call(emulator, "POST", &format!("{V2}{target}")).json(body)
}

fn read(emulator: &Emulator, target: &str) -> Call {
    call(emulator, "GET", &format!("{V2}{target}"))
}

async fn token_for(emulator: &Emulator, asked: Value) -> Answer {
    post(emulator, "/auth/token/full", &asked).send().await
}

async fn bearer(emulator: &Emulator) -> String {
    let answer = token_for(emulator, json!({ "username": LOGIN, "password": PASSWORD })).await;
    assert_eq!(answer.status, 200);
    bearer_in(&answer)
}

fn bearer_in(answer: &Answer) -> String {
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

async fn user(emulator: &Emulator, bearer: &str) -> Answer {
    read(emulator, "/auth/session/user").header("authorization", bearer).send().await
}

fn code(answer: &Answer) -> u64 {
    answer.json()["error"]["message"]["debug"]["code"].as_u64().unwrap()
}

/// T-5
#[tokio::test]
async fn a_json_login_gives_cookies_whatever_way_remember_me_is_written() {
    let emulator = started().await;
    for (remember, hours, status) in
        [(json!(true), 24, 200), (json!("true"), 24, 200), (json!("false"), 3, 401)]
    {
        let asked = json!({ "username": LOGIN, "password": PASSWORD, "remember_me": remember });
        let answer = post(&emulator, "/auth/session/login", &asked).send().await;
        assert_eq!((answer.status.as_u16(), answer.all("set-cookie").len()), (204, 2));
        let cookies = cookies(&answer);
        let call = || {
            read(&emulator, "/auth/session/user")
                .header("cookie", &cookies)
                .header("x-requested-by", "x")
        };
        assert_eq!(call().send().await.json()["name"], LOGIN);
        emulator.control().clock().advance(Duration::from_secs(hours * 60 * 60));
        assert_eq!(call().send().await.status, status, "after {hours} hours");
    }
}

/// T-5
#[tokio::test]
async fn cookies_need_requested_by_and_a_bearer_does_not() {
    let emulator = started().await;
    let asked = json!({ "username": LOGIN, "password": PASSWORD });
    let cookies = cookies(&post(&emulator, "/auth/session/login", &asked).send().await);
    let answer = read(&emulator, "/auth/session/user").header("cookie", &cookies).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (403, 10023));
    assert_eq!(user(&emulator, &bearer(&emulator).await).await.status, 200);
}

/// T-5
#[tokio::test]
async fn a_logout_ends_the_session() {
    let emulator = started().await;
    let asked = json!({ "username": LOGIN, "password": PASSWORD });
    let cookies = cookies(&post(&emulator, "/auth/session/login", &asked).send().await);
    let with = |call: Call| call.header("cookie", &cookies).header("x-requested-by", "x");
    let logout = with(post(&emulator, "/auth/session/logout", &Value::Null)).send().await;
    assert_eq!(logout.status, 204);
    let answer = with(read(&emulator, "/auth/session/user")).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003));
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// T-5
#[tokio::test]
async fn a_login_with_a_bearer_turns_it_into_a_session() {
    let emulator = started().await;
    let bearer = bearer(&emulator).await;
    let login = post(&emulator, "/auth/session/login", &json!({ "remember_me": true }));
    let answer = login.header("authorization", &bearer).send().await;
    assert_eq!((answer.status.as_u16(), answer.all("set-cookie").len()), (204, 2));
    let answer = post(&emulator, "/auth/session/login", &json!({})).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 10002));
}

/// T-5
#[tokio::test]
async fn tokens_are_complete_in_each_of_their_shapes() {
    let emulator = started().await;
    let asked = json!({ "username": LOGIN, "password": PASSWORD, "secret_key": "" });
    let token = token_for(&emulator, asked).await.json();
    let life = token["expiration_time_in_millis"].as_u64().unwrap()
        - token["creation_time_in_millis"].as_u64().unwrap();
    assert_eq!(life, 300_000);
    let scope = json!({ "access_type": "FULL", "org_id": 0, "metadata_id": null });
    assert_eq!(token["scope"], scope);
    assert_eq!(token["valid_for_username"], LOGIN);
    assert!(token["valid_for_user_id"].is_string());

    let asked = json!({ "username": LOGIN, "secret_key": SECRET_KEY, "object_id": "one",
                        "validity_time_in_sec": 60 });
    let token = post(&emulator, "/auth/token/object", &asked).send().await.json();
    let scope = json!({ "access_type": "REPORT_BOOK_VIEW", "org_id": 0, "metadata_id": "one" });
    assert_eq!(token["scope"], scope);

    let asked = json!({ "username": LOGIN, "secret_key": SECRET_KEY, "org_identifier": "1" });
    let answer = post(&emulator, "/auth/token/custom", &asked).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 10002), "no persist_option");
    let mut asked = asked;
    asked["persist_option"] = json!("NONE");
    let token = post(&emulator, "/auth/token/custom", &asked).send().await.json();
    assert_eq!((&token["org"]["id"], &token["user"]["name"]), (&json!(1), &json!(LOGIN)));
}

/// T-5
#[tokio::test]
async fn a_refused_token_login_says_so_in_the_shape_of_v2() {
    let emulator = started().await;
    let answer = token_for(&emulator, json!({ "username": LOGIN, "password": "wrong" })).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003));
    let answer = token_for(&emulator, json!({ "username": LOGIN })).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 10002));
    let asked = json!({ "username": LOGIN, "password": PASSWORD, "org_id": 7 });
    let answer = token_for(&emulator, asked).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 13090));
    assert_eq!(emulator.control().counters().logins_refused, 3);
}

/// T-5
#[tokio::test]
async fn any_session_gets_a_token_for_a_day() {
    let emulator = started().await;
    let first = bearer(&emulator).await;
    let answer = read(&emulator, "/auth/session/token").header("authorization", &first);
    let day = bearer_in(&answer.send().await);
    emulator.control().clock().advance(Duration::from_secs(23 * 60 * 60));
    assert_eq!(user(&emulator, &first).await.status, 401);
    assert_eq!(user(&emulator, &day).await.status, 200);
    emulator.control().clock().advance(Duration::from_secs(60 * 60));
    assert_eq!(user(&emulator, &day).await.status, 401);
}

/// T-5
#[tokio::test]
async fn tokens_are_validated_and_revoked() {
    let emulator = started().await;
    let (first, second) = (bearer(&emulator).await, bearer(&emulator).await);
    let value = second.strip_prefix("Bearer ").unwrap();
    let with_first = |call: Call| call.header("authorization", &first);
    let validate =
        || with_first(post(&emulator, "/auth/token/validate", &json!({ "token": value })));
    assert_eq!(validate().send().await.json()["token_type"], "BEARER");
    let revoke = with_first(post(&emulator, "/auth/token/revoke", &json!({ "token": value })));
    assert_eq!(revoke.send().await.status, 204);
    assert_eq!(user(&emulator, &second).await.status, 401);
    assert_eq!(emulator.control().requests().last().unwrap().credential, Credential::Dead);
    assert_eq!(validate().send().await.status, 401);
    // Without a name it is the caller's own.
    let revoke = with_first(post(&emulator, "/auth/token/revoke", &json!({})));
    assert_eq!(revoke.send().await.status, 204);
    assert_eq!(user(&emulator, &first).await.status, 401);
    assert_eq!(emulator.control().counters().logouts, 2);
}

/// T-5
#[tokio::test]
async fn users_and_metadata_are_found() {
    let emulator = started().await;
    emulator.control().add_user(User::new("second@example.com", "password-of-second-9"));
    let bearer = bearer(&emulator).await;
    let search = async |target: &str, asked: Value| {
        let answer = post(&emulator, target, &asked).header("authorization", &bearer).send().await;
        assert_eq!(answer.status, 200);
        answer.json().as_array().unwrap().clone()
    };
    assert_eq!(search("/users/search", json!({})).await.len(), 2);
    let found = search("/users/search", json!({ "user_identifier": LOGIN })).await;
    for field in ["id", "name", "display_name", "visibility", "current_org", "account_status"] {
        assert!(!found[0][field].is_null(), "{field}");
    }
    let boards = search("/metadata/search", json!({ "metadata": [{ "type": "LIVEBOARD" }] })).await;
    assert_eq!(boards[0]["metadata_name"], "Sales Performance");
    let asked = json!({ "metadata": [{ "name_pattern": "%a%" }], "record_size": 1 });
    assert_eq!(search("/metadata/search", asked).await.len(), 1);
    let asked = json!({ "metadata": [{ "identifier": PRIVATE_LIVEBOARD }] });
    assert!(search("/metadata/search", asked).await.is_empty());
}

/// T-2
#[tokio::test]
async fn a_search_in_a_closed_org_is_400_with_13090() {
    let emulator = started().await;
    let bearer = bearer(&emulator).await;
    for org in [json!(7), json!("7")] {
        let answer = post(&emulator, "/users/search", &json!({ "org_identifiers": [org] }))
            .header("authorization", &bearer)
            .send()
            .await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (400, 13090));
    }
}

/// T-5
#[tokio::test]
async fn a_forced_logout_ends_everybodys_session_and_needs_the_privilege() {
    let emulator = started().await;
    emulator.control().add_user(User::new("second@example.com", "password-of-second-9"));
    let administrator = bearer(&emulator).await;
    let asked = json!({ "username": "second@example.com", "password": "password-of-second-9" });
    let second = bearer_in(&token_for(&emulator, asked).await);
    let force = |bearer: &str, asked: Value| {
        post(&emulator, "/users/force-logout", &asked).header("authorization", bearer)
    };
    let answer = force(&second, json!({})).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (403, 10023));
    let named = json!({ "user_identifiers": ["second@example.com"] });
    assert_eq!(force(&administrator, named).send().await.status, 204);
    assert_eq!(user(&emulator, &second).await.status, 401);
    assert_eq!(user(&emulator, &administrator).await.status, 200);
    assert_eq!(force(&administrator, json!({})).send().await.status, 204);
    assert_eq!(user(&emulator, &administrator).await.status, 401);
}

/// T-6
#[tokio::test]
async fn a_token_lives_its_time_however_much_it_is_used() {
    let emulator = started().await;
    let bearer = bearer(&emulator).await;
    emulator.control().clock().advance(Duration::from_secs(299));
    assert_eq!(user(&emulator, &bearer).await.status, 200);
    emulator.control().clock().advance(Duration::from_secs(1));
    let answer = user(&emulator, &bearer).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003));
}

/// T-11
#[tokio::test]
async fn a_report_streams_as_slowly_as_it_is_told() {
    let emulator = started().await;
    let bearer = bearer(&emulator).await;
    let report = |name: &str| {
        let asked = json!({ "metadata_identifier": name, "file_format": "PDF" });
        post(&emulator, "/report/liveboard", &asked).header("authorization", &bearer)
    };
    let whole = report("Sales Performance").send().await;
    assert_eq!(whole.body.len(), 1024 * 1024);
    assert!(whole.body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    assert!(whole.all("content-length").is_empty(), "it streams");
    let answer = report(PRIVATE_LIVEBOARD).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (403, 10023));

    // The clock stands still, so the slow one comes only when it is moved.
    emulator.control().switch("download_pause_ms", json!(60_000)).unwrap();
    let slow = tokio::spawn(report("Sales Performance").send());
    while !slow.is_finished() {
        emulator.control().clock().advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.await.unwrap().body, whole.body);
}

/// T-11
#[tokio::test]
async fn an_upload_is_told_what_arrived() {
    let emulator = started().await;
    let bearer = bearer(&emulator).await;
    let file = "x".repeat(70_000);
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"dbt_connection_identifier\"\r\n\r\none\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file_content\"; filename=\"a.zip\"\r\n\r\n\
         {file}\r\n--b--\r\n"
    );
    let upload = |body: String| {
        call(&emulator, "POST", &format!("{V2}/dbt/generate-tml"))
            .header("content-type", "multipart/form-data; boundary=b")
            .header("authorization", &bearer)
            .body(body)
    };
    let told = upload(body.clone()).send().await.json();
    assert_eq!((&told["file_name"], &told["file_size"]), (&json!("a.zip"), &json!(70_000)));
    let cut = upload(body[..60_000].to_owned()).send().await;
    assert_eq!(cut.status, 400);
    assert_eq!(emulator.control().counters().writes, 1);
}
