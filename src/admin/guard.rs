//! What every request of an operator passes first, and what every answer says to a browser.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::doors::{Admitted, Arrival, Doors};
use super::problem::Problem;

/// The longest that the head of an answer is waited for; actions have less.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(150);

/// Nothing but what this port itself serves, in no frame, and no inline script or style.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Who has asked.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<str>);

/// Lets a request in, or answers it.
pub(super) async fn guard(
    State(doors): State<Arc<Doors>>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    // Whoever serves a socket says how its connections come in.
    let arrival = head.extensions.get::<Arrival>().cloned().unwrap_or(Arrival::Tcp);
    let mut response = match doors.admit(&head, &arrival) {
        Err(problem) => problem.into_response(),
        Ok(Admitted::Visitor { cookie }) => led_to_the_page(&cookie),
        Ok(Admitted::Caller(who)) => {
            let mut request = Request::from_parts(head, body);
            request.extensions_mut().insert(Caller(who));
            match tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Problem::timeout().into_response(),
            }
        }
    };
    protect(response.headers_mut());
    response
}

/// The same for paths that are for everybody.
pub(super) async fn open(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    protect(response.headers_mut());
    response
}

/// The link is out of the address before anything else is loaded.
fn led_to_the_page(cookie: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    // Letters, digits and the like are a header value.
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
}
