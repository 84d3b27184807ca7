//! What a vault holds: objects, and uploads that wait to become one.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use serde_json::{Value, json};

use super::books::SessionNumber;

/// So many objects are kept; after that the oldest is forgotten.
const OBJECTS_MAX: usize = 10_000;

/// So many uploads wait; after that the oldest is forgotten.
const UPLOADS_MAX: usize = 10_000;

/// So many bytes wait in uploads, and so many are kept in objects; after that the oldest uploads
/// and the oldest objects are forgotten.
const KEPT_BYTES_MAX: u64 = 128 * 1024 * 1024;

pub struct Content {
    objects: VecDeque<Object>,
    uploads: VecDeque<Upload>,
    last_object: u64,
    last_upload: u64,
}

/// How an address calls an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The number of its object type.
    pub kind: u64,
    pub id: u64,
}

pub struct Object {
    pub name: ObjectName,
    pub title: String,
    pub checked_out: bool,
    pub files: Vec<File>,
}

pub struct File {
    pub name: String,
    pub extension: String,
    pub body: FileBody,
}

/// What a download of a file gives.
#[derive(Clone)]
pub enum FileBody {
    /// As many bytes as the switch says, made while they are sent.
    Made,
    /// What was uploaded.
    Sent(Bytes),
}

/// An upload belongs to whoever sent it: it is temporary state of that session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploader {
    Session(SessionNumber),
    Login(String),
}

struct Upload {
    id: u64,
    uploader: Uploader,
    bytes: Bytes,
}

impl Default for Content {
    /// One document with one file.
    fn default() -> Self {
        let mut content = Self {
            objects: VecDeque::new(),
            uploads: VecDeque::new(),
            last_object: 0,
            last_upload: 0,
        };
        let file = File { name: "handbook".into(), extension: "bin".into(), body: FileBody::Made };
        content.add_object(0, "Handbook".to_owned(), vec![file]);
        content
    }
}

impl Content {
    pub fn add_upload(&mut self, uploader: Uploader, bytes: Bytes) -> Value {
        self.last_upload += 1;
        let id = self.last_upload;
        let size = bytes.len();
        self.uploads.push_back(Upload { id, uploader, bytes });
        forget_oldest(&mut self.uploads, UPLOADS_MAX, |upload| upload.bytes.len() as u64);
        json!({ "UploadID": id, "Size": size, "FileInformationType": 0 })
    }

    /// What was uploaded, for its uploader only.
    pub fn uploaded(&self, id: u64, uploader: &Uploader) -> Option<Bytes> {
        let upload = self.uploads.iter().find(|upload| upload.id == id)?;
        (upload.uploader == *uploader).then(|| upload.bytes.clone())
    }

    /// Adds an object and says what it is called.
    pub fn add_object(&mut self, kind: u64, title: String, files: Vec<File>) -> ObjectName {
        self.last_object += 1;
        let name = ObjectName { kind, id: self.last_object };
        let object = Object { name, title, checked_out: false, files };
        self.objects.push_back(object);
        forget_oldest(&mut self.objects, OBJECTS_MAX, |object| {
            object.files.iter().map(|file| file.size(0)).sum()
        });
        name
    }

    pub fn object(&mut self, name: ObjectName) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.name == name)
    }

    /// Every object whose title has these words in it.
    pub fn found(&self, words: &str, made_bytes: u64) -> Vec<Value> {
        let words = words.to_lowercase();
        let found =
            self.objects.iter().filter(|object| object.title.to_lowercase().contains(&words));
        found.map(|object| object.described(made_bytes)).collect()
    }
}

impl Object {
    /// The `ObjectVersion` struct; files that are made while they are sent have so many bytes.
    pub fn described(&self, made_bytes: u64) -> Value {
        let ObjectName { kind, id } = self.name;
        let files = self.files.iter().enumerate();
        let files: Vec<Value> =
            files.map(|(place, file)| file.described(place + 1, made_bytes)).collect();
        json!({
            "Title": self.title,
            "EscapedTitleWithID": format!("{} (ID {})", self.title, id),
            "DisplayID": id.to_string(),
            "ObjVer": { "Version": 1, "VersionType": 4, "ID": id, "Type": kind },
            "Class": 0,
            "ObjectCheckedOut": self.checked_out,
            "ObjectCheckedOutToThisUser": self.checked_out,
            "SingleFile": self.files.len() == 1,
            "Deleted": false,
            "Files": files,
            "LastModifiedUtc": "2024-01-01T00:00:00Z",
            "CreatedUtc": "2024-01-01T00:00:00Z",
        })
    }
}

impl File {
    fn size(&self, made_bytes: u64) -> u64 {
        match &self.body {
            FileBody::Made => made_bytes,
            FileBody::Sent(bytes) => bytes.len() as u64,
        }
    }

    fn described(&self, id: usize, made_bytes: u64) -> Value {
        json!({
            "ID": id,
            "Name": self.name,
            "Extension": self.extension,
            "Size": self.size(made_bytes),
            "LastModified": "2024-01-01T00:00:00Z",
        })
    }
}

fn forget_oldest<T>(kept: &mut VecDeque<T>, most: usize, size: impl Fn(&T) -> u64) {
    while kept.len() > most || kept.iter().map(&size).sum::<u64>() > KEPT_BYTES_MAX {
        kept.pop_front();
    }
}

/// Whether an answer is a file that a browser would save.
pub fn is_download(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_DISPOSITION)
}
