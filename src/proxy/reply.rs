//! Answers in Doorward's own name: problem details (RFC 9457) with `Proxy-Status` (RFC 9209).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::error::Problem;
use crate::access::identity::Ways;
use crate::fields::Fields;
use crate::forward::hop::REQUEST_ID;
use crate::limit::Rate;

pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Our member of `Proxy-Status` on an answer that is not ours. An answer with an `error` that comes
/// from another gateway, or from an upstream that passes for one, has it behind that.
const PASSED_ON: HeaderValue = HeaderValue::from_static("doorward");

/// Our member of `Proxy-Status` on an answer that the recipe has us give.
const IN_ITS_PLACE: HeaderValue =
    HeaderValue::from_static("doorward; details=\"answered in the upstream's place\"");

/// The methods that are forwarded and of which everybody knows what they do.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// What is left of a quota, and the quota (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Renders a problem, for a client that can show who it is in these ways.
pub fn problem(problem: &Problem, ways: Ways, request_id: &str) -> Response<Bytes> {
    let detail = match problem {
        Problem::ClientKeyMissing => ways.to_string(),
        _ => problem.to_string(),
    };
    let mut body = json!({
        "type": format!("urn:doorward:problem:{}", problem.code()),
        "title": problem.title(),
        "status": problem.status().as_u16(),
        "detail": detail,
        "instance": request_id,
        "code": problem.code(),
    });
    let retry_after = problem.retry_after().map(whole_seconds);
    if let Some(members) = body.as_object_mut() {
        if let Some(seconds) = retry_after {
            members.insert("retry_after_seconds".to_owned(), seconds.into());
        }
        if let Some(limit) = limit(problem) {
            members.insert("limit".to_owned(), limit.into());
        }
    }
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = problem.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = format!("doorward; error={}", problem.proxy_status());
    insert(headers, PROXY_STATUS, &status);
    insert(headers, REQUEST_ID.clone(), request_id);
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let (Problem::RateLimited { whose, rate, kind, .. }, Some(seconds)) = (problem, retry_after)
    {
        let name = match kind {
            None => whose.as_str().to_owned(),
            Some(kind) => format!("{}-{}", whose.as_str(), kind.as_str()),
        };
        insert(headers, RATE_LIMIT, &format!("\"{name}\";r=0;t={seconds}"));
        if let Some((quota, window)) = rate.as_ref().map(Rate::in_whole_seconds) {
            insert(headers, RATE_LIMIT_POLICY, &format!("\"{name}\";q={quota};w={window}"));
        }
    }
    if let Some(challenge) = challenge(problem) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(problem, Problem::MethodNotAllowed) {
        headers.insert(header::ALLOW, METHODS);
    }
    // The client's body is wrong or unread, or bytes of a tunnel follow: they could be taken for a
    // request. Or its connection is of use to others.
    if matches!(
        problem,
        Problem::BadBody
            | Problem::BodyTimeout
            | Problem::BadRequest(_)
            | Problem::GatewayOverloaded
            | Problem::MethodNotAllowed
            | Problem::MethodUnknown
            | Problem::TargetTooLong
    ) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a 401 asks for (RFC 9110 section 15.5.2), with what is wrong about a key that was sent (RFC
/// 6750 section 3.1).
fn challenge(problem: &Problem) -> Option<&'static str> {
    match (problem.status(), problem) {
        (StatusCode::UNAUTHORIZED, Problem::ClientKeyMissing | Problem::LoginWithoutKey) => {
            Some("Bearer realm=\"doorward\"")
        }
        (StatusCode::UNAUTHORIZED, _) => Some("Bearer realm=\"doorward\", error=\"invalid_token\""),
        _ => None,
    }
}

/// Whose limit it is that is used up.
fn limit(problem: &Problem) -> Option<&'static str> {
    match problem {
        Problem::RateLimited { whose, .. } | Problem::Overloaded(whose) => Some(whose.as_str()),
        _ => None,
    }
}

/// Whoever asks again so many seconds later does not come too early.
fn whole_seconds(pause: Duration) -> u64 {
    pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0)).max(1)
}

/// The answer to an OPTIONS that may not be forwarded (RFC 9110 section 7.6.2).
pub(super) fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

/// Completes an answer that is given in the upstream's place.
pub(super) fn in_its_place(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PROXY_STATUS, IN_ITS_PLACE);
}

/// Says of an answer that tells of another gateway's doing that it is not ours (RFC 9209 section 2).
pub(super) fn passed_on(headers: &mut Fields) {
    if headers.contains(PROXY_STATUS) {
        headers.append(PROXY_STATUS, PASSED_ON);
    }
}

/// An answer to HEAD has the fields of the one to GET, and no body (RFC 9110 section 9.3.2). hyper
/// sees to that in HTTP/1 only.
pub(super) fn without_body(response: &mut Response<Bytes>) {
    let body = std::mem::take(response.body_mut());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
