//! Objects in both versions: lists, searches, details, and imports that count as writes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::header;
use serde_json::{Value, json};

use super::ThoughtSpot;
use super::answers::{CREATED_MILLIS, Failure, object_guid};
use super::call::{Incoming, V1, V2, text};
use super::gate::Caller;
use super::library::{Kind, Library, Object, Search, Tml, listed_texts};
use crate::emulator::house::lock;

/// As many rows as v2 gives when it is not told otherwise.
const RECORDS_DEFAULT: u64 = 10;

type Site = State<Arc<ThoughtSpot>>;

pub fn routes() -> Router<Arc<ThoughtSpot>> {
    Router::new()
        .route(&format!("{V1}/metadata/list"), get(list))
        .route(&format!("{V1}/metadata/details"), get(details))
        .route(&format!("{V1}/metadata/tml/import"), post(import_v1))
        .route(&format!("{V2}/metadata/search"), post(search))
        .route(&format!("{V2}/metadata/tml/import"), post(import_v2))
}

async fn list(State(site): Site, Extension(caller): Extension<Caller>, call: Incoming) -> Response {
    let query = call.query();
    let Some(kind) = query.value("type").and_then(Kind::named) else {
        return site.refuse(&call.head, Failure::BadParameters("type is missing or unknown"));
    };
    let search = Search { kind: Some(kind), pattern: query.value("pattern"), identifier: None };
    let found = lock(&site.library).found(caller.owner.org, &search);
    let headers: Vec<Value> = found.iter().map(|object| header_v1(object, &caller)).collect();
    Json(json!({ "headers": headers, "isLastBatch": true, "debugInfo": {} })).into_response()
}

/// `id=["GUID"]`; 403 for what the user may not read.
async fn details(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let query = call.query();
    let Some(ids) = query.value("id").and_then(listed_texts) else {
        return site.refuse(&call.head, Failure::BadParameters("id is missing or no list"));
    };
    let library = lock(&site.library);
    let mut storables = Vec::new();
    for id in ids {
        match readable(&library, caller.owner.org, &id) {
            Ok(object) => storables.push(json!({ "header": header_v1(&object, &caller) })),
            Err(failure) => return site.refuse(&call.head, failure),
        }
    }
    Json(json!({ "storables": storables })).into_response()
}

async fn search(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let asked = call.json();
    let everything = [json!({})];
    let wanted = asked.get("metadata").and_then(Value::as_array);
    let wanted = wanted.map_or(&everything[..], Vec::as_slice);
    let library = lock(&site.library);
    let mut rows: Vec<Value> = Vec::new();
    for item in wanted {
        let search = Search {
            kind: text(item, "type").and_then(Kind::named),
            pattern: text(item, "name_pattern"),
            identifier: text(item, "identifier"),
        };
        rows.extend(library.found(caller.owner.org, &search).iter().map(row_v2));
    }
    let number = |name, default| asked.get(name).and_then(Value::as_i64).unwrap_or(default);
    let offset = usize::try_from(number("record_offset", 0)).unwrap_or(0);
    // A negative size asks for all.
    let size = usize::try_from(number("record_size", RECORDS_DEFAULT as i64)).unwrap_or(usize::MAX);
    let rows: Vec<Value> = rows.into_iter().skip(offset).take(size).collect();
    Json(rows).into_response()
}

async fn import_v1(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let form = call.form();
    let Some(texts) = form.value("import_objects").and_then(listed_texts) else {
        return site.refuse(&call.head, Failure::BadParameters("import_objects is no list"));
    };
    let validate_only = form.value("import_policy") == Some("VALIDATE_ONLY");
    let object = site.import(&call, &caller, &texts, validate_only);
    // v1 calls it text, although it is JSON.
    let body = json!({ "object": object }).to_string();
    ([(header::CONTENT_TYPE, "text/plain;charset=UTF-8")], body).into_response()
}

async fn import_v2(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let asked = call.json();
    let Some(texts) = asked.get("metadata_tmls").and_then(Value::as_array) else {
        return site.refuse(&call.head, Failure::BadParameters("metadata_tmls is missing"));
    };
    let texts: Vec<String> =
        texts.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    let validate_only = text(&asked, "import_policy") == Some("VALIDATE_ONLY");
    Json(site.import(&call, &caller, &texts, validate_only)).into_response()
}

impl ThoughtSpot {
    /// All of the documents or none: the answer for each. A call that adds counts as one write.
    fn import(
        &self,
        call: &Incoming,
        caller: &Caller,
        texts: &[String],
        validate_only: bool,
    ) -> Vec<Value> {
        let read: Vec<Option<Tml>> = texts.iter().map(|text| Tml::read(text)).collect();
        let executed = !validate_only && !read.is_empty() && read.iter().all(Option::is_some);
        if executed {
            self.house.tally.wrote(call.target(), &call.body);
        }
        let mut library = lock(&self.library);
        let answers = read.iter().enumerate().map(|(index, tml)| {
            let id = object_guid(&self.house.mint);
            let object = tml.as_ref().and_then(|tml| match executed {
                true => library.import(tml, caller.owner.org, id),
                false => Some(Object {
                    id,
                    name: tml.name.clone(),
                    kind: tml.kind,
                    org: caller.owner.org,
                    private: false,
                }),
            });
            import_answer(index, object.as_ref())
        });
        answers.collect()
    }

    /// The object a report is asked of, if the caller may read it.
    pub fn readable_object(&self, caller: &Caller, identifier: &str) -> Result<Object, Failure> {
        readable(&lock(&self.library), caller.owner.org, identifier)
    }
}

fn readable(library: &Library, org: u32, identifier: &str) -> Result<Object, Failure> {
    match library.object(org, identifier) {
        None => Err(Failure::BadParameters("no such object")),
        Some(object) if object.private => Err(Failure::NoPrivilege),
        Some(object) => Ok(object),
    }
}

fn import_answer(index: usize, object: Option<&Object>) -> Value {
    let response = match object {
        None => json!({
            "status": { "status_code": "ERROR", "error_code": 14518, "error_message": "Invalid TML" },
        }),
        Some(object) => json!({
            "status": { "status_code": "OK" },
            "header": {
                "id_guid": object.id,
                "name": object.name,
                "type": object.kind.v1(),
                "metadata_type": object.kind.v2(),
                "owner_guid": null,
            },
        }),
    };
    json!({ "request_index": index, "response": response })
}

fn header_v1(object: &Object, caller: &Caller) -> Value {
    json!({
        "id": object.id,
        "name": object.name,
        "type": object.kind.v1(),
        "authorName": caller.owner.login,
        "created": CREATED_MILLIS,
        "modified": CREATED_MILLIS,
        "owner": object.id,
        "isDeleted": false,
        "isHidden": false,
        "orgIds": [object.org],
        "tags": [],
    })
}

fn row_v2(object: &Object) -> Value {
    json!({
        "metadata_id": object.id,
        "metadata_name": object.name,
        "metadata_type": object.kind.v2(),
        "metadata_obj_id": null,
        "dependent_objects": null,
        "incomplete_objects": null,
        "metadata_detail": null,
        "metadata_header": { "id": object.id, "name": object.name, "created": CREATED_MILLIS },
        "visualization_headers": null,
        "stats": null,
    })
}
