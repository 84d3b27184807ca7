//! What a schema demands of a single value beyond its type: closed lists, bounds, patterns.

use serde_json::Value;

use super::alternatives::unknown_word;
use super::format;
use super::judge::{Difference, Finding, Place};
use super::pointer::Pointer;
use super::structure::{Keywords, list};

/// The first demand of `part` that `value` does not meet.
pub(super) fn fault(value: &Value, part: &Keywords, at: &Pointer) -> Option<Finding> {
    if let Some(finding) = outside_list(value, part, at) {
        return Some(finding);
    }
    let message = match value {
        Value::Number(_) => number_fault(value, part),
        Value::String(text) => text_fault(text, part),
        Value::Array(elements) => {
            let repeated = part.get("uniqueItems") == Some(&Value::Bool(true))
                && elements
                    .iter()
                    .enumerate()
                    .any(|(at, one)| elements.iter().take(at).any(|other| other == one));
            let repeated = repeated.then(|| "the same element stands here twice".to_owned());
            repeated
                .or_else(|| size_fault(elements.len(), part, ["minItems", "maxItems"], "element"))
        }
        Value::Object(entries) => {
            size_fault(entries.len(), part, ["minProperties", "maxProperties"], "key")
        }
        _ => None,
    }?;
    let example = list(part, "examples").next().map(|example| format!("for example {example}"));
    Some(Finding {
        pointer: at.clone(),
        place: Place::Value,
        difference: Difference::WrongValue,
        message,
        helps: example.into_iter().collect(),
    })
}

fn outside_list(value: &Value, part: &Keywords, at: &Pointer) -> Option<Finding> {
    let allowed: Vec<&Value> = part.get("const").into_iter().chain(list(part, "enum")).collect();
    if allowed.is_empty() || allowed.contains(&value) {
        return None;
    }
    let words: Vec<String> = allowed
        .iter()
        .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(unknown_word(value.as_str().unwrap_or_default(), &words, at))
}

fn number_fault(value: &Value, part: &Keywords) -> Option<String> {
    let number = value.as_f64()?;
    let bound = |keyword: &str| part.get(keyword).filter(|bound| bound.is_number());
    let past = |keyword: &str, beyond: fn(f64, f64) -> bool| {
        bound(keyword).filter(|bound| bound.as_f64().is_some_and(|bound| beyond(number, bound)))
    };
    if let Some(bound) = past("minimum", |number, bound| number < bound) {
        return Some(format!("this must be at least {bound}"));
    }
    if let Some(bound) = past("maximum", |number, bound| number > bound) {
        return Some(format!("this must be at most {bound}"));
    }
    if let Some(bound) = past("exclusiveMinimum", |number, bound| number <= bound) {
        return Some(format!("this must be more than {bound}"));
    }
    if let Some(bound) = past("exclusiveMaximum", |number, bound| number >= bound) {
        return Some(format!("this must be less than {bound}"));
    }
    let integer = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))?;
    let (smallest, largest) = format::bounds(part.get("format")?.as_str()?)?;
    match integer {
        _ if integer < smallest => Some(format!("this must be at least {smallest}")),
        _ if integer > largest => Some(format!("this must be at most {largest}")),
        _ => None,
    }
}

fn text_fault(text: &str, part: &Keywords) -> Option<String> {
    let format = part.get("format").and_then(Value::as_str);
    if let Some(message) = format.and_then(|format| format::fault(format, text)) {
        return Some(message);
    }
    let length = text.chars().count();
    if length == 0 && part.get("minLength").and_then(Value::as_u64).is_some_and(|min| min > 0) {
        return Some("this must not be empty".to_owned());
    }
    if let Some(message) = size_fault(length, part, ["minLength", "maxLength"], "character") {
        return Some(message);
    }
    let pattern = part.get("pattern")?.as_str()?;
    let matches = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    (!matches).then(|| format!("this must match the pattern `{pattern}`"))
}

fn size_fault(size: usize, part: &Keywords, [min, max]: [&str; 2], unit: &str) -> Option<String> {
    let bound = |keyword: &str| part.get(keyword).and_then(Value::as_u64);
    let size = size as u64;
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    match (bound(min), bound(max)) {
        (Some(min), _) if size < min => {
            Some(format!("this needs at least {min} {unit}{}", plural(min)))
        }
        (_, Some(max)) if size > max => {
            Some(format!("this may have at most {max} {unit}{}", plural(max)))
        }
        _ => None,
    }
}
