//! `Location` and its kin lead back to us, not around us: an upstream's own URL becomes a path of
//! ours.

use http::header::{self, HeaderName, HeaderValue};

use crate::fields::Fields;
use crate::upstream::Origin;

const FIELDS: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// Maps URLs of the upstream in an answer back to paths at this gateway. Other URLs stay as they
/// are.
pub fn map_back(headers: &mut Fields, origin: &Origin, prefix: &str) {
    for name in FIELDS {
        let mapped = headers
            .text(&name)
            .and_then(|location| mapped(location, origin, prefix))
            .and_then(|location| HeaderValue::from_str(&location).ok());
        if let Some(location) = mapped {
            headers.insert(name, &location);
        }
    }
}

fn mapped(location: &str, origin: &Origin, prefix: &str) -> Option<String> {
    let path = match location.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let ours =
                scheme.eq_ignore_ascii_case(origin.scheme()) && origin.has_authority(authority);
            if !ours {
                return None;
            }
            path
        }
        // `//host/x` is a URL of some host.
        None if location.starts_with('/') && !location.starts_with("//") => location,
        None => return None,
    };
    let below = path
        .strip_prefix(&origin.base_path)
        .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    let path = below.unwrap_or(path);
    // A path that begins with two slashes would be another host's (RFC 3986 section 4.2); browsers
    // take a backslash for a slash.
    let slash = match path.as_bytes() {
        [b'/', b'/' | b'\\', ..] if prefix.is_empty() => "/.",
        [b'/', ..] => "",
        _ => "/",
    };
    Some(format!("{prefix}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::{Dialler, Http2, Way};

    #[test]
    fn an_upstreams_own_urls_become_paths_of_ours_and_others_stay() {
        let origin = Origin {
            host: "cms.example".to_owned(),
            port: 80,
            url_authority: HeaderValue::from_static("cms.example"),
            authority: HeaderValue::from_static("pages.example:8080"),
            way: Way::Direct,
            base_path: "/base".to_owned(),
            tls: None,
            http2: Http2::Auto,
            upgrades: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            dialler: Dialler::to("cms.example", 80, Vec::new()),
        };
        let mapped = |location: &str| mapped(location, &origin, "/cms");
        assert_eq!(mapped("http://CMS.example/base/x?y=1").as_deref(), Some("/cms/x?y=1"));
        assert_eq!(mapped("http://pages.example:8080/base/x").as_deref(), Some("/cms/x"));
        assert_eq!(mapped("http://pages.example/base/x"), None);
        assert_eq!(mapped("/base/x").as_deref(), Some("/cms/x"));
        assert_eq!(mapped("/other").as_deref(), Some("/cms/other"));
        assert_eq!(mapped("http://cms.example").as_deref(), Some("/cms/"));
        assert_eq!(mapped("https://cms.example/base/x"), None);
        assert_eq!(mapped("http://cms.example//a").as_deref(), Some("/cms//a"));
        assert_eq!(mapped("http://idp.example/login"), None);
        assert_eq!(mapped("//idp.example/login"), None);
        assert_eq!(mapped("relative"), None);
    }
}
