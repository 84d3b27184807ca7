//! One content coding, decoded step by step: as much as is there goes in, as much as there is room
//! for comes out, and what has come in is never kept back for what follows.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Operation};

use super::gzip::Gzip;
use super::{Coding, Undecodable};

/// The largest window of zstd over HTTP (RFC 9659 section 3). Of gzip and deflate it is 32 KiB, of
/// br 16 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The method of the zlib format (RFC 1950 section 2.2). No raw stream begins so: it would be a
/// stored block with padding that is not zero.
const ZLIB_METHOD: u8 = 8;

/// The state of one coding.
pub(super) enum Steps {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    /// Its windows of more than 16 MiB are no part of RFC 7932; they stay closed.
    Brotli(Box<Brotli>),
    /// Nothing where there was no memory for it.
    Zstd(Option<zstd::stream::raw::Decoder<'static>>, Extent),
}

/// How much of a coded content has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// It goes on.
    Part,
    /// It may end here.
    Whole,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// Bytes that were taken.
    pub(super) read: usize,
    /// Bytes that were made.
    pub(super) written: usize,
}

/// The zlib format, or none: its first byte tells.
#[derive(Default)]
pub(super) struct Deflate {
    inflate: Option<Decompress>,
    has_ended: bool,
}

pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    has_ended: bool,
}

impl Steps {
    pub(super) fn of(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(Box::default()),
            Coding::Deflate => Self::Deflate(Deflate::default()),
            Coding::Brotli => Self::Brotli(Box::new(Brotli {
                state: BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                ),
                has_ended: false,
            })),
            Coding::Zstd => {
                let decoder = zstd::stream::raw::Decoder::new().and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
                    Ok(decoder)
                });
                Self::Zstd(decoder.ok(), Extent::Part)
            }
        }
    }

    /// Decodes some of `input` into `output`. With an empty input comes out what is still inside.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Undecodable> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(deflate) => deflate.step(input, output),
            Self::Brotli(brotli) => brotli.step(input, output),
            Self::Zstd(decoder, extent) => {
                // A call without input at the end of a frame would begin the next one.
                if input.is_empty() && *extent == Extent::Whole {
                    return Ok(Step::default());
                }
                let decoder = decoder.as_mut().ok_or(Undecodable::Damaged)?;
                let done =
                    decoder.run_on_buffers(input, output).map_err(|_| Undecodable::Damaged)?;
                *extent = if done.remaining == 0 { Extent::Whole } else { Extent::Part };
                Ok(Step { read: done.bytes_read, written: done.bytes_written })
            }
        }
    }

    /// Whether the content may end here.
    pub(super) fn extent(&self) -> Extent {
        let is_whole = match self {
            Self::Gzip(gzip) => return gzip.extent(),
            Self::Deflate(deflate) => deflate.has_ended,
            Self::Brotli(brotli) => brotli.has_ended,
            Self::Zstd(_, extent) => return *extent,
        };
        if is_whole { Extent::Whole } else { Extent::Part }
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Undecodable> {
        if self.has_ended {
            return Ok(Step::default());
        }
        // "deflate" is the zlib format (RFC 9110 section 8.4.1.2); some servers send it raw.
        let inflate = match (&mut self.inflate, input.first()) {
            (Some(inflate), _) => inflate,
            (None, None) => return Ok(Step::default()),
            (unknown, Some(first)) => unknown.insert(Decompress::new(first & 0x0f == ZLIB_METHOD)),
        };
        let (step, extent) = inflate_step(inflate, input, output)?;
        self.has_ended = extent == Extent::Whole;
        Ok(step)
    }
}

impl Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Undecodable> {
        if self.has_ended {
            return Ok(Step::default());
        }
        let (mut left, mut room) = (input.len(), output.len());
        let (mut read, mut written, mut total) = (0, 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            input,
            &mut room,
            &mut written,
            output,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(Undecodable::Damaged),
            BrotliResult::ResultSuccess => self.has_ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(Step { read, written })
    }
}

/// A step of the format that gzip and deflate have in common.
pub(super) fn inflate_step(
    inflate: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(Step, Extent), Undecodable> {
    let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, output, FlushDecompress::None);
    let status = status.map_err(|_| Undecodable::Damaged)?;
    let length = |from: u64, to: u64| usize::try_from(to - from).unwrap_or_default();
    let step = Step {
        read: length(before_in, inflate.total_in()),
        written: length(before_out, inflate.total_out()),
    };
    let extent = if status == Status::StreamEnd { Extent::Whole } else { Extent::Part };
    Ok((step, extent))
}

impl fmt::Debug for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gzip(_) => "Gzip",
            Self::Deflate(_) => "Deflate",
            Self::Brotli(_) => "Brotli",
            Self::Zstd(..) => "Zstd",
        })
    }
}
