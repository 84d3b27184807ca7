//! What a client may do: its grants. What none of them allows is refused. They are decided on the
//! request as its upstream reads it.

use http::Method;

use crate::recipe::pattern::PathPattern;
use crate::route::Reading;
use crate::session::{AccountId, UpstreamId};

/// One permission, for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its place among the client's grants as they are written.
    pub place: usize,
    /// The upstream.
    pub upstream: UpstreamId,
    /// The accounts; nothing: any.
    pub accounts: Option<Vec<AccountId>>,
    /// The methods; none: any.
    pub methods: Vec<Method>,
    /// The paths below the upstream's URL; none: any.
    pub paths: Vec<PathPattern>,
}

impl Grant {
    fn is_for(&self, upstream: UpstreamId, account: AccountId) -> bool {
        self.upstream == upstream
            && self.accounts.as_ref().is_none_or(|accounts| accounts.contains(&account))
    }
}

/// All that a client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// With these grants, in the order in which they are written.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// The first grant that allows a request, by its place; nothing where none does.
    pub fn allowing(
        &self,
        upstream: UpstreamId,
        account: AccountId,
        reading: &Reading,
    ) -> Option<usize> {
        let allows = |grant: &&Grant| {
            grant.is_for(upstream, account)
                && (grant.methods.is_empty() || grant.methods.contains(&reading.method))
                && (grant.paths.is_empty()
                    || grant.paths.iter().any(|pattern| pattern.matches(&reading.path)))
        };
        self.0.iter().find(allows).map(|grant| grant.place)
    }

    /// The first grant that is for an account, whatever it allows there.
    pub fn at(&self, upstream: UpstreamId, account: AccountId) -> Option<usize> {
        let is_for = |grant: &&Grant| grant.is_for(upstream, account);
        self.0.iter().find(is_for).map(|grant| grant.place)
    }

    /// Whether a path decides what may be asked of an upstream: then one with two readings is none.
    pub fn have_path_rules(&self, upstream: UpstreamId) -> bool {
        self.0.iter().any(|grant| grant.upstream == upstream && !grant.paths.is_empty())
    }
}

/// Judges a path pattern as it is written in a grant.
///
/// # Errors
/// A sentence, where it could match no path, or not what it seems to.
pub fn judge_path(text: &str) -> Result<(), String> {
    PathPattern::parse(text, false)?;
    let segments = || text.split('/').skip(1);
    if text.contains(['?', '#']) {
        return Err("a path has neither query nor fragment".to_owned());
    }
    if text.contains(['%', '\\', ';']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a path is plain ASCII, not encoded: it is compared with the decoded path \
                    without its parameters"
            .to_owned());
    }
    if text != "/" && text.ends_with('/') {
        return Err("a path has no slash at the end: one at the end of a request's path counts \
                    for nothing"
            .to_owned());
    }
    if text != "/" && segments().any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("a path has no empty, `.` or `..` segments".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(place: usize, methods: &[Method], paths: &[&str]) -> Grant {
        Grant {
            place,
            upstream: UpstreamId(0),
            accounts: None,
            methods: methods.to_vec(),
            paths: paths.iter().map(|path| PathPattern::parse(path, false).unwrap()).collect(),
        }
    }

    fn reading(method: Method, path: &str) -> Reading {
        Reading { method, path: path.to_owned() }
    }

    #[test]
    fn what_no_grant_allows_is_refused() {
        let grants = Grants::new(vec![
            grant(0, &[Method::GET], &["/v3/types/**"]),
            grant(1, &[], &["/v3/assets"]),
        ]);
        let allowing =
            |method, path| grants.allowing(UpstreamId(0), AccountId(0), &reading(method, path));
        assert_eq!(allowing(Method::GET, "/v3/types/a/b"), Some(0));
        assert_eq!(allowing(Method::POST, "/v3/types/a"), None);
        assert_eq!(allowing(Method::DELETE, "/v3/assets"), Some(1));
        assert_eq!(allowing(Method::GET, "/v3/assets/x"), None);
        let elsewhere =
            grants.allowing(UpstreamId(1), AccountId(0), &reading(Method::DELETE, "/v3/assets"));
        assert_eq!(elsewhere, None);
        let none = Grants::default();
        assert_eq!(none.allowing(UpstreamId(0), AccountId(0), &reading(Method::GET, "/")), None);
    }

    #[test]
    fn an_account_that_is_not_named_is_not_granted() {
        let one = Grant { accounts: Some(vec![AccountId(1)]), ..grant(0, &[], &[]) };
        let grants = Grants::new(vec![one]);
        let get = reading(Method::GET, "/");
        assert_eq!(grants.allowing(UpstreamId(0), AccountId(1), &get), Some(0));
        assert_eq!(grants.allowing(UpstreamId(0), AccountId(0), &get), None);
    }

    #[test]
    fn a_path_that_could_match_nothing_is_told() {
        for good in ["/", "/**", "/v3/*/x", "/v3/types/**"] {
            assert_eq!(judge_path(good), Ok(()), "{good}");
        }
        for bad in
            ["v3", "/a/", "/a//b", "/a/../b", "/a%20b", "/a;x", "/a?b", "/**/a", "/a*", "/\u{e9}"]
        {
            assert!(judge_path(bad).is_err(), "{bad}");
        }
    }
}
