//! Takes values out of answers, by place.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::StepAnswer;
use super::jar::cookies;
use crate::fields::Fields;
use crate::recipe::{Take, TakeFrom};

/// A token longer than this is a mistake or an attack: it would not fit into a request head.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The value that `take` means; nothing when it is missing, empty or too long.
pub(super) fn value(take: &Take, answer: &StepAnswer, now: SystemTime) -> Option<String> {
    let found = match &take.from {
        TakeFrom::Json(pointer) => scalar(pointer.find(answer.body.json()?)?)?,
        TakeFrom::Text(regex) => answer.body.capture(regex)?,
        TakeFrom::Input(name) => answer.body.input(name)?,
        _ => from_head(&take.from, &answer.headers, now)?,
    };
    match answer.body.is_recorded() {
        // A stand-in for a text has no parts.
        true => usable(found),
        false => usable(part(take, found)?),
    }
}

/// The same, of an answer whose body is not looked at.
pub(super) fn of_head(take: &Take, headers: &Fields, now: SystemTime) -> Option<String> {
    usable(part(take, from_head(&take.from, headers, now)?)?)
}

fn from_head(from: &TakeFrom, headers: &Fields, now: SystemTime) -> Option<String> {
    match from {
        TakeFrom::Header(name) => headers.text(name).map(str::to_owned),
        // The last one counts, as in the jar; a cookie that is removed has no value.
        TakeFrom::Cookie(name) => {
            let given = cookies(headers).filter(|cookie| name.fits(&cookie.name)).last()?;
            if given.is_removed { None } else { Some(given.value.to_owned()) }
        }
        TakeFrom::CookieAge(name) => {
            let given = cookies(headers).filter(|cookie| cookie.name == *name).last()?;
            let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
            let age = given.age_at(i64::try_from(now).ok()?)?;
            if given.is_removed { None } else { Some(age.to_string()) }
        }
        TakeFrom::Json(_) | TakeFrom::Text(_) | TakeFrom::Input(_) => None,
    }
}

fn part(take: &Take, found: String) -> Option<String> {
    match (&take.part, &take.claim) {
        (Some(regex), _) => Some(regex.captures(&found)?.get(1)?.as_str().to_owned()),
        (None, Some(claim)) => scalar(claims(&found)?.get(claim)?),
        (None, None) => Some(found),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The claims of a JSON Web Token (RFC 7519 section 3), which nobody verifies here: who gave the
/// token says so.
pub(super) fn claims(token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64URL_NOPAD.decode(claims.trim_end_matches('=').as_bytes()).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn usable(value: String) -> Option<String> {
    (!value.is_empty() && value.len() <= VALUE_BYTES_MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode, header};

    use super::*;
    use crate::recipe::CookieName;
    use crate::recipe::condition::Body;

    fn taken(from: TakeFrom, part: Option<&str>, claim: Option<&str>) -> Option<String> {
        let token = BASE64URL_NOPAD.encode(br#"{"csrf":"c1","n":7,"list":[]}"#);
        let mut headers = Fields::new();
        for field in [
            format!("TOKEN=e30.{token}.sig; Path=/"),
            "csrf_token_P8080=p1".to_owned(),
            "lives=1; Max-Age=300".to_owned(),
            "ends=1; Expires=Thu, 01 Jan 1970 00:30:00 GMT, x=1".to_owned(),
            "dated=1; Expires=Fri, 02 Jan 1970 00:30:00 GMT".to_owned(),
            "quoted=\"q1\"".to_owned(),
        ] {
            headers.append(header::SET_COOKIE, field.parse::<HeaderValue>().unwrap());
        }
        headers.insert(header::LOCATION, HeaderValue::from_static("https://h/Sessions/12/"));
        let body = Body::new(br#"<input name=t value="a&amp;b">"#.to_vec());
        let answer = StepAnswer { status: StatusCode::OK, headers, body };
        let part = part.map(|text| regex::Regex::new(text).unwrap());
        let claim = claim.map(str::to_owned);
        let take = Take { name: "x".to_owned(), from, part, claim, optional: false };
        value(&take, &answer, UNIX_EPOCH + std::time::Duration::from_secs(86_400))
    }

    #[test]
    fn a_value_is_the_part_or_the_claim_that_is_meant() {
        let cookie = |name: &str| TakeFrom::Cookie(CookieName::Is(name.to_owned()));
        let age = |name: &str| TakeFrom::CookieAge(name.to_owned());
        let csrf = regex::Regex::new("^csrf_token_P[0-9]+$").unwrap();
        for (from, part, claim, expected) in [
            (TakeFrom::Header(header::LOCATION), Some("/Sessions/([^/]+)/?$"), None, Some("12")),
            (TakeFrom::Header(header::LOCATION), Some("/Session/(.)"), None, None),
            (cookie("TOKEN"), None, Some("csrf"), Some("c1")),
            (cookie("TOKEN"), None, Some("n"), Some("7")),
            (cookie("TOKEN"), None, Some("list"), None),
            (cookie("lives"), None, Some("csrf"), None),
            (cookie("quoted"), Some("^\"?([^\"]*)"), None, Some("q1")),
            (TakeFrom::Cookie(CookieName::Matches(csrf)), None, None, Some("p1")),
            (age("lives"), None, None, Some("300")),
            (age("dated"), None, None, Some("1800")),
            (age("TOKEN"), None, None, None),
            (TakeFrom::Input("t".to_owned()), None, None, Some("a&b")),
            (TakeFrom::Input("u".to_owned()), None, None, None),
        ] {
            let shown = format!("{from} {part:?} {claim:?}");
            assert_eq!(taken(from, part, claim).as_deref(), expected, "{shown}");
        }
    }
}
