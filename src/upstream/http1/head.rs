//! Heads: a request's is written, an answer's is read (RFC 9112 sections 3 to 6).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::outgoing::Framing;
use crate::fields::{Field, Fields, Found};
use crate::http1::head::{content_length, end, field, lists, name};
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
    // The length of an empty body is said by the client, or for methods that have one (RFC 9110
    // section 8.6).
    let mut is_said = matches!(*request.method, Method::POST | Method::PUT | Method::PATCH);
    for Field { name, value, .. } in &request.fields {
        match is_ours(name) {
            true => is_said |= **name == header::CONTENT_LENGTH,
            false => field(&mut head, name, value),
        }
    }
    match framing {
        Framing::Length(0) if !is_said => {}
        Framing::Length(length) => content_length(&mut head, length),
        Framing::Chunked => field(&mut head, &header::TRANSFER_ENCODING, b"chunked"),
    }
    if expect == Expect::Continue {
        field(&mut head, &header::EXPECT, b"100-continue");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// An answer's head.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) version: Version,
    pub(in crate::upstream) headers: Fields,
    /// The whole of it, as it came.
    pub(in crate::upstream) bytes: Bytes,
    told: Told,
}

/// What an answer's fields tell of the end of its body, and of that of its connection.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    codings: usize,
    /// Whether a coding is another one than `chunked`, or a list.
    is_other: bool,
    length: Option<u64>,
    /// Whether a length is none, or another one than the one before.
    is_no_length: bool,
    closes: bool,
    keeps_alive: bool,
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
    if read.is_empty() {
        return Ok(None);
    }
    // Mostly it has come whole: then the parser finds its end. It passes over empty lines before it,
    // which are none of a head.
    let is_parsed = *looked_at == 0 && !matches!(read.first(), Some(b'\r' | b'\n'));
    if is_parsed && let Some((parsed, length)) = parse(read, taken)? {
        debug_assert_eq!(end(read, 0), Some(length), "a head ends with its first empty line");
        return parsed.within(read, length).map(Some);
    }
    let Some(length) = end(read, *looked_at) else {
        if read.len() > HEAD_BYTES_MAX {
            return Err(BadHead::TooLarge);
        }
        // What does not begin as an answer is told at once, the rest when all has come.
        if !is_parsed && *looked_at == 0 {
            parse(read, |_, _| Ok(()))?;
        }
        *looked_at = read.len();
        return Ok(None);
    };
    *looked_at = 0;
    let head = read.get(..length).unwrap_or_default();
    match parse(head, taken)? {
        Some((parsed, end)) if end == length => parsed.within(read, length).map(Some),
        _ => Err(BadHead::Malformed),
    }
}

/// Takes what `take` makes of a head, and where that ends; nothing where it is not whole.
fn parse<T>(
    bytes: &[u8],
    take: impl FnOnce(&httparse::Response<'_, '_>, &[u8]) -> Result<T, BadHead>,
) -> Result<Option<(T, usize)>, BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    match parsed {
        Ok(httparse::Status::Complete(length)) if length > HEAD_BYTES_MAX => Err(BadHead::TooLarge),
        Ok(httparse::Status::Complete(length)) => {
            take(&response, bytes).map(|taken| Some((taken, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(BadHead::TooLarge),
        Err(_) => Err(BadHead::Malformed),
    }
}

/// A head that was parsed, apart from what shares its bytes.
struct Parsed {
    status: StatusCode,
    version: Version,
    fields: Found,
    told: Told,
}

impl Parsed {
    /// The head, which is so many bytes of what was read. Values share them.
    fn within(self, read: &mut BytesMut, length: usize) -> Result<Head, BadHead> {
        let bytes = read.split_to(length).freeze();
        let Self { status, version, fields, told } = self;
        let headers = fields.within(bytes.clone()).map_err(|_| BadHead::TooLarge)?;
        Ok(Head { status, version, headers, bytes, told })
    }
}

fn taken(response: &httparse::Response<'_, '_>, bytes: &[u8]) -> Result<Parsed, BadHead> {
    let version = match response.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut fields = Found::of(bytes, response.headers.len());
    let mut told = Told::default();
    for field in response.headers.iter() {
        let name = name(field.name).map_err(|_| BadHead::Malformed)?;
        let value = field.value;
        match name {
            header::TRANSFER_ENCODING => told.coding(value),
            header::CONTENT_LENGTH => told.length(value),
            header::CONNECTION => {
                told.closes |= lists(value, b"close");
                told.keeps_alive |= lists(value, b"keep-alive");
            }
            _ => {}
        }
        fields.push(name, value).map_err(|_| BadHead::TooLarge)?;
    }
    let status = status.ok_or(BadHead::Malformed)?;
    Ok(Parsed { status, version, fields, told })
}

impl Told {
    fn coding(&mut self, value: &[u8]) {
        self.codings += 1;
        self.is_other |= !value.eq_ignore_ascii_case(b"chunked");
    }

    /// It may be said more than once (RFC 9110 section 8.6).
    fn length(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is_number = !member.is_empty() && member.iter().all(u8::is_ascii_digit);
            let digits = str::from_utf8(member).ok().filter(|_| is_number);
            let said = digits.and_then(|digits| digits.parse().ok());
            self.is_no_length |= said.is_none() || self.length.is_some() && self.length != said;
            self.length = said;
        }
    }
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
        let Told { codings, is_other, length, is_no_length, .. } = self.told;
        let is_coded = codings > 0;
        if is_no_length || is_coded && (length.is_some() || self.version < Version::HTTP_11) {
            return Err(BadHead::Ambiguous);
        }
        if *method == Method::HEAD
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Ok(End::Length(0));
        }
        match (codings, length) {
            (0, Some(length)) => Ok(End::Length(length)),
            (0, None) => Ok(End::Close),
            (1, _) if !is_other => Ok(End::Chunked),
            // Another coding was not asked for (`TE`).
            _ => Err(BadHead::Ambiguous),
        }
    }

    /// Whether the connection may take another request after this answer (RFC 9112 section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        let Told { closes, keeps_alive, .. } = self.told;
        !closes && (self.version == Version::HTTP_11 || keeps_alive)
    }
}
