//! What must hold for any body in any codings.

use std::io::{Read, Write};

use bytes::Bytes;
use http::{HeaderValue, header};

use super::{CODINGS_MAX, Coding, Decoded, Decoder, Undecodable, codings as named};
use super::{decode, decode_beginning};
use crate::fields::Fields;
use crate::properties::{Draws, pieces};

/// Enough to tell, and soon decoded.
const BYTES_MAX: usize = 256 * 1024;

/// Content comes out alike however its coded bytes come in, within the bound, and as others decode
/// it; what was coded comes out again, and not all of it where some is missing.
pub fn codings(data: &[u8]) {
    let mut draws = Draws::new(data);
    let Ok(field) = HeaderValue::from_bytes(draws.line()) else { return };
    let lengths = draws.line();
    let headers = Fields::from_iter([(header::CONTENT_ENCODING, field)]);
    let body = draws.rest();
    let whole = decode(&headers, &Bytes::copy_from_slice(body), BYTES_MAX);
    let Ok(names) = named(&headers) else {
        assert!(whole.is_err());
        return;
    };
    assert!(names.len() <= CODINGS_MAX);
    let by_pieces = streamed(&names, &pieces(body, lengths));
    // Which of two faults is met first may depend on the pieces.
    assert_eq!(by_pieces.as_ref().ok(), whole.as_ref().ok());
    if let Ok(content) = &whole {
        assert!(content.len() <= BYTES_MAX);
        let beginning = decode_beginning(&headers, &Bytes::copy_from_slice(body), 100);
        assert_eq!(beginning.as_deref(), Ok(content.get(..100).unwrap_or(content)));
        if let [coding] = names.as_slice()
            && let Some(theirs) = by_others(*coding, body)
        {
            assert_eq!(*content, theirs, "{coding:?}");
        }
    }
    comes_out_again(&names, body, lengths);
}

fn streamed(names: &[Coding], pieces: &[&[u8]]) -> Result<Vec<u8>, Undecodable> {
    let (mut decoder, mut content) = (Decoder::new(names), Vec::new());
    let mut coming = pieces.iter();
    loop {
        match decoder.next_content()? {
            Decoded::Content(bytes) => {
                assert!(!bytes.is_empty());
                if content.len() + bytes.len() > BYTES_MAX {
                    return Err(Undecodable::TooLong);
                }
                content.extend_from_slice(&bytes);
            }
            Decoded::Hungry => match coming.next() {
                Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                None => decoder.finish(),
            },
            Decoded::End => return Ok(content),
        }
    }
}

/// What another decoder makes of it; nothing where it takes less than we do.
fn by_others(coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
    fn all(decoder: impl Read) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let read = decoder.take(BYTES_MAX as u64 + 1).read_to_end(&mut content);
        read.ok().map(|_| content)
    }
    match coding {
        Coding::Gzip => all(flate2::bufread::MultiGzDecoder::new(body)),
        Coding::Deflate => all(flate2::bufread::ZlibDecoder::new(body)),
        Coding::Zstd => zstd::stream::read::Decoder::with_buffer(body).ok().and_then(all),
        Coding::Brotli => None,
    }
}

/// Content in these codings; nothing where nobody here writes one of them.
fn coded(names: &[Coding], content: &[u8]) -> Option<Vec<u8>> {
    names.iter().try_fold(content.to_vec(), |content, coding| match coding {
        Coding::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&content).ok()?;
            encoder.finish().ok()
        }
        Coding::Deflate => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&content).ok()?;
            encoder.finish().ok()
        }
        Coding::Zstd => zstd::stream::encode_all(content.as_slice(), 1).ok(),
        Coding::Brotli => None,
    })
}

fn comes_out_again(names: &[Coding], content: &[u8], lengths: &[u8]) {
    let Some(coded) = coded(names, content).filter(|coded| !names.is_empty() && !coded.is_empty())
    else {
        return;
    };
    assert_eq!(streamed(names, &pieces(&coded, lengths)).as_deref(), Ok(content));
    let cut = usize::from(lengths.first().copied().unwrap_or(1)).clamp(1, coded.len());
    let part = coded.get(..coded.len() - cut).unwrap_or_default();
    let came = streamed(names, &pieces(part, lengths));
    // Nothing at all is an empty body.
    assert!(came.is_err() || part.is_empty(), "{cut} bytes are not missed");
}
