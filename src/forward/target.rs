//! The request target that travels on: the client's own bytes, except for query parameters that the
//! recipe takes away and those that the session adds.

/// Joins the upstream's base path, the client's path and its query less the pairs that are dropped
/// plus `add` (encoded pairs).
pub fn rewrite<'a>(
    base: &str,
    path: &str,
    query: Option<&str>,
    is_dropped: impl Fn(&str) -> bool,
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
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    for pair in pairs.filter(|pair| !is_dropped(pair)) {
        push(&mut target, pair);
    }
    for pair in add {
        push(&mut target, pair);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str, query: Option<&str>, strip: &[&str], add: &[&str]) -> String {
        let is_dropped =
            |pair: &str| strip.contains(&pair.split_once('=').map_or(pair, |(name, _)| name));
        rewrite("/base", path, query, is_dropped, add.iter().copied())
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
    fn pairs_of_the_query_are_taken_out_and_added() {
        let left = rewritten("/", Some("auth=1&q=2&auth=3&password"), &["auth", "password"], &[]);
        assert_eq!(left, "/base/?q=2");
        assert_eq!(rewritten("/", Some("auth=1"), &["auth"], &["sid=x"]), "/base/?sid=x");
        assert_eq!(rewritten("/", Some("q=1"), &[], &["sid=x"]), "/base/?q=1&sid=x");
    }
}
