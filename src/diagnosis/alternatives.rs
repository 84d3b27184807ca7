//! Which of several alternatives a value was meant to be: by its type, by a tag such as
//! `kind = "json"`, by the one key that tells an alternative apart, else by the fewest faults.

use serde_json::Value;

use super::judge::{Difference, Finding, Judge, Place, Scope, inside, unknown_key, wrong_kind};
use super::pointer::Pointer;
use super::structure::{allows, kind, one_of};
use super::suggestion;

/// What a choice came to.
pub(super) enum Choice<'s> {
    /// This alternative is meant.
    Branch(&'s Value),
    /// The key that decides stands in another layer, if anywhere.
    Undecided,
    /// None can be meant.
    Fault(Box<Finding>),
}

impl From<Finding> for Choice<'_> {
    fn from(finding: Finding) -> Self {
        Self::Fault(Box::new(finding))
    }
}

/// Chooses among `branches` for `value` at `at`; `example` is one of what is expected there.
pub(super) fn choose<'s>(
    judge: Judge<'s>,
    value: &Value,
    branches: &[&'s Value],
    example: Option<String>,
    at: &Pointer,
) -> Choice<'s> {
    let fits = |branch: &&&Value| match judge.schemas.kinds(branch) {
        Some(kinds) => kinds.iter().any(|allowed| allows(allowed, kind(value))),
        None => true,
    };
    let fitting: Vec<&Value> = branches.iter().filter(fits).copied().collect();
    match (fitting.as_slice(), value) {
        ([], _) => wrong_kind(value, &nouns(judge, branches), example, at).into(),
        ([only], _) => Choice::Branch(only),
        (_, Value::String(word)) => by_word(judge, word, &fitting, at),
        (_, Value::Object(_)) => by_tag(judge, value, &fitting, at)
            .or_else(|| by_key(judge, value, &fitting, at))
            .unwrap_or_else(|| by_trial(judge, value, &fitting, at)),
        _ => by_trial(judge, value, &fitting, at),
    }
}

/// "a string or a table with `file` or `env`".
fn nouns(judge: Judge<'_>, branches: &[&Value]) -> String {
    let (mut nouns, mut keys): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for branch in branches {
        let noun = match judge.schemas.words(branch) {
            Some(words) => one_of(&words),
            None => judge.schemas.noun(branch),
        };
        match told_apart(judge, branches, branch) {
            Some(key) => keys.push(key),
            None if !nouns.contains(&noun) => nouns.push(noun),
            None => {}
        }
    }
    if !keys.is_empty() {
        nouns.push(format!("a table with {}", one_of(&keys)));
    }
    nouns.join(" or ")
}

/// A string among alternatives of which some are closed lists of words.
fn by_word<'s>(judge: Judge<'s>, word: &str, fitting: &[&'s Value], at: &Pointer) -> Choice<'s> {
    let lists: Vec<_> =
        fitting.iter().map(|branch| (judge.schemas.words(branch), *branch)).collect();
    let listed =
        |words: &Option<Vec<&str>>| words.as_ref().is_some_and(|list| list.contains(&word));
    if let Some((_, branch)) = lists.iter().find(|(words, _)| listed(words)) {
        return Choice::Branch(branch);
    }
    if lists.iter().any(|(words, _)| words.is_none()) {
        let open: Vec<_> =
            lists.iter().filter(|(words, _)| words.is_none()).map(|(_, branch)| *branch).collect();
        return by_trial(judge, &Value::from(word), &open, at);
    }
    let known: Vec<&str> = lists.into_iter().filter_map(|(words, _)| words).flatten().collect();
    unknown_word(word, &known, at).into()
}

/// The finding that `word` is none of a closed list.
pub(super) fn unknown_word(word: &str, known: &[&str], at: &Pointer) -> Finding {
    let name = at.name().filter(|name| name.parse::<usize>().is_err());
    let of = name.map(|name| format!(" for `{name}`")).unwrap_or_default();
    let meant = suggestion(word, known).map(|nearest| format!("did you mean `{nearest}`?"));
    Finding {
        message: format!("unknown value{of}; expected {}", one_of(known)),
        pointer: at.clone(),
        place: Place::Value,
        difference: Difference::WrongValue,
        helps: meant.into_iter().collect(),
    }
}

/// Alternatives that are all told apart by one word under the same key.
fn by_tag<'s>(
    judge: Judge<'s>,
    value: &Value,
    fitting: &[&'s Value],
    at: &Pointer,
) -> Option<Choice<'s>> {
    let (first, others) = fitting.split_first()?;
    let word_of = |branch: &'s Value, tag: &str| {
        let properties = judge.schemas.properties(branch);
        let (_, schema) = properties.into_iter().find(|(name, _)| *name == tag)?;
        let word = judge.schemas.parts(schema).into_iter().find_map(|part| part.get("const"));
        word.and_then(Value::as_str)
    };
    let candidates = judge.schemas.properties(first).into_iter().map(|(name, _)| name);
    let tag = candidates
        .filter(|tag| word_of(first, tag).is_some())
        .find(|tag| others.iter().all(|branch| word_of(branch, tag).is_some()))?;
    let known: Vec<&str> = fitting.iter().filter_map(|branch| word_of(branch, tag)).collect();
    let written = match value.get(tag) {
        Some(Value::String(written)) => written,
        Some(other) => return Some(wrong_kind(other, "a string", None, &at.join(tag)).into()),
        None if judge.scope == Scope::Layer => return Some(Choice::Undecided),
        None => return Some(missing_tag(value, tag, &known, at).into()),
    };
    let branch = fitting.iter().find(|branch| word_of(branch, tag) == Some(written));
    Some(match branch {
        Some(branch) => Choice::Branch(branch),
        None => unknown_word(written, &known, &at.join(tag)).into(),
    })
}

