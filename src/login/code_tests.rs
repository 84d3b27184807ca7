//! One-time codes in logins: one for each time step.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn attempt(secret: &str) -> Attempt {
    let document = crate::recipe::built_in("contentstack").unwrap();
    let recipe = Recipe::load(&document, &BTreeMap::new()).unwrap();
    let mut values = Values::default();
    values.set("totp_secret", SecretText::from(secret.to_owned()));
    Attempt::new(Arc::new(recipe), values, "")
}

fn code(next: &Next) -> Option<String> {
    let Next::Send(request) = next else { panic!("nothing is sent: {next:?}") };
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    Some(body.pointer("/user/tfa_token")?.as_str().unwrap().to_owned())
}

/// Fails when a code is rendered again in its step, or when the wait ends before the step does.
#[test]
fn a_code_is_sent_once_and_the_next_login_waits_for_its_step() {
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let mut first = attempt(SECRET);
    assert_eq!(code(&first.start(at(45))).as_deref(), Some("287082"));
    assert_eq!(first.code_used(), Some(TotpStep(60)));

    let mut second = attempt(SECRET).with_codes_used_until(first.code_used());
    let Next::Wait { until } = second.start(at(59)) else { panic!("it does not wait") };
    assert_eq!((until, second.code_used()), (at(60), None));
    // Woken too early it waits on.
    assert!(matches!(second.resume(at(59)), Next::Wait { .. }));
    assert_eq!(code(&second.resume(until)).as_deref(), Some("359152"));

    // Another login was faster.
    let used = second.code_used().unwrap();
    let mut third = attempt(SECRET).with_codes_used_until(first.code_used());
    assert!(code(&third.start(at(61))).is_some());
    let Next::Wait { until } = third.code_was_used(used, at(61)) else { panic!("no wait") };
    assert_eq!(until, at(90));
}

#[test]
fn an_account_without_a_secret_sends_no_code_and_never_waits() {
    let mut attempt = attempt("").with_codes_used_until(Some(TotpStep(60)));
    assert_eq!(code(&attempt.start(at(45))), None);
    assert_eq!(attempt.code_used(), None);
}

#[test]
fn a_secret_that_makes_no_codes_is_a_refusal_without_its_value() {
    let next = attempt("hunter-18").start(at(0));
    let Next::Refused(refusal) = &next else { panic!("not refused: {next:?}") };
    assert_eq!(refusal.class, Some(RefusalClass::SecondFactor));
    let because = Because::NoCode("totp_secret".to_owned(), TotpFault::NotBase32);
    assert_eq!(refusal.because, because);
    assert!(!format!("{next:?}").contains("hunter"));
}
