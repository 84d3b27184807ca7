//! What a vault answers: structure, views, searches, uploads, objects, files.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::MFiles;
use super::address::Address;
use super::caller::{Caller, Proof};
use super::content::{File, FileBody, ObjectName, Uploader};
use super::refusal::Refusal;
use super::visit::{Answer, Visit};
use crate::emulator::download::download;
use crate::emulator::house::lock;

/// `POST /files`: raw bytes give an `UploadInfo`, a multipart form gives an array of them.
pub async fn upload(
    site: &MFiles,
    visit: &Visit,
    caller: &Caller,
    method: &str,
    body: Bytes,
) -> Answer {
    if method != "POST" {
        return Err(Refusal::MethodNotAllowed);
    }
    let uploader = caller.uploader();
    let kind = visit.content_type().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let parts =
        if kind.starts_with("multipart/") { Some(parts(kind, body.clone()).await?) } else { None };
    site.house.tally.wrote("POST /files", &body);
    let mut content = lock(&site.content);
    let answer = match parts {
        None => content.add_upload(uploader, body),
        Some(parts) => {
            parts.into_iter().map(|part| content.add_upload(uploader.clone(), part)).collect()
        }
    };
    Ok(Json(answer).into_response())
}

/// Everything that lives in a vault.
pub fn vault_resource(site: &MFiles, caller: &Caller, address: &Address, body: &[u8]) -> Answer {
    let resource: Vec<&str> = address.resource.iter().map(String::as_str).collect();
    let made_bytes = lock(&site.switches).download_bytes;
    let answer = match (address.method.as_str(), resource.as_slice()) {
        ("GET" | "HEAD", ["structure", what]) => structure(what)?,
        ("GET" | "HEAD", ["views", .., "items"]) => {
            // The raw target, so that a test can compare what arrived with what was sent.
            let items = lock(&site.content).found("", made_bytes);
            json!({ "Path": address.raw, "Items": items, "MoreResults": false })
        }
        ("GET" | "HEAD", ["objects"]) => {
            let words = address.value("q").unwrap_or_default();
            json!({ "Items": lock(&site.content).found(words, made_bytes), "MoreResults": false })
        }
        ("POST", ["objects", kind]) => create(site, caller, address, number(kind)?, body)?,
        (_, ["objects", kind, id, rest @ ..]) => {
            let name = ObjectName { kind: number(kind)?, id: number(id)? };
            return object(site, address, name, rest, body);
        }
        (_, ["objects" | "structure" | "views", ..]) => return Err(Refusal::MethodNotAllowed),
        _ => return Err(Refusal::NotFound),
    };
    Ok(Json(answer).into_response())
}

impl Caller {
    fn uploader(&self) -> Uploader {
        match &self.proof {
            Proof::Token(session) | Proof::Cookie(session, _) => Uploader::Session(*session),
            Proof::Password(_) => Uploader::Login(self.login.clone()),
        }
    }
}

async fn parts(kind: &str, body: Bytes) -> Result<Vec<Bytes>, Refusal> {
    let request = Request::builder().header(CONTENT_TYPE, kind).body(Body::from(body));
    let request = request.map_err(|_| Refusal::BadRequest)?;
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| Refusal::BadRequest)?;
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.map_err(|_| Refusal::BadRequest)? {
        parts.push(part.bytes().await.map_err(|_| Refusal::BadRequest)?);
    }
    Ok(parts)
}

fn structure(what: &str) -> Result<Value, Refusal> {
    match what {
        "objecttypes" => Ok(json!([
            { "ID": 0, "Name": "Document", "NamePlural": "Documents", "RealObjectType": true },
            { "ID": 136, "Name": "Customer", "NamePlural": "Customers", "RealObjectType": true },
        ])),
        "classes" => Ok(json!([{ "ID": 0, "Name": "Document", "ObjType": 0 }])),
        "properties" => Ok(json!([{ "ID": 0, "Name": "Name or title", "DataType": 1 }])),
        _ => Err(Refusal::NotFound),
    }
}

