//! The canonical copy of a path: decoded once, without empty segments and path parameters, with a
//! note of everything that could be read in more than one way.

use percent_encoding::percent_decode_str;

/// The canonical copy of a request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The path. `%2F` inside a segment stays as it is written.
    pub path: String,
    /// The first thing in it with more than one plausible reading, except an encoded slash.
    pub ambiguity: Option<Ambiguity>,
    /// A segment holds `%2F`.
    pub encoded_slash: bool,
}

/// What makes a path readable in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// `.` or `..`, encoded or not.
    #[error("a dot segment")]
    DotSegment,
    /// `\` or `%5C`.
    #[error("a backslash")]
    Backslash,
    /// `%2F`.
    #[error("an encoded slash")]
    EncodedSlash,
    /// A control character, `%00` among them.
    #[error("a control character")]
    Control,
    /// `%` without two hex digits, or bytes that are no UTF-8 (overlong forms among them).
    #[error("an escape that cannot be decoded")]
    Escape,
    /// A letter, a digit or a dot that was escaped twice, for which there is no honest reason: an
    /// upstream that decodes twice would read another path.
    #[error("a plain character that is escaped twice")]
    DoubleEscape,
    /// A segment of path parameters only: `;x`. Some servers see an empty segment, others one more.
    #[error("a segment of parameters only")]
    ParametersOnly,
}

impl Canonical {
    /// Reads the path of a request's target.
    pub fn of(path: &str) -> Self {
        if is_plain(path) {
            return Self { path: path.to_owned(), ambiguity: None, encoded_slash: false };
        }
        Self::read(path)
    }

    pub(super) fn read(path: &str) -> Self {
        let mut canonical =
            Self { path: String::with_capacity(path.len()), ambiguity: None, encoded_slash: false };
        for segment in path.split('/') {
            let before_parameters = segment.split(';').next().unwrap_or_default();
            if !before_parameters.is_empty() {
                canonical.push(before_parameters);
            } else if !segment.is_empty() {
                canonical.note(Ambiguity::ParametersOnly);
            }
        }
        // A slash at the end is part of the path: `/a/` is not `/a`.
        if path.ends_with('/') || canonical.path.is_empty() {
            canonical.path.push('/');
        }
        canonical
    }

    /// What is ambiguous for an upstream that does or does not take `%2F` as an ordinary character.
    pub fn ambiguity(&self, encoded_slash_is_ordinary: bool) -> Option<Ambiguity> {
        match self.ambiguity {
            None if self.encoded_slash && !encoded_slash_is_ordinary => {
                Some(Ambiguity::EncodedSlash)
            }
            ambiguity => ambiguity,
        }
    }

    fn push(&mut self, segment: &str) {
        self.path.push('/');
        if !segment.contains(['%', '\\', '.']) && !segment.contains(char::is_control) {
            self.path.push_str(segment);
            return;
        }
        if has_broken_escape(segment) {
            self.note(Ambiguity::Escape);
        }
        let decoded = match percent_decode_str(segment).decode_utf8() {
            Ok(decoded) => decoded.into_owned(),
            Err(_) => {
                self.note(Ambiguity::Escape);
                segment.to_owned()
            }
        };
        if has_escaped_plain_character(&decoded) {
            self.note(Ambiguity::DoubleEscape);
        }
        if decoded.contains('\\') {
            self.note(Ambiguity::Backslash);
        }
        if decoded.contains(char::is_control) {
            self.note(Ambiguity::Control);
        }
        // An encoded `;` can hide parameters from us but not from the upstream.
        let visible = decoded.split(';').next().unwrap_or_default();
        if visible.is_empty() {
            self.note(Ambiguity::ParametersOnly);
        }
        for (index, part) in visible.split('/').enumerate() {
            if index > 0 {
                self.encoded_slash = true;
                self.path.push_str("%2F");
            }
            if matches!(part, "." | "..") {
                self.note(Ambiguity::DotSegment);
            }
            self.path.push_str(part);
        }
    }

