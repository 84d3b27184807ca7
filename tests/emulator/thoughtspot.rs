//! ThoughtSpot, contract rows T-1 to T-4, T-6 to T-10: sessions with cookies, mostly in v1.

use std::time::{Duration, SystemTime};

use doorward::clock::Clock;
use doorward::emulator::thoughtspot::{LOGIN, PASSWORD, PRIVATE_LIVEBOARD, SECRET_KEY};
use doorward::emulator::{Credential, Emulator, Kind, Options, Totp, User, Vendor};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::{Answer, Call, call};

const V1: &str = "/callosum/v1/tspublic/v1";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// An emulator whose clock stands still until a test moves it.
pub async fn started() -> Emulator {
    let options = Options { clock: Clock::manual(SystemTime::now()), ..Options::default() };
    Emulator::start(Vendor::ThoughtSpot, options).await.unwrap()
}

/// The cookies that an answer sets, as a browser sends them back.
pub fn cookies(answer: &Answer) -> String {
    let set = answer.all("set-cookie");
    let pairs: Vec<&str> = set.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    pairs.join("; ")
}

/// A cookie's value.
fn cookie(cookies: &str, name: &str) -> String {
    let pairs = cookies.split("; ").map(|pair| pair.split_once('=').unwrap());
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap()
}

/// A call in v1, with the header that all of v1 wants.
fn v1(emulator: &Emulator, method: &str, target: &str) -> Call {
    call(emulator, method, &format!("{V1}{target}")).header("x-requested-by", "ThoughtSpot")
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    fields.join("&")
}

async fn login_with(emulator: &Emulator, fields: &[(&str, &str)]) -> Answer {
    v1(emulator, "POST", "/session/login").body(form(fields)).send().await
}

async fn login(emulator: &Emulator) -> String {
    let answer = login_with(emulator, &[("username", LOGIN), ("password", PASSWORD)]).await;
    assert_eq!(answer.status, 204);
    cookies(&answer)
}

async fn info(emulator: &Emulator, cookies: &str) -> Answer {
    v1(emulator, "GET", "/session/info").header("cookie", cookies).send().await
}

fn code(answer: &Answer) -> u64 {
    answer.json()["code"].as_u64().unwrap()
}

/// T-1
#[tokio::test]
async fn a_form_login_answers_204_and_sets_both_cookies() {
    let emulator = started().await;
    let fields = [("username", LOGIN), ("password", PASSWORD), ("rememberme", "false")];
    let answer = login_with(&emulator, &fields).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    let set = answer.all("set-cookie");
    assert!(set[0].starts_with("JSESSIONID=") && set[0].ends_with("; Path=/; HttpOnly"));
    assert!(set[1].starts_with("clientId=") && set[1].ends_with("; Path=/; Secure; HttpOnly"));
    let issued = emulator.control().issued();
    assert!(issued.contains(&cookie(&cookies(&answer), "JSESSIONID")));
    assert!(issued.contains(&cookie(&cookies(&answer), "clientId")));
    assert_eq!(emulator.control().counters().logins, 1);

    emulator.control().switch("login_status", json!(200)).unwrap();
    assert_eq!(login_with(&emulator, &fields).await.status, 200);
}

/// T-1
#[tokio::test]
async fn a_call_without_requested_by_is_refused_as_the_switch_says() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    for status in [403, 400] {
        emulator.control().switch("requested_by_refusal", json!(status)).unwrap();
        let login = call(&emulator, "POST", &format!("{V1}/session/login"))
            .body(form(&[("username", LOGIN), ("password", PASSWORD)]));
        assert_eq!(login.send().await.status, status);
        let read = call(&emulator, "GET", &format!("{V1}/session/info")).header("cookie", &cookies);
        assert_eq!(read.send().await.status, status);
    }
    assert_eq!(emulator.control().counters().logins, 1);
}

