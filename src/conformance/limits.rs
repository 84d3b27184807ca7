//! What a recipe asks an account for, and what it says of times, numbers and clients' logins, held
//! against what the file tells. What the file does not tell must be the default.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, StatusCode};

use super::check::BEGIN;
use super::compare;
use super::written::{Conformance, Request};
use crate::fields::Fields;
use crate::forward::{inject, throttle};
use crate::recipe::written;
use crate::recipe::{self, EndpointRule, FieldKind, LocalAnswer, Recipe};
use crate::route::Reading;
use crate::session::rehearsal;
use crate::shield;

/// What stands in files where a client's key does.
const CLIENT_KEY: &str = "{{client_key}}";

/// What is different: where in the file, and what.
type Found = Vec<(String, String)>;

/// The fields of the account: which are secrets, and which may be left out.
pub(super) fn fields(recipe: &Recipe, file: &Conformance) -> Found {
    let mut found = Found::new();
    for (name, field) in &recipe.fields {
        let is_plain = file.plain.contains(name);
        match (field.kind, is_plain) {
            (FieldKind::Plain, false) => {
                found.push(("account".into(), format!("`{name}` is no secret")));
            }
            (FieldKind::Secret | FieldKind::LoginName, true) => {
                found.push(("plain".into(), format!("`{name}` is not to be seen by anybody")));
            }
            _ => {}
        }
        let given =
            |account: &BTreeMap<String, String>| account.get(name).map(|value| !value.is_empty());
        let of_file = given(&file.account).unwrap_or_default();
        let others = file.logins.iter().map(|login| given(&login.account).unwrap_or(of_file));
        let is_left_out = !of_file || others.into_iter().any(|given| !given);
        if field.optional != is_left_out {
            let told =
                if field.optional { "no login tells how it is without" } else { "is missing" };
            found.push(("account".into(), format!("`{name}`: {told}")));
        }
    }
    found
}

/// A written duration; nothing for one that is none, which no time is like.
fn time(text: Option<&String>) -> Option<Option<Duration>> {
    text.map(|text| recipe::duration(text).ok())
}

fn shown(duration: Option<Duration>) -> String {
    duration.map_or("never".to_owned(), |duration| format!("{} s", duration.as_secs_f64()))
}

/// Times and numbers.
pub(super) fn life(recipe: &Recipe, file: &Conformance) -> Found {
    let (rules, told) = (&recipe.session, &file.life);
    let mut found = Found::new();
    let mut differs = |at: &str, what: String| found.push((format!("life.{at}"), what));
    if let Some(Ok(life)) = file.session.ends.as_deref().map(recipe::duration) {
        let renewed = rehearsal::renewed_after(rules.refresh_ahead, life);
        let wanted = time(told.renewed_after.as_ref())
            .unwrap_or_else(|| rehearsal::renewed_after(recipe::REFRESH_AHEAD, life));
        if renewed != wanted {
            differs("renewed_after", format!("it is renewed after {}", shown(renewed)));
        }
    }
    if rules.idle != time(told.idle.as_ref()).flatten() {
        differs("idle", format!("it ends without use after {}", shown(rules.idle)));
    }
    let (first, last) = rehearsal::asked_after(rules).unzip();
    if first != time(told.asked_first.as_ref()).flatten() {
        differs("asked_first", format!("it is asked after first after {}", shown(first)));
    }
    if last != time(told.asked_last.as_ref()).flatten() {
        differs("asked_last", format!("it is asked after last after {}", shown(last)));
    }
    let sessions = rehearsal::sessions_at_a_time(rules);
    if sessions != told.sessions_max {
        let sessions = sessions.map_or("any number".to_owned(), |count| count.to_string());
        differs("sessions_max", format!("at a time there may be {sessions}"));
    }
    let (lost, alone) = rehearsal::lost_logins(recipe.budget);
    let untold = written::Budget::default();
    let window = recipe::duration(&untold.window).unwrap_or_default();
    let budget = recipe::Budget { attempts: untold.attempts, window };
    let (lost_else, alone_else) = rehearsal::lost_logins(budget);
    if lost != told.logins_lost_max.unwrap_or(lost_else) {
        differs("logins_lost_max", format!("{lost} logins are lost"));
    }
    if Some(alone) != time(told.left_alone.as_ref()).unwrap_or(Some(alone_else)) {
        differs("left_alone", format!("it is left alone for {}", shown(Some(alone))));
    }
    found
}

