//! The search for secrets in other people's text, in each of their forms: built once, then shared
//! by all who search.

use std::fmt;
use std::ops::Range;

use super::SecretText;
use super::sampled::{ANCHOR_BYTES_MIN, Sampled};

/// Shorter values are not searched for: they would be found where they do not stand.
pub const SEARCHED_BYTES_MIN: usize = 16;

/// A longer form is searched for in pieces of this length: it bounds how much of a stream is held
/// back until it is known whether it goes on as a secret. A token that shares its beginning with
/// others (its header, its issuer) differs from them well before.
pub const PIECE_BYTES_MAX: usize = 1024;

/// The bytes of tokens, of base64 and of percent and JSON escapes.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=%\\";

/// Longer runs of one byte, such as dots that show progress, are no part of a secret, unless one
/// has them.
const RUN_BYTES_MIN: usize = 4;

/// So much of how a piece begins is looked for first, its anchor, unless the shortest is shorter. With more
/// of it a text would be searched faster, but take more places of it for something that they are not.
const ANCHOR_BYTES_MAX: usize = 32;

const _: () =
    assert!(ANCHOR_BYTES_MIN <= SEARCHED_BYTES_MIN && ANCHOR_BYTES_MAX <= PIECE_BYTES_MAX);

/// Secrets to be searched for. `Debug` shows how many pieces there are.
#[derive(Default)]
pub struct Search {
    /// Sorted by their bytes, each once; pieces with the same anchor are neighbours.
    pieces: Vec<Piece>,
    /// The pieces that begin with an anchor, by its number in `anchors`.
    anchored: Vec<Range<usize>>,
    /// Nothing where there are none.
    anchors: Option<Sampled>,
    /// How long anchors are: no piece is shorter.
    anchor_bytes: usize,
    longest: usize,
    /// For each byte whether a piece could have it.
    letters: Vec<bool>,
    /// The longest run of one byte that a piece could have.
    run_bytes_max: usize,
}

/// A form of a secret, or a part of a long one.
#[derive(Clone, PartialEq, Eq)]
struct Piece {
    form: SecretText,
    part: Range<usize>,
}

impl Search {
    /// A search for all forms of `secrets`, but for those that are too short.
    pub fn new<'s>(secrets: impl Iterator<Item = &'s SecretText>) -> Self {
        let mut known = Vec::<&SecretText>::new();
        for secret in secrets.filter(|secret| is_long_enough(secret)) {
            if !known.contains(&secret) {
                known.push(secret);
            }
        }
        let forms = known.into_iter().flat_map(SecretText::forms).filter(is_long_enough);
        Self::of(forms.flat_map(Piece::all_of).collect())
    }

    fn of(mut pieces: Vec<Piece>) -> Self {
        pieces.sort_by(|one, other| one.bytes().cmp(other.bytes()));
        pieces.dedup_by(|one, other| one.bytes() == other.bytes());
        let shortest = pieces.iter().map(|piece| piece.bytes().len()).min();
        let anchor_bytes = shortest.unwrap_or(ANCHOR_BYTES_MAX).min(ANCHOR_BYTES_MAX);
        let anchored = runs(&pieces, |piece| piece.anchor(anchor_bytes));
        let firsts = anchored.iter().filter_map(|run| pieces.get(run.start));
        let anchors = firsts.map(|piece| piece.anchor(anchor_bytes));
        let anchors = (!pieces.is_empty()).then(|| Sampled::new(anchors, anchor_bytes));
        let longest = pieces.iter().map(|piece| piece.bytes().len()).max().unwrap_or_default();
        let mut letters = vec![false; 256];
        for letter in pieces.iter().flat_map(Piece::bytes).chain(LETTERS) {
            letters.get_mut(usize::from(*letter)).into_iter().for_each(|known| *known = true);
        }
        let runs = pieces.iter().flat_map(|piece| piece.bytes().chunk_by(u8::eq));
        let run_bytes_max = runs.map(<[u8]>::len).max().unwrap_or_default().max(RUN_BYTES_MIN);
        Self { pieces, anchored, anchors, anchor_bytes, longest, letters, run_bytes_max }
    }

    /// Whether there is nothing to be searched for.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The length of the longest piece in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether a piece stands somewhere in `text`.
    pub fn is_in(&self, text: &[u8]) -> bool {
        // No piece is as short as most names of fields are.
        text.len() >= self.anchor_bytes && self.next(text, 0).is_some()
    }

    /// The first place at `from` or behind it where a piece begins, and the longest of those that
    /// begin there. Whoever asks on from one byte behind its beginning finds every byte of every
    /// piece, also where they overlap.
    pub fn next(&self, text: &[u8], mut from: usize) -> Option<Range<usize>> {
        let anchors = self.anchors.as_ref()?;
        loop {
            let is_there = |start, anchor| self.is_there(text, start, anchor);
            let (start, anchor) = anchors.next(text, from, is_there)?;
            let pieces = self.anchored.get(anchor).and_then(|run| self.pieces.get(run.clone()))?;
            let rest = text.get(start..)?;
            // Of pieces that begin another one, the longest comes last.
            if let Some(piece) = pieces.iter().rfind(|piece| rest.starts_with(piece.bytes())) {
                return Some(start..start + piece.bytes().len());
            }
            from = start + 1;
        }
    }

    /// Whether an anchor begins at `start`.
    fn is_there(&self, text: &[u8], start: usize, anchor: usize) -> bool {
        let piece = self.anchored.get(anchor).and_then(|run| self.pieces.get(run.start));
        piece
            .zip(text.get(start..))
            .is_some_and(|(piece, rest)| rest.starts_with(piece.anchor(self.anchor_bytes)))
    }

    /// Where the end of `text` begins that could become a piece with more text behind it.
    ///
    /// It is told by what kind of bytes it has, never by whether it is how a piece begins: what is
    /// held back can be seen, and whoever may choose the text would find a secret byte by byte.
    pub fn open_end(&self, text: &[u8]) -> usize {
        let bytes_max = self.longest.saturating_sub(1);
        let (mut length, mut run, mut last) = (0, 0, None);
        for byte in text.iter().rev().take(bytes_max) {
            run = if last == Some(byte) { run + 1 } else { 1 };
            let is_letter = self.letters.get(usize::from(*byte)).is_some_and(|known| *known);
            if !is_letter || run > self.run_bytes_max {
                break;
            }
            (length, last) = (length + 1, Some(byte));
        }
        text.len() - length
    }
}

