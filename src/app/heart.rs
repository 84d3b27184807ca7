//! Whether every core still runs: on each of them a task answers when it is asked. A core that
//! hangs in one task answers nobody.

use tokio::sync::{mpsc, oneshot};

/// Asks one core.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    number: usize,
    ask: mpsc::Sender<oneshot::Sender<()>>,
}

/// How a core answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Its runtime runs tasks.
    Alive,
    /// Its runtime is gone.
    Gone,
}

impl Heart {
    /// The heart of core `number`, and the task that must run on that core. It ends with the core's
    /// runtime.
    pub(super) fn new(number: usize) -> (Self, impl Future<Output = ()> + Send) {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let answers = async move {
            while let Some(answer) = asked.recv().await {
                // Whoever has asked may have given up.
                _ = answer.send(());
            }
        };
        (Self { number, ask }, answers)
    }

    /// The core's number.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Waits until the core answers; for ever where it hangs. Cancel safe.
    pub(super) async fn beat(&self) -> Beat {
        let (answer, answered) = oneshot::channel();
        match self.ask.send(answer).await {
            Ok(()) => answered.await.map_or(Beat::Gone, |()| Beat::Alive),
            Err(_) => Beat::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc as blocking;
    use std::task::Poll;
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;

    /// Fails when anything but the core's own runtime answers.
    #[tokio::test]
    async fn a_core_that_hangs_in_a_task_does_not_answer_until_it_goes_on() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (heart, answers) = Heart::new(0);
        runtime.spawn(answers);
        let (go_on, hangs) = blocking::channel::<()>();
        let (begun, hung) = oneshot::channel();
        let (told, answered) = oneshot::channel();
        let core = thread::spawn(move || {
            runtime.block_on(async move {
                begun.send(()).unwrap();
                hangs.recv().unwrap_err();
                answered.await.unwrap();
            });
        });
        hung.await.unwrap();
        let mut beat = Box::pin(heart.beat());
        let pending = poll_fn(|context| Poll::Ready(beat.as_mut().poll(context).is_pending()));
        assert!(pending.await, "a hung core has answered");
        drop(go_on);
        assert_eq!(beat.await, Beat::Alive);
        told.send(()).unwrap();
        core.join().unwrap();
        assert_eq!(heart.beat().await, Beat::Gone);
    }
}
