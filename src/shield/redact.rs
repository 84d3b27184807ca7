//! The last line: secrets are replaced in bodies as they stream, wherever chunks begin and end.
//!
//! Every byte of every form becomes [`MARK`], so lengths stay true. A chunk without a secret passes
//! as it is, without a copy. Only an end that could still become a secret by the kind of its bytes is
//! held back ([`Search::open_end`] says why): an event does not wait for the next one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::secret::Search;

/// Stands in place of each byte of a secret. It needs no escape in JSON, XML, forms and text, and in
/// base64 it is no letter: whoever decodes what it was in is told, not misled.
pub const MARK: u8 = b'*';

/// Replaces secrets in one body. Bytes in, bytes out.
#[derive(Debug)]
pub struct Redactor {
    search: Arc<Search>,
    /// The end of what came in that could become a secret; shorter than the longest piece.
    held: Vec<u8>,
    /// The same as it is to be shown, as far as is known.
    shown: Vec<u8>,
    /// Where the next byte is in the body.
    position: u64,
    count: Count,
}

/// What may be passed on, in this order; either may be empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What was held back before.
    pub before: Bytes,
    /// What has come in now.
    pub now: Bytes,
}

/// How many stretches were replaced.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    stretches: u64,
    /// Where the last one ends in the body.
    end: u64,
}

impl Redactor {
    /// Searches a new body.
    pub fn new(search: Arc<Search>) -> Self {
        let (held, shown) = (Vec::new(), Vec::new());
        Self { search, held, shown, position: 0, count: Count::default() }
    }

    /// What is searched for.
    pub fn secrets(&self) -> &Search {
        &self.search
    }

    /// How many stretches of the body have been replaced so far.
    pub fn redacted(&self) -> u64 {
        self.count.stretches
    }

    /// How many bytes are held back.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Takes the body's next chunk.
    pub fn push(&mut self, chunk: Bytes) -> Passed {
        if self.held.is_empty() {
            return Passed { before: Bytes::new(), now: self.fresh(chunk, 0) };
        }
        let known = self.held.len();
        // What begins in the held part ends in what follows it here.
        let reach = chunk.len().min(self.search.longest());
        let near = chunk.get(..reach).unwrap_or_default();
        self.held.extend_from_slice(near);
        self.shown.extend_from_slice(near);
        let is_all = reach == chunk.len();
        let begin = self.position - known as u64;
        let open = if is_all { self.search.open_end(&self.held) } else { known };
        // Unless all of the chunk is held back, what begins in it is found there.
        let ends_before = if open < known { self.held.len() } else { known };
        let (mut from, mut covered) = (0, 0);
        while let Some(hit) = self.search.next(&self.held, from)
            && hit.start < ends_before
        {
            cover(&mut self.shown, hit.start, hit.end);
            self.count.add(begin + hit.start as u64, begin + hit.end as u64);
            covered = covered.max(hit.end);
            from = hit.start + 1;
        }
        if open >= known {
            let before = self.shown.get(..known).map(Bytes::copy_from_slice).unwrap_or_default();
            self.held.clear();
            self.shown.clear();
            return Passed { before, now: self.fresh(chunk, covered.saturating_sub(known)) };
        }
        self.position += chunk.len() as u64;
        let before = self.shown.get(..open).map(Bytes::copy_from_slice).unwrap_or_default();
        self.held.drain(..open);
        self.shown.drain(..open);
        Passed { before, now: Bytes::new() }
    }

    /// Takes the body's last chunk. Behind it nothing becomes a secret: all of it may be passed on at
    /// once, unless something is held back before it.
    pub fn push_last(&mut self, chunk: Bytes) -> Passed {
        if !self.held.is_empty() {
            return self.push(chunk);
        }
        let masked = masked(&self.search, &chunk, 0, self.position, &mut self.count);
        self.position += chunk.len() as u64;
        Passed { before: Bytes::new(), now: masked.unwrap_or(chunk) }
    }

