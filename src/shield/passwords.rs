//! Where clients of a vendor put the password when they log in.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::fields::{self, Fields};
use crate::recipe::{ClientLogin, PasswordPlace};

/// What stands in each place of a login's request where clients put the password.
pub fn passwords(
    login: &ClientLogin,
    query: Option<&str>,
    headers: &Fields,
    body: &[u8],
) -> Vec<Zeroizing<String>> {
    let json = serde_json::from_slice::<Value>(body).ok();
    let form = std::str::from_utf8(body).unwrap_or_default();
    let mut found = Vec::new();
    for place in &login.password {
        match place {
            PasswordPlace::Json(pointer) => {
                let value = json.as_ref().and_then(|json| pointer.find(json));
                found.extend(value.and_then(Value::as_str).map(str::to_owned));
            }
            PasswordPlace::Form(name) => {
                let named = pairs(form).filter(|(known, _)| known == name);
                found.extend(named.map(|(_, value)| value));
            }
            PasswordPlace::Query(name) => {
                let named = pairs(query.unwrap_or_default());
                let named = named.filter(|(known, _)| known.to_lowercase() == *name);
                found.extend(named.map(|(_, value)| value));
            }
            PasswordPlace::Header(name) => {
                let values = headers.get_all(name);
                found.extend(values.filter_map(|value| fields::text(value).map(str::to_owned)));
            }
        }
    }
    found.into_iter().map(Zeroizing::new).collect()
}

/// The pairs of a form (URL standard, `application/x-www-form-urlencoded`).
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    text.split('&').map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}