/// T-1
#[tokio::test]
async fn a_wrong_password_is_401_and_a_missing_field_400() {
    let emulator = started().await;
    for (user, password) in [(LOGIN, "wrong"), ("nobody", PASSWORD)] {
        let answer = login_with(&emulator, &[("username", user), ("password", password)]).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003));
        assert!(answer.all("set-cookie").is_empty());
        let debug: Vec<String> =
            serde_json::from_str(answer.json()["debug"].as_str().unwrap()).unwrap();
        assert_eq!(debug, ["Login or logout failure. Unauthorized"]);
        assert!(answer.json()["incident_id_guid"].is_string());
    }
    for fields in [&[("username", LOGIN)][..], &[("password", PASSWORD)], &[]] {
        let answer = login_with(&emulator, fields).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (400, 10002));
    }
    let counters = emulator.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.live_sessions), (0, 5, 0));
}

/// T-2
#[tokio::test]
async fn a_call_needs_both_cookies_unless_switched_or_a_bearer() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    let only_session = format!("JSESSIONID={}", cookie(&cookies, "JSESSIONID"));
    assert_eq!(info(&emulator, &cookies).await.status, 200);

    for wrong in ["", "a=b", &only_session, &format!("{only_session}; clientId=other")] {
        let answer = info(&emulator, wrong).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003), "{wrong}");
    }
    let counters = emulator.control().counters();
    assert_eq!(counters.requests_without_credential, 2);
    let bearer = info(&emulator, &cookies).await.json()["authToken"].as_str().unwrap().to_owned();
    let by_bearer =
        v1(&emulator, "GET", "/session/info").header("authorization", &format!("Bearer {bearer}"));
    assert_eq!(by_bearer.send().await.status, 200);

    emulator.control().switch("client_id_needed", json!(false)).unwrap();
    assert_eq!(info(&emulator, &only_session).await.status, 200);
    let foreign = "JSESSIONID=00000000-0000-0000-0000-000000000000";
    assert_eq!(info(&emulator, foreign).await.status, 401);
    assert_eq!(emulator.control().requests().last().unwrap().credential, Credential::Foreign);
}

/// T-2
#[tokio::test]
async fn a_wrong_org_is_400_and_a_missing_privilege_403_and_the_session_lives_on() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    let move_to = |org: &str| {
        v1(&emulator, "PUT", "/session/orgs")
            .header("cookie", &cookies)
            .body(form(&[("orgid", org)]))
    };
    let answer = move_to("7").send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, 13090));
    assert!(answer.text().contains("do not have access to org 7"));

    let target = format!("/export/pinboard/pdf?{}", form(&[("id", PRIVATE_LIVEBOARD)]));
    let answer = v1(&emulator, "POST", &target).header("cookie", &cookies).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (403, 10023));
    assert_eq!(info(&emulator, &cookies).await.status, 200);
}

/// T-3
#[tokio::test]
async fn the_session_tells_about_itself_and_shows_a_token() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    let told = info(&emulator, &cookies).await.json();
    assert_eq!((&told["userName"], &told["currentOrgId"]), (&json!(LOGIN), &json!(0)));
    assert!(emulator.control().issued().contains(&told["authToken"].as_str().unwrap().to_owned()));
    for path in ["/callosum/v1/session/info", "/prism/preauth/info"] {
        let answer = call(&emulator, "GET", path)
            .header("cookie", &cookies)
            .header("x-requested-by", "x")
            .send()
            .await;
        assert!(answer.text().contains(told["authToken"].as_str().unwrap()), "{path}");
    }
    let active = |cookies: &str| {
        call(&emulator, "GET", "/callosum/v1/session/isactive")
            .header("cookie", cookies)
            .header("x-requested-by", "x")
    };
    assert_eq!(active(&cookies).send().await.status, 204);
    assert_eq!(active("").send().await.status, 401);
}