    /// The body has ended: what was held back has not become a secret.
    pub fn finish(&mut self) -> Bytes {
        self.held.clear();
        Bytes::from(std::mem::take(&mut self.shown))
    }

    /// A chunk before which nothing is held, of which the first bytes may belong to a secret that
    /// began before it.
    fn fresh(&mut self, mut chunk: Bytes, covered: usize) -> Bytes {
        let original = chunk.clone();
        if let Some(masked) =
            masked(&self.search, &original, covered, self.position, &mut self.count)
        {
            chunk = masked;
        }
        self.position += original.len() as u64;
        let open = self.search.open_end(&original);
        if open < original.len() {
            self.held.extend_from_slice(original.get(open..).unwrap_or_default());
            self.shown.extend_from_slice(chunk.get(open..).unwrap_or_default());
            chunk.truncate(open);
        }
        chunk
    }
}

/// Replaces every secret in a whole body; tells how many stretches were replaced.
pub fn redact(search: &Search, body: &Bytes) -> Option<(Bytes, u64)> {
    let mut count = Count::default();
    masked(search, body, 0, 0, &mut count).map(|masked| (masked, count.stretches))
}

/// A copy of `text` without its secrets and its first `covered` bytes; nothing if there is nothing
/// to be replaced.
fn masked(
    search: &Search,
    text: &[u8],
    covered: usize,
    position: u64,
    count: &mut Count,
) -> Option<Bytes> {
    let mut copy = None;
    let copied = |copy: &mut Option<BytesMut>, start, end| {
        cover(copy.get_or_insert_with(|| BytesMut::from(text)), start, end);
    };
    if covered > 0 {
        copied(&mut copy, 0, covered);
    }
    let mut from = 0;
    while let Some(hit) = search.next(text, from) {
        copied(&mut copy, hit.start, hit.end);
        count.add(position + hit.start as u64, position + hit.end as u64);
        from = hit.start + 1;
    }
    copy.map(BytesMut::freeze)
}

fn cover(text: &mut [u8], start: usize, end: usize) {
    text.get_mut(start..end).unwrap_or_default().fill(MARK);
}

