//! The service's `WebServiceError`, and IIS' pages where the service is not reached.

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::address::{Address, Unaddressed};
use super::switches::{RefusalBody, Switches};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credential, a wrong one, or one that is dead.
    LoginFailed,
    /// The token was sealed by the other server.
    OtherNode,
    /// Logged in to the application; the resource needs a vault.
    NoVault,
    /// Logged in; the user may not do this.
    AccessDenied,
    /// The session cannot be changed or ended with such a credential.
    SessionFixed,
    /// Two vaults have this name.
    VaultAmbiguous,
    NotFound,
    BadRequest,
    MethodNotAllowed,
}

impl Refusal {
    pub fn response(self, address: &Address, switches: &Switches) -> Response {
        if matches!(self, Refusal::LoginFailed | Refusal::OtherNode)
            && switches.refusal_body == RefusalBody::Html
        {
            return page(switches.refusal_status.code());
        }
        let status = self.status(switches);
        (status, Json(self.body(address, status))).into_response()
    }

    fn status(self, switches: &Switches) -> StatusCode {
        match self {
            Refusal::LoginFailed => switches.refusal_status.code(),
            Refusal::OtherNode
            | Refusal::NoVault
            | Refusal::AccessDenied
            | Refusal::SessionFixed => StatusCode::FORBIDDEN,
            Refusal::VaultAmbiguous => StatusCode::CONFLICT,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::BadRequest => StatusCode::BAD_REQUEST,
            Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn body(self, address: &Address, status: StatusCode) -> Value {
        let (name, message) = self.exception();
        let exception = match self {
            Refusal::OtherNode => json!({
                "Name": name,
                "Message": message,
                "InnerException": {
                    "Name": "CryptographicException",
                    "Message": "Error occurred while decoding OAEP padding.",
                },
            }),
            _ => json!({ "Name": name, "Message": message }),
        };
        json!({
            "Status": status.as_u16(),
            "URL": address.url(),
            "Method": address.method.as_str(),
            "Exception": exception,
            "Stack": "",
            "Message": message,
            "IsLoggedToVault": self.is_logged_to_vault(),
            "IsLoggedToApplication": self.is_logged_to_application(),
            "ExceptionName": name,
        })
    }

    fn exception(self) -> (&'static str, &'static str) {
        match self {
            Refusal::LoginFailed => ("UnauthorizedAccessException", "Login to application failed"),
            Refusal::OtherNode => ("ForbiddenException", "Token-based authentication failed."),
            Refusal::NoVault => ("UnauthorizedAccessException", "Login to vault failed"),
            Refusal::AccessDenied => ("UnauthorizedAccessException", "Access denied."),
            Refusal::SessionFixed => {
                ("ForbiddenException", "Current session is not allowed to modify its state.")
            }
            Refusal::VaultAmbiguous => ("ConflictException", "The vault name is ambiguous."),
            Refusal::NotFound => ("NotFoundException", "The resource was not found."),
            Refusal::BadRequest => ("ArgumentException", "The request cannot be understood."),
            Refusal::MethodNotAllowed => ("NotSupportedException", "The method is not supported."),
        }
    }

    fn is_logged_to_application(self) -> bool {
        !matches!(self, Refusal::LoginFailed | Refusal::OtherNode)
    }

    fn is_logged_to_vault(self) -> bool {
        self.is_logged_to_application() && self != Refusal::NoVault
    }
}

impl Unaddressed {
    pub fn response(self) -> Response {
        page(match self {
            Unaddressed::Elsewhere => StatusCode::NOT_FOUND,
            Unaddressed::VerbForbidden => StatusCode::METHOD_NOT_ALLOWED,
        })
    }
}

fn page(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let text = format!("<html><head><title>{status}</title></head><h2>{reason}</h2></html>");
    (status, Html(text)).into_response()
}
