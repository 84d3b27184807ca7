//! `doorward tap`: what a running gateway does, as it happens.

use std::io::{self, Write};

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::Exit;
use super::super::ink::{Colour, coloured};
use super::super::signals::StopSignals;
use super::door::{AskError, Door};
use super::words::plain;
use super::{Gateway, Shown, runtime, tell};
use crate::admin::answers::{Login, LoginOutcome, Lost, Request, SessionChange};
use crate::secret::Environment;

/// The longest event, in bytes: a path of the longest head, with all its characters escaped.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Watch requests, logins and changes of sessions as they happen; nothing secret is shown. With
/// --client, --status or --path, such requests alone
#[derive(Clone, Debug, clap::Args)]
pub struct Tap {
    #[command(flatten)]
    gateway: Gateway,
    /// Requests of this client alone
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// What is about this upstream alone
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Requests with such a status alone: 404, 4xx or '>=400'
    #[arg(long)]
    status: Option<String>,
    /// Requests at such a path alone; `*` stands for any characters
    #[arg(long)]
    path: Option<String>,
    /// Print one JSON object a line, as is done where standard output is no terminal
    #[arg(long)]
    json: bool,
}

impl Tap {
    /// Prints each event to `out` until a signal comes or the gateway ends, and to `errors` why
    /// nothing is known.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        shown: Shown,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let door = match self.gateway.door(environment) {
            Ok(door) => door,
            Err(error) => return tell(&error, errors),
        };
        match runtime()?.block_on(self.watch(&door, shown, out)) {
            Ok(exit) => Ok(exit),
            Err(Ended::Ask(error)) => tell(&error, errors),
            Err(Ended::Out(error)) => Err(error),
        }
    }

    async fn watch(&self, door: &Door, shown: Shown, out: &mut impl Write) -> Result<Exit, Ended> {
        let mut signals = StopSignals::catch()?;
        let response = door.stream(&self.target()).await?;
        let (mut body, mut events) = (response.into_body(), Events::default());
        let is_json = shown.is_json(self.json);
        loop {
            let piece = tokio::select! {
                piece = next(&mut body) => piece?,
                () = signals.next() => return Ok(Exit::Ok),
            };
            // The gateway has ended.
            let Some(piece) = piece else { return Ok(Exit::Ok) };
            events.push(&piece)?;
            while let Some((kind, data)) = events.next() {
                let line = match is_json {
                    true => Some(tagged(&kind, &data)),
                    false => line(&kind, &data, shown),
                };
                if let Some(line) = line {
                    writeln!(out, "{line}")?;
                }
            }
            out.flush()?;
        }
    }

    fn target(&self) -> String {
        // Logins have no client, no status and no path.
        let is_of_requests =
            [&self.client, &self.status, &self.path].iter().any(|one| one.is_some());
        let events = if is_of_requests { "request" } else { "request,login,session" };
        let mut target = format!("/admin/v1/live?events={events}");
        for (name, value) in [
            ("client", &self.client),
            ("upstream", &self.upstream),
            ("status", &self.status),
            ("path", &self.path),
        ] {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                target.push_str(&format!("&{name}={value}"));
            }
        }
        target
    }
}

/// Why nothing more comes.
enum Ended {
    Ask(AskError),
    Out(io::Error),
}

impl From<AskError> for Ended {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Out(error)
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Vec<u8>>, AskError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| AskError::Broken(io::Error::other(error)))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data.to_vec()));
        }
    }
    Ok(None)
}

/// Server-sent events as they come, in whatever pieces. Doorward writes each with LF, and its data in
/// one line.
#[derive(Default)]
struct Events(Vec<u8>);

impl Events {
    fn push(&mut self, piece: &[u8]) -> Result<(), AskError> {
        if self.0.len() + piece.len() > EVENT_BYTES_MAX {
            return Err(AskError::NotUnderstood("an event without an end".to_owned()));
        }
        self.0.extend_from_slice(piece);
        Ok(())
    }

