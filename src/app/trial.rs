//! Tries an account out without starting anything: only the rooms that a login needs are built.

use std::sync::Arc;

use super::advice::{About, Advice};
use super::reach::Outside;
use super::{BuildError, StartError, state, upstreams};
use crate::clock::Clock;
use crate::diagnosis::{Faults, suggestion};
use crate::recipe::Recipe;
use crate::session::counted::{Counted, NotCounted};
use crate::session::trial::{Progress, Trial, TrialReport, Waiting};
use crate::settings::{self, Loaded};
use crate::state::Unwritable;
use crate::upstream::tls;

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A secret cannot be read.
    #[error("{0}")]
    Faults(Faults),
    /// A room cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The state cannot be opened, most often because a gateway has it: its budget holds for trials,
    /// too.
    #[error("the attempt cannot be counted: stop what has the state first")]
    State(#[source] Box<StartError>),
    /// The attempt cannot be recorded.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// No such upstream.
    #[error("no upstream is called `{name}`{}", did_you_mean(.meant.as_deref()))]
    UnknownUpstream {
        /// The name.
        name: String,
        /// The one that was probably meant.
        meant: Option<String>,
    },
    /// No such account.
    #[error("upstream `{upstream}` has no account `{name}`{}", did_you_mean(.meant.as_deref()))]
    UnknownAccount {
        /// The upstream.
        upstream: String,
        /// The name.
        name: String,
        /// The one that was probably meant.
        meant: Option<String>,
    },
    /// More than one account.
    #[error("upstream `{upstream}` has more than one account; choose by --account: {}", .accounts.join(", "))]
    WhichAccount {
        /// The upstream.
        upstream: String,
        /// Its accounts.
        accounts: Vec<String>,
    },
}

impl From<StartError> for TrialError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Faults(faults) => Self::Faults(faults),
            other => Self::State(Box::new(other)),
        }
    }
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// A trial and what to make of it.
#[derive(Debug)]
pub struct Tried {
    /// The upstream's name.
    pub upstream: String,
    /// The account's name.
    pub account: String,
    /// The names of the account's fields.
    pub fields: Vec<String>,
    /// The recipe.
    pub recipe: Arc<Recipe>,
    /// What was found.
    pub report: TrialReport,
    /// What to change.
    pub advice: Vec<Advice>,
}

/// What is about to be tried.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// The account's name.
    pub account: &'a str,
    /// Where the upstream is.
    pub url: &'a str,
    /// The recipe.
    pub recipe: &'a Recipe,
}

/// Who watches a trial.
pub trait Watcher {
    /// It begins.
    fn begins(&mut self, subject: &Subject<'_>);
    /// Something happened.
    fn sees(&mut self, progress: Progress<'_>);
}

/// Logs in to an upstream once, probes, logs out.
///
/// # Errors
/// See [`TrialError`]; then nothing was sent. What the upstream said is in the report.
pub async fn try_out(
    loaded: &Loaded,
    upstream: &str,
    account: Option<&str>,
    watcher: &mut dyn Watcher,
) -> Result<Tried, TrialError> {
    tls::install_crypto_provider();
    let settings = &loaded.settings;
    let written = known(settings, upstream)?;
    let account = choose(written, account)?;
    // With this account alone: the others' secrets may not be there yet.
    let written = &settings::Upstream { accounts: vec![account.clone()], ..written.clone() };
    let credentials = loaded.read_credentials_of(written).map_err(TrialError::Faults)?;
    let clock = Clock::system();
    let answer_bytes_max = settings.limits.login_answer_bytes_max;
    let outside = Outside::untold(&clock);
    let outside = (&outside, loaded.environment());
    let built = upstreams::alone(written, &credentials, outside, answer_bytes_max)?;
    let recipe = Arc::clone(&built.recipe);
    let about = About { upstream: written, account, recipe: &recipe };
    let (upstream, url) = (written.name.as_str(), about.url());
    watcher.begins(&Subject { upstream, account: &account.name, url: &url, recipe: &recipe });
    let distance = settings.timeouts.login_distance;
    let (kept, _) = state::open(loaded, &clock)?;
    let mut waits = |lasts| {
        let until = "the account may log in again: its logins keep their distance";
        watcher.sees(Progress::Waiting(Waiting { lasts, until }));
    };
    let report = match Counted::begin(kept, &built, distance, &clock, &mut waits).await {
        Ok(counted) => {
            let trial = Trial {
                upstream: &built,
                account: 0,
                clock: &clock,
                counted: &counted,
                timeout: settings.timeouts.login,
            };
            let report = trial.run(&mut |progress| watcher.sees(progress)).await;
            match counted.end(report.failure, report.closed_at_start).await {
                Ok(()) => report,
                Err(_) => report.unrecorded(),
            }
        }
        Err(NotCounted::Unavailable(unavailable)) => TrialReport::held_back(unavailable),
        Err(NotCounted::Unwritable(unwritable)) => return Err(unwritable.into()),
    };
    let advice = about.advice(&report);
    Ok(Tried {
        upstream: written.name.clone(),
        account: account.name.clone(),
        fields: account.fields.keys().cloned().collect(),
        recipe: Arc::clone(&recipe),
        report,
        advice,
    })
}

/// The upstream of this name.
pub(super) fn known<'a>(
    settings: &'a settings::Settings,
    upstream: &str,
) -> Result<&'a settings::Upstream, TrialError> {
    settings.upstream(upstream).ok_or_else(|| TrialError::UnknownUpstream {
        name: upstream.to_owned(),
        meant: suggestion(upstream, settings.upstreams.iter().map(|known| known.name.as_str())),
    })
}

pub(super) fn choose<'a>(
    upstream: &'a settings::Upstream,
    account: Option<&str>,
) -> Result<&'a settings::Account, TrialError> {
    let names = || upstream.accounts.iter().map(|account| account.name.as_str());
    if account.is_none() && upstream.accounts.len() > 1 {
        return Err(TrialError::WhichAccount {
            upstream: upstream.name.clone(),
            accounts: names().map(str::to_owned).collect(),
        });
    }
    let mut accounts = upstream.accounts.iter();
    let chosen = accounts.find(|known| account.is_none_or(|name| known.name == name));
    chosen.ok_or_else(|| {
        let name = account.unwrap_or_default();
        TrialError::UnknownAccount {
            upstream: upstream.name.clone(),
            name: name.to_owned(),
            meant: suggestion(name, names()),
        }
    })
}
