//! Takes values out of answers, by place.

use http::HeaderMap;
use serde_json::Value;

use super::StepAnswer;
use super::jar::cookies;
use crate::recipe::TakeFrom;

/// A token longer than this is a mistake or an attack: it would not fit into a request head.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The value that stands at `from`; nothing when it is missing, empty or too long.
pub(super) fn value(from: &TakeFrom, answer: &StepAnswer) -> Option<String> {
    let value = match from {
        TakeFrom::Json(pointer) => match pointer.find(answer.body.json()?)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        },
        TakeFrom::Header(_) | TakeFrom::Cookie(_) => return from_head(from, &answer.headers),
        TakeFrom::Text(regex) => answer.body.capture(regex)?,
    };
    usable(value)
}

/// The same, of an answer whose body is not looked at.
pub(super) fn from_head(from: &TakeFrom, headers: &HeaderMap) -> Option<String> {
    match from {
        TakeFrom::Header(name) => usable(headers.get(name)?.to_str().ok()?.to_owned()),
        // The last one counts, as in the jar; a cookie that is removed has no value.
        TakeFrom::Cookie(name) => {
            let given = cookies(headers).filter(|cookie| cookie.name == *name).last()?;
            if given.is_removed { None } else { usable(given.value.to_owned()) }
        }
        TakeFrom::Json(_) | TakeFrom::Text(_) => None,
    }
}

fn usable(value: String) -> Option<String> {
    (!value.is_empty() && value.len() <= VALUE_BYTES_MAX).then_some(value)
}
