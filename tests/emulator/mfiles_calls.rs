//! M-Files, contract rows M-3, M-6, M-7, M-9 and M-10: calls with a session.

use std::time::Duration;

use doorward::emulator::mfiles::{LOGIN, OTHER_VAULT, PASSWORD, VAULT};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::mfiles::{Desk, TOKENS, session_cookies, verdict};

fn document(title: &str, files: Value) -> Value {
    json!({
        "PropertyValues": [
            { "PropertyDef": 0, "TypedValue": { "DataType": 1, "Value": title } },
            { "PropertyDef": 100, "TypedValue": { "DataType": 9, "Lookup": { "Item": 0 } } },
        ],
        "Files": files,
    })
}

/// M-3
#[tokio::test]
async fn a_missing_right_is_403_with_both_flags_true_and_the_session_lives_on() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let answer = desk.with_token("GET", "/REST/objects/0/13/latest", &token).await;
    assert_eq!(verdict(&answer), (403, true, true));
    assert_eq!(desk.with_token("GET", "/REST/session", &token).await.status, 200);
    desk.switch("forbidden_object", json!(1));
    let answer = desk.with_token("GET", "/REST/objects/0/1/latest", &token).await;
    assert_eq!(verdict(&answer), (403, true, true));
}

/// M-6
#[tokio::test]
async fn one_resource_has_many_spellings() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    for target in [
        "/REST/session",
        "/rest/SESSION",
        "/REST/session.aspx",
        "/REST/Session.ASHX",
        "/REST//session/",
        "/REST/views/../session",
        "/REST/%73ession",
        "/MFWS.ashx?restPath=session",
        "/mfws.ASHX?restpath=%2FREST%2Fsession.aspx",
    ] {
        let answer = desk.with_token("GET", target, &token).await;
        assert_eq!((answer.status.as_u16(), target), (200, target));
        assert_eq!(answer.json()["AccountName"], LOGIN);
    }
    for target in ["/session", "/REST/no-such-thing", "/MFWS.ashx", "/other/REST/session"] {
        assert_eq!(desk.with_token("GET", target, &token).await.status, 404);
    }
}

/// M-6
#[tokio::test]
async fn verbs_travel_in_the_query_of_a_post() {
    let desk = Desk::open().await;
    for target in
        ["/REST/session.aspx?_method=DELETE", "/MFWS.ashx?restPath=session&_method=delete"]
    {
        let token = desk.token().await;
        assert_eq!(desk.with_token("POST", target, &token).await.status, 200);
        assert_eq!(desk.with_token("GET", "/REST/session", &token).await.status, 403);
    }
    let token = desk.token().await;
    let get = desk.with_token("GET", "/REST/session?_method=DELETE", &token).await;
    assert_eq!(get.json()["AccountName"], LOGIN);
    let body = json!({ "Username": LOGIN, "Password": PASSWORD });
    let login = desk.call("POST", "/REST/session.aspx?_method=PUT").json(&body).send().await;
    assert!(login.json().is_array());
    assert_eq!(desk.emulator.control().counters().logouts, 2);
}

/// M-6
#[tokio::test]
async fn a_strict_server_refuses_put_and_delete_with_a_page() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    desk.switch("iis_strict", json!(true));
    for method in ["PUT", "DELETE"] {
        let answer = desk.with_token(method, "/REST/session", &token).await;
        assert_eq!(answer.status, 405);
        assert!(answer.all("content-type")[0].starts_with("text/html"));
    }
    let logout = desk.with_token("POST", "/REST/session?_method=DELETE", &token).await;
    assert_eq!(logout.status, 200);
}

/// M-6
#[tokio::test]
async fn the_service_can_live_under_a_virtual_directory() {
    let desk = Desk::open().await;
    desk.switch("sub_directory", json!("m-files"));
    let body = json!({ "Username": LOGIN, "Password": PASSWORD }).to_string();
    let login = desk.call("POST", &format!("/m-files{TOKENS}")).body(body.clone()).send().await;
    let token = login.json()["Value"].as_str().unwrap().to_owned();
    assert_eq!(desk.with_token("GET", "/M-Files/REST/session", &token).await.status, 200);
    assert_eq!(desk.call("POST", TOKENS).body(body).send().await.status, 404);
}

/// M-7
#[tokio::test]
async fn a_download_sets_its_cookies_twice_and_says_so() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let answer = desk.with_token("GET", "/REST/objects/0/1/latest/files/1/content", &token).await;
    let cookies = session_cookies(&answer);
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], cookies[1]);
    assert!(answer.all("set-cookie").contains(&"fileDownload=true; path=/".to_owned()));
}

/// M-9
#[tokio::test]
async fn a_vault_answers_with_its_structure_views_and_searches() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let get = |target: &'static str| desk.with_token("GET", target, &token);
    let types = get("/REST/structure/objecttypes").await.json();
    assert_eq!((&types[0]["ID"], &types[0]["Name"]), (&json!(0), &json!("Document")));
    let items = get("/REST/views/items").await.json();
    assert_eq!(items["Items"][0]["Title"], "Handbook");
    assert_eq!(items["Items"][0]["Files"][0]["Size"], 4 * 1024 * 1024);
    let found = get("/REST/objects?q=hand%62ook").await.json();
    assert_eq!(found["Items"].as_array().unwrap().len(), 1);
    let found = get("/REST/objects?q=a%20b/c").await.json();
    assert_eq!(found["Items"], json!([]));
}

