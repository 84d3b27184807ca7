//! HTTP/1.1 and HTTP/1.0 towards clients (RFC 9112): one request after the other, each answered in
//! the connection's own task. A connection that waits has no buffer.

mod answer;
mod body;
mod head;
mod outgoing;
#[cfg(any(test, fuzzing))]
pub(super) mod properties;
mod wire;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::connection::Client;
use super::linger::Linger;
use super::pace::{Traffic, Underway};
use super::prefixed::Prefixed;
use super::{Stopped, boxed, heard_out};
use crate::proxy::body::ReplyBody;
use crate::proxy::exchange::{exchange, refuse};
use crate::proxy::message::Answer;
use crate::proxy::tunnel::{Giver, HandOver, Tunnel};
use answer::{After, Asked};
use head::{BadHead, Bounds, Head, Length};
use outgoing::Outgoing;
pub(super) use wire::Transport;
use wire::{Body, Rest, Wire};

/// How much of a body may still come when its request has been answered: an upstream may want the
/// rest, but not for ever.
const REST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a connection ended.
pub(super) enum End<S> {
    /// It is closed.
    Closed,
    /// It is one of HTTP/2, of which so much was read.
    Http2(S, BytesMut),
}

/// A connection on which HTTP/1.1 is spoken.
struct Connection<'a, S: Transport> {
    wire: Arc<Wire<S>>,
    client: &'a Client,
    stopping: &'a CancellationToken,
}

/// Whether a connection has had a request: only a new one can turn out to be one of HTTP/2.
#[derive(Clone, Copy, Debug)]
enum Age {
    New,
    Used,
}

/// What comes next on a connection.
#[derive(Debug)]
enum Next {
    Request(Box<Head>),
    Refused(BadHead),
    Http2,
    /// Nothing: the client has gone, is too slow, or is not to begin another request.
    Nothing,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    /// It is closed, and the client is told, which has had no answer.
    Close,
    /// The same, but an answer may be on its way, and the client may be sending.
    Linger,
    /// It is dropped: the client has been told, or is gone, or must not take what it got for the
    /// whole.
    Drop,
}

/// An answer that is being sent. Dropped before it is whole, it ends the connection so that nobody
/// takes it for that.
struct Cut<'a, S: Transport> {
    wire: &'a Wire<S>,
    /// Its end is told by that of the connection.
    passes_for_whole: bool,
}

impl<S: Transport> Cut<'_, S> {
    /// It is whole.
    fn disarm(mut self) {
        self.passes_for_whole = false;
    }
}

impl<S: Transport> Drop for Cut<'_, S> {
    fn drop(&mut self) {
        if self.passes_for_whole
            && let Ok(stream) = self.wire.lock().stream()
        {
            stream.reset_at_end();
        }
    }
}

/// Whoever still reads from a connection that is gone, such as a body that is sent on, finds it closed.
impl<S: Transport> Drop for Connection<'_, S> {
    fn drop(&mut self) {
        drop(self.wire.lock().take());
    }
}

/// Serves a connection until the client leaves, errs or idles too long, or until its running request
/// is answered when `stopping` is cancelled.
pub(super) async fn serve<S: Transport>(
    stream: S,
    client: &Client,
    stopping: &CancellationToken,
) -> End<S> {
    let wire = Wire::new(stream, client.half_closed);
    let connection = Connection { wire, client, stopping };
    let heard_out = pin!(heard_out(stopping));
    let mut stopped = Stopped::new(stopping, heard_out);
    let limits = &client.limits;
    let (bytes_max, fields_max) = (limits.request_head_bytes_max, limits.header_fields_max);
    let bounds = Bounds { bytes_max, fields_max };
    let mut age = Age::New;
    let then = loop {
        let then = match next(&connection.wire, &client.traffic, bounds, age, &mut stopped).await {
            // Boxed: most of the time there is none.
            Next::Request(head) => boxed(|| connection.answer(head)).await,
            Next::Refused(bad) => {
                tracing::debug!(error = %bad, "a request is refused");
                client.core.shared.reject_unread(&client.peer, bad.reason());
                Box::pin(connection.refuse(bad)).await
            }
            Next::Http2 => {
                let taken = connection.wire.lock().take();
                return match taken {
                    Some((stream, read)) => End::Http2(stream, read),
                    None => End::Closed,
                };
            }
            Next::Nothing => match age {
                Age::New => Then::Close,
                Age::Used => Then::Linger,
            },
        };
        if then != Then::Next {
            break then;
        }
        age = Age::Used;
    };
    Box::pin(connection.close(then)).await;
    End::Closed
}

