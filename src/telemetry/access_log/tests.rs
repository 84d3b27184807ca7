//! What lines look like, whatever clients send, and what becomes of them when nobody takes them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, StatusCode};

use super::*;
use crate::telemetry::{Decision, Pair, Request, RequestId, Sendings, Shown, Who};

fn request(path: &str, agent: &str) -> Request {
    let pair = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
    Request {
        id: RequestId::from_static("abc-1"),
        who: Some(Who::Client("alice".into())),
        peer: Some([192, 0, 2, 7].into()),
        listener: "main".into(),
        scheme: "https",
        protocol: "HTTP/2.0",
        route: Some("/v3".into()),
        upstream: Some("cms".into()),
        account: Some("editor".into()),
        grant: Some(0),
        method: Method::GET,
        path: path.to_owned(),
        sendings: Sendings::default(),
        server: None,
        trace: None,
        shown: Shown {
            query: vec![pair("page", "2"), pair("page", "3")],
            headers: vec![pair("user-agent", agent)],
        },
        decision: Decision::Forwarded,
        status: StatusCode::OK,
        reason: "forwarded",
        generation: Some(3),
        replayed: false,
        refused: None,
        awaited: false,
        waited: Some(Duration::from_micros(1)),
        session_after: None,
        head_after: Some(Duration::from_millis(2)),
        took: Duration::from_micros(12_345),
        body_bytes: 42,
        redacted: 0,
        decoded: None,
    }
}

#[test]
fn a_line_says_who_asked_for_what_and_what_came_of_it() {
    let at = UNIX_EPOCH + Duration::from_secs(971_211_336);
    let request = request("/v3/x", "curl/8");
    assert_eq!(
        combined::line(at, &request),
        "192.0.2.7 - alice [10/Oct/2000:20:55:36 +0000] \"GET /v3/x?page=2&page=3 HTTP/2.0\" 200 \
         42 \"-\" \"curl/8\" forwarded abc-1"
    );
    let line: serde_json::Value = serde_json::from_str(&json::line(at, &request)).unwrap();
    assert_eq!(line["at"], "2000-10-10T20:55:36.000000Z");
    assert_eq!(line["took_ms"], 12.345);
    assert_eq!(line["query"]["page"], serde_json::json!(["2", "3"]));
    assert_eq!(line["headers"]["user-agent"][0], "curl/8");
    assert_eq!((&line["reason"], &line["client"]), (&"forwarded".into(), &"alice".into()));
}

#[test]
fn no_text_of_a_client_ends_a_line_or_does_anything_to_a_terminal() {
    let request = request("/a\" 200 1\n/b", "\u{1b}[2J\u{202e}\\");
    let line = combined::line(UNIX_EPOCH, &request);
    assert!(line.contains(r#""GET /a\" 200 1\x0a/b?"#), "{line}");
    assert!(line.contains(r#""\x1b[2J\xe2\x80\xae\\""#), "{line}");
    let line = json::line(UNIX_EPOCH, &request);
    assert!(line.contains(r"\u001b[2J\u202e\\"), "{line}");
    assert!(!line.contains(|character: char| character < ' '));
}

#[test]
fn lines_that_nobody_takes_are_counted() {
    let (sender, lines) = sync_channel(1);
    let lost = Missing::default();
    let mut log = AccessLog { form: Form::Json, lines: sender, lost: lost.clone() };
    let event = Event::Request(Arc::new(request("/", "")));
    for _ in 0..3 {
        log.read(UNIX_EPOCH, &event);
    }
    log.dropped(5);
    assert_eq!(lost.count(), 7);
    assert_eq!(lines.try_iter().count(), 1);
}

#[test]
fn a_file_that_is_renamed_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let mut output = Output::file(&path).unwrap();
    output.write("first\n").unwrap();
    std::fs::rename(&path, &away).unwrap();
    output.write("second\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    output.write("third\n").unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!((text(&away), text(&path)), ("first\n".to_owned(), "third\n".to_owned()));
    assert!(Output::file(folder.path()).is_err());
}
