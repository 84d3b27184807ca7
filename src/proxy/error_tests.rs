//! The table of own answers and the document about it say the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One of each.
fn all() -> Vec<Problem> {
    vec![
        Problem::BadRequest("Host is missing"),
        Problem::AmbiguousPath(Ambiguity::DotSegment),
        Problem::AmbiguousRequest(Unreadable::Twice),
        Problem::MethodNotAllowed,
        Problem::MethodUnknown,
        Problem::TargetTooLong,
        Problem::ProtocolNotSupported,
        Problem::BadBody,
        Problem::BodyTimeout,
        Problem::NoRoute,
        Problem::MisdirectedHost,
        Problem::CrossOrigin,
        Problem::ClientKeyMissing,
        Problem::ClientKeyInvalid,
        Problem::ClientKeyExpired,
        Problem::LoginWithoutKey,
        Problem::BodyTooLong,
        Problem::LoginTooLong,
        Problem::ClientTokenInvalid,
        Problem::ClientTokenExpired,
        Problem::IssuerTokenInvalid(Flaw::Signature),
        Problem::IssuerTokenExpired,
        Problem::ClientUnknown,
        Problem::ClientAmbiguous,
        Problem::IssuerUnavailable,
        Problem::ClientKeyRevoked,
        Problem::ClientCertificateExpired,
        Problem::ClientConflicting,
        Problem::AccountNotGranted,
        Problem::NotGranted,
        Problem::RateLimited {
            whose: Whose::Account,
            retry_after: Duration::from_secs(1),
            rate: None,
            kind: None,
        },
        Problem::Overloaded(Whose::Client),
        Problem::EndpointClosed("why".to_owned()),
        Problem::LoginRefused,
        Problem::LoginHeldBack { retry_after: Duration::from_secs(1), cause: HoldCause::Throttled },
        Problem::LoginTimeout,
        Problem::UpstreamUnreachable(ErrorType::named("dns_error")),
        Problem::UpstreamConnectTimeout(ErrorType::named("connection_timeout")),
        Problem::UpstreamProhibited,
        Problem::UpstreamPaused { retry_after: Duration::from_secs(1) },
        Problem::UpstreamCircuitOpen { retry_after: Duration::from_secs(1) },
        Problem::UpstreamTimeout,
        Problem::UpstreamStalled,
        Problem::UpstreamBroken,
        Problem::UpstreamUnavailable,
        Problem::AnswerWithheld,
        Problem::ReplayBroken,
        Problem::Loop,
        Problem::AuditUnwritable,
        Problem::GatewayOverloaded,
        Problem::Stopping,
    ]
}

/// Code and status of every row of the tables.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let rows = include_str!("../../docs/ERRORS.md").lines().filter_map(|row| {
        let (anchor, rest) = row.strip_prefix("| <a id=\"")?.split_once("\"></a>`")?;
        let (code, rest) = rest.split_once("` | ")?;
        assert_eq!(anchor, code);
        let (status, _) = rest.split_once(" | ")?;
        status.parse::<u16>().is_ok().then_some((code, status))
    });
    rows.collect()
}

#[test]
fn the_document_of_errors_has_every_code_with_its_status_and_no_other() {
    let all = all();
    let codes: BTreeMap<_, _> =
        all.iter().map(|problem| (problem.code(), problem.status().as_u16().to_string())).collect();
    let documented = documented();
    let documented: BTreeMap<_, _> =
        documented.iter().map(|(code, status)| (*code, (*status).to_owned())).collect();
    assert_eq!(codes, documented);

    // The list above is whole: these are all codes that the source knows.
    let source = include_str!("error.rs");
    let source = source.split("pub fn code").nth(1).unwrap().split("pub fn").next().unwrap();
    let written: BTreeSet<&str> =
        source.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(codes.keys().copied().collect::<BTreeSet<_>>(), written);
}

#[test]
fn every_cause_of_holding_back_is_documented() {
    let document = include_str!("../../docs/ERRORS.md");
    for cause in [
        HoldCause::UnclassifiedRefusal,
        HoldCause::SlotsFull,
        HoldCause::Throttled,
        HoldCause::UpstreamBroken,
        HoldCause::Unreachable,
        HoldCause::AnswerLost,
    ] {
        assert!(document.contains(&format!("`{}`", cause.as_str())), "{cause:?}");
    }
}
