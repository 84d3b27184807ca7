//! Looks after the keys of issuers while Doorward runs: fetches them at start without anybody
//! waiting for it, again ahead of their time and, now and then, when a token names a key that is not
//! there. One task for each issuer, so that there is never more than one fetch.

mod fetch;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::build::BuildError;
use super::outgoing;
use crate::access::jwt::{Issuer, Published};
use crate::clock::{Clock, Moment};
use crate::secret::{Fingerprint, SecretText};
use crate::settings::{self, KeysAt, Location, Scheme, Settings};
use crate::telemetry::{Event, IssuerKeys, KeysOutcome, Reporter};
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
struct Fetcher {
    name: Arc<str>,
    source: Source,
    keys: Arc<Published>,
}

/// Issuers as they will be. Nothing has changed yet.
pub(super) struct Planned(Vec<One>);

/// One issuer that will be there.
struct One {
    print: Fingerprint,
    keys: Arc<Published>,
    /// What is to fetch its keys; nothing where somebody does already.
    fetcher: Option<Fetcher>,
}

/// The issuers as clients' tokens are judged by them, and what fetches their keys. The keys of one
/// that has not changed are kept. Blocks on the file system.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn plan(
    settings: &Settings,
    before: Option<&Keeper>,
) -> Result<(Vec<Issuer>, Planned), BuildError> {
    let (mut issuers, mut planned) = (Vec::new(), Vec::new());
    for written in &settings.issuers {
        let print = print(written);
        let known = before.and_then(|before| before.keys(print));
        let one = match known {
            Some(keys) => One { print, keys, fetcher: None },
            None => {
                let keys = Arc::new(Published::new());
                let (name, source) = (Arc::from(written.name.as_str()), source(written)?);
                let fetcher = Fetcher { name, source, keys: Arc::clone(&keys) };
                One { print, keys, fetcher: Some(fetcher) }
            }
        };
        issuers.push(Issuer {
            issuer: written.issuer.clone(),
            audience: written.audience.clone(),
            algorithms: written.algorithms.clone(),
            required_type: written.required_type.clone(),
            clock_skew: written.clock_skew,
            keys: Arc::clone(&one.keys),
        });
        planned.push(one);
    }
    Ok((issuers, Planned(planned)))
}

/// What an issuer's keys depend on, with what is in its file of authorities.
fn print(written: &settings::Issuer) -> Fingerprint {
    // One that cannot be read is told by whoever makes the connections.
    let authorities = written.ca_file.as_ref().and_then(|file| std::fs::read(file).ok());
    let authorities = HEXLOWER.encode(&authorities.unwrap_or_default());
    Fingerprint::of(&[format!("{written:?}"), authorities].map(SecretText::from))
}

fn source(written: &settings::Issuer) -> Result<Source, BuildError> {
    let unusable = |error| BuildError::IssuerTls(written.name.clone(), error);
    let client = |url: &Location| {
        outgoing::client(&url.origin.host, written.ca_file.as_deref()).map_err(unusable)
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

/// The tasks that look after the keys, one for each issuer. Dropped, they end by themselves.
#[derive(Debug, Default)]
pub(super) struct Keeper(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    print: Fingerprint,
    keys: Arc<Published>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Keeper {
    /// Looks after these issuers from now on, on the caller's runtime, the control side.
    pub(super) fn look_after(&mut self, planned: Planned, clock: &Clock, reporter: &Reporter) {
        let mut before = std::mem::take(&mut self.0);
        for One { print, keys, fetcher } in planned.0 {
            let known = before.iter().position(|kept| kept.print == print);
            self.0.extend(match (fetcher, known) {
                (None, Some(known)) => Some(before.swap_remove(known)),
                (Some(fetcher), _) => Some(fetcher.start(print, keys, clock, reporter)),
                // What is not fetched here is fetched already.
                (None, None) => None,
            });
        }
    }

    fn keys(&self, print: Fingerprint) -> Option<Arc<Published>> {
        let kept = self.0.iter().find(|kept| kept.print == print)?;
        Some(Arc::clone(&kept.keys))
    }

    /// Ends the tasks; a fetch under way is given up.
    pub(super) async fn stop(self) {
        for Kept { task, stop, .. } in self.0 {
            drop(stop);
            // A task that died has told so itself.
            _ = task.await;
        }
    }
}

impl Fetcher {
    fn start(
        self,
        print: Fingerprint,
        keys: Arc<Published>,
        clock: &Clock,
        reporter: &Reporter,
    ) -> Kept {
        let stop = CancellationToken::new();
        let (stopped, clock, reporter) = (stop.clone(), clock.clone(), reporter.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = self.run(&clock, &reporter) => {}
                () = stopped.cancelled() => {}
            }
        });
        Kept { print, keys, task, stop: stop.drop_guard() }
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
