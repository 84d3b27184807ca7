//! One sending of a request to its upstream. A long body waits until the upstream wants it, so that
//! a dead session costs the head only (`Expect: 100-continue`, RFC 9110 section 10.1.1).

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use http::StatusCode;

use super::error::Problem;
use super::prepare::Prepared;
use super::upload::Upload;
use crate::clock::Clock;
use crate::forward::replay::{Outlook, Replay, Sending, Start};
use crate::session::{Session, Upstream};
use crate::upstream::{Answer, Expectation, Pool, RequestHead, SendError, Wait};

/// How long an upstream may think about whether it wants a body; then it is sent. Clients wait as
/// long, and RFC 9110 section 10.1.1 forbids to wait for ever.
const CONTINUE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often a request is sent again that the upstream has not processed: one that goes away refuses
/// what crosses its farewell, and the next connection is another one's.
const UNPROCESSED_RETRIES_MAX: usize = 2;

/// A request on its way.
pub(super) struct Delivery<'a> {
    pub(super) pool: &'a Pool<Sending<Upload>>,
    pub(super) clock: &'a Clock,
    pub(super) prepared: &'a Prepared<'a>,
    pub(super) replay: &'a Replay<Upload>,
    pub(super) upstream: &'a Upstream,
    /// How far it has come.
    pub(super) wait: Wait,
}

impl Delivery<'_> {
    /// When the first sending of the body begins.
    pub(super) fn first_start(&self) -> Start {
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
        // Boxed: few requests need the room.
        let answer = if self.prepared.upgrade.is_some() {
            Box::pin(self.pool.upgrade(&head, body, &self.wait)).await
        } else if self.replay.is_held() {
            return Box::pin(self.send_asking(&head, body)).await;
        } else {
            self.pool.send(&head, body, &self.wait).await
        };
        match answer {
            Err(error) if error.was_not_processed() => Box::pin(self.send_anew(&head, error)).await,
            answer => answer.map_err(|error| self.failed(error)),
        }
    }

    /// Sends a request again that was not sent, or that the upstream has not processed, while all of
    /// its body is there. It is no second sending in the sense of the walk: nothing was done.
    async fn send_anew(
        &self,
        head: &RequestHead<'_>,
        mut error: SendError,
    ) -> Result<Answer<Sending<Upload>>, Problem> {
        for _ in 0..UNPROCESSED_RETRIES_MAX {
            let again = poll_fn(|context| self.replay.poll_send_again(context, Start::AtOnce));
            let Ok(body) = again.await else { break };
            match self.pool.send(head, body, &self.wait).await {
                Err(next) if next.was_not_processed() => error = next,
                answer => return answer.map_err(|error| self.failed(error)),
            }
        }
        Err(self.failed(error))
    }

    async fn send_asking(
        &self,
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
            Err(error) if error.was_not_processed() => return self.send_anew(head, error).await,
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
