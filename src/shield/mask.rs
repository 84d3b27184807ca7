//! Replaces session values in the JSON of answers that are known to show them.

use serde_json::Value;

use crate::recipe::pattern::Pointer;
use crate::secret::Search;

/// An answer in which nothing could be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It is no JSON and it holds a value of the session.
    #[error("the answer is no JSON and shows a value of the session")]
    Opaque,
    /// It is no JSON, so nothing can be found by its pointers.
    #[error("the answer is no JSON")]
    NotJson,
}

/// Replaces what stands at `pointers`, and every string that holds a secret, by
/// `placeholder`. The order of members stays.
///
/// # Errors
/// When the body is no JSON. Whoever knows that it is an error page may pass it on, unless it is
/// [`MaskError::Opaque`].
pub fn mask(
    body: &[u8],
    pointers: &[Pointer],
    secrets: &Search,
    placeholder: &str,
) -> Result<Vec<u8>, MaskError> {
    // Some servers put a byte order mark in front, against RFC 8259 section 8.1.
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(mut json) = serde_json::from_slice::<Value>(text) else {
        let shown = secrets.is_in(body);
        return Err(if shown { MaskError::Opaque } else { MaskError::NotJson });
    };
    for pointer in pointers {
        pointer.for_each_mut(&mut json, &mut |value| {
            if !value.is_null() {
                *value = Value::String(placeholder.to_owned());
            }
        });
    }
    mask_strings(&mut json, secrets, placeholder);
    Ok(serde_json::to_vec(&json).unwrap_or_default())
}

fn mask_strings(value: &mut Value, secrets: &Search, placeholder: &str) {
    match value {
        Value::String(text) if secrets.is_in(text.as_bytes()) => {
            *text = placeholder.to_owned();
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| mask_strings(item, secrets, placeholder));
        }
        Value::Object(members) => {
            members.values_mut().for_each(|member| mask_strings(member, secrets, placeholder));
            while let Some(name) = members.keys().find(|name| secrets.is_in(name.as_bytes())) {
                let name = name.clone();
                // The order of the others stays; two that become one are one.
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(member, value)| match member == name {
                        true => (placeholder.to_owned(), value),
                        false => (member, value),
                    })
                    .collect();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    fn masked(body: &str) -> Result<String, MaskError> {
        let pointers = [Pointer::parse("/user/authtoken").unwrap()];
        let secrets = [SecretText::from("blt0123456789abcdef".to_owned())];
        mask(body.as_bytes(), &pointers, &Search::new(secrets.iter()), "hidden")
            .map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn values_are_replaced_where_they_are_named_and_wherever_they_stand() {
        let body =
            r#"{"z":1,"user":{"authtoken":"other","note":"is blt0123456789abcdef!"},"a":[]}"#;
        let expected = r#"{"z":1,"user":{"authtoken":"hidden","note":"hidden"},"a":[]}"#;
        assert_eq!(masked(body).unwrap(), expected);
        assert_eq!(
            masked(r#"{"user":{"authtoken":null}}"#).unwrap(),
            r#"{"user":{"authtoken":null}}"#
        );
    }

    /// Fails when a value passes as the name of a member.
    #[test]
    fn names_of_members_are_replaced_too() {
        let body = r#"{"a":1,"blt0123456789abcdef":{"x/blt0123456789abcdef":2},"b":3}"#;
        assert_eq!(masked(body).unwrap(), r#"{"a":1,"hidden":{"hidden":2},"b":3}"#);
    }

    #[test]
    fn a_byte_order_mark_hides_nothing() {
        let body = "\u{feff}{\"user\":{\"authtoken\":\"other\"}}";
        assert_eq!(masked(body).unwrap(), r#"{"user":{"authtoken":"hidden"}}"#);
    }

    /// Fails when a number is another one behind the mask.
    #[test]
    fn numbers_are_the_same() {
        for number in ["9007199254740993", "0.1", "31.245270191439438", "121.48791951161945"] {
            let body = format!(r#"{{"n":{number}}}"#);
            assert_eq!(masked(&body).unwrap(), body);
        }
    }

    #[test]
    fn a_page_is_told_from_one_that_shows_the_session() {
        assert_eq!(masked("<html>sorry</html>"), Err(MaskError::NotJson));
        assert_eq!(masked("<b>blt0123456789abcdef</b>"), Err(MaskError::Opaque));
    }
}
