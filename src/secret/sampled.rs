//! Finds texts of one length in a long one without a look at every place of it: each of them has a
//! whole sample at one of so many places in a row, so it is enough to look at every so manieth. How
//! long that takes tells a little of what a text has in common with them, as with any search that
//! passes most of a text over.

use zeroize::Zeroizing;

/// How much is looked at at a place.
const SAMPLE_BYTES: usize = 4;

/// No text may be shorter: between two places is room for what is looked at.
pub(super) const ANCHOR_BYTES_MIN: usize = 2 * SAMPLE_BYTES - 1;

/// Words of the filter, 2 KiB: enough for what a session has to be searched for.
const WORDS: usize = 256;

/// Spreads what is alike over the upper bits (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Anchors to be found.
pub(super) struct Sampled {
    /// Two bits for each sample, in one word: most places of most texts are passed over by a look at
    /// the first.
    filter: Box<Zeroizing<[u64; WORDS]>>,
    /// Sorted by their bytes. Both are wiped, as what they are of is.
    samples: Zeroizing<Vec<Sample>>,
    /// How far from one place to the next: wherever an anchor begins, exactly one of the places holds
    /// one of its samples.
    stride: usize,
}

/// The bytes of a sample, the number of its anchor, and where it stands in that.
type Sample = (u32, u32, u8);

/// Where the filter has a sample.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    #[inline(always)]
    fn of(bytes: u32) -> Self {
        Self(u64::from(bytes).wrapping_mul(SPREAD))
    }

    #[inline(always)]
    fn word(self) -> usize {
        (self.0 >> (u64::BITS - WORDS.trailing_zeros())) as usize
    }

    #[inline(always)]
    fn bit(self) -> u64 {
        self.0 >> 50 & 63
    }

    fn other_bit(self) -> u64 {
        self.0 >> 44 & 63
    }
}

impl Sampled {
    /// Of these anchors, which are so many bytes long, [`ANCHOR_BYTES_MIN`] to 256; the longer they are, the fewer places have to
    /// be looked at.
    pub(super) fn new<'a>(anchors: impl Iterator<Item = &'a [u8]>, length: usize) -> Self {
        let anchors: Vec<_> = anchors.collect();
        let stride = length + 1 - SAMPLE_BYTES;
        // All the room that it needs: what grows leaves copies behind.
        let mut samples = Zeroizing::new(Vec::with_capacity(anchors.len() * stride));
        let mut filter = Box::new(Zeroizing::new([0; WORDS]));
        for (number, anchor) in (0..).zip(anchors) {
            for (offset, sample) in (0..).zip(anchor.windows(SAMPLE_BYTES).take(stride)) {
                let Some(bytes) = read(sample) else { continue };
                samples.push((bytes, number, offset));
                let place = Place::of(bytes);
                let bits = 1 << place.bit() | 1 << place.other_bit();
                filter.get_mut(place.word()).into_iter().for_each(|word: &mut u64| *word |= bits);
            }
        }
        samples.sort_unstable();
        Self { filter, samples, stride }
    }

    /// The first place at `from` or behind it where an anchor begins, and which it is. `is_there`
    /// says whether one begins at a place.
    pub(super) fn next(
        &self,
        text: &[u8],
        from: usize,
        is_there: impl Fn(usize, usize) -> bool,
    ) -> Option<(usize, usize)> {
        let stride = self.stride;
        let first = from + stride - 1;
        let rest = text.get(first..)?;
        let stretches = rest.chunks_exact(stride);
        let (last_at, last) = (first + rest.len() / stride * stride, stretches.remainder());
        let found = stretches.enumerate().find_map(|(number, stretch)| {
            self.anchor_at(|| first + number * stride, stretch, &is_there)
        });
        found.or_else(|| self.anchor_at(|| last_at, last, &is_there))
    }

    /// Of the anchors that have the sample with which `stretch` begins, the one that begins first.
    #[inline(always)]
    fn anchor_at(
        &self,
        at: impl FnOnce() -> usize,
        stretch: &[u8],
        is_there: impl Fn(usize, usize) -> bool,
    ) -> Option<(usize, usize)> {
        let bytes = read(stretch)?;
        let place = Place::of(bytes);
        let word = *self.filter.get(place.word())?;
        match word >> place.bit() & 1 {
            0 => None,
            _ => self.anchor_with(at(), bytes, is_there),
        }
    }

    /// The same of a sample whose first bit is set.
    #[cold]
    fn anchor_with(
        &self,
        at: usize,
        bytes: u32,
        is_there: impl Fn(usize, usize) -> bool,
    ) -> Option<(usize, usize)> {
        if !self.may_have(bytes) {
            return None;
        }
        let begin = self.samples.partition_point(|(other, ..)| *other < bytes);
        let samples = self.samples.iter().skip(begin).take_while(|(other, ..)| *other == bytes);
        let anchors = samples.filter_map(|(_, number, offset)| {
            let number = usize::try_from(*number).ok()?;
            let start = at.checked_sub(usize::from(*offset))?;
            is_there(start, number).then_some((start, number))
        });
        anchors.min()
    }

    /// Whether both bits of a sample are set.
    fn may_have(&self, bytes: u32) -> bool {
        let place = Place::of(bytes);
        let word = self.filter.get(place.word()).copied().unwrap_or_default();
        word >> place.bit() & word >> place.other_bit() & 1 == 1
    }
}

/// The bytes of a sample; nothing where there are too few.
fn read(text: &[u8]) -> Option<u32> {
    text.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Of one length, from the shortest on.
    fn anchors() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = || prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()];
        (ANCHOR_BYTES_MIN..=40).prop_flat_map(move |length| vec(vec(byte(), length), 1..40))
    }

    proptest! {
        /// Fails when an anchor is passed over, wherever it stands and whatever stands around it, or
        /// when one is found that is not the first.
        #[test]
        fn the_first_anchor_is_found_wherever_it_begins(
            anchors in anchors(),
            parts in vec((vec(prop_oneof![Just(b'a'), Just(b'b')], 0..40), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..8),
        ) {
            let mut text = Vec::new();
            for (noise, anchor, length) in parts {
                text.extend(noise);
                let anchor = anchor.get(&anchors);
                text.extend(&anchor[..length.index(anchor.len() + 1)]);
            }
            let sampled = Sampled::new(anchors.iter().map(Vec::as_slice), anchors[0].len());
            let is_there = |start: usize, number: usize| text[start..].starts_with(&anchors[number]);
            for from in 0..=text.len() + 1 {
                let found = sampled.next(&text, from, is_there).map(|(start, _)| start);
                let begins = |start: &usize| anchors.iter().any(|anchor| text[*start..].starts_with(anchor));
                prop_assert_eq!(found, (from..text.len()).find(begins), "from {}", from);
            }
        }
    }

    /// Fails when most places of a text are looked at twice.
    #[test]
    fn most_places_are_passed_over() {
        for (count, twice_max) in [(1_u64, 100), (5, 200), (20, 1_500), (50, 5_000)] {
            let part = |n: u64, turn| n.wrapping_mul(SPREAD.rotate_left(turn)).to_le_bytes();
            let anchor = |n| [0, 9, 18, 27].map(|turn| part(n, turn)).concat();
            let anchors: Vec<_> = (1..=count).map(anchor).collect();
            let sampled = Sampled::new(anchors.iter().map(Vec::as_slice), 32);
            let looked_at = |n: &u32| sampled.may_have(n.wrapping_mul(0x85eb_ca6b));
            let twice = (0..100_000).filter(looked_at).count();
            assert!(twice <= twice_max, "{count} anchors: {twice}");
        }
    }
}
