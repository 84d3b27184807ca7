//! Expectations, and what is on a connection behind a request.

use super::{LAST, SMUGGLED, Stage, get};
use crate::puppet::Reply;

/// Case 32. Fails when an expectation that is none makes two sides disagree about a body.
#[tokio::test]
async fn an_odd_expectation_desynchronises_nothing() {
    let stage = Stage::open().await;
    for expectation in [
        "expect: y 100-continue",
        "expect: 100-continue, y",
        "expect: 100-continue\r\nexpect: y",
        "expect: y\r\nexpect: 100-continue",
        "expect: 100-continue\r\nexpect: 100-continue",
        "expect: 100-Continue",
        "expect:",
        "expect: 200-ok",
        "expect : 100-continue",
        "expect:\r\n 100-continue",
    ] {
        for method in ["POST", "GET", "OPTIONS", "DELETE"] {
            let length = SMUGGLED.len();
            let head = format!(
                "{method} /v3/x HTTP/1.1\r\nhost: localhost\r\n{expectation}\r\n\
                 content-length: {length}\r\n\r\n"
            );
            // Some of them are a question to the upstream.
            stage.puppet.answer_expecting(Reply::go_on());
            let said = stage.say(format!("{head}{SMUGGLED}{LAST}")).await;
            let mut statuses = said.statuses();
            statuses.retain(|status| *status != "100");
            let name = format!("{method} {expectation}");
            let is_malformed = expectation.contains(" :") || expectation.contains("\r\n ");
            let calls = stage.puppet.take_calls();
            match is_malformed {
                true => assert_eq!((statuses, calls.len()), (vec!["400"], 0), "{name}"),
                false => {
                    assert_eq!(statuses, ["200", "200"], "{name}: {said:?}");
                    assert_eq!(calls.len(), 2, "{name}: {calls:?}");
                    assert!(calls[0].starts_with(&format!("{method} /v3/x ")), "{name}");
                    assert!(calls[0].ends_with(&format!("\r\n\r\n{SMUGGLED}")), "{name}");
                    assert!(calls[1].starts_with("GET /v3/last "), "{name}: {calls:?}");
                    assert!(!calls[0].contains(" y") && !calls[0].contains("200-ok"), "{name}");
                }
            }
        }
    }
}

/// Case 32. Fails when a client that waits for leave and sends at once loses bytes to the next
/// request, or the body's absence is taken for one.
#[tokio::test]
async fn an_expectation_without_a_body_waits_for_nothing() {
    let stage = Stage::open().await;
    for method in ["GET", "POST"] {
        let head = format!(
            "{method} /v3/x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
             content-length: 0\r\n\r\n"
        );
        let said = stage.say(format!("{head}{LAST}")).await;
        let mut statuses = said.statuses();
        statuses.retain(|status| *status != "100");
        assert_eq!(statuses, ["200", "200"], "{method}: {said:?}");
        let calls = stage.puppet.take_calls();
        assert!(calls[0].ends_with("\r\n\r\n") && calls[1].starts_with("GET /v3/last "));
    }
}

/// Case 43, of one connection. Fails when answers come in another order than requests, or one request
/// has two.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_once() {
    let stage = Stage::open().await;
    let one = "POST /v3/1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\none";
    let two = "POST /v3/2 HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
               3\r\ntwo\r\n0\r\n\r\n";
    let said = stage.say(format!("{one}{two}{}", get("/v3/3", ""))).await;
    assert_eq!(said.statuses(), ["200", "200", "200"]);
    let lines: Vec<String> =
        stage.puppet.calls().iter().map(|call| call.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["POST /v3/1 HTTP/1.1", "POST /v3/2 HTTP/1.1", "GET /v3/3 HTTP/1.1"]);
    let calls = stage.puppet.calls();
    assert!(calls[0].ends_with("\r\n\r\none") && calls[1].contains("3\r\ntwo\r\n0\r\n\r\n"));
}
