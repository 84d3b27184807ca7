//! One sending of a request to its upstream. A long body waits until the upstream wants it, so that
//! a dead session costs the head only (`Expect: 100-continue`, RFC 9110 section 10.1.1).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::Problem;
use super::prepare::Prepared;
use super::upload::Upload;
use crate::clock::Clock;
use crate::forward::body::BodyKind;
use crate::forward::replay::{Outlook, Replay, Sending, Start};
use crate::session::{Session, Upstream};
use crate::upstream::{Answer, Broken, Expectation, Pool, RequestHead, SendError, Wait};

/// How long an upstream may think about whether it wants a body; then it is sent. Clients wait as
/// long, and RFC 9110 section 10.1.1 forbids to wait for ever.
const CONTINUE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often a request is sent again that the upstream has not processed: one that goes away refuses
/// what crosses its farewell, and the next connection is another one's.
const UNPROCESSED_RETRIES_MAX: usize = 2;

/// A request on its way.
pub(super) struct Delivery<'a> {
    pub(super) pool: Arc<Pool<Sending<Upload>>>,
    pub(super) clock: &'a Clock,
    pub(super) prepared: &'a Prepared<'a>,
    pub(super) replay: &'a Replay<Upload>,
    pub(super) upstream: &'a Upstream,
    /// The longest body that session values are put into.
    pub(super) written_bytes_max: usize,
    /// How far it has come.
    pub(super) wait: Wait,
}

impl Delivery<'_> {
    /// When the first sending of the body begins.
    pub(super) fn first_start(&self) -> Start {
        // What goes into the body is known when all of it is there.
        if self.prepared.writes.is_some() {
            return Start::AtOnce;
        }
        match (self.replay.outlook(), self.prepared.expects_continue) {
            (Outlook::Empty, _) | (Outlook::Kept, false) => Start::AtOnce,
            (Outlook::NotKept, _) => Start::WhenWanted,
            // A client that asks is answered by the upstream: hyper tells it to go on when its body
            // is first taken from. Its wait, and the doubt about a length, are not worth a second
            // at an upstream that says nothing.
            (Outlook::Unknown, _) | (Outlook::Kept, true) if self.pool.ignores_expect() => {
                Start::AtOnce
            }
            (Outlook::Unknown, _) | (Outlook::Kept, true) => Start::WhenWanted,
        }
    }

    /// When the last sending of the body begins: nothing is left that a held body could save, but
    /// for a client that holds its own.
    pub(super) fn last_start(&self) -> Start {
        match self.prepared.expects_continue {
            true => self.first_start(),
            false => Start::AtOnce,
        }
    }

    /// Sends the request with a session and waits for the head of the answer.
    ///
    /// # Errors
    /// Whose fault it is that there is no answer.
    pub(super) async fn send(
        &self,
        session: &Session,
        body: Sending<Upload>,
        sending: usize,
    ) -> Result<Answer<Sending<Upload>>, Problem> {
        let carried = self.prepared.carried(session, self.upstream, sending)?;
        let head = self.prepared.with(&carried);
        let body = match self.prepared.writes {
            None => body,
            Some(kind) => Box::pin(self.written(session, kind, body)).await?,
        };
        // Boxed: few requests need the room.
        let error = {
            let sent = if self.prepared.upgrade.is_some() {
                Box::pin(self.pool.upgrade(&head, body, &self.wait)).await
            } else if self.replay.is_held() {
                return Box::pin(self.send_asking(session, &head, body)).await;
            } else {
                self.pool.send(&head, body, &self.wait).await
            };
            match sent {
                Ok(answer) => return Ok(answer),
                Err(error) if error.was_not_processed() => error,
                Err(error) => return Err(self.failed(error)),
            }
        };
        Box::pin(self.send_anew(session, &head, error)).await
    }

    /// Sends a request again that was not sent, or that the upstream has not processed, while all of
    /// its body is there. It is no second sending in the sense of the walk: nothing was done.
    async fn send_anew(
        &self,
        session: &Session,
        head: &RequestHead<'_>,
        mut error: SendError,
    ) -> Result<Answer<Sending<Upload>>, Problem> {
        for _ in 0..UNPROCESSED_RETRIES_MAX {
            let again = poll_fn(|context| self.replay.poll_send_again(context, Start::AtOnce));
            let Ok(mut body) = again.await else { break };
            if let Some(kind) = self.prepared.writes {
                body = self.written(session, kind, body).await?;
            }
            match self.pool.send(head, body, &self.wait).await {
                Err(next) if next.was_not_processed() => error = next,
                answer => return answer.map_err(|error| self.failed(error)),
            }
        }
        Err(self.failed(error))
    }

    /// The client's whole body with the session in it. Whoever sends the request again begins with the
    /// client's own.
    async fn written(
        &self,
        session: &Session,
        kind: BodyKind,
        body: Sending<Upload>,
    ) -> Result<Sending<Upload>, Problem> {
        let body = Limited::new(body, self.written_bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Problem::BodyTooLong,
            false => self.failed(SendError::Broken(Broken::Body(error))),
        })?;
        let (method, bytes_max) = (self.prepared.method, self.written_bytes_max);
        let written = session.injector.written(method, kind, &body.to_bytes(), bytes_max);
        Ok(Sending::written(written.map_err(Problem::of_writing)?))
    }

    async fn send_asking(
        &self,
        session: &Session,
        head: &RequestHead<'_>,
        body: Sending<Upload>,
    ) -> Result<Answer<Sending<Upload>>, Problem> {
        let expectation = Expectation::new(self.replay.permission());
        let mut sending = pin!(self.pool.send_asking(head, body, &self.wait, Some(&expectation)));
        let heard = tokio::select! {
            answer = &mut sending => Some(answer),
            () = self.silence() => None,
        };
        let answer = match heard {
            Some(answer) => answer,
            None => {
                self.replay.go_ahead();
                sending.await
            }
        };
        let answer = match answer {
            Err(error) if error.was_not_processed() => {
                return self.send_anew(session, head, error).await;
            }
            answer => answer.map_err(|error| self.failed(error))?,
        };
        if answer.status != StatusCode::EXPECTATION_FAILED || !self.replay.is_held() {
            return Ok(answer);
        }
        // It does not know the question. No byte of the body has left.
        self.pool.note_expect(true);
        drop(answer);
        let body = self.replay.send(Start::AtOnce).map_err(|_| Problem::UpstreamBroken)?;
        self.pool.send(head, body, &self.wait).await.map_err(|error| self.failed(error))
    }

    /// Waits until the upstream has been asked and has said nothing for long enough. What it does is
    /// remembered.
    async fn silence(&self) {
        poll_fn(|context| self.replay.poll_asked_for(context)).await;
        self.clock.sleep(CONTINUE_WAIT_MAX).await;
        self.pool.note_expect(self.replay.is_held());
    }

    fn failed(&self, error: SendError) -> Problem {
        if self.replay.client_failed() {
            Problem::of_body(self.replay)
        } else if self.replay.storage_failed() {
            Problem::ReplayBroken
        } else {
            Problem::from(error)
        }
    }
}
