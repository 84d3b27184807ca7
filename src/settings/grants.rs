//! Grants: what a client may do.

use super::meaning::{Meaning, under};
use super::routes::Upstreams;
use super::{Grant, written};
use crate::access::grant::judge_path;
use crate::diagnosis::suggestion;

impl Meaning<'_> {
    pub(super) fn grants(
        &mut self,
        client: &str,
        written: Vec<written::Grant>,
        upstreams: &Upstreams,
    ) -> Vec<Grant> {
        let grants = written.into_iter().enumerate().map(|(index, grant)| {
            let at = under(&under(client, "grants"), &index.to_string());
            self.grant(&at, grant, upstreams)
        });
        grants.collect()
    }

    fn grant(&mut self, at: &str, grant: written::Grant, upstreams: &Upstreams) -> Grant {
        let written::Grant { upstreams: named, accounts, methods, paths } = grant;
        for (at, name) in each(at, "upstreams", named.as_deref()) {
            if !upstreams.contains_key(name) && self.layers.sure("/upstreams") {
                let fault = self.layers.fault(&at, format!("there is no upstream `{name}`"));
                self.faults.push(fault.did_you_mean(suggestion(name, upstreams.keys())));
            }
        }
        let named = named.unwrap_or_else(|| upstreams.keys().cloned().collect());
        self.granted_accounts(at, &named, accounts.as_deref(), upstreams);
        for (at, method) in each(at, "methods", methods.as_deref()) {
            let is_token = http::Method::from_bytes(method.as_bytes()).is_ok();
            if !is_token {
                self.fault(&at, "this is no method");
            } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
                let fault = self.layers.fault(&at, "methods are case-sensitive (RFC 9110)");
                self.faults.push(fault.help(format!("write \"{}\"", method.to_uppercase())));
            }
        }
        for (at, path) in each(at, "paths", paths.as_deref()) {
            if let Err(why) = judge_path(path) {
                self.fault(&at, why);
            }
        }
        Grant { upstreams: named, accounts, methods, paths }
    }

    /// Each account must be one of some upstream that is meant.
    fn granted_accounts(
        &mut self,
        at: &str,
        upstreams: &[String],
        accounts: Option<&[String]>,
        known: &Upstreams,
    ) {
        let meant = || upstreams.iter().filter_map(|name| known.get(name));
        // The faults of an upstream that cannot be used are already told.
        if meant().any(Option::is_none) || !self.layers.sure("/upstreams") {
            return;
        }
        let names = || meant().flatten().flat_map(|upstream| &upstream.accounts);
        for (at, account) in each(at, "accounts", accounts) {
            if names().all(|known| known.name != *account) {
                let message = format!("none of the upstreams meant has an account `{account}`");
                let names: Vec<&str> = names().map(|known| known.name.as_str()).collect();
                let fault = self.layers.fault(&at, message);
                self.faults.push(fault.did_you_mean(suggestion(account, names)));
            }
        }
    }
}

/// The texts of a list with their places.
fn each<'l>(
    at: &str,
    list: &str,
    texts: Option<&'l [String]>,
) -> impl Iterator<Item = (String, &'l String)> {
    let at = under(at, list);
    let texts = texts.unwrap_or_default().iter().enumerate();
    texts.map(move |(index, text)| (under(&at, &index.to_string()), text))
}
