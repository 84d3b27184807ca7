//! Every built-in recipe against its conformance file, and every rule of it proved to be told of:
//! whichever is flipped, its file notices.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use doorward::conformance::written::Meaning;
use doorward::conformance::{self, Conformance};
use doorward::diagnosis::Document;
use doorward::recipe::{self, Recipe, RefusalClass};
use serde_json::{Value, json};

fn file(name: &str) -> (Document, Conformance) {
    let document = conformance::built_in(name);
    let document = document.unwrap_or_else(|| panic!("{name} has no conformance file"));
    let document = document.unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
    let file = Conformance::load(&document).unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
    (document, file)
}

#[test]
fn every_recipe_does_what_its_file_says() {
    let mut told = String::new();
    for (name, _) in recipe::BUILT_IN {
        let (document, file) = file(name);
        let recipe = recipe::built_in(name).unwrap();
        match conformance::check(&recipe, &file, Some(&document)) {
            Err(faults) => told.push_str(&format!("{name}:\n{faults}\n")),
            Ok(differences) => {
                differences.iter().for_each(|each| told.push_str(&format!("{name}: {each}\n")));
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
    assert_eq!(recipe::BUILT_IN.len(), conformance::BUILT_IN.len(), "a file without a recipe");
}

/// Fails when a file tells too little for anybody to rely on its recipe.
#[test]
fn every_file_tells_of_a_refusal_of_expiry_and_of_what_is_none() {
    for (name, _) in recipe::BUILT_IN {
        let (_, file) = file(name);
        let means = |meaning| file.answers.iter().any(|answered| answered.means == meaning);
        let refused = |class| file.refused.iter().any(|refused| refused.class == Some(class));
        assert!(refused(RefusalClass::BadSecret), "{name}: no wrong secret");
        assert!(means(Meaning::Alive), "{name}: nothing that is no expiry");
        assert!(means(Meaning::Expired) || means(Meaning::Probe), "{name}: no expiry");
        let parameters = file.parameters.clone();
        let recipe = Recipe::load(&recipe::built_in(name).unwrap(), &parameters).unwrap();
        assert_eq!(recipe.probe.is_some(), !file.probe.is_empty(), "{name}: the probe");
        assert!(recipe.logout.is_empty() || !file.unconfirmed.is_empty(), "{name}: the logout");
    }
}

/// The mutation run. Fails when something could be changed in a recipe and no file would tell.
#[test]
fn whatever_is_changed_in_a_recipe_its_file_notices() {
    let work: Mutex<Vec<&str>> =
        Mutex::new(recipe::BUILT_IN.iter().map(|(name, _)| *name).collect());
    let unnoticed = Mutex::new(Vec::<String>::new());
    let count = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(name) = work.lock().unwrap().pop() else { return };
                    let (_, file) = file(name);
                    let recipe = recipe::built_in(name).unwrap();
                    let mutants = mutants(recipe.value());
                    *count.lock().unwrap() += mutants.len();
                    for (what, mutant) in mutants {
                        let is_same = |(recipe, at, _): &(&str, &str, &str)| {
                            *recipe == name && what.starts_with(at)
                        };
                        if !SAME.iter().any(is_same) && survives(&mutant, &file) {
                            unnoticed.lock().unwrap().push(format!("{name}: {what}"));
                        }
                    }
                }
            });
        }
    });
    let mut unnoticed = unnoticed.into_inner().unwrap();
    unnoticed.sort();
    let count = count.into_inner().unwrap();
    assert!(count > 40 * recipe::BUILT_IN.len(), "{count} mutants");
    assert!(unnoticed.is_empty(), "{} of {count}:\n{}", unnoticed.len(), unnoticed.join("\n"));
}

/// Whether a changed recipe loads and does all that the file says. A fault is noticed, too.
fn survives(mutant: &Value, file: &Conformance) -> bool {
    let text = toml::to_string(mutant).unwrap();
    let Ok(document) = Document::parse("mutant.toml", text) else { return false };
    conformance::check(&document, file, None).is_ok_and(|differences| differences.is_empty())
}

