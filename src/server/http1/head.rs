//! The heads of requests, read (RFC 9112 sections 3 to 6). What could be read in two ways is
//! refused.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{Extensions, Method, StatusCode, Uri, Version, header};

use crate::fields::Found;
use crate::http1::head::{end, lists, name};
use crate::proxy::message;

/// Heads with up to so many fields are parsed without memory for the list of them.
const USUAL_FIELDS_MAX: usize = 100;

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) fields_max: usize,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: message::Head,
    /// Where the body ends, or why that cannot be told.
    pub(super) length: Result<Length, &'static str>,
    /// Whether the client takes another answer on this connection.
    pub(super) keeps_alive: bool,
    /// Whether the client sends its body only when it is told to.
    pub(super) expects_continue: bool,
    /// Whether it asks for another protocol.
    pub(super) asks_for_upgrade: bool,
    /// Whether the client takes trailers (RFC 9110 section 10.1.4).
    pub(super) takes_trailers: bool,
}

/// How the end of a request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many bytes.
    Exact(u64),
    /// By the last chunk.
    Chunked,
}

/// A head that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    #[error("it is no HTTP/1.1")]
    Malformed,
    #[error("its target is too long")]
    Target,
    #[error("its head is too large")]
    TooLarge,
}

impl BadHead {
    /// What the client is told.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Target => StatusCode::URI_TOO_LONG,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

impl BadHead {
    /// What the operator is told.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "bad_head",
            Self::Target | Self::TooLarge => "head_too_long",
        }
    }
}

/// Whether a connection begins as one of HTTP/2; nothing while that cannot be told.
pub(super) fn is_http2(begin: &[u8]) -> Option<bool> {
    let length = begin.len().min(HTTP2_PREFACE.len());
    match begin.get(..length) == HTTP2_PREFACE.get(..length) {
        true => (length == HTTP2_PREFACE.len()).then_some(true),
        false => Some(false),
    }
}

/// Takes a head out of what was read; nothing as long as it has not come whole. `looked_at` bytes
/// of it were there the last time.
///
/// # Errors
/// See [`BadHead`].
pub(super) fn of_request(
    read: &mut BytesMut,
    looked_at: &mut usize,
    bounds: Bounds,
) -> Result<Option<Box<Head>>, BadHead> {
    if *looked_at == 0 {
        // RFC 9112 section 2.2: some clients send an empty line behind a body.
        while read.starts_with(b"\r\n") {
            read.advance(2);
        }
    }
    // Mostly it has come whole: then the parser finds its end. It passes over empty lines before it,
    // which are none of a head.
    let is_parsed = *looked_at == 0
        && read.len() < bounds.bytes_max
        && !matches!(read.first(), Some(b'\r' | b'\n'));
    if is_parsed && let Some((parsed, length)) = parse(read, bounds.fields_max, taken)? {
        debug_assert_eq!(end(read, 0), Some(length), "a head ends with its first empty line");
        return parsed.within(read, length).map(Some);
    }
    let Some(length) = end(read, *looked_at) else {
        if read.len() >= bounds.bytes_max {
            return Err(match read.contains(&b'\n') {
                true => BadHead::TooLarge,
                false => BadHead::Target,
            });
        }
        // What does not begin as a request is told at once, the rest when all has come. A CR may
        // be the first half of an empty line.
        if !is_parsed && *looked_at == 0 && read.len() > 1 {
            parse(read, bounds.fields_max, |_, _| Ok(()))?;
        }
        *looked_at = if read.len() > 1 { read.len() } else { 0 };
        return Ok(None);
    };
    *looked_at = 0;
    if length > bounds.bytes_max {
        return Err(BadHead::TooLarge);
    }
    let head = read.get(..length).unwrap_or_default();
    match parse(head, bounds.fields_max, taken)? {
        Some((parsed, end)) if end == length => parsed.within(read, length).map(Some),
        _ => Err(BadHead::Malformed),
    }
}

