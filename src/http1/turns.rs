//! How long answers share a core. Where a thousand of them come as fast as they can be written,
//! whoever asks for little would wait for all of them: so one of them at a time goes on for a while,
//! and in between, whatever else the core has to do is done. Where there are few, each goes on as long
//! as it can: what it moves stays in the processor's caches.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// An answer counts as long when so much of it has been written.
pub const LONG_BYTES: u64 = 32 * 1024;

/// Whoever writes less at a time, such as events, is not long any more.
pub const PIECE_BYTES_MIN: usize = 4 * 1024;

/// So many long answers on a core do not crowd it.
pub const LONG_MAX: usize = 16;

/// What a long answer writes in its turn on a crowded core: so much that others' turns do not cost
/// much, and so little that nobody notices.
pub const TURN_BYTES: usize = 256 * 1024;

thread_local! {
    /// The long answers that are being sent by this thread, which is a core.
    static LONG: Cell<usize> = const { Cell::new(0) };

    /// Whose turn it is.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Whether there are so many long answers on this core that they take turns.
pub fn is_crowded() -> bool {
    LONG.get() > LONG_MAX
}

/// The turns of one answer. Begun and dropped on the same core.
#[derive(Debug, Default)]
pub struct Turns {
    /// Written in all, or since it wrote little at a time.
    bytes: u64,
    /// Written since its task last began to run.
    turn_bytes: usize,
    /// Once it had to ask for a turn.
    asked: Option<Box<PollSemaphore>>,
    /// It has asked, and has not had it.
    waits: bool,
    /// It is its turn, or was when its task last ran.
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// The answer's task runs. Where it is not its turn, it is woken when it is, and must end here.
    pub fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.turn_bytes = 0;
        self.permit = None;
        // Whoever is given a turn must take it, to pass it on even where there is nothing to write.
        if self.waits || self.takes_turns() {
            self.waits = true;
            let asked = self
                .asked
                .get_or_insert_with(|| Box::new(PollSemaphore::new(TURN.with(Arc::clone))));
            // It is never closed.
            self.permit = ready!(asked.poll_acquire(context));
            self.waits = false;
        }
        Poll::Ready(())
    }

    /// So much has been written.
    pub fn wrote(&mut self, bytes: usize) {
        let was_long = self.is_long();
        self.bytes += bytes as u64;
        self.turn_bytes += bytes;
        if self.is_long() && !was_long {
            LONG.set(LONG.get() + 1);
        }
    }

    /// Whether the task must end here, though it could go on.
    pub fn is_over(&self) -> bool {
        self.takes_turns() && (self.permit.is_none() || self.turn_bytes >= TURN_BYTES)
    }

    /// The task ends, for whatever reason; `goes_on` says that it will run again. Its turn lasts until
    /// then, which is when everything else has run that is ready now: others that wait for theirs come
    /// only then.
    pub fn end(&mut self, goes_on: bool, context: &Context<'_>) {
        let is_bulk = self.turn_bytes >= PIECE_BYTES_MIN;
        if self.permit.is_some() && goes_on && is_bulk {
            context.waker().wake_by_ref();
        } else {
            self.permit = None;
        }
        if self.turn_bytes > 0 && !is_bulk {
            self.is_short_again();
        }
    }

    fn is_short_again(&mut self) {
        if self.is_long() {
            LONG.set(LONG.get().saturating_sub(1));
        }
        self.bytes = 0;
    }

    fn takes_turns(&self) -> bool {
        self.is_long() && is_crowded()
    }

    fn is_long(&self) -> bool {
        self.bytes >= LONG_BYTES
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.is_short_again();
    }
}
