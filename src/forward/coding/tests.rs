//! Codings made and taken off again.

use std::io::Write;

use flate2::{Compress, FlushCompress};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

use crate::fields::Fields;

fn coded(coding: &str) -> Fields {
    Fields::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())])
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn raw(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A gzip member with every part that a head can have.
fn gzip_with_a_long_head(content: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().extra("extra").filename("name").comment("comment");
    let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    let mut coded = encoder.finish().unwrap();
    // With a checksum of the head, which nobody verifies.
    coded[3] |= 2;
    let end = coded.windows(8).position(|part| part == b"comment\0").unwrap() + 8;
    coded.splice(end..end, [0, 0]);
    coded
}

#[cfg(feature = "emulator")]
fn brotli(content: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    brotli::CompressorWriter::new(&mut coded, 4096, 5, 24).write_all(content).unwrap();
    coded
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 3).unwrap()
}

type Code = fn(&[u8]) -> Vec<u8>;

/// Every coding, and how content is put into it.
fn codes() -> Vec<(&'static str, Code)> {
    vec![
        ("gzip", gzip),
        ("x-gzip", gzip_with_a_long_head),
        ("gzip", |content| {
            let (one, other) = content.split_at(content.len() / 3);
            [gzip(one), gzip_with_a_long_head(other)].concat()
        }),
        ("deflate", zlib),
        ("DEFLATE", raw),
        #[cfg(feature = "emulator")]
        ("br", brotli),
        ("zstd", zstd),
        ("zstd", |content| {
            let (one, other) = content.split_at(content.len() / 3);
            // With a frame that is to be skipped (RFC 8878 section 3.1.2).
            [zstd(one), b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(other)].concat()
        }),
        ("gzip, zstd", |content| zstd(&gzip(content))),
        ("zstd, deflate, gzip", |content| gzip(&raw(&zstd(content)))),
        ("identity, gzip", gzip),
    ]
}

/// What comes out, and whether it came to its end.
fn streamed(
    headers: &Fields,
    body: &[u8],
    lengths: &[usize],
) -> (Vec<u8>, Result<(), Undecodable>) {
    let mut decoder = Decoder::new(&codings(headers).unwrap());
    let (mut rest, mut lengths) = (Bytes::copy_from_slice(body), lengths.iter().cycle());
    let mut content = Vec::new();
    loop {
        match decoder.next_content() {
            Ok(Decoded::Content(bytes)) => {
                assert!(!bytes.is_empty() && bytes.len() <= 32 * 1024);
                content.extend_from_slice(&bytes);
            }
            Ok(Decoded::Hungry) if rest.is_empty() => decoder.finish(),
            Ok(Decoded::Hungry) => {
                decoder.push(rest.split_to((*lengths.next().unwrap()).min(rest.len())));
            }
            Ok(Decoded::End) => {
                assert_eq!(decoder.read_bytes(), body.len() as u64);
                return (content, Ok(()));
            }
            Err(error) => return (content, Err(error)),
        }
    }
}

/// Content that compresses here and there.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..100_000_usize).prop_map(|(byte, length)| vec![byte; length]),
        "[a-z ]{0,200}".prop_map(String::into_bytes),
    ];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Fails when the edges of chunks change what is decoded.
    #[test]
    fn whatever_the_chunks_the_content_is_the_same(
        content in content(),
        lengths in prop_oneof![Just(vec![1]), vec(1..5000_usize, 1..8)],
    ) {
        for (coding, code) in codes() {
            let body = code(&content);
            let (seen, end) = streamed(&coded(coding), &body, &lengths);
            prop_assert_eq!(end, Ok(()), "{}", coding);
            prop_assert!(seen == content, "{}", coding);
        }
    }

    /// Fails when a body that was cut off, changed or made longer passes for a whole one and is not
    /// what was coded, or when one makes the decoder panic.
    #[test]
    fn what_is_damaged_is_never_taken_for_whole(
        content in content(),
        cut in any::<prop::sample::Index>(),
        flip in any::<u8>(),
        lengths in vec(1..500_usize, 1..8),
    ) {
        for (coding, code) in codes() {
            let body = code(&content);
            let cut = cut.index(body.len());
            let (seen, end) = streamed(&coded(coding), &body[..cut], &lengths);
            // The end of a member or a frame looks like the end, and so does nothing at all.
            let is_prefix = content.starts_with(&seen);
            prop_assert!(is_prefix && (end.is_err() || seen.len() < content.len() || content.is_empty()));
            let (_, end) = streamed(&coded(coding), &[&body[..], b"\xffbehind"].concat(), &lengths);
            prop_assert_eq!(end, Err(Undecodable::Damaged), "{}", coding);
            let mut changed = body.clone();
            changed[cut] ^= flip;
            _ = streamed(&coded(coding), &changed, &lengths);
        }
    }
}

