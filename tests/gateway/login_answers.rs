//! Whatever an upstream answers to a login: a session that works, or a typed refusal within bounds.

use std::io::Write;
use std::time::Duration;

use doorward::emulator::{Forced, Kind, User, Vendor};
use serde_json::json;

use crate::harness::{Scene, Setup};
use crate::puppet::{Puppet, Reply};
use crate::vendors::{login_line, read};

/// A read through a gateway whose logins get this answer; then the code of the problem.
async fn refused_with(vendor: Vendor, forced: Forced) -> String {
    let scene = Scene::of(vendor).await;
    let forced = Forced { matching: login_line(vendor).to_owned(), times: 100, ..forced };
    scene.control().force(forced).unwrap();
    let answer = read(&scene).send().await;
    assert!(answer.status.is_server_error(), "{vendor}: {answer:?}");
    let counters = scene.control().counters();
    assert_eq!(counters.requests_with_live_credential, 0, "{vendor}");
    assert_eq!(counters.requests_without_credential, 0, "{vendor}");
    assert_eq!(counters.requests_with_foreign_credential, 0, "{vendor}");
    scene.stop().await;
    answer.problem()
}

fn answer(status: u16, content_type: &str, body: &str) -> Forced {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    Forced { status: Some(status), headers, body: body.to_owned(), ..Forced::default() }
}

/// Fails when a login's success is judged by its status alone.
#[tokio::test]
async fn single_sign_on_answers_200_without_a_token_and_is_refused() {
    let user = User::new("sso@example", "a password of somebody").kind(Kind::SingleSignOn);
    let scene = Setup::of(Vendor::Contentstack).user(user.clone()).start().await;
    scene.control().add_user(user);
    for _ in 0..3 {
        let answer = read(&scene).send().await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "login_refused"));
    }
    let counters = scene.control().counters();
    assert_eq!((counters.requests, counters.logins_refused), (1, 1));
    scene.stop().await;
}

/// Fails when a page that came with 200 is taken for a login's answer.
#[tokio::test]
async fn a_page_with_200_on_a_login_is_no_session() {
    for vendor in Vendor::ALL {
        let page = answer(200, "text/html; charset=utf-8", "<html>Sign in here</html>");
        assert_eq!(refused_with(vendor, page).await, "login_held_back", "{vendor}");
    }
}

/// Fails when M-Files' token is believed before it was used once.
#[tokio::test]
async fn a_token_that_m_files_gives_for_a_wrong_password_is_no_session() {
    let login = Vendor::MFiles.seeded_user().login;
    let scene = Setup::of(Vendor::MFiles).user(User::new(login, "wrong")).start().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.requests), (0, 1, 2));
    scene.stop().await;
}

/// Fails when a taken value is used without a look at its kind, its length and its characters.
#[tokio::test]
async fn a_token_that_is_none_is_refused() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for token in [
        json!("blt\r\nx-evil: 1").to_string(),
        json!("blt\u{0}").to_string(),
        json!("").to_string(),
        json!(null).to_string(),
        json!({ "a": 1 }).to_string(),
        json!("x".repeat(64 * 1024)).to_string(),
        deep,
        "\"cut off".to_owned(),
    ] {
        let body = format!(r#"{{"notice":"Login Successful.","user":{{"authtoken":{token}}}}}"#);
        let code = refused_with(Vendor::Contentstack, answer(200, "application/json", &body)).await;
        let shown: String = token.chars().take(40).collect();
        assert!(code == "login_refused" || code == "login_held_back", "{shown}: {code}");
    }
}

/// Fails when a login's answer is read without a bound.
#[tokio::test]
async fn a_login_answer_beyond_its_bound_is_refused() {
    let long = format!(r#"{{"user":{{"authtoken":"blt1","x":"{}"}}}}"#, "x".repeat(2 << 20));
    let code = refused_with(Vendor::Contentstack, answer(200, "application/json", &long)).await;
    assert_eq!(code, "login_refused");
}

/// Fails when content is decoded without a bound.
#[tokio::test]
async fn a_compression_bomb_as_a_login_answer_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(br#"{"user":{"authtoken":"blt1","x":""#).unwrap();
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..8 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(br#""}}"#).unwrap();
    let bomb = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         content-length: {}\r\n\r\n",
        bomb.len()
    );
    let bytes = [head.as_bytes(), &bomb].concat();
    let puppet = Puppet::start(move |_| Reply::close(bytes.clone())).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    assert_eq!(puppet.requests().len(), 1);
}

/// Fails when a login that gets no answer has no deadline, or its reset is taken for a refusal.
#[tokio::test]
async fn a_login_that_is_reset_is_a_lost_answer() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        let matching = login_line(vendor).to_owned();
        scene.control().force(Forced { matching, reset: true, ..Forced::default() }).unwrap();
        let answer = read(&scene).send().await;
        assert_eq!(answer.problem(), "login_held_back", "{vendor}");
        assert_eq!(
            answer.json()["detail"],
            "no login is tried at the moment (answer_lost): the answer to the last login never came"
        );
    }
}

/// Fails when a login goes on after its own deadline.
#[tokio::test]
async fn a_login_whose_answer_never_ends_is_given_up_at_its_deadline() {
    let puppet = Puppet::start(|_| {
        Reply::keep(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"user\":".to_vec())
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let call = read(&scene).spawn();
    puppet.arrived(1).await;
    scene.clock.advance(Duration::from_secs(31));
    let answer = crate::harness::within(call).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "login_held_back"));
}
