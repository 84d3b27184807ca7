//! What of a login may be shown, and how TOML writes it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::recipe::explain::is_plain_name;

/// Calls `call` with the pointer and value of every member that holds no others.
pub(super) fn leaves(json: &Value, at: &mut String, call: &mut dyn FnMut(&str, &Value)) {
    let length = at.len();
    match json {
        Value::Object(members) => {
            for (name, member) in members {
                _ = write!(at, "/{}", name.replace('~', "~0").replace('/', "~1"));
                leaves(member, at, call);
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                _ = write!(at, "/{index}");
                leaves(item, at, call);
                at.truncate(length);
            }
        }
        leaf => call(at, leaf),
    }
}

/// Whether a value may be shown: a word, a small number, nothing.
pub(super) fn is_word(value: &str) -> bool {
    value.is_empty()
        || is_plain_name(value)
        || (value.len() <= 6 && value.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn is_plain_origin(origin: &str) -> bool {
    !origin.contains('@') && origin.len() < 200 && origin.is_ascii()
}

/// A path whose segments are words, or `CHECK`.
pub(super) fn shown_path(path: &str) -> String {
    let is_shown = |segment: &str| {
        segment.is_empty()
            || segment
                .trim_start_matches(['v', 'V', '+'])
                .chars()
                .all(|it| it.is_ascii_digit() || it == '.')
            || is_plain_name(segment.trim_start_matches('+'))
    };
    let segments = path.split('/').map(|segment| if is_shown(segment) { segment } else { "CHECK" });
    segments.collect::<Vec<_>>().join("/")
}

pub(super) fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.replace('\n', " ")).to_string()
}
