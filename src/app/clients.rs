//! Who may call, out of the settings.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::build::BuildError;
use crate::access::grant::{Grant, Grants};
use crate::access::identity::Ways;
use crate::access::jwt::{Issuer, Rule};
use crate::access::revoked::Revocations;
use crate::access::token::Tokens;
use crate::access::{Access, Client, Clients};
use crate::recipe::Recipe;
use crate::recipe::pattern::PathPattern;
use crate::session::{AccountId, UpstreamId};
use crate::settings::{self, Loaded, Settings};

/// The clients with their keys and grants, and the tokens of `issuers`, in the order in which
/// settings have them, that are theirs.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn clients(
    settings: &Settings,
    recipes: &[Arc<Recipe>],
    tokens: Tokens,
    revocations: &Revocations,
    issuers: Vec<Issuer>,
) -> Result<Arc<Clients>, BuildError> {
    let clients = settings.clients.iter().map(|client| {
        let grants = grants(client, settings, recipes)?;
        Ok(Client {
            name: client.id.as_str(),
            keys: client.keys.clone(),
            certificates: client.certificates.clone(),
            unix: client.unix.clone(),
            grants,
        })
    });
    let clients = clients.collect::<Result<Vec<_>, BuildError>>()?;
    let trusted = issuers.into_iter().zip(&settings.issuers);
    let trusted = trusted.map(|(issuer, written)| (issuer, rules(settings, &written.name)));
    Ok(Arc::new(Clients::new(clients, tokens, revocations).trusting(trusted)))
}

/// Which tokens of an issuer are which client's.
fn rules<'s>(settings: &'s Settings, issuer: &str) -> Vec<(Rule, &'s str)> {
    let clients = settings.clients.iter();
    let tokens = clients.flat_map(|client| client.tokens.iter().map(move |one| (client, one)));
    let of_issuer = tokens.filter(|(_, tokens)| tokens.issuer == issuer);
    of_issuer.map(|(client, tokens)| (tokens.rule.clone(), client.id.as_str())).collect()
}

/// The clients as far as they decide what is allowed: what they show is never looked at.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn granted(
    settings: &Settings,
    recipes: &[Arc<Recipe>],
) -> Result<Arc<Clients>, BuildError> {
    let tokens = Tokens::of_this_process(Duration::ZERO)?;
    clients(settings, recipes, tokens, &Revocations::default(), Vec::new())
}

/// What is told where clients' tokens end with the process.
pub const TOKENS_END: &str = "neither `access.token_key` nor `[state]` is configured: what clients \
     got for logging in ends at a restart, and they have to log in again";

/// What makes the tokens of local logins: with the key that is given, else with one made from the
/// state's, else with one that ends with the process. Blocks on the file system.
pub(super) fn tokens(loaded: &Loaded) -> Result<Tokens, StartError> {
    let life = loaded.settings.timeouts.client_token;
    let given = loaded.read_token_key().map_err(StartError::Faults)?;
    let key = match given {
        Some(key) => Some(key),
        None => loaded.read_state_key().map_err(StartError::Faults)?,
    };
    let tokens = match key {
        Some(key) => Tokens::from_secret(&key, life),
        None => Tokens::of_this_process(life),
    };
    Ok(tokens.map_err(BuildError::from)?)
}

/// Each grant once for each of its upstreams, which reads paths in its own way.
fn grants(
    client: &settings::Client,
    settings: &Settings,
    recipes: &[Arc<Recipe>],
) -> Result<Grants, BuildError> {
    let wrong = |what: &str| BuildError::Inconsistent(format!("client `{}`: {what}", client.id));
    let mut grants = Vec::new();
    for (place, written) in client.grants.iter().enumerate() {
        let upstreams = settings.upstreams.iter().zip(recipes).zip(0..);
        for ((upstream, recipe), number) in upstreams {
            if !written.upstreams.contains(&upstream.name) {
                continue;
            }
            let accounts = written.accounts.as_ref().map(|names| {
                let numbered = upstream.accounts.iter().zip(0..);
                let granted = numbered.filter(|(account, _)| names.contains(&account.name));
                granted.map(|(_, number)| AccountId(number)).collect()
            });
            let methods = written.methods.iter().flatten();
            let paths = written.paths.iter().flatten();
            grants.push(Grant {
                place,
                upstream: UpstreamId(number),
                accounts,
                methods: methods
                    .map(|text| text.parse().map_err(|_| wrong(text)))
                    .collect::<Result<_, _>>()?,
                paths: paths
                    .map(|text| {
                        PathPattern::parse(text, recipe.spelling.case_insensitive)
                            .map_err(|why| wrong(&why))
                    })
                    .collect::<Result<_, _>>()?,
            });
        }
    }
    Ok(Grants::new(grants))
}

/// Who may call at a listener.
pub(super) fn access(written: settings::Access, clients: &Arc<Clients>) -> Access {
    match written {
        settings::Access::Open => Access::Open,
        settings::Access::Clients => Access::Clients(Arc::clone(clients)),
    }
}

/// By what some client can show who it is at a listener.
pub(super) fn ways(listener: &settings::Listener, clients: &[settings::Client]) -> Ways {
    let every = clients.iter().map(|client| listener.ways(client));
    every.fold(Ways::default(), |all, one| Ways {
        keys: all.keys || one.keys,
        tokens: all.tokens || one.tokens,
        certificates: all.certificates || one.certificates,
        unix: all.unix || one.unix,
    })
}
