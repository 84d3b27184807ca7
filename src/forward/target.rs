//! The request target that travels on: the client's own bytes, except for query parameters that the
//! recipe takes away and those that the session adds.

use percent_encoding::percent_decode_str;

/// Joins the upstream's base path, the client's path and its query less `strip` (names in lower
/// case) plus `add` (encoded pairs).
pub fn rewrite<'a>(
    base: &str,
    path: &str,
    query: Option<&str>,
    strip: &[String],
    add: impl Iterator<Item = &'a str>,
) -> String {
    let mut target = String::with_capacity(base.len() + path.len() + query.map_or(0, str::len) + 1);
    target.push_str(base);
    target.push_str(path);
    let mut separator = '?';
    let mut push = |target: &mut String, pair: &str| {
        target.push(separator);
        target.push_str(pair);
        separator = '&';
    };
    match query {
        Some(query) if strip.is_empty() => push(&mut target, query),
        Some(query) => {
            let kept: Vec<&str> = query.split('&').filter(|pair| !names(pair, strip)).collect();
            if !kept.is_empty() {
                push(&mut target, &kept.join("&"));
            }
        }
        None => {}
    }
    for pair in add {
        push(&mut target, pair);
    }
    target
}

fn names(pair: &str, strip: &[String]) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name).replace('+', " ");
    let name = percent_decode_str(&name).decode_utf8_lossy().to_lowercase();
    strip.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str, query: Option<&str>, strip: &[&str], add: &[&str]) -> String {
        let strip: Vec<String> = strip.iter().map(|name| (*name).to_owned()).collect();
        rewrite("/base", path, query, &strip, add.iter().copied())
    }

    #[test]
    fn path_and_query_bytes_travel_unchanged() {
        let query = "q=a%20b%2Fc&&x=%zz&y";
        assert_eq!(
            rewritten("/v/a%252Fb", Some(query), &[], &[]),
            format!("/base/v/a%252Fb?{query}")
        );
        assert_eq!(rewritten("/", Some(""), &[], &[]), "/base/?");
        assert_eq!(rewritten("/", None, &["auth"], &[]), "/base/");
    }

    #[test]
    fn credentials_in_the_query_are_taken_out_however_they_are_spelt() {
        let left = rewritten("/", Some("Auth=1&q=2&%61uth=3&password"), &["auth", "password"], &[]);
        assert_eq!(left, "/base/?q=2");
        assert_eq!(rewritten("/", Some("auth=1"), &["auth"], &["sid=x"]), "/base/?sid=x");
        assert_eq!(rewritten("/", Some("q=1"), &[], &["sid=x"]), "/base/?q=1&sid=x");
    }
}