/// M-9
#[tokio::test]
async fn a_views_target_arrives_byte_for_byte() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    for target in [
        "/REST/views/V155%252FL17/items",
        "/REST/views/u1%3Aab%253A%2c/Items?limit=1&x=%7E~+%20",
        "/rest/views/A%C3%A9/items.aspx",
    ] {
        let answer = desk.with_token("GET", target, &token).await;
        assert_eq!(answer.json()["Path"], target);
    }
}

/// M-9
#[tokio::test]
async fn an_upload_becomes_an_object_for_the_session_that_sent_it() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let other = desk.token_with(json!({ "SessionID": "another", "VaultGuid": VAULT })).await;
    let post = |target: &'static str, token: &str, body: Vec<u8>| {
        desk.call("POST", target).header("x-authentication", token).body(body).send()
    };
    let upload = post("/REST/files", &token, vec![7; 1000]).await.json();
    assert_eq!((&upload["Size"], &upload["FileInformationType"]), (&json!(1000), &json!(0)));

    let file = json!({
        "UploadID": upload["UploadID"], "Title": "a", "Extension": "bin", "Size": 1000,
    });
    let create = |token: &str, files: Value| {
        post("/REST/objects/0", token, document("Report", files).to_string().into_bytes())
    };
    let unknown = json!([{ "UploadID": 9_999, "Title": "a", "Extension": "bin", "Size": 1 }]);
    assert_eq!(create(&token, unknown).await.status, 400);
    assert_eq!(create(&other, json!([file])).await.status, 400);

    let made = create(&token, json!([file])).await;
    assert_eq!(made.status, 200);
    assert_eq!(made.json()["Files"][0]["Size"], 1000);
    let id = made.json()["ObjVer"]["ID"].as_u64().unwrap();
    let target = format!("/REST/objects/0/{id}/latest/files/1/content");
    assert_eq!(desk.with_token("GET", &target, &token).await.body, vec![7; 1000]);
    // A client without a file sends an empty list in its place.
    assert_eq!(create(&token, json!([[]])).await.status, 200);

    let target = format!("/REST/objects/0/{id}/latest/checkedout?_method=PUT");
    let out = desk.call("POST", &target).header("x-authentication", &token);
    let out = out.body(r#"{"Value":"2"}"#).send().await;
    assert_eq!(out.json()["ObjectCheckedOut"], true);
    // Two refused creations are not executed.
    assert_eq!(desk.emulator.control().counters().writes, 4);
}

/// M-9
#[tokio::test]
async fn a_multipart_upload_answers_with_one_upload_for_each_part() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let form = "--cut\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n12345\r\n\
                --cut\r\nContent-Disposition: form-data; name=\"b\"; filename=\"b\"\r\n\r\n123\r\n\
                --cut--\r\n";
    let answer = desk
        .call("POST", "/REST/files")
        .header("x-authentication", &token)
        .header("content-type", "multipart/form-data; boundary=cut")
        .body(form)
        .send()
        .await;
    let sizes: Vec<u64> =
        answer.json().as_array().unwrap().iter().map(|one| one["Size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [5, 3]);
}

/// M-9
#[tokio::test]
async fn a_download_is_long_and_sent_piece_by_piece() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    desk.switch("download_bytes", json!(200_000));
    desk.switch("download_pause_ms", json!(60_000));
    let call = desk
        .call("GET", "/REST/objects/0/1/latest/files/1/content")
        .header("x-authentication", &token);
    let download = tokio::spawn(call.send());
    // Three pauses of a minute; each begins when the piece before it was taken.
    while !download.is_finished() {
        desk.emulator.control().clock().advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    let answer: Answer = download.await.unwrap();
    assert_eq!(answer.all("content-length"), ["200000"]);
    assert!(answer.body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    assert_eq!(answer.body.len(), 200_000);
}

/// M-10
#[tokio::test]
async fn a_vaults_resource_needs_a_vault_and_says_that_the_login_was_good() {
    let desk = Desk::open().await;
    let token = desk.token_with(json!({})).await;
    let answer = desk.with_token("GET", "/REST/views/items", &token).await;
    assert_eq!(verdict(&answer), (403, true, false));
    let get = |target: &'static str| desk.call("GET", target).header("x-authentication", &token);
    assert_eq!(get("/REST/views/items").header("x-vault", VAULT).send().await.status, 200);
    let unknown = get("/REST/views/items").header("x-vault", "{none}").send().await;
    assert_eq!(verdict(&unknown), (403, true, false));

    // A vault in the token is not changed by a header.
    let bound = desk.token().await;
    let vault = desk.call("GET", "/REST/session/vault").header("x-authentication", &bound);
    let vault = vault.header("x-vault", OTHER_VAULT).send().await.json();
    assert_eq!(vault["GUID"], VAULT);
}
