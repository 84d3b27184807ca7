//! Step 0 of the walk: what the client asks for, or why it cannot be understood. What is ambiguous
//! is refused here, before anything is decided on it.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Version, header};

use super::Shared;
use super::error::Problem;
use crate::forward::hop::Origin;
use crate::route::Canonical;

/// A longer target is refused with 400 by us if the server has not refused it with 414 already.
const TARGET_BYTES_MAX: usize = 32 * 1024;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The authority, as the client wrote it.
    pub(super) host: &'a str,
    /// Path and query in the client's own bytes.
    pub(super) target: &'a PathAndQuery,
    /// The copy of the path that everything is decided on.
    pub(super) canonical: Canonical,
}

pub(super) fn call<'a>(
    shared: &Shared,
    origin: &Origin,
    head: &'a Parts,
) -> Result<Call<'a>, Problem> {
    if matches!(head.method, Method::TRACE | Method::CONNECT) {
        return Err(Problem::MethodNotAllowed);
    }
    framing(&head.headers)?;
    underscores(&head.headers)?;
    let host = host(origin, head)?;
    if shared.via.is_in(&head.headers) {
        return Err(Problem::Loop);
    }
    let target = head.uri.path_and_query().filter(|target| target.path().starts_with('/'));
    let target = target.ok_or(Problem::BadRequest("the request target has no path"))?;
    if target.as_str().len() > TARGET_BYTES_MAX {
        return Err(Problem::BadRequest("the request target is too long"));
    }
    Ok(Call { host, target, canonical: Canonical::of(target.path()) })
}

/// One way to tell where the body ends (RFC 9112 section 6).
fn framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Problem::BadRequest("Transfer-Encoding can only be `chunked`")),
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
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
fn underscores(headers: &HeaderMap) -> Result<(), Problem> {
    const DECISIVE: [&str; 5] =
        ["transfer-encoding", "content-length", "host", "authorization", "cookie"];
    let mut names =
        headers.keys().map(HeaderName::as_str).filter(|name| name.as_bytes().contains(&b'_'));
    match names.any(|name| DECISIVE.contains(&name.replace('_', "-").as_str())) {
        true => Err(Problem::BadRequest("a field name with `_` passes for another field")),
        false => Ok(()),
    }
}

/// The authority: from the target where it has one (RFC 9112 section 3.2.2), else from the one
/// `Host`.
fn host<'a>(origin: &Origin, head: &'a Parts) -> Result<&'a str, Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let field = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Problem::BadRequest("Host is there twice")),
        (Some(host), None) => {
            Some(host.to_str().map_err(|_| Problem::BadRequest("Host is no host"))?)
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
            port.is_empty() || port.strip_prefix(':').is_some_and(is_port)
        });
    match valid && is_authority {
        true => Ok(host),
        false => Err(Problem::BadRequest("Host is no host")),
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}
