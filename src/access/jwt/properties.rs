//! What must hold for any text that is shown as a token of an issuer.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::token::{self, TOKEN_BYTES_MAX, Time, Token};
use super::{ALGORITHMS, KeySet, json};

pub(in crate::access) fn tokens(text: &str) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    _ = KeySet::parse(text.as_bytes(), &ALGORITHMS);
    if let Ok(object) = json::object(text.as_bytes()) {
        // The strict reader reads what a lenient one does, unless it refuses.
        assert_eq!(serde_json::from_str::<Map<String, Value>>(text).ok(), Some(object));
    }
    let Ok(token) = Token::parse(text) else { return };
    assert!(text.len() <= TOKEN_BYTES_MAX);
    assert!(token::has_the_form(text) || !text.starts_with("ey"), "{text:?} has not the form");
    assert_eq!(text.split('.').count(), 3);
    assert!(text.starts_with(token.signed));
    let issuer = token.claims().get("iss").and_then(Value::as_str).map(str::to_owned);
    assert_eq!(token::issuer(text), issuer, "two issuers");
    if let Ok(Time::GoodUntil(until)) = token.time(now, Duration::from_secs(60)) {
        assert!(until >= now);
        assert!(token.claims().contains_key("exp"), "it never ends");
    }
    assert!(!token.is_for(&[]), "it is for nobody");
    _ = (token.key_id(), token.algorithm(), token.is_critical());
}
