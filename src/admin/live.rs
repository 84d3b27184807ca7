//! What happens, as it happens: server-sent events, bounded for each who watches.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::answers::{Lost, SessionChange, Summary};
use super::filter::Filter;
use super::problem::Problem;
use super::records::Records;
use super::told::{self, Shares};
use crate::telemetry::stories::Story;
use crate::telemetry::{Interest, Login};

/// So many events a watcher may be behind; then it loses the oldest, and is told how many. At full
/// load that is a fraction of a second.
pub(super) const LAG_MAX: usize = 1024;

/// The most who watch at a time. Each costs a write for each event.
const WATCHERS_MAX: usize = 16;

/// A comment in the stream shows that it lives, to whatever is on the way.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// A request ended.
    Request(Story),
    /// A login ended.
    Login(SystemTime, Login),
    /// Something else happened to a session, an account or an upstream.
    Session(SessionChange),
    /// A second has passed.
    Summary(Summary),
    /// So many events were dropped before anybody was told of them.
    Lost(u64),
}

/// What of all that somebody wants to see.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    client: Option<String>,
    upstream: Option<String>,
    status: Option<String>,
    path: Option<String>,
    /// `request`, `login`, `session` and `summary`, with commas between them; without it, all.
    events: Option<String>,
}

/// Those who watch, counted.
#[derive(Debug, Default)]
pub(super) struct Watchers(Arc<AtomicUsize>);

/// One who watches.
struct Watcher(Arc<AtomicUsize>);

impl Watchers {
    fn one_more(&self) -> Option<Watcher> {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let watcher = Watcher(Arc::clone(&self.0));
        (count < WATCHERS_MAX).then_some(watcher)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream for one who watches.
struct Watching {
    records: Arc<Records>,
    receiver: Receiver<Arc<Told>>,
    filter: Filter,
    kinds: Kinds,
    stop: CancellationToken,
    /// So many events were sent.
    sent: u64,
    _interest: Interest,
    _watcher: Watcher,
}

/// Which kinds of events are wanted.
#[derive(Clone, Copy, Debug)]
struct Kinds {
    request: bool,
    login: bool,
    session: bool,
    summary: bool,
}

impl Kinds {
    fn of(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else {
            return Ok(Self { request: true, login: true, session: true, summary: true });
        };
        let mut kinds = Self { request: false, login: false, session: false, summary: false };
        for name in text.split(',') {
            match name {
                "request" => kinds.request = true,
                "login" => kinds.login = true,
                "session" => kinds.session = true,
                "summary" => kinds.summary = true,
                _ => {
                    let known = "`events` has `request`, `login`, `session` and `summary`";
                    return Err(Problem::bad_request(known));
                }
            }
        }
        Ok(kinds)
    }
}

/// Everything that happens from now on and is wanted, until `stop`.
///
/// # Errors
/// When what is wanted cannot be understood, or too many watch.
pub(super) fn live(
    records: &Arc<Records>,
    watchers: &Watchers,
    wanted: &Wanted,
    stop: CancellationToken,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Problem> {
    let Wanted { client, upstream, status, path, events } = wanted;
    let parts = [client, upstream, status, path].map(Option::as_deref);
    let filter = Filter::new(parts)?;
    let kinds = Kinds::of(events.as_deref())?;
    let watcher = watchers.one_more().ok_or_else(Problem::too_many_watchers)?;
    let (receiver, interest) = records.watch();
    let watching = Watching {
        records: Arc::clone(records),
        receiver,
        filter,
        kinds,
        stop,
        sent: 0,
        _interest: interest,
        _watcher: watcher,
    };
    let stream = unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok(event), watching))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Watching {
    /// The next event that is wanted; nothing when there will be none.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let told = tokio::select! {
                told = self.receiver.recv() => told,
                () = self.stop.cancelled() => return None,
            };
            let told = match told {
                Ok(told) => told,
                Err(RecvError::Lagged(lost)) => return Some(self.event("lost", &Lost { lost })),
                Err(RecvError::Closed) => return None,
            };
            let event = match &*told {
                Told::Request(request) if self.kinds.request && self.filter.takes(request) => {
                    // Few wait for a login; of those it is told how many they were.
                    let shares = match request.awaited {
                        true => self.records.shares(),
                        false => Shares::default(),
                    };
                    self.event("request", &told::request(request, &shares))
                }
                Told::Login(at, login) if self.kinds.login && self.about(Some(&login.upstream)) => {
                    // Those who waited for it are told of when they end.
                    self.event("login", &told::login(*at, login, &Shares::default()))
                }
                Told::Session(change)
                    if self.kinds.session && self.about(change.upstream.as_deref()) =>
                {
                    self.event("session", change)
                }
                Told::Summary(summary) if self.kinds.summary => self.event("summary", summary),
                Told::Lost(lost) => self.event("lost", &Lost { lost: *lost }),
                _ => continue,
            };
            return Some(event);
        }
    }

    fn about(&self, upstream: Option<&str>) -> bool {
        upstream.is_none_or(|upstream| self.filter.is_of(upstream))
    }

    fn event(&mut self, kind: &str, content: &impl Serialize) -> Event {
        self.sent += 1;
        // Texts and numbers can always be written.
        let content = serde_json::to_string(content).unwrap_or_default();
        Event::default().event(kind).id(self.sent.to_string()).data(content)
    }
}