async fn liveboards(emulator: &Emulator, cookies: &str) -> Vec<Value> {
    let target = "/metadata/list?type=PINBOARD_ANSWER_BOOK&sort=DEFAULT&batchsize=-1";
    let answer = v1(emulator, "GET", target).header("cookie", cookies).send().await;
    assert_eq!(answer.status, 200);
    let headers = answer.json()["headers"].as_array().unwrap().clone();
    headers.into_iter().map(|mut header| header["name"].take()).collect()
}

/// T-3
#[tokio::test]
async fn a_move_to_another_org_moves_the_whole_session() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    assert_eq!(liveboards(&emulator, &cookies).await, ["Sales Performance", "Support Tickets"]);
    let moved = v1(&emulator, "PUT", "/session/orgs").header("cookie", &cookies).body("orgid=1");
    assert_eq!(moved.send().await.status, 204);
    assert_eq!(info(&emulator, &cookies).await.json()["currentOrgId"], 1);
    assert_eq!(liveboards(&emulator, &cookies).await, ["Sandbox Board"]);
    // The next session begins where the last one was.
    let next = login(&emulator).await;
    assert_eq!(info(&emulator, &next).await.json()["currentOrgId"], 1);
}

/// T-3
#[tokio::test]
async fn a_logout_ends_the_session_and_no_other() {
    let emulator = started().await;
    let (first, second) = (login(&emulator).await, login(&emulator).await);
    let logout = v1(&emulator, "POST", "/session/logout").header("cookie", &first);
    assert_eq!(logout.send().await.status, 204);
    let answer = info(&emulator, &first).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, 10003));
    assert_eq!(emulator.control().requests().last().unwrap().credential, Credential::Dead);
    assert_eq!(info(&emulator, &second).await.status, 200);
    let counters = emulator.control().counters();
    assert_eq!((counters.logouts, counters.live_sessions), (1, 1));
}

/// T-3
#[tokio::test]
async fn imports_are_counted_and_stay() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    let import = |policy: &str, tml: &str| {
        let fields = [("import_objects", tml), ("import_policy", policy)];
        v1(&emulator, "POST", "/metadata/tml/import").header("cookie", &cookies).body(form(&fields))
    };
    let tml = r#"["{\"liveboard\": {\"name\": \"Mine\"}}"]"#;
    assert_eq!(import("VALIDATE_ONLY", tml).send().await.status, 200);
    assert_eq!(emulator.control().counters().writes, 0);
    let answer = import("ALL_OR_NONE", tml).send().await.json();
    assert_eq!(answer["object"][0]["response"]["status"]["status_code"], "OK");
    let broken = import("ALL_OR_NONE", r#"["{\"liveboard\": {\"name\": \"No\"}}", "?"]"#);
    let broken = broken.send().await.json();
    assert_eq!(broken["object"][1]["response"]["status"]["status_code"], "ERROR");
    let names = liveboards(&emulator, &cookies).await;
    assert_eq!(names, ["Sales Performance", "Support Tickets", "Mine"]);

    import("ALL_OR_NONE", tml).send().await;
    let counters = emulator.control().counters();
    assert_eq!((counters.writes, counters.duplicate_writes), (2, 1));
}

/// T-4
#[tokio::test]
async fn the_secret_key_gives_a_token_and_the_token_a_session() {
    let emulator = started().await;
    let ask = |key: &str| {
        let fields = [("secret_key", key), ("username", LOGIN), ("access_level", "FULL")];
        v1(&emulator, "POST", "/session/auth/token").body(form(&fields))
    };
    assert_eq!(ask("wrong").send().await.status, 401);
    let token = ask(SECRET_KEY).send().await.text();
    assert!(emulator.control().issued().contains(&token));

    let enter = |more: &[(&str, &str)]| {
        let fields = [&[("username", LOGIN), ("auth_token", token.as_str())], more].concat();
        form(&fields)
    };
    let quiet = enter(&[("no_url_redirection", "true")]);
    let answer = v1(&emulator, "POST", "/session/login/token").body(quiet.clone()).send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(info(&emulator, &cookies(&answer)).await.status, 200);
    let target = format!("/session/login/token?{quiet}");
    assert_eq!(v1(&emulator, "GET", &target).send().await.status, 204);

    let answer = v1(&emulator, "POST", "/session/login/token")
        .body(enter(&[("redirect_url", "/#/home")]))
        .send()
        .await;
    assert_eq!((answer.status.as_u16(), answer.all("location")[0].as_str()), (302, "/#/home"));
    assert_eq!(info(&emulator, &cookies(&answer)).await.status, 200);

    emulator.control().switch("trusted_authentication", json!(false)).unwrap();
    let answer = ask(SECRET_KEY).send().await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (500, 10000));
}

