//! Step 3 of the walk: what the caller may do, and by whose account. It needs no session and sends
//! nothing, so `doorward explain` asks the same.

use http::{HeaderMap, Method};

use super::error::Problem;
use crate::access::{self, Caller};
use crate::recipe::Recipe;
use crate::route::{Canonical, Reading, Route};
use crate::session::AccountId;

/// What a caller asks for, as far as it decides what is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical copy of the path.
    pub canonical: &'a Canonical,
    /// The query, as it was sent.
    pub query: Option<&'a str>,
    /// The account that the client names.
    pub account: Option<&'a str>,
}

/// A request that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// How its upstream reads it.
    pub reading: Reading,
    /// Whose account it uses.
    pub account: AccountId,
    /// Which of the caller's grants allows it; nothing in open mode.
    pub grant: Option<usize>,
}

/// Allows a request, or says why not. Of the accounts that the client may use, the first one that is
/// granted is used: the one it names, or else the route's own and then those it may choose.
///
/// # Errors
/// [`Problem::AmbiguousPath`] and [`Problem::AmbiguousRequest`] for a request with two readings
/// wherever a rule could be missed; [`Problem::AccountNotGranted`] where the route leaves no account
/// of that name to its clients; [`Problem::NotGranted`] where no grant allows it.
pub fn authorize(
    route: &Route,
    recipe: &Recipe,
    caller: Option<&Caller>,
    asked: Asked<'_>,
) -> Result<Permit, Problem> {
    let mut accounts = route.accounts(asked.account).peekable();
    let first = *accounts.peek().ok_or(Problem::AccountNotGranted)?;
    let reading = read(route, recipe, caller, asked)?;
    let Some(caller) = caller else {
        return Ok(Permit { reading, account: first, grant: None });
    };
    let allowing = |account| caller.grants.allowing(route.upstream, account, &reading);
    let granted = accounts.find_map(|account| allowing(account).map(|grant| (account, grant)));
    let (account, grant) = granted.ok_or(Problem::NotGranted)?;
    Ok(Permit { reading, account, grant: Some(grant) })
}

/// Reads the request as the upstream does. What has two readings is refused wherever a rule could
/// be missed.
fn read(
    route: &Route,
    recipe: &Recipe,
    caller: Option<&Caller>,
    asked: Asked<'_>,
) -> Result<Reading, Problem> {
    let has_path_rules = recipe.has_path_rules()
        || caller.is_some_and(|caller| caller.grants.have_path_rules(route.upstream));
    if has_path_rules
        && let Some(ambiguity) = asked.canonical.ambiguity(recipe.spelling.encoded_slash)
    {
        return Err(Problem::AmbiguousPath(ambiguity));
    }
    let path = &asked.canonical.path;
    let path = match route.strip_prefix {
        true => path.strip_prefix(&route.prefix).unwrap_or(path),
        false => path,
    };
    let path = if path.is_empty() { "/" } else { path };
    Reading::of(asked.method, path, asked.query, &recipe.spelling)
        .map_err(Problem::AmbiguousRequest)
}

/// The account that a client names.
///
/// # Errors
/// [`Problem::AccountNotGranted`] when it names two.
pub(super) fn named_account(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut named = headers.get_all(access::CLIENT_ACCOUNT).iter();
    // What is no text is no account's name.
    let name = named.next().map(|name| name.to_str().unwrap_or_default());
    match named.next() {
        None => Ok(name),
        Some(_) => Err(Problem::AccountNotGranted),
    }
}
