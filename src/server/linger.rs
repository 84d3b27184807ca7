//! The end of a connection whose last answer may still be on its way: only our side is ended at
//! first, and what the client still sends is read for a while and thrown away. A connection that is
//! closed while something comes is reset by the system, and with it goes what the client has not
//! got yet (RFC 9112 section 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may still send.
const TIME_MAX: Duration = Duration::from_secs(2);

/// A client that sends nothing for so long has read its answer, or never will.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How much it may still send.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Room for what is read at once.
const READ_BYTES: usize = 8 * 1024;

/// The wait for a client to end its side.
pub(super) struct Linger {
    until: Instant,
    bytes_left: usize,
    /// Ends with the pause, or with all of it.
    timer: Pin<Box<Sleep>>,
}

impl Linger {
    pub(super) fn new() -> Self {
        let until = Instant::now() + TIME_MAX;
        Self { until, bytes_left: BYTES_MAX, timer: Box::pin(sleep(PAUSE_MAX)) }
    }

    /// Ready when the client has ended its side, or is not waited for any longer.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while let Poll::Ready(come) = poll_discard(stream, context) {
            let count = come.unwrap_or_default();
            self.bytes_left = self.bytes_left.saturating_sub(count);
            let now = Instant::now();
            // The timer has no turn as long as there is something to read.
            if count == 0 || self.bytes_left == 0 || now >= self.until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.until.min(now + PAUSE_MAX));
        }
        self.timer.as_mut().poll(context)
    }
}

/// Reads some bytes and throws them away; how many, 0 at the end.
fn poll_discard<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut room = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut room))?;
    Poll::Ready(Ok(room.filled().len()))
}

/// A stream whose end is over when its client has ended its side, or is not waited for any longer.
pub(super) struct Lingering<S> {
    stream: S,
    /// Once our side has ended.
    linger: Option<Linger>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, linger } = self.get_mut();
        let linger = match linger {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
                linger.insert(Linger::new())
            }
        };
        linger.poll(stream, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn ended(stream: DuplexStream) -> Duration {
        let begun = Instant::now();
        Lingering::new(stream).shutdown().await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_its_side_is_waited_for_and_no_longer() {
        let (mut client, server) = duplex(1024);
        let client = tokio::spawn(async move {
            client.write_all(&[0; 4096]).await.unwrap();
            // It has been told.
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            sleep(PAUSE_MAX / 2).await;
        });
        assert_eq!(ended(server).await.as_millis(), (PAUSE_MAX / 2).as_millis());
        client.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_neither_sends_nor_ends_is_left_after_a_pause() {
        let (_client, server) = duplex(1024);
        assert_eq!(ended(server).await.as_millis(), PAUSE_MAX.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_on_is_left_after_all() {
        let (mut client, server) = duplex(1024);
        let sending = tokio::spawn(async move {
            while client.write_all(&[0; 1]).await.is_ok() {
                sleep(PAUSE_MAX / 3).await;
            }
        });
        let waited = ended(server).await;
        assert!(waited >= TIME_MAX && waited <= TIME_MAX + PAUSE_MAX, "{waited:?}");
        sending.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_too_much_is_left_at_once() {
        let (mut client, server) = duplex(1 << 20);
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while client.write_all(&[0; 1 << 16]).await.is_ok() {
                sent += 1 << 16;
            }
            sent
        });
        assert!(ended(server).await < PAUSE_MAX);
        let sent = sending.await.unwrap();
        assert!((BYTES_MAX..BYTES_MAX + (2 << 20)).contains(&sent), "{sent}");
    }
}
