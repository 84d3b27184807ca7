//! The chunked coding of a body (RFC 9112 section 7.1), read strictly: whatever could end elsewhere
//! for somebody else is an error.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Size lines and trailers of one body may have so many bytes together beyond their digits.
const OVERHEAD_BYTES_MAX: usize = 16 * 1024;

/// What a trailer counts for beside its bytes: some hundred end a body.
const TRAILER_BYTES: usize = 128;

/// More trailers than this are not passed on, nor any of them.
const TRAILERS_MAX: usize = 64;

/// 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Takes the coding off, piece by piece.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    overhead: usize,
    /// The lines behind the last chunk.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks after a size: only an extension or the end of the line may follow.
    Blank {
        size: u64,
    },
    /// In an extension, which is passed over.
    Extension {
        size: u64,
    },
    /// After the CR of a size line.
    SizeEnd {
        size: u64,
    },
    /// In data, of which so many bytes are left.
    Data {
        left: u64,
    },
    /// After data.
    DataCr,
    DataEnd,
    /// In the trailers; `is_empty` at the beginning of a line.
    Trailer {
        is_empty: bool,
    },
    TrailerEnd {
        is_empty: bool,
    },
    End,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Data; never empty.
    Data(Bytes),
    /// Nothing before more has been read.
    NotYet,
    /// The body has ended.
    End,
}

/// A coding that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks are broken")]
pub struct BadChunk;

impl Default for Chunked {
    /// A body that has not begun.
    fn default() -> Self {
        let state = State::Size { size: 0, digits: 0 };
        Self { state, overhead: 0, trailers: Vec::new() }
    }
}

