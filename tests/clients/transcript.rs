//! Recorded HTTP/1.1 answers made readable: chunks joined and compression undone, so that a search
//! finds a value wherever the server hid it.

use std::io::Read;

/// Heads and plain bodies of all the answers in `received`, one after the other. Panics on bytes
/// that are not a sequence of whole HTTP/1.1 answers: a search in half of them would prove nothing.
pub fn plain_answers(mut received: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !received.is_empty() {
        let (answer, rest) = Answer::take(received);
        plain.extend_from_slice(answer.head.as_bytes());
        plain.extend_from_slice(&answer.plain_body());
        received = rest;
    }
    plain
}

struct Answer<'a> {
    head: &'a str,
    body: Vec<u8>,
}

impl<'a> Answer<'a> {
    fn take(bytes: &'a [u8]) -> (Answer<'a>, &'a [u8]) {
        let end = find(bytes, b"\r\n\r\n").expect("an answer's head is whole") + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("an answer's head is text");
        assert!(head.starts_with("HTTP/1."), "not an answer: {head:?}");
        let rest = &bytes[end..];
        let answer = Answer { head, body: Vec::new() };
        if answer.status() < 200 || [204, 304].contains(&answer.status()) {
            return (answer, rest);
        }
        let chunked = answer.header("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let (body, rest) = if chunked {
            take_chunks(rest)
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            assert!(length <= rest.len(), "a body is cut: {} of {length} bytes", rest.len());
            (rest[..length].to_vec(), &rest[length..])
        } else {
            (rest.to_vec(), &rest[rest.len()..])
        };
        (Answer { body, ..answer }, rest)
    }

    fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status line")
    }

    fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    }

    fn plain_body(&self) -> Vec<u8> {
        let codings = self.header("content-encoding").unwrap_or_default();
        let codings: Vec<&str> = codings.split(',').map(str::trim).collect();
        codings.iter().rev().fold(self.body.clone(), |body, coding| plain(coding, &body))
    }
}

/// The content of a body in one coding.
fn plain(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match coding {
        "" | "identity" => return body.to_vec(),
        "gzip" | "x-gzip" => flate2::read::MultiGzDecoder::new(body).read_to_end(&mut plain),
        // In the zlib format, or raw.
        "deflate" if body.first().is_some_and(|first| first & 0x0f == 8) => {
            flate2::read::ZlibDecoder::new(body).read_to_end(&mut plain)
        }
        "deflate" => flate2::read::DeflateDecoder::new(body).read_to_end(&mut plain),
        "br" => brotli_decompressor::Decompressor::new(body, 4096).read_to_end(&mut plain),
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_end(&mut plain),
        other => panic!("content encoding {other} cannot be searched"),
    };
    read.unwrap_or_else(|error| panic!("a body is no {coding}: {error}"));
    plain
}

fn take_chunks(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let end = find(bytes, b"\r\n").expect("a chunk's size line is whole");
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = line.split(';').next().unwrap().trim();
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[..size]);
        assert_eq!(&bytes[size..size + 2], b"\r\n", "a chunk ends with a line break");
        bytes = &bytes[size + 2..];
    }
    // Trailers, up to the empty line.
    loop {
        let end = find(bytes, b"\r\n").expect("the trailers are whole");
        bytes = &bytes[end + 2..];
        if end == 0 {
            return (body, bytes);
        }
    }
}

/// The position of the first `needle` in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[test]
fn a_value_is_found_across_chunks_and_inside_gzip() {
    use std::io::Write;

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"the secret in gzip").unwrap();
    let gzip = gzip.finish().unwrap();
    let mut received = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        7\r\nthe sec\r\n8;x=y\r\nret in c\r\n5\r\nhunks\r\n0\r\ntrailer: 1\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nContent-Length: "
        .to_vec();
    received.extend_from_slice(format!("{}\r\n\r\n", gzip.len()).as_bytes());
    received.extend_from_slice(&gzip);
    let plain = plain_answers(&received);
    assert!(find(&plain, b"secret in chunks").is_some());
    assert!(find(&plain, b"secret in gzip").is_some());
    let codings: [(&str, Vec<u8>); 3] = [
        ("zstd", zstd::encode_all(&b"the secret"[..], 1).unwrap()),
        ("gzip, zstd", zstd::encode_all(&gzip[..], 1).unwrap()),
        (
            "deflate",
            vec![1, 10, 0, 0xf5, 0xff, b't', b'h', b'e', b' ', b's', b'e', b'c', b'r', b'e', b't'],
        ),
    ];
    for (coding, body) in codings {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n");
        let plain = plain_answers(&[head.as_bytes(), &body].concat());
        assert!(find(&plain, b"the secret").is_some(), "{coding}");
    }
}
