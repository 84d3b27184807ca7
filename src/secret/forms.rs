//! The forms that a secret takes on its way through other people's programs, so that each can be
//! looked for.

use data_encoding::{BASE64, BASE64URL};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::SecretText;

/// What RFC 3986 section 2.3 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text in base64 begins at one of three places, by what stands before it.
const BASE64_PLACES: usize = 3;

impl SecretText {
    /// The secret as it is, and as JSON, percent and base64 write it, each form once. Inside a
    /// longer base64 text the characters that also hold a neighbour's bits are not part of the
    /// form.
    pub fn forms(&self) -> Vec<SecretText> {
        let secret = self.expose();
        let percent = utf8_percent_encode(secret, UNRESERVED).to_string();
        let everything = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let json = serde_json::Value::from(secret).to_string();
        let mut forms = vec![
            secret.to_owned(),
            json.strip_prefix('"')
                .and_then(|json| json.strip_suffix('"'))
                .unwrap_or(&json)
                .to_owned(),
            in_small_letters(&percent),
            in_small_letters(&everything),
            percent,
            everything,
        ];
        for before in 0..BASE64_PLACES {
            let shifted: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.bytes()).collect();
            let whole = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
            for text in [BASE64.encode(&shifted), BASE64URL.encode(&shifted)] {
                forms.extend(text.get(whole.clone()).map(str::to_owned));
            }
        }
        let mut known = Vec::<SecretText>::new();
        for form in forms.into_iter().map(SecretText::new) {
            if !known.contains(&form) {
                known.push(form);
            }
        }
        known
    }
}

/// Percent escapes as some servers write them.
fn in_small_letters(percent: &str) -> String {
    let mut parts = percent.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text.push('%');
        text.push_str(&escape.to_ascii_lowercase());
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_there_once() {
        let secret = SecretText::from("p\"w+é-x".to_owned());
        let forms = secret.forms();
        for text in [
            "p\"w+é-x",
            "p\\\"w+é-x",
            "p%22w%2B%C3%A9-x",
            "p%22w%2b%c3%a9-x",
            "p%22w%2B%C3%A9%2Dx",
            "p%22w%2b%c3%a9%2dx",
        ] {
            assert!(forms.contains(&SecretText::from(text.to_owned())), "{text}");
        }
        for before in ["", "a", "ab", "abc"] {
            let inside = BASE64.encode(format!("{before}{}and more", secret.expose()).as_bytes());
            assert!(forms.iter().any(|form| inside.contains(form.expose())), "{inside}");
        }
        let plain = SecretText::from("blt0123456789abcdef".to_owned());
        assert_eq!(plain.forms().len(), 4, "one as it is and three in base64");
    }
}
