//! The points where public sources on ThoughtSpot disagree or are silent, and the lifetimes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Every switch of the ThoughtSpot emulator; times are on the emulator's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// What a login with cookies answers: 204, or 200 with an empty body.
    pub login_status: u16,
    /// What a call with cookies gets without `X-Requested-By`: 403 or 400.
    pub requested_by_refusal: u16,
    /// Whether `clientId` must come with `JSESSIONID`. A client that keeps cookies by the rules
    /// does not send `clientId` over http, for it is `Secure`.
    pub client_id_needed: bool,
    /// Whether a login sets a load balancer's cookie, which each later call then has to bring.
    pub affinity_cookie: bool,
    /// Each so-manieth answer to a call with cookies sets a new `JSESSIONID`; 0 for never.
    pub rotate_every: u32,
    /// How long the `JSESSIONID` before a rotation is still good.
    pub rotation_grace_seconds: u64,
    /// How long a session lives without a call.
    pub idle_seconds: u64,
    /// The same for one that was asked to be remembered.
    pub remembered_idle_seconds: u64,
    /// How long a token lives that was asked for without a time.
    pub token_seconds: u64,
    /// Whether a secret key may stand for a password.
    pub trusted_authentication: bool,
    /// Whether a call without a live session is sent to `/login` with a 302 instead of a 401.
    pub saml: bool,
    /// Calls a second from one address; 0 for no limit.
    pub requests_per_second: u32,
    /// Calls beyond that in any one second.
    pub burst: u32,
    /// How long a report is, in bytes. 1 MiB.
    pub download_bytes: u64,
    /// The pause before each further 64 KiB of a report, on the emulator's clock.
    pub download_pause_ms: u64,
}

impl Default for Switches {
    /// As the vendor documents it.
    fn default() -> Self {
        Self {
            login_status: 204,
            requested_by_refusal: 403,
            client_id_needed: true,
            affinity_cookie: false,
            rotate_every: 0,
            rotation_grace_seconds: 0,
            idle_seconds: 3 * 60 * 60,
            remembered_idle_seconds: 7 * 24 * 60 * 60,
            token_seconds: 300,
            trusted_authentication: true,
            saml: false,
            requests_per_second: 100,
            burst: 10,
            download_bytes: 1024 * 1024,
            download_pause_ms: 0,
        }
    }
}

impl Switches {
    /// How long a session lives without a call.
    pub fn idle(&self, remembered: bool) -> Duration {
        let seconds = if remembered { self.remembered_idle_seconds } else { self.idle_seconds };
        Duration::from_secs(seconds)
    }
}
