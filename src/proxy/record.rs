//! What is noted of one request while it is under way; reported once, when it is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::error::Problem;
use super::force::{Books, Destination, Serving};
use super::upload::Received;
use super::{Core, Peer, Shared, UnderWay, message, shown};
use crate::access::{self, Caller, Issued};
use crate::clock::{Clock, Moment};
use crate::fields::Fields;
use crate::limit::Permits;
use crate::route::Canonical;
use crate::session::{AccountId, Generation};
use crate::telemetry::metrics::{Ended, Replay, Sender};
use crate::telemetry::stories::Note;
use crate::telemetry::trace::Trace;
use crate::telemetry::{
    Decision, Decoded, Event, Head, Refused, Rejected, Request, RequestId, Sending, Sendings,
    Shown, Who,
};

/// What is noted of one request. Reports itself when it is dropped, however the request ends.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: RequestId,
    /// Once somebody was let in.
    pub(super) who: Option<Who>,
    peer: Option<IpAddr>,
    /// The same for whoever counts.
    pub(super) sender: Sender,
    /// Once a route is found: its number.
    pub(super) route: Option<u16>,
    /// And where it leads.
    pub(super) destination: Option<Arc<Destination>>,
    /// Once the request is allowed: whose account it uses, and by which grant.
    pub(super) allowed: Option<(AccountId, Option<usize>)>,
    pub(super) method: Method,
    target: Option<PathAndQuery>,
    /// Whether the target has the bearer token in it, too.
    pub(super) repeats_token: bool,
    /// Whether that is so, or the path has another credential in it: then the path is never shown.
    pub(super) shows_credential: bool,
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    pub(super) generation: Option<Generation>,
    /// What becomes of it after its session was found dead.
    pub(super) replay: Replay,
    sendings: Sendings,
    /// Its place in a trace, where there are any.
    pub(super) trace: Option<Box<Trace>>,
    /// The session that an answer called dead, with that answer's status.
    pub(super) refused: Option<(Generation, StatusCode)>,
    /// Whether it had to wait for a session.
    pub(super) awaited: bool,
    /// What has come of its body.
    pub(super) received: Received,
    /// What a tunnel took from the client.
    pub(super) tunnelled_bytes: u64,
    pub(super) body_bytes: u64,
    /// How many stretches of the answer's body were replaced because they showed a secret.
    pub(super) redacted: u64,
    /// The answer's codings, where they were taken off.
    pub(super) decoded: Option<Decoded>,
    pub(super) started: Moment,
    /// When its turn had come, or it was refused one.
    pub(super) admitted_at: Option<Moment>,
    /// Its places at the limits, until the answer's body has ended.
    pub(super) permits: Option<Permits>,
    /// When the last sending's session was there.
    pub(super) session_at: Option<Moment>,
    /// When the head of the last answer was there.
    pub(super) head_at: Option<Moment>,
    /// What is shown of its head if it is rejected.
    rejected: Option<Head>,
    listener: Arc<str>,
    scheme: &'static str,
    protocol: &'static str,
    shown: Shown,
    books: Arc<Books>,
    _under_way: UnderWay,
}

/// The status in reports of a request whose client left before it was answered.
const LEFT_STATUS: u16 = 499;

/// The reason of a request that was answered in its upstream's place.
pub(super) const ANSWERED_LOCALLY: &str = "answered_locally";

/// The reason of a client's login that was answered in its upstream's place.
pub(super) const LOGGED_IN_LOCALLY: &str = "logged_in_locally";

/// The reason of a request whose client left before it was answered.
pub(super) const CLIENT_LEFT: &str = "client_left";

/// The reason of a request whose answer is the upstream's.
pub(super) const FORWARDED: &str = "forwarded";

/// The same of one that was sent twice.
pub(super) const REPLAYED: &str = "replayed";

/// The reason of a tunnel.
pub(super) const UPGRADED: &str = "upgraded";

/// The reason of an answer that was cut because it could not be decoded to its end.
pub(super) const UNDECODABLE: &str = "undecodable";

/// The reason of an answer that was cut because its client took nothing of it for too long.
pub(super) const NOT_TAKEN: &str = "not_taken";

