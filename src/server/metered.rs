//! A client's stream below TLS: what the system takes for the client is told here, since above TLS nobody
//! sees it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Traffic;
use super::socket::reset_on_close;
use crate::outbox::Stream;

/// A stream that tells its connection's traffic what was written.
pub(super) struct Metered {
    stream: Stream,
    traffic: Arc<Traffic>,
    /// So much was told of what the system has taken.
    told: u64,
}

impl Metered {
    pub(super) fn new(stream: Stream, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, told: 0 }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Does something with the stream, and tells what the system has taken by then: some of it may have
    /// left since it was written.
    fn telling<T>(&mut self, act: impl FnOnce(Pin<&mut Stream>) -> T) -> T {
        let done = act(Pin::new(&mut self.stream));
        let taken = self.stream.taken();
        if taken > self.told {
            self.traffic.wrote(taken - self.told);
            self.told = taken;
        }
        done
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // The system would go on offering it for minutes, to a client that takes nothing.
        if self.traffic.is_cut() {
            reset_on_close(&self.stream);
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().telling(|stream| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().telling(|stream| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().telling(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().telling(|stream| stream.poll_shutdown(context))
    }
}
