//! The forms that a secret takes on its way through other people's programs, so that each can be
//! looked for.

use std::fmt::Write as _;

use data_encoding::{BASE64, BASE64URL};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::SecretText;

/// What RFC 3986 section 2.3 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text in base64 begins at one of three places, by what stands before it.
const BASE64_PLACES: usize = 3;

/// What writers of JSON escape though RFC 8259 section 7 does not ask for it, and how.
const JSON: [Json; 5] = [
    // PHP.
    Json { escapes: "", slash: "\\/", letters: Letters::Small, others: Others::Escaped },
    // Python, and others that write ASCII only.
    Json { escapes: "", slash: "/", letters: Letters::Small, others: Others::Escaped },
    // .NET.
    Json { escapes: "\"&'+<>`", slash: "/", letters: Letters::Capital, others: Others::Escaped },
    // Gson.
    Json { escapes: "<>&='", slash: "/", letters: Letters::Small, others: Others::AsTheyAre },
    // Go.
    Json { escapes: "<>&", slash: "/", letters: Letters::Small, others: Others::AsTheyAre },
];

/// What writers of HTML and XML escape, and how.
const MARKUP: [&[(char, &str)]; 8] = [
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")],
    // Most.
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")],
    // XML 1.0 section 4.6.
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&apos;")],
    // Python.
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#x27;")],
    // Go.
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&#34;"),
        ('\'', "&#39;"),
        ('+', "&#43;"),
    ],
    // .NET.
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#x27;"),
        ('+', "&#x2B;"),
    ],
    // Handlebars.
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#x27;"),
        ('`', "&#x60;"),
        ('=', "&#x3D;"),
    ],
    // Mustache.
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#39;"),
        ('`', "&#x60;"),
        ('=', "&#x3D;"),
        ('/', "&#x2F;"),
    ],
];

/// A way to write JSON.
struct Json {
    /// Written as `\u`.
    escapes: &'static str,
    slash: &'static str,
    letters: Letters,
    /// What is not ASCII.
    others: Others,
}

/// How hexadecimal digits are written.
#[derive(Clone, Copy)]
enum Letters {
    Small,
    Capital,
}

#[derive(Clone, Copy)]
enum Others {
    AsTheyAre,
    Escaped,
}

impl SecretText {
    /// The secret as it is and without the percent escapes and the quotes that cookies have, and
    /// each of these as JSON, HTML, percent, base64 and UTF-16 write it, each form once. Inside a
    /// longer base64 text the characters that also hold a neighbour's bits are not part of the
    /// form.
    pub fn forms(&self) -> Vec<SecretText> {
        let secret = self.expose();
        let unquoted = secret.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let unescaped = percent_decode_str(unquoted.unwrap_or(secret)).decode_utf8().ok();
        let mut texts = vec![secret];
        texts.extend(unquoted);
        texts.extend(unescaped.as_deref());
        let mut known = Vec::<SecretText>::new();
        for form in texts.into_iter().flat_map(forms).map(SecretText::new) {
            if !known.contains(&form) {
                known.push(form);
            }
        }
        known
    }
}

fn forms(secret: &str) -> Vec<String> {
    let percent = utf8_percent_encode(secret, UNRESERVED).to_string();
    let everything = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        secret.to_owned(),
        json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(&json).to_owned(),
        in_small_letters(&percent),
        in_small_letters(&everything),
        percent,
        everything,
    ];
    // Most tokens have nothing that anybody would escape.
    if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        forms.extend(JSON.iter().map(|json| json.write(secret)));
        forms.extend(MARKUP.iter().map(|escapes| marked_up(secret, escapes)));
    }
    forms.extend(in_utf16(secret));
    forms.extend(in_base64(secret));
    forms
}

/// What of a text is always there, in either alphabet, when something that holds it is in base64: the
/// characters that also hold a neighbour's bits are left out.
pub fn in_base64(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..BASE64_PLACES {
        let shifted: Vec<u8> = std::iter::repeat_n(0, before).chain(text.bytes()).collect();
        let whole = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for coded in [BASE64.encode(&shifted), BASE64URL.encode(&shifted)] {
            let form = coded.get(whole.clone()).unwrap_or_default();
            if !form.is_empty() && forms.last().is_none_or(|last| last != form) {
                forms.push(form.to_owned());
            }
        }
    }
    forms
}

