//! M-Files, contract rows M-1, M-2, M-4, M-5 and M-7, M-8: logging in and out.

use std::time::{Duration, SystemTime};

use doorward::clock::Clock;
use doorward::emulator::mfiles::{AMBIGUOUS_VAULT_NAME, LOGIN, OTHER_VAULT, PASSWORD, VAULT};
use doorward::emulator::{Emulator, Options, User, Vendor};
use serde_json::{Value, json};

use crate::client::{Answer, Call, call};

pub const TOKENS: &str = "/REST/server/authenticationtokens";
const DELETE_SESSION: (&str, &str) = ("DELETE", "/REST/session");

pub struct Desk {
    pub emulator: Emulator,
}

impl Desk {
    /// An emulator whose clock stands still until a test moves it.
    pub async fn open() -> Desk {
        let options = Options { clock: Clock::manual(SystemTime::now()), ..Options::default() };
        Desk { emulator: Emulator::start(Vendor::MFiles, options).await.unwrap() }
    }

    pub fn call(&self, method: &str, target: &str) -> Call {
        call(&self.emulator, method, target)
    }

    pub fn switch(&self, name: &str, value: Value) {
        self.emulator.control().switch(name, value).unwrap();
    }

    pub fn advance(&self, seconds: u64) {
        self.emulator.control().clock().advance(Duration::from_secs(seconds));
    }

