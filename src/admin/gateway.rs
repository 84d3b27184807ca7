//! What the admin API shows and does, as the rest of Doorward gives it: rows that are ready to be
//! shown, and actions. Whoever starts this room makes it; nothing here knows another room's types.

use std::pin::Pin;
use std::time::Duration;

use super::answers::{
    Check, Client, Configuration, Listener, Rejected, Session, Setting, Traffic, Upstream,
};
use crate::telemetry::Operation;

/// The gateway as operators see it. Every method reads at one moment, takes no lock for longer than
/// that, and waits for nothing.
pub trait Gateway: Send + Sync + 'static {
    /// Which configuration runs.
    fn configuration(&self) -> Configuration;

    /// Where clients reach it.
    fn listeners(&self) -> Vec<Listener>;

    /// How much goes on.
    fn traffic(&self) -> Traffic;

    /// A row for each session and each login under way, and one for each account without either.
    fn sessions(&self) -> Vec<Session>;

    /// The upstreams with their accounts.
    fn upstreams(&self) -> Vec<Upstream>;

    /// The clients.
    fn clients(&self) -> Vec<Client>;

    /// Every value of the configuration and what has set it.
    fn settings(&self) -> Vec<Setting>;

    /// The last messages that were rejected for what they are, the newest first.
    fn rejected(&self) -> Vec<Rejected>;

    /// What makes it ready for requests, and what does not.
    fn checks(&self) -> Vec<Check>;

    /// Whether it is stopping.
    fn is_stopping(&self) -> bool;

    /// Does what an operator asks for.
    fn act(&self, action: Action) -> Acting<'_>;

    /// Tells all who keep a record what an operator has done.
    fn report(&self, operation: Operation);
}

/// An action under way.
pub type Acting<'g> = Pin<Box<dyn Future<Output = Result<Outcome, Refusal>> + Send + 'g>>;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A login for a session, beside the one that there is.
    LogIn(Whose),
    /// The logout of a session.
    LogOut(Whose),
    /// A whole budget for an account, and the end of its quarantine.
    Clear {
        /// The upstream's name.
        upstream: String,
        /// The account's name.
        account: String,
    },
    /// That nothing is sent to an upstream.
    Pause {
        /// The upstream's name.
        upstream: String,
        /// What clients are told to wait.
        retry_after: Duration,
    },
    /// That an upstream is used again.
    Resume {
        /// The upstream's name.
        upstream: String,
    },
    /// That a client's key is good no more.
    Revoke {
        /// The key's digest, or its beginning.
        digest: String,
    },
    /// The stop of the gateway, as by SIGTERM.
    Drain,
    /// That the configuration is read again.
    Reload,
}

/// Whose session is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The upstream's name.
    pub upstream: String,
    /// The account's name.
    pub account: String,
    /// The client that has it for itself; nothing: the one that is shared.
    pub client: Option<String>,
}

impl Action {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LogIn(_) => "log_in",
            Self::LogOut(_) => "log_out",
            Self::Clear { .. } => "clear",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Revoke { .. } => "revoke",
            Self::Drain => "drain",
            Self::Reload => "reload",
        }
    }

    /// What it is done to; empty where the whole gateway is meant.
    pub fn subject(&self) -> String {
        match self {
            Self::LogIn(whose) | Self::LogOut(whose) => match &whose.client {
                None => format!("{}.{}", whose.upstream, whose.account),
                Some(client) => format!("{}.{} of {client}", whose.upstream, whose.account),
            },
            Self::Clear { upstream, account } => format!("{upstream}.{account}"),
            Self::Pause { upstream, .. } | Self::Resume { upstream } => upstream.clone(),
            // As much as logs show of a digest, and nothing of a key that was sent by mistake.
            Self::Revoke { digest } if !digest.starts_with("sha256:") => String::new(),
            Self::Revoke { digest } => digest.chars().take(DIGEST_CHARACTERS).collect(),
            Self::Drain | Self::Reload => String::new(),
        }
    }
}

/// `sha256:` and twelve digits.
const DIGEST_CHARACTERS: usize = 19;

/// What came of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In words.
    pub detail: String,
    /// The session that it is about, by its generation.
    pub generation: Option<u64>,
}

/// Why nothing came of an action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What it is about is not there.
    #[error("{0}")]
    Unknown(String),
    /// It is asked for in a way that means nothing.
    #[error("{0}")]
    Wrong(String),
    /// It does not go with how things are.
    #[error("{0}")]
    Conflict(String),
    /// The upstream, or what guards its account, does not let it.
    #[error("{detail}")]
    Unavailable {
        /// In words.
        detail: String,
        /// When it is worth asking again.
        retry_after: Option<Duration>,
    },
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}
