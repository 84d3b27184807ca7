//! A request body that can be sent a second time: what passes is kept up to a bound.
//!
//! The first sending streams from the client and keeps what it saw. A second sending begins with
//! what was kept and goes on with what the client still has to send; from that moment the first one
//! fails, so no byte is taken by both.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// What is kept is passed on in chunks of at most this size, each a copy.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Keeps a client's body so that it can be sent again.
#[derive(Debug)]
pub struct Replay<B>(Option<Arc<Mutex<Kept<B>>>>);

/// One sending of the body.
#[derive(Debug)]
pub struct Sending<B> {
    /// Nothing for an empty body.
    kept: Option<Arc<Mutex<Kept<B>>>>,
    /// Which sending this is; an older one than the newest fails.
    number: u32,
    /// How many of the kept bytes this sending has passed on.
    position: usize,
    /// What the client announced and this sending has not passed on yet.
    left: Option<u64>,
}

#[derive(Debug)]
struct Kept<B> {
    source: B,
    /// A copy: a chunk of the client's would keep the whole buffer that it was read into, 8 KiB for
    /// a single byte.
    bytes: Vec<u8>,
    bytes_max: usize,
    /// The bound was passed: what was kept is gone.
    overflowed: bool,
    /// The bytes that the source has given.
    passed: u64,
    /// The client has to send before anything can go on.
    waits_for_client: bool,
    /// The source has given all.
    ended: bool,
    /// The client's side broke.
    client_failed: bool,
    newest: u32,
    announced: Option<u64>,
}

/// How far a client's body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes have passed, and more are to come.
    Passed(u64),
    /// All has passed.
    Ended,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's side broke, or its framing is wrong.
    #[error("the client's request body broke off")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer sending has taken over.
    #[error("the request is being sent again")]
    Superseded,
}

impl<B> Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Keeps up to `bytes_max` bytes of `source`.
    pub fn new(source: B, bytes_max: usize) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        let announced = source.size_hint().exact();
        Self(Some(Arc::new(Mutex::new(Kept {
            source,
            bytes: Vec::new(),
            bytes_max,
            // A body that says it is too long need not be kept at all.
            overflowed: announced.is_some_and(|bytes| bytes > bytes_max as u64),
            passed: 0,
            waits_for_client: false,
            ended: false,
            client_failed: false,
            newest: 0,
            announced,
        }))))
    }

    /// The body, from its beginning; nothing when more has passed than is kept. A sending from
    /// before fails from now on, so that it takes nothing more from the client.
    pub fn send(&self) -> Option<Sending<B>> {
        let Some(shared) = &self.0 else {
            return Some(Sending { kept: None, number: 0, position: 0, left: Some(0) });
        };
        let mut kept = lock(shared);
        let first = kept.newest == 0;
        if kept.overflowed && !first {
            return None;
        }
        kept.newest += 1;
        Some(Sending {
            kept: Some(Arc::clone(shared)),
            number: kept.newest,
            position: 0,
            left: kept.announced,
        })
    }

    /// How far the client has come, so that one who goes on is told from one who has stopped.
    pub fn progress(&self) -> Progress {
        match &self.0 {
            None => Progress::Ended,
            Some(shared) => {
                let kept = lock(shared);
                match kept.ended || kept.source.is_end_stream() {
                    true => Progress::Ended,
                    false => Progress::Passed(kept.passed),
                }
            }
        }
    }

    /// Whether it is the client that has to go on, and not the upstream.
    pub fn waits_for_client(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).waits_for_client)
    }

    /// Whether it was the client's side that broke.
    pub fn client_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).client_failed)
    }
}

