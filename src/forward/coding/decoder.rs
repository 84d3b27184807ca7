//! Decodes a body as it streams. Nothing is decoded before it is asked for, so whoever reads slowly
//! slows the upstream down; a body that expands a thousandfold costs no more memory than another.

use bytes::{Buf, Bytes, BytesMut};

use super::step::{Extent, Step, Steps};
use super::{Coding, Undecodable};

/// How much is decoded at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// Room below which new room is made.
const ROOM_BYTES_MIN: usize = 4 * 1024;

/// How many bytes in a row may come to nothing. Codings of nothing around each other would else
/// keep a thread busy for hours at the cost of a few kilobytes.
const FRUITLESS_BYTES_MAX: usize = 256 * 1024;

/// How many bytes one byte of content makes up for: whoever flushes each byte sends about so many.
const BYTES_PER_BYTE: usize = 16;

/// A body in one or more codings. Bytes in, content out.
#[derive(Debug)]
pub struct Decoder {
    /// In the order in which they are taken off.
    layers: Vec<Layer>,
    input: Input,
    read_bytes: u64,
}

/// What comes of a [`Decoder`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next bytes of the content; never empty.
    Content(Bytes),
    /// It needs the next bytes of the body.
    Hungry,
    /// The content has ended, where the body did.
    End,
}

/// What waits to be decoded.
#[derive(Debug, Default)]
struct Input {
    bytes: Bytes,
    has_ended: bool,
}

#[derive(Debug)]
struct Layer {
    steps: Steps,
    input: Input,
    /// Whether any byte has come.
    has_begun: bool,
    /// Whether all that has come was decoded.
    is_drained: bool,
    /// How many bytes have come to nothing, less what content has made up for.
    fruitless: usize,
    room: BytesMut,
}

impl Decoder {
    /// Takes these codings off, the last one first.
    pub fn new(codings: &[Coding]) -> Self {
        let layers = codings.iter().rev().map(|coding| Layer::new(*coding)).collect();
        Self { layers, input: Input::default(), read_bytes: 0 }
    }

    /// Takes the next bytes of the body, after [`Decoded::Hungry`].
    pub fn push(&mut self, chunk: Bytes) {
        self.read_bytes += chunk.len() as u64;
        self.input.bytes = chunk;
    }

    /// The body has ended.
    pub fn finish(&mut self) {
        self.input.has_ended = true;
    }

    /// How many bytes of the body have come.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next bytes of the content.
    ///
    /// # Errors
    /// When the body is not what its codings say, or ended too early. Nothing more comes then.
    pub fn next_content(&mut self) -> Result<Decoded, Undecodable> {
        pull(&mut self.layers, &mut self.input)
    }
}

/// The next bytes of the last layer, made of what the others give it.
fn pull(layers: &mut [Layer], input: &mut Input) -> Result<Decoded, Undecodable> {
    let Some((layer, before)) = layers.split_last_mut() else {
        let bytes = std::mem::take(&mut input.bytes);
        return Ok(match (bytes.is_empty(), input.has_ended) {
            (false, _) => Decoded::Content(bytes),
            (true, true) => Decoded::End,
            (true, false) => Decoded::Hungry,
        });
    };
    loop {
        if let Some(content) = layer.step()? {
            return Ok(Decoded::Content(content));
        }
        if layer.input.has_ended {
            // Some servers say a coding of an empty body, too.
            let is_whole = layer.steps.extent() == Extent::Whole || !layer.has_begun;
            return if is_whole { Ok(Decoded::End) } else { Err(Undecodable::Damaged) };
        }
        match pull(before, input)? {
            Decoded::Content(bytes) => layer.take(bytes),
            Decoded::Hungry => return Ok(Decoded::Hungry),
            Decoded::End => layer.input.has_ended = true,
        }
    }
}

impl Layer {
    fn new(coding: Coding) -> Self {
        Self {
            steps: Steps::of(coding),
            input: Input::default(),
            has_begun: false,
            is_drained: true,
            fruitless: 0,
            room: BytesMut::new(),
        }
    }

    fn take(&mut self, bytes: Bytes) {
        self.input.bytes = bytes;
        (self.has_begun, self.is_drained) = (true, false);
    }

    /// The next piece of content; nothing when all that has come is decoded.
    fn step(&mut self) -> Result<Option<Bytes>, Undecodable> {
        while !self.is_drained {
            if self.room.len() < ROOM_BYTES_MIN {
                self.room = BytesMut::zeroed(PIECE_BYTES);
            }
            // br takes all that it is given before it shows the content of it.
            let input = &self.input.bytes;
            let input = input.get(..PIECE_BYTES).unwrap_or(input);
            let Step { read, written } = self.steps.step(input, &mut self.room)?;
            self.input.bytes.advance(read);
            self.fruitless = (self.fruitless + read).saturating_sub(written * BYTES_PER_BYTE);
            if self.fruitless > FRUITLESS_BYTES_MAX {
                return Err(Undecodable::Damaged);
            }
            if written > 0 {
                return Ok(Some(self.room.split_to(written).freeze()));
            }
            if read == 0 {
                // There is room, and it is not taken: it stands behind the end.
                if !self.input.bytes.is_empty() {
                    return Err(Undecodable::Damaged);
                }
                self.is_drained = true;
            }
        }
        Ok(None)
    }
}