    /// A login with these members beside name and password.
    pub async fn token_with(&self, more: Value) -> String {
        let mut body = json!({ "Username": LOGIN, "Password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call("POST", TOKENS).body(body.to_string()).send().await;
        assert_eq!(answer.status, 200);
        answer.json()["Value"].as_str().unwrap().to_owned()
    }

    pub async fn token(&self) -> String {
        self.token_with(json!({ "SessionID": "{fc430ff7}", "VaultGuid": VAULT })).await
    }

    pub async fn with_token(&self, method: &str, target: &str, token: &str) -> Answer {
        self.call(method, target).header("x-authentication", token).send().await
    }

    /// A cookie session that is logged in; the value for the header `Cookie`.
    pub async fn cookie(&self, more: Value) -> String {
        let mut body = json!({ "Username": LOGIN, "Password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call("PUT", "/REST/session").json(&body).send().await;
        assert_eq!(answer.status, 200);
        session_cookies(&answer)[0].split(';').next().unwrap().to_owned()
    }

    pub async fn with_cookie(&self, method: &str, target: &str, cookie: &str) -> Answer {
        self.call(method, target).header("cookie", cookie).send().await
    }
}

pub fn session_cookies(answer: &Answer) -> Vec<String> {
    let mut cookies = answer.all("set-cookie");
    cookies.retain(|cookie| cookie.starts_with("ASP.NET_SessionId="));
    cookies
}

/// `(status, IsLoggedToApplication, IsLoggedToVault)`.
pub fn verdict(answer: &Answer) -> (u16, bool, bool) {
    let body = answer.json();
    let flag = |name: &str| body[name].as_bool().unwrap();
    (answer.status.as_u16(), flag("IsLoggedToApplication"), flag("IsLoggedToVault"))
}

const NOT_LOGGED_IN: (u16, bool, bool) = (403, false, false);
const LOGGED_IN_BUT_REFUSED: (u16, bool, bool) = (403, true, true);

/// M-1
#[tokio::test]
async fn a_token_is_given_for_any_password_and_works_for_the_right_one() {
    let desk = Desk::open().await;
    let body = json!({ "Username": LOGIN, "Password": "wrong" }).to_string();
    let wrong = desk.call("POST", TOKENS).body(body).send().await;
    assert_eq!(wrong.status, 200);
    let wrong = wrong.json()["Value"].as_str().unwrap().to_owned();
    let right = desk.token().await;
    assert_eq!((wrong.len(), right.len()), (342, 342));

    assert_eq!(verdict(&desk.with_token("GET", "/REST/session", &wrong).await), NOT_LOGGED_IN);
    let session = desk.with_token("GET", "/REST/session", &right).await;
    assert_eq!(session.json()["AccountName"], LOGIN);

    let control = desk.emulator.control();
    let counters = control.counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.live_sessions), (1, 1, 1));
    assert!(control.issued().contains(&wrong) && control.issued().contains(&right));
}

/// M-1
#[tokio::test]
async fn a_token_request_sets_the_session_cookie_with_its_attributes() {
    let desk = Desk::open().await;
    let answer = desk.call("POST", TOKENS).body("{}").send().await;
    let cookies = answer.all("set-cookie");
    assert_eq!(cookies.len(), 1);
    let (pair, attributes) = cookies[0].split_once(';').unwrap();
    assert_eq!(attributes, " path=/; secure; HttpOnly; SameSite=Lax");
    let value = pair.strip_prefix("ASP.NET_SessionId=").unwrap();
    assert!(value.len() >= 16 && desk.emulator.control().issued().contains(&value.to_owned()));
    desk.switch("secure_cookies", json!(false));
    let answer = desk.call("POST", TOKENS).body("{}").send().await;
    assert!(!answer.all("set-cookie")[0].contains("secure"));
}

/// M-1
#[tokio::test]
async fn a_token_dies_at_its_expiration() {
    let desk = Desk::open().await;
    let wall = desk.emulator.control().clock().wall() + Duration::from_secs(60);
    let expiration = jiff::Timestamp::try_from(wall).unwrap().to_string();
    let token = desk.token_with(json!({ "Expiration": expiration })).await;
    desk.advance(59);
    assert_eq!(desk.with_token("GET", "/REST/session", &token).await.status, 200);
    desk.advance(2);
    let answer = desk.with_token("GET", "/REST/session", &token).await;
    assert_eq!(verdict(&answer), NOT_LOGGED_IN);
    assert_eq!(desk.emulator.control().counters().requests_with_dead_credential, 1);
}

/// M-1
#[tokio::test]
async fn a_token_can_be_bound_to_reading_to_an_address_and_to_a_verb() {
    let desk = Desk::open().await;
    let reading = desk.token_with(json!({ "ReadOnly": true, "VaultGuid": VAULT })).await;
    assert_eq!(desk.with_token("GET", "/REST/views/items", &reading).await.status, 200);
    let write = desk.with_token("POST", "/REST/files", &reading).await;
    assert_eq!(verdict(&write), LOGGED_IN_BUT_REFUSED);

    let url = format!("{}/REST/session/userid", desk.emulator.origin());
    let bound = desk.token_with(json!({ "URL": url, "Method": "GET" })).await;
    assert_eq!(desk.with_token("GET", "/REST/session/userid", &bound).await.status, 200);
    let elsewhere = desk.with_token("GET", "/REST/session", &bound).await;
    assert_eq!(verdict(&elsewhere), NOT_LOGGED_IN);
    let verb = desk.with_token("PUT", "/REST/session/userid", &bound).await;
    assert_eq!(verdict(&verb), NOT_LOGGED_IN);
}

/// M-1
#[tokio::test]
async fn a_changed_password_kills_the_tokens_that_hold_the_old_one() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    desk.emulator.control().add_user(User::new(LOGIN, "another password"));
    let answer = desk.with_token("GET", "/REST/session", &token).await;
    assert_eq!(verdict(&answer), NOT_LOGGED_IN);
}

/// M-2
#[tokio::test]
async fn credentials_ride_in_headers_or_in_the_query_and_the_header_wins() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let by_query = format!("/REST/session?auth={token}");
    assert_eq!(desk.call("GET", &by_query).send().await.status, 200);
    assert_eq!(desk.emulator.control().requests_with(&token), 1);
    let overruled = desk.call("GET", &by_query).header("x-authentication", "").send().await;
    assert_eq!(verdict(&overruled), NOT_LOGGED_IN);

    let in_headers = |password: &str| {
        desk.call("GET", "/REST/session")
            .header("x-username", LOGIN)
            .header("x-password", password)
            .send()
    };
    assert_eq!(in_headers(PASSWORD).await.status, 200);
    assert_eq!(verdict(&in_headers("wrong").await), NOT_LOGGED_IN);
    let encoded = "p%22w%25%26%3D%2B%C3%A9-mfiles-89";
    let by_query = format!("/REST/session?username={LOGIN}&password={encoded}");
    assert_eq!(desk.call("GET", &by_query).send().await.status, 200);