/// What an account, a person or a clock is told, but no message: nothing that a file could show.
const UNSEEN: [&str; 18] = [
    "title",
    "name",
    "docs",
    "help",
    "kind",
    "optional",
    "placeholder",
    "budget",
    "throttle",
    "idle",
    "keep_alive",
    "sessions_max",
    "refresh_ahead",
    "closed",
    "login_places",
    "overwrite",
    "underscore_headers",
    "encoded_slash",
];

/// Changes after which a recipe does the same, and why.
const SAME: [(&str, &str, &str); 12] = [
    ("contentstack", "/login/steps/0/expect", "without it the token is missing all the same"),
    ("contentstack", "/verdict/0/when/status", "a veto: the rule that it is against asks for 401"),
    ("contentstack", "/verdict/1/when/status", "the same"),
    ("django-admin", "/parameters/origin/default", "the file sets the parameter"),
    ("mfiles", "/verdict/0/when/status", "a veto: the rules that it is against ask for 401 or 403"),
    ("mfiles", "/login/steps/0/json/SessionID", "nobody knows a UUID beforehand"),
    ("mfiles", "/parameters/vault/default", "the file sets the parameter"),
    ("mfiles", "/strip/headers/0", "the session's own field is never the client's"),
    ("oauth2-jwt-bearer", "/login/steps/0/sign/assertion/key", "what follows a PEM is not read"),
    ("synapse", "/refresh/steps/0/take/refresh", "only the next refresh shows it"),
    ("thoughtspot", "/logout/steps/0/headers/X-Requested-By", "injected as well"),
    ("thoughtspot", "/probe/headers/X-Requested-By", "injected as well"),
];

/// Every change of one thing, with what it is.
fn mutants(recipe: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    visit(recipe, &mut Vec::new(), &mut places);
    let changed = |(at, change): (Vec<String>, Change)| {
        let mut mutant = recipe.clone();
        let what = format!("/{} {change:?}", at.join("/"));
        apply(&mut mutant, &at, &change);
        (what, mutant)
    };
    places.into_iter().map(changed).collect()
}

#[derive(Debug)]
enum Change {
    Remove,
    Become(Value),
}

fn visit(value: &Value, at: &mut Vec<String>, places: &mut Vec<(Vec<String>, Change)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_named = at.last().is_some_and(|last| {
                    ["account", "parameters", "take", "headers", "query", "form", "json", "roll"]
                        .contains(&last.as_str())
                });
                // Where clients put their passwords, `tests/gateway/local_login.rs` shows.
                let is_login = name == "login" && at.first().is_some_and(|at| at == "endpoints");
                if (UNSEEN.contains(&name.as_str()) && !is_named) || is_login {
                    continue;
                }
                at.push(name.clone());
                // A rule that asks for less.
                let asks = ["when", "expect", "not", "alive"].contains(&name.as_str());
                let is_member = at.iter().rev().skip(1).take(1).any(|at| at == "headers");
                if name == "not" || is_member || (name == "expect" && asks_more(member)) {
                    places.push((at.clone(), Change::Remove));
                }
                if asks && let Some(condition) = member.as_object() {
                    less(condition, at, places);
                }
                visit(member, at, places);
                at.pop();
            }
        }
        Value::Array(items) => {
            let is_rules = items.iter().all(Value::is_object) || items.len() > 1;
            for (index, item) in items.iter().enumerate() {
                at.push(index.to_string());
                let is_answer = at.iter().any(|at| at == "json")
                    && !at.iter().any(|at| ["when", "expect", "alive"].contains(&at.as_str()));
                if is_rules && !is_answer {
                    places.push((at.clone(), Change::Remove));
                }
                if let (Some(object), true) = (item.as_object(), at.iter().any(|at| at == "any")) {
                    less(object, at, places);
                }
                visit(item, at, places);
                at.pop();
            }
        }
        leaf => {
            if let Some(other) = other(leaf, at) {
                places.push((at.clone(), Change::Become(other)));
            }
        }
    }
}

/// Whether an `expect` asks for more than a success.
fn asks_more(expect: &Value) -> bool {
    expect.as_object().is_some_and(|expect| expect.keys().any(|key| key != "status"))
}

/// Each part of a condition is left out once, where something else is left of it.
fn less(
    condition: &serde_json::Map<String, Value>,
    at: &[String],
    places: &mut Vec<(Vec<String>, Change)>,
) {
    for key in condition.keys().filter(|_| condition.len() > 1) {
        let mut part = at.to_vec();
        part.push(key.clone());
        places.push((part, Change::Remove));
    }
}

