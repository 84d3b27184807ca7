//! What is asked of a server, through Doorward or directly, and what it answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tap::Seen;

/// How long any answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A request and what it must be answered. In its texts `{n}` stands for a number of the test's, `{value}` for a value
/// out of another answer or request.
#[derive(Clone, Copy)]
pub struct Ask {
    /// Method and target.
    pub to: &'static str,
    /// `Content-Type` and body.
    pub body: Option<(&'static str, &'static str)>,
    pub status: u16,
    /// What stands in the answer's body.
    pub shows: &'static str,
}

pub const JSON: &str = "application/json";
pub const FORM: &str = "application/x-www-form-urlencoded";

/// What an [`Ask`] was answered.
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: String,
}

impl Ask {
    /// Sends it with these header fields besides.
    pub async fn send(
        &self,
        address: SocketAddr,
        fields: &[(String, String)],
        n: u32,
        value: &str,
    ) -> Answer {
        let fill = |text: &str| text.replace("{n}", &n.to_string()).replace("{value}", value);
        let to = fill(self.to);
        let (method, target) = to.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, address.to_string())
            // Some servers answer browsers otherwise.
            .header(header::ACCEPT, JSON)
            .header(header::CONNECTION, "close");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let mut body = String::new();
        if let Some((kind, text)) = self.body {
            request = request.header(header::CONTENT_TYPE, kind);
            body = fill(text);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        timeout(ANSWER_TIME_MAX, send(address, request)).await.expect("an answer in time")
    }

    /// Whether a request that a server was sent is this one.
    pub fn is(&self, seen: &Seen, n: u32) -> bool {
        let fill = |text: &str| text.replace("{n}", &n.to_string());
        // What the recipe injects follows in the query, and in a form; the value may have become another.
        let to = seen.to.strip_prefix(fill(self.to).as_str());
        let is_to = to.is_some_and(|rest| rest.is_empty() || rest.starts_with('&'));
        let body = fill(self.body.map_or("", |(_, text)| text));
        let is_body = match body.split_once("{value}") {
            Some((before, _)) => seen.body.starts_with(before),
            None => seen.body == body || is_injected(&body, &seen.body),
        };
        is_to && is_body
    }

    /// Whether an answer is the one that must come.
    pub fn is_answered(&self, answer: &Answer, n: u32) -> bool {
        answer.status == self.status
            && answer.body.contains(&self.shows.replace("{n}", &n.to_string()))
    }
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let connection = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Answer {
        status: head.status.as_u16(),
        fields: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// Whether a form is the one that was sent, with one field more or in the place of its own.
fn is_injected(sent: &str, seen: &str) -> bool {
    let name = |field: &str| field.split('=').next().map(str::to_owned);
    seen.rsplit_once('&').is_some_and(|(before, injected)| {
        let kept = sent.split('&').filter(|field| name(field) != name(injected));
        before == kept.collect::<Vec<_>>().join("&")
    })
}
