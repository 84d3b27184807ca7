//! Listeners without clients of their own: everybody on this machine may call, pages of other sites
//! may not.

use http::{HeaderName, header};

use super::{Asking, Denied};
use crate::route;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Judges a request where nobody has to show who it is.
pub(super) fn judge(asking: &Asking<'_>) -> Result<(), Denied> {
    if !asking.is_routed && !route::is_loopback_name(asking.host) {
        return Err(Denied::ForeignHost);
    }
    match is_cross_origin(asking) {
        true => Err(Denied::CrossOrigin),
        false => Ok(()),
    }
}

/// Whether a browser sends this for a page of another origin (Fetch Metadata; RFC 6454 section 7).
pub(super) fn is_cross_origin(asking: &Asking<'_>) -> bool {
    let Asking { headers, host, pages, .. } = asking;
    let text = |name: &HeaderName| headers.text(name);
    if text(&SEC_FETCH_SITE).is_some_and(|site| matches!(site, "cross-site" | "same-site")) {
        return true;
    }
    match text(&header::ORIGIN) {
        None => headers.contains(header::ORIGIN),
        Some(origin) => !is_own(origin, *pages, host),
    }
}

/// Whether an origin is that of `host`: scheme, name and port are the same (RFC 6454 section 5).
fn is_own(origin: &str, pages: Option<&str>, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without = |authority| str::strip_suffix(authority, default_port).unwrap_or(authority);
    pages.is_none_or(|pages| pages == scheme)
        && without(authority).eq_ignore_ascii_case(without(host))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::access::{Access, tests as access};

    fn judged(host: &str, is_routed: bool, fields: &[(&str, &str)]) -> Result<bool, Denied> {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let (recipe, headers) = (access::recipe(), access::headers(&fields));
        let asking = Asking { host, is_routed, ..access::asking(&recipe, &headers) };
        Access::Open.authenticate(&asking, SystemTime::now).map(|caller| caller.is_some())
    }

    #[test]
    fn open_mode_refuses_foreign_hosts_and_pages_of_other_sites() {
        assert_eq!(judged("127.0.0.1:8080", false, &[]), Ok(false));
        assert_eq!(judged("cms.example", true, &[]), Ok(false));
        assert_eq!(judged("evil.example", false, &[]), Err(Denied::ForeignHost));
        let cross = [("origin", "https://evil.example")];
        assert_eq!(judged("localhost", false, &cross), Err(Denied::CrossOrigin));
        assert_eq!(judged("localhost", false, &[("origin", "null")]), Err(Denied::CrossOrigin));
        let fetch = [("sec-fetch-site", "cross-site")];
        assert_eq!(judged("localhost", false, &fetch), Err(Denied::CrossOrigin));
        assert_eq!(judged("localhost:80", false, &[("origin", "http://localhost:80")]), Ok(false));
        assert_eq!(judged("localhost", false, &[("sec-fetch-site", "none")]), Ok(false));
    }

    #[test]
    fn an_origin_is_scheme_name_and_port() {
        let http = Some("http");
        assert!(is_own("http://localhost", http, "localhost"));
        assert!(is_own("http://localhost", http, "LOCALHOST:80"));
        assert!(is_own("http://localhost:80", http, "localhost"));
        assert!(is_own("https://door:443", Some("https"), "door"));
        for (origin, pages, host) in [
            ("https://localhost", http, "localhost"),
            ("http://localhost", Some("https"), "localhost"),
            ("http://localhost:443", http, "localhost"),
            ("http://localhost:8080", http, "localhost"),
            ("https://localhost:80", Some("https"), "localhost"),
            ("ftp://localhost", None, "localhost"),
            ("localhost", http, "localhost"),
            ("http://localhost.", http, "localhost"),
            ("null", None, "null"),
        ] {
            assert!(!is_own(origin, pages, host), "{origin} {host}");
        }
        // Behind something that may end TLS either may be meant.
        assert!(is_own("http://door", None, "door") && is_own("https://door", None, "door"));
        assert!(!is_own("https://door", None, "door:80"));
    }
}
