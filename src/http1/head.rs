//! Heads in bytes: where one ends, the names of its fields, a field that is written (RFC 9112
//! sections 2 and 5).

use std::sync::LazyLock;

use http::header::InvalidHeaderName;
use http::{HeaderName, header};
use memchr::memmem::Finder;

/// The end of a line and an empty one behind it, in the two ways in which lines end.
static EMPTY_LINES: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [b"\n\r\n".as_slice(), b"\n\n"].map(Finder::new));

/// Where the head ends in what was read, if its end has come since the last look. `looked_at` bytes
/// were there then.
pub fn end(read: &[u8], looked_at: usize) -> Option<usize> {
    // The empty line may have begun in what was there before.
    let from = looked_at.saturating_sub(2);
    let read = read.get(from..)?;
    let find = |line: &Finder<'_>, read| line.find(read).map(|at| at + line.needle().len());
    let [usual, bare] = &*EMPTY_LINES;
    let end = find(usual, read);
    // The other one counts where it comes first.
    let before = read.get(..end.unwrap_or(read.len()))?;
    find(bare, before).or(end).map(|end| from + end)
}

/// A field's name. Those that most messages have are known without a look into a table for each of
/// their bytes.
///
/// # Errors
/// When it is no token.
pub fn name(text: &str) -> Result<HeaderName, InvalidHeaderName> {
    Ok(match text {
        "Content-Type" | "content-type" => header::CONTENT_TYPE,
        "Content-Length" | "content-length" => header::CONTENT_LENGTH,
        "Connection" | "connection" => header::CONNECTION,
        "Cache-Control" | "cache-control" => header::CACHE_CONTROL,
        "Transfer-Encoding" | "transfer-encoding" => header::TRANSFER_ENCODING,
        // Of requests.
        "Host" | "host" => header::HOST,
        "User-Agent" | "user-agent" => header::USER_AGENT,
        "Accept" | "accept" => header::ACCEPT,
        "Accept-Encoding" | "accept-encoding" => header::ACCEPT_ENCODING,
        "Accept-Language" | "accept-language" => header::ACCEPT_LANGUAGE,
        "Authorization" | "authorization" => header::AUTHORIZATION,
        "Cookie" | "cookie" => header::COOKIE,
        // Of answers.
        "Date" | "date" => header::DATE,
        "Server" | "server" => header::SERVER,
        "ETag" | "Etag" | "etag" => header::ETAG,
        "Vary" | "vary" => header::VARY,
        "Set-Cookie" | "set-cookie" => header::SET_COOKIE,
        "Last-Modified" | "last-modified" => header::LAST_MODIFIED,
        _ => return HeaderName::from_bytes(text.as_bytes()),
    })
}

/// Whether a field is a list with this token in it.
pub fn lists(value: &[u8], token: &[u8]) -> bool {
    let mut members = value.split(|byte| *byte == b',');
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token))
}

/// Writes a field behind what is there.
pub fn field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Writes the field that tells how long the body is.
pub fn content_length(head: &mut Vec<u8>, length: u64) {
    field(head, &header::CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line_however_it_comes() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\na: b\r\n\r\nbody", Some(24)),
            ("GET / HTTP/1.1\na: b\n\nbody", Some(21)),
            ("GET / HTTP/1.1\na: b\n\n\r\nbody\n\n", Some(21)),
            ("GET / HTTP/1.1\na: b\n\r\n\nbody\n\n", Some(22)),
            ("GET / HTTP/1.1\r\na: b\r\n\r", None),
            ("GET / HTTP/1.1\r\n", None),
            ("", None),
        ] {
            for looked_at in 0..=expected.map_or(bytes.len(), |end| end - 1) {
                assert_eq!(end(bytes.as_bytes(), looked_at), expected, "{bytes:?} {looked_at}");
            }
        }
    }

    #[test]
    fn names_are_what_the_library_makes_of_them() {
        for text in [
            "Content-Type",
            "Content-Length",
            "Connection",
            "Cache-Control",
            "Transfer-Encoding",
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Authorization",
            "Cookie",
            "Date",
            "Last-Modified",
            "Server",
            "ETag",
            "Etag",
            "Vary",
            "Set-Cookie",
            "X-Other",
            "COOKIE",
        ] {
            for text in [text.to_owned(), text.to_lowercase()] {
                assert_eq!(name(&text).unwrap(), HeaderName::from_bytes(text.as_bytes()).unwrap());
            }
        }
        assert!(name("").is_err() && name("a b").is_err());
    }
}