impl<S: Transport> Connection<'_, S> {
    /// Answers a request, to the end of its body and of the answer's.
    async fn answer(&self, mut head: Box<Head>) -> Then {
        let underway = self.client.traffic.begin();
        let asked = Asked {
            method: head.request.method.clone(),
            version: head.request.version,
            takes_trailers: head.takes_trailers,
        };
        let (core, peer) = (&self.client.core, &self.client.peer);
        let mut after = if head.keeps_alive { After::KeepAlive } else { After::Close };
        let mut hand_over = None;
        let answered = match head.length {
            Ok(length) => {
                let body = body::incoming(&self.wire, length, head.expects_continue);
                if head.asks_for_upgrade && length == Length::Exact(0) {
                    let (sender, receiver) = HandOver::new();
                    head.request.extensions.insert(receiver);
                    hand_over = Some(sender);
                }
                let (core, peer) = (Arc::clone(core), Arc::clone(peer));
                let answer = pin!(exchange(core, peer, &mut head.request, body));
                self.unless_gone(answer).await
            }
            Err(why) => {
                after = After::Close;
                // Whatever follows may be a body.
                self.wire.lock().begin(Body::GivenUp, false);
                Some(refuse(core, peer, &head.request, why))
            }
        };
        drop(head);
        // Only what is sent is kept while it is.
        let (answer, tunnel) = {
            let Some(mut answer) = answered else { return Then::Drop };
            let tunnel = answer.body.take_tunnel();
            (answer, tunnel)
        };
        if let (Some(tunnel), Some(hand_over)) = (tunnel, hand_over) {
            underway.leads_to_tunnel();
            self.tunnel(answer, &asked, *tunnel, hand_over).await;
            return Then::Drop;
        }
        self.send(answer, &asked, after, underway).await
    }

    /// What `work` comes to; nothing if the client goes away meanwhile.
    async fn unless_gone<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            self.wire.lock().poll_gone(context).map(|()| None)
        })
        .await
    }

    /// Sends an answer, and waits for the end of its request.
    async fn send(
        &self,
        answer: Answer<ReplyBody>,
        asked: &Asked,
        after: After,
        underway: Underway,
    ) -> Then {
        let (leave, after) = {
            let mut wire = self.wire.lock();
            // A body that broke off, that nobody reads, or for which its client was never told to send
            // it, is none of which the end could be found.
            let has_end = matches!(wire.body(), Body::Over | Body::Coming) && !wire.waits();
            let goes_on = has_end && !self.stopping.is_cancelled();
            (wire.answer(), if goes_on { after } else { After::Close })
        };
        let Answer { status, headers, body } = answer;
        let (mut head, framing, after) = answer::head(status, &headers, &body, asked, after);
        if !leave.is_empty() {
            head = [leave, &head[..]].concat();
        }
        drop(headers);
        {
            let mut outgoing = Outgoing::new(head, body, framing, asked);
            let cut = Cut { wire: &self.wire, passes_for_whole: outgoing.ends_by_close() };
            let sending = pin!(poll_fn(|context| outgoing.poll(&self.wire, context)));
            let sent = self.unless_gone(sending).await;
            if underway.is_cut()
                && let Some(body) = outgoing.body()
            {
                body.was_not_taken();
            }
            match sent {
                Some(Ok(())) => cut.disarm(),
                Some(Err(error)) => {
                    tracing::debug!(%error, "an answer is cut");
                    return Then::Drop;
                }
                None => return Then::Drop,
            }
        }
        let body = self.wire.lock().body();
        let body = if body == Body::Coming { self.rest(after).await } else { body };
        drop(underway);
        match (body, after) {
            (Body::Over, After::KeepAlive) => Then::Next,
            _ => Then::Linger,
        }
    }

    /// Waits for the rest of a body whose request is answered, as long as enough of it moves. It is
    /// under way for so long: what comes is no head, and the connection does not idle.
    async fn rest(&self, after: After) -> Body {
        if after == After::Close {
            self.end_writing().await;
        }
        let rest = Rest::new(self.client.core.watch.body(), REST_BYTES_MAX);
        self.wire.lock().watch(rest);
        poll_fn(|context| self.wire.lock().poll_rest(context)).await
    }

    /// Tells the client that its connection is a tunnel, and serves that.
    async fn tunnel(
        &self,
        answer: Answer<ReplyBody>,
        asked: &Asked,
        tunnel: Tunnel,
        hand_over: Giver,
    ) {
        let Answer { status, headers, body } = answer;
        let (head, framing, _) = answer::head(status, &headers, &body, asked, After::Close);
        let telling = async {
            // Whoever has been told takes no turn of its core any more.
            let told = {
                let mut outgoing = Outgoing::new(head, body, framing, asked);
                let telling = pin!(poll_fn(|context| outgoing.poll(&self.wire, context)));
                self.unless_gone(telling).await
            };
            match (told, self.wire.lock().take()) {
                (Some(Ok(())), Some((stream, read))) => {
                    // The tunnel may be over already.
                    _ = hand_over.send(Box::new(Prefixed::new(read.freeze(), stream)));
                }
                // The client is gone, as the other end now learns.
                _ => drop(hand_over),
            }
            pending::<Infallible>().await
        };
        // It may be given up before the client has been told.
        tokio::select! {
            () = tunnel.run() => {}
            never = telling => match never {},
        }
    }

    /// Answers a head that is none.
    async fn refuse(&self, bad: BadHead) -> Then {
        let head = answer::refusal(bad);
        let mut outgoing = Outgoing::<ReplyBody>::head_only(head);
        let sent = poll_fn(|context| outgoing.poll(&self.wire, context)).await;
        if sent.is_ok() { Then::Linger } else { Then::Drop }
    }

    /// Nothing more is written; the client learns of it.
    async fn end_writing(&self) {
        // A client that is gone needs not be told.
        _ = poll_fn(|context| {
            let mut wire = self.wire.lock();
            Pin::new(wire.stream()?).poll_shutdown(context)
        })
        .await;
    }

    /// Closes the connection.
    async fn close(self, then: Then) {
        match then {
            Then::Close => self.end_writing().await,
            Then::Linger => {
                self.end_writing().await;
                self.linger().await;
            }
            Then::Next | Then::Drop => {}
        }
    }

    /// Reads on until the client has ended, or has read its answer.
    async fn linger(&self) {
        let mut linger = Linger::new();
        poll_fn(|context| match self.wire.lock().stream() {
            Ok(stream) => linger.poll(stream, context),
            Err(_) => Poll::Ready(()),
        })
        .await;
    }
}