impl Piece {
    fn all_of(form: SecretText) -> Vec<Self> {
        let length = form.expose().len();
        let starts = (0..length).step_by(PIECE_BYTES_MAX);
        // The last one reaches back where it would be short.
        let part = |start: usize| match start + PIECE_BYTES_MAX {
            end if end > length => length.saturating_sub(PIECE_BYTES_MAX)..length,
            end => start..end,
        };
        starts.map(|start| Self { form: form.clone(), part: part(start) }).collect()
    }

    fn bytes(&self) -> &[u8] {
        self.form.expose().as_bytes().get(self.part.clone()).unwrap_or_default()
    }

    /// How it begins.
    fn anchor(&self, bytes: usize) -> &[u8] {
        self.bytes().get(..bytes).unwrap_or_default()
    }
}

fn is_long_enough(text: &SecretText) -> bool {
    text.expose().len() >= SEARCHED_BYTES_MIN
}

/// The runs of neighbours with the same key.
fn runs(pieces: &[Piece], key: impl Fn(&Piece) -> &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let run = |run: &[Piece]| {
        let begin = start;
        start += run.len();
        begin..start
    };
    pieces.chunk_by(|one, other| key(one) == key(other)).map(run).collect()
}

impl fmt::Debug for Search {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[search for {} pieces of secrets]", self.pieces.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(secrets: &[&str]) -> Search {
        let secrets: Vec<_> =
            secrets.iter().map(|secret| SecretText::from((*secret).to_owned())).collect();
        Search::new(secrets.iter())
    }

    const TOKEN: &str = "blt0123456789abcdef";

    #[test]
    fn a_form_of_a_secret_is_found_and_a_short_one_is_not_searched_for() {
        let both = search(&[TOKEN, "short"]);
        assert_eq!(both.next(b"is blt0123456789abcdef!", 0), Some(3..22));
        let coded = data_encoding::BASE64.encode(format!("user:{TOKEN}").as_bytes());
        assert!(both.is_in(coded.as_bytes()));
        assert!(!both.is_in(b"short blt0123456789abcde"));
        assert!(search(&["short"]).is_empty());
        // What is left of it without its escapes is too short.
        assert!(!search(&["%61%62%63%64%65%66"]).is_in(b"the abcdef"));
        assert_eq!(format!("{both:?}"), "[search for 5 pieces of secrets]");
    }

    #[test]
    fn of_pieces_that_begin_alike_the_longest_is_found() {
        let long = format!("{TOKEN}-and-more");
        let both = search(&[TOKEN, &long]);
        assert_eq!(both.next(long.as_bytes(), 0), Some(0..long.len()));
        assert_eq!(both.next(format!("{TOKEN}-and-less").as_bytes(), 0), Some(0..TOKEN.len()));
    }

    #[test]
    fn every_byte_of_a_long_secret_is_part_of_a_piece() {
        let long: String = (0..PIECE_BYTES_MAX * 2 + 7).map(|n| format!("{n:x}-")).collect();
        let search = search(&[&long]);
        assert_eq!(search.longest(), PIECE_BYTES_MAX);
        let (mut from, mut covered) = (0, 0);
        while let Some(hit) = search.next(long.as_bytes(), from) {
            assert!(hit.start <= covered, "a gap before {hit:?}");
            (from, covered) = (hit.start + 1, covered.max(hit.end));
        }
        assert_eq!(covered, long.len());
    }

    #[test]
    fn an_end_is_open_by_the_kind_of_its_bytes_alone() {
        let search = search(&[TOKEN]);
        let longest = search.longest();
        for (text, open) in [
            ("data: 1\n\n", 0),
            ("{\"a\":\"b\"}", 0),
            ("token blt01", 5),
            ("token tlb10", 5),
            ("wait.........", 4),
            (&"abcd".repeat(longest), longest - 1),
        ] {
            assert_eq!(text.len() - search.open_end(text.as_bytes()), open, "{text}");
        }
    }

    #[test]
    fn many_secrets_are_found_too() {
        let secrets: Vec<String> = (0..100).map(|n| format!("{n:03}-{TOKEN}-{n}")).collect();
        let many = search(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        for secret in &secrets {
            let text = format!("{}{secret}", "x".repeat(100));
            assert_eq!(many.next(text.as_bytes(), 0), Some(100..100 + secret.len()));
        }
    }
}
