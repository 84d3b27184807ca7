//! Content codings (RFC 9110 section 8.4): what has to be read is decoded, within a bound.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

/// The codings that we can read.
const READABLE: [&str; 6] = ["gzip", "x-gzip", "deflate", "br", "identity", "*"];

/// A body that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A coding that we cannot read.
    #[error("the content coding is unknown")]
    UnknownCoding,
    /// The bytes are not what the coding says.
    #[error("the coded content is damaged")]
    Damaged,
    /// More content than the bound allows.
    #[error("the content is longer than allowed")]
    TooLong,
}

/// Decodes a whole body, to at most `bytes_max` bytes.
///
/// # Errors
/// See [`Undecodable`]. A bomb ends at the bound.
pub fn decode(headers: &HeaderMap, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Undecodable> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| Undecodable::UnknownCoding)?;
        codings.extend(text.split(',').map(|coding| coding.trim().to_ascii_lowercase()));
    }
    let mut body = body.to_vec();
    for coding in codings.iter().rev() {
        body = match coding.as_str() {
            "" | "identity" => body,
            "gzip" | "x-gzip" => {
                read(flate2::read::MultiGzDecoder::new(body.as_slice()), bytes_max)?
            }
            // "deflate" is the zlib format (RFC 9110 section 8.4.1.2); some servers send it raw.
            "deflate" => read(flate2::read::ZlibDecoder::new(body.as_slice()), bytes_max)
                .or_else(|_| read(flate2::read::DeflateDecoder::new(body.as_slice()), bytes_max))?,
            "br" => read(brotli_decompressor::Decompressor::new(body.as_slice(), 4096), bytes_max)?,
            _ => return Err(Undecodable::UnknownCoding),
        };
    }
    if body.len() > bytes_max { Err(Undecodable::TooLong) } else { Ok(body) }
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, Undecodable> {
    let mut content = Vec::new();
    decoder
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|_| Undecodable::Damaged)?;
    if content.len() > bytes_max { Err(Undecodable::TooLong) } else { Ok(content) }
}

/// Whether the body is in a coding.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let is_identity = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| {
            let mut codings = text.split(',').map(str::trim);
            codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
        })
    };
    !headers.get_all(header::CONTENT_ENCODING).iter().all(is_identity)
}

/// Leaves in `Accept-Encoding` only codings that we can read, for upstreams whose answers are
/// judged by their bodies.
pub fn accept_readable_only(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|coding| {
            let name = coding.split(';').next().unwrap_or_default().trim();
            // `*` would let the upstream choose one that we cannot read.
            name != "*" && READABLE.iter().any(|readable| readable.eq_ignore_ascii_case(name))
        })
        .map(str::to_owned)
        .collect();
    if headers.contains_key(header::ACCEPT_ENCODING) {
        let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
        if let Ok(kept) = HeaderValue::from_str(&kept) {
            headers.insert(header::ACCEPT_ENCODING, kept);
        }
    }
}

/// Asks for content as it is, for answers that are rewritten.
pub fn accept_identity_only(headers: &mut HeaderMap) {
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Describes `content` as an uncoded body.
pub fn describe_identity(headers: &mut HeaderMap, content: &Bytes) {
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn coded(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())])
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn coded_content_is_read_and_a_bomb_ends_at_the_bound() {
        let content = br#"{"error_code":105}"#;
        assert_eq!(decode(&coded("gzip"), &gzip(content), 64).unwrap(), content);
        assert_eq!(decode(&coded("gzip, gzip"), &gzip(&gzip(content)), 64).unwrap(), content);
        assert_eq!(decode(&HeaderMap::new(), content, 64).unwrap(), content);
        let bomb = gzip(&vec![0; 10 << 20]);
        assert_eq!(decode(&coded("gzip"), &bomb, 1 << 16), Err(Undecodable::TooLong));
        assert_eq!(decode(&coded("gzip"), b"no gzip", 64), Err(Undecodable::Damaged));
        assert_eq!(decode(&coded("zstd"), content, 64), Err(Undecodable::UnknownCoding));
    }

    #[test]
    fn only_codings_that_we_can_read_are_asked_for() {
        let asked = |value: &'static str| {
            let mut headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            accept_readable_only(&mut headers);
            headers[header::ACCEPT_ENCODING].to_str().unwrap().to_owned()
        };
        assert_eq!(asked("gzip, compress, deflate, br"), "gzip, deflate, br");
        assert_eq!(asked("zstd, *;q=0.1"), "identity");
        let mut none = HeaderMap::new();
        accept_readable_only(&mut none);
        assert!(none.is_empty());
    }
}