impl Record {
    /// Boxed: it goes with the answer, which changes hands many times.
    pub(super) fn new(
        core: &Core,
        serving: &Serving,
        head: &message::Head,
        issued: &Issued<'_>,
        peer: &Peer,
    ) -> Box<Self> {
        let (shared, books) = (&core.shared, Arc::clone(&serving.books));
        books.tally.begun();
        let target = head.uri.path_and_query();
        let is_repeated = |text: &str| issued.is_repeated_in(text.as_bytes());
        let repeats_token = target.is_some_and(|target| is_repeated(target.as_str()));
        let path = target.map(PathAndQuery::path).unwrap_or_default();
        Box::new(Self {
            id: core.ids.next(),
            who: None,
            sender: Sender::Nobody,
            peer: peer.address,
            route: None,
            destination: None,
            allowed: None,
            method: head.method.clone(),
            target: target.cloned(),
            repeats_token,
            shows_credential: repeats_token || access::holds_credential(path.as_bytes()),
            status: StatusCode::from_u16(LEFT_STATUS).unwrap_or(StatusCode::BAD_REQUEST),
            reason: CLIENT_LEFT,
            generation: None,
            replay: Replay::None,
            sendings: Sendings::default(),
            trace: trace(shared, head).map(Box::new),
            refused: None,
            awaited: false,
            received: Received::default(),
            tunnelled_bytes: 0,
            body_bytes: 0,
            redacted: 0,
            decoded: None,
            started: shared.clock.now(),
            admitted_at: None,
            permits: None,
            session_at: None,
            head_at: None,
            rejected: None,
            listener: Arc::clone(&peer.listener),
            scheme: peer.scheme,
            protocol: shown::protocol(head.version),
            shown: shown::shown(&serving.in_force.shows, head, issued),
            books,
            _under_way: core.under_way.clone(),
        })
    }

    /// The last sending ended at `now`, by the head of an answer or without one.
    pub(super) fn sent(&mut self, now: Moment, outcome: Result<StatusCode, &'static str>) {
        if let Some(began) = self.session_at {
            self.sendings.note(Sending {
                after: began.saturating_since(self.started),
                took: now.saturating_since(began),
                outcome,
            });
        }
        if outcome.is_ok() {
            self.head_at = Some(now);
        }
    }

    /// Somebody was let in: this client, or whoever reaches a listener without keys.
    pub(super) fn let_in(&mut self, caller: Option<&Caller>) {
        (self.who, self.sender) = match caller {
            Some(caller) => {
                (Some(Who::Client(Arc::clone(&caller.name))), Sender::Client(caller.number))
            }
            None => (Some(Who::Open), Sender::Open),
        };
    }

    /// Notes that the answer's body did not come to its end. What decided an answer that is not the
    /// upstream's says more.
    pub(super) fn broke_off(&mut self, why: &'static str) {
        if matches!(self.reason, FORWARDED | REPLAYED) {
            self.reason = why;
        }
    }

    /// The path as reports show it.
    fn shown_path(&self) -> &str {
        shown_path(self.target.as_ref(), self.shows_credential)
    }

    /// What is wrong may be in these fields: their names are kept with the message, if it is
    /// rejected.
    pub(super) fn note_fields(&mut self, fields: &Fields) {
        let names = fields.names().map(|name| match access::holds_credential(name.as_ref()) {
            true => "[client credential]",
            false => name.as_str(),
        });
        self.rejected = Some(self.head(names));
    }

    /// The message is rejected, and kept for the operator.
    pub(super) fn rejected(&mut self, problem: &Problem) {
        let head = self.rejected.take().unwrap_or_else(|| self.head(std::iter::empty()));
        let Shared { rejections, clock, .. } = &*self.books.shared;
        rejections.keep(Rejected {
            at: clock.wall(),
            listener: Arc::clone(&self.listener),
            peer: self.peer,
            reason: problem.code(),
            head: Some(head),
        });
    }

    fn head<'n>(&self, names: impl Iterator<Item = &'n str>) -> Head {
        let path = Canonical::of(self.shown_path()).path;
        // Encoded it may have passed for something else.
        match access::holds_credential(path.as_bytes()) {
            true => Head::new(self.method.as_str(), "/[client credential]", names),
            false => Head::new(self.method.as_str(), &path, names),
        }
    }

    fn decision(&self) -> Decision {
        match (self.generation, self.reason) {
            // A session is at hand only when the request is about to be sent.
            (Some(_), _) => Decision::Forwarded,
            (None, ANSWERED_LOCALLY | LOGGED_IN_LOCALLY) => Decision::AnsweredLocally,
            (None, CLIENT_LEFT) => Decision::Abandoned,
            (None, _) => Decision::Refused,
        }
    }

    fn count(&self, took: Duration) {
        let was_answered = self.status.as_u16() != LEFT_STATUS || self.reason != CLIENT_LEFT;
        self.books.tally.ended(&Ended {
            route: self.route,
            sender: self.sender,
            method: &self.method,
            scheme: self.scheme,
            status: was_answered.then_some(self.status),
            decision: self.decision(),
            reason: self.reason,
            replay: self.replay,
            took,
            received_bytes: self.received.bytes() + self.tunnelled_bytes,
            body_bytes: self.body_bytes,
            redacted: self.redacted,
            sendings: self.sendings,
        });
    }

    /// The clock that the request is measured by.
    pub(super) fn clock(&self) -> &Clock {
        &self.books.shared.clock
    }
}

