//! What a request counts as at the limits, and who shares the session that it carries.

use super::error::Problem;
use crate::access::Caller;
use crate::limit::{Kind, Place};
use crate::route::{Reading, Route, Sharing};
use crate::session::{AccountId, ClientNumber, Scope};

/// What a request needs places for.
pub(super) fn place(
    route: &Route,
    caller: Option<&Caller>,
    account: AccountId,
    reading: &Reading,
) -> Place {
    Place {
        client: caller.map(|caller| caller.number),
        route: route.number,
        account: account.0,
        kind: kind(reading),
    }
}

/// What a request does, as its upstream reads it.
pub(super) fn kind(reading: &Reading) -> Kind {
    if reading.method.is_safe() { Kind::Read } else { Kind::Write }
}

/// Who shares the session.
///
/// # Errors
/// When nobody has shown who it is, and each has a session of its own.
pub(super) fn scope(route: &Route, caller: Option<&Caller>) -> Result<Scope, Problem> {
    match (route.sharing, caller) {
        (Sharing::Shared, _) => Ok(Scope::Shared),
        (Sharing::PerClient, Some(caller)) => Ok(Scope::Client(ClientNumber(caller.number))),
        // Settings see to it that such a listener asks for keys.
        (Sharing::PerClient, None) => Err(Problem::ClientKeyMissing),
    }
}
