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

/// So many bytes the uploads hold, and as many the objects; after that the oldest is forgotten.
const STORED_BYTES_MAX: u64 = 512 * 1024 * 1024;

pub struct Content {
    objects: VecDeque<Object>,
    uploads: VecDeque<Upload>,
    last_object: u64,
    last_upload: u64,
}

pub struct Object {
    pub id: u64,
    pub kind: u64,
    pub title: String,
    pub checked_out: bool,
    pub files: Vec<File>,
}

pub struct File {
    pub name: String,
    pub extension: String,
    pub stored: Stored,
}

/// What a download of a file gives.
pub enum Stored {
    /// What was uploaded.
    Uploaded(Bytes),
    /// As much as a switch says.
    Made,
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
        let file = File { name: "handbook".into(), extension: "bin".into(), stored: Stored::Made };
        content.add_object(0, "Handbook".to_owned(), vec![file]);
        content
    }
}

impl Content {
    pub fn add_upload(&mut self, uploader: Uploader, bytes: Bytes) -> Value {
        self.last_upload += 1;
        let (id, size) = (self.last_upload, bytes.len());
        self.uploads.push_back(Upload { id, uploader, bytes });
        forget_oldest(&mut self.uploads, UPLOADS_MAX, |upload| upload.bytes.len() as u64);
        json!({ "UploadID": id, "Size": size, "FileInformationType": 0 })
    }

    /// What was uploaded, for its uploader only.
    pub fn uploaded(&self, id: u64, uploader: &Uploader) -> Option<Bytes> {
        let upload = self.uploads.iter().find(|upload| upload.id == id)?;
        (upload.uploader == *uploader).then(|| upload.bytes.clone())
    }

    pub fn add_object(&mut self, kind: u64, title: String, files: Vec<File>) -> Value {
        self.last_object += 1;
        let object = Object { id: self.last_object, kind, title, checked_out: false, files };
        let described = object.described();
        self.objects.push_back(object);
        let size = |object: &Object| object.files.iter().map(|file| file.stored.size()).sum();
        forget_oldest(&mut self.objects, OBJECTS_MAX, size);
        described
    }

    pub fn object(&mut self, kind: u64, id: u64) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.kind == kind && object.id == id)
    }

    /// Every object whose title has these words in it.
    pub fn found(&self, words: &str) -> Vec<Value> {
        let words = words.to_lowercase();
        let found =
            self.objects.iter().filter(|object| object.title.to_lowercase().contains(&words));
        found.map(Object::described).collect()
    }
}

impl Object {
    pub fn described(&self) -> Value {
        let files = self.files.iter().enumerate();
        let files: Vec<Value> = files.map(|(place, file)| file.described(place + 1)).collect();
        json!({
            "Title": self.title,
            "EscapedTitleWithID": format!("{} (ID {})", self.title, self.id),
            "DisplayID": self.id.to_string(),
            "ObjVer": { "Version": 1, "VersionType": 4, "ID": self.id, "Type": self.kind },
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
    fn described(&self, id: usize) -> Value {
        json!({
            "ID": id,
            "Name": self.name,
            "Extension": self.extension,
            "Size": self.stored.size(),
            "LastModified": "2024-01-01T00:00:00Z",
        })
    }
}

impl Stored {
    fn size(&self) -> u64 {
        match self {
            Stored::Uploaded(bytes) => bytes.len() as u64,
            Stored::Made => 0,
        }
    }
}

fn forget_oldest<T>(kept: &mut VecDeque<T>, number_max: usize, size: impl Fn(&T) -> u64) {
    let mut bytes: u64 = kept.iter().map(&size).sum();
    while kept.len() > number_max || bytes > STORED_BYTES_MAX {
        bytes -= kept.pop_front().as_ref().map_or(bytes, &size);
    }
}

/// Whether an answer is a file that a browser would save.
pub fn is_download(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_DISPOSITION)
}
