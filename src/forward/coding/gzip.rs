//! The frame of gzip (RFC 1952): members one after the other, each with a head and a checksum.

use flate2::{Crc, Decompress};

use super::Undecodable;
use super::step::{Extent, Step, inflate_step};

/// How a member begins: the format, and the method deflate.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Magic, flags, time, extra flags, system.
const FIXED_BYTES: usize = 10;

/// The checksum and the length.
const END_BYTES: usize = 8;

const HEAD_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Members of gzip.
pub(super) struct Gzip {
    at: At,
    /// The parts of the head that are still to come.
    flags: u8,
    /// What has come of a part of known length.
    bytes: [u8; FIXED_BYTES],
    inflate: Decompress,
    checksum: Crc,
}

/// Which part of a member comes next, and how much of it was there.
#[derive(Clone, Copy, Debug)]
enum At {
    Fixed(usize),
    ExtraLength(usize),
    Extra(usize),
    Text,
    HeadChecksum(usize),
    Body,
    End(usize),
    /// Behind a member.
    Between,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            at: At::Fixed(0),
            flags: 0,
            bytes: [0; FIXED_BYTES],
            inflate: Decompress::new(false),
            checksum: Crc::new(),
        }
    }
}

impl Gzip {
    pub(super) fn extent(&self) -> Extent {
        if matches!(self.at, At::Between) { Extent::Whole } else { Extent::Part }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Undecodable> {
        let mut read = 0;
        loop {
            let rest = input.get(read..).unwrap_or_default();
            if let At::Body = self.at {
                let (step, extent) = inflate_step(&mut self.inflate, rest, output)?;
                self.checksum.update(output.get(..step.written).unwrap_or_default());
                if extent == Extent::Whole {
                    self.at = At::End(0);
                }
                read += step.read;
                if step.written > 0 || step.read == 0 && extent == Extent::Part {
                    return Ok(Step { read, written: step.written });
                }
                continue;
            }
            let Some(byte) = rest.first() else { return Ok(Step { read, written: 0 }) };
            if let At::Between = self.at {
                self.begin();
            }
            self.at = self.take(*byte)?;
            read += 1;
        }
    }

    /// Begins another member. Its tables are those of the one before: a body may have a member for
    /// every twenty bytes.
    fn begin(&mut self) {
        self.at = At::Fixed(0);
        self.inflate.reset(false);
        self.checksum.reset();
    }

    /// Takes one byte of the frame.
    fn take(&mut self, byte: u8) -> Result<At, Undecodable> {
        Ok(match self.at {
            At::Fixed(known) => {
                self.keep(known, byte);
                if MAGIC.get(known).is_some_and(|magic| *magic != byte) {
                    return Err(Undecodable::Damaged);
                }
                if known + 1 < FIXED_BYTES {
                    return Ok(At::Fixed(known + 1));
                }
                let [_, _, _, flags, ..] = self.bytes;
                if flags & RESERVED != 0 {
                    return Err(Undecodable::Damaged);
                }
                self.flags = flags;
                self.next_part()
            }
            At::ExtraLength(known) => {
                self.keep(known, byte);
                let [low, high, ..] = self.bytes;
                match known {
                    0 => At::ExtraLength(1),
                    _ => self.extra(usize::from(u16::from_le_bytes([low, high]))),
                }
            }
            At::Extra(left) => self.extra(left - 1),
            At::Text if byte != 0 => At::Text,
            At::HeadChecksum(0) => At::HeadChecksum(1),
            At::Text | At::HeadChecksum(_) => self.next_part(),
            At::End(known) => {
                self.keep(known, byte);
                if known + 1 < END_BYTES {
                    return Ok(At::End(known + 1));
                }
                let expected = [self.checksum.sum(), self.checksum.amount()];
                if !self.bytes.starts_with(&expected.map(u32::to_le_bytes).concat()) {
                    return Err(Undecodable::Damaged);
                }
                At::Between
            }
            at @ (At::Body | At::Between) => at,
        })
    }

    fn keep(&mut self, place: usize, byte: u8) {
        self.bytes.get_mut(place).into_iter().for_each(|kept| *kept = byte);
    }

    fn extra(&mut self, left: usize) -> At {
        if left > 0 { At::Extra(left) } else { self.next_part() }
    }

    /// The next part of the head, in their order; the checksum of a head is not verified, as by
    /// most: what follows has one.
    fn next_part(&mut self) -> At {
        let parts = [
            (EXTRA, At::ExtraLength(0)),
            (NAME, At::Text),
            (COMMENT, At::Text),
            (HEAD_CHECKSUM, At::HeadChecksum(0)),
        ];
        for (flag, part) in parts {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return part;
            }
        }
        At::Body
    }
}
