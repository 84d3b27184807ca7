//! Opens the state of an earlier run for the broker.

use super::StartError;
use crate::clock::Clock;
use crate::session::{AtStop, Kept, Ledger, OnFailure};
use crate::settings::{self, Loaded};
use crate::state::{Notice, Opened, Store};

/// What is told where no state is kept.
pub const NOT_KEPT: &str =
    "no `[state]` is configured: login attempts and open sessions are forgotten at a restart";

/// Opens the state, where one is configured. Blocks on the file system.
pub(super) fn open(loaded: &Loaded, clock: &Clock) -> Result<(Kept, Vec<Notice>), StartError> {
    let key = loaded.read_state_key().map_err(StartError::Faults)?;
    let (Some(state), Some(key)) = (&loaded.settings.state, key) else {
        return Ok((Kept::default(), Vec::new()));
    };
    let Opened { store, records, notices, cautious } =
        Store::open(&state.path, &key, clock.wall())?;
    let ledger = Ledger {
        store: Some(store),
        on_failure: match state.on_failure {
            settings::OnFailure::Block => OnFailure::Block,
            settings::OnFailure::Continue => OnFailure::Continue,
        },
        at_stop: match state.at_stop {
            settings::AtStop::LogOut => AtStop::LogOut,
            settings::AtStop::Keep => AtStop::Keep,
        },
    };
    Ok((Kept { ledger, records, cautious }, notices))
}
