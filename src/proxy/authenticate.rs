//! Step 3 of the walk: who calls.

use std::time::Duration;

use super::error::Problem;
use crate::access::{Access, Asking, Denied, Proven};
use crate::clock::Clock;

/// How long a request waits for the keys of its token's issuer. They are fetched in a fraction of a
/// second, or not at all.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who calls; nothing in open mode.
pub(super) async fn caller(
    access: &Access,
    asking: &Asking<'_>,
    clock: &Clock,
) -> Result<Option<Proven>, Problem> {
    let judge = || access.authenticate(asking, || clock.wall());
    Ok(judged(access, clock, judge).await?)
}

/// What is judged of a request. A key is judged at once. A token of an issuer waits for the issuer's
/// keys where they are missing, at most once and for [`KEYS_WAIT_MAX`].
pub(super) async fn judged<T>(
    access: &Access,
    clock: &Clock,
    judge: impl Fn() -> Result<T, Denied>,
) -> Result<T, Denied> {
    let wanted = match judge() {
        Err(Denied::KeysWanted(wanted)) => wanted,
        judged => return judged,
    };
    // In a box of its own: others do not carry its room along.
    let fetched = Box::pin(async {
        tokio::select! {
            () = access.fetched(wanted) => {}
            () = clock.sleep(KEYS_WAIT_MAX) => {}
        }
    });
    fetched.await;
    judge()
}
