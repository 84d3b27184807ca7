//! What must hold for any body and any secrets, beside an oracle that searches the whole.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{MARK, MaskError, Passed, Redactor, mask, redact};
use crate::properties::{Draws, pieces};
use crate::recipe::pattern::Pointer;
use crate::secret::{Search, SecretText};

/// More secrets than these need more time than they tell.
const SECRETS_MAX: usize = 6;

/// Whatever the chunks, exactly the secrets are replaced, and no more is held back than a secret is
/// long.
pub fn redactor(data: &[u8]) {
    let mut draws = Draws::new(data);
    let (secrets, lengths) = (secrets(&mut draws), draws.line());
    let text = draws.rest();
    let chunks: Vec<Bytes> =
        pieces(text, lengths).into_iter().map(Bytes::copy_from_slice).collect();
    whatever_the_chunks(&secrets, &chunks);
}

/// The secrets of a line, each long enough to be searched for.
fn secrets(draws: &mut Draws<'_>) -> Vec<SecretText> {
    let line = draws.text();
    let texts = line.split(' ').filter(|text| text.len() >= 16).take(SECRETS_MAX);
    texts.map(|text| SecretText::from(text.to_owned())).collect()
}

/// What [`redactor`] says of these chunks.
pub(super) fn whatever_the_chunks(secrets: &[SecretText], chunks: &[Bytes]) {
    let text = chunks.concat();
    let expected = covered(&text, secrets);
    let search = Arc::new(Search::new(secrets.iter()));
    assert_eq!(passed_by_a_known_end(&search, chunks), expected);
    let (mut redactor, mut out, mut come) = (Redactor::new(Arc::clone(&search)), Vec::new(), 0);
    for chunk in chunks {
        let Passed { before, now } = redactor.push(chunk.clone());
        out.extend_from_slice(&before);
        out.extend_from_slice(&now);
        come += chunk.len();
        assert!(expected.starts_with(&out), "{out:?} is no beginning of {expected:?}");
        let held = come - out.len();
        assert_eq!(held, redactor.held_bytes());
        assert!(held < search.longest().max(1), "{held} bytes are held back");
        let open = open(text.get(..come).unwrap_or_default(), secrets);
        assert!(held >= open, "the {open} bytes that a secret begins with are gone");
    }
    out.extend_from_slice(&redactor.finish());
    assert_eq!(out, expected);
    assert_eq!(redactor.redacted() > 0, expected != text);
    assert_eq!(redactor.held_bytes(), 0);
    let whole = redact(&search, &Bytes::copy_from_slice(&text));
    assert_eq!(whole.is_some(), expected != text);
    assert_eq!(whole.map_or(text, |(body, _)| body.to_vec()), expected);
}

/// What passes where it is known which chunk is the last.
fn passed_by_a_known_end(search: &Arc<Search>, chunks: &[Bytes]) -> Vec<u8> {
    let (mut redactor, mut out) = (Redactor::new(Arc::clone(search)), Vec::new());
    for (left, chunk) in (0..chunks.len()).rev().zip(chunks.iter().cloned()) {
        let Passed { before, now } = match left {
            0 => redactor.push_last(chunk),
            _ => redactor.push(chunk),
        };
        out.extend_from_slice(&before);
        out.extend_from_slice(&now);
    }
    out.extend_from_slice(&redactor.finish());
    out
}

/// The bytes of every form that is searched for.
fn forms(secrets: &[SecretText]) -> Vec<Vec<u8>> {
    let forms = secrets.iter().flat_map(SecretText::forms);
    let forms = forms.map(|form| form.expose().as_bytes().to_vec());
    forms.filter(|form| form.len() >= 16).collect()
}

/// The simplest way: every occurrence of every form, one after the other. A form that is longer than
/// a piece is covered piece by piece.
fn covered(text: &[u8], secrets: &[SecretText]) -> Vec<u8> {
    let mut out = text.to_vec();
    for form in forms(secrets) {
        for at in 0..text.len() {
            if text.get(at..).is_some_and(|rest| rest.starts_with(&form)) {
                out.get_mut(at..at + form.len()).unwrap_or_default().fill(MARK);
            }
        }
    }
    out
}

/// How much of the end of `text` is how a form begins.
fn open(text: &[u8], secrets: &[SecretText]) -> usize {
    let forms = forms(secrets);
    let could =
        |end: &&[u8]| forms.iter().any(|form| form.len() > end.len() && form.starts_with(end));
    let ends = (0..text.len()).filter_map(|at| text.get(at..));
    ends.into_iter().find(could).map_or(0, <[u8]>::len)
}

/// No secret is left in what a mask lets pass, and what it does not name is as it was.
pub fn masks(data: &[u8]) {
    const PLACEHOLDER: &str = "hidden";
    let mut draws = Draws::new(data);
    let secrets = secrets(&mut draws);
    let pointers: Vec<Pointer> =
        draws.text().split(' ').filter_map(|text| Pointer::parse(text).ok()).take(4).collect();
    let body = draws.rest();
    let search = Search::new(secrets.iter());
    let masked = match mask(body, &pointers, &search, PLACEHOLDER) {
        Ok(masked) => masked,
        Err(MaskError::Opaque) => return assert!(search.is_in(body)),
        Err(MaskError::NotJson) => return assert!(!search.is_in(body)),
    };
    let again = mask(&masked, &pointers, &search, PLACEHOLDER);
    assert_eq!(again.as_deref(), Ok(masked.as_slice()));
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let before: Value = match serde_json::from_slice(text) {
        Ok(before) => before,
        // A number that no float holds, and that passes as it is.
        Err(error) => return assert!(error.to_string().contains("out of range"), "{error}"),
    };
    let found: Value = serde_json::from_slice(&masked).unwrap_or_else(|error| panic!("{error}"));
    has_no_secret(&found, &search);
    let mut expected = before;
    for pointer in &pointers {
        pointer.for_each_mut(&mut expected, &mut |value| {
            if !value.is_null() {
                *value = Value::String(PLACEHOLDER.to_owned());
            }
        });
    }
    if secrets.is_empty() {
        assert_eq!(found.to_string(), expected.to_string());
    }
}

fn has_no_secret(value: &Value, search: &Search) {
    match value {
        Value::String(text) => assert!(!search.is_in(text.as_bytes()), "{text}"),
        Value::Array(items) => items.iter().for_each(|item| has_no_secret(item, search)),
        Value::Object(members) => {
            for (name, member) in members {
                assert!(!search.is_in(name.as_bytes()), "{name}");
                has_no_secret(member, search);
            }
        }
        _ => {}
    }
}
