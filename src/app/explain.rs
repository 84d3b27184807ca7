//! Says what would become of a client's request, and which rule decides. Nothing is started, sent or
//! read but the configuration: no secret is needed.

use std::sync::Arc;

use http::{Method, Uri};

use super::ids::Ids;
use super::limits::bounds_something;
use super::{BuildError, build, clients};
use crate::access::Caller;
use crate::diagnosis::suggestion;
use crate::limit::{Kind, Whose};
use crate::proxy::authorize::{self, Asked};
use crate::proxy::error::Problem;
use crate::recipe::EndpointRule;
use crate::route::{Canonical, Reading, Route};
use crate::settings::{Limit, Loaded, Rate, Rates, Settings, Upstream};

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The client's name.
    pub client: &'a str,
    /// The method.
    pub method: Method,
    /// The URL at Doorward, or its path and query alone.
    pub url: Uri,
    /// The account that the client names in `Doorward-Account`.
    pub account: Option<&'a str>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No such client.
    #[error("no client is called `{name}`{}", .meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
    UnknownClient {
        /// The name.
        name: String,
        /// The one that was probably meant.
        meant: Option<String>,
    },
    /// No path to ask about.
    #[error("the URL has no path that begins with `/`")]
    NoPath,
    /// A room cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What would become of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is forwarded.
    Forwarded,
    /// The same; values of the session in the answer are replaced.
    Masked,
    /// Doorward answers it in the upstream's place.
    Answered,
    /// The same: it is a login, and gives a client that shows its key there a token.
    LoggedIn,
    /// It is refused.
    Refused(Problem),
}

/// What decides about a request, as far as it comes.
#[derive(Debug)]
pub struct Explained {
    /// What the route asks for: its host, if it names one, and its path.
    pub route: Option<(Option<String>, String)>,
    /// The upstream's name.
    pub upstream: Option<String>,
    /// How the upstream reads the request.
    pub reading: Option<Reading>,
    /// Which of the client's grants allows it, and where that stands: file and line.
    pub grant: Option<(usize, String)>,
    /// The account's name.
    pub account: Option<String>,
    /// The limits that it has to keep, in the order in which it meets them.
    pub limits: Vec<Held>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// A limit that holds for a request.
#[derive(Debug)]
pub struct Held {
    /// Whose it is.
    pub whose: Whose,
    /// Where it stands: file and line.
    pub at: String,
    /// The rate that the request counts against, and what that counts; nothing: all requests.
    pub rate: Option<(Rate, Option<Kind>)>,
    /// The most requests under way.
    pub in_flight_max: Option<u32>,
    /// The most requests that wait.
    pub waiting_max: usize,
}

/// Decides about a request as the gateway would.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain(loaded: &Loaded, question: &Question<'_>) -> Result<Explained, ExplainError> {
    let settings = &loaded.settings;
    let recipes = settings.upstreams.iter().map(|written| build::recipe(written).map(Arc::new));
    let recipes = recipes.collect::<Result<Vec<_>, _>>()?;
    let ids = Ids::by_name(settings);
    let known = clients::granted(settings, &ids, &recipes)?;
    let caller = known.named(question.client).ok_or_else(|| unknown(settings, question.client))?;
    let target = question.url.path_and_query().filter(|target| target.path().starts_with('/'));
    let target = target.ok_or(ExplainError::NoPath)?;
    let canonical = Canonical::of(target.path());
    let host = question.url.authority().map_or("localhost", |authority| authority.as_str());
    let mut explained = Explained {
        route: None,
        upstream: None,
        reading: None,
        grant: None,
        account: None,
        limits: Vec::new(),
        outcome: Outcome::Refused(Problem::NoRoute),
    };
    let routes = build::routes(settings, &ids)?;
    let Some(route) = routes.find(host, &canonical.path) else { return Ok(explained) };
    let mut upstreams = settings.upstreams.iter().zip(&recipes);
    let is_meant = |name: &str| ids.upstream(name).is_ok_and(|id| id == route.upstream);
    let Some((upstream, recipe)) = upstreams.find(|(upstream, _)| is_meant(&upstream.name)) else {
        return Ok(explained);
    };
    explained.route = Some((route.host.clone(), shown_path(route)));
    explained.upstream = Some(upstream.name.clone());
    let asked = Asked {
        method: &question.method,
        canonical: &canonical,
        query: target.query(),
        account: question.account,
    };
    let read = authorize::read(route, recipe, asked);
    let permit = match authorize::authorize(route, recipe, Some(caller), asked, read) {
        Ok(permit) => permit,
        Err(problem) => {
            explained.outcome = Outcome::Refused(problem);
            return Ok(explained);
        }
    };
    let mut accounts = upstream.accounts.iter();
    let account = accounts.find(|account| {
        ids.account(&upstream.name, &account.name).is_ok_and(|id| id == permit.account)
    });
    explained.account = account.map(|account| account.name.clone());
    explained.grant = permit.grant.map(|place| (place, grant_place(loaded, caller, place)));
    explained.outcome = match permit.read.rule {
        None => Outcome::Forwarded,
        Some(EndpointRule::Mask(_)) => Outcome::Masked,
        Some(EndpointRule::Answer(answer)) if answer.login.is_some() => Outcome::LoggedIn,
        Some(EndpointRule::Answer(_)) => Outcome::Answered,
        Some(EndpointRule::Closed(why)) => Outcome::Refused(Problem::EndpointClosed(why.clone())),
    };
    // What is answered here meets no limit.
    if matches!(explained.outcome, Outcome::Forwarded | Outcome::Masked) {
        let kind = if permit.read.reading.method.is_safe() { Kind::Read } else { Kind::Write };
        explained.limits = limits(loaded, question.client, route, upstream, kind);
    }
    explained.reading = Some(permit.read.reading);
    Ok(explained)
}