/// Waits for the next head, until `stopped`. Of a connection that is new, nothing is known but
/// that it speaks HTTP.
async fn next<S: Transport>(
    wire: &Wire<S>,
    traffic: &Traffic,
    bounds: Bounds,
    age: Age,
    stopped: &mut Stopped<'_>,
) -> Next {
    let (mut age, mut looked_at, mut has_come) = (age, 0, true);
    poll_fn(|context| {
        let mut wire = wire.lock();
        loop {
            if std::mem::take(&mut has_come) && !wire.read.is_empty() {
                let is_http2 = match age {
                    Age::New => head::is_http2(&wire.read),
                    Age::Used => Some(false),
                };
                match is_http2 {
                    Some(true) => return Poll::Ready(Next::Http2),
                    Some(false) => {
                        // An empty line is passed over; what comes behind it is no preface any more.
                        age = Age::Used;
                        match head::of_request(&mut wire.read, &mut looked_at, bounds) {
                            Ok(Some(head)) => return Poll::Ready(Next::Request(head)),
                            Ok(None) => {}
                            Err(bad) => return Poll::Ready(Next::Refused(bad)),
                        }
                    }
                    None => {}
                }
            }
            match wire.read.is_empty() {
                true => wire.idle(),
                false => traffic.head_begins(),
            }
            match wire.poll_read(context) {
                Poll::Ready(Ok(count)) if count > 0 => has_come = true,
                Poll::Ready(_) => return Poll::Ready(Next::Nothing),
                Poll::Pending => break,
            }
        }
        // A head that has begun may come to its end.
        match wire.read.is_empty() && stopped.poll(context).is_ready() {
            true => Poll::Ready(Next::Nothing),
            false => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod tests;
