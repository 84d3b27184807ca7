//! Opens the access log, where one is configured, and says what of requests it may show.

use std::sync::Arc;

use http::HeaderName;

use super::StartError;
use crate::forward::inject;
use crate::recipe::{EndpointRule, PasswordPlace, Recipe};
use crate::settings::{AccessLogFormat, AccessLogStream, LinesTo, Settings};
use crate::telemetry::access_log::{self, AccessLog, Ended, Form, Output};
use crate::telemetry::{Missing, Shows};

/// Opens the log and starts to write it. Blocks on the file system.
pub(super) fn start(
    settings: &Settings,
) -> Result<Option<(AccessLog, Ended, Missing)>, StartError> {
    let Some(written) = &settings.access_log else { return Ok(None) };
    let output = match &written.to {
        LinesTo::File(path) => Output::file(path)
            .map_err(|source| StartError::AccessLog { path: path.clone(), source })?,
        LinesTo::Stream(AccessLogStream::Stdout) => Output::Stdout,
        LinesTo::Stream(AccessLogStream::Stderr) => Output::Stderr,
    };
    let form = match written.format {
        AccessLogFormat::Json => Form::Json,
        AccessLogFormat::Combined => Form::Combined,
    };
    access_log::start(output, form).map(Some).map_err(StartError::Core)
}

/// What reports may show of requests: what the operator has named, but for the places in which a
/// credential can stand.
pub(super) fn shows(settings: &Settings, recipes: &[Arc<Recipe>]) -> Shows {
    let Some(written) = &settings.access_log else { return Shows::default() };
    let is_credential = |name: &&HeaderName| {
        let is_place =
            |place: &PasswordPlace| matches!(place, PasswordPlace::Header(at) if at == *name);
        settings.access.key_headers.contains(name)
            || recipes.iter().any(|recipe| inject::passes_for_credential(recipe, name))
            || places(recipes).any(is_place)
    };
    let is_secret = |name: &&String| {
        let is_place = |place: &PasswordPlace| matches!(place, PasswordPlace::Query(at) if at.eq_ignore_ascii_case(name));
        recipes.iter().any(|recipe| recipe.strips_query(name)) || places(recipes).any(is_place)
    };
    Shows {
        query: written.query.iter().filter(|name| !is_secret(name)).cloned().collect(),
        headers: written.headers.iter().filter(|name| !is_credential(name)).cloned().collect(),
    }
}

/// Where clients put passwords.
fn places(recipes: &[Arc<Recipe>]) -> impl Iterator<Item = &PasswordPlace> {
    let endpoints = recipes.iter().flat_map(|recipe| &recipe.endpoints);
    let logins = endpoints.filter_map(|endpoint| match &endpoint.rule {
        EndpointRule::Answer(answer) => answer.login.as_ref(),
        EndpointRule::Closed(_) | EndpointRule::Mask(_) => None,
    });
    logins.flat_map(|login| &login.password)
}