/// T-6
#[tokio::test]
async fn a_session_dies_of_idleness_later_when_remembered_and_lives_while_used() {
    let emulator = started().await;
    let clock = emulator.control().clock().clone();
    let short = login(&emulator).await;
    let fields = [("username", LOGIN), ("password", PASSWORD), ("rememberme", "true")];
    let long = cookies(&login_with(&emulator, &fields).await);
    for _ in 0..3 {
        clock.advance(2 * HOUR);
        assert_eq!(info(&emulator, &short).await.status, 200, "used, so alive");
    }
    clock.advance(3 * HOUR);
    assert_eq!(info(&emulator, &short).await.status, 401);
    assert_eq!(info(&emulator, &long).await.status, 200);
    clock.advance(7 * 24 * HOUR);
    assert_eq!(info(&emulator, &long).await.status, 401);
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// T-7
#[tokio::test]
async fn four_wrong_passwords_lock_the_account_for_an_hour() {
    let emulator = started().await;
    let right = [("username", LOGIN), ("password", PASSWORD)];
    let wrong = [("username", LOGIN), ("password", "wrong")];
    for _ in 0..3 {
        assert_eq!(login_with(&emulator, &wrong).await.status, 401);
    }
    assert_eq!(login_with(&emulator, &right).await.status, 204, "three do not lock");
    for _ in 0..4 {
        assert_eq!(login_with(&emulator, &wrong).await.status, 401);
    }
    assert_eq!(emulator.control().counters().lockouts, 1);
    let locked = login_with(&emulator, &right).await;
    assert_eq!((locked.status.as_u16(), code(&locked)), (401, 10003));
    assert!(locked.text().contains("locked"));
    emulator.control().clock().advance(HOUR);
    assert_eq!(login_with(&emulator, &right).await.status, 204);
}

/// T-7
#[tokio::test]
async fn a_user_with_a_second_factor_gets_in_by_secret_key_only() {
    let emulator = started().await;
    let secret = Totp::from_base32("JBSWY3DPEHPK3PXP").unwrap();
    let user =
        User::new("two@example.com", "password-of-two-18").kind(Kind::SecondFactor { secret });
    emulator.control().add_user(user);
    let fields = [("username", "two@example.com"), ("password", "password-of-two-18")];
    assert_eq!(login_with(&emulator, &fields).await.status, 401);
    let fields = [("username", "two@example.com"), ("secret_key", SECRET_KEY)];
    let answer = v1(&emulator, "POST", "/session/auth/token").body(form(&fields)).send().await;
    assert_eq!(answer.status, 200);
}

/// T-7
#[tokio::test]
async fn a_changed_password_ends_the_users_sessions() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    emulator.control().add_user(User::new(LOGIN, PASSWORD));
    assert_eq!(info(&emulator, &cookies).await.status, 200, "the same password");
    emulator.control().add_user(User::new(LOGIN, "another-password-27"));
    assert_eq!(info(&emulator, &cookies).await.status, 401);
    let fields = [("username", LOGIN), ("password", PASSWORD)];
    assert_eq!(login_with(&emulator, &fields).await.status, 401);
}

