//! What the built-in recipes make of their vendors' answers and of their clients' paths.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use doorward::fields::Fields;
use doorward::login::{Attempt, Next, StepAnswer};
use doorward::recipe::condition::Body;
use doorward::recipe::template::Values;
use doorward::recipe::{self, Recipe, RefusalClass};
use doorward::route::{Canonical, Reading};
use doorward::shield;
use http::{Method, StatusCode, header};
use serde_json::Value;

/// What a built-in recipe makes of a login whose answers are these; those before the last must
/// be good.
fn refused(recipe: &str, answers: &[(u16, &str)]) -> Option<RefusalClass> {
    let recipe = Recipe::load(&recipe::built_in(recipe).unwrap(), &BTreeMap::new()).unwrap();
    let mut attempt = Attempt::new(Arc::new(recipe), Values::default(), "");
    let mut next = attempt.start(SystemTime::UNIX_EPOCH);
    for (status, body) in answers {
        assert!(matches!(next, Next::Send(_)));
        let json = ("application/json").parse().unwrap();
        let answer = StepAnswer {
            status: StatusCode::from_u16(*status).unwrap(),
            headers: Fields::from_iter([(header::CONTENT_TYPE, json)]),
            body: Body::new(body.as_bytes().to_vec()),
        };
        next = attempt.answer(&answer, SystemTime::UNIX_EPOCH);
    }
    match next {
        Next::Refused(refusal) => refusal.class,
        _ => panic!("not refused"),
    }
}

#[test]
fn an_outage_is_not_taken_for_a_locked_account() {
    let outage = r#"{"error_message":"The service is temporarily unavailable."}"#;
    for status in [500, 503] {
        let class = refused("contentstack", &[(status, outage)]);
        assert_eq!(class, Some(RefusalClass::UpstreamBroken), "{status}");
    }
    assert_eq!(refused("contentstack", &[(429, outage)]), Some(RefusalClass::Throttled));
    let locked = r#"{"error_code":104,"error_message":"Your account is temporarily locked."}"#;
    assert_eq!(refused("contentstack", &[(422, locked)]), Some(RefusalClass::Locked));
}