impl Json {
    fn write(&self, secret: &str) -> String {
        let mut text = String::new();
        for character in secret.chars() {
            let is_other = !character.is_ascii() && matches!(self.others, Others::Escaped);
            let is_control = character < ' ';
            match character {
                '/' => text.push_str(self.slash),
                _ if is_other || is_control || self.escapes.contains(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing to a text cannot fail.
                        _ = match self.letters {
                            Letters::Small => write!(text, "\\u{unit:04x}"),
                            Letters::Capital => write!(text, "\\u{unit:04X}"),
                        };
                    }
                }
                '"' | '\\' => text.extend(['\\', character]),
                _ => text.push(character),
            }
        }
        text
    }
}

fn marked_up(secret: &str, escapes: &[(char, &str)]) -> String {
    let mut text = String::new();
    for character in secret.chars() {
        match escapes.iter().find(|(escaped, _)| *escaped == character) {
            Some((_, escape)) => text.push_str(escape),
            None => text.push(character),
        }
    }
    text
}

/// What both byte orders have in common; only of ASCII, as tokens are. A client can ask for it
/// where an upstream lets it choose (`Accept-Charset`, or a parameter in `Accept`).
fn in_utf16(secret: &str) -> Option<String> {
    let mut text = String::new();
    for character in secret.chars() {
        if !text.is_empty() {
            text.push('\0');
        }
        text.push(character);
    }
    secret.is_ascii().then_some(text)
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

    fn assert_forms(secret: &str, expected: &[&str]) {
        let forms = SecretText::from(secret.to_owned()).forms();
        for text in expected {
            assert!(forms.contains(&SecretText::from((*text).to_owned())), "{secret}: {text}");
        }
    }

    #[test]
    fn every_form_of_a_secret_is_there_once() {
        let secret = SecretText::from("p\"w+é-x".to_owned());
        let forms = secret.forms();
        assert_forms(
            secret.expose(),
            &[
                "p\"w+é-x",
                "p\\\"w+é-x",
                "p%22w%2B%C3%A9-x",
                "p%22w%2b%c3%a9-x",
                "p%22w%2B%C3%A9%2Dx",
                "p%22w%2b%c3%a9%2dx",
                "p\\\"w+\\u00e9-x",
                "p\\u0022w\\u002B\\u00E9-x",
                "p&quot;w+é-x",
                "p&#34;w&#43;é-x",
                "p&quot;w&#x2B;é-x",
            ],
        );
        for before in ["", "a", "ab", "abc"] {
            let inside = BASE64.encode(format!("{before}{}and more", secret.expose()).as_bytes());
            assert!(forms.iter().any(|form| inside.contains(form.expose())), "{inside}");
        }
        let plain = SecretText::from("blt0123456789abcdef".to_owned());
        assert_eq!(plain.forms().len(), 5, "one as it is, three in base64, one in UTF-16");
    }

    /// Fails when the `+`, `/` and `=` of a token in base64 hide it from the search.
    #[test]
    fn a_token_in_base64_is_found_as_each_writer_escapes_it() {
        assert_forms(
            "ab+cd/ef==",
            &[
                "ab+cd\\/ef==",
                "ab\\u002Bcd/ef==",
                "ab+cd/ef\\u003d\\u003d",
                "ab&#43;cd/ef==",
                "ab&#x2B;cd/ef==",
                "ab+cd/ef&#x3D;&#x3D;",
                "ab+cd&#x2F;ef&#x3D;&#x3D;",
            ],
        );
    }

    /// Fails when an upstream that shows a cookie's value as it reads it is not noticed.
    #[test]
    fn a_cookie_is_found_without_its_escapes_and_quotes() {
        assert_forms("s%3Aab.c%2Fd%2B", &["s:ab.c/d+", "s:ab.c\\/d+", "s:ab.c/d\\u002B"]);
        assert_forms("\"s%3Aab.c\"", &["\"s%3Aab.c\"", "s%3Aab.c", "s:ab.c"]);
        assert_forms("ab", &["a\0b"]);
    }
}
