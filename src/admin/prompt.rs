//! A connection whose other side has to take what is written to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long nothing of an answer may be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that fails where its other side takes nothing for too long.
#[derive(Debug)]
pub(super) struct Prompt<I> {
    connection: I,
    /// While something waits to be taken.
    ends: Option<Pin<Box<Sleep>>>,
}

impl<I> Prompt<I> {
    pub(super) fn new(connection: I) -> Self {
        Self { connection, ends: None }
    }

    fn waited<T>(
        &mut self,
        context: &mut Context<'_>,
        went: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if went.is_ready() {
            self.ends = None;
            return went;
        }
        let ends = self.ends.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(ends.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prompt<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prompt<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(context, bytes);
        self.waited(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.connection).poll_flush(context);
        self.waited(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.connection).poll_shutdown(context);
        self.waited(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    /// Fails when somebody who takes nothing is waited for without end, or somebody who takes a
    /// little is not waited for.
    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_waited_for_so_long_and_no_longer() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = Prompt::new(ours);
        let reader = tokio::spawn(async move {
            let mut taken = [0; 2];
            for _ in 0..5 {
                sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                theirs.read_exact(&mut taken).await.unwrap();
            }
            (theirs, Instant::now())
        });
        let failed = ours.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        let (_theirs, last) = reader.await.unwrap();
        assert!(last.elapsed() >= WRITE_TIMEOUT && last.elapsed() < WRITE_TIMEOUT * 2);
    }
}
