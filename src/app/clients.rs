//! Who may call, out of the settings.

use std::sync::Arc;

use super::build::BuildError;
use crate::access::grant::{Grant, Grants};
use crate::access::{Access, Client, Clients};
use crate::recipe::Recipe;
use crate::recipe::pattern::PathPattern;
use crate::session::{AccountId, UpstreamId};
use crate::settings::{self, Settings};

/// The clients with their keys and grants.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn clients(
    settings: &Settings,
    recipes: &[Arc<Recipe>],
) -> Result<Arc<Clients>, BuildError> {
    let clients = settings.clients.iter().map(|client| {
        let grants = grants(client, settings, recipes)?;
        Ok(Client { name: client.id.as_str(), keys: client.keys.clone(), grants })
    });
    Ok(Arc::new(Clients::new(clients.collect::<Result<Vec<_>, BuildError>>()?)))
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
