//! What is asked: answers out of what the gateway shows and what is remembered. Lists come in parts.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answers::{
    Client, GatewayState, Login, Page, Rejected, Request, Session, Setting, Status, Summary,
    Upstream, UpstreamTraffic, time,
};
use super::filter::Filter;
use super::live::{self, Wanted};
use super::openapi::document;
use super::problem::Problem;
use super::{Api, summary, told};

/// Elements of a list where nobody says how many.
const LIMIT: usize = 100;

/// The most elements of a list in one answer.
const LIMIT_MAX: usize = 1000;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    limit: Option<usize>,
    after: Option<String>,
}

/// Which part of the last requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requests {
    limit: Option<usize>,
    after: Option<String>,
    client: Option<String>,
    upstream: Option<String>,
    status: Option<String>,
    path: Option<String>,
}

/// A query, or what is wrong about it.
type Asked<T> = Result<Query<T>, QueryRejection>;

type Listed<T> = Result<Json<Page<T>>, Problem>;

pub(super) async fn status(State(api): State<Arc<Api>>) -> Json<Status> {
    let (gateway, records) = (&api.gateway, &api.records);
    let now = api.clock.wall();
    let (sessions, upstreams) = (gateway.sessions(), gateway.upstreams());
    let (checks, configuration) = (gateway.checks(), gateway.configuration());
    let (troubles, summary) =
        summary::of(&sessions, &upstreams, &checks, &configuration, gateway.is_stopping());
    let uptime = api.clock.now().saturating_since(api.started);
    let (recent, each) = records.recent(upstreams.iter().map(|upstream| &*upstream.name));
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: time(api.started_at),
        uptime_seconds: uptime.as_secs(),
        state: match gateway.is_stopping() {
            true => GatewayState::Stopping,
            false => GatewayState::Running,
        },
        summary,
        troubles,
        configuration,
        listeners: gateway.listeners(),
        traffic: gateway.traffic(),
        recent,
        upstreams: upstreams
            .into_iter()
            .zip(each)
            .map(|(upstream, recent)| {
                let (logins, logins_failed) = records.logins_of(&upstream.name, now);
                UpstreamTraffic { name: upstream.name, recent, logins, logins_failed }
            })
            .collect(),
    })
}

