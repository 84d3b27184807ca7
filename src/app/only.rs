//! A gateway for one caller: settings cut down to one account of one upstream, behind a key that is
//! made for the purpose.

use std::net::{Ipv4Addr, SocketAddr};

use super::BuildError;
use super::trial::{TrialError, choose, known};
use crate::access::key::{ClientId, ClientKey, KnownKey};
use crate::settings::{
    Access, Address, Client, Grant, HalfClosed, Listener, Loaded, Prefix, Route, SessionScope,
    Upstream,
};

/// The name of the client, and of its listener.
const NAME: &str = "exec";

/// Leaves one account of one upstream with all that belongs to it, and one client, whose key is
/// returned. Nobody else is let in. It listens on loopback, at a port that is free.
///
/// # Errors
/// When there is no such upstream or account, or when the machine gives no random bytes.
pub fn only(
    loaded: &mut Loaded,
    upstream: &str,
    account: Option<&str>,
) -> Result<ClientKey, TrialError> {
    let settings = &mut loaded.settings;
    let written = known(settings, upstream)?;
    let account = choose(written, account)?.clone();
    let (upstream, account_name) = (written.name.clone(), account.name.clone());
    let written = Upstream { accounts: vec![account], ..written.clone() };

    let id: ClientId =
        NAME.parse().map_err(|_| BuildError::Inconsistent(format!("client `{NAME}`")))?;
    let key = ClientKey::generate(id.clone()).map_err(BuildError::from)?;
    settings.clients = vec![Client {
        id,
        keys: vec![KnownKey { digest: key.digest(), expires: None }],
        tokens: Vec::new(),
        certificates: Vec::new(),
        unix: Vec::new(),
        grants: vec![Grant {
            upstreams: vec![upstream.clone()],
            accounts: None,
            methods: None,
            paths: None,
        }],
        limits: None,
    }];
    settings.issuers.clear();
    // What is read again would be all of it.
    settings.watch = false;
    settings.upstreams = vec![written];
    settings.routes = vec![Route {
        host: None,
        path: "/".to_owned(),
        upstream,
        account: account_name,
        accounts: Vec::new(),
        session: SessionScope::Shared,
        prefix: Prefix::Kept,
        limits: None,
    }];
    settings.listeners = vec![Listener {
        name: NAME.to_owned(),
        address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        access: Access::Clients,
        tls: None,
        behind_tls: false,
        proxies: None,
        half_closed: HalfClosed::Left,
    }];
    // Operators ask the gateway that stands beside this one.
    settings.admin.enabled = false;
    settings.health = None;
    Ok(key)
}
