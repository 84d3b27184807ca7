//! Tests of client tokens.

use super::*;

const LIFE: Duration = Duration::from_secs(3600);
const NAMES: [&str; 3] =
    ["alice", "0", "a-name_that-is_as-long-as-names-may-be-0123456789-0123456789_end"];

fn tokens() -> Tokens {
    Tokens::from_secret(&SecretText::from("k".repeat(32)), LIFE).unwrap()
}

fn claims(client: &str) -> Claims<'_> {
    let ends = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    Claims { client, key: KeyPrint::from_bytes([7; KeyPrint::BYTES]), ends }
}

fn is_good(tokens: &Tokens, text: &str) -> bool {
    tokens.read(text, "cms", |_| ()).is_ok()
}

#[test]
fn a_token_says_what_was_said_when_it_was_given() {
    for name in NAMES {
        assert!(name.len() <= CLIENT_ID_BYTES_MAX);
        let token = tokens().issue(&claims(name), "cms");
        tokens().read(token.expose(), "cms", |read| assert_eq!(read, claims(name))).unwrap();
        assert!(token.expose().starts_with(super::super::key::KEY_PREFIX));
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!(token.expose().bytes().all(is_safe), "not for every header, cookie, URL and form");
    }
}

/// Fails when some other text is as good as the token that was given.
#[test]
fn no_text_but_the_one_that_was_given_is_good() {
    let tokens = tokens();
    for name in NAMES {
        let token = tokens.issue(&claims(name), "cms");
        let text = token.expose();
        for length in 0..text.len() {
            assert!(!is_good(&tokens, &text[..length]), "cut off at {length}");
        }
        for (position, original) in text.bytes().enumerate() {
            for byte in (0..=127).filter(|byte| *byte != original) {
                let mut changed = text.as_bytes().to_vec();
                changed[position] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert!(!is_good(&tokens, &changed), "byte {position} as {byte}");
            }
        }
        for longer in ["A", "=", " ", "AAAA", "\u{e9}"] {
            assert!(!is_good(&tokens, &format!("{text}{longer}")), "{longer:?}");
        }
        for upstream in ["", "cm", "cmss", "CMS"] {
            assert!(tokens.read(text, upstream, |_| ()).is_err(), "{upstream:?}");
        }
    }
}

/// Fails when random texts of the right form are good, whatever they say.
#[test]
fn no_random_text_is_good() {
    let tokens = tokens();
    let mut bytes = vec![0; BYTES_MAX + 8];
    for round in 0..20_000 {
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let length = round % bytes.len();
        bytes[0] = VERSION;
        let text = format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes[..length]));
        assert!(!is_good(&tokens, &text), "{text}");
    }
}

#[test]
fn each_secret_and_each_process_has_tokens_of_its_own() {
    let others = [
        Tokens::from_secret(&SecretText::from("l".repeat(32)), LIFE).unwrap(),
        Tokens::of_this_process(LIFE).unwrap(),
        Tokens::of_this_process(LIFE).unwrap(),
    ];
    for (number, one) in others.iter().enumerate() {
        let token = one.issue(&claims("alice"), "cms");
        assert!(is_good(one, token.expose()));
        assert!(!is_good(&tokens(), token.expose()));
        for (other_number, other) in others.iter().enumerate() {
            assert_eq!(is_good(other, token.expose()), number == other_number);
        }
    }
}

#[test]
fn a_token_ends_with_its_key_at_the_latest() {
    let now = UNIX_EPOCH + Duration::from_millis(1_000_500);
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(tokens().end(now, None), at(1000 + 3600));
    assert_eq!(tokens().end(now, Some(at(2000))), at(2000));
    assert_eq!(tokens().end(now, Some(at(9000))), at(1000 + 3600));
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", tokens()), "Tokens { life: 3600s, .. }");
}
