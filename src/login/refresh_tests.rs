//! Refreshes: what they carry, what they change, and what hostile answers make of them.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::diagnosis::Document;
use crate::fields::Fields;

const RECIPE: &str = r#"
    name = "refreshing"
    title = "Refresh tokens of one use, and a cookie for each step"
    account.user = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [
        { header = "Authorization", value = "Bearer {{access}}" },
        { header = "X-CSRF-Token", value = "{{csrf}}", methods = "unsafe" },
        { query = "key", value = "{{access}}" },
        { cookies = true },
    ]
    verdict = [{ when = { status = [401] }, then = "expired" }]
    [session]
    cookies = "login"
    expires = { value = "lives", unit = "seconds" }
    max_age = "1h"
    roll.csrf = { header = "X-CSRF-Token" }
    [[login.steps]]
    name = "log in"
    method = "POST"
    path = "/login"
    form = { user = "{{user}}", password = "{{password}}" }
    [login.steps.take]
    access = { json = "/access" }
    refresh = { json = "/refresh" }
    lives = { json = "/lives" }
    [[login.refusals]]
    when = { json = [{ at = "/error", equals = "locked" }] }
    class = "locked"
    [[login.refusals]]
    when = { header = [{ name = "content-type", matches = "html" }] }
    class = "upstream_broken"
    [[refresh.steps]]
    name = "refresh"
    method = "POST"
    path = "/refresh"
    headers = { Authorization = "Bearer {{refresh}}" }
    take = { access = { json = "/access" }, refresh = { json = "/refresh", optional = true } }
    [[refresh.steps]]
    name = "look"
    method = "GET"
    path = "/me"
    query = { key = "mine" }
    expect = { status = [200] }
    take = { lives = { json = "/lives", optional = true } }
"#;

fn recipe() -> Arc<Recipe> {
    let document = Document::parse("recipe.toml", RECIPE).unwrap();
    let recipe = Recipe::load(&document, &BTreeMap::new());
    Arc::new(recipe.unwrap_or_else(|faults| panic!("{faults}")))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn answer(status: u16, body: &str, fields: &[(&'static str, &'static str)]) -> StepAnswer {
    let mut headers = Fields::new();
    for (name, value) in fields {
        headers.append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).unwrap();
    StepAnswer { status, headers, body: Body::new(body.as_bytes().to_vec()) }
}

/// A session that began at 1970 and lives five minutes.
fn session() -> Material {
    let mut values = Values::default();
    values.set("user", SecretText::from("u".to_owned()));
    values.set("password", SecretText::from("p".to_owned()));
    let mut attempt = Attempt::new(recipe(), values, "");
    let login = sent(attempt.start(at(0)));
    assert!(login.headers.get("authorization").is_none() && !login.target.contains("key"));
    let body = r#"{"access":"a1","refresh":"r1","lives":300}"#;
    done(attempt.answer(&answer(200, body, &[("set-cookie", "sid=1; Path=/")]), at(0)))
}

fn refresh() -> Attempt {
    Attempt::refresh(recipe(), &session(), "")
}

fn sent(next: Next) -> Request {
    match next {
        Next::Send(request) => request,
        other => panic!("nothing is sent: {other:?}"),
    }
}

fn done(next: Next) -> Material {
    match next {
        Next::Done(material) => material,
        other => panic!("not done: {other:?}"),
    }
}

fn refused(next: Next) -> Refusal {
    match next {
        Next::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Fails when a refresh carries nothing, when the session's token takes the place that the step
/// gave to the refresh token, and when a later step carries what an earlier one replaced.
#[test]
fn a_refresh_carries_the_session_as_its_steps_change_it() {
    let mut attempt = refresh();
    assert_eq!(attempt.step_name(), "refresh");
    let first = sent(attempt.start(at(200)));
    assert_eq!(first.target, "/refresh?key=a1");
    assert_eq!(first.headers["authorization"], "Bearer r1");
    assert_eq!(first.headers["cookie"], "sid=1");
    assert!(first.headers.get("x-csrf-token").is_none());

    let body = r#"{"access":"a2","refresh":"r2"}"#;
    let second = attempt.answer(&answer(200, body, &[("set-cookie", "sid=2; Path=/")]), at(201));
    let second = sent(second);
    assert_eq!(second.target, "/me?key=mine");
    assert_eq!(second.headers["authorization"], "Bearer a2");
    assert!(second.headers["authorization"].is_sensitive());
    assert_eq!(second.headers["cookie"], "sid=2");

    let material = done(attempt.answer(&answer(200, r#"{"lives":500}"#, &[]), at(210)));
    let text = |name| material.values.text(name);
    assert_eq!((text("access"), text("refresh")), ("a2", "r2"));
    assert_eq!((text("user"), text("password")), ("u", "p"));
    assert_eq!(material.cookies.header("/").unwrap(), "sid=2");
    assert_eq!(material.expires, Some(at(710)));
    assert_eq!(material.longest, Some(at(210 + 3600)));
}

#[test]
fn what_a_refresh_does_not_bring_stays() {
    let mut attempt = refresh();
    attempt.start(at(200));
    sent(attempt.answer(&answer(200, r#"{"access":"a2"}"#, &[]), at(200)));
    let material = done(attempt.answer(&answer(200, "{}", &[]), at(200)));
    assert_eq!(material.values.text("refresh"), "r1");
    assert_eq!(material.expires, Some(at(500)));
    assert_eq!(material.cookies.header("/").unwrap(), "sid=1");
}

#[test]
fn hostile_answers_refuse_a_refresh() {
    for (status, body, fields, expected) in [
        (200, "{}", [].as_slice(), (None, Because::Missing("access".to_owned()))),
        (200, r#"{"access":""}"#, &[], (None, Because::Missing("access".to_owned()))),
        (200, r#"{"access":{"a":1}}"#, &[], (None, Because::Missing("access".to_owned()))),
        (
            200,
            "<html>Site maintenance</html>",
            &[("content-type", "text/html")],
            (Some(RefusalClass::UpstreamBroken), Because::Missing("access".to_owned())),
        ),
        (400, r#"{"error":"locked"}"#, &[], (Some(RefusalClass::Locked), Because::Unexpected)),
        (302, "", &[("location", "/login")], (None, Because::Unexpected)),
    ] {
        let mut attempt = refresh();
        attempt.start(at(200));
        let refusal = refused(attempt.answer(&answer(status, body, fields), at(200)));
        assert_eq!((refusal.class, refusal.because), expected, "{body}");
        assert_eq!(refusal.step, "refresh");
    }
}

/// Fails when a value with a line break is put into a header field or silently left out.
#[test]
fn a_token_that_no_header_field_can_hold_is_not_sent() {
    let mut attempt = refresh();
    attempt.start(at(200));
    let refusal = refused(attempt.answer(&answer(200, r#"{"access":"a\r\nb"}"#, &[]), at(200)));
    assert_eq!(refusal.because, Because::Unusable("authorization".to_owned()));
    assert!(!format!("{attempt:?}").contains("r1"));
}