/// Fails when the end of what has come waits for what follows.
#[test]
fn what_was_flushed_comes_at_once() {
    fn flushed(name: &str, mut encoder: impl Write, coded: impl Fn() -> Vec<u8>) {
        let mut decoder = Decoder::new(&[Coding::parse(name).unwrap()]);
        let mut known = 0;
        for event in ["data: 1\n\n", "data: 2\n\n", &"x".repeat(100_000)] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let coded = coded();
            decoder.push(Bytes::copy_from_slice(&coded[known..]));
            known = coded.len();
            let mut seen = Vec::new();
            while let Decoded::Content(bytes) = decoder.next_content().unwrap() {
                seen.extend_from_slice(&bytes);
            }
            assert!(seen == event.as_bytes(), "{name}");
            // Whoever asks again gets the same answer, however often.
            for _ in 0..100 {
                assert_eq!(decoder.next_content(), Ok(Decoded::Hungry));
            }
        }
    }
    let level = flate2::Compression::fast();
    let sink = Sink::default;
    let (gzip, zlib, raw, zstd) = (sink(), sink(), sink(), sink());
    flushed("gzip", flate2::write::GzEncoder::new(gzip.clone(), level), || gzip.bytes());
    flushed("deflate", flate2::write::ZlibEncoder::new(zlib.clone(), level), || zlib.bytes());
    flushed("deflate", flate2::write::DeflateEncoder::new(raw.clone(), level), || raw.bytes());
    flushed("zstd", zstd::Encoder::new(zstd.clone(), 1).unwrap(), || zstd.bytes());
    #[cfg(feature = "emulator")]
    {
        let br = sink();
        flushed("br", brotli::CompressorWriter::new(br.clone(), 4096, 5, 20), || br.bytes());
    }
}

/// Fails when a body is not taken for whole because its end came while there was no room for all of
/// its content.
#[test]
fn the_end_is_seen_also_when_its_content_waits_for_room() {
    let parts = [20 << 10, 16 << 10].map(|bytes| vec![b'x'; bytes]);
    for mut encoder in [Compress::new(level(), false), Compress::new(level(), true)] {
        let mut decoder = Decoder::new(&[Coding::Deflate]);
        let mut length = 0;
        for (part, flush) in parts.iter().zip([FlushCompress::Sync, FlushCompress::Finish]) {
            let mut coded = Vec::with_capacity(4096);
            encoder.compress_vec(part, &mut coded, flush).unwrap();
            decoder.push(coded.into());
            while let Decoded::Content(content) = decoder.next_content().unwrap() {
                length += content.len();
            }
        }
        decoder.finish();
        assert_eq!((decoder.next_content(), length), (Ok(Decoded::End), 36 << 10));
    }
}

fn level() -> flate2::Compression {
    flate2::Compression::default()
}

