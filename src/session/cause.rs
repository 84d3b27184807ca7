//! Why a login gave no session, and what that means for the account's guard.

use std::time::Duration;

use super::account::{Failure, class_name};
use super::{ExchangeError, Unavailable};
use crate::forward::inject::Unusable;
use crate::login::{Because, Refusal};
use crate::recipe::RefusalClass;
use crate::upstream::{ErrorType, SendError, Unreached};

/// Why a login gave no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{}", describe(.0))]
    Refused(Refusal, Option<Duration>),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("doorward stopped before the time of the next one-time code")]
    Stopped,
    #[error("the attempt could not be recorded")]
    Unrecorded,
    #[error("the session could not be recorded")]
    NotKept(Unavailable),
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// A refusal in words.
pub(super) fn describe(refusal: &Refusal) -> String {
    let Refusal { class, step, status, because, said } = refusal;
    let said = said.as_ref().map_or_else(String::new, |said| format!("; its helper said: {said}"));
    let class = class.map_or("no rule of the recipe matched", class_name);
    let status = status.as_u16();
    match because {
        Because::Unexpected => format!("`{step}` was answered with {status} ({class}){said}"),
        Because::Missing(value) => {
            format!("`{step}` was answered with {status}, without `{value}` ({class}){said}")
        }
        Because::Elsewhere(value) => {
            format!("`{value}` of `{step}` leads to a place that the recipe does not allow")
        }
        Because::Unusable(value) => format!("the value for `{value}` cannot be sent at `{step}`"),
        Because::Unsigned(value, fault) => format!("`{value}` cannot be signed: {fault}"),
        Because::NoCode(field, fault) => format!("`{field}` makes no one-time codes: {fault}"),
    }
}

impl Cause {
    /// The word in metrics, out of a closed list.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Refused(refusal, _) => refusal.class.map_or("unclassified", class_name),
            Self::Exchange(error) if error.nothing_was_sent() => "unreachable",
            Self::Exchange(ExchangeError::TooLong | ExchangeError::Unreadable(_)) => "unreadable",
            Self::Exchange(ExchangeError::Send(SendError::Timeout)) => "timeout",
            Self::Exchange(_) => "answer_lost",
            Self::Stopped => "stopped",
            Self::Unrecorded | Self::NotKept(_) => "unrecorded",
            Self::Unusable(_) => "unusable",
        }
    }

    pub(super) fn failure(&self, sent: bool) -> Failure {
        match self {
            Self::Refused(refusal, retry_after) => {
                Failure::Refused { class: refusal.class, retry_after: *retry_after }
            }
            Self::Unrecorded | Self::NotKept(_) => Failure::Unrecorded,
            // Whatever was sent was answered, and no answer judged the secret.
            Self::Stopped => Failure::Withdrawn,
            Self::Exchange(error) if error.nothing_was_sent() && !sent => {
                // Without a target nobody was asked either.
                let untargeted = Unreached::Failed(ErrorType::named("proxy_configuration_error"));
                Failure::Unreachable(error.unreached().unwrap_or(untargeted))
            }
            Self::Exchange(ExchangeError::Send(_) | ExchangeError::BrokenOff) => {
                Failure::AnswerLost
            }
            Self::Exchange(_) | Self::Unusable(_) => {
                Failure::Refused { class: None, retry_after: None }
            }
        }
    }
}

/// Whether what a login has taken may have been made out of a wrong secret: to use it, even for a
/// logout, would be one more attempt that the vendor counts.
pub(super) fn judges_the_secret(failure: Failure) -> bool {
    match failure {
        Failure::Refused { class, .. } => match class {
            None
            | Some(
                RefusalClass::BadSecret
                | RefusalClass::Locked
                | RefusalClass::SecondFactor
                | RefusalClass::NotAllowed,
            ) => true,
            Some(
                RefusalClass::SlotsFull | RefusalClass::Throttled | RefusalClass::UpstreamBroken,
            ) => false,
        },
        Failure::Unreachable(_)
        | Failure::Unrecorded
        | Failure::Withdrawn
        | Failure::AnswerLost => false,
    }
}
