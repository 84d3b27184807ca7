//! Step 0 of the walk: what the client asks for, or why it cannot be understood. What is ambiguous
//! is refused here, before anything is decided on it.

use std::net::Ipv6Addr;

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderName, Method, Version, header};

use super::Shared;
use super::error::Problem;
use super::message::Head;
use crate::access;
use crate::fields::{self, Fields};
use crate::forward::hop::{self, Origin};
use crate::route::Canonical;

/// A longer target is refused by us, if the server has not done so already.
const TARGET_BYTES_MAX: usize = 32 * 1024;

/// No method that is registered has more than half of it (RFC 9110 section 16.1).
const METHOD_BYTES_MAX: usize = 32;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The authority, as the client wrote it.
    pub(super) host: &'a str,
    /// Path and query in the client's own bytes.
    pub(super) target: Cow<'a, PathAndQuery>,
    /// The copy of the path that everything is decided on.
    pub(super) canonical: Canonical,
    /// How often an OPTIONS may still be forwarded, where it says so.
    pub(super) forwards_left: Option<u64>,
}

pub(super) fn call<'a>(
    shared: &Shared,
    origin: &Origin,
    head: &'a Head,
) -> Result<Call<'a>, Problem> {
    // TRACK is what some servers call their TRACE.
    if matches!(head.method, Method::TRACE | Method::CONNECT) || head.method == *"TRACK" {
        return Err(Problem::MethodNotAllowed);
    }
    if head.method.as_str().len() > METHOD_BYTES_MAX {
        return Err(Problem::MethodUnknown);
    }
    framing(&head.headers)?;
    underscores(&head.headers)?;
    let host = host(origin, head)?;
    if shared.via.is_in(&head.headers) {
        return Err(Problem::Loop);
    }
    let target = target(head)?;
    if target.as_str().len() > TARGET_BYTES_MAX {
        return Err(Problem::TargetTooLong);
    }
    let canonical = Canonical::of(target.path());
    Ok(Call { host, target, canonical, forwards_left: forwards_left(head)? })
}

/// Path and query. An absolute form may have a query and no path, which is `/` (RFC 9112 section
/// 3.2.1).
fn target(head: &Head) -> Result<Cow<'_, PathAndQuery>, Problem> {
    let no_path = Problem::BadRequest("the request target has no path");
    match head.uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => Ok(Cow::Borrowed(target)),
        Some(target) if target.as_str().starts_with('?') && head.version < Version::HTTP_2 => {
            let target = PathAndQuery::try_from(format!("/{}", target.as_str()));
            target.map(Cow::Owned).map_err(|_| no_path)
        }
        _ => Err(no_path),
    }
}

/// How often an OPTIONS may still be forwarded (RFC 9110 section 7.6.2).
fn forwards_left(head: &Head) -> Result<Option<u64>, Problem> {
    if head.method != Method::OPTIONS {
        return Ok(None);
    }
    let mut fields = head.headers.get_all(header::MAX_FORWARDS);
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return match head.headers.contains(header::MAX_FORWARDS) {
            true => Err(Problem::BadRequest("Max-Forwards is there twice")),
            false => Ok(None),
        };
    };
    let digits = fields::text(field).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let left = digits.and_then(|digits| digits.parse().ok());
    left.map(Some).ok_or(Problem::BadRequest("Max-Forwards is no number"))
}

/// One way to tell where the body ends (RFC 9112 section 6).
fn framing(headers: &Fields) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING);
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Problem::BadRequest("Transfer-Encoding can only be `chunked`")),
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH);
    match (lengths.next(), lengths.next()) {
        (Some(_), _) if chunked => {
            Err(Problem::BadRequest("Content-Length and Transfer-Encoding exclude each other"))
        }
        (Some(_), Some(_)) => Err(Problem::BadRequest("Content-Length is there twice")),
        _ => Ok(()),
    }
}

/// Names with `_` pass for names with `-` in some servers: refused where they could decide
/// something, dropped later where the upstream does not read them.
fn underscores(headers: &Fields) -> Result<(), Problem> {
    const DECISIVE: [&str; 5] =
        ["transfer-encoding", "content-length", "host", "authorization", "cookie"];
    let names = headers.names().filter(|name| !hop::is_plain(name)).map(HeaderName::as_str);
    let mut names = names.filter(|name| name.as_bytes().contains(&b'_'));
    match names.any(|name| DECISIVE.contains(&name.replace('_', "-").as_str())) {
        true => Err(Problem::BadRequest("a field name with `_` passes for another field")),
        false => Ok(()),
    }
}

/// The authority: from the target where it has one (RFC 9112 section 3.2.2), else from the one
/// `Host`.
fn host<'a>(origin: &Origin, head: &'a Head) -> Result<&'a str, Problem> {
    let mut hosts = head.headers.get_all(header::HOST);
    let field = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Problem::BadRequest("Host is there twice")),
        (Some(host), None) => {
            Some(fields::text(host).ok_or(Problem::BadRequest("Host is no host"))?)
        }
        (None, _) => None,
    };
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Problem::BadRequest("the request target is of another protocol"));
    }
    let host = match (head.uri.authority(), field) {
        (Some(authority), Some(field)) if !authority.as_str().eq_ignore_ascii_case(field) => {
            return Err(Problem::BadRequest("Host and the request target name different hosts"));
        }
        (Some(authority), _) => authority.as_str(),
        (None, Some("")) if head.version > Version::HTTP_10 => {
            return Err(Problem::BadRequest("Host is empty"));
        }
        (None, Some(field)) => field,
        (None, None) if head.version == Version::HTTP_10 => "",
        (None, None) => return Err(Problem::BadRequest("Host is missing")),
    };
    if origin.knows(host) {
        return Ok(host);
    }
    let valid = host.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    });
    let is_authority = host.is_empty()
        || host.parse::<http::uri::Authority>().is_ok_and(|authority| {
            // Whatever stands behind the host must be a port (RFC 3986 section 3.2.3).
            let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
            is_name(authority.host())
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    match valid && is_authority {
        // Upstreams are told it.
        true if access::holds_credential(host.as_bytes()) => {
            Err(Problem::BadRequest("Host holds a client key or token"))
        }
        true => Ok(host),
        false => Err(Problem::BadRequest("Host is no host")),
    }
}

/// A name, or an address, which has brackets if it is one with colons (RFC 3986 section 3.2.2).
fn is_name(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(address) => {
            address.strip_suffix(']').is_some_and(|one| one.parse::<Ipv6Addr>().is_ok())
        }
        None => {
            let name = host.strip_suffix('.').unwrap_or(host);
            !name.contains(['[', ']', ':']) && name.split('.').all(|label| !label.is_empty())
        }
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}