    fn note(&mut self, ambiguity: Ambiguity) {
        self.ambiguity.get_or_insert(ambiguity);
    }
}

/// Whether a path is its own canonical copy, as most are: nothing in it is read in any way but one.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_plain =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'.' | b';');
    bytes.first() == Some(&b'/')
        && bytes.iter().all(is_plain)
        && !bytes.windows(2).any(|pair| pair == b"//")
}

/// Whether a `%` is not followed by two hexadecimal digits.
pub(super) fn has_broken_escape(segment: &str) -> bool {
    segment.split('%').skip(1).any(|after| {
        !matches!(after.as_bytes(), [one, two, ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit())
    })
}

/// Whether an escape in what has been decoded once stands for a letter, a digit or a dot.
fn has_escaped_plain_character(decoded: &str) -> bool {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    decoded.split('%').skip(1).any(|after| {
        let code = match after.as_bytes() {
            [high, low, ..] => digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        code.and_then(char::from_u32)
            .is_some_and(|character| character.is_ascii_alphanumeric() || character == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str) -> (String, Option<Ambiguity>) {
        let canonical = Canonical::of(path);
        let ambiguity = canonical.ambiguity(false);
        (canonical.path, ambiguity)
    }

    #[test]
    fn spellings_of_one_path_have_one_canonical_copy() {
        for spelling in ["/v3/user", "//v3//user", "/v3/%75ser", "/v3;x=1/user;y", "/v3/user%3Bz"] {
            assert_eq!(of(spelling), ("/v3/user".to_owned(), None), "{spelling}");
        }
        assert_eq!(of("/v3/user/"), ("/v3/user/".to_owned(), None));
        assert_eq!(of("/"), ("/".to_owned(), None));
        assert_eq!(of("/a%252Fb"), ("/a%2Fb".to_owned(), None));
    }

    #[test]
    fn what_has_two_readings_is_noted() {
        for (path, expected) in [
            ("/a/../b", Ambiguity::DotSegment),
            ("/a/%2e%2E/b", Ambiguity::DotSegment),
            ("/a/%2e/b", Ambiguity::DotSegment),
            ("/a/x%2F..", Ambiguity::DotSegment),
            ("/a/..%2Fx", Ambiguity::DotSegment),
            ("/a/..%3Bx/b", Ambiguity::DotSegment),
            ("/a%2fb", Ambiguity::EncodedSlash),
            ("/a\\b", Ambiguity::Backslash),
            ("/a%5cb", Ambiguity::Backslash),
            ("/a%00", Ambiguity::Control),
            ("/a%zz", Ambiguity::Escape),
            ("/a%", Ambiguity::Escape),
            ("/a%c0%af", Ambiguity::Escape),
            ("/a/%u0073", Ambiguity::Escape),
            ("/;x/v3/user", Ambiguity::ParametersOnly),
            ("/v3/%3Bx/user", Ambiguity::ParametersOnly),
            ("/v3/us%2565r", Ambiguity::DoubleEscape),
            ("/v3/%252e%252e/x", Ambiguity::DoubleEscape),
        ] {
            assert_eq!(of(path).1, Some(expected), "{path}");
        }
        assert_eq!(Canonical::of("/a%2fb").ambiguity(true), None);
        assert_eq!(of("/a/..b/c.d").1, None);
    }

    proptest! {
        #[test]
        fn a_plain_path_is_read_as_any_other(path in "(/[ -~]{0,3}){0,5}") {
            prop_assert_eq!(Canonical::of(&path), Canonical::read(&path));
        }

        #[test]
        fn a_canonical_copy_is_its_own_canonical_copy(path in "(/[a-z0-9._~;%-]{0,6}){0,5}") {
            let once = Canonical::of(&path);
            prop_assume!(once.ambiguity(false).is_none() && !once.path.contains('%'));
            let twice = Canonical::of(&once.path);
            prop_assert_eq!(once.path, twice.path);
        }
    }
}
