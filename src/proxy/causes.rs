//! Why other rooms could not do their part of a request, as a typed answer.

use super::error::Problem;
use crate::access::Denied;
use crate::limit::{Refused, Why};
use crate::session::Unavailable;
use crate::upstream::{Broken, SendError, Unreached};

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let whose = refused.whose;
        match refused.why {
            Why::Rate { wait, rate, kind } => {
                Self::RateLimited { whose, retry_after: wait, rate, kind }
            }
            Why::Crowded => Self::Overloaded(whose),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Missing => Self::ClientKeyMissing,
            Denied::Invalid => Self::ClientKeyInvalid,
            Denied::Expired => Self::ClientKeyExpired,
            Denied::TokenInvalid => Self::ClientTokenInvalid,
            Denied::TokenExpired => Self::ClientTokenExpired,
            Denied::IssuerTokenInvalid(flaw) => Self::IssuerTokenInvalid(flaw),
            Denied::IssuerTokenExpired => Self::IssuerTokenExpired,
            Denied::TokenUnknown => Self::ClientUnknown,
            Denied::TokenAmbiguous => Self::ClientAmbiguous,
            // Whoever waits for them has waited long enough.
            Denied::KeysWanted(_) | Denied::IssuerUnavailable => Self::IssuerUnavailable,
            Denied::Revoked => Self::ClientKeyRevoked,
            Denied::CertificateExpired => Self::ClientCertificateExpired,
            Denied::Conflicting => Self::ClientConflicting,
            Denied::ForeignHost => Self::MisdirectedHost,
            Denied::CrossOrigin => Self::CrossOrigin,
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Refused(_) => Self::LoginRefused,
            Unavailable::HeldBack { retry_after, cause } => {
                Self::LoginHeldBack { retry_after, cause }
            }
            Unavailable::Timeout => Self::LoginTimeout,
            Unavailable::Unreachable(unreached) => Self::from(unreached),
            Unavailable::Stopping => Self::Stopping,
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match (error.unreached(), &error) {
            (Some(unreached), _) => Self::from(unreached),
            (None, SendError::Timeout) => Self::UpstreamTimeout,
            (None, SendError::Broken(Broken::Stalled)) => Self::UpstreamStalled,
            (None, _) => Self::UpstreamBroken,
        }
    }
}

impl From<Unreached> for Problem {
    fn from(unreached: Unreached) -> Self {
        match unreached {
            Unreached::Failed(error) => Self::UpstreamUnreachable(error),
            Unreached::TimedOut(error) => Self::UpstreamConnectTimeout(error),
            Unreached::Prohibited => Self::UpstreamProhibited,
            Unreached::Exhausted => Self::GatewayOverloaded,
            Unreached::CircuitOpen { retry_after } => Self::UpstreamCircuitOpen { retry_after },
        }
    }
}
