//! What public sources leave open about M-Files, and its limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::emulator::switches::Status;

/// The switches of the M-Files emulator; turn them by the names of these fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// The status for a dead or missing credential: 403, or 401.
    pub refusal_status: Status,
    /// The body for a dead or missing credential.
    pub refusal_body: RefusalBody,
    /// The status of a logout: 200 with `{"Value":true}`, or 204 as documented.
    pub logout_status: Status,
    /// PUT and DELETE are refused by IIS before they arrive; `_method` is the way.
    pub iis_strict: bool,
    /// The web site lives under this virtual directory, `m-files` for instance; empty for none.
    pub sub_directory: String,
    /// Two servers behind a balancer; a token works on the one that gave it.
    pub two_nodes: bool,
    /// How long a cookie session may idle, in seconds. 1200.
    pub idle_timeout_seconds: u64,
    /// How long a token without `Expiration` lives, in seconds. `null`: for ever, as documented.
    pub token_ttl_seconds: Option<u64>,
    /// Cookies have the attribute `secure`, as recorded. On; the vendor's server says it on plain
    /// HTTP too.
    pub secure_cookies: bool,
    /// The object that nobody may touch: 403, although logged in. 13.
    pub forbidden_object: u64,
    /// How long a downloaded file is, in bytes. 4 MiB.
    pub download_bytes: u64,
    /// The pause before each further 64 KiB of a download, on the emulator's clock.
    pub download_pause_ms: u64,
    /// JSON answers are compressed for clients that accept it. Off.
    pub compress: bool,
}

/// The body for a dead or missing credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalBody {
    /// The service's own `WebServiceError`.
    Json,
    /// IIS' error page.
    Html,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            refusal_status: Status::FORBIDDEN,
            refusal_body: RefusalBody::Json,
            logout_status: Status::OK,
            iis_strict: false,
            sub_directory: String::new(),
            two_nodes: false,
            idle_timeout_seconds: 20 * 60,
            token_ttl_seconds: None,
            secure_cookies: true,
            forbidden_object: 13,
            download_bytes: 4 * 1024 * 1024,
            download_pause_ms: 0,
            compress: false,
        }
    }
}

impl Switches {
    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_seconds)
    }

    pub(super) fn token_ttl(&self) -> Option<Duration> {
        self.token_ttl_seconds.map(Duration::from_secs)
    }
}
