//! What must hold for any answer of an upstream to a login, and for the cookies in it.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::{StatusCode, header};

use super::extract::VALUE_BYTES_MAX;
use super::{Attempt, Jar, Material, Next, StepAnswer, roll};
use crate::fields::Fields;
use crate::forward::inject::Injector;
use crate::properties::{Draws, head};
use crate::recipe::condition::Body;
use crate::recipe::template::Values;
use crate::recipe::{BUILT_IN, Recipe, built_in};
use crate::secret::SecretText;

/// A jar holds what was set and nothing else, within its bounds, and sends it where it belongs.
pub fn cookies(data: &[u8]) {
    let mut draws = Draws::new(data);
    let base = if draws.byte() & 1 == 1 { "/site" } else { "" };
    let (set_by, asked_for) = (path(&mut draws), path(&mut draws));
    let answer = head(&mut draws);
    let mut jar = Jar::new(base);
    jar.store(&answer, &set_by);
    holds_within_bounds(&jar);
    let whole = format!("{base}{asked_for}");
    let expected: Vec<String> = jar
        .parts()
        .filter(|(_, _, path)| fits(path, &whole))
        .map(|(name, value, _)| format!("{name}={}", value.expose()))
        .collect();
    match jar.header(&asked_for) {
        None => assert!(expected.is_empty(), "{expected:?} are not sent"),
        Some(field) => {
            assert!(field.is_sensitive());
            assert_eq!(field.as_bytes(), expected.join("; ").as_bytes());
            // What reads it finds as many cookies as there are: none hides in another's value.
            let found = field.as_bytes().split(|byte| *byte == b';').count();
            assert_eq!(found, expected.len(), "{field:?}");
        }
    }
    let owned = |(name, value, path): (&str, &SecretText, &str)| {
        (name.to_owned(), value.expose().to_owned(), path.to_owned())
    };
    let kept: Vec<_> = jar.parts().map(owned).collect();
    assert_eq!(Jar::kept(base, kept), jar, "a restart changes it");
    let shown = format!("{jar:?}");
    for (_, value, _) in jar.parts() {
        let is_also = |text: &str| text.contains(value.expose());
        let stands_elsewhere = jar.parts().any(|(name, _, path)| is_also(name) || is_also(path));
        let is_short = value.characters() < 16;
        assert!(is_short || stands_elsewhere || !is_also(&shown), "{shown}");
    }
    let mut emptied = jar.clone();
    for (name, _, path) in jar.parts() {
        let removal = format!("{name}=; Path={path}");
        if let Ok(field) = removal.parse() {
            emptied.store(&Fields::from_iter([(header::SET_COOKIE, field)]), "/");
        }
    }
    let is_ascii = jar.parts().all(|(name, _, path)| is_plain(name) && is_plain(path));
    assert!(emptied.is_empty() || !is_ascii, "{emptied:?} cannot be removed");
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';')
}

fn path(draws: &mut Draws<'_>) -> String {
    format!("/{}", draws.text().trim_start_matches('/'))
}

fn holds_within_bounds(jar: &Jar) {
    assert!(jar.iter().count() <= 64);
    let mut seen = Vec::new();
    for (name, value, path) in jar.parts() {
        assert!(value.expose().len() <= VALUE_BYTES_MAX && !value.expose().is_empty());
        assert!(path.starts_with('/'), "{path:?}");
        assert!(!seen.contains(&(name, path)), "{name} is there twice");
        seen.push((name, path));
    }
}

/// RFC 6265 section 5.1.4, in its own words.
fn fits(cookie: &str, request: &str) -> bool {
    cookie == request
        || request.starts_with(cookie)
            && (cookie.ends_with('/') || request.as_bytes().get(cookie.len()) == Some(&b'/'))
}

