//! Client tokens: what a client gets that logs in with its key at an upstream's login endpoint, and
//! then shows where the vendor's own token goes. Nothing is kept of them: a token says itself whose
//! it is and until when, and is signed.
//!
//! `doorward_T_` and, in base64url: the version, the end, the print of the key that it was given
//! for, the client's name, and an HMAC-SHA-256 over all that and the upstream's name. No client is
//! called `T`, for names have no capitals. A token ends with its key, and is good at one upstream.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hkdf, hmac};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::key::{CLIENT_ID_BYTES_MAX, KeyPrint, NoRandomness};
use crate::secret::SecretText;

/// What every client token begins with; it begins like a key.
pub const TOKEN_PREFIX: &str = "doorward_T_";

const VERSION: u8 = 1;
/// The key of the signature, in bytes.
const SIGNING_KEY_BYTES: usize = 32;
/// Keeps the key derived here apart from any other use of the same text.
const SALT: &[u8] = b"doorward client token 1";

const END_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 32;
const FIXED_BYTES: usize = 1 + END_BYTES + KeyPrint::BYTES;
const BYTES_MAX: usize = FIXED_BYTES + CLIENT_ID_BYTES_MAX + SIGNATURE_BYTES;

/// Makes and verifies client tokens.
pub struct Tokens {
    key: hmac::Key,
    life: Duration,
}

/// What a client token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// The client's name.
    pub client: &'a str,
    /// The print of the key that it was given for.
    pub key: KeyPrint,
    /// When it ends, in whole seconds.
    pub ends: SystemTime,
}

/// A text is no token that was given out here, for this upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no client token of this gateway for this upstream")]
pub struct NoToken;

/// Whether a text looks like a client token.
pub fn is_like_one(text: &str) -> bool {
    text.starts_with(TOKEN_PREFIX)
}

impl Tokens {
    /// Tokens that live for `life`, signed with a key that is made from `secret`: all gateways with
    /// the same one accept each other's.
    ///
    /// # Errors
    /// [`NoRandomness`] where the crypto library makes no key of it.
    pub fn from_secret(secret: &SecretText, life: Duration) -> Result<Self, NoRandomness> {
        let extracted =
            hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.expose().as_bytes());
        let mut key = Zeroizing::new([0; SIGNING_KEY_BYTES]);
        let expanded = extracted.expand(&[b"signature"], hkdf::HKDF_SHA256);
        let filled = expanded.and_then(|material| material.fill(key.as_mut_slice()));
        filled.map_err(|_| NoRandomness)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), life })
    }

    /// Tokens that live for `life`, and no longer than the process.
    ///
    /// # Errors
    /// [`NoRandomness`] where the machine's random source fails.
    pub fn of_this_process(life: Duration) -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0; SIGNING_KEY_BYTES]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_| NoRandomness)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), life })
    }

    /// When a token ends that is given out now, for a key that ends at `key_ends`.
    pub(super) fn end(&self, now: SystemTime, key_ends: Option<SystemTime>) -> SystemTime {
        let end = now.checked_add(self.life).unwrap_or(now);
        in_whole_seconds(key_ends.map_or(end, |key_ends| end.min(key_ends)))
    }

    /// The token that says this, for one upstream.
    pub(super) fn issue(&self, claims: &Claims<'_>, upstream: &str) -> SecretText {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        bytes.push(VERSION);
        bytes.extend_from_slice(&seconds(claims.ends).to_be_bytes());
        bytes.extend_from_slice(claims.key.as_bytes());
        bytes.extend_from_slice(claims.client.as_bytes());
        let signature = self.signature(&bytes, upstream);
        bytes.extend_from_slice(signature.as_ref());
        SecretText::new(format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// Hands what a token of ours says over to `then`; whether it has ended is not looked at.
    ///
    /// # Errors
    /// [`NoToken`] for every text that was not given out with this key for this upstream.
    pub(super) fn read<T>(
        &self,
        text: &str,
        upstream: &str,
        then: impl FnOnce(Claims<'_>) -> T,
    ) -> Result<T, NoToken> {
        let encoded = text.strip_prefix(TOKEN_PREFIX).ok_or(NoToken)?.as_bytes();
        let length = BASE64URL_NOPAD.decode_len(encoded.len()).map_err(|_| NoToken)?;
        let mut buffer = [0; BYTES_MAX];
        let bytes = buffer.get_mut(..length).ok_or(NoToken)?;
        BASE64URL_NOPAD.decode_mut(encoded, bytes).map_err(|_| NoToken)?;
        let said = length.checked_sub(SIGNATURE_BYTES).ok_or(NoToken)?;
        let (said, signature) = bytes.split_at_checked(said).ok_or(NoToken)?;
        let expected = self.signature(said, upstream);
        verify_slices_are_equal(signature, expected.as_ref()).map_err(|_| NoToken)?;
        let claims = Claims::of(said).ok_or(NoToken)?;
        Ok(then(claims))
    }

    fn signature(&self, said: &[u8], upstream: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(said.len() as u64).to_be_bytes());
        context.update(said);
        context.update(upstream.as_bytes());
        context.sign()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tokens").field("life", &self.life).finish_non_exhaustive()
    }
}

impl<'a> Claims<'a> {
    fn of(said: &'a [u8]) -> Option<Self> {
        let (version, rest) = said.split_first()?;
        let (end, rest) = rest.split_first_chunk::<END_BYTES>()?;
        let (key, client) = rest.split_first_chunk::<{ KeyPrint::BYTES }>()?;
        if *version != VERSION {
            return None;
        }
        let ends = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*end)))?;
        let client = std::str::from_utf8(client).ok()?;
        Some(Self { client, key: KeyPrint::from_bytes(*key), ends })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn in_whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