impl Count {
    /// What overlaps the last stretch makes it longer.
    fn add(&mut self, start: u64, end: u64) {
        if self.stretches == 0 || start > self.end {
            self.stretches += 1;
        }
        self.end = self.end.max(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::properties::whatever_the_chunks;
    use super::*;
    use crate::secret::{PIECE_BYTES_MAX, SecretText};

    const TOKEN: &str = "blt0123456789abcdef";

    fn secrets(texts: &[String]) -> Vec<SecretText> {
        texts.iter().cloned().map(SecretText::from).collect()
    }

    fn redactor(secrets: &[SecretText]) -> Redactor {
        Redactor::new(Arc::new(Search::new(secrets.iter())))
    }

    /// What has been passed on after each chunk, and at the end.
    fn passed(redactor: &mut Redactor, chunks: &[Bytes]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut stages = Vec::new();
        for chunk in chunks {
            let Passed { before, now } = redactor.push(chunk.clone());
            out.extend_from_slice(&before);
            out.extend_from_slice(&now);
            stages.push(out.clone());
        }
        out.extend_from_slice(&redactor.finish());
        stages.push(out);
        stages
    }

    fn chunks(text: &[u8], lengths: &[usize]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(text);
        let mut lengths = lengths.iter().cycle();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = *lengths.next().unwrap();
            chunks.push(rest.split_to(length.min(rest.len())));
        }
        chunks
    }

    /// Secrets of few letters, so that they overlap and begin alike, and a text of their parts.
    fn case() -> impl Strategy<Value = (Vec<String>, Vec<u8>, Vec<usize>)> {
        let secrets = vec("[ab]{16,24}|(ab){8,10}|a{16,20}|[a-c/+é-]{16,40}", 1..5);
        secrets.prop_flat_map(|texts| {
            let forms: Vec<String> = secrets_forms(&texts);
            let part = (any::<prop::sample::Index>(), 0.0..1.3_f64).prop_map(move |(form, cut)| {
                let form = form.get(&forms).as_bytes();
                form[..((form.len() as f64 * cut) as usize).min(form.len())].to_vec()
            });
            let noise = "[ab]{0,6}|[ -~]{0,40}".prop_map(String::into_bytes);
            let text = vec(prop_oneof![part, noise], 0..12).prop_map(|parts| parts.concat());
            let lengths = prop_oneof![Just(vec![1]), vec(1..60_usize, 1..12)];
            (Just(texts), text, lengths)
        })
    }

    fn secrets_forms(texts: &[String]) -> Vec<String> {
        let forms = secrets(texts).into_iter().flat_map(|secret| secret.forms());
        forms.map(|form| form.expose().to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Fails when chunks change what is replaced, when a byte of a secret passes, when another
        /// one does not, and when more is held back than a secret is long, or less than its
        /// beginning.
        #[test]
        fn whatever_the_chunks_exactly_the_secrets_are_replaced((texts, text, lengths) in case()) {
            whatever_the_chunks(&secrets(&texts), &chunks(&text, &lengths));
        }

        /// Fails when the pieces of a long secret leave something of it.
        #[test]
        fn a_long_secret_is_replaced_whole(length in 1..5 * PIECE_BYTES_MAX, chunk in 1..3000_usize) {
            let long = (0..).flat_map(|n| format!("{n:x}.").into_bytes()).take(length + 16).collect();
            let long = String::from_utf8(long).unwrap();
            let secrets = secrets(std::slice::from_ref(&long));
            let mut redactor = redactor(&secrets);
            let text = format!("before {long} after");
            let stages = passed(&mut redactor, &chunks(text.as_bytes(), &[chunk]));
            let expected = format!("before {} after", "*".repeat(long.len()));
            prop_assert_eq!(String::from_utf8_lossy(stages.last().unwrap()), expected);
            prop_assert_eq!(redactor.redacted(), 1);
        }
    }

    #[test]
    fn a_chunk_without_a_secret_passes_without_a_copy() {
        let mut redactor = redactor(&secrets(&[TOKEN.to_owned()]));
        let chunk = Bytes::from(vec![b'.'; 1000]);
        assert_eq!(redactor.push(chunk.clone()).now.as_ptr(), chunk.as_ptr());
        let chunk = Bytes::from(format!("{}blt012345", " ".repeat(1000)));
        let now = redactor.push(chunk.clone()).now;
        assert_eq!((now.as_ptr(), now.len()), (chunk.as_ptr(), 1000));
        assert_eq!(redactor.held_bytes(), 9);
        // What was held back comes by itself; the new chunk is not copied either.
        let chunk = Bytes::from(" is another token".to_owned());
        let Passed { before, now } = redactor.push(chunk.clone());
        assert_eq!((&before[..], now.as_ptr()), (&b"blt012345"[..], chunk.as_ptr()));
    }

    /// Fails when it can be seen from what is held back how a secret begins.
    #[test]
    fn what_is_held_back_does_not_tell_a_beginning() {
        let other: String = TOKEN.chars().rev().collect();
        for text in [TOKEN, &other, "blt", "tlb", "another word", "blt0123456789abcdeX and more"] {
            for end in 0..text.len() {
                let held = [TOKEN, &other].map(|secret| {
                    let mut redactor = redactor(&secrets(&[secret.to_owned()]));
                    redactor.push(Bytes::copy_from_slice(&text.as_bytes()[..end]));
                    redactor.held_bytes()
                });
                assert_eq!(held[0], held[1], "{}", &text[..end]);
            }
        }
    }

    #[test]
    fn stretches_are_counted() {
        let mut redactor = redactor(&secrets(&[TOKEN.to_owned()]));
        let text = format!("{TOKEN} and {TOKEN}");
        passed(&mut redactor, &chunks(text.as_bytes(), &[1]));
        assert_eq!(redactor.redacted(), 2);
    }
}
