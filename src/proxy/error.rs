//! Everything that Doorward answers in its own name: one closed list, with status, code and the
//! words that clients read. Nothing in it names an address, an account or an inner cause.

use std::time::Duration;

use http::StatusCode;

use super::upload::Upload;
use crate::access::jwt::Flaw;
use crate::forward::body::Unwritable;
use crate::forward::replay::Replay;
use crate::limit::{Kind, Rate, Whose};
use crate::route::{Ambiguity, Unreadable};
use crate::session::HoldCause;
use crate::upstream::ErrorType;

/// Why Doorward answers itself. `Display` is the detail for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The request's head is wrong.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The path has more than one reading.
    #[error("the path holds {0}, so it could be read in more than one way")]
    AmbiguousPath(Ambiguity),
    /// The query makes the request readable in more than one way.
    #[error("{0}")]
    AmbiguousRequest(Unreadable),
    /// A method that no proxy of this kind forwards.
    #[error("this method is never forwarded")]
    MethodNotAllowed,
    /// A method that is longer than any.
    #[error("no method is that long")]
    MethodUnknown,
    /// A target that is longer than any upstream reads.
    #[error("the request target is too long")]
    TargetTooLong,
    /// A protocol that no tunnel is made for here.
    #[error("no tunnel of this protocol is made here")]
    ProtocolNotSupported,
    /// The client's body broke off or is framed wrongly.
    #[error("the request body broke off or is framed wrongly")]
    BadBody,
    /// The session goes into the body, and that is longer than any into which it can be put.
    #[error("the session goes into the request body, which is too long for that")]
    BodyTooLong,
    /// The client stopped in the middle of its body.
    #[error("the rest of the request body did not come")]
    BodyTimeout,
    /// No route for host and path.
    #[error("no route leads from this host and path to an upstream")]
    NoRoute,
    /// In open mode: a host that is not this machine.
    #[error(
        "without client keys only names of this machine are answered: localhost, 127.0.0.1, [::1]"
    )]
    MisdirectedHost,
    /// In open mode: a page of another site.
    #[error("without client keys no request from a page of another site is answered")]
    CrossOrigin,
    /// No client key.
    #[error("send a client key: Authorization: Bearer doorward_...")]
    ClientKeyMissing,
    /// A client key that is damaged or that nobody has.
    #[error("the client key is not valid, or is cut off")]
    ClientKeyInvalid,
    /// A key whose time is over.
    #[error("the client key has expired")]
    ClientKeyExpired,
    /// A client's login without a client key in it.
    #[error(
        "the password of this login is no client key: log in with doorward_... as the password"
    )]
    LoginWithoutKey,
    /// A client's login with a body that nobody needs for one.
    #[error("the body of this login is longer than any login's")]
    LoginTooLong,
    /// A token that was not given out here, or not for this upstream, or for a key that is gone.
    #[error("the client token is not valid here: log in again")]
    ClientTokenInvalid,
    /// A token whose time is over.
    #[error("the client token has expired: log in again")]
    ClientTokenExpired,
    /// A token of a trusted issuer that is not valid.
    #[error("the token is not valid: {0}")]
    IssuerTokenInvalid(Flaw),
    /// A token of a trusted issuer whose time is over.
    #[error("the token has expired")]
    IssuerTokenExpired,
    /// A valid token that no client has.
    #[error("the token is valid, and no client here has one with its claims")]
    ClientUnknown,
    /// A valid token that several clients have.
    #[error("the token is valid, and more than one client here has one with its claims")]
    ClientAmbiguous,
    /// A token that cannot be judged.
    #[error("the keys of the token's issuer cannot be fetched at the moment")]
    IssuerUnavailable,
    /// A key that was revoked.
    #[error("the client key is revoked")]
    ClientKeyRevoked,
    /// The certificate's time has ended while its connection lived.
    #[error("the client's certificate has expired; connect with a new one")]
    ClientCertificateExpired,
    /// What shows who calls is of different clients.
    #[error("the request, or its connection, shows that it is of more than one client")]
    ClientConflicting,
    /// The client names an account that this route does not leave to its choice.
    #[error("this route has no account of that name to choose by Doorward-Account")]
    AccountNotGranted,
    /// No grant of the client allows the request.
    #[error("no grant of this client allows this method and path here")]
    NotGranted,
    /// A rate is used up, or the account's upstream has asked for a pause.
    #[error("{}", rate_limited(*.whose))]
    RateLimited {
        /// Whose limit it is.
        whose: Whose,
        /// When to ask again.
        retry_after: Duration,
        /// The rate, if there is one.
        rate: Option<Rate>,
        /// What it counts; nothing where it counts everything.
        kind: Option<Kind>,
    },
    /// As many requests as may be are under way.
    #[error("{}", overloaded(*.0))]
    Overloaded(Whose),
    /// The endpoint is closed by the recipe, which says why.
    #[error("this endpoint is closed: {0}")]
    EndpointClosed(String),
    /// The upstream refused Doorward's login.
    #[error(
        "the upstream refused the login of the account that Doorward holds; its operator has to act"
    )]
    LoginRefused,
    /// No login may be tried yet.
    #[error("no login is tried at the moment ({}): {}", .cause.as_str(), .cause.explanation())]
    LoginHeldBack {
        /// When to ask again.
        retry_after: Duration,
        /// Why.
        cause: HoldCause,
    },
    /// The login did not end within the request's deadline.
    #[error("the login at the upstream did not end within this request's deadline")]
    LoginTimeout,
    /// No connection to the upstream; nothing was sent.
    #[error("the upstream cannot be reached; the request was not sent")]
    UpstreamUnreachable(ErrorType),
    /// No connection to the upstream in time; nothing was sent.
    #[error("the upstream did not take a connection in time; the request was not sent")]
    UpstreamConnectTimeout(ErrorType),
    /// The upstream's name leads to an address to which no connection is made.
    #[error("the upstream's name leads where it must not; the request was not sent")]
    UpstreamProhibited,
    /// An operator has paused the upstream.
    #[error("the operator has paused this upstream; the request was not sent")]
    UpstreamPaused {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The upstream could not be reached again and again: nothing was tried.
    #[error(
        "the upstream could not be reached before and is not tried for a while; the request was \
         not sent"
    )]
    UpstreamCircuitOpen {
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer in time.
    #[error("the upstream did not answer in time; the request may have been executed")]
    UpstreamTimeout,
    /// The upstream stopped taking the request's body.
    #[error("the upstream took nothing more of the request; it may have been executed")]
    UpstreamStalled,
    /// The connection broke, or the answer is no HTTP.
    #[error("the upstream's answer broke off or is no HTTP; the request may have been executed")]
    UpstreamBroken,
    /// The upstream is out of order behind a success status.
    #[error("the upstream answered with a maintenance page")]
    UpstreamUnavailable,
    /// The answer would have shown a value of the session and could not be rewritten.
    #[error("the upstream's answer could not be freed of session values")]
    AnswerWithheld,
    /// What was kept of the body could not be read when it was to be sent again.
    #[error("the request was to be sent again, and its body could not be read from the disk")]
    ReplayBroken,
    /// Our own request came back.
    #[error("the request came back to the gateway that sent it")]
    Loop,
    /// What happens to the request could not be written down, and nothing happens without.
    #[error("no request is forwarded while the gateway's audit trail cannot be written")]
    AuditUnwritable,
    /// Memory or descriptors are nearly used up.
    #[error("the gateway has nearly used its memory or its descriptors up")]
    GatewayOverloaded,
    /// Doorward is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Problem {
    /// Whether the message was refused for what it is, and not for who sends it or what it wants.
    pub(super) fn is_rejection(&self) -> bool {
        self.proxy_status() == ErrorType::named("http_request_error") || matches!(self, Self::Loop)
    }

    /// A body that the session cannot be put into.
    pub(super) fn of_writing(why: Unwritable) -> Self {
        match why {
            Unwritable::TooLong => Self::BodyTooLong,
            why => Self::BadRequest(why.told()),
        }
    }

    /// What is wrong with a body whose client has failed.
    pub(super) fn of_body(replay: &Replay<Upload>) -> Self {
        match replay.source(Upload::is_too_slow) {
            Some(true) => Self::BodyTimeout,
            Some(false) | None => Self::BadBody,
        }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_)
            | Self::AmbiguousPath(_)
            | Self::AmbiguousRequest(_)
            | Self::BadBody => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MethodUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MisdirectedHost => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossOrigin
            | Self::AccountNotGranted
            | Self::NotGranted
            | Self::ClientUnknown
            | Self::ClientAmbiguous
            | Self::EndpointClosed(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLong | Self::LoginTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientKeyMissing
            | Self::ClientKeyInvalid
            | Self::ClientKeyExpired
            | Self::ClientKeyRevoked
            | Self::ClientCertificateExpired
            | Self::ClientConflicting
            | Self::LoginWithoutKey
            | Self::ClientTokenInvalid
            | Self::IssuerTokenInvalid(_)
            | Self::IssuerTokenExpired
            | Self::ClientTokenExpired => StatusCode::UNAUTHORIZED,
            Self::LoginRefused
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamProhibited
            | Self::UpstreamBroken
            | Self::AnswerWithheld
            | Self::Loop => StatusCode::BAD_GATEWAY,
            Self::ProtocolNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::ReplayBroken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::LoginHeldBack { .. }
            | Self::UpstreamPaused { .. }
            | Self::UpstreamCircuitOpen { .. }
            | Self::UpstreamUnavailable
            | Self::IssuerUnavailable
            | Self::Overloaded(_)
            | Self::AuditUnwritable
            | Self::GatewayOverloaded
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::LoginTimeout
            | Self::UpstreamConnectTimeout(_)
            | Self::UpstreamTimeout
            | Self::UpstreamStalled => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable code, the same in answers, logs and docs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::AmbiguousPath(_) | Self::AmbiguousRequest(_) => "ambiguous_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MethodUnknown => "method_unknown",
            Self::TargetTooLong => "target_too_long",
            Self::ProtocolNotSupported => "protocol_not_supported",
            Self::BadBody => "bad_body",
            Self::BodyTimeout => "body_timeout",
            Self::NoRoute => "no_route",
            Self::MisdirectedHost => "misdirected_host",
            Self::CrossOrigin => "cross_origin",
            Self::ClientKeyMissing | Self::LoginWithoutKey => "client_key_missing",
            Self::ClientKeyInvalid => "client_key_invalid",
            Self::ClientKeyExpired => "client_key_expired",
            Self::BodyTooLong => "body_too_long",
            Self::LoginTooLong => "login_too_long",
            Self::ClientTokenInvalid | Self::IssuerTokenInvalid(_) => "client_token_invalid",
            Self::ClientTokenExpired | Self::IssuerTokenExpired => "client_token_expired",
            Self::ClientUnknown => "client_unknown",
            Self::ClientAmbiguous => "client_ambiguous",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::ClientKeyRevoked => "client_key_revoked",
            Self::ClientCertificateExpired => "client_certificate_expired",
            Self::ClientConflicting => "client_conflicting",
            Self::AccountNotGranted => "account_not_granted",
            Self::NotGranted => "not_granted",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded(_) => "overloaded",
            Self::EndpointClosed(_) => "endpoint_closed",
            Self::LoginRefused => "login_refused",
            Self::LoginHeldBack { .. } => "login_held_back",
            Self::LoginTimeout => "login_timeout",
            Self::UpstreamUnreachable(_) => "upstream_unreachable",
            Self::UpstreamConnectTimeout(_) => "upstream_connect_timeout",
            Self::UpstreamProhibited => "upstream_prohibited",
            Self::UpstreamPaused { .. } => "upstream_paused",
            Self::UpstreamCircuitOpen { .. } => "upstream_circuit_open",
            Self::UpstreamTimeout | Self::UpstreamStalled => "upstream_timeout",
            Self::UpstreamBroken => "upstream_broken",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::AnswerWithheld => "answer_withheld",
            Self::ReplayBroken => "replay_broken",
            Self::Loop => "loop_detected",
            Self::AuditUnwritable => "audit_unwritable",
            Self::GatewayOverloaded => "gateway_overloaded",
            Self::Stopping => "stopping",
        }
    }

    /// A few words for people.
    pub fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "The request is wrong",
            Self::AmbiguousPath(_) | Self::AmbiguousRequest(_) => "The request is ambiguous",
            Self::MethodNotAllowed => "Method not allowed",
            Self::MethodUnknown => "Method unknown",
            Self::TargetTooLong => "The target is too long",
            Self::ProtocolNotSupported => "Protocol not supported",
            Self::BadBody => "The request body is wrong",
            Self::BodyTimeout => "The request body did not come",
            Self::NoRoute => "No route",
            Self::MisdirectedHost => "Not a name of this machine",
            Self::CrossOrigin => "Cross-origin request refused",
            Self::ClientKeyMissing | Self::LoginWithoutKey => "Client key needed",
            Self::ClientKeyInvalid => "Client key not valid",
            Self::ClientKeyExpired => "Client key expired",
            Self::BodyTooLong => "The request body is too long",
            Self::LoginTooLong => "The login is too long",
            Self::ClientTokenInvalid | Self::IssuerTokenInvalid(_) => "Client token not valid",
            Self::ClientTokenExpired | Self::IssuerTokenExpired => "Client token expired",
            Self::ClientUnknown => "Client unknown",
            Self::ClientAmbiguous => "Client ambiguous",
            Self::IssuerUnavailable => "Issuer not available",
            Self::ClientKeyRevoked => "Client key revoked",
            Self::ClientCertificateExpired => "Client certificate expired",
            Self::ClientConflicting => "More than one client",
            Self::AccountNotGranted => "Account not granted",
            Self::NotGranted => "Not granted",
            Self::RateLimited { .. } => "Rate limited",
            Self::Overloaded(_) => "Overloaded",
            Self::EndpointClosed(_) => "Endpoint closed",
            Self::LoginRefused => "The upstream refused the login",
            Self::LoginHeldBack { .. } => "Logins are held back",
            Self::LoginTimeout => "The login took too long",
            Self::UpstreamUnreachable(_) => "The upstream cannot be reached",
            Self::UpstreamConnectTimeout(_) => "The upstream takes no connection",
            Self::UpstreamProhibited => "The upstream's address is prohibited",
            Self::UpstreamPaused { .. } => "The upstream is paused",
            Self::UpstreamCircuitOpen { .. } => "The upstream is not tried",
            Self::UpstreamTimeout => "The upstream did not answer",
            Self::UpstreamStalled => "The upstream did not take the request",
            Self::UpstreamBroken => "The upstream's answer is broken",
            Self::UpstreamUnavailable => "The upstream is not available",
            Self::AnswerWithheld => "Answer withheld",
            Self::ReplayBroken => "The request could not be sent again",
            Self::Loop => "Loop detected",
            Self::AuditUnwritable => "The audit trail cannot be written",
            Self::GatewayOverloaded => "The gateway is overloaded",
            Self::Stopping => "Stopping",
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 section 2.3), where one fits.
    pub fn proxy_status(&self) -> ErrorType {
        ErrorType::named(match self {
            Self::BadRequest(_)
            | Self::AmbiguousPath(_)
            | Self::AmbiguousRequest(_)
            | Self::MethodNotAllowed
            | Self::MethodUnknown
            | Self::TargetTooLong
            | Self::ProtocolNotSupported
            | Self::BadBody
            | Self::BodyTimeout
            | Self::BodyTooLong
            | Self::LoginTooLong => "http_request_error",
            Self::NoRoute => "destination_not_found",
            Self::MisdirectedHost
            | Self::CrossOrigin
            | Self::ClientKeyMissing
            | Self::ClientKeyInvalid
            | Self::ClientKeyExpired
            | Self::LoginWithoutKey
            | Self::ClientTokenInvalid
            | Self::IssuerTokenInvalid(_)
            | Self::IssuerTokenExpired
            | Self::ClientTokenExpired
            | Self::ClientUnknown
            | Self::ClientAmbiguous
            | Self::ClientKeyRevoked
            | Self::ClientCertificateExpired
            | Self::ClientConflicting
            | Self::AccountNotGranted
            | Self::NotGranted
            | Self::RateLimited { .. }
            | Self::Overloaded(_)
            | Self::EndpointClosed(_) => "http_request_denied",
            Self::LoginRefused
            | Self::LoginHeldBack { .. }
            | Self::UpstreamPaused { .. }
            | Self::UpstreamCircuitOpen { .. }
            | Self::UpstreamUnavailable => "destination_unavailable",
            Self::LoginTimeout | Self::UpstreamTimeout => "http_response_timeout",
            Self::UpstreamUnreachable(error) | Self::UpstreamConnectTimeout(error) => {
                return *error;
            }
            Self::UpstreamProhibited => "destination_ip_prohibited",
            Self::UpstreamStalled => "connection_write_timeout",
            Self::UpstreamBroken => "http_response_incomplete",
            Self::AnswerWithheld => "http_protocol_error",
            Self::Loop => "proxy_loop_detected",
            Self::ReplayBroken
            | Self::AuditUnwritable
            | Self::IssuerUnavailable
            | Self::GatewayOverloaded
            | Self::Stopping => "proxy_internal_error",
        })
    }

    /// When it is worth asking again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LoginHeldBack { retry_after, .. }
            | Self::RateLimited { retry_after, .. }
            | Self::UpstreamPaused { retry_after }
            | Self::UpstreamCircuitOpen { retry_after } => Some(*retry_after),
            // A place becomes free when any answer ends.
            Self::Overloaded(_) => Some(Duration::from_secs(1)),
            Self::UpstreamUnavailable => Some(UNAVAILABLE_RETRY_AFTER),
            Self::AuditUnwritable => Some(AUDIT_RETRY_AFTER),
            Self::GatewayOverloaded => Some(OVERLOAD_RETRY_AFTER),
            Self::IssuerUnavailable => Some(ISSUER_RETRY_AFTER),
            _ => None,
        }
    }
}

/// Idle connections leave within some ten seconds.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Maintenance lasts minutes; asking twice a minute is polite.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// An operator has to make room on a disk.
const AUDIT_RETRY_AFTER: Duration = Duration::from_secs(10);

/// An issuer's keys are tried again after seconds at first, after a minute in the end.
const ISSUER_RETRY_AFTER: Duration = Duration::from_secs(10);

fn rate_limited(whose: Whose) -> &'static str {
    match whose {
        Whose::Client => "this client has used its own rate up",
        Whose::Route => "the rate of this route is used up by all its clients together",
        Whose::Account => "the account that Doorward holds may not be asked more at the moment",
    }
}

fn overloaded(whose: Whose) -> &'static str {
    match whose {
        Whose::Client => "too many requests of this client are under way",
        Whose::Route => "too many requests are under way by this route",
        Whose::Account => "too many requests are under way at this account",
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
