//! The body of a client's request as its protocol gives it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http1::chunked::BadChunk;

/// The body of a client's request.
pub enum Incoming {
    /// There is none.
    Empty,
    /// On an HTTP/1.1 connection, which is shared with whoever answers.
    Http1(Box<dyn Body<Data = Bytes, Error = BrokenOff> + Send + Sync + Unpin>),
    /// On a stream of an HTTP/2 connection.
    Http2(hyper::body::Incoming),
}

/// Why a request's body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The client ended its side before.
    #[error("the client closed the connection before the end of its request")]
    Closed,
    /// The connection failed.
    #[error("the client's connection failed")]
    Connection(#[from] io::Error),
    /// It is no chunked coding.
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(context),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(BrokenOff::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self {
            Self::Empty => "Empty",
            Self::Http1(_) => "Http1",
            Self::Http2(_) => "Http2",
        };
        out.debug_tuple("Incoming").field(&protocol).finish()
    }
}
