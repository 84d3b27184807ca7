//! What the search for session values costs an answer: a long body, a short one, one in a coding, and
//! its making.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may end early")]

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use doorward::forward::coding::{Coding, Decoded, Decoder};
use doorward::secret::{Search, SecretText};
use doorward::shield::Redactor;

/// A long body.
const LONG_BYTES: usize = 64 * 1024 * 1024;

/// How much of it comes at a time: what one read of a socket mostly gives.
const CHUNK_BYTES: usize = 16 * 1024;

/// A short body.
const SHORT_BYTES: usize = 1024;

/// A token, a password and a long cookie, as sessions have them.
fn secrets() -> Vec<SecretText> {
    let cookie: String = (0..80).map(|n| format!("{:010x}", n * 0x9e37_79b9_u64)).collect();
    let texts = ["blt9c41d2f0a7e35b8866d1", "correct-horse_battery.staple", &cookie];
    texts.iter().map(|text| SecretText::from((*text).to_owned())).collect()
}

/// JSON as APIs send it.
fn json() -> Vec<u8> {
    (0..400)
        .flat_map(|n: u32| {
            let hash = n.wrapping_mul(2_654_435_761);
            format!(
                "{{\"uid\":\"blt{hash:08x}{n:08x}\",\"title\":\"Entry number {n}\",\"locale\":\"en-us\",\
                 \"created_at\":\"2026-01-01T00:00:00.000Z\",\"tags\":[\"a\",\"b\"],\"_version\":{n}}},\n"
            )
            .into_bytes()
        })
        .collect()
}

/// A file in base64.
fn base64() -> Vec<u8> {
    let bytes: Vec<u8> =
        (0..48_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    data_encoding::BASE64.encode(&bytes).into_bytes()
}

/// As many bytes of `text`, over and over.
fn repeated(text: &[u8], bytes: usize) -> Bytes {
    text.iter().copied().cycle().take(bytes).collect()
}

fn search(body: Bytes, search: &Arc<Search>) -> u64 {
    let mut redactor = Redactor::new(Arc::clone(search));
    let mut rest = body;
    while !rest.is_empty() {
        let chunk = rest.split_to(CHUNK_BYTES.min(rest.len()));
        black_box(redactor.push(chunk));
    }
    black_box(redactor.finish());
    redactor.redacted()
}

/// The body in each coding, as servers make it as they go.
fn coded(body: &[u8]) -> Vec<(&'static str, Coding, Bytes)> {
    let level = flate2::Compression::default();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(body).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    zlib.write_all(body).unwrap();
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 4096, 4, 22).write_all(body).unwrap();
    vec![
        ("gzip", Coding::Gzip, gzip.finish().unwrap().into()),
        ("deflate", Coding::Deflate, zlib.finish().unwrap().into()),
        ("br", Coding::Brotli, br.into()),
        ("zstd", Coding::Zstd, zstd::stream::encode_all(body, 3).unwrap().into()),
    ]
}

/// Takes a coding off and searches what comes; its length.
fn decode(coding: Coding, body: Bytes, search: &Arc<Search>) -> usize {
    let mut decoder = Decoder::new(&[coding]);
    let mut redactor = Redactor::new(Arc::clone(search));
    let (mut rest, mut length) = (body, 0);
    loop {
        match decoder.next_content().unwrap() {
            Decoded::Content(content) => {
                length += content.len();
                black_box(redactor.push(content));
            }
            Decoded::Hungry if rest.is_empty() => decoder.finish(),
            Decoded::Hungry => decoder.push(rest.split_to(CHUNK_BYTES.min(rest.len()))),
            Decoded::End => break,
        }
    }
    black_box(redactor.finish());
    length
}

fn redact(criterion: &mut Criterion) {
    let secrets = secrets();
    let patterns = Arc::new(Search::new(secrets.iter()));
    let mut shown = json();
    shown.extend_from_slice(secrets.first().unwrap().expose().as_bytes());
    let mut group = criterion.benchmark_group("redact");
    group.sample_size(20);
    for (name, text, hits) in [
        ("JSON", json(), false),
        ("base64", base64(), false),
        ("JSON with a value every 60 KiB", shown, true),
    ] {
        let body = repeated(&text, LONG_BYTES);
        assert_eq!(search(body.clone(), &patterns) > 0, hits);
        group.throughput(Throughput::Bytes(LONG_BYTES as u64));
        group.bench_function(format!("64 MiB of {name}"), |bencher| {
            bencher.iter_batched(
                || body.clone(),
                |body| search(body, black_box(&patterns)),
                BatchSize::PerIteration,
            );
        });
    }
    group.sample_size(100);
    let body = repeated(&json(), SHORT_BYTES);
    group.throughput(Throughput::Bytes(SHORT_BYTES as u64));
    group.bench_function("1 KiB of JSON", |bencher| {
        bencher.iter(|| search(black_box(body.clone()), black_box(&patterns)));
    });
    group.finish();
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    let body = repeated(&json(), LONG_BYTES);
    for (name, coding, coded) in coded(&body) {
        assert_eq!(decode(coding, coded.clone(), &patterns), LONG_BYTES);
        group.throughput(Throughput::Bytes(LONG_BYTES as u64));
        group.bench_function(format!("64 MiB of JSON in {name}, searched"), |bencher| {
            bencher.iter(|| decode(coding, coded.clone(), black_box(&patterns)));
        });
    }
    group.finish();
    criterion.bench_function("redact/the making of a search", |bencher| {
        bencher.iter(|| Search::new(black_box(&secrets).iter()));
    });
}

criterion_group!(benches, redact);
criterion_main!(benches);