/// T-8
#[tokio::test]
async fn calls_beyond_the_rate_get_429_without_retry_after() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    for _ in 0..109 {
        assert_eq!(info(&emulator, &cookies).await.status, 200);
    }
    let answer = info(&emulator, &cookies).await;
    assert_eq!(answer.status, 429);
    assert!(answer.all("retry-after").is_empty());
    assert_eq!(emulator.control().counters().rate_limited, 1);
    emulator.control().clock().advance(Duration::from_millis(20));
    assert_eq!(info(&emulator, &cookies).await.status, 200);
    assert_eq!(info(&emulator, &cookies).await.status, 200);
    assert_eq!(info(&emulator, &cookies).await.status, 429);
    emulator.control().switch("requests_per_second", json!(0)).unwrap();
    assert_eq!(info(&emulator, &cookies).await.status, 200);
}

/// T-9
#[tokio::test]
async fn maintenance_answers_200_with_a_page_everywhere() {
    let emulator = started().await;
    let cookies = login(&emulator).await;
    emulator.control().maintenance(true);
    let login = login_with(&emulator, &[("username", LOGIN), ("password", PASSWORD)]).await;
    for answer in [login, info(&emulator, &cookies).await] {
        assert_eq!(answer.status, 200);
        assert!(answer.all("content-type")[0].starts_with("text/html"));
        assert!(answer.text().contains("Site Maintenance") && answer.all("set-cookie").is_empty());
    }
    emulator.control().maintenance(false);
    assert_eq!(info(&emulator, &cookies).await.json()["userName"], LOGIN);
}

/// T-9
#[tokio::test]
async fn a_saml_cluster_sends_a_dead_session_to_its_login_page() {
    let emulator = started().await;
    emulator.control().switch("saml", json!(true)).unwrap();
    let cookies = login(&emulator).await;
    assert_eq!(info(&emulator, &cookies).await.status, 200);
    assert_eq!(emulator.control().expire_sessions(), 1);
    let answer = info(&emulator, &cookies).await;
    assert_eq!((answer.status.as_u16(), answer.all("location")[0].as_str()), (302, "/login"));
}

/// T-10
#[tokio::test]
async fn a_cookie_is_rotated_and_the_old_one_is_good_for_the_grace_time_only() {
    let emulator = started().await;
    let control = emulator.control();
    control.switch("rotate_every", json!(2)).unwrap();
    control.switch("rotation_grace_seconds", json!(10)).unwrap();
    let first = login(&emulator).await;
    assert!(info(&emulator, &first).await.all("set-cookie").is_empty());
    let rotated = info(&emulator, &first).await;
    assert_eq!((rotated.status.as_u16(), rotated.all("set-cookie").len()), (200, 1));
    let second = format!("{}; clientId={}", cookies(&rotated), cookie(&first, "clientId"));
    assert_ne!(cookie(&first, "JSESSIONID"), cookie(&second, "JSESSIONID"));

    assert_eq!(info(&emulator, &first).await.status, 200, "within the grace time");
    control.clock().advance(Duration::from_secs(10));
    assert_eq!(info(&emulator, &first).await.status, 401);
    assert_eq!(info(&emulator, &second).await.status, 200);
    assert_eq!(control.counters().live_sessions, 1);
}

/// T-10
#[tokio::test]
async fn an_affinity_cookie_is_needed_once_it_was_issued() {
    let emulator = started().await;
    let before = login(&emulator).await;
    emulator.control().switch("affinity_cookie", json!(true)).unwrap();
    let after = login(&emulator).await;
    let without: Vec<&str> = after.split("; ").filter(|pair| !pair.starts_with("AWSALB")).collect();
    assert_eq!(info(&emulator, &after).await.status, 200);
    assert_eq!(info(&emulator, &without.join("; ")).await.status, 401);
    assert_eq!(info(&emulator, &before).await.status, 200, "issued without one");
}
