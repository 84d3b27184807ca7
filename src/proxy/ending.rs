//! When a stream is cut because its session was replaced, where the upstream's settings ask for it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, header};

use crate::clock::Clock;
use crate::session::{Session, Streams, Upstream};

/// An answer whose body is still coming in so long after its head is a stream. Ordinary answers,
/// large ones too, have come by then.
const STREAM_AGE_MIN: Duration = Duration::from_secs(10);

/// Comes when a stream is to be cut.
pub(super) struct Ending(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Ending {
    /// Of a tunnel; nothing where tunnels are never cut.
    pub(super) fn of_tunnel(upstream: &Upstream, session: &Session) -> Option<Self> {
        let cut = (upstream.streams == Streams::Close).then(|| session.cut())?;
        Some(Self(Box::pin(async move { cut.cancelled().await })))
    }

    /// Of an answer whose body is still to come; nothing where streams are never cut.
    pub(super) fn of_answer(
        upstream: &Upstream,
        session: &Session,
        headers: &HeaderMap,
        clock: &Clock,
    ) -> Option<Self> {
        let cut = (upstream.streams == Streams::Close).then(|| session.cut())?;
        let clock = clock.clone();
        let stream_from = match is_event_stream(headers) {
            true => clock.now(),
            false => clock.now() + STREAM_AGE_MIN,
        };
        Some(Self(Box::pin(async move {
            cut.cancelled().await;
            clock.sleep_until(stream_from).await;
        })))
    }
}

/// Server-sent events (HTML standard, section 9.2) go on without end.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Ending")
    }
}
