//! What later answers make of a session: rotated cookies, anti-forgery pairs, tokens that slide.

use std::time::SystemTime;

use http::header;

use super::{Material, expiry, extract};
use crate::fields::Fields;
use crate::recipe::{Cookies, Recipe, SessionRules, TakeFrom};
use crate::secret::SecretText;

/// The session after an answer to a request for `path` below the upstream's URL; nothing when the
/// answer changes nothing of it, as most do. Cookies that the answer empties or removes are no
/// longer part of it; a value that the answer does not bring stays. The answer must be one that a
/// live session gets: what ends a session empties its cookies.
pub fn roll(
    recipe: &Recipe,
    material: &Material,
    headers: &Fields,
    path: &str,
    now: SystemTime,
) -> Option<Material> {
    let rules = &recipe.session;
    if !may_change(rules, headers) {
        return None;
    }
    let mut rolled = material.clone();
    if rules.cookies == Cookies::Rolling {
        rolled.cookies.store(headers, path);
    }
    let mut new_values = false;
    for take in &rules.roll {
        let Some(value) = extract::of_head(take, headers, now) else { continue };
        if material.values.text(&take.name) == value {
            continue;
        }
        new_values = true;
        rolled.values.set(take.name.clone(), SecretText::from(value));
        if rules.expires.as_ref().is_some_and(|(name, _)| *name == take.name) {
            rolled.expires = expiry::judge(rules, &rolled.values, rolled.longest, now);
        }
    }
    (new_values || rolled.cookies != material.cookies).then_some(rolled)
}

/// Whether an answer holds anything that a session could take, without a look at it.
fn may_change(rules: &SessionRules, headers: &Fields) -> bool {
    let sets_cookies = || headers.contains(header::SET_COOKIE);
    (rules.cookies == Cookies::Rolling && sets_cookies())
        || rules.roll.iter().any(|take| match &take.from {
            TakeFrom::Header(name) => headers.contains(name),
            TakeFrom::Cookie(_) => sets_cookies(),
            TakeFrom::CookieAge(_) => sets_cookies(),
            TakeFrom::Json(_) | TakeFrom::Text(_) | TakeFrom::Input(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, UNIX_EPOCH};

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::diagnosis::Document;
    use crate::login::Jar;
    use crate::recipe::template::Values;

    fn recipe(cookies: &str) -> Recipe {
        let text = format!(
            r#"
            name = "rolling"
            title = "A session that every answer may change"
            account.user = {{ kind = "login_name" }}
            inject = [
                {{ header = "X-CSRF-Token", value = "{{{{csrf}}}}" }},
                {{ header = "Authorization", value = "Bearer {{{{token}}}}" }},
                {{ header = "X-Pair", value = "{{{{pair}}}}" }},
            ]
            verdict = [{{ when = {{ status = [401] }}, then = "expired" }}]
            [session]
            cookies = "{cookies}"
            expires = {{ value = "token", unit = "epoch_seconds" }}
            max_age = "1h"
            roll.csrf = {{ header = "X-CSRF-Token" }}
            roll.token = {{ header = "X-Token" }}
            roll.pair = {{ cookie = "pair" }}
            [[login.steps]]
            name = "log in"
            method = "POST"
            path = "/login"
            form = {{ user = "{{{{user}}}}" }}
            take = {{ token = {{ header = "X-Token" }} }}
            "#
        );
        let document = Document::parse("recipe.toml", text).unwrap();
        Recipe::load(&document, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> Fields {
        let mut headers = Fields::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn material() -> Material {
        let mut values = Values::default();
        values.set("token", SecretText::from("1000".to_owned()));
        let mut cookies = Jar::default();
        cookies.store(&headers(&[("set-cookie", "sid=1; Path=/")]), "/");
        Material { values, cookies, expires: Some(at(1000)), longest: Some(at(3600)) }
    }

    fn rolled(cookies: &str, fields: &[(&'static str, &'static str)]) -> Option<Material> {
        roll(&recipe(cookies), &material(), &headers(fields), "/api/x", at(0))
    }

    /// Fails when a rolled answer is taken for a change although it says what is known, and when a
    /// session that does not roll its cookies takes some.
    #[test]
    fn an_answer_that_says_nothing_new_changes_nothing() {
        for fields in [
            [("content-type", "text/html")].as_slice(),
            &[("set-cookie", "sid=1; Path=/; Max-Age=900")],
            &[("set-cookie", "sid=2; Path=/"), ("set-cookie", "sid=1; Path=/")],
            &[("x-token", "1000"), ("x-csrf-token", "")],
            &[("set-cookie", "pair=gone; Max-Age=0"), ("set-cookie", "other=; Path=/")],
        ] {
            assert!(rolled("rolling", fields).is_none(), "{fields:?}");
        }
        assert!(rolled("login", &[("set-cookie", "sid=2; Path=/")]).is_none());
    }

    #[test]
    fn cookies_rotate_are_added_and_leave() {
        let cookie = |fields: &[_]| rolled("rolling", fields).map(|it| it.cookies.header("/api/y"));
        let rotated = cookie(&[("set-cookie", "sid=2; Path=/"), ("set-cookie", "node=b")]);
        assert_eq!(rotated.flatten().unwrap(), "sid=2; node=b");
        assert_eq!(cookie(&[("set-cookie", "sid=x; Path=/; Max-Age=0")]), Some(None));
        assert_eq!(cookie(&[("set-cookie", "sid=; Path=/")]), Some(None));
    }

    #[test]
    fn values_come_anew_and_with_them_the_end_within_the_longest_life() {
        let after = rolled("login", &[("x-csrf-token", "c2"), ("set-cookie", "pair=p; Path=/")]);
        let after = after.unwrap();
        assert_eq!((after.values.text("csrf"), after.values.text("pair")), ("c2", "p"));
        assert_eq!((after.values.text("token"), after.expires), ("1000", Some(at(1000))));
        assert_eq!(after.cookies.header("/").unwrap(), "sid=1");

        let end = |token| rolled("login", &[("x-token", token)]).unwrap().expires;
        assert_eq!(end("2000"), Some(at(2000)));
        assert_eq!(end("9000"), Some(at(3600)));
    }

    #[test]
    fn a_value_that_is_too_long_is_not_taken() {
        let mut fields = Fields::new();
        let long = "x".repeat(extract::VALUE_BYTES_MAX + 1);
        let name = HeaderName::from_static("x-csrf-token");
        fields.insert(name, long.parse::<HeaderValue>().unwrap());
        assert!(roll(&recipe("login"), &material(), &fields, "/", at(0)).is_none());
    }
}
