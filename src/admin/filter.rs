//! Which requests somebody wants to see: by client, upstream, status and path.

use super::problem::Problem;
use crate::telemetry::stories::Story;

/// The longest text of a filter, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// Which requests are wanted; every part that is given has to fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    client: Option<String>,
    upstream: Option<String>,
    status: Option<Statuses>,
    path: Option<String>,
}

/// Which statuses are wanted, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statuses(u16, u16);

impl Filter {
    /// Client, upstream, status and path: names as they are, a status such as `404`, `4xx` or
    /// `>=400`, a path with `*` for any characters.
    ///
    /// # Errors
    /// A sentence, where a part means nothing.
    pub(super) fn new(parts: [Option<&str>; 4]) -> Result<Self, Problem> {
        if parts.iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(Problem::bad_request("a filter is longer than anything it could fit"));
        }
        let [client, upstream, status, path] = parts;
        let status = status.map(Statuses::parse).transpose()?;
        let [client, upstream, path] = [client, upstream, path].map(|one| one.map(str::to_owned));
        Ok(Self { client, upstream, status, path })
    }

    pub(super) fn takes(&self, request: &Story) -> bool {
        let is = |wanted: &Option<String>, name: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| name == Some(wanted))
        };
        is(&self.client, request.client.as_deref())
            && is(&self.upstream, request.upstream.as_deref())
            && self.status.is_none_or(|wanted| wanted.takes(request.status))
            && self.path.as_deref().is_none_or(|wanted| fits(wanted, &request.path))
    }

    /// Whether what is about an upstream alone is wanted.
    pub(super) fn is_of(&self, upstream: &str) -> bool {
        self.upstream.as_deref().is_none_or(|wanted| wanted == upstream)
    }
}

impl Statuses {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::bad_request("`status` is like 404, 4xx or >=400");
        let number = |text: &str| match text.parse() {
            // A sign is none of a status.
            Ok(number @ 100..=599_u16) if text.len() == 3 => Ok(number),
            _ => Err(wrong()),
        };
        if let Some(least) = text.strip_prefix(">=") {
            return Ok(Self(number(least)?, 999));
        }
        match text.strip_suffix("xx") {
            Some(class @ ("1" | "2" | "3" | "4" | "5")) => {
                let first = class.parse::<u16>().map_err(|_| wrong())? * 100;
                Ok(Self(first, first + 99))
            }
            _ => number(text).map(|number| Self(number, number)),
        }
    }

    fn takes(self, status: u16) -> bool {
        (self.0..=self.1).contains(&status)
    }
}

/// Whether a path is like a pattern in which `*` stands for any characters. Takes time in proportion
/// to both lengths multiplied, and both are bounded.
fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, path, expected) in [
            ("/v3/*", "/v3/items", true),
            ("/v3/*", "/v3/", true),
            ("/v3/*", "/v2/items", false),
            ("/v3", "/v3/items", false),
            ("/v3", "/v3", true),
            ("*", "", true),
            ("*/items/*/end", "/a/items/b/c/end", true),
            ("*/items/*/end", "/a/items/b/c/ends", false),
            ("/a*a", "/a", false),
            ("/a*a", "/aa", true),
            ("", "/", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn statuses_are_read_as_people_write_them() {
        let parsed = |text| Statuses::parse(text).ok();
        assert_eq!(parsed("404"), Some(Statuses(404, 404)));
        assert_eq!(parsed("5xx"), Some(Statuses(500, 599)));
        assert_eq!(parsed(">=400"), Some(Statuses(400, 999)));
        for wrong in ["", "xx", "6xx", "40", ">=", "+200", ">=9999", "4xxx"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
