//! Whose turn it is among long answers that come as fast as they can be written.
//!
//! One of them at a time goes on for a while; in between, whatever else a core has to do is done.
//! Without turns all of them would go on, and somebody who asks for little would wait for a
//! thousand.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// What a task writes of an answer without having its turn, once it has something to write. Most
/// answers are no longer.
const FREE_BYTES: usize = 32 * 1024;

/// What it writes in its turn: so much that most of it passes through warm caches.
const TURN_BYTES: usize = 1024 * 1024;

/// The turns of one core. Clones are the same.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The turns of one answer.
#[derive(Debug)]
pub struct Turn<'t> {
    turns: &'t Turns,
    /// Once it had to ask for one.
    asked: Option<PollSemaphore>,
    /// Whether it has asked and has not had it.
    waits: bool,
}

/// A task that writes; its turn ends with it.
#[derive(Debug)]
pub struct Going<'w, 't> {
    turn: &'w mut Turn<'t>,
    permit: Option<OwnedSemaphorePermit>,
    written: usize,
}

impl Turns {
    /// For an answer.
    pub fn of_answer(&self) -> Turn<'_> {
        Turn { turns: self, asked: None, waits: false }
    }
}

impl<'t> Turn<'t> {
    /// The task runs. Where it waits for its turn, it is woken when that has come, and must end here.
    pub fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<Going<'_, 't>> {
        // Whoever is given a turn must take it, to pass it on even where there is nothing to write.
        let permit = if self.waits { ready!(self.poll_ask(context)) } else { None };
        Poll::Ready(Going { turn: self, permit, written: 0 })
    }

    fn poll_ask(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        let turns = &self.turns.0;
        let asked = self.asked.get_or_insert_with(|| PollSemaphore::new(Arc::clone(turns)));
        self.waits = true;
        // It is never closed.
        let permit = ready!(asked.poll_acquire(context));
        self.waits = false;
        Poll::Ready(permit)
    }
}

impl Going<'_, '_> {
    /// So many bytes were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Ready when the task may go on. Else it is woken when it may, and must end here.
    pub fn poll_on(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.written < FREE_BYTES {
            return Poll::Ready(());
        }
        if self.permit.is_some() {
            if self.written < TURN_BYTES {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.permit = ready!(self.turn.poll_ask(context));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// How often a task runs that writes so much in pieces.
    async fn write(turns: &Turns, bytes: usize, piece: usize) -> usize {
        let (mut turn, mut left, mut runs) = (turns.of_answer(), bytes, 0);
        poll_fn(|context| {
            runs += 1;
            let mut going = ready!(turn.poll_begin(context));
            loop {
                left -= piece;
                going.wrote(piece);
                if left == 0 {
                    return Poll::Ready(());
                }
                ready!(going.poll_on(context));
            }
        })
        .await;
        runs
    }

    /// Fails when a long answer never lets others run, or waits for nothing.
    #[tokio::test(start_paused = true)]
    async fn a_long_answer_ends_its_turns() {
        let turns = Turns::default();
        let all = timeout(Duration::from_secs(1), write(&turns, 4 * TURN_BYTES, 1024));
        assert_eq!(all.await.unwrap(), 4);
        assert_eq!(write(&turns, FREE_BYTES, 1024).await, 1);
    }

    /// Fails when two go on at a time, when one that has nothing to write keeps its turn, or when a
    /// short one waits.
    #[tokio::test(start_paused = true)]
    async fn long_answers_go_on_one_at_a_time_and_short_ones_need_not_wait() {
        let turns = Turns::default();
        let (mut first, mut second) = (turns.of_answer(), turns.of_answer());
        let mut context = Context::from_waker(Waker::noop());
        let mut begin = |turn: &mut Turn<'_>, bytes| {
            let Poll::Ready(mut going) = turn.poll_begin(&mut context) else { return None };
            going.wrote(bytes);
            Some(going.poll_on(&mut context).is_ready())
        };
        let mut other = Context::from_waker(Waker::noop());
        let Poll::Ready(mut going) = first.poll_begin(&mut other) else { panic!("it waits") };
        going.wrote(FREE_BYTES);
        assert!(going.poll_on(&mut other).is_ready());

        assert_eq!(begin(&mut second, FREE_BYTES - 1), Some(true), "a short one");
        assert_eq!(begin(&mut second, FREE_BYTES), Some(false));
        assert_eq!(begin(&mut second, 0), None, "it waits");
        assert_eq!(write(&turns, FREE_BYTES - 1, 1).await, 1);

        drop(going);
        // The second has the turn now, and passes it on.
        assert_eq!(begin(&mut first, FREE_BYTES), Some(false));
        assert_eq!(begin(&mut second, 0), Some(true));
        assert_eq!(begin(&mut first, 0), Some(true));

        let both =
            async { tokio::join!(write(&turns, 1 << 23, 1024), write(&turns, 1 << 23, 1024)) };
        assert_eq!(timeout(Duration::from_secs(1), both).await.unwrap(), (8, 8));
    }
}
