//! Content types, entries and assets of a stack: enough to see what was executed, and how often.

use std::collections::VecDeque;

use axum::Json;
use axum::extract::{Multipart, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::entrance::{Session, Stack};
use super::refusal::Refusal;
use super::{CONTENT_TYPES, Contentstack, Shared};
use crate::emulator::house::lock;

/// So many entries and so many assets are kept; after that the oldest is forgotten.
const OBJECTS_MAX: usize = 10_000;

#[derive(Default)]
pub struct Content {
    entries: VecDeque<Object>,
    assets: VecDeque<Object>,
}

struct Object {
    stack: &'static str,
    /// The entry's content type; empty for an asset.
    content_type: String,
    uid: String,
    fields: Map<String, Value>,
}

pub async fn types(_: Session, _: Stack) -> Json<Value> {
    let types: Vec<Value> = CONTENT_TYPES.iter().map(|uid| described_type(uid)).collect();
    Json(json!({ "content_types": types, "count": types.len() }))
}

pub async fn of_type(
    _: Session,
    _: Stack,
    Path(content_type): Path<String>,
) -> Result<Json<Value>, Refusal> {
    known_type(&content_type)?;
    Ok(Json(json!({ "content_type": described_type(&content_type) })))
}

pub async fn entries(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path(content_type): Path<String>,
) -> Result<Json<Value>, Refusal> {
    known_type(&content_type)?;
    let content = lock(&site.content);
    let shown = listed(&content.entries, stack.api_key, &content_type);
    Ok(Json(json!({ "entries": shown, "count": shown.len() })))
}

pub async fn entry(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path((content_type, uid)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    known_type(&content_type)?;
    let content = lock(&site.content);
    let found = content.entries.iter().find(|entry| entry.is(stack.api_key, &content_type, &uid));
    let entry = found.ok_or_else(Refusal::no_such_object)?;
    Ok(Json(json!({ "entry": entry.fields })))
}

pub async fn create(
    State(site): State<Shared>,
    session: Session,
    Stack(stack): Stack,
    Path(content_type): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    known_type(&content_type)?;
    let mut fields = sent_fields(&body, "entry")?;
    fields.insert("locale".to_owned(), "en-us".into());
    let entry = site.object(stack.api_key, &content_type, &session.email, fields);
    let answer = json!({ "notice": "Entry created successfully.", "entry": entry.fields });
    keep(&mut lock(&site.content).entries, entry);
    site.house.tally.wrote(&format!("POST {} {content_type}", stack.api_key), &body);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub async fn update(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path((content_type, uid)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    known_type(&content_type)?;
    let fields = sent_fields(&body, "entry")?;
    let mut content = lock(&site.content);
    let mut entries = content.entries.iter_mut();
    let found = entries.find(|entry| entry.is(stack.api_key, &content_type, &uid));
    let entry = found.ok_or_else(Refusal::no_such_object)?;
    let version = entry.fields.get("_version").and_then(Value::as_u64).unwrap_or_default() + 1;
    entry.fields.extend(fields);
    entry.fields.insert("_version".to_owned(), version.into());
    entry.fields.insert("updated_at".to_owned(), site.now());
    let answer = json!({ "notice": "Entry updated successfully.", "entry": entry.fields });
    site.house.tally.wrote(&format!("PUT {} {uid}", stack.api_key), &body);
    Ok(Json(answer))
}

pub async fn delete(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path((content_type, uid)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    forget(&mut lock(&site.content).entries, stack.api_key, &content_type, &uid)?;
    site.house.tally.wrote(&format!("DELETE {} {uid}", stack.api_key), b"");
    Ok(Json(json!({ "notice": "Entry deleted successfully." })))
}

pub async fn assets(State(site): State<Shared>, _: Session, Stack(stack): Stack) -> Json<Value> {
    let content = lock(&site.content);
    let shown = listed(&content.assets, stack.api_key, "");
    Json(json!({ "assets": shown, "count": shown.len() }))
}

pub async fn asset(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path(uid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let content = lock(&site.content);
    let found = content.assets.iter().find(|asset| asset.is(stack.api_key, "", &uid));
    let asset = found.ok_or_else(Refusal::no_such_object)?;
    Ok(Json(json!({ "asset": asset.fields })))
}

/// Takes a multipart upload: `asset[upload]` is the file, `asset[title]` its name.
pub async fn upload(
    State(site): State<Shared>,
    session: Session,
    Stack(stack): Stack,
    mut form: Multipart,
) -> Result<Response, Refusal> {
    let (mut fields, mut file) = (Map::new(), None);
    while let Ok(Some(part)) = form.next_field().await {
        let name = part.name().unwrap_or_default().to_owned();
        let (filename, kind) = (part.file_name().map(str::to_owned), part.content_type());
        let kind = kind.unwrap_or("application/octet-stream").to_owned();
        // A part that breaks off is no upload.
        let Ok(bytes) = part.bytes().await else { return Err(Refusal::required("upload")) };
        match (name.as_str(), filename) {
            ("asset[upload]", Some(filename)) => {
                fields.insert("filename".to_owned(), filename.into());
                fields.insert("content_type".to_owned(), kind.into());
                // The vendor writes this number as text.
                fields.insert("file_size".to_owned(), bytes.len().to_string().into());
                file = Some(bytes);
            }
            ("asset[title]", _) => {
                let title = String::from_utf8_lossy(&bytes).into_owned();
                fields.insert("title".to_owned(), title.into());
            }
            _ => {}
        }
    }
    let file = file.ok_or_else(|| Refusal::required("upload"))?;
    let asset = site.object(stack.api_key, "", &session.email, fields);
    let answer = json!({ "notice": "Asset created successfully.", "asset": asset.fields });
    keep(&mut lock(&site.content).assets, asset);
    site.house.tally.wrote(&format!("POST {} asset", stack.api_key), &file);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub async fn delete_asset(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path(uid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    forget(&mut lock(&site.content).assets, stack.api_key, "", &uid)?;
    site.house.tally.wrote(&format!("DELETE {} {uid}", stack.api_key), b"");
    Ok(Json(json!({ "notice": "Asset deleted successfully." })))
}

impl Contentstack {
    fn object(
        &self,
        stack: &'static str,
        content_type: &str,
        email: &str,
        mut fields: Map<String, Value>,
    ) -> Object {
        let uid = format!("blt{}", self.house.mint.id());
        let author = lock(&self.accounts).of(email).map(|account| account.uid.clone());
        fields.insert("uid".to_owned(), uid.clone().into());
        fields.insert("created_by".to_owned(), author.into());
        fields.insert("created_at".to_owned(), self.now());
        fields.insert("updated_at".to_owned(), self.now());
        fields.insert("_version".to_owned(), 1.into());
        Object { stack, content_type: content_type.to_owned(), uid, fields }
    }

    fn now(&self) -> Value {
        let now = Timestamp::try_from(self.house.clock.wall()).unwrap_or_default();
        format!("{now:.3}").into()
    }
}

impl Object {
    fn is(&self, stack: &str, content_type: &str, uid: &str) -> bool {
        self.stack == stack && self.content_type == content_type && self.uid == uid
    }
}

fn listed(objects: &VecDeque<Object>, stack: &str, content_type: &str) -> Vec<Value> {
    let shown = objects
        .iter()
        .filter(|object| object.stack == stack && object.content_type == content_type);
    shown.map(|object| object.fields.clone().into()).collect()
}

fn keep(objects: &mut VecDeque<Object>, object: Object) {
    objects.push_back(object);
    if objects.len() > OBJECTS_MAX {
        objects.pop_front();
    }
}

fn forget(
    objects: &mut VecDeque<Object>,
    stack: &str,
    content_type: &str,
    uid: &str,
) -> Result<(), Refusal> {
    let place = objects.iter().position(|object| object.is(stack, content_type, uid));
    objects.remove(place.ok_or_else(Refusal::no_such_object)?);
    Ok(())
}

fn sent_fields(body: &[u8], name: &str) -> Result<Map<String, Value>, Refusal> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let fields = body.get(name).and_then(Value::as_object);
    fields.cloned().ok_or_else(|| Refusal::required(name))
}

fn known_type(content_type: &str) -> Result<(), Refusal> {
    let known = CONTENT_TYPES.contains(&content_type);
    known.then_some(()).ok_or_else(|| Refusal::unknown_content_type(content_type))
}

fn described_type(uid: &str) -> Value {
    json!({
        "uid": uid,
        "title": uid,
        "description": "",
        "schema": [{
            "display_name": "Title",
            "uid": "title",
            "data_type": "text",
            "mandatory": true,
            "unique": false,
        }],
        "options": { "is_page": uid == "page", "title": "title" },
    })
}
