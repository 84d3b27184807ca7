//! How an upstream reads a request: the method and path that rules are decided on, after the other
//! spellings that its recipe names.

use http::Method;
use percent_encoding::percent_decode_str;

use super::Canonical;
use super::canonical::has_broken_escape;
use crate::recipe::{PathQuery, Spelling};

/// The method and path that an upstream reads from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The method.
    pub method: Method,
    /// The canonical path below the upstream's URL.
    pub path: String,
}

/// A request that an upstream could read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The parameter that names the real method or path is there twice.
    #[error("a parameter that decides the request is there twice")]
    Twice,
    /// The name or the value of a parameter that decides the request has an escape that cannot be
    /// decoded; some servers decode more than RFC 3986 knows (`%u005F`).
    #[error("a parameter that could decide the request holds an escape that cannot be decoded")]
    Escape,
    /// The parameter that names the real path holds a query of its own.
    #[error("the parameter that names the real path holds a query of its own")]
    Nested,
    /// The real method is none.
    #[error("the real method is none")]
    Method,
    /// The real path is ambiguous.
    #[error("the real path holds {0}")]
    Path(super::Ambiguity),
}

impl Reading {
    /// Reads a request with canonical `path` (below the upstream's URL) and the query as it was
    /// sent.
    ///
    /// # Errors
    /// When there is more than one reading.
    pub fn of(
        method: &Method,
        path: &str,
        query: Option<&str>,
        spelling: &Spelling,
    ) -> Result<Self, Unreadable> {
        let path = without_suffix(without_slash_at_the_end(path), spelling);
        let mut reading = Self { method: method.clone(), path };
        let query = query.unwrap_or_default();
        if let Some(PathQuery { segment, query: name, below }) = &spelling.path_query
            && let (base, last) = reading.path.rsplit_once('/').unwrap_or(("", &reading.path))
            && last.eq_ignore_ascii_case(segment)
            && let Some(real) = parameter(query, name)?
        {
            // A query within it could name another method than the one that is judged.
            if real.contains('?') {
                return Err(Unreadable::Nested);
            }
            let base = below.as_deref().unwrap_or(base);
            let real = Canonical::of(&format!("{base}/{}", below_base(&real, base)));
            if let Some(ambiguity) = real.ambiguity(spelling.encoded_slash) {
                return Err(Unreadable::Path(ambiguity));
            }
            reading.path = without_suffix(without_slash_at_the_end(&real.path), spelling);
        }
        if let Some(name) = &spelling.method_query
            && method == Method::POST
            && let Some(real) = parameter(query, name)?
        {
            let real = real.to_ascii_uppercase();
            reading.method = Method::from_bytes(real.as_bytes()).map_err(|_| Unreadable::Method)?;
        }
        Ok(reading)
    }
}

/// Most servers' routers read `/a/` as `/a`. Where one does not, it has nothing at `/a/` to be
/// missed.
fn without_slash_at_the_end(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// A named path without the base, which may stand in it or not.
fn below_base<'a>(real: &'a str, base: &str) -> &'a str {
    let (real, base) = (real.trim_start_matches('/'), base.trim_matches('/'));
    match real.split_at_checked(base.len()) {
        Some((first, rest))
            if first.eq_ignore_ascii_case(base) && (rest.is_empty() || rest.starts_with('/')) =>
        {
            rest.trim_start_matches('/')
        }
        _ => real,
    }
}

/// Every segment without the suffixes that change nothing.
fn without_suffix(path: &str, spelling: &Spelling) -> String {
    if spelling.suffixes.is_empty() {
        return path.to_owned();
    }
    let segments = path.split('/').map(|segment| {
        let lower = segment.to_lowercase();
        let suffix = spelling.suffixes.iter().find(|suffix| lower.ends_with(suffix.as_str()));
        suffix.and_then(|suffix| segment.get(..segment.len() - suffix.len())).unwrap_or(segment)
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The decoded value of the parameter `name`. A name that cannot be decoded could be `name`, too.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Unreadable> {
    let mut found = None;
    for pair in query.split('&') {
        let (given, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !decode(given)?.eq_ignore_ascii_case(name) {
            continue;
        }
        if found.replace(decode(value)?).is_some() {
            return Err(Unreadable::Twice);
        }
    }
    Ok(found)
}

fn decode(text: &str) -> Result<String, Unreadable> {
    if has_broken_escape(text) {
        return Err(Unreadable::Escape);
    }
    Ok(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str, query: Option<&str>) -> Result<(String, String), Unreadable> {
        let spelling = Spelling {
            case_insensitive: true,
            suffixes: vec![".aspx".to_owned(), ".ashx".to_owned()],
            method_query: Some("_method".to_owned()),
            path_query: Some(PathQuery {
                segment: "mfws".to_owned(),
                query: "restPath".to_owned(),
                below: Some("/REST".to_owned()),
            }),
            ..Spelling::default()
        };
        Reading::of(&method.parse().unwrap(), path, query, &spelling)
            .map(|reading| (reading.method.to_string(), reading.path))
    }

    #[test]
    fn every_spelling_of_a_request_is_read_as_the_upstream_reads_it() {
        let logout = Ok(("DELETE".to_owned(), "/REST/session".to_owned()));
        assert_eq!(read("DELETE", "/REST/session", None), logout);
        assert_eq!(read("DELETE", "/REST/session.aspx", None), logout);
        assert_eq!(read("DELETE", "/REST/session/", None), logout);
        assert_eq!(read("POST", "/REST/session.ashx", Some("x=1&_method=delete")), logout);
        assert_eq!(read("POST", "/REST/session", Some("%5Fmethod=DELETE")), logout);
        assert_eq!(read("DELETE", "/REST/MFWS.ashx", Some("restPath=%2Fsession")), logout);
        assert_eq!(
            read("POST", "/REST/mfws.ashx", Some("restPath=session.aspx&_method=DELETE")),
            logout
        );
        // The parameter is only read from a POST.
        assert_eq!(read("GET", "/REST/session", Some("_method=DELETE")).unwrap().0, "GET");
    }

    #[test]
    fn a_request_with_two_readings_is_none() {
        assert_eq!(
            read("POST", "/REST/x", Some("_method=GET&_method=DELETE")),
            Err(Unreadable::Twice)
        );
        assert!(read("GET", "/REST/mfws.ashx", Some("restPath=a/../session")).is_err());
        assert_eq!(read("POST", "/REST/x", Some("_method=%00")), Err(Unreadable::Method));
        for query in ["%u005Fmethod=DELETE", "_method=%u0044ELETE", "q=1&%5method=DELETE"] {
            let refused = read("POST", "/REST/session", Some(query));
            assert_eq!(refused, Err(Unreadable::Escape), "{query}");
        }
        let refused = read("GET", "/REST/mfws.ashx", Some("restPath=%u002Fsession"));
        assert_eq!(refused, Err(Unreadable::Escape));
        let nested = read("POST", "/REST/mfws.ashx", Some("restPath=session%3F_method%3DDELETE"));
        assert_eq!(nested, Err(Unreadable::Nested));
        // Values that decide nothing may hold anything.
        assert!(read("POST", "/REST/x", Some("q=100%&_method=PUT")).is_ok());
    }

    #[test]
    fn a_slash_at_the_end_hides_no_endpoint() {
        let read = |path| {
            Reading::of(&Method::GET, path, None, &Spelling::default()).map(|reading| reading.path)
        };
        assert_eq!(read("/v3/user/"), Ok("/v3/user".to_owned()));
        assert_eq!(read("/"), Ok("/".to_owned()));
    }
}
