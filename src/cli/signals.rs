//! The signals that ask a command to stop, and the one that asks it what it has rejected.

use std::io;

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
