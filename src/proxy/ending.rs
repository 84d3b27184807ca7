//! When a stream is cut: because its session was replaced, where the upstream's settings ask for it,
//! or because the key that it was asked for with is revoked.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header;

use crate::access::revoked::Revocation;
use crate::clock::Clock;
use crate::fields::Fields;
use crate::session::{Session, Streams, Upstream};

/// An answer whose body is still coming in so long after its head is a stream. Ordinary answers,
/// large ones too, have come by then.
const STREAM_AGE_MIN: Duration = Duration::from_secs(10);

/// Comes when a stream is to be cut, and says why.
pub(super) struct Ending(Pin<Box<dyn Future<Output = Why> + Send>>);

/// Why a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its session was replaced.
    SessionReplaced,
    /// The client's key was revoked.
    KeyRevoked,
}

impl Why {
    /// The reason in logs and in the audit trail.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SessionReplaced => "session_replaced",
            Self::KeyRevoked => "key_revoked",
        }
    }
}

impl Ending {
    /// Of a tunnel; nothing where tunnels are never cut.
    pub(super) fn of_tunnel(
        upstream: &Upstream,
        session: &Session,
        key: Option<&Revocation>,
    ) -> Option<Self> {
        let cut = (upstream.streams == Streams::Close).then(|| session.cut());
        Self::either(cut.map(|cut| async move { cut.cancelled().await }), key)
    }

    /// Of an answer whose body is still to come; nothing where it is never cut. An answer that is
    /// no stream by its type comes to its end although its key is revoked.
    pub(super) fn of_answer(
        upstream: &Upstream,
        session: &Session,
        key: Option<&Revocation>,
        headers: &Fields,
        clock: &Clock,
    ) -> Option<Self> {
        let is_stream = is_event_stream(headers);
        let cut = (upstream.streams == Streams::Close).then(|| session.cut());
        let cut = cut.map(|cut| {
            let clock = clock.clone();
            let stream_from = match is_stream {
                true => clock.now(),
                false => clock.now() + STREAM_AGE_MIN,
            };
            async move {
                cut.cancelled().await;
                clock.sleep_until(stream_from).await;
            }
        });
        Self::either(cut, key.filter(|_| is_stream))
    }

    /// What comes first of a replaced session and a revoked key.
    fn either(
        replaced: Option<impl Future<Output = ()> + Send + 'static>,
        key: Option<&Revocation>,
    ) -> Option<Self> {
        if replaced.is_none() && key.is_none() {
            return None;
        }
        let key = key.cloned();
        Some(Self(Box::pin(async move {
            let revoked = async move {
                match key {
                    Some(key) => key.revoked().await,
                    None => pending().await,
                }
            };
            let replaced = async move {
                match replaced {
                    Some(replaced) => replaced.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = revoked => Why::KeyRevoked,
                () = replaced => Why::SessionReplaced,
            }
        })))
    }
}

/// Server-sent events (HTML standard, section 9.2) go on without end.
fn is_event_stream(headers: &Fields) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let kind = headers.get(header::CONTENT_TYPE).unwrap_or_default();
    let Some((kind, rest)) = kind.trim_ascii_start().split_at_checked(KIND.len()) else {
        return false;
    };
    kind.eq_ignore_ascii_case(KIND) && matches!(rest.trim_ascii_start().first(), None | Some(b';'))
}

impl Future for Ending {
    type Output = Why;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Why> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Ending")
    }
}
