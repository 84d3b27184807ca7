//! Why the admin API does not do something (RFC 9457). Details name what an operator knows anyway,
//! never a secret.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answers;
use super::gateway::Refusal;

/// A problem with its status, code and words.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), retry_after: None }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "The request is wrong", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this path is there, but not for this method";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Method not allowed",
            detail,
        )
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "send `Authorization: Bearer` and the admin token, or open a link of \
                      `doorward dashboard`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not let in", detail)
    }

    pub(super) fn misdirected_host() -> Self {
        let detail = "this name is none of ours: use localhost, an IP address, or one of \
                      `admin.hosts`";
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected_host",
            "Not a name of this gateway",
            detail,
        )
    }

    pub(super) fn cross_origin() -> Self {
        let detail = "no request from a page of another site is answered";
        Self::new(StatusCode::FORBIDDEN, "cross_origin", "Cross-origin request refused", detail)
    }

    pub(super) fn through_a_gateway() -> Self {
        let detail = "this request was forwarded by a Doorward: none may lead its clients here";
        Self::new(StatusCode::FORBIDDEN, "through_a_gateway", "Not through a gateway", detail)
    }

    pub(super) fn unsupported_media_type() -> Self {
        let detail = "what changes something is sent as `Content-Type: application/json`";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "JSON is wanted",
            detail,
        )
    }

    pub(super) fn too_many_watchers() -> Self {
        let detail = "as many as may be watch already";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", "Too many watch", detail)
    }

    pub(super) fn timeout() -> Self {
        let detail = "it has not ended in time, and may go on";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "It took too long", detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => Self::not_found(detail),
            Refusal::Wrong(_) => Self::bad_request(detail),
            Refusal::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "It does not go with how things are",
                detail,
            ),
            Refusal::Unavailable { retry_after, .. } => {
                let problem = Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "It cannot be done now",
                    detail,
                );
                Self { retry_after, ..problem }
            }
            Refusal::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The gateway is stopping",
                detail,
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Whoever asks again so many seconds later does not come too early.
        let retry_after = self.retry_after.map(|pause| {
            pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0)).max(1)
        });
        let body = answers::Problem {
            r#type: format!("urn:doorward:admin:{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            retry_after_seconds: retry_after,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"doorward admin\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
