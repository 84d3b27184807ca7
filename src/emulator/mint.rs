//! Makes every credential value. They look like the vendor's own, are never the same twice, and
//! are remembered, so that a test can search any bytes for them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::request::Parts;

use super::Vendor;
use super::house::lock;

/// So many values are remembered; after that the oldest is forgotten.
const ISSUED_MAX: usize = 200_000;

/// Values depend on vendor, port and order alone: the same run on the same port gives the same
/// values, and two emulators that run at once never agree on one.
#[derive(Debug)]
pub struct Mint {
    vendor: Vendor,
    port: u16,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    made: u64,
    /// Each value and how many requests carried it.
    issued: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Mint {
    pub fn new(vendor: Vendor, port: u16) -> Self {
        Self { vendor, port, book: Mutex::default() }
    }

    /// `blt` and 40 hex digits: a Contentstack token.
    pub fn blt(&self) -> String {
        self.issue(|seed| format!("blt{}", hex(seed, 40)))
    }

    /// 32 hex digits in the five groups of a GUID.
    pub fn guid(&self) -> String {
        self.issue(guid_text)
    }

    /// Base64url of so many characters: a sealed token.
    pub fn sealed(&self, characters: usize) -> String {
        self.issue(|seed| {
            let mut text = String::with_capacity(characters + 43);
            let mut block = seed.to_vec();
            while text.len() < characters {
                block = digest(&SHA256, &block).as_ref().to_vec();
                text.push_str(&BASE64URL_NOPAD.encode(&block));
            }
            text.truncate(characters);
            text
        })
    }

    /// 24 lower-case hex digits: an ASP.NET session id.
    pub fn short(&self) -> String {
        self.issue(|seed| hex(seed, 24))
    }

    /// A value that is no credential (an object's id) and is not remembered.
    pub fn id(&self) -> String {
        hex(&self.seed(), 16)
    }

    /// Remembers a password as a value to search for.
    pub fn remember(&self, secret: &str) {
        lock(&self.book).remember(secret.to_owned());
    }

    /// Whether this value was ever given out here.
    pub fn knows(&self, value: &str) -> bool {
        lock(&self.book).issued.contains_key(value)
    }

    /// Everything ever given out and every password known, oldest first.
    pub fn issued(&self) -> Vec<String> {
        lock(&self.book).order.iter().cloned().collect()
    }

    /// Counts the values that a request carries in its headers or its query.
    pub fn seen_in(&self, head: &Parts) {
        let headers = head.headers.values().filter_map(|value| value.to_str().ok());
        let query = head.uri.query().unwrap_or_default();
        let words = headers.chain([query]).flat_map(|text| text.split([' ', ';', '=', '&']));
        let words: HashSet<&str> = words.collect();
        let mut book = lock(&self.book);
        for word in words {
            if let Some(requests) = book.issued.get_mut(word) {
                *requests += 1;
            }
        }
    }

    /// How many requests carried this value since the counters were reset.
    pub fn requests_with(&self, value: &str) -> u64 {
        lock(&self.book).issued.get(value).copied().unwrap_or_default()
    }

    pub fn reset_requests(&self) {
        lock(&self.book).issued.values_mut().for_each(|requests| *requests = 0);
    }

    fn issue(&self, render: impl FnOnce(&[u8]) -> String) -> String {
        let value = render(&self.seed());
        lock(&self.book).remember(value.clone());
        value
    }

    fn seed(&self) -> Vec<u8> {
        let made = {
            let mut book = lock(&self.book);
            book.made += 1;
            book.made
        };
        let source = format!("doorward emulator {} {} {made}", self.vendor, self.port);
        digest(&SHA256, source.as_bytes()).as_ref().to_vec()
    }
}

impl Book {
    fn remember(&mut self, value: String) {
        if self.issued.contains_key(&value) {
            return;
        }
        self.issued.insert(value.clone(), 0);
        self.order.push_back(value);
        if self.order.len() > ISSUED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.issued.remove(&oldest);
        }
    }
}

fn hex(seed: &[u8], digits: usize) -> String {
    let mut text = HEXLOWER.encode(seed);
    text.truncate(digits);
    text
}

fn guid_text(seed: &[u8]) -> String {
    let digits = hex(seed, 32);
    let mut text = String::with_capacity(36);
    for (position, digit) in digits.chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_vendors_shape_and_are_remembered() {
        let mint = Mint::new(Vendor::MFiles, 80);
        let (blt, guid, sealed) = (mint.blt(), mint.guid(), mint.sealed(340));
        assert!(blt.len() == 43 && blt.starts_with("blt"));
        assert_eq!(guid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(sealed.len(), 340);
        assert_eq!(mint.issued(), [blt, guid, sealed]);
    }

    #[test]
    fn values_repeat_in_the_same_run_and_in_no_other() {
        let value = |port| Mint::new(Vendor::Contentstack, port).blt();
        assert_eq!(value(80), value(80));
        assert_ne!(value(80), value(81));
    }
}