/// Takes what `take` makes of a head, and where that ends; nothing where it is not whole.
fn parse<T>(
    bytes: &[u8],
    fields_max: usize,
    take: impl FnOnce(&httparse::Request<'_, '_>, &[u8]) -> Result<T, BadHead>,
) -> Result<Option<(T, usize)>, BadHead> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS_MAX];
    let mut many = Vec::new();
    let fields = match usual.get_mut(..fields_max) {
        Some(usual) => usual,
        None => {
            many.resize(fields_max, MaybeUninit::uninit());
            &mut many
        }
    };
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut request,
        bytes,
        fields,
    );
    match parsed {
        Ok(httparse::Status::Complete(length)) => {
            take(&request, bytes).map(|taken| Some((taken, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(BadHead::TooLarge),
        Err(_) => Err(BadHead::Malformed),
    }
}

/// A head that was parsed, apart from what shares its bytes.
struct Parsed {
    method: Method,
    /// Where the target begins, and how long it is.
    target: (usize, usize),
    version: Version,
    fields: Found,
    length: Result<Length, &'static str>,
    keeps_alive: bool,
    expects_continue: bool,
    asks_for_upgrade: bool,
    takes_trailers: bool,
}

impl Parsed {
    /// The head, which is so many bytes of what was read. Target and values share them.
    fn within(self, read: &mut BytesMut, length: usize) -> Result<Box<Head>, BadHead> {
        // Mostly nothing is behind it, and the buffer is the head's alone.
        let bytes = match length == read.len() {
            true => std::mem::take(read).freeze(),
            false => read.split_to(length).freeze(),
        };
        let Self { method, target: (begin, target_bytes), version, fields, .. } = self;
        let target = bytes.get(begin..begin + target_bytes).ok_or(BadHead::Malformed)?;
        let uri = Uri::from_maybe_shared(bytes.slice_ref(target));
        let request = message::Head {
            method,
            uri: uri.map_err(|_| BadHead::Malformed)?,
            version,
            headers: fields.within(bytes).map_err(|_| BadHead::TooLarge)?,
            extensions: Extensions::new(),
        };
        Ok(Box::new(Head {
            request,
            length: self.length,
            keeps_alive: self.keeps_alive,
            expects_continue: self.expects_continue,
            asks_for_upgrade: self.asks_for_upgrade,
            takes_trailers: self.takes_trailers,
        }))
    }
}

fn taken(request: &httparse::Request<'_, '_>, bytes: &[u8]) -> Result<Parsed, BadHead> {
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(BadHead::Malformed);
    };
    if target.len() >= usize::from(u16::MAX) {
        return Err(BadHead::Target);
    }
    let is_old = request.version != Some(1);
    let mut fields = Found::of(bytes, request.headers.len());
    let mut framing = Framing::default();
    let (mut says_close, mut says_keep_alive) = (false, false);
    let (mut expects_continue, mut asks_for_upgrade, mut takes_trailers) = (false, false, false);
    for field in request.headers.iter() {
        let name = name(field.name).map_err(|_| BadHead::Malformed)?;
        let value = field.value;
        match name {
            header::TRANSFER_ENCODING => framing.coding(value),
            header::CONTENT_LENGTH => framing.length(value),
            header::CONNECTION => {
                says_close |= lists(value, b"close");
                says_keep_alive |= lists(value, b"keep-alive");
            }
            header::EXPECT => {
                expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            header::UPGRADE => asks_for_upgrade = true,
            header::TE => takes_trailers |= lists(value, b"trailers"),
            _ => {}
        }
        fields.push(name, value).map_err(|_| BadHead::TooLarge)?;
    }
    let length = match target.as_bytes().contains(&b'#') {
        // RFC 9112 section 3.2: a fragment is none of a server's business, and to some of them it is
        // a part of the path.
        true => Err("the request target has a fragment"),
        false => framing.end(is_old),
    };
    let begin = target.as_ptr().addr().checked_sub(bytes.as_ptr().addr());
    Ok(Parsed {
        method: Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::Malformed)?,
        target: (begin.ok_or(BadHead::Malformed)?, target.len()),
        version: if is_old { Version::HTTP_10 } else { Version::HTTP_11 },
        fields,
        length,
        keeps_alive: !says_close && (!is_old || says_keep_alive),
        // RFC 9110 section 10.1.1: HTTP/1.0 does not know it.
        expects_continue: expects_continue && !is_old,
        asks_for_upgrade: asks_for_upgrade && !is_old,
        takes_trailers,
    })
}

/// What the fields of a request say of the end of its body.
#[derive(Debug, Default)]
struct Framing {
    codings: usize,
    /// Whether a coding is another one than `chunked`, or a list.
    is_other: bool,
    lengths: usize,
    /// The last length; nothing if it is no number.
    length: Option<u64>,
}

impl Framing {
    fn coding(&mut self, value: &[u8]) {
        self.codings += 1;
        self.is_other |= !value.eq_ignore_ascii_case(b"chunked");
    }

    fn length(&mut self, digits: &[u8]) {
        self.lengths += 1;
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let digits = str::from_utf8(digits).ok().filter(|_| is_number);
        self.length = digits.and_then(|digits| digits.parse().ok());
    }

    /// The one end that they tell (RFC 9112 section 6.3). Whatever an older or a laxer server could
    /// read otherwise is refused.
    fn end(&self, is_old: bool) -> Result<Length, &'static str> {
        match (self.codings, self.lengths) {
            (0, 0) => Ok(Length::Exact(0)),
            (0, 1) => self.length.map(Length::Exact).ok_or("Content-Length is no length"),
            (0, _) => Err("Content-Length is there twice"),
            _ if is_old => Err("an old version of HTTP has no Transfer-Encoding"),
            (1, _) if self.is_other => Err("Transfer-Encoding can only be `chunked`"),
            (1, 0) => Ok(Length::Chunked),
            (1, _) => Err("Content-Length and Transfer-Encoding exclude each other"),
            _ => Err("Transfer-Encoding can only be `chunked`"),
        }
    }
}
