//! A look at heads as clients write them, for what the HTTP library takes out before anybody else
//! sees it: the fragment of a target, and a length beside a transfer coding (RFC 9112 sections 3.2
//! and 6.1). Both are refused in `proxy/parse.rs`.
//!
//! Only what begins when no request is under way is looked at: a head that came behind another
//! request in one piece is read by the library alone, which drops the fragment, lets the coding
//! count, and ends the connection after it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Traffic;
use crate::proxy::parse::AsWritten;

/// A longer line is none: the library refuses a head of that length.
const LINE_BYTES_MAX: usize = 1024 * 1024;

const FRAGMENT: u8 = 1;
const LENGTH: u8 = 2;

/// What has been seen of the head that is being read.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicU8);

impl Seen {
    /// What was seen of the head that is complete now; the next one begins.
    pub(super) fn take(&self) -> AsWritten {
        let seen = self.0.swap(0, Ordering::Relaxed);
        AsWritten { fragment: seen & FRAGMENT != 0, length: seen & LENGTH != 0 }
    }
}

/// A client's stream whose heads are looked at on their way to the library.
pub(super) struct Heads<S> {
    stream: S,
    traffic: Arc<Traffic>,
    seen: Arc<Seen>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first line of a head.
    Start,
    /// Behind it.
    Fields,
    /// HTTP/2 has neither.
    Nowhere,
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S, traffic: Arc<Traffic>, seen: Arc<Seen>, http2: bool) -> Self {
        let at = if http2 { At::Nowhere } else { At::Start };
        Self { stream, traffic, seen, line: Vec::new(), at }
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.at == At::Nowhere {
            return;
        }
        if !self.traffic.is_quiet() {
            self.begin();
            return;
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            let is_last = if self.line.is_empty() {
                self.note_line(line)
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.note_line(&whole)
            };
            if is_last {
                // What follows is a body, or the library's to read.
                if self.at != At::Nowhere {
                    self.begin();
                }
                return;
            }
        }
        if self.line.len() + rest.len() <= LINE_BYTES_MAX {
            self.line.extend_from_slice(rest);
        }
    }

    fn begin(&mut self) {
        (self.line, self.at) = (Vec::new(), At::Start);
    }

    /// Takes note of a line without its end; whether the head or everything ends with it.
    fn note_line(&mut self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // Empty lines before the first one are passed over (RFC 9112 section 2.2).
            return self.at == At::Fields;
        }
        if let Some(target) = target(line) {
            // What was taken for a head before may have been the rest of a body.
            let fragment = if target.contains(&b'#') { FRAGMENT } else { 0 };
            self.seen.0.store(fragment, Ordering::Relaxed);
        } else if self.at == At::Start && line.starts_with(b"PRI ") {
            self.at = At::Nowhere;
            return true;
        } else if is_length(line) {
            self.seen.0.fetch_or(LENGTH, Ordering::Relaxed);
        }
        self.at = At::Fields;
        false
    }
}

/// What stands between method and version, if a line is a request's first one.
fn target(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0"))?;
    let method = rest.iter().position(|byte| matches!(byte, b' ' | b':'))?;
    rest.get(method..).filter(|target| target.starts_with(b" "))
}

fn is_length(line: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.note(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of bytes that come in pieces of this length, while no request is under way.
    fn seen(bytes: &str, piece: usize) -> (bool, bool) {
        let seen = Arc::<Seen>::default();
        let mut heads = Heads::new((), Arc::default(), Arc::clone(&seen), false);
        bytes.as_bytes().chunks(piece).for_each(|piece| heads.note(piece));
        let AsWritten { fragment, length } = seen.take();
        assert_eq!(seen.take(), AsWritten::default(), "each head is told once");
        (fragment, length)
    }

    #[test]
    fn fragments_and_lengths_are_seen_however_they_come() {
        for (head, expected) in [
            ("GET /x HTTP/1.1\r\nhost: a\r\n\r\n", (false, false)),
            ("GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n", (true, false)),
            ("\r\nGET /x# HTTP/1.0\r\n\r\n", (true, false)),
            ("GET /x HTTP/1.1\r\nx: #\r\nreferer: http://a/#b HTTP/1.1\r\n\r\n", (false, false)),
            ("G#T /x HTTP/1.1\r\n\r\n", (false, false)),
            ("POST / HTTP/1.1\nContent-Length: 5\nx: y z HTTP/1.1\n\n", (false, true)),
            ("POST / HTTP/1.1\r\nx-content-length: 5\r\n\r\n", (false, false)),
            ("POST / HTTP/1.1\r\n\r\ncontent-length: 5\r\n", (false, false)),
        ] {
            // A piece that ends behind the head is followed by a request under way.
            for piece in [1, 2, 7, 1000].into_iter().filter(|_| !head.ends_with("5\r\n")) {
                assert_eq!(seen(head, piece), expected, "{head:?} in pieces of {piece}");
            }
            assert_eq!(seen(head, 1000), expected, "{head:?}");
        }
    }

    #[test]
    fn what_follows_a_rest_of_a_body_is_told_for_itself() {
        let rest = "content-length: 5 #\r\n# x HTTP/1.1 y\r\n";
        assert_eq!(seen(&format!("{rest}GET /x HTTP/1.1\r\nhost: a\r\n\r\n"), 9), (false, false));
        assert_eq!(seen(&format!("{rest}GET /# HTTP/1.1\r\nhost: a\r\n\r\n"), 9), (true, false));
    }

    #[test]
    fn frames_of_http2_are_no_heads() {
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /# HTTP/1.1\r\ncontent-length: 1\r\n";
        for piece in [1, 5, 1000] {
            assert_eq!(seen(preface, piece), (false, false));
        }
    }
}
