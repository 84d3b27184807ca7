//! Content codings as upstreams make them.

use std::io::Write;

/// Puts content into a coding.
pub type Code = fn(&[u8]) -> Vec<u8>;

/// Every coding that Doorward takes off, by its name in `Content-Encoding`.
pub const CODINGS: [(&str, Code); 9] = [
    ("gzip", gzip),
    ("x-gzip", gzip),
    ("deflate", deflate),
    ("deflate", deflate_raw),
    ("br", brotli),
    ("zstd", zstd),
    ("gzip, br", |body| brotli(&gzip(body))),
    ("zstd, deflate, gzip", |body| gzip(&deflate(&zstd(body)))),
    ("Identity,GZIP", gzip),
];

pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Without the zlib format around it, as some servers send it.
pub fn deflate_raw(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub fn brotli(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    brotli::CompressorWriter::new(&mut coded, 4096, 5, 20).write_all(body).unwrap();
    coded
}

pub fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(body, 3).unwrap()
}
