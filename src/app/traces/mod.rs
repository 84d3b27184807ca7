//! Sends spans of traces to an OpenTelemetry collector, where one is configured and Doorward was built
//! for it.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
use tokio::task::JoinHandle;

use crate::settings::Settings;
use crate::telemetry::{Missing, Reader};
#[cfg(feature = "otlp")]
use crate::upstream::tls::TlsError;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// This Doorward has no traces.
    #[error(
        "the table [traces] needs a Doorward that was built with the feature `otlp` (cargo install \
         doorward --features otlp)"
    )]
    #[cfg(not(feature = "otlp"))]
    NotBuilt,
    /// TLS towards the collector.
    #[error("the collector of traces: {0}")]
    #[cfg(feature = "otlp")]
    Tls(#[from] TlsError),
    /// The URL is of no use to the library that sends.
    #[error("the collector of traces cannot be used: {0}")]
    #[cfg(feature = "otlp")]
    Endpoint(String),
}

/// Makes spans of events, and the task that sends them.
pub(super) type Started = (Box<dyn Reader>, Sending);

/// The task that sends spans.
#[derive(Debug)]
pub(super) struct Sending {
    #[cfg(feature = "otlp")]
    task: JoinHandle<()>,
    missing: Missing,
}

impl Sending {
    /// Counts spans that are not sent.
    pub(super) fn missing(&self) -> Missing {
        self.missing.clone()
    }

    /// Waits until the last spans are sent, after the reader is gone.
    #[cfg(feature = "otlp")]
    pub(super) async fn ended(self) {
        // A task that died has told so itself.
        _ = self.task.await;
    }

    /// There are none.
    #[cfg(not(feature = "otlp"))]
    pub(super) async fn ended(self) {}
}

/// A reader that makes spans of events, and the task that sends them; nothing where none are wanted.
///
/// # Errors
/// See [`TracesError`].
#[cfg(feature = "otlp")]
pub(super) fn start(settings: &Settings) -> Result<Option<Started>, TracesError> {
    use crate::telemetry::trace::Tracing;

    let Some(written) = &settings.traces else { return Ok(None) };
    let missing = Missing::default();
    let (sender, receiver) = tokio::sync::mpsc::channel(spans::WAITING_MAX);
    let exporter = collector::exporter(written)?;
    let task = tokio::spawn(spans::send(exporter, receiver, missing.clone()));
    let reader = spans::Spans::new(Tracing::new(written.ratio), sender, missing.clone());
    Ok(Some((Box::new(reader), Sending { task, missing })))
}

/// Nothing, where none are wanted.
///
/// # Errors
/// See [`TracesError`].
#[cfg(not(feature = "otlp"))]
pub(super) fn start(settings: &Settings) -> Result<Option<Started>, TracesError> {
    match &settings.traces {
        Some(_) => Err(TracesError::NotBuilt),
        None => Ok(None),
    }
}
