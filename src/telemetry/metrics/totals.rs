//! What all cores have counted, by names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::families::{self, Family};
use super::histogram::Histogram;
use super::life::Labels;
use super::sizes::Sizes;
use super::tally::{Key, Outcome, Replay, SendingKey, Series, Tally};

/// What stands in a label for whatever was counted together.
const OTHER: &str = "_other";

/// The reasons of requests that were answered as they should be, whatever the answer says.
const ANSWERED: [&str; 6] =
    ["forwarded", "replayed", "expired_twice", "answered_locally", "logged_in_locally", "upgraded"];

/// The reasons of requests whose answer did not come to its end.
const CUT_OFF: [&str; 6] =
    ["client_left", "undecodable", "not_taken", "session_replaced", "key_revoked", "tunnel_idle"];

/// The reason of an answer that broke off, or of one in its place.
const BROKEN: &str = "upstream_broken";

/// What all cores have counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) active: u64,
    pub(super) counts: BTreeMap<&'static str, BTreeMap<Labels, u64>>,
    pub(super) histograms: BTreeMap<&'static str, BTreeMap<Labels, Histogram>>,
    pub(super) sizes: BTreeMap<&'static str, BTreeMap<Labels, Sizes>>,
}

impl Totals {
    /// Adds what one core has counted.
    pub(super) fn add(&mut self, tally: &Tally) {
        let (begun, counts) = tally.read();
        self.active += begun - counts.ended;
        for (key, series) in &counts.requests {
            self.request(tally, key, series);
        }
        for (key, histogram) in &counts.sendings {
            self.sending(tally, key, histogram);
        }
        for (number, count) in &counts.clients {
            if let Some(client) = tally.catalog.clients.get(number) {
                self.count(&families::CLIENT_REQUESTS, vec![Arc::clone(client)], *count);
            }
        }
        for (name, count) in [("_open", counts.open), (OTHER, counts.other_clients)] {
            if count > 0 {
                self.count(&families::CLIENT_REQUESTS, labels([name]), count);
            }
        }
    }

    fn request(&mut self, tally: &Tally, key: &Key, series: &Series) {
        let upstream = match key.is_merged {
            true => OTHER.into(),
            false => tally.catalog.upstream_of(key.route).unwrap_or_default(),
        };
        let route = match (key.is_merged, tally.catalog.route(key.route)) {
            (true, _) => OTHER.into(),
            (false, route) => route.map(|route| Arc::clone(&route.route)).unwrap_or_default(),
        };
        let method = key.method.as_str();
        let of_body =
            [Arc::from(method), Arc::clone(&route), key.scheme.0.into(), Arc::clone(&upstream)];
        self.size(&families::REQUEST_SIZE, of_body.to_vec(), &series.received);
        self.size(&families::RESPONSE_SIZE, of_body.to_vec(), &series.given);
        let status = key.status.map(|status| status.to_string()).unwrap_or_default();
        let words = labels([method, &status]);
        let ended = [key.scheme.0.into(), error_type(key).into(), Arc::clone(&upstream)];
        let all = words.into_iter().chain([route]).chain(ended).collect();
        self.histogram(&families::SERVER_DURATION, all, &series.duration);

        let requests = series.duration.count();
        let by_reason = [key.decision.as_str(), key.reason.0];
        self.count(&families::REQUESTS, of(&upstream, by_reason), requests);
        if let Some(outcome) = key.replay.as_str() {
            self.count(&families::REPLAYS, of(&upstream, [outcome, key.reason.0]), requests);
        }
        if series.redacted > 0 {
            self.count(&families::REDACTIONS, of(&upstream, []), series.redacted);
        }
    }

    fn sending(&mut self, tally: &Tally, key: &SendingKey, histogram: &Histogram) {
        let names = tally.catalog.route(key.route);
        let names = names.and_then(|route| tally.catalog.upstream(route.upstream));
        let (status, error) = match key.outcome {
            // For a client every 4xx is one, too (semantic conventions for HTTP spans, "Status").
            Outcome::Status(status) if status >= 400 => (status.to_string(), status.to_string()),
            Outcome::Status(status) => (status.to_string(), String::new()),
            Outcome::Failed(word) => (String::new(), word.0.to_owned()),
        };
        let (address, port, scheme, upstream) = match names {
            Some(names) => (&*names.address, names.port.to_string(), names.scheme, &*names.name),
            None => (OTHER, String::new(), "", OTHER),
        };
        let words = [key.method.as_str(), &status, address, &port, scheme, &error, upstream];
        self.histogram(&families::CLIENT_DURATION, labels(words), histogram);
    }

    fn count(&mut self, family: &Family, labels: Labels, more: u64) {
        *self.counts.entry(family.name).or_default().entry(labels).or_default() += more;
    }

    fn histogram(&mut self, family: &Family, labels: Labels, more: &Histogram) {
        self.histograms.entry(family.name).or_default().entry(labels).or_default().add(more);
    }

    fn size(&mut self, family: &Family, labels: Labels, more: &Sizes) {
        self.sizes.entry(family.name).or_default().entry(labels).or_default().add(more);
    }
}

fn labels<const N: usize>(words: [&str; N]) -> Labels {
    words.into_iter().map(Arc::from).collect()
}

fn of<const N: usize>(upstream: &Arc<str>, words: [&str; N]) -> Labels {
    [Arc::clone(upstream)].into_iter().chain(labels(words)).collect()
}

/// What the request has failed by; nothing where it has not. A 4xx is the client's own fault (semantic
/// conventions for HTTP spans, "Status").
fn error_type(key: &Key) -> String {
    let reason = key.reason.0;
    let is_error = key.status.is_some_and(|status| status >= 500);
    let is_passed_on = ANSWERED.contains(&reason) || key.replay == Replay::Refused;
    match key.status {
        _ if CUT_OFF.contains(&reason) || reason == BROKEN => reason.to_owned(),
        Some(status) if is_error && is_passed_on => status.to_string(),
        _ if is_error => reason.to_owned(),
        _ => String::new(),
    }
}
