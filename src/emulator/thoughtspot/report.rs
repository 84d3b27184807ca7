//! Large bodies: a report that streams, slowly if asked, and an upload as multipart.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header;
use http_body::Frame;
use serde_json::json;
use tokio::sync::mpsc;

use super::ThoughtSpot;
use super::answers::Failure;
use super::call::{Incoming, V1, V2, text};
use super::gate::Caller;
use crate::clock::Clock;

/// How a report begins and ends, so that a reader can tell whether it has all of it.
const FIRST: &[u8] = b"%PDF-1.7\n";
const LAST: &[u8] = b"%%EOF\n";

/// So many chunks lie in between.
const CHUNKS: u32 = 64;

/// The size of each.
const CHUNK_BYTES: usize = 4096;

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
        let pause = Duration::from_millis(self.switches().report_pause_milliseconds);
        let (chunks, body) = mpsc::channel(1);
        // Ends with the answer's body, at the latest.
        tokio::spawn(write_report(chunks, pause, self.house.clock.clone()));
        let disposition = format!("attachment; filename=\"{}.pdf\"", object.name);
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        (headers, Body::new(Chunks(body))).into_response()
    }
}

async fn write_report(chunks: mpsc::Sender<Bytes>, pause: Duration, clock: Clock) {
    let middle = Bytes::from(vec![b'.'; CHUNK_BYTES]);
    let middle = std::iter::repeat_n(middle, CHUNKS as usize);
    let first = std::iter::once(Bytes::from_static(FIRST));
    for chunk in first.chain(middle).chain(std::iter::once(Bytes::from_static(LAST))) {
        tokio::select! {
            () = chunks.closed() => return,
            () = clock.sleep(pause) => {}
        }
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

/// A body of chunks that are still being made.
struct Chunks(mpsc::Receiver<Bytes>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
