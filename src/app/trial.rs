//! Tries an account out without starting anything: only the rooms that a login needs are built.

use std::sync::Arc;

use super::{BuildError, build};
use crate::clock::Clock;
use crate::diagnosis::{Faults, suggestion};
use crate::session::trial::{Trial, TrialReport};
use crate::session::{Transport, UpstreamId};
use crate::settings::Loaded;
use crate::upstream::{Pool, tls};

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A secret cannot be read.
    #[error("{0}")]
    Faults(Faults),
    /// A room cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
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

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// Logs in to an upstream once, probes, logs out.
///
/// # Errors
/// See [`TrialError`]; then nothing was sent. What the upstream said is in the report.
pub async fn try_out(
    loaded: &Loaded,
    upstream: &str,
    account: Option<&str>,
) -> Result<TrialReport, TrialError> {
    tls::install_crypto_provider();
    let settings = &loaded.settings;
    let written = settings.upstream(upstream).ok_or_else(|| TrialError::UnknownUpstream {
        name: upstream.to_owned(),
        meant: suggestion(upstream, settings.upstreams.iter().map(|known| known.name.as_str())),
    })?;
    let names: Vec<_> = written.accounts.iter().map(|account| account.name.as_str()).collect();
    let account = match account {
        Some(name) => names.iter().position(|known| *known == name).ok_or_else(|| {
            TrialError::UnknownAccount {
                upstream: upstream.to_owned(),
                name: name.to_owned(),
                meant: suggestion(name, names.iter().copied()),
            }
        })?,
        None if names.len() > 1 => {
            return Err(TrialError::WhichAccount {
                upstream: upstream.to_owned(),
                accounts: names.iter().map(|name| (*name).to_owned()).collect(),
            });
        }
        None => 0,
    };
    let (credentials, _) = loaded.read_credentials().map_err(TrialError::Faults)?;
    let built = build::upstream(written, &credentials)?;
    let pool = Pool::new(Arc::clone(&built.origin));
    let transport = Transport::new(vec![pool], settings.limits.login_answer_bytes_max);
    let trial = Trial {
        upstream: &built,
        id: UpstreamId(0),
        account,
        transport: &transport,
        clock: &Clock::system(),
        timeout: settings.timeouts.login,
    };
    Ok(trial.run().await)
}