/// The limits that bound something, as a request meets them.
fn limits(
    loaded: &Loaded,
    client: &str,
    route: &Route,
    upstream: &Upstream,
    kind: Kind,
) -> Vec<Held> {
    let settings = &loaded.settings;
    let own = settings.clients.iter().find(|one| one.id.as_str() == client);
    let number = usize::from(route.number);
    let by_route = settings.routes.get(number);
    let all = [
        (Whose::Client, own.and_then(|one| one.limits), format!("/clients/{client}/limits")),
        (Whose::Route, by_route.and_then(|one| one.limits), format!("/routes/{number}/limits")),
        (Whose::Account, Some(upstream.limits), format!("/upstreams/{}/limits", upstream.name)),
    ];
    let given = all.into_iter().filter_map(|(whose, limit, pointer)| {
        let limit = limit.filter(bounds_something)?;
        Some(held(whose, limit, loaded.place(&pointer), kind))
    });
    given.collect()
}

fn held(whose: Whose, limit: Limit, at: String, kind: Kind) -> Held {
    let rate = match (limit.rates, kind) {
        (Rates::Together(rate), _) => rate.map(|rate| (rate, None)),
        (Rates::Apart { reads, .. }, Kind::Read) => reads.map(|rate| (rate, Some(kind))),
        (Rates::Apart { writes, .. }, Kind::Write) => writes.map(|rate| (rate, Some(kind))),
    };
    let Limit { in_flight_max, waiting_max, .. } = limit;
    Held { whose, at, rate, in_flight_max, waiting_max }
}

fn unknown(settings: &Settings, name: &str) -> ExplainError {
    let names = settings.clients.iter().map(|client| client.id.as_str());
    ExplainError::UnknownClient { name: name.to_owned(), meant: suggestion(name, names) }
}

fn shown_path(route: &Route) -> String {
    if route.prefix.is_empty() { "/".to_owned() } else { route.prefix.clone() }
}

fn grant_place(loaded: &Loaded, caller: &Caller, place: usize) -> String {
    loaded.place(&format!("/clients/{}/grants/{place}", caller.name))
}
