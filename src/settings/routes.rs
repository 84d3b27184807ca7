//! Routes: which request goes to which upstream, by which account.

use std::collections::BTreeMap;

use super::meaning::{Meaning, under};
use super::written;
use super::{Access, Listener, Prefix, Route, SessionScope, Upstream};
use crate::diagnosis::suggestion;

/// By name; nothing where one cannot be used.
pub(super) type Upstreams = BTreeMap<String, Option<Upstream>>;

impl Meaning<'_> {
    pub(super) fn routes(
        &mut self,
        written: Vec<written::Route>,
        upstreams: &Upstreams,
    ) -> Vec<Route> {
        if written.is_empty() && self.layers.sure("/routes") {
            let fault = self.layers.fault("/routes", "there is no route");
            self.faults.push(fault.help("add `[[routes]]` with `upstream = \"NAME\"`"));
        }
        let mut routes: Vec<Route> = Vec::new();
        for (index, route) in written.into_iter().enumerate() {
            let at = under("/routes", &index.to_string());
            let host = route.host.as_deref().map(|host| self.host(&under(&at, "host"), host));
            let path = self.route_path(&under(&at, "path"), &route.path);
            let target = route.upstream.and_then(|upstream| {
                let account = self.account(&at, &upstream, route.account.as_deref(), upstreams)?;
                Some((upstream, account))
            });
            let same = |other: &Route| other.host == host && other.path == path;
            if routes.iter().any(same) && !self.layers.broken(&at) {
                let message = "an earlier route takes the same host and path";
                self.faults.push(self.layers.key_fault(&at, message));
            }
            // A route without a usable target still takes its place among the routes.
            let (upstream, account) = target.unwrap_or_default();
            let prefix = if route.strip_prefix { Prefix::Stripped } else { Prefix::Kept };
            let accounts = self.choices(&at, &upstream, route.accounts, upstreams);
            let session = route.session;
            let limits = route.limits.map(|limit| self.limit(&under(&at, "limits"), limit));
            routes.push(Route { host, path, upstream, account, accounts, session, prefix, limits });
        }
        self.unused(&routes, upstreams);
        routes
    }

    fn host(&mut self, at: &str, host: &str) -> String {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.contains("://") || host.contains('/') {
            self.fault(at, "this is a host alone, without scheme and path");
        } else if host.contains('*') {
            self.fault(at, "a host is matched as a whole; leave `host` out to take any");
        } else if !bracketed && host.contains(':') {
            self.fault(at, "this is a host alone, without a port");
        } else if !bracketed && (host.is_empty() || !host.bytes().all(name)) {
            self.fault(at, "this is not a host name");
        }
        host.to_ascii_lowercase()
    }

    fn route_path(&mut self, at: &str, path: &str) -> String {
        let trimmed = path.trim_end_matches('/');
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        if !path.starts_with('/') {
            let fault = self.layers.fault(at, "the path of a route begins with `/`");
            self.faults.push(fault.help(format!("write \"/{path}\"")));
        } else if path.contains('*') {
            self.fault(at, "the path of a route is a prefix; it has no `*`");
        } else if path.contains(['?', '#']) {
            self.fault(at, "the path of a route has neither query nor fragment");
        } else if trimmed.split('/').skip(1).any(odd) {
            self.fault(at, "the path of a route has no empty, `.` or `..` segments");
        } else if path.contains(['%', '\\']) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            let fault = self.layers.fault(at, "the path of a route is plain ASCII, not encoded");
            self.faults.push(fault.help("routes are matched on the decoded path"));
        }
        if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
    }

    /// The account that a route uses, written or the only one.
    fn account(
        &mut self,
        at: &str,
        upstream: &str,
        account: Option<&str>,
        upstreams: &Upstreams,
    ) -> Option<String> {
        let Some(found) = upstreams.get(upstream) else {
            if self.layers.sure("/upstreams") {
                let message = format!("there is no upstream `{upstream}`");
                let fault = self.layers.fault(&under(at, "upstream"), message);
                self.faults.push(fault.did_you_mean(suggestion(upstream, upstreams.keys())));
            }
            return None;
        };
        // The faults of an upstream that cannot be used are already told.
        let found = found.as_ref()?;
        let names: Vec<&str> = found.accounts.iter().map(|account| account.name.as_str()).collect();
        match (account, names.as_slice()) {
            (Some(account), names) if names.contains(&account) => Some(account.to_owned()),
            (Some(account), names) => {
                let message = format!("upstream `{upstream}` has no account `{account}`");
                let fault = self.layers.fault(&under(at, "account"), message);
                self.faults.push(fault.did_you_mean(suggestion(account, names)));
                None
            }
            (None, [only]) => Some((*only).to_owned()),
            (None, []) => None,
            (None, several) => {
                if !self.layers.broken(at) {
                    let message =
                        format!("missing key `account`: upstream `{upstream}` has several");
                    let fault = self.layers.key_fault(at, message);
                    self.faults
                        .push(fault.help(format!("its accounts are {}", several.join(", "))));
                }
                None
            }
        }
    }

    /// The accounts that a client may choose.
    fn choices(
        &mut self,
        at: &str,
        upstream: &str,
        accounts: Vec<String>,
        upstreams: &Upstreams,
    ) -> Vec<String> {
        let Some(Some(found)) = upstreams.get(upstream) else { return accounts };
        let names: Vec<&str> = found.accounts.iter().map(|account| account.name.as_str()).collect();
        for (index, account) in accounts.iter().enumerate() {
            if !names.contains(&account.as_str()) {
                let message = format!("upstream `{upstream}` has no account `{account}`");
                let at = under(&under(at, "accounts"), &index.to_string());
                let fault = self.layers.fault(&at, message);
                self.faults.push(fault.did_you_mean(suggestion(account, &names)));
            }
        }
        accounts
    }

    /// Whoever reaches an open listener has no name, and so no session of its own.
    pub(super) fn sessions_of_clients(&mut self, routes: &[Route], listeners: &[Listener]) {
        let open = listeners.iter().find(|listener| listener.access == Access::Open);
        let Some(Listener { name, .. }) = open else { return };
        for (index, route) in routes.iter().enumerate() {
            let at = under(&under("/routes", &index.to_string()), "session");
            if route.session == SessionScope::PerClient {
                let message = "each client needs a key to have a session of its own";
                let fault = self.layers.fault(&at, message);
                self.faults.push(fault.help(format!("listener `{name}` is open")));
            }
        }
    }

    fn unused(&mut self, routes: &[Route], upstreams: &Upstreams) {
        for upstream in upstreams.values().flatten() {
            let mut mine = routes.iter().filter(|route| route.upstream == upstream.name).peekable();
            if mine.peek().is_none() {
                self.warnings.push(format!("no route leads to upstream `{}`", upstream.name));
                continue;
            }
            let used: Vec<&str> = mine
                .flat_map(|route| std::iter::once(&route.account).chain(&route.accounts))
                .map(String::as_str)
                .collect();
            for account in upstream.accounts.iter().filter(|one| !used.contains(&one.name.as_str()))
            {
                let (upstream, account) = (&upstream.name, &account.name);
                self.warnings
                    .push(format!("no route uses account `{account}` of upstream `{upstream}`"));
            }
        }
    }
}
