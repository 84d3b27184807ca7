//! What must hold for any text that is shown as a credential, and for any file of revoked keys.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::jwt;
use super::key::{ClientId, ClientKey, Digest, KeyPrint};
use super::token::{Claims, Tokens};
use super::tombstones::{self, Tombstone, TombstoneError};
use crate::properties::Draws;
use crate::secret::SecretText;

/// A text is a token in one reading only, and none that was not given out is good.
pub fn tokens(data: &[u8]) {
    let mut draws = Draws::new(data);
    let (position, change) = (draws.below(400), draws.byte());
    let Ok(text) = std::str::from_utf8(draws.rest()) else { return };
    jwt::properties::tokens(text);
    keys(text);
    given_out(text, position, change);
}

fn keys(text: &str) {
    let presented = ClientKey::presented(text);
    if let Ok(key) = ClientKey::parse(text) {
        assert_eq!(key.expose(), text);
        assert_eq!(presented, Ok(key.id().as_str()));
        assert_eq!(key.digest(), Digest::of(text));
        assert!(!format!("{key:?}").contains(text));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "two spellings of one digest");
    }
    if let Ok(id) = text.parse::<ClientId>() {
        assert_eq!(id.as_str(), text);
    }
}

fn given_out(text: &str, position: usize, change: u8) {
    let life = Duration::from_secs(3600);
    let secret = SecretText::from("what signs the tokens of a test".to_owned());
    let Ok(tokens) = Tokens::from_secret(&secret, life) else { return };
    assert!(tokens.read(text, "cms", |_| ()).is_err(), "{text:?} was never given out");
    let client = text.parse::<ClientId>().ok();
    let client = client.as_ref().map_or("alice", ClientId::as_str);
    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(position as u64);
    let claims = Claims { client, key: KeyPrint::from(&Digest::of(text)), ends };
    let token = tokens.issue(&claims, "cms");
    let read = |token: &str, upstream: &str| {
        tokens.read(token, upstream, |found| assert_eq!(found, claims))
    };
    assert!(read(token.expose(), "cms").is_ok());
    assert!(read(token.expose(), "other").is_err(), "good at another upstream");
    let mut changed = token.expose().as_bytes().to_vec();
    let place = position % changed.len();
    changed.get_mut(place).into_iter().for_each(|byte| *byte = change);
    if let Ok(changed) = String::from_utf8(changed)
        && changed != token.expose()
    {
        assert!(read(&changed, "cms").is_err(), "{place} does not count");
    }
}

/// What is read is what stands there, line for line; any change of a good file is told, and what of
/// it is still whole counts.
pub fn tombstones(data: &[u8]) {
    let mut draws = Draws::new(data);
    let path = Path::new("revoked");
    let (count, position, change) = (draws.below(4), draws.below(1000), draws.byte());
    let seconds = u64::from(draws.byte()) << (draws.byte() % 24);
    let client = draws.text().parse::<ClientId>().ok();
    let bytes = draws.rest();
    let read = tombstones::understood(path, bytes);
    if read.damage.is_none() && !bytes.is_empty() {
        assert_eq!(tombstones::text(&read.all).as_bytes(), bytes, "it says more than is read");
    }
    let tombstone = |number: usize| Tombstone {
        digest: Digest::of(&format!("{number} {seconds}")),
        client: client.clone().filter(|_| number != 1),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    };
    let all: Vec<Tombstone> = (0..count).map(tombstone).collect();
    let good = tombstones::text(&all).into_bytes();
    let read = tombstones::understood(path, &good);
    assert!(read.damage.is_none(), "{:?}", read.damage);
    assert_eq!(read.all, all);
    let mut changed = good.clone();
    let place = position % changed.len();
    changed.get_mut(place).into_iter().for_each(|byte| *byte = change);
    if changed != good {
        let read = tombstones::understood(path, &changed);
        let line = 1 + good.iter().take(place).filter(|byte| **byte == b'\n').count();
        match read.damage {
            Some(TombstoneError::Damaged { line: told, .. }) => assert_eq!(told, line),
            other => panic!("{place} does not count: {other:?}"),
        }
        assert!(read.all.iter().all(|one| all.contains(one)), "a line was made up");
        // The line itself and, where its end was changed, the next one.
        assert!(read.all.len() + 2 >= all.len(), "whole lines do not count");
    }
}
