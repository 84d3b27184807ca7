//! Who may call, out of the settings.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::StartError;
use super::build::BuildError;
use super::ids::Ids;
use crate::access::grant::{Grant, Grants};
use crate::access::identity::Ways;
use crate::access::jwt::{Issuer, Rule};
use crate::access::key::NoRandomness;
use crate::access::revoked::Revocations;
use crate::access::token::Tokens;
use crate::access::{Client, Clients};
use crate::proxy::Entry;
use crate::recipe::Recipe;
use crate::recipe::pattern::PathPattern;
use crate::secret::SecretText;
use crate::settings::{self, Loaded, Settings};

/// The clients with their keys and grants, and the tokens of `issuers`, in the order in which
/// settings have them, that are theirs.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn clients(
    settings: &Settings,
    ids: &Ids,
    recipes: &[Arc<Recipe>],
    tokens: Tokens,
    revocations: &Revocations,
    issuers: Vec<Issuer>,
) -> Result<Arc<Clients>, BuildError> {
    let clients = settings.clients.iter().map(|client| {
        let grants = grants(client, settings, ids, recipes)?;
        Ok(Client {
            number: ids.client(client.id.as_str())?.0,
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
    ids: &Ids,
    recipes: &[Arc<Recipe>],
) -> Result<Arc<Clients>, BuildError> {
    let tokens = Tokens::of_this_process(Duration::ZERO)?;
    clients(settings, ids, recipes, tokens, &Revocations::default(), Vec::new())
}

/// What is told where clients' tokens end with the process.
pub const TOKENS_END: &str = "neither `access.token_key` nor `[state]` is configured: what clients \
     got for logging in ends at a restart, and they have to log in again";

/// What makes the tokens of local logins: with the key that is given, else with one made from the
/// state's, else with `of_process`, which ends with the process. Blocks on the file system.
pub(super) fn tokens(loaded: &Loaded, of_process: &SecretText) -> Result<Tokens, StartError> {
    let life = loaded.settings.timeouts.client_token;
    let given = loaded.read_token_key().map_err(StartError::Faults)?;
    let key = match given {
        Some(key) => Some(key),
        None => loaded.read_state_key().map_err(StartError::Faults)?,
    };
    let key = key.as_ref().unwrap_or(of_process);
    Ok(Tokens::from_secret(key, life).map_err(BuildError::from)?)
}

/// A key that nobody knows, and that ends with the process.
///
/// # Errors
/// When the machine gives no random bytes.
pub(super) fn key_of_process() -> Result<SecretText, BuildError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(SecretText::from(HEXLOWER.encode(bytes.as_slice())))
}

/// Each grant once for each of its upstreams, which reads paths in its own way.
fn grants(
    client: &settings::Client,
    settings: &Settings,
    ids: &Ids,
    recipes: &[Arc<Recipe>],
) -> Result<Grants, BuildError> {
    let wrong = |what: &str| BuildError::Inconsistent(format!("client `{}`: {what}", client.id));
    let mut grants = Vec::new();
    for (place, written) in client.grants.iter().enumerate() {
        for (upstream, recipe) in settings.upstreams.iter().zip(recipes) {
            if !written.upstreams.contains(&upstream.name) {
                continue;
            }
            let accounts = written.accounts.as_ref().map(|names| {
                let granted = upstream.accounts.iter().filter(|one| names.contains(&one.name));
                granted.map(|account| ids.account(&upstream.name, &account.name)).collect()
            });
            let methods = written.methods.iter().flatten();
            let paths = written.paths.iter().flatten();
            grants.push(Grant {
                place,
                upstream: ids.upstream(&upstream.name)?,
                accounts: accounts.transpose()?,
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

/// Whom a listener lets in.
pub(super) fn entry(written: settings::Access) -> Entry {
    match written {
        settings::Access::Open => Entry::Open,
        settings::Access::Clients => Entry::Clients,
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
