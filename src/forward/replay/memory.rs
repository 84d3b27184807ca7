//! The bytes of one body that are kept in memory.

use bytes::Bytes;

/// Memory is taken in pieces of this size, or of what is still to come where that is less: what is
/// there is not moved to make room for more, but for a last piece that room came to by little.
const PIECE_BYTES: usize = 64 * 1024;

/// A chunk of this length or more is kept as it is. What is shorter is copied, for it would keep the
/// whole buffer that it was read into, 8 KiB for a single byte. Of one whose end is not known the last
/// chunk may keep up to 512 KiB, of which it has filled so much.
const SHARED_BYTES_MIN: usize = 32 * 1024;

/// Bytes in pieces.
#[derive(Default)]
pub(super) struct Memory {
    /// In their order.
    pieces: Vec<Piece>,
    length: usize,
}

/// Some bytes, and where they begin in the body.
struct Piece {
    start: usize,
    bytes: Kept,
}

enum Kept {
    /// At most [`PIECE_BYTES`].
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Memory {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Adds what there is room for, and takes it off `chunk`.
    pub(super) fn fill(&mut self, chunk: &mut Bytes) {
        if let Some(last) = self.last() {
            let room = last.capacity().min(PIECE_BYTES).saturating_sub(last.len());
            let now = chunk.split_to(room.min(chunk.len()));
            last.extend_from_slice(&now);
            self.length += now.len();
        }
    }

    /// Whether a chunk is kept as it is, by [`Self::share`].
    pub(super) fn shares(chunk: &Bytes) -> bool {
        chunk.len() >= SHARED_BYTES_MIN
    }

    /// Adds a chunk as it is. What there was room for must have been filled.
    pub(super) fn share(&mut self, chunk: Bytes) {
        let start = self.length;
        self.length += chunk.len();
        self.pieces.push(Piece { start, bytes: Kept::Shared(chunk) });
    }

    /// The most that [`Self::add_room`] can add at once.
    pub(super) fn room_max(&self) -> usize {
        match self.pieces.last() {
            Some(Piece { bytes: Kept::Copied(last), .. }) if last.len() < PIECE_BYTES => {
                PIECE_BYTES - last.len()
            }
            _ => PIECE_BYTES,
        }
    }

    /// Makes room for `bytes` more. What there was room for must have been filled.
    pub(super) fn add_room(&mut self, bytes: usize) {
        match self.last() {
            Some(last) if last.len() < PIECE_BYTES => last.reserve_exact(bytes),
            _ => {
                let piece = Kept::Copied(Vec::with_capacity(bytes));
                self.pieces.push(Piece { start: self.length, bytes: piece });
            }
        }
    }

    /// The last piece, if it is a copy.
    fn last(&mut self) -> Option<&mut Vec<u8>> {
        match self.pieces.last_mut()? {
            Piece { bytes: Kept::Copied(last), .. } => Some(last),
            Piece { bytes: Kept::Shared(_), .. } => None,
        }
    }

    /// The bytes from `position` on, up to the end of their piece; none behind the last.
    pub(super) fn from(&self, position: usize) -> Bytes {
        let behind = self.pieces.partition_point(|piece| piece.start <= position);
        let piece = behind.checked_sub(1).and_then(|at| self.pieces.get(at));
        let Some(Piece { start, bytes }) = piece else { return Bytes::new() };
        let from = position - start;
        match bytes {
            Kept::Copied(bytes) => bytes.get(from..).map(Bytes::copy_from_slice),
            Kept::Shared(bytes) => (from < bytes.len()).then(|| bytes.slice(from..)),
        }
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills `memory` with `bytes` in chunks of these lengths, over and over.
    fn filled(bytes: &Bytes, chunks: &[usize], room_at_once: usize) -> Memory {
        let (mut memory, mut rest) = (Memory::default(), bytes.clone());
        let mut lengths = chunks.iter().cycle();
        while !rest.is_empty() {
            let mut chunk = rest.split_to((*lengths.next().unwrap()).min(rest.len()));
            loop {
                memory.fill(&mut chunk);
                if Memory::shares(&chunk) {
                    memory.share(chunk);
                    break;
                }
                if chunk.is_empty() {
                    break;
                }
                memory.add_room(memory.room_max().min(room_at_once));
            }
        }
        memory
    }

    /// Fails when a byte is lost or moved where one piece ends and the next begins, or where room
    /// comes by little.
    #[test]
    fn what_was_filled_in_is_there_whatever_the_room() {
        let bytes: Vec<u8> = (0_u32..50_000).flat_map(u32::to_le_bytes).collect();
        let bytes = Bytes::from(bytes);
        for (room_at_once, chunks) in [
            (usize::MAX, &[9_999][..]),
            (usize::MAX, &[usize::MAX]),
            (777, &[5_000]),
            (40_000, &[65_536]),
            (usize::MAX, &[1, 40_000, 31_000, 100]),
            (777, &[50_000, 1]),
        ] {
            let memory = filled(&bytes, chunks, room_at_once);
            assert_eq!(memory.length(), bytes.len());
            let (mut read, mut pieces) = (Vec::new(), 0);
            while read.len() < bytes.len() {
                let piece = memory.from(read.len());
                assert!(!piece.is_empty(), "nothing at {}", read.len());
                read.extend_from_slice(&piece);
                pieces += 1;
            }
            assert!(read == bytes, "{room_at_once} {chunks:?}");
            if chunks.iter().all(|chunk| *chunk < SHARED_BYTES_MIN) {
                assert_eq!(pieces, bytes.len().div_ceil(PIECE_BYTES));
                assert_eq!(memory.from(PIECE_BYTES + 3), bytes[PIECE_BYTES + 3..2 * PIECE_BYTES]);
            }
            for position in [0, 1, 40_000, PIECE_BYTES - 1, PIECE_BYTES, bytes.len() - 1] {
                let piece = memory.from(position);
                assert!(!piece.is_empty() && bytes[position..].starts_with(&piece), "{position}");
            }
            assert!(memory.from(bytes.len()).is_empty() && memory.from(usize::MAX).is_empty());
        }
    }

    /// Fails when a long chunk is copied, or when a short one keeps the buffer that it came in.
    #[test]
    fn long_chunks_are_kept_as_they_are_and_short_ones_are_copied() {
        let bytes = Bytes::from(vec![7; 4 * SHARED_BYTES_MIN]);
        let is_within = |piece: &Bytes| bytes.as_ptr_range().contains(&piece.as_ptr());
        let memory = filled(&bytes, &[SHARED_BYTES_MIN - 1, SHARED_BYTES_MIN * 3], usize::MAX);
        assert!(!is_within(&memory.from(0)));
        assert!(is_within(&memory.from(PIECE_BYTES)) && is_within(&memory.from(PIECE_BYTES + 9)));
        let short = filled(&bytes, &[SHARED_BYTES_MIN - 1], usize::MAX);
        assert!(!(0..bytes.len()).step_by(999).any(|position| is_within(&short.from(position))));
    }
}
