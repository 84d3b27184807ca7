//! What must hold for any client, any bounds and any moment at which a body is sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::keeping::{Keeping, Quota, Spill, SpillError, Storage};
use super::{BodyError, Refusal, Replay, Sending, Start};
use crate::properties::{Draws, pieces};

/// A file that is none. It breaks when so many bytes are in it.
#[derive(Debug)]
struct Shelf(usize);

#[derive(Debug)]
struct Paper {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Storage for Shelf {
    fn open(&self) -> Box<dyn Spill> {
        Box::new(Paper { bytes: Vec::new(), bytes_max: self.0 })
    }
}

impl Spill for Paper {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        Poll::Ready(match self.bytes.len() > self.bytes_max {
            true => Err(SpillError::Slow),
            false => Ok(()),
        })
    }

    fn write(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        self.poll_ready(context)
    }

    fn poll_read(&mut self, _: &mut Context<'_>, at: u64) -> Poll<Result<Bytes, SpillError>> {
        let rest = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        // Short pieces, so that what is passed on has many edges.
        Poll::Ready(Ok(Bytes::copy_from_slice(rest.get(..3).unwrap_or(rest))))
    }
}

/// A client that sends these chunks, and keeps others waiting where one is empty.
#[derive(Debug)]
struct Client {
    chunks: VecDeque<Bytes>,
    breaks: bool,
}

impl Body for Client {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.chunks.pop_front() {
            Some(chunk) if chunk.is_empty() => Poll::Pending,
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None if std::mem::take(&mut self.breaks) => {
                Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
            }
            None => Poll::Ready(None),
        }
    }
}

/// How a sending ended, and what it has passed on.
#[derive(Debug, Default)]
struct Sent {
    passed: Vec<u8>,
    ended: Option<Result<(), BodyError>>,
}

impl Sent {
    fn poll(&mut self, sending: &mut Sending<Client>) {
        if self.ended.is_some() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(sending).poll_frame(&mut context) {
            Poll::Pending => {}
            Poll::Ready(None) => self.ended = Some(Ok(())),
            Poll::Ready(Some(Err(error))) => self.ended = Some(Err(error)),
            Poll::Ready(Some(Ok(frame))) => {
                self.passed.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
        }
    }
}

/// Every sending passes on the body from its first byte, and ends well only where that was all of
/// it; what is kept stays within its bounds and is given back.
pub fn replay(data: &[u8]) {
    let mut draws = Draws::new(data);
    let bounds: Vec<u64> = (0..4).map(|_| u64::from(draws.byte())).collect();
    let &[memory, spill, memory_total, spill_total] = bounds.as_slice() else { return };
    let (file, breaks) = (usize::from(draws.byte()), draws.byte() & 1 == 1);
    let (steps, lengths) = (draws.line(), draws.line());
    let body = draws.rest();
    let mut chunks: VecDeque<Bytes> =
        pieces(body, lengths).into_iter().map(Bytes::copy_from_slice).collect();
    if let Some(length) = lengths.first().filter(|length| **length & 1 == 1) {
        chunks.insert(usize::from(*length) % (chunks.len() + 1), Bytes::new());
    }
    let shared = Arc::new(Keeping {
        memory_bytes_max: memory,
        spill_bytes_max: spill,
        memory: Quota::new(memory_total),
        spill: Quota::new(spill_total),
        storage: Box::new(Shelf(file)),
    });
    let client = Client { chunks, breaks };
    let mut replay = Some(Replay::new(client, &shared));
    let mut sendings: Vec<(Sending<Client>, Sent)> = Vec::new();
    for step in steps {
        if let Some(replay) = &replay {
            match step % 8 {
                0 => begin(replay, Start::AtOnce, &mut sendings),
                1 => begin(replay, Start::WhenWanted, &mut sendings),
                2 => replay.go_ahead(),
                3 => replay.keep_no_more(),
                _ => {}
            }
        }
        if step % 8 == 4 {
            replay = replay.take().and_then(Replay::answered);
        }
        if step % 8 > 4 {
            for (sending, sent) in &mut sendings {
                sent.poll(sending);
            }
        }
        assert!(shared.memory.taken() <= memory.min(memory_total));
        assert!(shared.spill.taken() <= spill.min(spill_total));
        for (_, sent) in &sendings {
            assert!(body.starts_with(&sent.passed), "{:?}", sent.passed);
            if let Some(Ok(())) = sent.ended {
                assert!(sent.passed == body && !breaks, "half a body is a whole one");
            }
        }
        let live = sendings.iter().filter(|(_, sent)| sent.ended.is_none());
        let going = live.filter(|(sending, _)| sending.is_end_stream()).count();
        assert!(going <= 1, "two sendings are at the end of one body");
    }
    drop(replay);
    drop(sendings);
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
}

fn begin(replay: &Replay<Client>, start: Start, sendings: &mut Vec<(Sending<Client>, Sent)>) {
    let mut context = Context::from_waker(Waker::noop());
    let refused = match replay.poll_send_again(&mut context, start) {
        Poll::Pending => return,
        Poll::Ready(Ok(sending)) => return sendings.push((sending, Sent::default())),
        Poll::Ready(Err(why)) => why,
    };
    let why = [Refusal::BodyTooLarge, Refusal::NoRoom, Refusal::SpillFailed];
    assert!(why.contains(&refused), "{refused:?}");
    let passed = sendings.iter().any(|(_, sent)| !sent.passed.is_empty());
    assert!(passed, "refused, and nothing has passed");
}
