//! The last messages that were rejected for what they are, for an operator who wants to see what a
//! client, or somebody who passes for one, sends. They hold no value: neither of a field nor of a
//! query, and no body.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How many are kept; the oldest makes room.
const KEPT_MAX: usize = 64;

/// How much is kept of a method.
const METHOD_BYTES_MAX: usize = 32;

/// How much is kept of a path.
const PATH_BYTES_MAX: usize = 256;

/// How much is kept of a field's name.
const NAME_BYTES_MAX: usize = 64;

/// Of how many fields the names are kept.
const NAMES_MAX: usize = 32;

/// A message that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When.
    pub at: SystemTime,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The address that its connection came from; nothing on a Unix socket.
    pub peer: Option<IpAddr>,
    /// Why, from the list of reasons in logs.
    pub reason: &'static str,
    /// What it said of itself, where that could be read.
    pub head: Option<Head>,
}

/// What is shown of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Box<str>,
    /// The path without its query, in its canonical form.
    pub path: Box<str>,
    /// The names of its fields, each once; no values. Nothing where the fields were all right.
    pub fields: Vec<Box<str>>,
}

impl Head {
    /// As much of these as is kept.
    pub fn new<'n>(method: &str, path: &str, names: impl Iterator<Item = &'n str>) -> Self {
        let mut fields: Vec<Box<str>> = Vec::new();
        for name in names.map(|name| cut(name, NAME_BYTES_MAX)) {
            if fields.len() == NAMES_MAX {
                break;
            }
            if !fields.iter().any(|known| **known == *name) {
                fields.push(name.into());
            }
        }
        let (method, path) = (cut(method, METHOD_BYTES_MAX), cut(path, PATH_BYTES_MAX));
        Self { method: method.into(), path: path.into(), fields }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// The last rejected messages of this process, and how many there were.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    last: VecDeque<Rejected>,
    /// By listener and reason.
    counts: BTreeMap<(Arc<str>, &'static str), u64>,
}

impl Rejections {
    /// Keeps one.
    pub fn keep(&self, rejected: Rejected) {
        let mut seen = self.lock();
        let of = (Arc::clone(&rejected.listener), rejected.reason);
        *seen.counts.entry(of).or_default() += 1;
        if seen.last.len() == KEPT_MAX {
            seen.last.pop_front();
        }
        seen.last.push_back(rejected);
    }

    /// All that are kept, the oldest first.
    pub fn all(&self) -> Vec<Rejected> {
        self.lock().last.iter().cloned().collect()
    }

    /// How many there were at each listener for each reason.
    pub fn counts(&self) -> Vec<(Arc<str>, &'static str, u64)> {
        let seen = self.lock();
        let counts = seen.counts.iter();
        counts.map(|((listener, reason), count)| (Arc::clone(listener), *reason, *count)).collect()
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_little_of_each() {
        let rejections = Rejections::default();
        for number in 0..KEPT_MAX + 10 {
            let name = |number: usize| format!("{:04}{}", number / 2, "é".repeat(NAME_BYTES_MAX));
            let names: Vec<_> = (0..1000).map(name).collect();
            let path = format!("/{number:03}{}", "é".repeat(PATH_BYTES_MAX));
            let method = "M".repeat(20_000);
            rejections.keep(Rejected {
                at: SystemTime::UNIX_EPOCH,
                listener: Arc::from("main"),
                peer: None,
                reason: "bad_request",
                head: Some(Head::new(&method, &path, names.iter().map(String::as_str))),
            });
        }
        let all = rejections.all();
        assert_eq!(all.len(), KEPT_MAX);
        let first = all.first().unwrap().head.as_ref().unwrap();
        assert!(first.path.starts_with("/010"), "{}", first.path);
        assert!(first.path.len() <= PATH_BYTES_MAX && first.path.len() > PATH_BYTES_MAX - 2);
        assert_eq!((first.method.len(), first.fields.len()), (METHOD_BYTES_MAX, NAMES_MAX));
        assert_eq!(first.fields.first().unwrap().len(), NAME_BYTES_MAX);
        assert!(first.fields.last().unwrap().starts_with("0031"), "each once");
    }
}
