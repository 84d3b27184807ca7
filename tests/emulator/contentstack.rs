//! Contentstack, contract rows C-1 to C-10: logging in and out.

use std::time::{Duration, SystemTime};

use doorward::clock::Clock;
use doorward::emulator::contentstack::{LOGIN, ORGANIZATION, PASSWORD};
use doorward::emulator::{Emulator, Kind, Options, Totp, User, Vendor};
use serde_json::{Value, json};

use crate::client::{Answer, call};

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// An emulator whose clock stands still until a test moves it.
pub async fn started() -> Emulator {
    let options = Options { clock: Clock::manual(SystemTime::now()), ..Options::default() };
    Emulator::start(Vendor::Contentstack, options).await.unwrap()
}

pub async fn login_as(emulator: &Emulator, user: Value) -> Answer {
    call(emulator, "POST", "/v3/user-session").json(&json!({ "user": user })).send().await
}

async fn login_with(emulator: &Emulator, login: &str, password: &str) -> Answer {
    login_as(emulator, json!({ "email": login, "password": password })).await
}

pub async fn token(emulator: &Emulator) -> String {
    let answer = login_with(emulator, LOGIN, PASSWORD).await;
    assert_eq!(answer.status, 200);
    answer.json()["user"]["authtoken"].as_str().unwrap().to_owned()
}

pub async fn user(emulator: &Emulator, token: &str) -> Answer {
    call(emulator, "GET", "/v3/user").header("authtoken", token).send().await
}

fn code(answer: &Answer) -> u64 {
    answer.json()["error_code"].as_u64().unwrap()
}

fn message(answer: &Answer) -> String {
    answer.json()["error_message"].as_str().unwrap().to_owned()
}

/// C-1
#[tokio::test]
async fn a_login_gives_a_user_with_a_fresh_authtoken() {
    let emulator = started().await;
    let answer = login_with(&emulator, LOGIN, PASSWORD).await;
    let body = answer.json();
    assert_eq!(body["notice"], "Login Successful.");
    assert_eq!(body["user"]["failed_attempts"], 0);
    assert_eq!(body["user"]["org_uid"], json!([ORGANIZATION]));
    let first = body["user"]["authtoken"].as_str().unwrap();
    assert!(first.starts_with("blt") && emulator.control().issued().contains(&first.to_owned()));
    assert_ne!(token(&emulator).await, first);
    assert_eq!(user(&emulator, first).await.status, 200);
    assert_eq!(emulator.control().counters().live_sessions, 2);
}

/// C-1
#[tokio::test]
async fn a_login_answer_is_as_long_as_its_roles_make_it() {
    let emulator = started().await;
    emulator.control().switch("roles", json!(64)).unwrap();
    let answer = login_with(&emulator, LOGIN, PASSWORD).await;
    assert!(answer.body.len() > 30 * 1024);
    assert_eq!(answer.json()["user"]["roles"].as_array().unwrap().len(), 64);
}

/// C-1
#[tokio::test]
async fn the_paths_also_work_without_their_prefix_unless_switched_off() {
    let emulator = started().await;
    let body = json!({ "user": { "email": LOGIN, "password": PASSWORD } });
    let bare = || call(&emulator, "POST", "/user-session").json(&body);
    assert_eq!(bare().send().await.status, 200);
    assert_eq!(emulator.control().counters().logins, 1);
    emulator.control().switch("bare_paths", json!(false)).unwrap();
    assert_eq!(bare().send().await.status, 404);
    token(&emulator).await;
}

/// C-2
#[tokio::test]
async fn a_wrong_password_is_refused_with_422_and_code_104() {
    let emulator = started().await;
    for (login, password) in [(LOGIN, "wrong"), (LOGIN, ""), ("nobody@example", PASSWORD)] {
        let answer = login_with(&emulator, login, password).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (422, 104));
        assert!(!message(&answer).contains("locked"));
    }
    let counters = emulator.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.lockouts), (0, 3, 0));
}

