//! How long an upstream wants to be left alone.

use std::time::Duration;

use http::{HeaderMap, header};

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); nothing for its date form, which is left to
/// the pause that whoever asks has of its own.
pub fn seconds(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
