//! Nothing of a session leaves: endpoints that are answered here or closed, values that are
//! replaced in answers. Pure: no I/O.

mod local;
mod mask;
mod passwords;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod redact;
mod rewrite;

use crate::fields::Fields;
use crate::recipe::{Endpoint, EndpointRule, Recipe};
use crate::route::Reading;
use crate::secret::Search;
pub use local::{local_answer, secure_cookies};
pub use mask::{MaskError, mask};
pub use passwords::passwords;
pub use redact::{MARK, Passed, Redactor, redact};

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

/// Replaces every header value that holds a secret; a field whose name does is removed. `bytes` is the
/// head as it came, where it is known: one look into it spares one into each value.
pub fn mask_headers(
    headers: &mut Fields,
    bytes: Option<&[u8]>,
    secrets: &Search,
    placeholder: &str,
) {
    if headers.names().any(|name| secrets.is_in(name.as_ref())) {
        headers.retain(|name, _| !secrets.is_in(name.as_ref()));
    }
    if bytes.is_some_and(|bytes| !secrets.is_in(bytes))
        || !headers.iter().any(|(_, value)| secrets.is_in(value))
    {
        return;
    }
    // A placeholder is checked text; should it still be none, nothing is better than the secret.
    let placeholder = placeholder.parse().unwrap_or(http::HeaderValue::from_static(""));
    headers.replace(|value| secrets.is_in(value), &placeholder);
}