/// C-2
#[tokio::test]
async fn refused_logins_climb_the_lock_out_ladder_to_its_end() {
    let emulator = started().await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for _ in 0..4 {
        assert!(!message(&login_with(&emulator, LOGIN, "wrong").await).contains("locked"));
    }
    for lock in [5, 10, 15, 20, 25] {
        // The failure that locks is itself answered as a bad password.
        login_with(&emulator, LOGIN, "wrong").await;
        emulator.control().clock().advance(minutes(lock) - Duration::from_secs(1));
        let locked = login_with(&emulator, LOGIN, PASSWORD).await;
        assert_eq!((locked.status.as_u16(), code(&locked)), (422, 104));
        assert!(message(&locked).contains("locked"), "not locked for {lock} minutes");
        emulator.control().clock().advance(Duration::from_secs(1));
    }
    login_with(&emulator, LOGIN, "wrong").await;
    emulator.control().clock().advance(minutes(60 * 24 * 365));
    assert!(message(&login_with(&emulator, LOGIN, PASSWORD).await).contains("locked"));
    assert_eq!(emulator.control().counters().lockouts, 6);
}

/// C-2
#[tokio::test]
async fn a_good_login_starts_the_ladder_again() {
    let emulator = started().await;
    for _ in 0..3 {
        for _ in 0..4 {
            login_with(&emulator, LOGIN, "wrong").await;
        }
        token(&emulator).await;
    }
    assert_eq!(emulator.control().counters().lockouts, 0);
}

/// C-2
#[tokio::test]
async fn a_locked_user_is_refused_with_the_status_of_the_switch() {
    let emulator = started().await;
    let control = emulator.control();
    control.add_user(User::new("stuck@example", "a password").kind(Kind::Locked));
    assert_eq!(login_with(&emulator, "stuck@example", "a password").await.status, 422);
    control.switch("locked_status", json!(400)).unwrap();
    let answer = login_with(&emulator, "stuck@example", "a password").await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 104));
}

/// C-3
#[tokio::test]
async fn a_second_factor_accepts_each_step_once() {
    let emulator = started().await;
    let control = emulator.control();
    let totp = Totp::from_base32(SECRET).unwrap();
    let kind = Kind::SecondFactor { secret: totp.clone() };
    control.add_user(User::new("two@example", "a password").kind(kind));
    let with = |code: Option<String>| {
        let user = json!({ "email": "two@example", "password": "a password", "tfa_token": code });
        login_as(&emulator, user)
    };

    let missing = with(None).await;
    assert_eq!((missing.status.as_u16(), code(&missing)), (422, 294));
    assert_eq!(missing.json()["tfa_type"], "totp_authenticator");
    assert_eq!(missing.json()["errors"], json!([]));

    let now = totp.code_at(control.clock().wall());
    assert_eq!(with(Some(now.clone())).await.status, 200);
    let again = with(Some(now)).await;
    assert_eq!(again.status, 422);
    assert!(message(&again).contains("already been used"));

    control.clock().advance(Duration::from_secs(30));
    assert_eq!(with(Some(totp.code_at(control.clock().wall()))).await.status, 200);
    assert_eq!(with(Some("000".into())).await.status, 422);

    control.switch("second_factor_status", json!(401)).unwrap();
    assert_eq!(with(None).await.status, 401);
}

/// C-3
#[tokio::test]
async fn a_one_time_code_that_nobody_asked_for_is_ignored() {
    let emulator = started().await;
    let user = json!({ "email": LOGIN, "password": PASSWORD, "tfa_token": "123456" });
    assert_eq!(login_as(&emulator, user).await.status, 200);
}

/// C-4
#[tokio::test]
async fn a_user_of_single_sign_on_gets_200_and_no_token() {
    let emulator = started().await;
    emulator.control().add_user(User::new("sso@example", "a password").kind(Kind::SingleSignOn));
    let answer = login_with(&emulator, "sso@example", "a password").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["user"]["email"], "sso@example");
    assert!(answer.json()["user"].get("authtoken").is_none());
    let counters = emulator.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.live_sessions), (0, 1, 0));
}

