//! The heads of answers, written (RFC 9112 sections 4 to 6, RFC 9110 section 8.6).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use http_body::Body;

use super::head::BadHead;
use crate::fields::{self, Fields};
use crate::http1::head::{content_length, field, lists};
use crate::http1::waiting::COPIED_BYTES_MAX;

/// Room for the line and the fields of most answers.
const USUAL_BYTES: usize = 1024;

/// How the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By that of the connection.
    Close,
}

/// What an answer must know of its request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    /// Whether the client takes trailers.
    pub(super) takes_trailers: bool,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
}

/// An answer's head in bytes, how the end of its body is told, and what becomes of the connection
/// then.
pub(super) fn head<B: Body<Data = Bytes>>(
    status: StatusCode,
    headers: &Fields,
    body: &B,
    asked: &Asked,
    mut after: After,
) -> (Vec<u8>, Framing, After) {
    let exact = match body.is_end_stream() {
        true => Some(0),
        false => body.size_hint().exact(),
    };
    let copied = exact.and_then(|length| usize::try_from(length).ok());
    let copied = copied.filter(|length| *length <= COPIED_BYTES_MAX).unwrap_or_default();
    let mut head = Vec::with_capacity(USUAL_BYTES + copied);
    let is_old = asked.version < Version::HTTP_11;
    line(&mut head, is_old, status);

    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let has_no_length = status.is_informational() || status == StatusCode::NO_CONTENT;
    let has_no_body =
        has_no_length || asked.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let mut said = None;
    let (mut has_date, mut says_close) = (false, false);
    for (name, value) in headers {
        match *name {
            // Ours are written instead.
            header::TRANSFER_ENCODING => continue,
            header::CONTENT_LENGTH => {
                if said.is_none() {
                    said = fields::text(value).and_then(|text| text.parse::<u64>().ok());
                }
                continue;
            }
            header::CONNECTION => says_close |= lists(value, b"close"),
            header::DATE => has_date = true,
            _ => {}
        }
        field(&mut head, name, value);
    }

    let length = said.or(exact);
    let framing = match (length, is_old) {
        _ if has_no_body => Framing::Length(0),
        (Some(length), _) => Framing::Length(length),
        (None, false) => Framing::Chunked,
        (None, true) => Framing::Close,
    };
    match framing {
        Framing::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Of a body that is not there its length may be said, but is not known.
        Framing::Length(_) if has_no_body => {
            if let (Some(length), false) = (said, has_no_length) {
                content_length(&mut head, length);
            }
        }
        Framing::Length(length) => content_length(&mut head, length),
        Framing::Close => {}
    }
    if says_close || framing == Framing::Close {
        after = After::Close;
    }
    match after {
        _ if says_close || switches => {}
        After::Close if !is_old => head.extend_from_slice(b"connection: close\r\n"),
        After::KeepAlive if is_old => head.extend_from_slice(b"connection: keep-alive\r\n"),
        // It is what the version says.
        After::Close | After::KeepAlive => {}
    }
    if !has_date {
        date(&mut head);
    }
    head.extend_from_slice(b"\r\n");
    (head, framing, after)
}

/// The answer to a head that is none.
pub(super) fn refusal(bad: BadHead) -> Vec<u8> {
    let mut head = Vec::new();
    line(&mut head, false, bad.status());
    head.extend_from_slice(b"connection: close\r\ncontent-length: 0\r\n");
    date(&mut head);
    head.extend_from_slice(b"\r\n");
    head
}

fn line(head: &mut Vec<u8>, is_old: bool, status: StatusCode) {
    if status == StatusCode::OK && !is_old {
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let version = if is_old { "HTTP/1.0 " } else { "HTTP/1.1 " };
    let reason = status.canonical_reason().unwrap_or_default();
    for part in [version, status.as_str(), " ", reason, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

thread_local! {
    /// The present second and its line: it is the same for thousands of answers.
    static DATE: RefCell<(Duration, String)> = const { RefCell::new((Duration::MAX, String::new())) };
}

/// The date of an answer (RFC 9110 section 6.6.1). It decides nothing: it is the system's.
fn date(head: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = Duration::from_secs(now.as_secs());
    DATE.with_borrow_mut(|(last, line)| {
        if *last != second {
            *last = second;
            line.clear();
            let date = httpdate::HttpDate::from(UNIX_EPOCH + second);
            // Writing to memory cannot fail.
            _ = write!(line, "date: {date}\r\n");
        }
        head.extend_from_slice(line.as_bytes());
    });
}
