//! Large bodies: a report that streams, slowly if asked, and an upload as multipart.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::header;
use http_body_util::BodyExt;
use serde_json::json;

use super::ThoughtSpot;
use super::answers::Failure;
use super::call::{Incoming, V1, V2, text};
use super::gate::Caller;
use crate::emulator::download::download;

type Site = State<Arc<ThoughtSpot>>;

pub fn routes() -> Router<Arc<ThoughtSpot>> {
    Router::new()
        .route(&format!("{V1}/export/pinboard/pdf"), post(pinboard))
        .route(&format!("{V2}/report/liveboard"), post(liveboard))
        .route(&format!("{V2}/dbt/generate-tml"), post(generate_tml))
}

/// v1: the GUID is in the query.
async fn pinboard(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let query = call.query();
    let Some(id) = query.value("id") else {
        return site.refuse(&call.head, Failure::BadParameters("id is missing"));
    };
    site.report(&call, &caller, id)
}

/// v2: GUID or name are in the JSON body.
async fn liveboard(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let asked = call.json();
    let Some(identifier) = text(&asked, "metadata_identifier") else {
        return site.refuse(&call.head, Failure::BadParameters("metadata_identifier is missing"));
    };
    site.report(&call, &caller, identifier)
}

/// Says what arrived in each part, so that a client can compare.
async fn generate_tml(State(site): Site, call: Incoming) -> Response {
    let request = Request::from_parts(call.head.clone(), Body::from(call.body.clone()));
    let Ok(mut parts) = Multipart::from_request(request, &()).await else {
        return site.refuse(&call.head, Failure::BadParameters("the body is no multipart form"));
    };
    let mut answer = serde_json::Map::new();
    loop {
        let part = match parts.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(_) => return site.refuse(&call.head, Failure::BadParameters("the form is cut")),
        };
        let name = part.name().unwrap_or_default().to_owned();
        let file = part.file_name().map(ToOwned::to_owned);
        let Ok(bytes) = part.bytes().await else {
            return site.refuse(&call.head, Failure::BadParameters("the form is cut"));
        };
        if let Some(file) = file {
            answer.insert("file_name".to_owned(), json!(file));
            answer.insert("file_size".to_owned(), json!(bytes.len()));
        } else {
            answer.insert(name, json!(String::from_utf8_lossy(&bytes)));
        }
    }
    if !answer.contains_key("dbt_connection_identifier") {
        let missing = Failure::BadParameters("dbt_connection_identifier is missing");
        return site.refuse(&call.head, missing);
    }
    site.house.tally.wrote(call.target(), &call.body);
    Json(answer).into_response()
}

impl ThoughtSpot {
    fn report(&self, call: &Incoming, caller: &Caller, identifier: &str) -> Response {
        let object = match self.readable_object(caller, identifier) {
            Ok(object) => object,
            Err(failure) => return self.refuse(&call.head, failure),
        };
        let switches = self.switches();
        let pause = Duration::from_millis(switches.download_pause_ms);
        let body = download(switches.download_bytes, self.house.clock.clone(), pause);
        // Whoever makes a report does not know its length beforehand.
        let body = Body::new(body.map_frame(|frame| frame));
        let disposition = format!("attachment; filename=\"{}.pdf\"", object.name);
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        (headers, body).into_response()
    }
}
