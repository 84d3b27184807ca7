//! Metrics: what the cores count of their requests, what readers count of events, and how everything
//! stands at the moment, as one page for a scraper. Nothing is counted twice, and nothing of the data
//! path waits for whoever reads.

mod catalog;
mod families;
mod format;
mod histogram;
mod life;
mod page;
mod process;
mod sizes;
mod state;
mod tally;
mod totals;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use catalog::{CLIENTS_MAX, Catalog, RouteNames, UpstreamNames};
pub use families::{ALL, Family, Kind};
pub use format::Format;
pub use state::{Account, Limit, Listener, State, Upstream};
pub(super) use tally::Method;
pub use tally::{Ended, Replay, Sender, Tally};

use super::Reader;
use life::{Counting, Life};
use page::Page;
use totals::Totals;

/// All metrics of a process. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

pub(super) struct Inner {
    tallies: Mutex<Tallies>,
    life: Life,
    config: Mutex<Config>,
    look: Mutex<Option<Box<dyn Fn() -> State + Send + Sync>>>,
}

/// What cores count now, and what those have counted that are gone.
#[derive(Debug, Default)]
struct Tallies {
    current: Vec<Arc<Tally>>,
    gone: Totals,
}

/// The configuration in use.
#[derive(Clone, Copy, Debug)]
struct Config {
    is_last_one: bool,
    since: SystemTime,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing has happened yet; the configuration is in use since `since`.
    pub fn new(since: SystemTime) -> Self {
        Self(Arc::new(Inner {
            tallies: Mutex::default(),
            life: Life::default(),
            config: Mutex::new(Config { is_last_one: true, since }),
            look: Mutex::new(None),
        }))
    }

    /// Where one core counts the requests of one configuration. What it has counted stays counted when
    /// it is dropped.
    pub fn tally(&self, catalog: &Arc<Catalog>) -> Arc<Tally> {
        let tally = Arc::new(Tally::new(Arc::clone(catalog)));
        let mut tallies = lock(&self.0.tallies);
        // However often a configuration is read where nobody reads metrics.
        tallies.add_up();
        tallies.current.push(Arc::clone(&tally));
        tally
    }

    /// Counts events.
    pub fn reader(&self) -> Box<dyn Reader> {
        Box::new(Counting(Arc::clone(&self.0)))
    }

    /// There is this account: what is counted of it begins with nothing.
    pub fn begin(&self, upstream: &Arc<str>, account: &Arc<str>) {
        self.0.life.begin(upstream, account);
    }

    /// Asks `look` from now on how everything stands, whenever somebody reads.
    pub fn look_by(&self, look: impl Fn() -> State + Send + Sync + 'static) {
        *lock(&self.0.look) = Some(Box::new(look));
    }

    /// The page for a scraper. Blocks for some system calls.
    pub fn render(&self, format: Format) -> String {
        let state = match &*lock(&self.0.look) {
            Some(look) => look(),
            None => State::default(),
        };
        let config = *lock(&self.0.config);
        let mut page = Page::default();
        page.totals(&self.totals());
        page.life(&self.0.life.lock());
        page.state(&state);
        page.config(config.is_last_one, config.since);
        page.process(&process::Process::now());
        page.render(format)
    }

    /// What all cores have counted.
    fn totals(&self) -> Totals {
        let mut tallies = lock(&self.0.tallies);
        tallies.add_up();
        let mut totals = tallies.gone.clone();
        tallies.current.iter().for_each(|tally| totals.add(tally));
        totals
    }
}

impl Tallies {
    /// Adds up what is counted no more.
    fn add_up(&mut self) {
        // Nobody else holds it.
        let gone = self.current.extract_if(.., |tally| Arc::strong_count(tally) == 1);
        gone.for_each(|tally| self.gone.add(&tally));
    }
}

impl Inner {
    /// Another configuration is in use.
    fn reloaded(&self, at: SystemTime) {
        *lock(&self.config) = Config { is_last_one: true, since: at };
    }

    /// Another configuration was refused: the one before is used on.
    fn reload_refused(&self) {
        lock(&self.config).is_last_one = false;
    }
}

/// Nothing panics under these locks: what they hold is whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
