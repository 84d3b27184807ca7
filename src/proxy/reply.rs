//! Answers in Doorward's own name: problem details (RFC 9457) with `Proxy-Status` (RFC 9209).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use serde_json::json;

use super::error::Problem;
use crate::forward::hop::REQUEST_ID;
use crate::limit::Rate;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What is left of a quota, and the quota (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Renders a problem.
pub fn problem(problem: &Problem, request_id: &str) -> Response<Bytes> {
    let mut body = json!({
        "type": format!("urn:doorward:problem:{}", problem.code()),
        "title": problem.title(),
        "status": problem.status().as_u16(),
        "detail": problem.to_string(),
        "instance": request_id,
        "code": problem.code(),
    });
    let retry_after = problem.retry_after().map(|pause| pause.as_secs().max(1));
    if let (Some(seconds), Some(members)) = (retry_after, body.as_object_mut()) {
        members.insert("retry_after_seconds".to_owned(), seconds.into());
    }
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = problem.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = format!("doorward; error={}", problem.proxy_status());
    insert(headers, PROXY_STATUS, &status);
    insert(headers, REQUEST_ID, request_id);
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let (Problem::RateLimited { rate, .. }, Some(seconds)) = (problem, retry_after) {
        insert(headers, RATE_LIMIT, &format!("\"account\";r=0;t={seconds}"));
        if let Some((quota, window)) = rate.as_ref().map(Rate::in_whole_seconds) {
            insert(headers, RATE_LIMIT_POLICY, &format!("\"account\";q={quota};w={window}"));
        }
    }
    if matches!(
        problem,
        Problem::ClientKeyMissing | Problem::ClientKeyInvalid | Problem::ClientKeyExpired
    ) {
        let challenge = HeaderValue::from_static("Bearer realm=\"doorward\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if matches!(problem, Problem::MethodNotAllowed) {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    // The client's body is wrong or unread: what follows it could be taken for a request.
    if matches!(problem, Problem::BadBody | Problem::BodyTimeout | Problem::BadRequest(_)) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