/// The lock is held for one poll only and nothing in it panics; a poisoned value is as good as
/// another.
fn lock<B>(kept: &Mutex<Kept<B>>) -> MutexGuard<'_, Kept<B>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Body for Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(shared) = self.kept.clone() else {
            return Poll::Ready(None);
        };
        let mut kept = lock(&shared);
        if kept.newest != self.number {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(rest) = kept.bytes.get(self.position..).filter(|rest| !rest.is_empty()) {
            let chunk = rest.get(..CHUNK_BYTES_MAX).unwrap_or(rest);
            let chunk = Bytes::copy_from_slice(chunk);
            self.position += chunk.len();
            self.pass(chunk.len());
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let polled = std::task::ready!(kept.poll_source(context));
        if let Some(Ok(chunk)) = &polled {
            self.position = kept.bytes.len();
            self.pass(chunk.len());
        }
        Poll::Ready(polled.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.kept.as_ref().is_none_or(|shared| {
            let kept = lock(shared);
            kept.newest == self.number
                && self.position >= kept.bytes.len()
                && (kept.ended || kept.source.is_end_stream())
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl<B> Sending<B> {
    fn pass(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
    }
}

impl<B> Kept<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while !self.ended {
            self.waits_for_client = true;
            let frame = std::task::ready!(Pin::new(&mut self.source).poll_frame(context));
            self.waits_for_client = false;
            match frame {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.client_failed = true;
                    return Poll::Ready(Some(Err(BodyError::Client(error.into()))));
                }
                // Trailers of clients are never forwarded: they could smuggle any field.
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.passed += chunk.len() as u64;
                        self.keep(&chunk);
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn keep(&mut self, chunk: &Bytes) {
        if self.overflowed || chunk.len() > self.bytes_max.saturating_sub(self.bytes.len()) {
            self.overflowed = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Empty};
    use proptest::prelude::*;

    use super::*;

    /// A client that sends these chunks.
    struct Client(VecDeque<&'static str>);

    impl Body for Client {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
        }
    }

    fn client(chunks: &[&'static str]) -> Client {
        Client(chunks.iter().copied().collect())
    }

    async fn whole(sending: Sending<Client>) -> Bytes {
        sending.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_within_the_bound_is_sent_twice_alike() {
        let replay = Replay::new(client(&["ab", "cd"]), 4);
        assert_eq!(whole(replay.send().unwrap()).await, "abcd");
        assert_eq!(whole(replay.send().unwrap()).await, "abcd");
    }

    #[tokio::test]
    async fn a_second_sending_takes_over_in_the_middle_and_the_first_fails() {
        let replay = Replay::new(client(&["ab", "cd", "ef"]), 6);
        let mut first = replay.send().unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        let second = replay.send().unwrap();
        assert!(matches!(first.frame().await, Some(Err(BodyError::Superseded))));
        assert_eq!(whole(second).await, "abcdef");
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_streamed_once_and_never_half() {
        let replay = Replay::new(client(&["abc", "def"]), 5);
        assert_eq!(whole(replay.send().unwrap()).await, "abcdef");
        assert!(replay.send().is_none());
    }

    #[tokio::test]
    async fn what_is_kept_holds_nothing_of_the_clients_buffers() {
        let buffer = Bytes::from(vec![b'x'; 8192]);
        let client = Buffered(Some(buffer.slice(..1)));
        let replay = Replay::new(client, 10);
        let chunk = replay.send().unwrap().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(chunk, "x");
        drop(chunk);
        assert!(buffer.is_unique(), "one byte keeps 8 KiB");
        assert_eq!(replay.send().unwrap().collect().await.unwrap().to_bytes(), "x");
    }

    struct Buffered(Option<Bytes>);

    impl Body for Buffered {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_on_is_told_from_one_that_has_ended() {
        let replay = Replay::new(client(&["ab", "cd"]), 0);
        let mut sending = replay.send().unwrap();
        assert_eq!(replay.progress(), Progress::Passed(0));
        sending.frame().await.unwrap().unwrap();
        assert_eq!(replay.progress(), Progress::Passed(2));
        while sending.frame().await.is_some() {}
        assert_eq!(replay.progress(), Progress::Ended);
        assert_eq!(Replay::new(Empty::<Bytes>::new(), 0).progress(), Progress::Ended);
    }

    #[tokio::test]
    async fn an_empty_body_needs_nothing_kept() {
        let replay = Replay::new(Empty::<Bytes>::new(), 0);
        for _ in 0..2 {
            let sending = replay.send().unwrap();
            assert!(sending.is_end_stream());
            assert_eq!(sending.size_hint().exact(), Some(0));
        }
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_is_told_from_an_upstream_that_does() {
        let replay = Replay::new(Broken, 10);
        assert!(replay.send().unwrap().collect().await.is_err());
        assert!(replay.client_failed());
    }

    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::Error::other("bad chunk"))))
        }
    }

    proptest! {
        #[test]
        fn a_replay_is_the_same_body_or_none(
            sizes in proptest::collection::vec(0_usize..40, 0..12),
            bytes_max in 0_usize..200,
            cut in 0_usize..12,
        ) {
            const TEXT: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
            let chunks: Vec<&'static str> = sizes.iter().map(|size| &TEXT[..*size]).collect();
            let body: String = chunks.concat();
            let replay = Replay::new(client(&chunks), bytes_max);
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                let mut first = replay.send().unwrap();
                for _ in 0..cut {
                    if first.frame().await.is_none() {
                        break;
                    }
                }
                let passed: usize = sizes.iter().take(cut).sum();
                match replay.send() {
                    Some(second) => assert_eq!(whole(second).await, body.as_bytes()),
                    None => assert!(passed > bytes_max),
                }
            });
        }
    }
}
