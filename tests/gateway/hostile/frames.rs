//! HTTP/2 frame by frame, as no client library would write it (RFC 9113, RFC 7541).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Stage;
use crate::harness::within;
use doorward::server::Address;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The error code by which a peer is told that it overdoes it.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What a good request is made of; a test changes something.
pub const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/v3/x"), (":authority", "localhost")];

/// A frame in bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields in the plainest way that HPACK has: each written out, nothing remembered.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name.as_ref());
        text(&mut block, value.as_ref());
    }
    block
}

/// A text with its length (RFC 7541 sections 5.1 and 5.2), not compressed.
pub fn text(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend(text);
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status.
    Answered(u16),
    /// Reset with this code.
    Reset(u32),
    /// The connection was given up with this code; no code if it was just closed.
    Ended(Option<u32>),
}

impl Outcome {
    /// Whether a request was taken for none: reset, answered with 4xx, or the end of everything.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Answered(status) => (400..500).contains(&status) || status == 501,
            Self::Reset(_) | Self::Ended(_) => true,
        }
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    fn code(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection that speaks HTTP/2 from its first byte.
pub struct Frames {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
}

impl Frames {
    pub async fn connect(stage: &Stage) -> Frames {
        Self::connect_with(stage, &[]).await
    }

    /// With these settings: identifier, value.
    pub async fn connect_with(stage: &Stage, settings: &[(u16, u32)]) -> Frames {
        let Address::Tcp(address) = stage.scene.door().address else { panic!("no TCP") };
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reading, writing) = stream.into_split();
        let mut frames = Frames { reading, writing };
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.extend(identifier.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.write(&frame(SETTINGS, 0, 0, &payload)).await;
        frames
    }

    /// Writes bytes; the gateway may have given up already.
    pub async fn write(&mut self, bytes: &[u8]) {
        _ = within(self.writing.write_all(bytes)).await;
    }

    /// Writes bytes and waits as long as it takes.
    pub async fn write_unread(&mut self, bytes: &[u8]) {
        _ = self.writing.write_all(bytes).await;
    }

    /// Writes the same bytes again and again, reading what comes meanwhile, until the gateway gives
    /// up or has taken them all `times`. Whether it gave up, and with which code.
    pub async fn flood(&mut self, bytes: &[u8], times: usize) -> Option<Option<u32>> {
        let Self { reading, writing } = self;
        let writing = async {
            for _ in 0..times {
                if writing.write_all(bytes).await.is_err() {
                    // What it said last is still to be read.
                    return std::future::pending::<()>().await;
                }
            }
            // It is answered when all before it was taken.
            _ = writing.write_all(&frame(PING, 0, 0, b"the end.")).await;
            std::future::pending().await
        };
        let reading = async {
            loop {
                match next(reading).await {
                    Err(_) => return Some(None),
                    Ok(frame) if frame.kind == GOAWAY => return Some(Some(frame.code(4))),
                    Ok(frame) if frame.kind == PING && frame.payload == b"the end." => return None,
                    Ok(_) => {}
                }
            }
        };
        within(async {
            tokio::select! {
                given_up = reading => given_up,
                () = writing => unreachable!(),
            }
        })
        .await
    }

    pub async fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        fields: &[(N, V)],
    ) {
        self.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))).await;
    }

    /// Reads until it is known what became of a stream.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        within(async {
            loop {
                let Ok(frame) = next(&mut self.reading).await else { return Outcome::Ended(None) };
                match frame.kind {
                    GOAWAY if frame.code(4) != 0 || frame.code(0) < stream => {
                        return Outcome::Ended(Some(frame.code(4)));
                    }
                    HEADERS if frame.stream == stream => {
                        return Outcome::Answered(status(&frame.payload));
                    }
                    RST_STREAM if frame.stream == stream => return Outcome::Reset(frame.code(0)),
                    _ => {}
                }
            }
        })
        .await
    }

    /// The next frame of this kind.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        within(async {
            loop {
                let frame = next(&mut self.reading).await.unwrap();
                if frame.kind == kind {
                    return frame;
                }
            }
        })
        .await
    }
}

pub async fn next(reading: &mut OwnedReadHalf) -> io::Result<Frame> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    reading.read_exact(&mut payload).await?;
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// The status of an answer, which is its first field. Only the first answer of a connection may have
/// one that is not in the static table.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [known @ 0x88..=0x8e, ..] => KNOWN[usize::from(known - 0x88)],
        // Written out behind the name of the static table, in Huffman's code.
        [0x48 | 0x08, 0x82 | 0x83, digits @ ..] => {
            let bits = u32::from_be_bytes([digits[0], digits[1], digits[2], 0]);
            let (mut status, mut at) = (0, 0);
            for _ in 0..3 {
                let five = bits << at >> 27;
                let (digit, length) = match five {
                    0..=2 => (five, 5),
                    _ => ((bits << at >> 26) - 0b01_1001 + 3, 6),
                };
                status = status * 10 + u16::try_from(digit).unwrap();
                at += length;
            }
            status
        }
        _ => panic!("no status: {block:02x?}"),
    }
}
