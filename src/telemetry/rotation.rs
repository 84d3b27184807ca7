//! What happened to secrets: changed ones and their rotation, those that cannot be read, and places
//! that cannot be watched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The rotation of a changed secret, and how far it has come.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a rotation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The secret has changed.
    Begun,
    /// The new secret cannot be tried yet; the old one and its session are used meanwhile.
    Waiting {
        /// Why.
        cause: &'static str,
        /// When it is tried again.
        pause: Duration,
    },
    /// Requests use the new secret.
    Done {
        /// The session that it gave; nothing where no session was alive: the next request that
        /// needs one logs in.
        generation: Option<u64>,
        /// How long the rotation took.
        took: Duration,
    },
    /// The upstream refused the new secret: the old one and its session are used on.
    Refused {
        /// What the upstream said, as far as the recipe knows it.
        cause: &'static str,
    },
}

/// What is not right about the place of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretTrouble {
    /// It gives no secret that could be used; the last one is kept.
    Unreadable {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The account's name in the configuration.
        account: Arc<str>,
        /// Why, without the secret.
        why: String,
    },
    /// Changes in a directory are not told to us: they are only seen by looking from time to time.
    Unwatched {
        /// The directory.
        directory: PathBuf,
        /// Why.
        why: String,
    },
}
