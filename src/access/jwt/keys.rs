//! The keys of an issuer (JWK sets, RFC 7517).

use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, RSA_BITS_MIN, Unfit};
use super::json;

/// The longest key set, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 1024 * 1024;

/// The most keys of a set. Issuers have 2 to 10.
pub const KEYS_MAX: usize = 100;

/// The keys of an issuer that can be used.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// How many keys of the set are used; each may be there for several algorithms.
    used: usize,
}

/// A key with one of its algorithms.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// Why a text is no usable key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is too long.
    #[error("it is longer than {KEY_SET_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON object with a list of keys.
    #[error("it is no JSON Web Key Set (an object with the list `keys`)")]
    NoKeySet,
    /// It has too many keys.
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    /// None of its keys can be used.
    #[error(
        "none of its {0} keys can be used: they are for other algorithms or uses, are shorter than \
         {RSA_BITS_MIN} bits, damaged, or show their private part"
    )]
    NoneUsable(usize),
}

impl KeySet {
    /// The keys of a set that can be used with these algorithms; others are left out (RFC 7517
    /// section 5).
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeySetError> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLong);
        }
        let set = json::object(text).map_err(|_| KeySetError::NoKeySet)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoKeySet)?;
        if list.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut keys = Self::default();
        list.iter().filter_map(Value::as_object).for_each(|jwk| keys.add(jwk, algorithms));
        match keys.used {
            0 => Err(KeySetError::NoneUsable(list.len())),
            _ => Ok(keys),
        }
    }

    fn add(&mut self, jwk: &Map<String, Value>, algorithms: &[Algorithm]) {
        let has = |name: &str, text: &str| jwk.get(name).is_none_or(|value| value == text);
        let verifies = jwk.get("key_ops").is_none_or(|operations| {
            operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"))
        });
        // Who shows the private part to everybody has no key any more.
        if !has("use", "sig") || !verifies || jwk.contains_key("d") || jwk.contains_key("k") {
            return;
        }
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return,
        };
        let before = self.keys.len();
        for algorithm in algorithms.iter().copied().filter(|one| has("alg", one.name())) {
            match algorithm.key(jwk) {
                Ok(key) => self.keys.push(Key { id: id.cloned(), algorithm, key }),
                Err(Unfit::Foreign | Unfit::Bad) => {}
            }
        }
        self.used += usize::from(self.keys.len() > before);
    }

    /// How many keys are used.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The keys that may have signed a token. One without `kid` must leave no choice.
    pub(super) fn fitting<'k>(
        &'k self,
        id: Option<&'k str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k Key> + Clone {
        let fits = move |key: &&Key| {
            key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id)
        };
        let fitting = self.keys.iter().filter(fits);
        let leaves_no_choice = id.is_some() || fitting.clone().nth(1).is_none();
        fitting.filter(move |_| leaves_no_choice)
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Key, &Key)| {
            (&one.id, one.algorithm, one.key.as_ref())
                == (&other.id, other.algorithm, other.key.as_ref())
        };
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(same)
    }
}

impl Key {
    pub(super) fn has_signed(&self, signed: &str, signature: &[u8]) -> bool {
        self.key.verify_sig(signed.as_bytes(), signature).is_ok()
    }
}