pub(super) async fn sessions(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Session> {
    let mut page = counted(part, api.gateway.sessions())?;
    for session in &mut page.items {
        let Session { upstream, account, opened_as, .. } = &*session;
        session.last_login = api.records.last_login(upstream, account, *opened_as);
    }
    Ok(Json(page))
}

pub(super) async fn upstreams(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Upstream> {
    counted(part, api.gateway.upstreams()).map(Json)
}

pub(super) async fn clients(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Client> {
    let mut page = counted(part, api.gateway.clients())?;
    api.records.add_seen(&mut page.items);
    Ok(Json(page))
}

pub(super) async fn config(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Setting> {
    counted(part, api.gateway.settings()).map(Json)
}

pub(super) async fn rejected(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Rejected> {
    counted(part, api.gateway.rejected()).map(Json)
}

pub(super) async fn summaries(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Summary> {
    counted(part, api.records.summaries()).map(Json)
}

pub(super) async fn logins(State(api): State<Arc<Api>>, part: Asked<Part>) -> Listed<Login> {
    let Query(Part { limit, after }) = part.map_err(wrong_query)?;
    let all = api.records.logins();
    let total = all.len();
    let all = all.into_iter().map(|one| (one.number, one)).collect();
    let page = numbered(limit, after.as_deref(), all, total)?;
    let shares = api.records.shares();
    Ok(Json(mapped(page, |one| told::login(one.at, &one.what, &shares))))
}

pub(super) async fn requests(
    State(api): State<Arc<Api>>,
    asked: Asked<Requests>,
) -> Listed<Request> {
    let Query(Requests { limit, after, client, upstream, status, path }) =
        asked.map_err(wrong_query)?;
    let parts = [&client, &upstream, &status, &path].map(Option::as_deref);
    let filter = Filter::new(parts)?;
    let all = api.records.requests().into_iter().filter(|one| filter.takes(one));
    let all: Vec<_> = all.map(|one| (one.number, one)).collect();
    let total = all.len();
    let page = numbered(limit, after.as_deref(), all, total)?;
    let shares = api.records.shares();
    Ok(Json(mapped(page, |one| told::request(&one, &shares))))
}

pub(super) async fn request(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<Request>, Problem> {
    let found = api.records.requests().into_iter().find(|one| one.id.as_str() == id);
    let found = found.ok_or_else(|| {
        Problem::not_found("no request of this id is kept: it may be too old, or still under way")
    })?;
    Ok(Json(told::request(&found, &api.records.shares())))
}

pub(super) async fn live(
    State(api): State<Arc<Api>>,
    wanted: Asked<Wanted>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(wrong_query)?;
    let stream = live::live(&api.records, &api.watchers, &wanted, api.stop.clone())?;
    Ok(stream.into_response())
}

pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(document())
}

/// Depends on nothing but the process itself.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(api): State<Arc<Api>>, uri: axum::http::Uri) -> Response {
    let checks = api.gateway.checks();
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check.is_required && !check.is_ok)
        .map(|check| check.name.as_str())
        .collect();
    let is_verbose = uri.query().is_some_and(|query| {
        query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    let mut text = String::new();
    if is_verbose {
        for check in &checks {
            let mark = match (check.is_ok, check.is_required) {
                (true, _) => "[+]",
                (false, true) => "[-]",
                (false, false) => "[~]",
            };
            text.push_str(&format!("{mark} {} {}\n", check.name, check.detail));
        }
    }
    let status = match failed.is_empty() {
        true => {
            text.push_str("ready\n");
            StatusCode::OK
        }
        false => {
            text.push_str(&format!("not ready: {}\n", failed.join(", ")));
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, text).into_response()
}

pub(super) async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = api.metrics.exposition(accept);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.text).into_response()
}

pub(super) async fn not_found() -> Problem {
    Problem::not_found("there is no such path; /admin/v1/openapi.json lists those that there are")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

pub(super) fn wrong_query(rejection: QueryRejection) -> Problem {
    Problem::bad_request(rejection.body_text())
}

/// How many elements are wanted.
fn limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::bad_request(format!("`limit` is 1 to {LIMIT_MAX}"))),
    }
}

/// A part of a list that is made for the answer: `after` counts elements.
fn counted<T>(part: Asked<Part>, all: Vec<T>) -> Result<Page<T>, Problem> {
    let Query(Part { limit, after }) = part.map_err(wrong_query)?;
    let total = all.len();
    let limit = self::limit(limit)?;
    let skipped = number(after.as_deref())?.unwrap_or(0);
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let items: Vec<T> = all.into_iter().skip(skipped).take(limit).collect();
    let end = skipped.saturating_add(items.len());
    let next = (end < total && !items.is_empty()).then(|| end.to_string());
    Ok(Page { items, next, total })
}

/// A part of what is remembered, the newest first: `after` is the number of the last element of the
/// part before, so that what comes meanwhile moves nothing.
fn numbered<T>(
    limit: Option<usize>,
    after: Option<&str>,
    all: Vec<(u64, T)>,
    total: usize,
) -> Result<Page<T>, Problem> {
    let limit = self::limit(limit)?;
    let before = number(after)?.unwrap_or(u64::MAX);
    let mut rest = all.into_iter().filter(|(number, _)| *number < before);
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let last = items.last().map(|(number, _)| *number);
    let next = last.filter(|_| rest.next().is_some()).map(|number| number.to_string());
    Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next, total })
}

fn number(after: Option<&str>) -> Result<Option<u64>, Problem> {
    let wrong = || Problem::bad_request("`after` is `next` of the part before");
    after.map(|after| after.parse().map_err(|_| wrong())).transpose()
}

fn mapped<T, U>(page: Page<T>, map: impl Fn(T) -> U) -> Page<U> {
    let Page { items, next, total } = page;
    Page { items: items.into_iter().map(map).collect(), next, total }
}
