//! Step 3 of the walk: what the caller may do, and by whose account. It needs no session and sends
//! nothing, so `doorward explain` asks the same.

use http::Method;

use super::error::Problem;
use crate::access::{self, Caller};
use crate::fields::{self, Fields};
use crate::recipe::{EndpointRule, Recipe};
use crate::route::{Canonical, Reading, Route};
use crate::session::AccountId;
use crate::shield;

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

/// A request as its upstream reads it.
#[derive(Clone, Debug)]
pub struct Read<'r> {
    /// Its method and path.
    pub reading: Reading,
    /// The rule for its endpoint, if there is one.
    pub rule: Option<&'r EndpointRule>,
}

/// A request that is allowed.
#[derive(Clone, Debug)]
pub struct Permit<'r> {
    /// How its upstream reads it.
    pub read: Read<'r>,
    /// Whose account it uses.
    pub account: AccountId,
    /// Which of the caller's grants allows it; nothing in open mode.
    pub grant: Option<usize>,
}

/// Reads a request as its upstream does, before it is known who sends it.
///
/// # Errors
/// [`Problem::AmbiguousPath`] and [`Problem::AmbiguousRequest`] for a request with two readings
/// wherever a rule of the recipe could be missed.
pub fn read<'r>(route: &Route, recipe: &'r Recipe, asked: Asked<'_>) -> Result<Read<'r>, Problem> {
    if recipe.has_path_rules() {
        unambiguous(recipe, asked)?;
    }
    let path = &asked.canonical.path;
    let path = match route.strip_prefix {
        true => path.strip_prefix(&route.prefix).unwrap_or(path),
        false => path,
    };
    let path = if path.is_empty() { "/" } else { path };
    let reading = Reading::of(asked.method, path, asked.query, &recipe.spelling)
        .map_err(Problem::AmbiguousRequest)?;
    let rule = shield::rule(recipe, &reading);
    Ok(Read { reading, rule })
}

fn unambiguous(recipe: &Recipe, asked: Asked<'_>) -> Result<(), Problem> {
    match asked.canonical.ambiguity(recipe.spelling.encoded_slash) {
        Some(ambiguity) => Err(Problem::AmbiguousPath(ambiguity)),
        None => Ok(()),
    }
}

/// Allows a request, or says why not. Of the accounts that the client may use, the first one that is
/// granted is used: the one it names, or else the route's own and then those it may choose.
///
/// What is answered here, such as a logout, takes any grant for the upstream: nothing is done there.
///
/// # Errors
/// Those of [`read`], and where a grant has paths its own; [`Problem::AccountNotGranted`] where the
/// route leaves no account of that name to its clients; [`Problem::NotGranted`] where no grant
/// allows it.
pub fn authorize<'r>(
    route: &Route,
    recipe: &Recipe,
    caller: Option<&Caller>,
    asked: Asked<'_>,
    read: Result<Read<'r>, Problem>,
) -> Result<Permit<'r>, Problem> {
    let mut accounts = route.accounts(asked.account).peekable();
    let first = *accounts.peek().ok_or(Problem::AccountNotGranted)?;
    if caller.is_some_and(|caller| caller.grants.have_path_rules(route.upstream)) {
        unambiguous(recipe, asked)?;
    }
    let read = read?;
    let Some(caller) = caller else {
        return Ok(Permit { read, account: first, grant: None });
    };
    let allowing = |account| match read.rule {
        Some(EndpointRule::Answer(_)) => caller.grants.at(route.upstream, account),
        _ => caller.grants.allowing(route.upstream, account, &read.reading),
    };
    let granted = accounts.find_map(|account| allowing(account).map(|grant| (account, grant)));
    let (account, grant) = granted.ok_or(Problem::NotGranted)?;
    Ok(Permit { read, account, grant: Some(grant) })
}

/// The account that a client names.
///
/// # Errors
/// [`Problem::AccountNotGranted`] when it names two.
pub(super) fn named_account(headers: &Fields) -> Result<Option<&str>, Problem> {
    let mut named = headers.get_all(access::CLIENT_ACCOUNT);
    // What is no text is no account's name.
    let name = named.next().map(|name| fields::text(name).unwrap_or_default());
    match named.next() {
        None => Ok(name),
        Some(_) => Err(Problem::AccountNotGranted),
    }
}
