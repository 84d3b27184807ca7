//! Looks after the keys of issuers while Doorward runs: fetches them at start without anybody
//! waiting for it, again ahead of their time and, now and then, when a token names a key that is not
//! there. One task for each issuer, so that there is never more than one fetch.

mod fetch;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::build::BuildError;
use crate::access::jwt::{Issuer, Published};
use crate::clock::{Clock, Moment};
use crate::settings::{self, KeysAt, Location, Scheme, Settings};
use crate::telemetry::{Event, IssuerKeys, KeysOutcome, Reporter};
use crate::upstream::tls::{self, Terms};
use fetch::Source;

/// From one fetch to the next that tokens with unknown keys ask for, at least: tokens with invented
/// keys cost an issuer two requests a minute.
const ASKED_DISTANCE: Duration = Duration::from_secs(30);

/// From a failed fetch to the next one: at first, and at most, doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long keys are used on beyond their time when no new ones can be fetched.
const STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is told of one issuer, and what fetches its keys.
pub(super) struct Fetcher {
    name: Arc<str>,
    source: Source,
    keys: Arc<Published>,
}

/// The issuers as clients' tokens are judged by them, and what fetches their keys.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn issuers(settings: &Settings) -> Result<(Vec<Issuer>, Vec<Fetcher>), BuildError> {
    let (mut issuers, mut fetchers) = (Vec::new(), Vec::new());
    for written in &settings.issuers {
        let keys = Arc::new(Published::new());
        let source = source(written)?;
        let name = Arc::from(written.name.as_str());
        issuers.push(Issuer {
            issuer: written.issuer.clone(),
            audience: written.audience.clone(),
            algorithms: written.algorithms.clone(),
            required_type: written.required_type.clone(),
            clock_skew: written.clock_skew,
            keys: Arc::clone(&keys),
        });
        fetchers.push(Fetcher { name, source, keys });
    }
    Ok((issuers, fetchers))
}

fn source(written: &settings::Issuer) -> Result<Source, BuildError> {
    let unusable = |error| BuildError::IssuerTls(written.name.clone(), error);
    let client = |url: &Location| {
        let terms = Terms::usual(&url.origin.host, written.ca_file.as_deref());
        tls::client(&terms).map_err(unusable)
    };
    let tls = match &written.keys {
        KeysAt::Url(url) | KeysAt::Discovered(url) if url.origin.scheme == Scheme::Https => {
            Some(client(url)?)
        }
        KeysAt::Url(_) | KeysAt::Discovered(_) | KeysAt::File(_) => None,
    };
    Ok(Source {
        issuer: written.issuer.clone(),
        keys: written.keys.clone(),
        algorithms: written.algorithms.clone(),
        tls,
        ca_file: written.ca_file.clone(),
    })
}

/// The tasks that look after the keys. Dropped, they end by themselves.
#[derive(Debug)]
pub(super) struct Keeper {
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl Keeper {
    /// Starts the tasks on the caller's runtime, the control side.
    pub(super) fn start(fetchers: Vec<Fetcher>, clock: &Clock, reporter: &Reporter) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for fetcher in fetchers {
            let (stopped, clock, reporter) = (stop.clone(), clock.clone(), reporter.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = fetcher.run(&clock, &reporter) => {}
                    () = stopped.cancelled() => {}
                }
            });
        }
        Self { tasks, stop: stop.drop_guard() }
    }

    /// Ends the tasks; a fetch under way is given up.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // A task that died has told so itself.
        _ = self.tasks.join_all().await;
    }
}

impl Fetcher {
    async fn run(&self, clock: &Clock, reporter: &Reporter) {
        let report = |outcome| {
            let issuer = Arc::clone(&self.name);
            reporter.report(Event::IssuerKeys(IssuerKeys { issuer, outcome }));
        };
        let mut pause = RETRY_FIRST;
        // When the last keys are too old to be used.
        let mut end: Option<Moment> = None;
        loop {
            self.keys.begin();
            match self.source.fetch(clock).await {
                Ok(fetched) => {
                    let now = clock.now();
                    let count = fetched.keys.len();
                    report(match self.keys.publish(fetched.keys) {
                        true => KeysOutcome::New { keys: count },
                        false => KeysOutcome::Same,
                    });
                    (pause, end) = (RETRY_FIRST, Some(now + fetched.age + STALE_MAX));
                    clock.sleep_until(now + ASKED_DISTANCE).await;
                    self.keys.listen();
                    tokio::select! {
                        // A fifth of their time is left for what goes wrong.
                        () = clock.sleep_until(now + fetched.age * 4 / 5) => {}
                        () = self.keys.wanted() => {}
                    }
                }
                Err(error) => {
                    report(KeysOutcome::Failed { why: error.to_string(), kept: self.keys.fail() });
                    if end.is_some_and(|end| end <= clock.now()) {
                        end = None;
                        self.keys.forget();
                        report(KeysOutcome::Dropped);
                    }
                    clock.sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }
}