    /// The kind and the data of the next whole event.
    fn next(&mut self) -> Option<(String, String)> {
        loop {
            let end = self.0.windows(2).position(|two| two == b"\n\n")?;
            let event: Vec<u8> = self.0.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event).into_owned();
            let field = |name: &str| {
                let mut lines = event.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            // What has no data is a comment that keeps the connection alive.
            if let Some(data) = field("data") {
                return Some((field("event").unwrap_or("message").to_owned(), data.to_owned()));
            }
        }
    }
}

/// The event with its kind as the first member.
fn tagged(kind: &str, data: &str) -> String {
    match serde_json::from_str::<serde_json::Map<_, _>>(data) {
        Ok(members) => {
            let kind = ("event".to_owned(), serde_json::Value::from(kind));
            let all: serde_json::Map<_, _> = std::iter::once(kind).chain(members).collect();
            serde_json::Value::Object(all).to_string()
        }
        Err(_) => data.to_owned(),
    }
}

/// A line for people; nothing of an event that this version does not know.
fn line(kind: &str, data: &str, shown: Shown) -> Option<String> {
    let ink = |colour, text: &str| coloured(shown.paint, colour, &plain(text));
    match kind {
        "request" => {
            let one: Request = serde_json::from_str(data).ok()?;
            let status = StatusCode::from_u16(one.status).ok();
            let colour = match status {
                Some(status) if status.is_server_error() => Colour::Red,
                Some(status) if status.is_client_error() => Colour::Yellow,
                _ => Colour::Green,
            };
            Some(format!(
                "{}  {:<10}  {}  {}  {}  {}",
                clock_time(&one.at),
                plain(one.client.as_deref().unwrap_or("-")),
                plain(&format!("{:<6} {}", one.method, one.path)),
                ink(colour, &one.status.to_string()),
                plain(one.upstream.as_deref().unwrap_or("-")),
                ink(Colour::Grey, &one.story),
            ))
        }
        "login" => {
            let one: Login = serde_json::from_str(data).ok()?;
            let (colour, outcome) = match one.outcome {
                LoginOutcome::LoggedIn => {
                    let number = one.generation.unwrap_or(0);
                    (Colour::Green, format!("session {number} in {} ms", one.took_ms))
                }
                LoginOutcome::Failed => {
                    let cause = one.cause.as_deref().unwrap_or("unknown");
                    (Colour::Red, format!("failed after {} ms: {cause}", one.took_ms))
                }
            };
            let subject = format!("login {}.{} ({})", one.upstream, one.account, one.trigger);
            let at = clock_time(&one.at);
            Some(format!("{at}  {}  {}", plain(&subject), ink(colour, &outcome)))
        }
        "session" => {
            let one: SessionChange = serde_json::from_str(data).ok()?;
            let session = one.generation.map(|number| format!(" session {number}"));
            let names: Vec<_> = one.upstream.iter().chain(&one.account).cloned().collect();
            let subject = names.join(".") + &session.unwrap_or_default();
            let (at, what) = (clock_time(&one.at), plain(&one.what));
            Some(format!("{at}  {what} {}  {}", plain(&subject), plain(&one.detail)))
        }
        "lost" => {
            let Lost { lost } = serde_json::from_str(data).ok()?;
            Some(ink(Colour::Yellow, &format!("{lost} events were missed: they came too fast")))
        }
        _ => None,
    }
}

/// The time of day, in UTC.
fn clock_time(at: &str) -> String {
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    plain(time.split('.').next().unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when an event is lost that comes in pieces, or beside others.
    #[test]
    fn events_are_read_in_whatever_pieces_they_come() {
        let stream =
            b":\n\nevent: request\nid: 1\ndata: {\"a\":1}\n\nevent: lost\ndata: {\"lost\":2}\n\n";
        for size in [1, 2, 7, 1000] {
            let (mut events, mut read) = (Events::default(), Vec::new());
            for piece in stream.chunks(size) {
                assert!(events.push(piece).is_ok());
                read.extend(std::iter::from_fn(|| events.next()));
            }
            let expected = [("request", "{\"a\":1}"), ("lost", "{\"lost\":2}")];
            let expected: Vec<_> =
                expected.map(|(kind, data)| (kind.to_owned(), data.to_owned())).into();
            assert_eq!(read, expected);
        }
        assert_eq!(tagged("lost", "{\"lost\":2}"), "{\"event\":\"lost\",\"lost\":2}");
    }
}