#[test]
fn the_wrong_node_of_a_cluster_is_not_taken_for_a_wrong_password() {
    let refusal = |message: &str| {
        let body = format!(r#"{{"IsLoggedToApplication":false,"Message":"{message}"}}"#);
        refused("mfiles", &[(200, r#"{"Value":"token"}"#), (403, &body)])
    };
    let wrong_node = refusal("Error occurred while decoding OAEP padding.");
    assert_eq!(wrong_node, Some(RefusalClass::UpstreamBroken));
    assert_eq!(refusal("Login to application failed"), Some(RefusalClass::BadSecret));
}

fn is_ruled(recipe: &str, method: Method, target: &str) -> bool {
    let recipe = Recipe::load(&recipe::built_in(recipe).unwrap(), &BTreeMap::new()).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let canonical = Canonical::of(path);
    if canonical.ambiguity(recipe.spelling.encoded_slash).is_some() {
        return true;
    }
    match Reading::of(&method, &canonical.path, Some(query), &recipe.spelling) {
        Ok(reading) => shield::rule(&recipe, &reading).is_some(),
        // Refused.
        Err(_) => true,
    }
}

#[test]
fn no_spelling_leads_around_a_rule() {
    for target in [
        "/v3/user",
        "/v3/user/",
        "/v3//user",
        "/V3/User",
        "/v3/user;x",
        "/v3/%75ser",
        "/v3/%2575ser",
        "/user",
        "/user/",
    ] {
        assert!(is_ruled("contentstack", Method::GET, target), "{target}");
    }
    for target in ["/v3/user-session", "/v3/user-session/", "/user-session", "/USER-SESSION"] {
        assert!(is_ruled("contentstack", Method::DELETE, target), "{target}");
    }
    for target in [
        "/callosum/v1/tspublic/v1/session/logout/",
        "/api/rest/2.0/AUTH/session/logout",
        "/tspublic/rest/v2/session/logout",
    ] {
        assert!(is_ruled("thoughtspot", Method::POST, target), "{target}");
    }
    for target in [
        "/REST/session?_method=DELETE",
        "/rest/SESSION.aspx/?%5fmethod=delete",
        "/REST/session?%u005fmethod=DELETE",
        "/REST/session?_method=%u0044ELETE",
        "/REST/MFWS.ashx?restPath=/session%3F_method%3DDELETE",
        "/REST/%2573ession?_method=DELETE",
    ] {
        assert!(is_ruled("mfiles", Method::POST, target), "{target}");
    }
    assert!(!is_ruled("mfiles", Method::GET, "/REST/views/v101%252FLx%2520y/items?q=100%"));
    assert!(!is_ruled("contentstack", Method::GET, "/v3/content_types"));
}

/// Who has seen what a recipe says of its upstream's answers.
const VERIFIED: [&str; 4] = ["the server itself", "source code", "documentation", "clients"];

/// The heading that the catalogue's table stands below.
const CATALOGUE: &str = "## The catalogue";

/// What a recipe's login sends, and where its session goes: the words of the catalogue's table.
fn kind(recipe: &Value) -> String {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let mut sent: Vec<&str> = Vec::new();
    for step in list(&recipe["login"]["steps"]) {
        let has = |key: &str| step.get(key).is_some();
        let words = [
            ("basic", "Basic"),
            ("json", "JSON"),
            ("form", "form"),
            ("multipart", "multipart form"),
            ("xml", "XML"),
            ("sign", "signed assertion"),
        ];
        sent.extend(words.iter().filter(|(key, _)| has(key)).map(|(_, word)| *word));
    }
    sent.dedup();
    let mut carried: Vec<String> = Vec::new();
    for injection in list(&recipe["inject"]) {
        let value = injection["value"].as_str().unwrap_or("{{");
        let named = |key: &str| injection[key].as_str();
        let place = named("header").map(|name| format!("`{name}`"));
        let place = place.or_else(|| named("query").map(|name| format!("`?{name}`")));
        let place = place.or_else(|| named("cookie").map(|_| "a cookie".to_owned()));
        let place = place.or_else(|| named("json").map(|name| format!("member `{name}`")));
        let place = place.or_else(|| named("form").map(|name| format!("field `{name}`")));
        let place = place.or_else(|| named("xml").map(|way| format!("element `{way}`")));
        let place = place.unwrap_or_else(|| "cookies".to_owned());
        if value.contains("{{") {
            carried.push(place);
        }
    }
    let refresh = if recipe.get("refresh").is_some() { "; refresh" } else { "" };
    let sent = if sent.is_empty() { "none".to_owned() } else { sent.join(", ") };
    format!("{sent} → {}{refresh}", carried.join(", "))
}

/// The catalogue's row, but for what only people know: versions, and who has seen it.
fn row(name: &str) -> [String; 4] {
    let document = recipe::built_in(name).unwrap();
    let recipe = document.value();
    let title = recipe["title"].as_str().unwrap();
    let source = recipe["docs"][0].as_str().unwrap_or_else(|| panic!("{name} names no source"));
    [
        format!("[{name}](../config/recipes/{name}.toml)"),
        title.to_owned(),
        kind(recipe),
        format!("[{}]({source})", source.split('/').nth(2).unwrap()),
    ]
}

/// Fails when a recipe is missing in the guide's table, or the table tells something else of it.
/// `UPDATE=1` writes what can be known from the recipes.
#[test]
fn the_guide_lists_the_catalogue() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RECIPES.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let (before, below) = guide.split_once(CATALOGUE).unwrap();
    let begin = below.find("|---").unwrap();
    let begin = begin + below[begin..].find('\n').unwrap() + 1;
    let end = begin + below[begin..].find("\n\n").unwrap();
    let rows: Vec<Vec<&str>> = below[begin..end]
        .lines()
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let known = |name: &str| {
        let begins = format!("[{name}](");
        let row = rows.iter().find(|row| row.len() == 6 && row[0].starts_with(&begins))?;
        Some((row[3].to_owned(), row[5].to_owned()))
    };
    let mut written = Vec::new();
    for (name, _) in recipe::BUILT_IN {
        let [link, title, kind, source] = row(name);
        let (versions, verified) = known(name).unwrap_or_default();
        let is_known = |who: &str| VERIFIED.contains(&who.trim());
        assert!(!versions.is_empty() && verified.split(',').all(is_known), "{name}: {verified}");
        written.push(format!("| {link} | {title} | {kind} | {versions} | {source} | {verified} |"));
    }
    let written = written.join("\n");
    if std::env::var_os("UPDATE").is_some() {
        let guide = format!("{before}{CATALOGUE}{}{written}{}", &below[..begin], &below[end..]);
        std::fs::write(path, guide).unwrap();
        return;
    }
    assert!(below[begin..end] == written, "UPDATE=1 cargo test --test recipes writes it anew");
}
