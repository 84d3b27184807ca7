//! What must hold for any path.

use std::fmt::Write as _;

use super::Canonical;
use crate::properties::Draws;

/// A path has one canonical copy however it is spelt, and what is told as unambiguous is.
pub fn paths(data: &[u8]) {
    let mut draws = Draws::new(data);
    let noise = draws.byte();
    let Ok(path) = std::str::from_utf8(draws.rest()) else { return };
    let canonical = Canonical::of(path);
    assert_eq!(canonical, Canonical::read(path), "the short way says something else");
    let copy = canonical.path.as_str();
    assert!(copy.starts_with('/'), "{copy:?}");
    assert!(copy.len() <= path.len() + 1, "{copy:?} is longer than {path:?}");
    assert!(!copy.contains(['%', ';']) || path.contains('%'), "{copy:?}");
    for is_ordinary in [false, true] {
        let ambiguity = canonical.ambiguity(is_ordinary);
        if canonical.encoded_slash && !is_ordinary {
            assert!(ambiguity.is_some(), "{path:?}");
        }
        // A slash that is escaped twice stands in the copy as one that is escaped once.
        if ambiguity.is_none() && !path.contains("%25") {
            one_reading(copy);
        }
    }
    if canonical.ambiguity.is_none() && !canonical.encoded_slash && !copy.contains('%') {
        assert_eq!(Canonical::of(copy), canonical, "{path:?}");
        let other = spelling(copy, noise);
        assert_eq!(Canonical::of(&other), canonical, "{path:?} is also spelt {other:?}");
    }
    let escaped = format!("{path}%2e%2e");
    let twice = Canonical::of(&format!("{path}/%2e%2e/x"));
    assert!(twice.ambiguity.is_some(), "{path:?}");
    assert!(
        !Canonical::of(&escaped).path.ends_with("/..")
            || Canonical::of(&escaped).ambiguity.is_some(),
        "{escaped:?}"
    );
}

/// What every server reads in the same way.
fn one_reading(copy: &str) {
    assert!(!copy.contains("//"), "an empty segment: {copy:?}");
    assert!(!copy.contains('\\') && !copy.contains(char::is_control), "{copy:?}");
    let parts = copy.split('/').flat_map(|segment| segment.split("%2F"));
    for part in parts {
        assert!(!matches!(part, "." | ".."), "a dot segment: {copy:?}");
    }
}

/// The same path as another client may write it: escaped bytes, empty segments, parameters.
fn spelling(copy: &str, noise: u8) -> String {
    let mut other = String::new();
    let segments: Vec<&str> = copy.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        other.push('/');
        if noise & 1 == 1 {
            other.push('/');
        }
        for (position, byte) in segment.bytes().enumerate() {
            if noise & 2 == 2 || !byte.is_ascii() || position % 3 == usize::from(noise >> 6) {
                _ = write!(other, "%{byte:02x}");
            } else {
                other.push(char::from(byte));
            }
        }
        let is_last = index + 1 == segments.len();
        if noise & 4 == 4 && !segment.is_empty() {
            other.push_str(if is_last { ";x=1" } else { ";y" });
        }
    }
    other
}
