//! A line in the combined log format that web servers write and many programs read, with what decided
//! the answer and the request's id behind it.

use std::fmt::Write;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::telemetry::visible::is_hidden;
use crate::telemetry::{Pair, Request};

pub(super) fn line(at: SystemTime, request: &Request) -> String {
    let mut line = String::with_capacity(256);
    let peer = request.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    // Writing to a text cannot fail.
    _ = write!(line, "{peer} - ");
    escape(&mut line, request.client().unwrap_or("-"));
    _ = write!(line, " [{}] \"", time(at));
    escape(&mut line, request.method.as_str());
    line.push(' ');
    escape(&mut line, &request.path);
    for (number, Pair { name, value }) in request.shown.query.iter().enumerate() {
        line.push(if number == 0 { '?' } else { '&' });
        escape(&mut line, name);
        line.push('=');
        escape(&mut line, value);
    }
    let status = request.status.as_u16();
    _ = write!(line, " {}\" {status} {} ", request.protocol, request.body_bytes);
    for name in ["referer", "user-agent"] {
        let shown = request.shown.headers.iter().find(|pair| &*pair.name == name);
        line.push('"');
        escape(&mut line, shown.map_or("-", |pair| &pair.value));
        line.push_str("\" ");
    }
    _ = write!(line, "{} {}", request.reason, request.id);
    line
}

/// As Apache writes them: `\"`, `\\`, and `\xhh` for each byte of what cannot be seen.
fn escape(line: &mut String, text: &str) {
    for character in text.chars() {
        if character == '"' || character == '\\' {
            line.push('\\');
            line.push(character);
        } else if character < ' ' || is_hidden(character) {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                _ = write!(line, "\\x{byte:02x}");
            }
        } else {
            line.push(character);
        }
    }
}

fn time(at: SystemTime) -> String {
    let Ok(at) = Timestamp::try_from(at) else { return String::new() };
    at.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z").to_string()
}
