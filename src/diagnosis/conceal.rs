//! Keeps secrets out of excerpts: a literal under a key that looks like a secret is starred out,
//! and so are the literals of a fault that says so.

use std::ops::Range;

use super::pointer::Pointer;

/// Words that make a key look like a secret's, also when one letter is wrong.
const SECRET_WORDS: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "token",
    "authtoken",
    "apikey",
    "privatekey",
    "credential",
    "bearer",
    "pin",
    "otp",
    "keys",
];

/// Sections whose keys an operator chooses and which may hold secrets by any name.
const SECRET_SECTIONS: [&str; 2] = ["account", "accounts"];

/// Keys beneath a secret's name that only say where the secret is: in a configuration, and in the
/// answers that a recipe takes it from.
const REFERENCE_KEYS: [&str; 6] = ["file", "env", "credential", "json", "header", "cookie"];

/// Whether the literal at `pointer` may be a secret, to judge by its keys.
pub(super) fn looks_secret(pointer: &Pointer) -> bool {
    let mut names = pointer.names().rev().filter(|name| name.parse::<usize>().is_err());
    let Some(own) = names.next() else { return false };
    if REFERENCE_KEYS.contains(&own.as_str()) {
        return false;
    }
    secret_name(&own) || names.next().is_some_and(|holder| secret_name(&holder))
}

/// Whether `text` is nothing but the name of something to be filled in, as in a recipe.
pub(super) fn is_placeholder(text: &str) -> bool {
    let name = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

/// Whether a line of a text that is no TOML may hold a secret. `before` is the text up to the
/// line: the value of a secret's key may go on over several lines.
pub(super) fn line_looks_secret(before: &str, line: &str) -> bool {
    let opened = before.lines().rev().find(|line| line.contains('='));
    let section = before.lines().rev().find(|line| line.trim_start().starts_with('['));
    let private =
        |line: &str| names(line).any(|name| secret_name(name) || SECRET_SECTIONS.contains(&name));
    private(line) || opened.is_some_and(private) || section.is_some_and(private)
}

/// `text` with the bytes of `spans` starred out. Positions stay true: each character gives way to
/// one that is as long in bytes. Quotes stay, so that the excerpt still reads as what it is.
pub(super) fn conceal(text: &str, spans: &[Range<usize>]) -> String {
    let starred = |(at, character): (usize, char)| match character {
        '"' | '\'' | '\n' | '\r' => character,
        _ if !spans.iter().any(|span| span.contains(&at)) => character,
        _ => match character.len_utf8() {
            1 => '*',
            2 => '·',
            3 => '•',
            _ => '𝄪',
        },
    };
    text.char_indices().map(starred).collect()
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && !"_-".contains(character))
}

fn secret_name(name: &str) -> bool {
    let joined = name.replace(['_', '-', ' ', '.'], "");
    name.split(['_', '-', ' ', '.']).any(secret_word) || secret_word(&joined)
}

fn secret_word(word: &str) -> bool {
    let word = word.to_lowercase();
    SECRET_WORDS.iter().any(|secret| {
        word == *secret
            || word.strip_suffix('s') == Some(*secret)
            || secret.len() > 5 && strsim::damerau_levenshtein(&word, secret) <= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_secret_is_still_a_secret() {
        for key in ["/password", "/a/passwrd", "/api_key", "/db-secret", "/tokens/0", "/pasword"] {
            assert!(looks_secret(&Pointer::from(key)), "{key}");
        }
        for key in ["/path", "/login/steps/0/path", "/password/file", "/upstream", "/tls/ca_file"] {
            assert!(!looks_secret(&Pointer::from(key)), "{key}");
        }
        assert!(looks_secret(&Pointer::from("/password/value")));
    }

    #[test]
    fn concealing_moves_nothing() {
        let text = "a = 'é€x'\nb";
        let secret = 4..12;
        let starred = conceal(text, std::slice::from_ref(&secret));
        assert_eq!(starred, "a = '·•*'\nb");
        assert_eq!(starred.len(), text.len());
    }
}