/// `POST /objects/TYPE`: an object from properties and the caller's own uploads.
fn create(
    site: &MFiles,
    caller: &Caller,
    address: &Address,
    kind: u64,
    body: &[u8],
) -> Result<Value, Refusal> {
    let info: Value = serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)?;
    let properties = info.get("PropertyValues").and_then(Value::as_array);
    let properties = properties.ok_or(Refusal::BadRequest)?;
    let uploader = caller.uploader();

    let mut content = lock(&site.content);
    let mut files = Vec::new();
    // A client without a file sends an empty list for one.
    let sent = info.get("Files").and_then(Value::as_array).into_iter().flatten();
    for file in sent.filter(|file| file.is_object()) {
        let id = file.get("UploadID").and_then(Value::as_u64);
        let bytes = id.and_then(|id| content.uploaded(id, &uploader)).ok_or(Refusal::BadRequest)?;
        let text = |name| file.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        files.push(File {
            name: text("Title"),
            extension: text("Extension"),
            body: FileBody::Sent(bytes),
        });
    }
    let title = properties
        .iter()
        .find(|property| property.get("PropertyDef").and_then(Value::as_u64) == Some(0))
        .and_then(|property| property.pointer("/TypedValue/Value").and_then(Value::as_str));
    site.house.tally.wrote(&format!("POST {}", address.url()), body);
    let name = content.add_object(kind, title.unwrap_or_default().to_owned(), files);
    let made = content.object(name).ok_or(Refusal::NotFound)?;
    Ok(made.described(lock(&site.switches).download_bytes))
}

/// One object, by its type and id.
fn object(
    site: &MFiles,
    address: &Address,
    name: ObjectName,
    resource: &[&str],
    body: &[u8],
) -> Answer {
    let switches = site.switches_now();
    if name.id == switches.forbidden_object {
        return Err(Refusal::AccessDenied);
    }
    let mut content = lock(&site.content);
    let object = content.object(name).ok_or(Refusal::NotFound)?;
    match (address.method.as_str(), resource) {
        ("GET" | "HEAD", [] | [_]) => {
            Ok(Json(object.described(switches.download_bytes)).into_response())
        }
        ("GET" | "HEAD", [_, "files", file, "content"]) => {
            let place = usize::try_from(number(file)?).unwrap_or_default();
            let file = place.checked_sub(1).and_then(|place| object.files.get(place));
            let file = file.ok_or(Refusal::NotFound)?;
            let name = format!("{}.{}", file.name, file.extension);
            let body = match &file.body {
                FileBody::Sent(bytes) => Body::from(bytes.clone()),
                FileBody::Made => {
                    let pause = Duration::from_millis(switches.download_pause_ms);
                    download(switches.download_bytes, site.house.clock.clone(), pause)
                }
            };
            Ok(saved(body, &name))
        }
        ("PUT", [_, "checkedout"]) => {
            let status: Value = serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)?;
            // 0 is checked in; clients send the number as text too.
            let value = status.get("Value").ok_or(Refusal::BadRequest)?;
            object.checked_out = *value != json!(0) && *value != json!("0");
            site.house.tally.wrote(&format!("PUT {}", address.url()), body);
            Ok(Json(object.described(switches.download_bytes)).into_response())
        }
        _ => Err(Refusal::NotFound),
    }
}

fn saved(body: Body, name: &str) -> Response {
    let plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '"' | '\\');
    let name: String = name.chars().map(|one| if plain(one) { one } else { '_' }).collect();
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers =
        [(CONTENT_TYPE, "application/octet-stream"), (CONTENT_DISPOSITION, disposition.as_str())];
    (headers, body).into_response()
}

fn number(segment: &str) -> Result<u64, Refusal> {
    segment.parse().map_err(|_| Refusal::NotFound)
}
