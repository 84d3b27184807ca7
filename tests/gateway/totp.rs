//! Accounts with a second factor: one code for each time step, never twice.

use std::time::{Duration, SystemTime};

use doorward::emulator::{Kind, Totp, User, Vendor};
use serde_json::json;

use crate::harness::{Scene, Setup, until, within};
use crate::vendors::{login_line, read, read_line};

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const STEP: Duration = Duration::from_secs(30);

fn totp() -> Totp {
    Totp::from_base32(SECRET).unwrap()
}

fn user() -> User {
    User::new("two@example.com", "a password of two").kind(Kind::SecondFactor { secret: totp() })
}

/// A gateway whose account has this secret for its codes, at the beginning of a time step.
async fn scene_with(secret: &str) -> Scene {
    scene_of(Setup::of(Vendor::Contentstack), secret).await
}

async fn scene_of(setup: Setup, secret: &str) -> Scene {
    let mut setup = setup.user(user());
    setup.account = "totp_secret = { env = \"TOTP\", verbatim = true }".to_owned();
    let scene = setup.start_with(&[("TOTP", secret)]).await;
    let since_1970 = scene.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let into_the_step = since_1970.as_nanos() % STEP.as_nanos();
    scene.clock.advance(STEP - Duration::from_nanos(into_the_step as u64));
    scene.control().add_user(user());
    scene
}

/// How many requests with this line the upstream has answered with this status.
fn answered(scene: &Scene, line: &str, status: u16) -> usize {
    let records = scene.control().requests();
    let is_it = |record: &&doorward::emulator::RequestRecord| {
        format!("{} {}", record.method, record.target).starts_with(line)
            && record.status == Some(status)
    };
    records.iter().filter(is_it).count()
}

/// Some round trips, in which a login that does not wait would be sent.
async fn others_come_and_go(scene: &Scene) {
    for _ in 0..20 {
        scene.call_emulator("GET", "/v3/none").send().await;
    }
}

/// Ends the session at the upstream and asks again, until the answer that tells it has come.
async fn asked_after_the_end(scene: &Scene) -> tokio::task::JoinHandle<crate::client::Answer> {
    scene.control().expire_sessions();
    let call = read(scene).spawn();
    until("the read is answered with 401", || {
        answered(scene, read_line(Vendor::Contentstack), 401) == 1
    })
    .await;
    others_come_and_go(scene).await;
    call
}

/// Fails when a code is sent twice (the upstream refuses it and counts that), or when the wait for
/// the next one is taken for a failure.
#[tokio::test]
async fn two_logins_within_one_time_step_use_two_codes_and_the_second_waits() {
    for secret in [SECRET, "otpauth://totp/a:b?secret=jbswy3dpehpk3pxpjbswy3dpehpk3pxp&issuer=a"] {
        let scene = scene_with(secret).await;
        assert_eq!(read(&scene).send().await.status, 200);
        let call = asked_after_the_end(&scene).await;
        assert_eq!(scene.control().counters().logins, 1, "the second login did not wait");
        scene.clock.advance(STEP);
        assert_eq!(within(call).await.unwrap().status, 200);
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (2, 0));
        scene.stop().await;
    }
}

/// Fails when the wait for the next code counts as time of the login.
#[tokio::test]
async fn the_wait_for_a_code_is_no_time_of_the_login() {
    let setup = Setup::of(Vendor::Contentstack).tables("[timeouts]\nlogin = \"2s\"\n");
    let scene = scene_of(setup, SECRET).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let call = asked_after_the_end(&scene).await;
    for _ in 0..30 {
        scene.clock.advance(Duration::from_secs(1));
        others_come_and_go(&scene).await;
    }
    assert_eq!(within(call).await.unwrap().status, 200);
    assert_eq!(scene.control().counters().logins_refused, 0);
    scene.stop().await;
}

/// Fails when a code that another program used is taken for a wrong one: the account would be
/// quarantined.
#[tokio::test]
async fn a_code_that_somebody_else_used_holds_the_login_back_and_costs_no_attempt() {
    let scene = scene_with(SECRET).await;
    for _ in 0..5 {
        let code = totp().code_at(scene.clock.wall());
        let user = json!({ "email": user().login, "password": user().password, "tfa_token": code });
        let login = scene.call_emulator("POST", "/v3/user-session").json(&json!({ "user": user }));
        assert_eq!(login.send().await.status, 200);
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
        scene.clock.advance(STEP * 2);
    }
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins_refused, 5);
    scene.control().expire_sessions();
}

/// Fails when a wrong code is tried again.
#[tokio::test]
async fn a_secret_of_somebody_else_is_refused_once_and_for_all() {
    let scene = scene_with("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").await;
    for _ in 0..3 {
        assert_eq!(read(&scene).send().await.problem(), "login_refused");
        scene.clock.advance(Duration::from_secs(24 * 3600));
    }
    assert_eq!(scene.control().counters().requests, 1);
    assert_eq!(answered(&scene, login_line(Vendor::Contentstack), 422), 1);
    scene.stop().await;
}

/// Fails when a stop waits for the next time step: this clock never gets there.
#[tokio::test]
async fn a_stop_does_not_wait_for_the_next_code() {
    let scene = scene_with(SECRET).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let call = asked_after_the_end(&scene).await;
    call.abort();
    _ = call.await;
    scene.stop().await;
}
