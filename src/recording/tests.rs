//! What is recorded, what is not, and what a replay notices.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::diagnosis::Document;
use crate::fields::Fields;
use crate::recipe::Recipe;
use crate::recipe::condition::Body;

/// A recipe that takes from everywhere and asks texts.
const RECIPE: &str = r#"
name = "any"
title = "Takes from everywhere"
account.username = { kind = "login_name" }
account.password = { kind = "secret" }
session.cookies = "login"
inject = [{ header = "x-token", value = "{{json}}{{field}}{{text}}{{cookie}}{{number}}" }]
verdict = [{ when = { status = [401], header = [{ name = "x-reason", matches = "(?i)over" }] }, then = "expired" }]
probe = { method = "GET", path = "/me", alive = { status = [200] } }
[login]
refusals = [
    { when = { json = [{ at = "/code", equals = 7 }] }, class = "locked" },
    { when = { json = [{ at = "/why", matches = "wrong (\\w+)" }] }, class = "bad_secret" },
]
[[login.steps]]
name = "log in"
method = "POST"
path = "/login/{{password}}"
form = { name = "{{username}}", password = "{{password}}" }
take.json = { json = "/of/canary-in-a-name/0" }
take.number = { json = "/number" }
take.field = { header = "x-field" }
take.cookie = { cookie = "id" }
take.text = { text = "text=(\\S+)\\s*\"" }
"#;

fn recipe(text: &str) -> Arc<Recipe> {
    let document = Document::parse("any.toml", text).unwrap();
    Arc::new(Recipe::load(&document, &BTreeMap::new()).unwrap())
}

fn fields() -> Vec<String> {
    ["username", "password"].map(str::to_owned).to_vec()
}

fn answered(phase: Phase, status: u16, headers: &[(&str, &str)], body: &str) -> Exchanged {
    let headers: Fields = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect::<Vec<(HeaderName, HeaderValue)>>()
        .into_iter()
        .collect();
    let body = Body::new(body.as_bytes().to_vec());
    let answer = StepAnswer { status: StatusCode::from_u16(status).unwrap(), headers, body };
    Exchanged { phase, step: 0, header_names: Vec::new(), answer: Some(answer) }
}

fn good() -> Exchanged {
    let body = r#"{"of":{"canary-in-a-name":["canary-1"],"blt4711canary":1},"number":471100815,
        "flag":true,"mixed":"text=canary-2 "}"#;
    let cookies = "id=canary-3; Path=/x/4711canary8; Domain=canary.example; HttpOnly";
    let headers = [
        ("x-field", "canary-4"),
        ("set-cookie", cookies),
        ("set-cookie", "4711canary=1"),
        ("location", "https://canary.example/login/4711canary?canary=5"),
        ("www-authenticate", "Bearer realm=\"canary\""),
        ("x-other", "canary-6"),
        ("content-type", "application/json; x=canary"),
    ];
    answered(Phase::Login, 201, &headers, body)
}

/// Fails when a value of an answer, the name of a member that is an id, or a path's segment is
/// recorded as it is; or when what was taken is missing in the replay.
#[test]
fn nothing_but_shapes_is_recorded() {
    let recipe = recipe(RECIPE);
    let recording = record(&recipe, &fields(), &[good()]).unwrap();
    let text = recording.to_text();
    // The recipe itself names a member so.
    let rest = text.replace("canary-in-a-name", "");
    for secret in ["canary", "4711"] {
        assert!(!rest.contains(secret), "{secret}: {text}");
    }
    for kept in ["\"x-field\"", "id=text-", "Bearer", "\"/login/*\"", "{{password}}", "~name-"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    let took = &recording.exchanges[0].outcome.took;
    assert_eq!(took.len(), 7, "five values and two cookies: {took:?}");
    assert_eq!(replay(&Recording::parse(&text).unwrap(), &recipe), []);
}

/// Fails when the same value has two stand-ins, or two values have one.
#[test]
fn a_value_has_one_stand_in() {
    let recipe = recipe(RECIPE);
    let body = r#"{"why":"wrong name","a":"x","b":"y","c":"x","e":"","z":null}"#;
    let recording = record(&recipe, &fields(), &[answered(Phase::Login, 403, &[], body)]).unwrap();
    let answer = recording.exchanges[0].answer.as_ref().unwrap();
    let json = &answer.json;
    assert_eq!(json["a"], json["c"]);
    assert_ne!(json["a"], json["b"]);
    assert_eq!((&json["e"], &json["z"]), (&Value::from(""), &Value::Null));
    assert!(answer.texts["json /why matches `wrong (\\w+)`"]);
}

/// Fails when a code that a rule asks for is replaced, or one that none asks for is kept.
#[test]
fn only_what_rules_compare_is_kept() {
    let recipe = recipe(RECIPE);
    let body = r#"{"code":9876,"other":9876}"#;
    let recording = record(&recipe, &fields(), &[answered(Phase::Login, 403, &[], body)]).unwrap();
    let json = &recording.exchanges[0].answer.as_ref().unwrap().json;
    assert_eq!(json["code"], 9876);
    assert_ne!(json["other"], 9876);
}

/// Fails when a changed recipe goes unnoticed, or when the answer to a new expression is made up.
#[test]
fn a_changed_recipe_comes_to_another_outcome() {
    let unchanged = recipe(RECIPE);
    let refused = answered(Phase::Login, 403, &[], r#"{"why":"a wrong name"}"#);
    let over = [("x-reason", "session is over")];
    let probed = answered(Phase::WithoutSession, 401, &over, "");
    let recording = record(&unchanged, &fields(), &[refused, probed]).unwrap();
    let said = |from: &str, to: &str| {
        let changed = RECIPE.replace(from, to);
        assert_ne!(changed, RECIPE);
        let differences = replay(&recording, &recipe(&changed));
        differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let without = said("/why", "/reason");
    assert_eq!(
        without.lines().next().unwrap(),
        "login `log in`: was refused (bad_secret), is refused (no rule matched); the recording \
         does not tell whether json /reason matches `wrong (\\w+)`: record anew"
    );
    assert!(said("status = [401], header", "status = [403], header").contains("is no_rule"));
    assert!(said("name = \"log in\"", "name = \"enter\"").contains("was asked here, is `enter`"));
    assert_eq!(replay(&recording, &unchanged), []);
}

#[test]
fn a_file_of_another_form_is_refused() {
    let recording = record(&recipe(RECIPE), &fields(), &[good()]).unwrap();
    let text = recording.to_text();
    assert_eq!(Recording::parse(&text).unwrap(), recording);
    let other = text.replace("\"version\": 1", "\"version\": 2");
    assert!(matches!(Recording::parse(&other), Err(Unreadable::Version(2))));
    assert!(matches!(Recording::parse("{}"), Err(Unreadable::Form(_))));
}