/// A value in the place of another; nothing where no other can be.
fn other(leaf: &Value, at: &[String]) -> Option<Value> {
    let key = at.iter().rev().find(|at| at.parse::<usize>().is_err())?.as_str();
    let parent = at.iter().rev().nth(1).map(String::as_str);
    let in_condition = at.iter().any(|at| ["when", "expect", "alive"].contains(&at.as_str()));
    let never = || Some(json!("[^\\s\\S]"));
    match (key, leaf) {
        ("then", Value::String(then)) => {
            Some(json!(if then == "expired" { "alive" } else { "expired" }))
        }
        ("replay", Value::String(replay)) => {
            Some(json!(if replay == "always" { "never" } else { "always" }))
        }
        ("class", Value::String(class)) => {
            Some(json!(if class == "locked" { "throttled" } else { "locked" }))
        }
        ("is", Value::String(is)) => Some(json!(if is == "set" { "removed" } else { "set" })),
        ("methods", Value::String(methods))
            if parent.is_some_and(|at| at.parse::<usize>().is_ok()) =>
        {
            Some(json!(if methods == "unsafe" { "any" } else { "unsafe" }))
        }
        ("methods", Value::String(_)) | ("method", Value::String(_)) => Some(json!("OPTIONS")),
        ("cookies", Value::String(cookies)) => {
            Some(json!(if cookies == "rolling" { "login" } else { "rolling" }))
                .filter(|_| cookies == "rolling")
        }
        ("unit", Value::String(unit)) => {
            Some(json!(if unit == "seconds" { "milliseconds" } else { "seconds" }))
        }
        ("max_age", Value::String(_)) => Some(json!("1234s")),
        ("value", Value::String(_)) if parent == Some("expires") => None,
        ("matches" | "body" | "name_matches" | "cookie_matches", Value::String(_)) => never(),
        ("text", Value::String(_)) if at.iter().any(|at| at == "take") => {
            Some(json!("([^\\s\\S])"))
        }
        ("part", Value::String(_)) => Some(json!("([^\\s\\S])")),
        ("status", Value::Number(_) | Value::String(_)) => {
            Some(json!(if in_condition { 599 } else { 299 }))
        }
        (_, Value::Bool(flag)) => Some(json!(!flag)),
        (_, Value::Number(number)) => Some(json!(number.as_i64()? + 1)),
        (_, Value::String(text)) => Some(json!(format!("{text}x"))),
        _ => None,
    }
}

fn apply(recipe: &mut Value, at: &[String], change: &Change) {
    let (last, before) = at.split_last().unwrap();
    let parent = before.iter().fold(recipe, |value, name| match value {
        Value::Object(members) => members.get_mut(name).unwrap(),
        Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
        _ => panic!("nothing stands at {at:?}"),
    });
    match (parent, change) {
        (Value::Object(members), Change::Remove) => _ = members.remove(last),
        (Value::Object(members), Change::Become(value)) => {
            _ = members.insert(last.clone(), value.clone());
        }
        (Value::Array(items), Change::Remove) => _ = items.remove(last.parse().unwrap()),
        (Value::Array(items), Change::Become(value)) => {
            items[last.parse::<usize>().unwrap()] = value.clone();
        }
        _ => panic!("nothing stands at {at:?}"),
    }
}

/// Fails when a run of the mutation test means nothing: a file that tells too little is caught.
#[test]
fn a_file_that_tells_nothing_of_a_rule_is_caught() {
    let (_, mut file) = file("qbittorrent");
    file.refused.retain(|refused| refused.class != Some(RefusalClass::Locked));
    let recipe = recipe::built_in("qbittorrent").unwrap();
    let unnoticed: Vec<String> = mutants(recipe.value())
        .into_iter()
        .filter(|(_, mutant)| survives(mutant, &file))
        .map(|(what, _)| what)
        .collect();
    assert!(unnoticed.iter().any(|what| what.starts_with("/login/refusals/0")), "{unnoticed:?}");
    let parameters: BTreeMap<String, String> = BTreeMap::new();
    assert!(Recipe::load(&recipe, &parameters).is_ok());
}
