//! The routes, by host and longest path prefix.

use std::cell::LazyCell;
use std::net::IpAddr;

use crate::session::{AccountId, UpstreamId};

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its place in the configuration.
    pub number: u16,
    /// The host that it is for, in lower case and without port; nothing: any.
    pub host: Option<String>,
    /// The path prefix, without a slash at the end; empty: any path.
    pub prefix: String,
    /// Whether the upstream does not see the prefix.
    pub strip_prefix: bool,
    /// Where its requests go.
    pub upstream: UpstreamId,
    /// Whose session they carry, if the client does not choose.
    pub account: AccountId,
    /// The accounts that a client may choose, by name.
    pub choices: Vec<(String, AccountId)>,
    /// Who shares a session.
    pub sharing: Sharing,
}

/// Who shares the sessions of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All clients.
    Shared,
    /// Nobody: each client has its own.
    PerClient,
}

impl Route {
    /// What of its prefix the upstream does not see.
    pub fn stripped(&self) -> &str {
        if self.strip_prefix { &self.prefix } else { "" }
    }

    /// The accounts that a client may use, those first that are preferred: the one that it names, or
    /// else the route's own and those that it could name. None when it names one that it may not.
    pub fn accounts(&self, name: Option<&str>) -> impl Iterator<Item = AccountId> {
        let own = name.is_none().then_some(self.account);
        let choices = self.choices.iter();
        let choices = choices.filter(move |(known, _)| name.is_none_or(|name| known == name));
        own.into_iter().chain(choices.map(|(_, account)| *account))
    }
}

/// All routes, those that say more first.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Route>);

impl Table {
    /// Sorts the routes: a named host before any host, then the longer prefix.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| (route.host.is_none(), std::cmp::Reverse(route.prefix.len())));
        Self(routes)
    }

    /// The route for a canonical path at `host`.
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        // Most tables have no route for a host: then nobody looks at it.
        let host = LazyCell::new(|| without_port(host));
        let is_host = |named: &str| named.eq_ignore_ascii_case(&host);
        self.0.iter().find(|route| {
            route.host.as_deref().is_none_or(is_host) && is_below(path, &route.prefix)
        })
    }

    /// Whether some route names this host.
    pub fn names(&self, host: &str) -> bool {
        let host = without_port(host);
        self.0.iter().any(|route| {
            route.host.as_deref().is_some_and(|named| named.eq_ignore_ascii_case(host))
        })
    }
}

/// Whether `path` is `prefix` or below it, at a segment's boundary.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a host can only mean this machine: a loopback address, `localhost` or a name below it
/// (RFC 6761 section 6.3).
pub fn is_loopback_name(host: &str) -> bool {
    let host = without_port(host).trim_end_matches('.');
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

/// A host without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, prefix: &str, upstream: u32) -> Route {
        Route {
            number: 0,
            host: host.map(str::to_owned),
            prefix: prefix.to_owned(),
            strip_prefix: false,
            upstream: UpstreamId(upstream),
            account: AccountId(0),
            choices: Vec::new(),
            sharing: Sharing::Shared,
        }
    }

    #[test]
    fn the_named_host_and_the_longest_prefix_win() {
        let table = Table::new(vec![
            route(None, "", 0),
            route(None, "/a", 1),
            route(None, "/a/b", 2),
            route(Some("cms.example"), "", 3),
        ]);
        let found = |host, path| table.find(host, path).map(|route| route.upstream.0);
        assert_eq!(found("x", "/"), Some(0));
        assert_eq!(found("x", "/a"), Some(1));
        assert_eq!(found("x", "/ab"), Some(0));
        assert_eq!(found("x", "/a/b/c"), Some(2));
        assert_eq!(found("CMS.example:8080", "/a/b"), Some(3));
        assert!(Table::new(vec![route(Some("cms.example"), "", 3)]).find("x", "/").is_none());
    }

    #[test]
    fn loopback_names_are_told_from_names_that_look_like_them() {
        for name in [
            "localhost",
            "localhost:80",
            "cms.localhost",
            "127.0.0.1:8080",
            "[::1]:80",
            "127.9.9.9",
        ] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["localhost.evil", "evil", "128.0.0.1", "127.0.0.1.evil", "[::2]", ""] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
