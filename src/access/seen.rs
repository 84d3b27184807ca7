//! Client keys that have come before: no request is worth a digest of the same text again.
//!
//! A key is good by its digest. When it first comes, a code of its text is kept beside that:
//! SipHash-2-4 of 128 bits under a secret of this process, which is made for short texts and takes a
//! tenth of the work. Without that secret nobody can find a text with a given code, nor read the
//! text out of the code.

use std::fmt;
use std::hash::Hasher;
use std::sync::OnceLock;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use siphasher::sip128::{Hasher128, SipHasher24};
use zeroize::Zeroizing;

const CODE_BYTES: usize = 16;

/// Makes codes of texts. Its secret lives as long as the configuration is in force.
pub(super) struct Coder(SipHasher24);

/// A text's code. Equality takes the same time wherever two differ.
#[derive(Clone, Copy)]
pub(super) struct Code([u8; CODE_BYTES]);

/// The code of one key, once that has come.
#[derive(Debug, Default)]
pub(super) struct Seen(OnceLock<Code>);

impl Coder {
    /// With a secret of its own; nothing where the machine gives no random bytes.
    pub(super) fn new() -> Option<Self> {
        let mut secret = Zeroizing::new([0; CODE_BYTES]);
        aws_lc_rs::rand::fill(secret.as_mut()).ok()?;
        Some(Self(SipHasher24::new_with_key(&secret)))
    }

    pub(super) fn code(&self, text: &str) -> Code {
        let mut hasher = self.0;
        hasher.write(text.as_bytes());
        Code(hasher.finish128().as_bytes())
    }
}

impl Seen {
    /// Whether the key's text has come, and has this code.
    pub(super) fn has(&self, code: Code) -> bool {
        self.0.get().is_some_and(|Code(own)| verify_slices_are_equal(own, &code.0).is_ok())
    }

    /// The key has come, and this is the code of its text.
    pub(super) fn note(&self, code: Code) {
        // Another core may have been first, with the same one.
        _ = self.0.set(code);
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[coder]")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[code]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a code is that of another text, or of another process.
    #[test]
    fn a_key_is_known_again_by_its_own_text_alone() {
        let (coder, other) = (Coder::new().unwrap(), Coder::new().unwrap());
        let seen = Seen::default();
        assert!(!seen.has(coder.code("")) && !seen.has(coder.code("a key")));
        seen.note(coder.code("a key"));
        assert!(seen.has(coder.code("a key")));
        for text in ["", "a kez", "a ke", "a key "] {
            assert!(!seen.has(coder.code(text)), "{text}");
        }
        assert!(!seen.has(other.code("a key")));
    }

    /// The 128 bits that the authors of SipHash give for an input of one byte under their key
    /// (vectors.h, `vectors_sip128`).
    #[test]
    fn codes_are_siphash_2_4() {
        let secret = std::array::from_fn(|place| u8::try_from(place).unwrap());
        let coder = Coder(SipHasher24::new_with_key(&secret));
        let expected = [
            0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
            0xfc, 0x45,
        ];
        assert_eq!(coder.code("\0").0, expected);
    }
}