    let cookie = desk.cookie(json!({})).await;
    assert_eq!(desk.with_cookie("GET", "/REST/session", &cookie).await.status, 200);
}

/// M-2
#[tokio::test]
async fn a_missing_empty_dead_or_foreign_credential_is_refused_with_both_flags_false() {
    let desk = Desk::open().await;
    let dead = desk.token().await;
    assert!(desk.emulator.control().expire_session(&dead));
    let anonymous = session_cookies(&desk.call("GET", "/REST/server/status").send().await);
    let anonymous = anonymous[0].split(';').next().unwrap();

    let none = desk.call("GET", "/REST/session/vaults").send().await;
    assert_eq!(
        none.json(),
        json!({
            "Status": 403,
            "URL": "/session/vaults",
            "Method": "GET",
            "Exception": {
                "Name": "UnauthorizedAccessException",
                "Message": "Login to application failed",
            },
            "Stack": "",
            "Message": "Login to application failed",
            "IsLoggedToVault": false,
            "IsLoggedToApplication": false,
            "ExceptionName": "UnauthorizedAccessException",
        })
    );
    for token in ["", &dead, "foreign"] {
        let answer = desk.with_token("GET", "/REST/views/items", token).await;
        assert_eq!(verdict(&answer), NOT_LOGGED_IN);
    }
    let answer = desk.with_cookie("GET", "/REST/session", anonymous).await;
    assert_eq!(verdict(&answer), NOT_LOGGED_IN);

    let counters = desk.emulator.control().counters();
    assert_eq!(counters.requests_without_credential, 3);
    assert_eq!(counters.requests_with_dead_credential, 1);
    assert_eq!(counters.requests_with_foreign_credential, 1);
}

/// M-2
#[tokio::test]
async fn a_refusal_has_the_status_and_the_body_of_the_switches() {
    let desk = Desk::open().await;
    desk.switch("refusal_status", json!(401));
    let answer = desk.call("GET", "/REST/session").send().await;
    assert_eq!(verdict(&answer), (401, false, false));
    desk.switch("refusal_body", json!("html"));
    let answer = desk.call("GET", "/REST/session").send().await;
    assert_eq!(answer.status, 401);
    assert!(answer.all("content-type")[0].starts_with("text/html"));
}

/// M-4
#[tokio::test]
async fn a_cookie_login_gives_vaults_with_tokens_and_logs_the_cookie_in() {
    let desk = Desk::open().await;
    let body = json!({ "Username": LOGIN, "Password": PASSWORD });
    let answer = desk.call("PUT", "/REST/session").json(&body).send().await;
    let cookie = session_cookies(&answer)[0].split(';').next().unwrap().to_owned();
    let vaults = answer.json();
    assert_eq!((&vaults[0]["GUID"], &vaults[0]["Name"]), (&json!(VAULT), &json!("Sample Vault")));
    let token = vaults[0]["Authentication"].as_str().unwrap();
    assert_eq!(desk.with_token("GET", "/REST/views/items", token).await.status, 200);
    assert_eq!(desk.with_cookie("GET", "/REST/session/userid", &cookie).await.status, 200);
    assert_eq!(desk.emulator.control().counters().live_sessions, 1);

    let wrong = json!({ "Username": LOGIN, "Password": "wrong" });
    let wrong = desk.call("PUT", "/REST/session").json(&wrong).send().await;
    assert_eq!(verdict(&wrong), NOT_LOGGED_IN);
    assert_eq!(desk.emulator.control().counters().logins_refused, 1);
}

