//! Heads: a request's is written, an answer's is read (RFC 9112 sections 3 to 6).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::outgoing::Framing;
use crate::http1::head::{content_length, end, field, name};
use crate::upstream::RequestHead;

/// Answers with more fields than this are refused: no upstream needs them.
pub(in crate::upstream) const FIELDS_MAX: usize = 256;

/// Answers with a larger head than this are refused.
pub(in crate::upstream) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Room for the line and the fields of most requests.
const USUAL_BYTES: usize = 1024;

/// Fields that say how the message is framed and to whom it goes: ours are written instead.
fn is_ours(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "expect")
}

/// Whether an upstream is asked first if it wants the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Nothing,
    Continue,
}

/// A request's head in bytes.
pub(super) fn of_request(
    request: &RequestHead<'_>,
    authority: &HeaderValue,
    framing: Framing,
    expect: Expect,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(USUAL_BYTES);
    for part in [request.method.as_str(), " ", request.target.as_str(), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    field(&mut head, &header::HOST, authority.as_bytes());
    for (name, value) in &request.fields {
        if !is_ours(name) {
            field(&mut head, name, value.as_bytes());
        }
    }
    match framing {
        // A method that has a body says that there is none (RFC 9110 section 8.6).
        Framing::Length(0) if !is_said(request) => {}
        Framing::Length(length) => content_length(&mut head, length),
        Framing::Chunked => field(&mut head, &header::TRANSFER_ENCODING, b"chunked"),
    }
    if expect == Expect::Continue {
        field(&mut head, &header::EXPECT, b"100-continue");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Whether the length of an empty body is said: by the client, or by its method.
fn is_said(request: &RequestHead<'_>) -> bool {
    request.has(&header::CONTENT_LENGTH)
        || matches!(*request.method, Method::POST | Method::PUT | Method::PATCH)
}

/// An answer's head.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) version: Version,
    pub(in crate::upstream) headers: HeaderMap,
    /// The whole of it, as it came.
    pub(in crate::upstream) bytes: Bytes,
}

/// A head that is none, or one of which the end of the body could be told in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// No HTTP/1.1 or HTTP/1.0.
    #[error("it is no HTTP")]
    Malformed,
    /// Too many bytes or fields.
    #[error("its head is too large")]
    TooLarge,
    /// More than one length, a length that is none, or a transfer coding beside it or that nobody
    /// asked for.
    #[error("the end of its body is ambiguous")]
    Ambiguous,
    /// It switches protocols, which nobody asked for.
    #[error("it switches protocols unasked")]
    Unasked,
    /// Too many answers before the answer.
    #[error("too many informational answers")]
    Informational,
}

/// Takes a head out of what was read; nothing as long as it has not come whole. `looked_at` bytes
/// of it were there the last time.
///
/// # Errors
/// See [`BadHead`].
pub(super) fn of_answer(
    read: &mut BytesMut,
    looked_at: &mut usize,
) -> Result<Option<Head>, BadHead> {
    let Some(length) = end(read, *looked_at) else {
        if read.len() > HEAD_BYTES_MAX {
            return Err(BadHead::TooLarge);
        }
        // What does not begin as an answer is told at once, the rest when all has come.
        if *looked_at == 0 && !read.is_empty() {
            parse(read, |_| Ok(()))?;
        }
        *looked_at = read.len();
        return Ok(None);
    };
    *looked_at = 0;
    let bytes = read.split_to(length).freeze();
    if length > HEAD_BYTES_MAX {
        return Err(BadHead::TooLarge);
    }
    let mut head = None;
    let is_whole = parse(&bytes, |response| {
        head = Some(taken(response, &bytes)?);
        Ok(())
    })?;
    head.filter(|_| is_whole).map(Some).ok_or(BadHead::Malformed)
}

/// Parses as much of a head as there is; whether it was whole.
fn parse(
    bytes: &[u8],
    take: impl FnOnce(&httparse::Response<'_, '_>) -> Result<(), BadHead>,
) -> Result<bool, BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {
            take(&response).map(|()| true)
        }
        Ok(httparse::Status::Complete(_)) => Err(BadHead::Malformed),
        Ok(httparse::Status::Partial) => Ok(false),
        Err(httparse::Error::TooManyHeaders) => Err(BadHead::TooLarge),
        Err(_) => Err(BadHead::Malformed),
    }
}

/// The head that was parsed; its values share the bytes.
fn taken(response: &httparse::Response<'_, '_>, bytes: &Bytes) -> Result<Head, BadHead> {
    let version = match response.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let name = name(field.name).map_err(|_| BadHead::Malformed)?;
        headers.append(name, value.map_err(|_| BadHead::Malformed)?);
    }
    let status = status.ok_or(BadHead::Malformed)?;
    Ok(Head { status, version, headers, bytes: bytes.clone() })
}

/// How the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By that of the connection.
    Close,
}

impl Head {
    /// How the end of the body is told (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// [`BadHead::Ambiguous`] for what could be told in two ways.
    pub(super) fn end(&self, method: &Method) -> Result<End, BadHead> {
        let mut codings = self.headers.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next();
        let length = self.content_length()?;
        if coding.is_some() && (length.is_some() || self.version < Version::HTTP_11) {
            return Err(BadHead::Ambiguous);
        }
        if *method == Method::HEAD
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Ok(End::Length(0));
        }
        match (coding, length) {
            // Another coding was not asked for (`TE`).
            (Some(coding), _) => match coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                true if codings.next().is_none() => Ok(End::Chunked),
                _ => Err(BadHead::Ambiguous),
            },
            (None, Some(length)) => Ok(End::Length(length)),
            (None, None) => Ok(End::Close),
        }
    }

    /// The one length that is said; it may be said more than once (RFC 9110 section 8.6).
    fn content_length(&self) -> Result<Option<u64>, BadHead> {
        let mut length = None;
        for value in self.headers.get_all(header::CONTENT_LENGTH) {
            let text = value.to_str().map_err(|_| BadHead::Ambiguous)?;
            for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
                let is_number = !member.is_empty() && member.bytes().all(|b| b.is_ascii_digit());
                let said = member.parse().ok().filter(|_| is_number).ok_or(BadHead::Ambiguous)?;
                if length.is_some_and(|length| length != said) {
                    return Err(BadHead::Ambiguous);
                }
                length = Some(said);
            }
        }
        Ok(length)
    }

    /// Whether the connection may take another request after this answer (RFC 9112 section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        let says = |token: &str| {
            let values = self.headers.get_all(header::CONNECTION).iter();
            let mut tokens = values.filter_map(|value| value.to_str().ok());
            tokens.any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
        };
        match self.version {
            Version::HTTP_11 => !says("close"),
            _ => says("keep-alive") && !says("close"),
        }
    }
}