fn missing_tag(value: &Value, tag: &str, known: &[&str], at: &Pointer) -> Finding {
    let mut written = value.as_object().into_iter().flat_map(|entries| entries.keys());
    if let Some(misspelt) = written.find(|key| suggestion(key, [tag]).is_some()) {
        return unknown_key(misspelt, Some(tag.to_owned()), &[], &at.join(misspelt));
    }
    Finding {
        message: format!("missing key `{tag}`{}", inside(Some(at.clone()))),
        pointer: at.clone(),
        place: Place::Key,
        difference: Difference::MissingKey,
        helps: vec![format!("`{tag}` is {}", one_of(known))],
    }
}

/// The required key that only `branch` has.
fn told_apart<'s>(judge: Judge<'s>, fitting: &[&'s Value], branch: &'s Value) -> Option<&'s str> {
    let elsewhere = |key: &str| {
        let others = fitting.iter().filter(|other| !std::ptr::eq(**other, branch));
        others.flat_map(|other| judge.schemas.properties(other)).any(|(name, _)| name == key)
    };
    judge.schemas.required(branch).into_iter().find(|key| !elsewhere(key))
}

/// Alternatives that each need a key which no other has, such as `file`, `env`, `credential`.
fn by_key<'s>(
    judge: Judge<'s>,
    value: &Value,
    fitting: &[&'s Value],
    at: &Pointer,
) -> Option<Choice<'s>> {
    let keys: Vec<(&str, &'s Value)> = fitting
        .iter()
        .map(|branch| told_apart(judge, fitting, branch).map(|key| (key, *branch)))
        .collect::<Option<_>>()?;
    let written: Vec<_> = keys.iter().filter(|(key, _)| value.get(key).is_some()).collect();
    let known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    Some(match written.as_slice() {
        [(_, branch)] => Choice::Branch(branch),
        [] => no_key(judge, value, fitting, &known, at),
        several => {
            let names: Vec<_> = several.iter().map(|(key, _)| *key).collect();
            let message =
                format!("only one of {} can be given", one_of(&names).replace(" or ", " and "));
            Finding {
                pointer: at.clone(),
                place: Place::Value,
                difference: Difference::WrongValue,
                message,
                helps: Vec::new(),
            }
            .into()
        }
    })
}

fn no_key<'s>(
    judge: Judge<'s>,
    value: &Value,
    fitting: &[&'s Value],
    known: &[&str],
    at: &Pointer,
) -> Choice<'s> {
    let named: Vec<&str> = fitting
        .iter()
        .flat_map(|branch| judge.schemas.properties(branch))
        .map(|(name, _)| name)
        .collect();
    let mut written = value.as_object().into_iter().flat_map(|entries| entries.keys());
    match written.find(|key| !named.contains(&key.as_str())) {
        Some(key) => unknown_key(key, suggestion(key, known), known, &at.join(key)).into(),
        None if judge.scope == Scope::Layer => Choice::Undecided,
        None => Finding {
            message: format!("missing key{}; expected {}", inside(Some(at.clone())), one_of(known)),
            pointer: at.clone(),
            place: Place::Key,
            difference: Difference::MissingKey,
            helps: Vec::new(),
        }
        .into(),
    }
}

/// No key decides: the alternative with the fewest faults is meant, the first of equals.
fn by_trial<'s>(
    judge: Judge<'s>,
    value: &Value,
    fitting: &[&'s Value],
    at: &Pointer,
) -> Choice<'s> {
    let faults = |branch: &&&'s Value| {
        let mut found = Vec::new();
        judge.value(value, branch, at, &mut found);
        found.len()
    };
    match fitting.iter().min_by_key(faults) {
        Some(branch) => Choice::Branch(branch),
        None => Choice::Undecided,
    }
}