/// C-5
#[tokio::test]
async fn the_twenty_first_login_ends_the_oldest_token() {
    let emulator = started().await;
    let mut tokens = Vec::new();
    for _ in 0..21 {
        tokens.push(token(&emulator).await);
    }
    assert_eq!(user(&emulator, &tokens[0]).await.status, 401);
    for live in &tokens[1..=9] {
        assert_eq!(user(&emulator, live).await.status, 200);
    }
    assert_eq!(emulator.control().counters().live_sessions, 20);
}

/// C-5
#[tokio::test]
async fn terminating_the_other_sessions_leaves_one() {
    let emulator = started().await;
    let (first, second) = (token(&emulator).await, token(&emulator).await);
    assert_eq!(emulator.control().expire_other_sessions(&second), 1);
    assert_eq!(user(&emulator, &first).await.status, 401);
    assert_eq!(user(&emulator, &second).await.status, 200);
}

/// C-5
#[tokio::test]
async fn a_changed_password_ends_the_users_sessions() {
    let emulator = started().await;
    let old = token(&emulator).await;
    emulator.control().add_user(User::new(LOGIN, "another password"));
    assert_eq!(user(&emulator, &old).await.status, 401);
}

/// C-9
#[tokio::test]
async fn a_logout_ends_exactly_that_token() {
    let emulator = started().await;
    let (first, second) = (token(&emulator).await, token(&emulator).await);
    let logout = || call(&emulator, "DELETE", "/v3/user-session").header("authtoken", &first);
    let answer = logout().send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({ "notice": "You've logged out successfully!" }));
    assert_eq!(user(&emulator, &first).await.status, 401);
    assert_eq!(user(&emulator, &second).await.status, 200);
    assert_eq!(logout().send().await.status, 401);
    let counters = emulator.control().counters();
    assert_eq!((counters.logouts, counters.live_sessions), (1, 1));
}

/// C-9
#[tokio::test]
async fn a_logout_without_a_token_is_not_logged_in() {
    let emulator = started().await;
    let answer = call(&emulator, "DELETE", "/v3/user-session").send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 105));
}

/// C-10
#[tokio::test]
async fn a_code_by_telephone_is_acknowledged_and_needs_no_session() {
    let emulator = started().await;
    let body = json!({ "user": { "email": LOGIN, "password": PASSWORD } });
    let answer = call(&emulator, "POST", "/v3/user/request_token_sms").json(&body).send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["notice"].is_string());
    assert_eq!(emulator.control().counters().requests_without_credential, 0);
}

/// The common switch: how long a token lives.
#[tokio::test]
async fn a_token_can_be_given_a_life_time() {
    let emulator = started().await;
    emulator.control().switch("token_ttl_seconds", json!(60)).unwrap();
    let token = token(&emulator).await;
    emulator.control().clock().advance(Duration::from_secs(59));
    assert_eq!(user(&emulator, &token).await.status, 200);
    emulator.control().clock().advance(Duration::from_secs(1));
    assert_eq!(user(&emulator, &token).await.status, 401);
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// The common counter: login calls at one time.
#[tokio::test]
async fn logins_at_one_time_are_counted_until_they_are_answered() {
    let emulator = started().await;
    let hold = emulator.control().hold("POST /v3/user-session");
    let body = json!({ "user": { "email": LOGIN, "password": PASSWORD } });
    let login = call(&emulator, "POST", "/v3/user-session").json(&body);
    let logins: Vec<_> = (0..3).map(|_| tokio::spawn(login.clone().send())).collect();
    hold.arrived(3).await;
    hold.release();
    for login in logins {
        login.await.unwrap();
    }
    token(&emulator).await;
    let counters = emulator.control().counters();
    assert_eq!((counters.logins, counters.logins_at_once_max), (4, 3));
}
