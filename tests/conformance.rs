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
                        if survives(&recipe, &mutant, &file) {
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
    assert!(count > 100 * recipe::BUILT_IN.len(), "{count} mutants");
    assert!(unnoticed.is_empty(), "{} of {count}:\n{}", unnoticed.len(), unnoticed.join("\n"));
}

/// Whether a changed recipe loads, is another one, and does all that the file says. A fault is
/// noticed, too.
fn survives(recipe: &Document, mutant: &Value, file: &Conformance) -> bool {
    let text = toml::to_string(mutant).unwrap();
    let Ok(document) = Document::parse("mutant.toml", text) else { return false };
    let conforms =
        conformance::check(&document, file, None).is_ok_and(|differs| differs.is_empty());
    let loaded = |document| Recipe::load(document, &file.parameters).unwrap();
    conforms && {
        let (whole, changed) = (loaded(recipe), loaded(&document));
        whole.name == changed.name && says(&whole) != says(&changed)
    }
}

/// What a recipe says, whatever its file is called: by this recipes are told from each other.
fn says(recipe: &Recipe) -> String {
    format!("{recipe:?}").replace("mutant.toml", &format!("{}.toml", recipe.name))
}

/// Sentences for people, in their own words: no rule, and no message but these words depends on them.
/// That they are there, the loader and `docs/RECIPES.md` see to.
const WORDS: [&str; 5] = ["/title", "/docs", "/help", "/closed", "/name"];

/// Whether at this place stand words, and no rule: `name` is what a recipe, or a step for traces, is
/// called.
fn is_words(at: &[String]) -> bool {
    let place = format!("/{}", at.join("/"));
    let is_named = place.ends_with("/name") && place != "/name" && !place.contains("/steps/");
    let is_list = place.starts_with("/docs/");
    let is_condition = ["when", "expect", "alive"].iter().any(|key| at.iter().any(|at| at == key));
    is_list || (WORDS.iter().any(|end| place.ends_with(end)) && !is_named && !is_condition)
}

/// Tables whose keys are names of the author's own.
const NAMED: [&str; 8] =
    ["account", "parameters", "take", "headers", "query", "form", "multipart", "roll"];

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
    let is_within = |at: &[String], key: &str| at.iter().any(|at| at == key);
    match value {
        Value::Object(members) => {
            let is_named = at.last().is_some_and(|last| NAMED.contains(&last.as_str()));
            for (name, member) in members {
                at.push(name.clone());
                if is_named || is_within(at, "json") || !is_words(at) {
                    places.push((at.clone(), Change::Remove));
                    visit(member, at, places);
                }
                at.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(index.to_string());
                if !is_words(at) {
                    places.push((at.clone(), Change::Remove));
                    visit(item, at, places);
                }
                at.pop();
            }
        }
        leaf => {
            let others = others(leaf, at).into_iter();
            places.extend(others.map(|other| (at.clone(), Change::Become(other))));
        }
    }
}

/// Values in the place of another.
fn others(leaf: &Value, at: &[String]) -> Vec<Value> {
    let Some(key) = at.iter().rev().find(|at| at.parse::<usize>().is_err()) else {
        return Vec::new();
    };
    let parent = at.iter().rev().nth(1).map(String::as_str);
    let is_within = |key: &str| at.iter().any(|at| at == key);
    let in_condition = ["when", "expect", "alive"].into_iter().any(is_within);
    let in_template = is_within("json") && !in_condition && !is_within("take");
    // All words of a closed list but the one that stands there.
    let of = |words: &[&str], word: &str| -> Vec<Value> {
        words.iter().filter(|other| **other != word).map(|other| json!(other)).collect()
    };
    let never = || vec![json!("[^\\s\\S]")];
    match (key.as_str(), leaf) {
        (_, Value::Bool(flag)) => vec![json!(!flag)],
        ("status", Value::Number(_) | Value::String(_)) => {
            vec![json!(if in_condition { 599 } else { 299 })]
        }
        (_, Value::Number(number)) => number.as_i64().map(|it| json!(it + 1)).into_iter().collect(),
        (_, Value::String(text)) if in_template => vec![json!(format!("{text}x"))],
        ("then", Value::String(then)) => of(&["alive", "expired", "probe", "unavailable"], then),
        ("replay", Value::String(replay)) => of(&["always", "safe", "never"], replay),
        ("class", Value::String(class)) => of(&["bad_secret", "locked", "throttled"], class),
        ("is", Value::String(is)) => of(&["set", "removed", "emptied"], is),
        ("kind", Value::String(kind)) => of(&["login_name", "plain", "secret"], kind),
        ("overwrite", Value::String(overwrite)) => of(&["always", "if_absent"], overwrite),
        ("counts", Value::String(counts)) => of(&["together", "apart"], counts),
        ("cookies", Value::String(cookies)) => of(&["none", "login", "rolling"], cookies),
        ("methods", Value::String(methods))
            if parent.is_some_and(|at| at.parse::<usize>().is_ok()) =>
        {
            of(&["any", "unsafe"], methods)
        }
        ("methods" | "method", Value::String(_)) => vec![json!("OPTIONS")],
        ("unit", Value::String(unit)) => of(&["seconds", "milliseconds", "epoch_seconds"], unit),
        ("max_age" | "idle" | "keep_alive" | "refresh_ahead" | "window" | "pause", _)
            if !is_within("parameters") =>
        {
            vec![json!("779s")]
        }
        ("matches" | "body" | "name_matches" | "cookie_matches", Value::String(_)) => never(),
        ("text" | "part", Value::String(_)) if is_within("take") || is_within("roll") => {
            vec![json!("([^\\s\\S])")]
        }
        // What follows a key is not read.
        ("key", Value::String(text)) if is_within("sign") => vec![json!(format!("x{text}"))],
        (_, Value::String(text)) => vec![json!(format!("{text}x"))],
        _ => Vec::new(),
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
        .filter(|(_, mutant)| survives(&recipe, mutant, &file))
        .map(|(what, _)| what)
        .collect();
    assert!(unnoticed.iter().any(|what| what.starts_with("/login/refusals/0")), "{unnoticed:?}");
    let parameters: BTreeMap<String, String> = BTreeMap::new();
    assert!(Recipe::load(&recipe, &parameters).is_ok());
}
