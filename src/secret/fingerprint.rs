//! Tells one secret from another without telling what it is.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use super::text::SecretText;

/// Keeps our digests apart from any other use of SHA-256 on the same text.
const DOMAIN: &[u8] = b"doorward secret fingerprint 1\0";

/// How many bytes `Display` shows: enough for a person to see that a secret has changed.
const SHOWN_BYTES: usize = 3;

/// The first 8 bytes of a SHA-256 over secrets. `Display` shows 6 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The fingerprint of these secrets in this order. Where one ends and the next begins counts.
    pub fn of<'s>(secrets: impl IntoIterator<Item = &'s SecretText>) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        for secret in secrets {
            context.update(&(secret.expose().len() as u64).to_be_bytes());
            context.update(secret.expose().as_bytes());
        }
        let mut first = [0; 8];
        for (byte, digested) in first.iter_mut().zip(context.finish().as_ref()) {
            *byte = *digested;
        }
        Self(first)
    }

    /// The 8 bytes, to be stored.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// A fingerprint that was stored.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN_BYTES).unwrap_or_default();
        out.write_str(&HEXLOWER.encode(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Fingerprint {
        let secrets: Vec<_> =
            texts.iter().map(|text| SecretText::from((*text).to_owned())).collect();
        Fingerprint::of(&secrets)
    }

    #[test]
    fn other_secrets_have_other_fingerprints() {
        assert_eq!(of(&["hunter2"]), of(&["hunter2"]));
        assert_ne!(of(&["hunter2"]), of(&["hunter3"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(Fingerprint::from_bytes(of(&["a"]).to_bytes()), of(&["a"]));
    }

    #[test]
    fn six_hex_digits_are_shown() {
        let shown = of(&["hunter2"]).to_string();
        assert_eq!(shown.len(), 6);
        assert!(shown.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
