//! What is read from a connection, and the buffer for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Reads some more behind what was read, with room for so many bytes; 0 at the end.
///
/// # Errors
/// Those of the stream.
pub fn poll_read<S: AsyncRead>(
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    read: &mut BytesMut,
    room: usize,
) -> Poll<io::Result<usize>> {
    // What is left of a buffer may be too little to be worth a system call. One that nobody else has
    // any more is used again: the processor still has it in its caches.
    if read.capacity() - read.len() < room / 2 && !read.try_reclaim(room) {
        match read.is_empty() {
            true => *read = BytesMut::with_capacity(room),
            false => read.reserve(room),
        }
    }
    poll_read_buf(stream, context, read)
}
