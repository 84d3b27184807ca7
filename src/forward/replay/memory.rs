//! The bytes of one body that are kept in memory.

/// Memory is taken in pieces of this size, or of what is still to come where that is less: what is
/// there is not moved to make room for more, but for a last piece that room came to by little.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes in pieces. All pieces but the last have [`PIECE_BYTES`].
#[derive(Default)]
pub(super) struct Memory {
    pieces: Vec<Vec<u8>>,
    length: usize,
}

impl Memory {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Adds what there is room for; what is left of `bytes` is returned.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(last) = self.pieces.last_mut() else { return bytes };
        let room = last.capacity().min(PIECE_BYTES).saturating_sub(last.len());
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        last.extend_from_slice(now);
        self.length += now.len();
        later
    }

    /// The most that [`Self::add_room`] can add at once.
    pub(super) fn room_max(&self) -> usize {
        match self.pieces.last() {
            Some(last) if last.len() < PIECE_BYTES => PIECE_BYTES - last.len(),
            _ => PIECE_BYTES,
        }
    }

    /// Makes room for `bytes` more. What there was room for must have been filled.
    pub(super) fn add_room(&mut self, bytes: usize) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE_BYTES => last.reserve_exact(bytes),
            _ => self.pieces.push(Vec::with_capacity(bytes)),
        }
    }

    /// The bytes from `position` on, up to the end of their piece; none behind the last.
    pub(super) fn from(&self, position: usize) -> &[u8] {
        let piece = self.pieces.get(position / PIECE_BYTES);
        piece.and_then(|piece| piece.get(position % PIECE_BYTES..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a byte is lost or moved where one piece ends and the next begins, or where room
    /// comes by little.
    #[test]
    fn what_was_filled_in_is_there_whatever_the_room() {
        let bytes: Vec<u8> = (0_u32..50_000).flat_map(u32::to_le_bytes).collect();
        for (room_at_once, chunk_bytes) in
            [(usize::MAX, 9_999), (usize::MAX, usize::MAX), (777, 5_000), (40_000, 65_536)]
        {
            let mut memory = Memory::default();
            for mut chunk in bytes.chunks(chunk_bytes) {
                loop {
                    chunk = memory.fill(chunk);
                    if chunk.is_empty() {
                        break;
                    }
                    memory.add_room(memory.room_max().min(room_at_once));
                }
            }
            assert_eq!(memory.length(), bytes.len());
            let (mut read, mut pieces) = (Vec::new(), 0);
            while read.len() < bytes.len() {
                let piece = memory.from(read.len());
                assert!(!piece.is_empty(), "nothing at {}", read.len());
                read.extend_from_slice(piece);
                pieces += 1;
            }
            assert!(read == bytes, "{room_at_once} {chunk_bytes}");
            assert_eq!(pieces, bytes.len().div_ceil(PIECE_BYTES));
            assert_eq!(memory.from(PIECE_BYTES + 3), &bytes[PIECE_BYTES + 3..2 * PIECE_BYTES]);
            assert!(memory.from(bytes.len()).is_empty());
        }
    }
}