/// The place of a request in a trace.
fn trace(shared: &Shared, head: &message::Head) -> Option<Trace> {
    shared.tracing.as_ref()?.begin(&head.headers)
}

/// When a request has ended.
struct End {
    /// Since the start of the process's clock.
    since_start: Duration,
    /// Since its own head.
    took: Duration,
}

impl Record {
    /// Writes its story, where it is kept or somebody watches.
    fn tell(&mut self, ended: End, path: &str, is_reported: bool) -> SystemTime {
        let Some(book) = &self.books.stories else { return SystemTime::now() };
        let who = if is_reported { self.who.clone() } else { self.who.take() };
        let client = match (who, self.sender) {
            (Some(Who::Client(name)), Sender::Client(number)) => Some((number, name)),
            _ => None,
        };
        let after = |moment: Moment| moment.saturating_since(self.started);
        book.write(Note {
            ended: ended.since_start,
            id: &self.id,
            client,
            peer: self.peer,
            upstream: self.destination.as_ref().and_then(|to| to.in_stories),
            account: self.allowed.map(|(account, _)| account.0),
            method: &self.method,
            path,
            decision: self.decision(),
            status: self.status,
            reason: self.reason,
            generation: self.generation.map(|generation| generation.0),
            is_replayed: self.replay == Replay::Sent,
            refused: self.refused(),
            is_awaited: self.awaited,
            waited: self.admitted_at.map(after),
            session_after: self.session_at.map(after),
            head_after: self.head_at.map(after),
            took: ended.took,
            body_bytes: self.body_bytes,
            redacted: self.redacted,
        })
    }

    /// Everything that is told of it.
    fn report(&mut self, at: SystemTime, took: Duration, path: &str, trace: Option<Box<Trace>>) {
        let (route, server) = self.books.tally.names(self.route);
        let upstream = self.destination.take().map(|to| Arc::clone(&to.upstream));
        let account = upstream.as_ref().zip(self.allowed);
        let account = account.and_then(|(upstream, (account, _))| upstream.account(account));
        let account = account.map(|account| Arc::clone(&account.name));
        let after = |moment: Moment| moment.saturating_since(self.started);
        let request = Request {
            id: self.id.clone(),
            who: self.who.take(),
            peer: self.peer,
            listener: Arc::clone(&self.listener),
            scheme: self.scheme,
            protocol: self.protocol,
            route,
            upstream: upstream.map(|upstream| Arc::clone(&upstream.name)),
            account,
            grant: self.allowed.and_then(|(_, grant)| grant),
            method: self.method.clone(),
            path: path.to_owned(),
            sendings: self.sendings,
            server,
            trace,
            shown: std::mem::take(&mut self.shown),
            decision: self.decision(),
            status: self.status,
            reason: self.reason,
            generation: self.generation.map(|generation| generation.0),
            replayed: self.replay == Replay::Sent,
            refused: self.refused(),
            awaited: self.awaited,
            waited: self.admitted_at.map(after),
            session_after: self.session_at.map(after),
            head_after: self.head_at.map(after),
            took,
            body_bytes: self.body_bytes,
            redacted: self.redacted,
            decoded: self.decoded.take(),
        };
        self.books.shared.reporter.report_at(at, Event::Request(Arc::new(request)));
    }

    fn refused(&self) -> Option<Refused> {
        let refused = |(Generation(generation), status)| Refused { generation, status };
        self.refused.map(refused)
    }
}

/// The path of a target as reports show it: somebody may have put a key or a token into it.
fn shown_path(target: Option<&PathAndQuery>, shows_credential: bool) -> &str {
    match shows_credential {
        true => "/[client credential]",
        false => target.map(PathAndQuery::path).unwrap_or_default(),
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Shared { clock, reporter, cut_off, .. } = &*self.books.shared;
        let seems_left = matches!(self.reason, CLIENT_LEFT | UPGRADED);
        if seems_left && cut_off.is_cancelled() {
            self.reason = Problem::Stopping.code();
        }
        let (now, since_start) = clock.now_and_since_start();
        let took = now.saturating_since(self.started);
        self.count(took);
        // What an operator has to know is reported in any case.
        let trace = self.trace.take().filter(|trace| trace.is_sampled);
        let is_wanted = reporter.wants_requests();
        let is_reported = is_wanted || self.redacted > 0 || trace.is_some();
        let is_kept = self.books.stories.as_ref().is_some_and(|book| book.is_kept());
        if !(is_kept || is_reported) {
            return;
        }
        let target = self.target.take();
        let path = shown_path(target.as_ref(), self.shows_credential);
        let at = match is_kept || is_wanted {
            true => self.tell(End { since_start, took }, path, is_reported),
            false => SystemTime::now(),
        };
        if is_reported {
            self.report(at, took, path, trace);
        }
    }
}