/// M-4
#[tokio::test]
async fn a_session_says_who_it_is_and_hands_out_further_tokens() {
    let desk = Desk::open().await;
    let token = desk.token().await;
    let get = |target: &'static str| desk.with_token("GET", target, &token);
    assert_eq!(get("/REST/session/userid").await.json()["Value"], 123);
    assert_eq!(get("/REST/session/vault").await.json()["GUID"], VAULT);
    for target in ["/REST/session/vaults", "/REST/server/vaults"] {
        let vaults = get(target).await.json();
        let further = vaults[1]["Authentication"].as_str().unwrap();
        let vault = desk.with_token("GET", "/REST/session/vault", further).await.json();
        assert_eq!(vault["GUID"], OTHER_VAULT);
    }
    let further = get("/REST/session/authenticationtoken").await.json();
    let further = further["Value"].as_str().unwrap().to_owned();
    assert_ne!(further, token);
    assert_eq!(desk.with_token("GET", "/REST/session", &further).await.status, 200);

    // They are all one session, and end with it.
    assert_eq!(desk.emulator.control().counters().live_sessions, 1);
    assert_eq!(desk.with_token("DELETE", "/REST/session", &token).await.status, 200);
    let answer = desk.with_token("GET", "/REST/session", &further).await;
    assert_eq!(verdict(&answer), NOT_LOGGED_IN);
}

/// M-4
#[tokio::test]
async fn a_vault_is_chosen_in_a_cookie_session_only_and_its_name_must_be_clear() {
    let desk = Desk::open().await;
    let cookie = desk.cookie(json!({})).await;
    let choose = |body: Value| {
        desk.call("PUT", "/REST/session/vault").header("cookie", &cookie).json(&body).send()
    };
    let vault = || desk.with_cookie("GET", "/REST/session/vault", &cookie);
    assert_eq!(verdict(&vault().await), (403, true, false));
    assert_eq!(choose(json!({ "Name": AMBIGUOUS_VAULT_NAME })).await.status, 409);
    assert_eq!(choose(json!({ "Name": "nowhere" })).await.status, 404);
    assert_eq!(choose(json!({ "GUID": OTHER_VAULT })).await.status, 200);
    assert_eq!(vault().await.json()["GUID"], OTHER_VAULT);
    assert_eq!(choose(json!({ "Name": "Sample Vault" })).await.status, 200);
    assert_eq!(vault().await.json()["GUID"], VAULT);

    let token = desk.token().await;
    let refused = desk.call("PUT", "/REST/session/vault").header("x-authentication", &token);
    let refused = refused.json(&json!({ "GUID": VAULT })).send().await;
    assert_eq!(verdict(&refused), LOGGED_IN_BUT_REFUSED);
    assert!(refused.text().contains("Current session is not allowed to modify its state."));
}

/// M-4
#[tokio::test]
async fn status_and_public_key_need_no_credential() {
    let desk = Desk::open().await;
    let status = desk.call("GET", "/REST/server/status").send().await;
    assert_eq!(status.json()["Successful"], true);
    let key = desk.call("GET", "/REST/server/publickey").send().await.json();
    assert!(key["Modulus"].is_string() && key["Exponent"].is_string());
    assert_eq!(desk.emulator.control().counters().requests_without_credential, 0);
    desk.emulator.control().maintenance(true);
    assert_eq!(desk.call("GET", "/REST/server/status").send().await.status, 503);
}

/// M-5
#[tokio::test]
async fn a_logout_needs_a_session_id_and_ends_every_token_that_has_it() {
    let desk = Desk::open().await;
    let (method, target) = DELETE_SESSION;
    let without = desk.token_with(json!({})).await;
    let refused = desk.with_token(method, target, &without).await;
    assert_eq!(verdict(&refused), LOGGED_IN_BUT_REFUSED);
    assert_eq!(desk.with_token("GET", "/REST/session", &without).await.status, 200);

    let (one, same) = (desk.token().await, desk.token().await);
    let other = desk.token_with(json!({ "SessionID": "another" })).await;
    assert_eq!(desk.emulator.control().counters().live_sessions, 3);
    let answer = desk.with_token(method, target, &one).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "Value": true })));
    for dead in [&one, &same] {
        let answer = desk.with_token("GET", "/REST/session", dead).await;
        assert_eq!(verdict(&answer), NOT_LOGGED_IN);
    }
    desk.switch("logout_status", json!(204));
    let answer = desk.with_token(method, target, &other).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    let counters = desk.emulator.control().counters();
    assert_eq!((counters.logouts, counters.live_sessions), (2, 1));
}

