//! The signals that ask a command to stop, to read its configuration again, and what it has
//! rejected, and those that it passes on to a command of its own.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, caught from here on.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches both. Needs a runtime.
    ///
    /// # Errors
    /// When the system does not let them be caught.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, caught from here on: an operator asks for the configuration to be read again.
#[derive(Debug)]
pub(super) struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Catches it. Needs a runtime.
    ///
    /// # Errors
    /// When the system does not let it be caught.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        _ = self.0.recv().await;
    }
}

/// SIGUSR1, caught from here on: an operator asks for the last rejected messages.
#[derive(Debug)]
pub(super) struct RejectedSignal(Signal);

impl RejectedSignal {
    /// Catches it. Needs a runtime.
    ///
    /// # Errors
    /// When the system does not let it be caught.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined1())?))
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        _ = self.0.recv().await;
    }
}

/// What a process is told that it should pass on to the command that it runs.
#[derive(Debug)]
pub(super) struct PassedSignals {
    streams: [(Number, Signal); 6],
}

impl PassedSignals {
    /// Catches SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 and SIGUSR2. Needs a runtime.
    ///
    /// # Errors
    /// When the system does not let them be caught.
    pub(super) fn catch() -> io::Result<Self> {
        let caught = |number, kind| Ok::<_, io::Error>((number, signal(kind)?));
        Ok(Self {
            streams: [
                caught(Number::TERM, SignalKind::terminate())?,
                caught(Number::INT, SignalKind::interrupt())?,
                caught(Number::QUIT, SignalKind::quit())?,
                caught(Number::HUP, SignalKind::hangup())?,
                caught(Number::USR1, SignalKind::user_defined1())?,
                caught(Number::USR2, SignalKind::user_defined2())?,
            ],
        })
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Number {
        poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}
