//! The id of a request: one value, for the upstream's request, the client's answer and all that is
//! told of both.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderValue;

/// Hexadecimal digits of a number, as many as an id may need.
const DIGITS_MAX: usize = 16;

/// So many it has at least.
const DIGITS_MIN: usize = 8;

/// The first half of an id, with a dash.
const PREFIX_BYTES: usize = DIGITS_MAX + 1;

/// The longest id.
const BYTES_MAX: usize = PREFIX_BYTES + DIGITS_MAX;

/// Gives ids that are unique without a system call: each core of each process has others.
#[derive(Debug)]
pub struct RequestIds {
    prefix: Prefix,
    next: AtomicU64,
}

/// How all ids of one core begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix([u8; PREFIX_BYTES]);

/// A request's id. Clones share it.
#[derive(Clone)]
pub struct RequestId {
    field: HeaderValue,
    number: u64,
}

/// The text of an id, which lies beside the count of its clones.
struct Text {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl Default for RequestIds {
    fn default() -> Self {
        // Half of a random number in hexadecimal digits.
        let mut prefix = [b'-'; PREFIX_BYTES];
        for (place, digit) in prefix
            .iter_mut()
            .zip(uuid::Uuid::new_v4().simple().to_string().bytes().skip(DIGITS_MAX))
        {
            *place = digit;
        }
        Self { prefix: Prefix(prefix), next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The next one.
    pub fn next(&self) -> RequestId {
        self.prefix.id(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn prefix(&self) -> Prefix {
        self.prefix
    }
}

impl Prefix {
    /// The id with this number: the prefix, and the number in hexadecimal digits, eight or more where
    /// it needs them.
    pub(super) fn id(self, number: u64) -> RequestId {
        let mut bytes = [0; BYTES_MAX];
        let (begin, end) = bytes.split_at_mut(PREFIX_BYTES);
        begin.copy_from_slice(&self.0);
        let digits = ((u64::BITS - number.leading_zeros()).div_ceil(4) as usize).max(DIGITS_MIN);
        for (place, left) in end.iter_mut().zip((0..digits).rev()) {
            *place = hexadecimal((number >> (4 * left)) as u8 & 0xf);
        }
        RequestId::of(Bytes::from_owner(Text { bytes, length: PREFIX_BYTES + digits }), number)
    }
}

impl RequestId {
    /// An id that is known before; what is no value of a field is none.
    pub fn from_static(text: &'static str) -> Self {
        Self::of(Bytes::from_static(text.as_bytes()), 0)
    }

    fn of(text: Bytes, number: u64) -> Self {
        // Hexadecimal digits and a dash are a header value.
        let value = HeaderValue::from_maybe_shared(text);
        let mut field = value.unwrap_or(HeaderValue::from_static("-"));
        // None comes again: HTTP/2 must not fill its table of what comes again with them, nor search
        // all of it for each (RFC 7541 section 6.2.3).
        field.set_sensitive(true);
        Self { field, number }
    }

    /// The number in it; 0 where it is not one that [`RequestIds`] gave.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The value of a field.
    pub fn field(&self) -> HeaderValue {
        self.field.clone()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.field.to_str().unwrap_or_default()
    }
}

fn hexadecimal(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_of_http2_keeps_a_request_id() {
        let id = Prefix(*b"0123456789abcdef-").id(10);
        assert_eq!(id.as_str(), "0123456789abcdef-0000000a");
        assert!(id.field().is_sensitive());
    }

    #[test]
    fn numbers_of_requests_have_eight_digits_or_as_many_as_they_need() {
        for number in [0, 1, 0x9abc_def0, u64::from(u32::MAX) + 1, u64::MAX] {
            let id = Prefix(*b"0123456789abcdef-").id(number);
            assert_eq!(id.to_string(), format!("0123456789abcdef-{number:08x}"));
        }
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let (one, other) = (RequestIds::default(), RequestIds::default());
        let ids = [one.next(), one.next(), other.next()].map(|id| id.to_string());
        assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(ids[0].len(), PREFIX_BYTES + DIGITS_MIN);
    }
}