/// Every recipe that is built in, with parameters for those that need some.
static RECIPES: LazyLock<Vec<Arc<Recipe>>> = LazyLock::new(|| {
    let load = |(name, _): &(&str, &str)| {
        let document = built_in(name).unwrap_or_else(|error| panic!("{error}"));
        let shape = Recipe::shape(&document).unwrap_or_else(|faults| panic!("{faults}"));
        let needed = shape.parameters.into_iter().filter(|(_, is_needed)| *is_needed);
        let parameters = needed.map(|(name, _)| (name, "a".to_owned()));
        let parameters: BTreeMap<_, _> = parameters.collect();
        Arc::new(Recipe::load(&document, &parameters).unwrap_or_else(|faults| panic!("{faults}")))
    };
    BUILT_IN.iter().map(load).collect()
});

/// A login ends, whatever its answers say; it sends no more than its steps, and shows no secret.
pub fn logins(data: &[u8]) {
    let mut draws = Draws::new(data);
    let number = draws.below(RECIPES.len());
    let Some(recipe) = RECIPES.get(number) else { return };
    answered(recipe, draws);
}

const PASSWORD: &str = "Tr0ub4dor&3/canary";
/// No code that is made of it is looked for: six digits are anywhere.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A login by this recipe whose answers are drawn: a line with the status, the fields up to an empty
/// line, a line with the body.
pub(crate) fn answered(recipe: &Arc<Recipe>, mut draws: Draws<'_>) {
    let mut account = Values::default();
    for (name, field) in &recipe.fields {
        let code = recipe.code_fields().any(|code| code == name);
        let value = if code { SEED } else { PASSWORD };
        if !field.optional || draws.byte() & 1 == 1 {
            account.set(name.clone(), SecretText::from(value.to_owned()));
        }
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut attempt = Attempt::new(Arc::clone(recipe), account, "/base");
    let mut next = attempt.start(now);
    let mut sent = 0;
    loop {
        match next {
            Next::Wait { until } => {
                assert!(until > now && until <= now + Duration::from_secs(600));
                next = attempt.resume(until);
            }
            Next::Refused(refusal) => {
                let shown = format!("{refusal:?} {attempt:?}");
                assert!(!shown.contains(PASSWORD) && !shown.contains(SEED), "{shown}");
                return;
            }
            Next::Done(material) => return done(recipe, &material, draws, now),
            Next::Send(request) => {
                sent += 1;
                assert!(sent <= recipe.login.len(), "more than its steps");
                assert!(request.target.starts_with('/'), "{:?}", request.target);
                let is_visible = |byte: u8| byte.is_ascii_graphic();
                assert!(request.target.bytes().all(is_visible), "{:?}", request.target);
                let shown = format!("{request:?}");
                assert!(!shown.contains(PASSWORD) && !shown.contains(SEED), "{shown}");
                next = attempt.answer(&answer(&mut draws), now);
            }
        }
    }
}

fn answer(draws: &mut Draws<'_>) -> StepAnswer {
    let status = draws.text().parse().unwrap_or(StatusCode::OK);
    let headers = head(draws);
    let body = draws.line().to_vec();
    StepAnswer { status, headers, body: Body::new(body) }
}

fn done(recipe: &Recipe, material: &Material, mut draws: Draws<'_>, now: SystemTime) {
    holds_within_bounds(&material.cookies);
    for (name, value) in material.values.iter() {
        assert!(value.expose().len() <= VALUE_BYTES_MAX, "{name}");
    }
    assert!(material.expires.is_none_or(|end| end > now), "it has ended before it began");
    let shown = format!("{material:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(SEED), "{shown}");
    _ = Injector::new(recipe, material, now);
    let later = head(&mut draws);
    if let Some(rolled) = roll(recipe, material, &later, "/x", now) {
        holds_within_bounds(&rolled.cookies);
        assert!(roll(recipe, &rolled, &Fields::new(), "/x", now).is_none());
        _ = Injector::new(recipe, &rolled, now);
    }
}
