//! Where a session's requests go, if its login tells that. What the recipe does not allow leads nowhere:
//! an answer cannot send a credential to whom it likes.

use crate::recipe::template::Values;
use crate::recipe::{Recipe, Site};

/// Where requests with these values go; nothing where they go to the upstream's own URL.
///
/// # Errors
/// The name of the value, when that is no place that the recipe allows.
pub fn base(recipe: &Recipe, values: &Values) -> Result<Option<Site>, String> {
    let Some(base) = &recipe.session.base else { return Ok(None) };
    let told = values.text(&base.value).trim_end_matches('/');
    let site = Site::parse(told).ok();
    let site = site.filter(|site| base.allow.iter().any(|pattern| pattern.matches(site)));
    site.map(Some).ok_or_else(|| base.value.clone())
}
