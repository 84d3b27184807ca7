//! Rate limits: so many reads, writes and bulk operations a second for each organization, counted
//! in whole seconds of the emulator's clock. Logging in and out is not limited.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method};

use super::entrance::api_key;
use super::refusal::Refusal;
use super::stacks::STACKS;
use super::{Contentstack, ORGANIZATION, Shared, Switches};
use crate::emulator::house::lock;

/// What each organization has spent in the present second.
#[derive(Default)]
pub struct Rates(BTreeMap<(&'static str, Lane), Spent>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Read,
    Write,
    Bulk,
}

#[derive(Default)]
struct Spent {
    second: u64,
    requests: u32,
}

/// What an answer says about the limit.
#[derive(Clone, Copy)]
struct Standing {
    limit: u32,
    remaining: Option<u32>,
}

/// Answers 429 beyond the limit and writes the limit on every answer; never `Retry-After`.
pub async fn limit(State(site): State<Shared>, request: Request, next: Next) -> Response {
    let Some(standing) = site.spend(&request) else { return next.run(request).await };
    let mut response = match standing.remaining {
        Some(_) => next.run(request).await,
        None => {
            site.house.tally.rate_limited();
            Refusal::too_many_requests().into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(standing.limit));
    headers
        .insert("x-ratelimit-remaining", HeaderValue::from(standing.remaining.unwrap_or_default()));
    response
}

impl Contentstack {
    /// Takes one request from its organization's limit, where it has one.
    fn spend(&self, request: &Request) -> Option<Standing> {
        let switches = self.switches_now();
        let path = request.uri().path();
        let session = path.ends_with("/user-session") || path.ends_with("/request_token_sms");
        // A stranger belongs to no organization.
        if !switches.rate_limit || session || self.session(request.headers()).is_none() {
            return None;
        }
        let lane = lane(request.method(), path);
        let limit = limit_of(lane, &switches);
        let second = self.house.clock.now().since_first().as_secs();

        let mut rates = lock(&self.rates);
        let spent = rates.0.entry((organization(request.headers()), lane)).or_default();
        if spent.second != second {
            *spent = Spent { second, requests: 0 };
        }
        let remaining = limit.checked_sub(spent.requests + 1);
        if remaining.is_some() {
            spent.requests += 1;
        }
        Some(Standing { limit, remaining })
    }
}

fn lane(method: &Method, path: &str) -> Lane {
    match *method {
        _ if path.contains("/bulk/") => Lane::Bulk,
        Method::GET | Method::HEAD => Lane::Read,
        _ => Lane::Write,
    }
}

fn limit_of(lane: Lane, switches: &Switches) -> u32 {
    match lane {
        Lane::Read => switches.reads_per_second,
        Lane::Write => switches.writes_per_second,
        Lane::Bulk => switches.bulk_per_second,
    }
}

fn organization(headers: &HeaderMap) -> &'static str {
    let key = api_key(headers).unwrap_or_default();
    let stack = STACKS.iter().find(|stack| stack.api_key == key);
    stack.map_or(ORGANIZATION, |stack| stack.organization)
}
