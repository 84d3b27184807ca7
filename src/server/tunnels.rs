//! The tunnels of an HTTP/2 connection, each on a stream of its own beside the others.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

use super::pace::Underway;
use crate::proxy::tunnel::Tunnel;

/// The tunnels that are there. Dropped, it cuts them off.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Mutex<JoinSet<()>>);

impl Tunnels {
    /// Runs a tunnel; while it does, its connection does not idle.
    pub(super) fn run(&self, tunnel: Box<Tunnel>, underway: Underway) {
        let mut tunnels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(async move {
            tunnel.run().await;
            drop(underway);
        });
    }

    /// Waits for all of them, once no more can begin. Dropped, it cuts off those that are left.
    pub(super) async fn end(&self) {
        let mut tunnels =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        while tunnels.join_next().await.is_some() {}
    }
}
