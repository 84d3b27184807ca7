//! Time-based one-time codes (RFC 6238): HMAC-SHA1, 30 s steps, six digits.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use serde::Deserialize;

/// RFC 6238 section 4: the default step.
pub const STEP: Duration = Duration::from_secs(30);

const DIGITS: u32 = 6;

/// The secret that a server and an authenticator app share.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Totp(Arc<hmac::Key>);

/// A secret that is not base32.
#[derive(Debug, thiserror::Error)]
#[error("a one-time code secret is base32 (RFC 4648) without padding")]
pub struct TotpError;

impl Totp {
    /// Reads a secret as authenticator apps write it: base32, spaces and padding ignored.
    ///
    /// # Errors
    /// The text is not base32.
    pub fn from_base32(secret: &str) -> Result<Self, TotpError> {
        let letters: String =
            secret.chars().filter(|letter| !matches!(letter, ' ' | '=')).collect();
        let bytes =
            BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).map_err(|_| TotpError)?;
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes))))
    }

    /// The code that is shown at this wall time.
    pub fn code_at(&self, wall: SystemTime) -> String {
        self.code(step_at(wall))
    }

    /// The code of one step.
    pub(super) fn code(&self, step: u64) -> String {
        let tag = hmac::sign(&self.0, &step.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226 section 5.3: the last four bits say where the 31-bit number begins.
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
        let number = tag.iter().skip(offset).take(4).fold(0u32, |n, b| n << 8 | u32::from(*b));
        let code = (number & 0x7fff_ffff) % 10_u32.pow(DIGITS);
        format!("{code:0width$}", width = DIGITS as usize)
    }
}

impl TryFrom<String> for Totp {
    type Error = TotpError;

    fn try_from(secret: String) -> Result<Self, TotpError> {
        Self::from_base32(&secret)
    }
}

/// How many steps have begun since 1970.
pub(super) fn step_at(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / STEP.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        let totp = Totp::from_base32("GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ").unwrap();
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
        {
            assert_eq!(totp.code_at(UNIX_EPOCH + Duration::from_secs(seconds)), code);
        }
    }
}