/// What answers say of the upstream's own limits.
pub(super) fn throttled(recipe: &Recipe, file: &Conformance) -> Found {
    let rules = &recipe.throttle;
    let wall = UNIX_EPOCH + BEGIN;
    let mut found = Found::new();
    for (index, throttled) in file.throttled.iter().enumerate() {
        let at = format!("throttled[{index}]");
        let answer = throttled.answer.played();
        let waits = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => Some(throttle::pause(rules, &answer.headers, wall)),
            _ => throttle::left(rules, &answer.headers, || wall)
                .filter(|left| left.requests == 0)
                .and_then(|left| left.reset.or(rules.window)),
        };
        if waits != time(throttled.waits.as_ref()).flatten() {
            found.push((at.clone(), format!("everybody waits {}", shown(waits))));
        }
        if throttled.apart != rules.counts_apart {
            found.push((at, "reads and writes are counted otherwise".to_owned()));
        }
    }
    let pause = recipe::duration(&written::Throttle::default().pause).unwrap_or_default();
    let untold = recipe::Throttle { pause, ..Default::default() };
    if *rules != untold && file.throttled.is_empty() {
        found.push(("answers".into(), "nothing is told of the upstream's limits".into()));
    }
    found
}

/// Each place where clients put the password is told of, and found.
pub(super) fn client_logins(recipe: &Recipe, file: &Conformance, read: Read<'_>) -> Found {
    let mut found = Found::new();
    let logins = recipe.endpoints.iter().filter_map(|endpoint| match &endpoint.rule {
        EndpointRule::Answer(answer) => answer.login.as_ref().map(|login| (answer, login)),
        _ => None,
    });
    let mut told: Vec<&LocalAnswer> = Vec::new();
    for (index, request) in file.client_logins.iter().enumerate() {
        let at = format!("client_logins[{index}]");
        let reading = read(&request.to);
        let rule = reading.as_ref().and_then(|reading| shield::rule(recipe, reading));
        let Some((answer, login)) = rule.and_then(|rule| match rule {
            EndpointRule::Answer(answer) => Some((answer, answer.login.as_ref()?)),
            _ => None,
        }) else {
            found.push((at, "is no login".into()));
            continue;
        };
        let query = request.to.split_once('?').map(|(_, query)| query);
        let passwords = shield::passwords(login, query, &headers(request), &body(request));
        match passwords.as_slice() {
            [one] if **one == CLIENT_KEY => told.push(answer),
            _ => found.push((at, "the client's key is not found in it".into())),
        }
    }
    for (answer, login) in logins {
        let count = told.iter().filter(|of| std::ptr::eq(**of, answer)).count();
        if count < login.password.len() {
            let places = login.password.len();
            let what = format!("{count} of a login's {places} places for the password are told of");
            found.push(("endpoints".into(), what));
        }
    }
    found
}

/// What of a client's request does not reach the upstream.
pub(super) fn dropped(recipe: &Recipe, file: &Conformance) -> Found {
    let dropped = &file.dropped;
    let is_dropped = |name: &String| {
        let name = HeaderName::try_from(name.as_str()).ok();
        name.is_some_and(|name| inject::passes_for_credential(recipe, &name))
    };
    let headers = dropped.headers.iter().filter(|name| !is_dropped(name));
    let kept = dropped.kept_headers.iter().filter(|name| is_dropped(name));
    let query = dropped.query.iter().filter(|name| !recipe.strips_query(name));
    let headers = headers.map(|name| format!("the header field `{name}` is not"));
    let kept = kept.map(|name| format!("the header field `{name}` is, too"));
    let query = query.map(|name| format!("the query parameter `{name}` is not"));
    headers.chain(kept).chain(query).map(|what| ("dropped".to_owned(), what)).collect()
}

/// What the upstream reads a request as; nothing where that is refused.
pub(super) type Read<'r> = &'r dyn Fn(&str) -> Option<Reading>;

fn headers(request: &Request) -> Fields {
    let fields = request.headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    fields.collect()
}

fn body(request: &Request) -> Vec<u8> {
    match (&request.json, &request.form) {
        (Some(json), _) => json.to_string().into_bytes(),
        (None, Some(form)) => compare::form(form).into_bytes(),
        (None, None) => request.text.clone().unwrap_or_default().into_bytes(),
    }
}
