//! Our entry in `Via` (RFC 9110 section 7.6.3): the protocol that a message came by, and a
//! pseudonym that no other process has, so that a request that comes back is told from one that
//! another Doorward sent.

use http::{HeaderValue, Version, header};

use crate::fields::Fields;

/// The entries of this process, one for each protocol.
#[derive(Clone, Debug)]
pub struct Via {
    pseudonym: String,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// Entries under `pseudonym`; what is no token of HTTP in it is left out.
    pub fn new(pseudonym: &str) -> Self {
        let is_kept = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
        let pseudonym: String = pseudonym.chars().filter(is_kept).collect();
        let entry = |protocol: &str| {
            // Letters, digits and dashes are a header value.
            HeaderValue::from_str(&format!("{protocol} {pseudonym}"))
                .unwrap_or(HeaderValue::from_static("1.1 doorward"))
        };
        Self { http10: entry("1.0"), http11: entry("1.1"), http2: entry("2"), pseudonym }
    }

    /// Adds the entry for a message that came by `version`.
    pub fn add(&self, headers: &mut Fields, version: Version) {
        headers.append(header::VIA, self.entry(version));
    }

    /// The entry for a message that came by `version`.
    pub fn entry(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        }
    }

    /// Whether a message has been here before.
    pub fn is_in(&self, headers: &Fields) -> bool {
        headers
            .get_all(header::VIA)
            .flat_map(received_by)
            .any(|received_by| received_by == self.pseudonym.as_bytes())
    }
}

/// Who has received a message, of those that a field of `Via` names. Whatever else stands there hides
/// none of them.
fn received_by(via: &[u8]) -> impl Iterator<Item = &[u8]> {
    let entries = via.split(|byte| *byte == b',');
    entries.filter_map(|entry| {
        let words = entry.split(u8::is_ascii_whitespace);
        words.filter(|word| !word.is_empty()).nth(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_here_is_told_from_one_that_passed_another_gateway() {
        let (ours, other) = (Via::new("doorward-1"), Via::new("doorward-2"));
        let mut headers = Fields::new();
        headers.insert(header::VIA, HeaderValue::from_static("1.0 fred, 1.1 proxy.example (x)"));
        other.add(&mut headers, Version::HTTP_11);
        assert!(!ours.is_in(&headers));
        ours.add(&mut headers, Version::HTTP_2);
        assert!(ours.is_in(&headers) && other.is_in(&headers));
        assert_eq!(headers.get_all(header::VIA).next_back().unwrap(), b"2 doorward-1");
        let joined = HeaderValue::from_bytes(b"1.1 caf\xe9 ,2  doorward-1 (\xff)").unwrap();
        headers.insert(header::VIA, &joined);
        assert!(ours.is_in(&headers) && !other.is_in(&headers));
    }
}
