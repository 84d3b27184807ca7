//! What arrived, request by request.

use std::collections::VecDeque;
use std::sync::Mutex;

use http::request::Parts;
use serde::Serialize;

use super::house::lock;

/// So many requests are remembered; after that the oldest is forgotten.
const RECORDS_MAX: usize = 4096;

/// What a request carried to prove its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A session that this server accepts.
    Live,
    /// Something that this server gave out and accepts no more.
    Dead,
    /// Something that this server never gave out.
    Foreign,
}

/// One request in the vendor's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// The method on the wire.
    pub method: String,
    /// The raw path and query, exactly as they arrived.
    pub target: String,
    /// Header names in order of arrival, lower case, each as often as it came.
    pub header_names: Vec<String>,
    /// What it carried, judged at arrival.
    pub credential: Credential,
    /// The answer's status; none while the answer is not sent, and for a connection reset.
    pub status: Option<u16>,
    /// The length of the request's body; none of one that broke off or was too long.
    pub body_bytes: u64,
}

/// The bounded book of requests.
#[derive(Debug, Default)]
pub struct Records(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// The number of the first record that is still here.
    first: u64,
    records: VecDeque<RequestRecord>,
}

/// Which record; it may have been forgotten already.
#[derive(Clone, Copy, Debug)]
pub struct RecordNumber(u64);

impl Records {
    pub fn all(&self) -> Vec<RequestRecord> {
        lock(&self.0).records.iter().cloned().collect()
    }

    pub fn clear(&self) {
        let mut book = lock(&self.0);
        book.first += book.records.len() as u64;
        book.records.clear();
    }

    pub fn arrived(&self, head: &Parts, credential: Credential) -> RecordNumber {
        let record = RequestRecord {
            method: head.method.to_string(),
            target: raw_target(head).to_owned(),
            header_names: header_names(head),
            credential,
            status: None,
            body_bytes: 0,
        };
        let mut book = lock(&self.0);
        book.records.push_back(record);
        if book.records.len() > RECORDS_MAX {
            book.records.pop_front();
            book.first += 1;
        }
        RecordNumber(book.first + book.records.len() as u64 - 1)
    }

    /// Notes how a request ended.
    pub fn answered(&self, number: RecordNumber, status: Option<u16>, body_bytes: u64) {
        let mut book = lock(&self.0);
        let place = number.0.checked_sub(book.first).and_then(|place| usize::try_from(place).ok());
        if let Some(record) = place.and_then(|place| book.records.get_mut(place)) {
            record.status = status;
            record.body_bytes = body_bytes;
        }
    }
}

/// The path and query as they stood on the wire.
pub fn raw_target(head: &Parts) -> &str {
    head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

fn header_names(head: &Parts) -> Vec<String> {
    head.headers.iter().map(|(name, _)| name.as_str().to_owned()).collect()
}
