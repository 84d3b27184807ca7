//! The demonstration's page in a browser: a port of its own, by a link that opens once.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use crate::admin::{Relay, RelayError};

/// How long the link can be opened: whoever tries the demo reads first. What it opens is as harmless
/// as the demo.
const LINK_LIFE: Duration = Duration::from_secs(10 * 60);

/// The page, served until it is stopped.
#[derive(Debug)]
pub(super) struct Page {
    link: String,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl Page {
    /// Serves it; nothing where Doorward has no socket for operators. Needs a runtime.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub(super) fn open(stage: &Stage) -> Result<Option<Self>, RelayError> {
        let Some(socket) = stage.admin_socket() else { return Ok(None) };
        let relay = Relay::open(socket)?;
        let link = relay.link_for(LINK_LIFE)?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(relay.run(stop.clone()));
        Ok(Some(Self { link, stop, serving }))
    }

    /// What opens it, once.
    pub(super) fn link(&self) -> &str {
        &self.link
    }

    /// For how many minutes it can be opened.
    pub(super) fn minutes() -> u64 {
        LINK_LIFE.as_secs() / 60
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // A port that failed has nobody to tell by now.
        _ = self.serving.await;
    }
}
