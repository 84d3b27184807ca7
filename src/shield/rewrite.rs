//! JSON whose values are replaced where they stand. All else stays as it was written, byte for byte but
//! for blanks between the values: a number that is read and written again may be another one.

use std::borrow::Cow;

use memchr::memchr2;
use serde::de::IgnoredAny;

use crate::recipe::pattern::Pointer;
use crate::secret::Search;

/// JSON that is nested deeper is refused, as by other readers (serde_json).
const DEPTH_MAX: usize = 127;

/// The text is no JSON, or nobody could read it as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoJson;

/// Replaces what stands at `pointers`, and every string, number and name of a member that holds a
/// secret, by `placeholder`. What is null stays so.
///
/// # Errors
/// Where the text is no JSON; none of it may be passed on as if it were searched.
pub(super) fn rewrite(
    text: &[u8],
    pointers: &[Pointer],
    secrets: &Search,
    placeholder: &str,
) -> Result<Vec<u8>, NoJson> {
    let text = std::str::from_utf8(text).map_err(|_| NoJson)?;
    // Whether it is JSON is for a library to say. From here on it is, and easy to walk through.
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| NoJson)?;
    let placeholder = serde_json::Value::from(placeholder).to_string();
    let out = Vec::with_capacity(text.len());
    let mut rewriter = Rewriter { rest: text, out, secrets, placeholder: &placeholder };
    let pointers: Vec<&[String]> = pointers.iter().map(Pointer::tokens).collect();
    rewriter.value(&pointers, DEPTH_MAX)?;
    Ok(rewriter.out)
}

struct Rewriter<'a> {
    /// What has not been looked at yet.
    rest: &'a str,
    out: Vec<u8>,
    secrets: &'a Search,
    /// As JSON.
    placeholder: &'a str,
}

impl<'a> Rewriter<'a> {
    /// Rewrites the next value. `pointers` are what is left of the way to what they name.
    fn value(&mut self, pointers: &[&[String]], depth_left: usize) -> Result<(), NoJson> {
        let begin = self.out.len();
        match self.next_byte() {
            Some(b'{') => self.object(pointers, depth_left)?,
            Some(b'[') => self.array(pointers, depth_left)?,
            Some(b'"') => {
                let written = self.string()?;
                self.unless_secret(written, &content(written)?);
            }
            _ => {
                let written =
                    self.up_to(|byte| matches!(byte, b',' | b']' | b'}') || is_blank(byte));
                self.unless_secret(written, written);
            }
        }
        let is_named = pointers.iter().any(|pointer| pointer.is_empty());
        if is_named && self.out.get(begin..) != Some(b"null".as_slice()) {
            self.out.truncate(begin);
            self.put(self.placeholder);
        }
        Ok(())
    }

    fn object(&mut self, pointers: &[&[String]], depth_left: usize) -> Result<(), NoJson> {
        let depth_left = depth_left.checked_sub(1).ok_or(NoJson)?;
        self.takes(b'{')?;
        self.put("{");
        let (mut is_first, mut has_hidden) = (true, false);
        while self.goes_on(b'}')? {
            let begin = self.out.len();
            if !is_first {
                self.put(",");
            }
            let written = self.string()?;
            let name = content(written)?;
            let is_hidden = self.unless_secret(written, &name);
            self.takes(b':')?;
            self.put(":");
            self.value(&below(pointers, |token| token == &*name), depth_left)?;
            // Two names that become one are one.
            match is_hidden && has_hidden {
                true => self.out.truncate(begin),
                false => is_first = false,
            }
            has_hidden |= is_hidden;
        }
        self.put("}");
        Ok(())
    }

    fn array(&mut self, pointers: &[&[String]], depth_left: usize) -> Result<(), NoJson> {
        let depth_left = depth_left.checked_sub(1).ok_or(NoJson)?;
        self.takes(b'[')?;
        self.put("[");
        let mut index = 0_usize;
        while self.goes_on(b']')? {
            if index > 0 {
                self.put(",");
            }
            self.value(&below(pointers, |token| token.parse() == Ok(index)), depth_left)?;
            index += 1;
        }
        self.put("]");
        Ok(())
    }

    /// Puts what is `written`, or the placeholder where it means something that holds a secret.
    /// Returns whether it does.
    fn unless_secret(&mut self, written: &str, meant: &str) -> bool {
        let is_secret = self.secrets.is_in(meant.as_bytes());
        self.put(if is_secret { self.placeholder } else { written });
        is_secret
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Whether there is another element, or the `end` comes.
    fn goes_on(&mut self, end: u8) -> Result<bool, NoJson> {
        if self.next_byte() == Some(b',') {
            self.takes(b',')?;
        }
        match self.next_byte() {
            Some(byte) if byte == end => self.takes(end).map(|()| false),
            Some(_) => Ok(true),
            None => Err(NoJson),
        }
    }

    /// The next byte that is no blank.
    fn next_byte(&mut self) -> Option<u8> {
        self.up_to(|byte| !is_blank(byte));
        self.rest.bytes().next()
    }

    fn takes(&mut self, byte: u8) -> Result<(), NoJson> {
        self.next_byte().filter(|next| *next == byte).ok_or(NoJson)?;
        self.take(1).map(drop)
    }

    /// The next string, as it is written.
    fn string(&mut self) -> Result<&'a str, NoJson> {
        self.next_byte().filter(|next| *next == b'"').ok_or(NoJson)?;
        let mut end = 1;
        loop {
            let found = self.rest.as_bytes().get(end..).and_then(|rest| memchr2(b'"', b'\\', rest));
            let at = end + found.ok_or(NoJson)?;
            // What follows a backslash ends nothing.
            match self.rest.as_bytes().get(at) {
                Some(b'"') => return self.take(at + 1),
                _ => end = at + 2,
            }
        }
    }

    fn up_to(&mut self, is_end: impl Fn(u8) -> bool) -> &'a str {
        let length = self.rest.bytes().position(is_end).unwrap_or(self.rest.len());
        // Only ASCII ends anything: there is a character's end.
        self.take(length).unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> Result<&'a str, NoJson> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(NoJson)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The pointers that lead on below an element, without their first token.
fn below<'p>(pointers: &[&'p [String]], is_it: impl Fn(&str) -> bool) -> Vec<&'p [String]> {
    let on = pointers.iter().filter_map(|pointer| pointer.split_first());
    on.filter(|(token, _)| *token == "*" || is_it(token)).map(|(_, rest)| rest).collect()
}

/// What a string says.
fn content(written: &str) -> Result<Cow<'_, str>, NoJson> {
    let bare = written.get(1..written.len().saturating_sub(1)).ok_or(NoJson)?;
    match bare.contains('\\') {
        true => serde_json::from_str(written).map(Cow::Owned).map_err(|_| NoJson),
        false => Ok(Cow::Borrowed(bare)),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
