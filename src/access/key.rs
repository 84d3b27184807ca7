//! Client keys: `doorward_<id>_<secret><checksum>`. Only a digest of a key is ever kept.
//!
//! A key's secret is 256 random bits, so its plain SHA-256 cannot be reversed by guessing and no
//! slow hash is needed. The prefix lets scanners find a leaked key, the id finds its client without
//! a search, the checksum tells a truncated paste from a wrong key.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use memchr::memrchr;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// What every client key begins with.
pub const KEY_PREFIX: &str = "doorward_";

/// The longest id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 64;

const DIGEST_PREFIX: &str = "sha256:";
/// 256 bits: beyond guessing, also for somebody who has the digests.
const SECRET_BYTES: usize = 32;
/// 256 bits in base32.
const SECRET_CHARACTERS: usize = 52;
/// The shortest key: its name is a single letter.
pub const KEY_BYTES_MIN: usize =
    KEY_PREFIX.len() + "a_".len() + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;
/// 35 bits: one damaged key in 34 billion passes as merely unknown.
const CHECKSUM_CHARACTERS: usize = 7;
/// Of a digest in a report: no two of a configuration begin the same.
const BEGINNING_BYTES: usize = 6;

/// The name of a client: lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

/// Why a text is no client's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a client's name has 1 to {CLIENT_ID_BYTES_MAX} lower-case letters, digits, `-` and `_`, and begins with a letter or digit"
)]
pub struct ClientIdError;

impl ClientId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts = text.bytes().next().is_some_and(plain);
        let consists = text.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'_');
        if starts && consists && text.len() <= CLIENT_ID_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClientIdError)
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A client's key, whole. Its text is seen only through [`ClientKey::expose`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    id: ClientId,
    text: SecretText,
}

/// Why a text is no client key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not look like one of ours at all.
    #[error("not a doorward key")]
    NotAKey,
    /// It begins like one of ours, but is cut off or changed.
    #[error("a doorward key that is cut off or changed")]
    Damaged,
}

/// The random source of the machine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine gave no random bytes")]
pub struct NoRandomness;

impl ClientKey {
    /// A new key for the client `id`.
    ///
    /// # Errors
    /// [`NoRandomness`] where the machine's random source fails.
    pub fn generate(id: ClientId) -> Result<Self, NoRandomness> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_| NoRandomness)?;
        let secret = Zeroizing::new(base32(secret.as_ref()));
        let checksum = checksum(&id, &secret);
        let text = format!("{KEY_PREFIX}{id}_{}{checksum}", *secret);
        Ok(Self { id, text: SecretText::new(text) })
    }

    /// Reads a key that somebody sent.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] without our prefix, [`KeyError::Damaged`] where the rest does not fit.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(KEY_PREFIX).ok_or(KeyError::NotAKey)?;
        let (id, tail) = rest.rsplit_once('_').ok_or(KeyError::Damaged)?;
        let id: ClientId = id.parse().map_err(|_| KeyError::Damaged)?;
        let (secret, found) = tail.split_at_checked(SECRET_CHARACTERS).ok_or(KeyError::Damaged)?;
        let expected = checksum(&id, secret);
        verify_slices_are_equal(found.as_bytes(), expected.as_bytes())
            .map_err(|_| KeyError::Damaged)?;
        Ok(Self { id, text: SecretText::new(text.to_owned()) })
    }

    /// Reads a key that a request presents: whose key it says it is. The checksum is not looked at,
    /// which would cost as much as the digest: a damaged key has the digest of no client.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] without our prefix, [`KeyError::Damaged`] where the rest has not the
    /// form of a key.
    pub fn presented(text: &str) -> Result<&str, KeyError> {
        let rest = text.strip_prefix(KEY_PREFIX).ok_or(KeyError::NotAKey)?;
        let end = memrchr(b'_', rest.as_bytes()).ok_or(KeyError::Damaged)?;
        let (id, tail) = rest.split_at_checked(end).ok_or(KeyError::Damaged)?;
        let is_whole = tail.len() == 1 + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;
        match is_whole && id.len() <= CLIENT_ID_BYTES_MAX {
            true => Ok(id),
            false => Err(KeyError::Damaged),
        }
    }

    /// Whose key it says it is. Only the digest proves it.
    pub fn id(&self) -> &ClientId {
        &self.id
    }

    /// What is kept of the key.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.expose())
    }

    /// The whole text, to be shown once.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