#[derive(Clone, Default)]
struct Sink(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl Sink {
    fn bytes(&self) -> Vec<u8> {
        self.0.borrow().clone()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Fails when a few kilobytes of codings around nothing keep a thread busy for as long as they like.
#[test]
fn what_comes_to_nothing_for_long_is_refused() {
    let members = gzip(b"").repeat(100_000);
    for (names, body) in [("gzip", members.clone()), ("gzip, gzip", gzip(&members))] {
        assert!(names == "gzip" || body.len() < 16 * 1024);
        let (content, end) = streamed(&coded(names), &body, &[8192]);
        assert_eq!((content, end), (Vec::new(), Err(Undecodable::Damaged)), "{names}");
        let whole = decode(&coded(names), &Bytes::from(body), 1024);
        assert_eq!(whole, Err(Undecodable::Damaged), "{names}");
    }
    // What cannot be made shorter comes to something, whatever is kept back meanwhile.
    let mut state = 1_u32;
    let noise = (0..1 << 20).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise: Vec<u8> = noise.collect();
    for (names, code) in codes() {
        let body = code(&noise);
        for lengths in [body.len(), 1500] {
            let (content, end) = streamed(&coded(names), &body, &[lengths]);
            assert!(end == Ok(()) && content == noise, "{names} {lengths}");
        }
    }
    // Whoever flushes every byte sends more than it has to say.
    let mut flushed = flate2::write::DeflateEncoder::new(Vec::new(), level());
    for _ in 0..50_000 {
        flushed.write_all(b"x").unwrap();
        flushed.flush().unwrap();
    }
    let bytes = flushed.finish().unwrap();
    assert!(bytes.len() > 256 * 1024, "more than may come to nothing");
    assert_eq!(streamed(&coded("deflate"), &bytes, &[8192]), (vec![b'x'; 50_000], Ok(())));
}

/// Fails when a stream may ask for a window without bound: 16 MiB of br, 8 MiB of zstd.
#[test]
fn larger_windows_than_http_knows_are_refused() {
    // RFC 7932 section 9.1 reserves this beginning, which some take for a window of 1 GiB.
    let large = [0x11, 30, 0x0b, 0, 0, 0, 0, 0];
    assert_eq!(
        decode(&coded("br"), &Bytes::copy_from_slice(&large), 64),
        Err(Undecodable::Damaged)
    );
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&vec![7; 1 << 20]).unwrap();
    let body = Bytes::from(encoder.finish().unwrap());
    assert_eq!(decode(&coded("zstd"), &body, 1 << 21), Err(Undecodable::Damaged));
}

#[test]
fn coded_content_is_read_and_a_bomb_ends_at_the_bound() {
    let content = br#"{"error_code":105}"#;
    let decode = |coding: &str, body: &[u8], bytes_max| {
        super::decode(&coded(coding), &Bytes::copy_from_slice(body), bytes_max)
    };
    assert_eq!(decode("gzip", &gzip(content), 64).unwrap(), content);
    assert_eq!(decode("gzip, gzip", &gzip(&gzip(content)), 64).unwrap(), content);
    assert_eq!(decode("identity", content, 64).unwrap(), content);
    assert_eq!(decode("gzip", b"", 64).unwrap(), b"");
    let bomb = gzip(&vec![0; 10 << 20]);
    assert_eq!(decode("gzip", &bomb, 1 << 16), Err(Undecodable::TooLong));
    assert_eq!(decode("identity", &bomb, 64), Err(Undecodable::TooLong));
    assert_eq!(decode("gzip", b"no gzip", 64), Err(Undecodable::Damaged));
    assert_eq!(decode("compress", content, 64), Err(Undecodable::UnknownCoding));
    assert_eq!(decode("gzip, gzip, gzip, gzip", content, 64), Err(Undecodable::TooMany));
    let cut = zlib(&[b'x'; 1000]);
    assert_eq!(decode("deflate", &cut[..cut.len() / 2], 2000), Err(Undecodable::Damaged));
}

/// Fails when the beginning of a long answer cannot be judged because its end is not there.
#[test]
fn the_beginning_of_a_body_is_read() {
    let content: Vec<u8> = (0..200_000_u32).flat_map(|n| (n ^ n >> 3).to_be_bytes()).collect();
    for (coding, code) in codes().into_iter().chain([("identity", <[u8]>::to_vec as Code)]) {
        let body = Bytes::from(code(&content));
        let begun = body.slice(..body.len() - 9);
        let beginning = decode_beginning(&coded(coding), &begun, 1000).unwrap();
        assert!(content[..1000] == beginning, "{coding}");
    }
}

#[test]
fn only_codings_that_we_can_read_are_asked_for() {
    let asked = |value: &'static str| {
        let headers =
            Fields::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        accept_readable_only(&headers).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(asked("gzip, compress, deflate, br"), "gzip, deflate, br");
    assert_eq!(asked("zstd, *;q=0.1"), "zstd, gzip;q=0.1, deflate;q=0.1, br;q=0.1");
    assert_eq!(asked("GZIP ; q=0.5, identity;q=0"), "GZIP;q=0.5, identity;q=0");
    assert_eq!(asked("compress, dcz"), "identity");
    assert_eq!(asked(""), "identity");
    let none = Fields::new();
    assert_eq!(accept_readable_only(&none), None);
    assert_eq!(accept_readable(&none), "gzip, deflate, br, zstd");
}
