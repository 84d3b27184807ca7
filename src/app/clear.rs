//! Clears the budget and the quarantine of accounts, where no gateway holds the state.

use super::reach::Outside;
use super::trial::{choose, known};
use super::{StartError, TrialError, audit, state, upstreams};
use crate::audit::cleared;
use crate::clock::Clock;
use crate::session::counted::{self, Cleared};
use crate::settings::{self, Loaded};
use crate::state::Unwritable;
use crate::upstream::tls;

/// Why nothing was cleared.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// No such upstream or account, or a secret that cannot be read.
    #[error(transparent)]
    Account(#[from] TrialError),
    /// The state cannot be opened, most often because a gateway has it.
    #[error(transparent)]
    State(#[from] StartError),
    /// No state is kept: a restart clears everything.
    #[error("no `[state]` is configured: budgets are kept in memory, and a restart clears them")]
    NotKept,
    /// It could not be written.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// Gives accounts of an upstream a whole budget and lifts their quarantine: one, or all.
///
/// # Errors
/// See [`ClearError`].
pub async fn clear(
    loaded: &Loaded,
    upstream: &str,
    account: Option<&str>,
) -> Result<Vec<Cleared>, ClearError> {
    tls::install_crypto_provider();
    if loaded.settings.state.is_none() {
        return Err(ClearError::NotKept);
    }
    let written = known(&loaded.settings, upstream)?;
    let accounts = match account {
        Some(name) => vec![choose(written, Some(name))?.clone()],
        None => written.accounts.clone(),
    };
    let written = settings::Upstream { accounts, ..written.clone() };
    let credentials = loaded.read_credentials_of(&written).map_err(TrialError::Faults)?;
    let clock = Clock::system();
    let outside = Outside::untold(&clock);
    let answer_bytes_max = loaded.settings.limits.login_answer_bytes_max;
    let outside = (&outside, loaded.environment());
    let built = upstreams::alone(&written, &credentials, outside, answer_bytes_max);
    let built = built.map_err(TrialError::Build)?;
    let (kept, _) = state::open(loaded, &clock)?;
    // Whatever cannot be told is not done.
    let mut trail = audit::open(loaded)?;
    let accounts = counted::clear(kept, &built, &clock).await?;
    let lines: Vec<_> = accounts
        .iter()
        .map(|one| cleared(upstream, &one.account, &one.was, one.attempts_left))
        .collect();
    if let Some(trail) = &mut trail {
        trail.append(&lines).map_err(StartError::AuditUnwritable)?;
    }
    Ok(accounts)
}
