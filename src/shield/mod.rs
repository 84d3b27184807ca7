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
