//! Content codings (RFC 9110 section 8.4): what has to be read is decoded, whole within a bound or
//! as it streams.

mod decoder;
mod gzip;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod step;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderValue, header};

use crate::fields::{self, Fields};

pub use decoder::{Decoded, Decoder};

/// The codings that are asked for; `x-gzip` is only read.
const READABLE: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// More codings on one body are not taken off: each has a window in memory.
const CODINGS_MAX: usize = 3;

/// A content coding that we can read (RFC 9110 section 8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`, in the zlib format or raw.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// A body that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A coding that we cannot read.
    #[error("the content coding is unknown")]
    UnknownCoding,
    /// More codings than anybody needs.
    #[error("the content has more than {CODINGS_MAX} codings")]
    TooMany,
    /// The bytes are not what the coding says, or not all of them are there.
    #[error("the coded content is damaged")]
    Damaged,
    /// More content than the bound allows.
    #[error("the content is longer than allowed")]
    TooLong,
}

impl Coding {
    fn parse(name: &str) -> Result<Self, Undecodable> {
        let is = |coding: &str| name.eq_ignore_ascii_case(coding);
        match () {
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("deflate") => Ok(Self::Deflate),
            () if is("br") => Ok(Self::Brotli),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(Undecodable::UnknownCoding),
        }
    }

    /// Its name in fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The codings of a body, in the order in which they were applied.
///
/// # Errors
/// When not all of them can be taken off.
pub fn codings(headers: &Fields) -> Result<Vec<Coding>, Undecodable> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = fields::text(value).ok_or(Undecodable::UnknownCoding)?;
        for name in text.split(',').map(str::trim) {
            if !name.is_empty() && !name.eq_ignore_ascii_case("identity") {
                codings.push(Coding::parse(name)?);
            }
        }
    }
    if codings.len() > CODINGS_MAX { Err(Undecodable::TooMany) } else { Ok(codings) }
}

/// Decodes a whole body, to at most `bytes_max` bytes.
///
/// # Errors
/// See [`Undecodable`]. A bomb ends at the bound.
pub fn decode(headers: &Fields, body: &Bytes, bytes_max: usize) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = Decoder::new(&codings(headers)?);
    decoder.push(body.clone());
    decoder.finish();
    let mut content = Vec::new();
    while let Decoded::Content(bytes) = decoder.next_content()? {
        if content.len() + bytes.len() > bytes_max {
            return Err(Undecodable::TooLong);
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content)
}

/// The content of which the beginning of a body tells, to at most `bytes_max` bytes.
///
/// # Errors
/// When it is in codings that we cannot read, or damaged.
pub fn decode_beginning(
    headers: &Fields,
    body: &Bytes,
    bytes_max: usize,
) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = Decoder::new(&codings(headers)?);
    decoder.push(body.clone());
    let mut content = Vec::new();
    while content.len() < bytes_max
        && let Decoded::Content(bytes) = decoder.next_content()?
    {
        content.extend_from_slice(&bytes);
    }
    content.truncate(bytes_max);
    Ok(content)
}

/// Whether the body is in a coding.
pub fn is_coded(headers: &Fields) -> bool {
    let is_identity = |value: &[u8]| {
        fields::text(value).is_some_and(|text| {
            let mut codings = text.split(',').map(str::trim);
            codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
        })
    };
    !headers.get_all(header::CONTENT_ENCODING).all(is_identity)
}

/// Asks for content as it is, for answers that are rewritten.
pub static IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// What is left of the client's `Accept-Encoding`, if it sends one, without codings that we cannot
/// read, for upstreams whose answers are looked into.
pub fn accept_readable_only(headers: &Fields) -> Option<HeaderValue> {
    if !headers.contains(header::ACCEPT_ENCODING) {
        return None;
    }
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let asked: Vec<(&str, &str)> = values
        .filter_map(fields::text)
        .flat_map(|value| value.split(','))
        .map(|coding| coding.split_once(';').unwrap_or((coding, "")))
        .map(|(name, weight)| (name.trim(), weight.trim()))
        .collect();
    let names = |asked: &[(&str, &str)], wanted: &str| {
        asked.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let mut kept = Vec::new();
    for (name, weight) in &asked {
        // `*` would let the upstream choose one that we cannot read.
        let meant: Vec<&str> = match *name {
            "*" => READABLE.into_iter().filter(|coding| !names(&asked, coding)).collect(),
            name if READABLE.iter().any(|coding| coding.eq_ignore_ascii_case(name)) => vec![name],
            name if name.eq_ignore_ascii_case("x-gzip") => vec![name],
            name if name.eq_ignore_ascii_case("identity") => vec![name],
            _ => Vec::new(),
        };
        let separator = if weight.is_empty() { "" } else { ";" };
        kept.extend(meant.into_iter().map(|name| format!("{name}{separator}{weight}")));
    }
    match kept.is_empty() {
        true => Some(IDENTITY.clone()),
        // Parts of values are values.
        false => Some(HeaderValue::from_str(&kept.join(", ")).unwrap_or(IDENTITY.clone())),
    }
}

/// The same where the content is decoded for the client: one that says nothing takes any coding
/// (RFC 9110 section 12.5.3), so the upstream may choose among those that we can read.
pub fn accept_readable(headers: &Fields) -> HeaderValue {
    accept_readable_only(headers).unwrap_or(HeaderValue::from_static("gzip, deflate, br, zstd"))
}

/// Describes `content` as an uncoded body.
pub fn describe_identity(headers: &mut Fields, content: &Bytes) {
    describe_decoded(headers);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
}

/// Describes an uncoded body of unknown length.
pub fn describe_decoded(headers: &mut Fields) {
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
}
