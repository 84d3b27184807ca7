//! The seal of a record: encrypted and bound to its place, so that records cannot be read, changed
//! or swapped without the key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{RecordKey, Table};
use crate::secret::SecretText;

/// The shortest key text, in bytes: 32 random characters hold more than 128 bits.
pub const KEY_BYTES_MIN: usize = 32;

/// Keeps the keys derived here apart from any other use of the same text.
const SALT: &[u8] = b"doorward state 1";

/// How many bytes tell one key from another.
pub(super) const KEY_ID_BYTES: usize = 8;

/// What seals records. Every purpose has a key of its own.
pub(super) struct Seal {
    records: RandomizedNonceKey,
    names: hmac::Key,
    /// Tells this key from others, and nothing about it.
    pub(super) id: [u8; KEY_ID_BYTES],
}

/// A sealed record cannot be made or opened: another key, another place, or other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not fit its seal")]
pub(super) struct DoesNotFit;

impl Seal {
    pub(super) fn new(key: &SecretText) -> Result<Self, DoesNotFit> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key.expose().as_bytes());
        let derive = |purpose: &[u8], out: &mut [u8]| {
            let info = [purpose];
            let expanded = extracted.expand(&info, Length(out.len()));
            expanded.and_then(|material| material.fill(out)).map_err(|_| DoesNotFit)
        };
        let (mut records, mut names) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        let mut id = [0; KEY_ID_BYTES];
        derive(b"records", records.as_mut_slice())?;
        derive(b"names", names.as_mut_slice())?;
        derive(b"id", &mut id)?;
        let records = RandomizedNonceKey::new(&AES_256_GCM, records.as_slice());
        Ok(Self {
            records: records.map_err(|_| DoesNotFit)?,
            names: hmac::Key::new(hmac::HMAC_SHA256, names.as_slice()),
            id,
        })
    }

    /// The key of a record that is found by name; whoever reads the file does not learn the name.
    pub(super) fn key_of(&self, name: &[&str]) -> RecordKey {
        let mut context = hmac::Context::with_key(&self.names);
        for part in name {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; 16];
        for (byte, signed) in key.iter_mut().zip(context.sign().as_ref()) {
            *byte = *signed;
        }
        RecordKey(key)
    }

    pub(super) fn close(
        &self,
        table: Table,
        key: RecordKey,
        plain: &[u8],
    ) -> Result<Vec<u8>, DoesNotFit> {
        let mut sealed = Vec::with_capacity(plain.len() + NONCE_LEN + 16);
        sealed.extend_from_slice(plain);
        let place = Aad::from(place(table, key));
        let nonce = self.records.seal_in_place_append_tag(place, &mut sealed);
        let nonce = nonce.map_err(|_| DoesNotFit)?;
        let mut record = nonce.as_ref().to_vec();
        record.append(&mut sealed);
        Ok(record)
    }

    pub(super) fn open(
        &self,
        table: Table,
        key: RecordKey,
        record: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotFit> {
        let (nonce, sealed) = record.split_at_checked(NONCE_LEN).ok_or(DoesNotFit)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DoesNotFit)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let place = Aad::from(place(table, key));
        let plain = self.records.open_in_place(nonce, place, &mut opened);
        let length = plain.map_err(|_| DoesNotFit)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

/// What a record is bound to: where it stands and how it is written.
fn place(table: Table, key: RecordKey) -> Vec<u8> {
    let mut place = super::file::SCHEMA.to_be_bytes().to_vec();
    place.extend_from_slice(table.name().as_bytes());
    place.push(0);
    place.extend_from_slice(&key.0);
    place
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str) -> Seal {
        Seal::new(&SecretText::from(key.repeat(KEY_BYTES_MIN))).unwrap()
    }

    #[test]
    fn a_record_opens_only_at_its_place_with_its_key_and_whole() {
        let (seal, other) = (seal("a"), seal("b"));
        let (here, there) = (seal.key_of(&["cms", "editor"]), seal.key_of(&["cms", "reader"]));
        let record = seal.close(Table::Accounts, here, b"canary").unwrap();
        assert!(!record.windows(6).any(|bytes| bytes == b"canary"));
        assert_eq!(seal.open(Table::Accounts, here, &record).unwrap().as_slice(), b"canary");
        assert!(seal.open(Table::Accounts, there, &record).is_err());
        assert!(seal.open(Table::Sessions, here, &record).is_err());
        assert!(other.open(Table::Accounts, here, &record).is_err());
        for cut in 0..record.len() {
            assert!(seal.open(Table::Accounts, here, &record[..cut]).is_err(), "{cut}");
        }
        for changed in 0..record.len() {
            let mut record = record.clone();
            record[changed] ^= 1;
            assert!(seal.open(Table::Accounts, here, &record).is_err(), "{changed}");
        }
    }

    #[test]
    fn no_two_records_are_sealed_alike() {
        let seal = seal("a");
        let key = seal.key_of(&["x"]);
        let one = seal.close(Table::Accounts, key, b"same").unwrap();
        assert_ne!(one, seal.close(Table::Accounts, key, b"same").unwrap());
    }

    #[test]
    fn where_one_part_of_a_name_ends_counts() {
        let seal = seal("a");
        assert_eq!(seal.key_of(&["ab", "c"]), seal.key_of(&["ab", "c"]));
        assert_ne!(seal.key_of(&["ab", "c"]), seal.key_of(&["a", "bc"]));
        assert_ne!(seal.key_of(&["a"]), super::tests::seal("b").key_of(&["a"]));
        assert_ne!(seal.id, super::tests::seal("b").id);
    }
}
