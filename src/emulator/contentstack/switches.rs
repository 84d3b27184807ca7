//! What public sources leave open about Contentstack, and its limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::emulator::switches::Status;

/// The switches of the Contentstack emulator; turn them by the names of these fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// Tokens that one user may hold; one more login ends the oldest. 20.
    pub token_cap: usize,
    /// How long a token lives, in seconds. `null`: for ever, as documented.
    pub token_ttl_seconds: Option<u64>,
    /// A new password leaves the sessions of the old one alive.
    pub sessions_outlive_password: bool,
    /// The status for a locked account: 422, or 400.
    pub locked_status: Status,
    /// The status where the second factor is missing: 422, or 401.
    pub second_factor_status: Status,
    /// The answer to a stack key that nobody knows.
    pub unknown_api_key: UnknownApiKey,
    /// Every stack call answers 401 with code 161: not expiry, but a missing right.
    pub deny_environment: bool,
    /// `GET /stacks` needs `organization_uid`, as in organizations with single sign-on.
    pub single_sign_on_organization: bool,
    /// How many roles the login answer lists; 64 make it longer than 30 KiB. 3.
    pub roles: usize,
    /// JSON answers are compressed for clients that accept it. On.
    pub compress: bool,
    /// The paths also work without `/v3`. On.
    pub bare_paths: bool,
    /// The rate limits below are kept. On.
    pub rate_limit: bool,
    /// Reads a second for one organization. 10.
    pub reads_per_second: u32,
    /// Writes a second for one organization. 10.
    pub writes_per_second: u32,
    /// Bulk operations a second for one organization. 1.
    pub bulk_per_second: u32,
}

/// How a stack key that nobody knows is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownApiKey {
    /// 412 with code 109.
    PreconditionFailed,
    /// 401 with code 105 and `errors.api_key`: looks like expiry and is not.
    Unauthorized,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            token_cap: 20,
            token_ttl_seconds: None,
            sessions_outlive_password: false,
            locked_status: Status::UNPROCESSABLE,
            second_factor_status: Status::UNPROCESSABLE,
            unknown_api_key: UnknownApiKey::PreconditionFailed,
            deny_environment: false,
            single_sign_on_organization: false,
            roles: 3,
            compress: true,
            bare_paths: true,
            rate_limit: true,
            reads_per_second: 10,
            writes_per_second: 10,
            bulk_per_second: 1,
        }
    }
}

impl Switches {
    pub(super) fn token_ttl(&self) -> Option<Duration> {
        self.token_ttl_seconds.map(Duration::from_secs)
    }
}
