//! Compressed JSON answers for clients that ask for them.

use std::io::Write;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;

/// Shorter bodies travel as they are.
const COMPRESSED_BYTES_MIN: u64 = 256;

/// Longer bodies travel as they are.
const COMPRESSED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A coding that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
}

impl Coding {
    /// The coding for an answer to these request headers: gzip where it is accepted, else br
    /// (RFC 9110 section 12.5.3; a coding with `q=0` is refused, `*` is not understood here).
    pub fn accepted(headers: &HeaderMap) -> Option<Coding> {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let offers: Vec<&str> = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .collect();
        let accepts = |coding: &str| {
            offers.iter().any(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
                named
                    && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
            })
        };
        if accepts("gzip") {
            return Some(Coding::Gzip);
        }
        accepts("br").then_some(Coding::Brotli)
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
        })
    }

    fn encode(self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Coding::Brotli => {
                let mut compressed = Vec::new();
                let mut encoder = brotli::CompressorWriter::new(&mut compressed, 4096, 5, 20);
                encoder.write_all(plain)?;
                drop(encoder);
                Ok(compressed)
            }
        }
    }
}

/// The same answer in this coding, where it is JSON of a fitting length.
pub async fn compressed(response: Response, coding: Coding) -> Response {
    if !is_fitting(&response) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The exact size was looked at above, so the limit cannot be met.
    let plain = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Ok(encoded) = coding.encode(&plain) else {
        return Response::from_parts(head, Body::from(plain));
    };
    head.headers.insert(CONTENT_ENCODING, coding.name());
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(encoded.len()));
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, Body::from(Bytes::from(encoded)))
}

fn is_fitting(response: &Response) -> bool {
    let size = response.body().size_hint().exact();
    let json = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    json.is_some_and(|kind| kind.starts_with("application/json"))
        && !response.headers().contains_key(CONTENT_ENCODING)
        && size.is_some_and(|size| (COMPRESSED_BYTES_MIN..=COMPRESSED_BYTES_MAX).contains(&size))
}