/// M-5
#[tokio::test]
async fn a_logged_in_cookie_can_log_itself_out() {
    let desk = Desk::open().await;
    let cookie = desk.cookie(json!({})).await;
    let (method, target) = DELETE_SESSION;
    assert_eq!(desk.with_cookie(method, target, &cookie).await.status, 200);
    assert_eq!(verdict(&desk.with_cookie("GET", "/REST/session", &cookie).await), NOT_LOGGED_IN);
    assert_eq!(desk.emulator.control().counters().requests_with_dead_credential, 1);
}

/// M-7
#[tokio::test]
async fn every_answer_to_a_request_without_a_known_cookie_sets_a_new_one() {
    let desk = Desk::open().await;
    let first = desk.call("GET", "/REST/server/status").send().await;
    let second = desk.call("GET", "/REST/session").send().await;
    let (first, second) = (session_cookies(&first), session_cookies(&second));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);

    let pair = first[0].split(';').next().unwrap();
    let known = desk.with_cookie("GET", "/REST/server/status", pair).await;
    assert!(known.all("set-cookie").is_empty());
    let unknown = desk.with_cookie("GET", "/REST/server/status", "ASP.NET_SessionId=mine").await;
    assert_eq!(session_cookies(&unknown).len(), 1);
}

/// M-8
#[tokio::test]
async fn with_two_nodes_a_token_needs_the_cookie_of_the_node_that_gave_it() {
    let desk = Desk::open().await;
    desk.switch("two_nodes", json!(true));
    let body = json!({ "Username": LOGIN, "Password": PASSWORD }).to_string();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let answer = desk.call("POST", TOKENS).body(body.clone()).send().await;
        let cookie = answer.all("set-cookie").into_iter().find(|one| one.starts_with("mfilesmsm="));
        let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
        nodes.push((answer.json()["Value"].as_str().unwrap().to_owned(), cookie));
    }
    assert_ne!(nodes[0].1, nodes[1].1);
    let get = |token: &str, cookie: &str| {
        let call = desk.call("GET", "/REST/session").header("x-authentication", token);
        call.header("cookie", cookie).send()
    };
    for (token, cookie) in &nodes {
        assert_eq!(get(token, cookie).await.status, 200);
    }
    for cookie in ["", nodes[1].1.as_str()] {
        let answer = get(&nodes[0].0, cookie).await;
        assert_eq!(verdict(&answer), NOT_LOGGED_IN);
        assert_eq!(answer.json()["Exception"]["Name"], "ForbiddenException");
        assert_eq!(
            answer.json()["Exception"]["InnerException"]["Message"],
            "Error occurred while decoding OAEP padding."
        );
    }
}

/// M-10
#[tokio::test]
async fn a_cookie_session_dies_when_it_idles_and_lives_while_it_is_used() {
    let desk = Desk::open().await;
    let cookie = desk.cookie(json!({})).await;
    for _ in 0..3 {
        desk.advance(19 * 60);
        assert_eq!(desk.with_cookie("GET", "/REST/session", &cookie).await.status, 200);
    }
    desk.advance(20 * 60);
    let answer = desk.with_cookie("GET", "/REST/session", &cookie).await;
    assert_eq!(verdict(&answer), NOT_LOGGED_IN);
    assert_eq!(session_cookies(&answer).len(), 1);
    // The tokens that came with the login do not idle.
    assert_eq!(desk.emulator.control().counters().live_sessions, 1);
}

/// The common switches: sessions ended on the server, and a life time for tokens.
#[tokio::test]
async fn sessions_end_by_control_and_by_their_life_time() {
    let desk = Desk::open().await;
    let control = desk.emulator.control();
    let one = desk.token_with(json!({ "SessionID": "1" })).await;
    let two = desk.token_with(json!({})).await;
    desk.cookie(json!({})).await;
    assert_eq!(control.expire_other_sessions(&two), 2);
    assert_eq!(desk.with_token("GET", "/REST/session", &one).await.status, 403);
    assert_eq!(desk.with_token("GET", "/REST/session", &two).await.status, 200);
    assert_eq!(control.expire_sessions(), 1);
    assert_eq!(control.counters().live_sessions, 0);

    desk.switch("token_ttl_seconds", json!(60));
    let token = desk.token().await;
    desk.advance(60);
    assert_eq!(desk.with_token("GET", "/REST/session", &token).await.status, 403);
}