impl Chunked {
    /// The fields behind the last chunk, when the body has ended. Nothing where there are none, or
    /// one is no field.
    pub fn trailers(&self) -> Option<HeaderMap> {
        if self.trailers.len() <= b"\r\n".len() {
            return None;
        }
        let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let Ok(httparse::Status::Complete((_, fields))) =
            httparse::parse_headers(&self.trailers, &mut fields)
        else {
            return None;
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            trailers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        Some(trailers)
    }

    /// Takes the next piece out of what was read.
    ///
    /// # Errors
    /// When it is no chunked coding; the connection is in doubt from then on.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Piece, BadChunk> {
        loop {
            if let State::Data { left } = &mut self.state {
                if read.is_empty() {
                    return Ok(Piece::NotYet);
                }
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece::Data(read.split_to(length).freeze()));
            }
            if matches!(self.state, State::End) {
                return Ok(Piece::End);
            }
            let Some(&byte) = read.first() else { return Ok(Piece::NotYet) };
            let is_trailer = matches!(self.state, State::Trailer { .. } | State::TrailerEnd { .. });
            self.state = self.step(byte)?;
            if is_trailer {
                self.trailers.push(byte);
            }
            read.advance(1);
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        let counts = matches!(
            self.state,
            State::Blank { .. } | State::Extension { .. } | State::Trailer { .. }
        );
        if counts {
            // A line of trailers takes more to keep than its bytes.
            let is_line = matches!((self.state, byte), (State::Trailer { is_empty: false }, b'\r'));
            self.overhead += if is_line { TRAILER_BYTES } else { 1 };
            if self.overhead > OVERHEAD_BYTES_MAX {
                return Err(BadChunk);
            }
        }
        match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(BadChunk);
                }
                let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
                Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(BadChunk),
            (State::Size { size, .. } | State::Blank { size }, b';') => {
                Ok(State::Extension { size })
            }
            (State::Size { size, .. } | State::Blank { size }, b' ' | b'\t') => {
                Ok(State::Blank { size })
            }
            (
                State::Size { size, .. } | State::Blank { size } | State::Extension { size },
                b'\r',
            ) => Ok(State::SizeEnd { size }),
            (State::Extension { size }, _) if byte != b'\n' => Ok(State::Extension { size }),
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailer { is_empty: true }),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::Trailer { is_empty }, b'\r') => Ok(State::TrailerEnd { is_empty }),
            (State::Trailer { .. }, _) if byte != b'\n' => Ok(State::Trailer { is_empty: false }),
            (State::TrailerEnd { is_empty: true }, b'\n') => Ok(State::End),
            (State::TrailerEnd { is_empty: false }, b'\n') => Ok(State::Trailer { is_empty: true }),
            _ => Err(BadChunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All data, and what was left behind its end.
    type Whole = (Vec<u8>, Vec<u8>);

    /// The whole, if it ended.
    fn decode(parts: &[&[u8]]) -> Result<Option<Whole>, BadChunk> {
        let (mut chunked, mut read, mut data) = (Chunked::default(), BytesMut::new(), Vec::new());
        for part in parts {
            read.extend_from_slice(part);
            loop {
                match chunked.next(&mut read)? {
                    Piece::Data(piece) => data.extend_from_slice(&piece),
                    Piece::NotYet => break,
                    Piece::End => return Ok(Some((data, read.to_vec()))),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn data_is_taken_out_and_what_follows_is_left() {
        for (coded, data, left) in [
            ("0\r\n\r\n", "", ""),
            ("4\r\nhalf\r\n0\r\n\r\nHTTP", "half", "HTTP"),
            ("1;a=b;c=\"d\"\r\nx\r\n00\r\nx-trailer: 1\r\ny: 2\r\n\r\n", "x", ""),
            ("A \t;x\r\n0123456789\r\n000000000000001\r\nz\r\n0 \r\n\r\n", "0123456789z", ""),
        ] {
            let whole = decode(&[coded.as_bytes()]).unwrap().unwrap();
            assert_eq!(whole, (data.into(), left.into()), "{coded:?}");
        }
    }

    #[test]
    fn trailers_are_fields_or_nothing() {
        let trailers = |lines: &str| {
            let (mut chunked, coded) = (Chunked::default(), format!("1\r\nx\r\n0\r\n{lines}\r\n"));
            let mut read = BytesMut::from(coded.as_bytes());
            while chunked.next(&mut read).unwrap() != Piece::End {}
            chunked.trailers()
        };
        let some = trailers("a: 1\r\nB:2\r\na: 3\r\n").unwrap();
        assert_eq!((some.len(), &some["b"]), (3, &HeaderValue::from_static("2")));
        let many = "a: 1\r\n".repeat(TRAILERS_MAX + 1);
        for lines in ["", "a\r\n", " a: 1\r\n", "a : 1\r\n", ": 1\r\n", &many] {
            assert_eq!(trailers(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let extensions = format!("1;{}\r\nx", "y".repeat(OVERHEAD_BYTES_MAX));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(OVERHEAD_BYTES_MAX));
        for coded in [
            "\r\n",
            "x\r\n",
            "+1\r\nx",
            "-1\r\n",
            "0x1\r\nx",
            "1_0\r\n",
            " 1\r\nx",
            "1\nx\r\n",
            "1\rx",
            "1\r\nxx",
            "1\r\nx\n0\r\n\r\n",
            "1\r\nx\r0",
            "1 1\r\nx",
            "1;a\nb\r\nx",
            "10000000000000000\r\nx",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\n\rx",
            &extensions,
            &trailers,
        ] {
            assert_eq!(decode(&[coded.as_bytes()]), Err(BadChunk), "{coded:?}");
        }
    }

    proptest! {
        #[test]
        fn the_edges_of_what_is_read_change_nothing(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut coded = Vec::new();
            for piece in &pieces {
                coded.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                coded.extend_from_slice(piece);
                coded.extend_from_slice(b"\r\n");
            }
            coded.extend_from_slice(b"0\r\n\r\nnext");
            let mut edges: Vec<usize> = cut.iter().map(|cut| cut.index(coded.len())).collect();
            edges.sort_unstable();
            let mut parts = Vec::new();
            let mut begin = 0;
            for edge in edges.into_iter().chain([coded.len()]) {
                parts.push(&coded[begin..edge]);
                begin = edge;
            }
            let (data, _) = decode(&parts).unwrap().unwrap();
            prop_assert_eq!(data, pieces.concat());
        }

        #[test]
        fn nothing_that_comes_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            _ = decode(&[&bytes]);
        }
    }
}
