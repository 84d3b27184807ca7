//! Nothing of a session leaves: endpoints that are answered here or closed, values that are
//! replaced in answers. Pure: no I/O.

mod local;
mod mask;

use http::HeaderMap;

use crate::recipe::{Endpoint, EndpointRule, Recipe};
use crate::route::Reading;
use crate::secret::SecretText;
pub use local::local_answer;
pub use mask::{MaskError, mask};

/// The rule for a request, if its endpoint has one.
pub fn rule<'a>(recipe: &'a Recipe, reading: &Reading) -> Option<&'a EndpointRule> {
    recipe.endpoints.iter().find(|endpoint| endpoint.is(reading)).map(|endpoint| &endpoint.rule)
}

impl Endpoint {
    fn is(&self, reading: &Reading) -> bool {
        (self.methods.is_empty() || self.methods.contains(&reading.method))
            && self.paths.iter().any(|pattern| pattern.matches(&reading.path))
    }
}

/// Replaces every header value that holds one of `secrets`.
pub fn mask_headers(headers: &mut HeaderMap, secrets: &[SecretText], placeholder: &str) {
    for value in headers.values_mut() {
        let holds = |secret: &SecretText| contains(value.as_bytes(), secret.expose().as_bytes());
        if secrets.iter().any(holds) {
            // A placeholder is checked text; should it still be none, nothing is better than the
            // secret.
            *value = placeholder.parse().unwrap_or(http::HeaderValue::from_static(""));
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return false };
    // Windows are compared by a call of `memcmp`; a look at the first byte saves nearly all of
    // them.
    text.windows(part.len()).any(|window| window.first() == Some(first) && window == part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::Method;

    use super::*;
    use crate::route::Canonical;

    fn is_ruled(recipe: &str, method: Method, target: &str) -> bool {
        let recipe =
            Recipe::load(&crate::recipe::built_in(recipe).unwrap(), &BTreeMap::new()).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let canonical = Canonical::of(path);
        if canonical.ambiguity(recipe.spelling.encoded_slash).is_some() {
            return true;
        }
        match Reading::of(&method, &canonical.path, Some(query), &recipe.spelling) {
            Ok(reading) => rule(&recipe, &reading).is_some(),
            // Refused.
            Err(_) => true,
        }
    }

    #[test]
    fn no_spelling_leads_around_a_rule() {
        for target in [
            "/v3/user",
            "/v3/user/",
            "/v3//user",
            "/V3/User",
            "/v3/user;x",
            "/v3/%75ser",
            "/v3/%2575ser",
            "/user",
            "/user/",
        ] {
            assert!(is_ruled("contentstack", Method::GET, target), "{target}");
        }
        for target in ["/v3/user-session", "/v3/user-session/", "/user-session", "/USER-SESSION"] {
            assert!(is_ruled("contentstack", Method::DELETE, target), "{target}");
        }
        for target in [
            "/callosum/v1/tspublic/v1/session/logout/",
            "/api/rest/2.0/AUTH/session/logout",
            "/tspublic/rest/v2/session/logout",
        ] {
            assert!(is_ruled("thoughtspot", Method::POST, target), "{target}");
        }
        for target in [
            "/REST/session?_method=DELETE",
            "/rest/SESSION.aspx/?%5fmethod=delete",
            "/REST/session?%u005fmethod=DELETE",
            "/REST/session?_method=%u0044ELETE",
            "/REST/MFWS.ashx?restPath=/session%3F_method%3DDELETE",
            "/REST/%2573ession?_method=DELETE",
        ] {
            assert!(is_ruled("mfiles", Method::POST, target), "{target}");
        }
        assert!(!is_ruled("mfiles", Method::GET, "/REST/views/v101%252FLx%2520y/items?q=100%"));
        assert!(!is_ruled("contentstack", Method::GET, "/v3/content_types"));
    }
}