fn checksum(id: &ClientId, secret: &str) -> String {
    let covered = Zeroizing::new(format!("doorward key checksum 1\0{id}_{secret}"));
    let digested = digest(&SHA256, covered.as_bytes());
    base32(digested.as_ref()).chars().take(CHECKSUM_CHARACTERS).collect()
}

fn base32(bytes: &[u8]) -> String {
    let mut text = BASE32_NOPAD.encode(bytes);
    text.make_ascii_lowercase();
    text
}

/// The SHA-256 of a key. Equality takes the same time wherever two digests differ.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The digest itself.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its beginning: enough to find its line in the configuration.
    pub fn beginning(&self) -> String {
        let (beginning, _) = self.0.split_at(BEGINNING_BYTES);
        format!("{DIGEST_PREFIX}{}", HEXLOWER.encode(beginning))
    }
}

/// The first 16 bytes of a key's digest: tells one key from another, in tokens that end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPrint([u8; KeyPrint::BYTES]);

impl KeyPrint {
    pub(super) const BYTES: usize = 16;

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Digest> for KeyPrint {
    fn from(digest: &Digest) -> Self {
        let mut print = [0; Self::BYTES];
        for (byte, digested) in print.iter_mut().zip(digest.0) {
            *byte = digested;
        }
        Self(print)
    }
}

/// What is known of a client's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Its digest.
    pub digest: Digest,
    /// When it stops being good; nothing: never.
    pub expires: Option<SystemTime>,
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// A whole key stands where its digest belongs.
    #[error("this is a client key itself, not its digest")]
    Key,
    /// Anything else.
    #[error("a digest is `sha256:` and 64 hex digits")]
    Malformed,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.starts_with(KEY_PREFIX) {
            return Err(DigestError::Key);
        }
        let hex = text.strip_prefix(DIGEST_PREFIX).ok_or(DigestError::Malformed)?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| DigestError::Malformed)?;
        bytes.try_into().map(Self).map_err(|_| DigestError::Malformed)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{DIGEST_PREFIX}{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ClientId {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_read_back_with_its_client_and_digest() {
        for name in ["alice", "ci_bot-2", "0"] {
            let key = ClientKey::generate(id(name)).unwrap();
            let read = ClientKey::parse(key.expose()).unwrap();
            assert_eq!(read.id().as_str(), name);
            assert_eq!(read.digest(), key.digest());
            assert_eq!(key.digest().to_string().parse::<Digest>(), Ok(key.digest()));
        }
    }

    #[test]
    fn two_keys_of_one_client_differ() {
        let (one, other) = (ClientKey::generate(id("a")), ClientKey::generate(id("a")));
        assert_ne!(one.unwrap().digest(), other.unwrap().digest());
    }

    #[test]
    fn any_cut_and_any_changed_character_is_told_apart_from_a_wrong_key() {
        let key = ClientKey::generate(id("alice")).unwrap();
        let text = key.expose();
        for length in 0..text.len() {
            let expected =
                if length < KEY_PREFIX.len() { KeyError::NotAKey } else { KeyError::Damaged };
            assert_eq!(ClientKey::parse(&text[..length]), Err(expected), "{length}");
        }
        for position in KEY_PREFIX.len()..text.len() {
            let mut changed = text.to_owned().into_bytes();
            changed[position] = if changed[position] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ClientKey::parse(&changed), Err(KeyError::Damaged), "{position}");
        }
        assert_eq!(ClientKey::parse(&text.to_uppercase()), Err(KeyError::NotAKey));
        assert_eq!(ClientKey::parse(&format!("{text}x")), Err(KeyError::Damaged));
        assert_eq!(ClientKey::parse("doorward_é_ü"), Err(KeyError::Damaged));
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = ClientKey::generate(id("alice")).unwrap();
        assert!(!format!("{key:?}").contains(&key.expose()[KEY_PREFIX.len() + 6..]));
    }

    #[test]
    fn a_key_in_the_place_of_its_digest_is_recognised() {
        let key = ClientKey::generate(id("alice")).unwrap();
        assert_eq!(key.expose().parse::<Digest>(), Err(DigestError::Key));
        for wrong in ["", "sha256:", "sha256:zz", "SHA256:00", &"sha256:".repeat(9)] {
            assert_eq!(wrong.parse::<Digest>(), Err(DigestError::Malformed));
        }
    }

    #[test]
    fn a_client_name_is_plain() {
        for wrong in ["", "-a", "_a", "Alice", "a b", "é", &"a".repeat(65)] {
            assert_eq!(wrong.parse::<ClientId>(), Err(ClientIdError), "{wrong}");
        }
    }
}
