//! Bodies that nobody reads, and bodies that break off.

use doorward::access::key::ClientKey;

use super::{LAST, SMUGGLED, Stage};
use crate::client::Raw;
use crate::harness::{until, within};

/// Case 9. Fails when the body of a request that Doorward answers itself becomes the next request.
#[tokio::test]
async fn an_unread_body_never_becomes_the_next_request() {
    let key = ClientKey::generate("reader".parse().unwrap()).unwrap();
    let grants = "[{ paths = [\"/v3/x\", \"/v3/last\", \"/v3/smuggled\"] }]\n\
                  limits = { rate = { requests = 1, per = \"1h\" }, waiting_max = 0 }";
    let with_keys = Stage::with(|setup| setup.client("reader", &key, grants)).await;
    let open = Stage::open().await;
    let mine = format!("doorward-key: {}\r\n", key.expose());
    let mine = mine.as_str();
    for (stage, head, status) in [
        (&with_keys, "POST /v3/x HTTP/1.1\r\nhost: localhost\r\n".to_owned(), "401"),
        (&with_keys, format!("POST /v3/other HTTP/1.1\r\nhost: localhost\r\n{mine}"), "403"),
        (&with_keys, format!("POST /v3/x HTTP/1.1\r\nhost: localhost\r\n{mine}"), "200"),
        (&with_keys, format!("POST /v3/x HTTP/1.1\r\nhost: localhost\r\n{mine}"), "429"),
        (&open, "POST /v3/user/forgot_password HTTP/1.1\r\nhost: localhost\r\n".into(), "403"),
        (&open, "POST /v3/%00 HTTP/1.1\r\nhost: localhost\r\n".to_owned(), "400"),
        (&open, "POST /v3/x HTTP/1.1\r\nhost: evil.example\r\n".to_owned(), "421"),
        (&open, "TRACE /v3/x HTTP/1.1\r\nhost: localhost\r\n".to_owned(), "405"),
    ] {
        let length = SMUGGLED.len();
        let chunks = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        for body in [
            format!("content-length: {length}\r\n\r\n{SMUGGLED}"),
            format!("transfer-encoding: chunked\r\n\r\n{chunks}"),
        ] {
            let last = LAST.replacen("\r\n\r\n", &format!("\r\n{mine}\r\n"), 1);
            let said = stage.say(format!("{head}{body}{last}")).await;
            // The connection is closed, or goes on behind the body.
            assert!(matches!(said.statuses().len(), 1 | 2), "{head}: {said:?}");
            if status != "200" {
                assert_eq!(said.statuses()[0], status, "{head}: {said:?}");
            }
            for call in stage.puppet.take_calls() {
                assert!(!call.starts_with("GET /v3/smuggled"), "{head}: {call}");
            }
        }
    }
    // The body of a client's login has a bound, and what is behind it is no request either.
    let login = "POST /v3/user-session HTTP/1.1\r\nhost: localhost\r\n";
    let long = SMUGGLED.repeat(100_000);
    let whole = format!("{login}content-length: {}\r\n\r\n{long}{LAST}", long.len());
    let said = with_keys.say(whole).await;
    // The last one shows no key.
    assert!(matches!(said.statuses()[..], ["413"] | ["413", "401"]), "{said:?}");
    assert!(!with_keys.puppet.heard().contains("smuggled"));
}

/// Case 42. Fails when what a client left unfinished arrives as a whole.
#[tokio::test]
async fn what_breaks_off_is_never_whole() {
    let stage = Stage::open().await;
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\n";
    for (begun, bytes) in [
        (false, "POST /v3/x HTT".to_owned()),
        (false, format!("{head}content-le")),
        (false, format!("{head}content-length: 4\r\n")),
        (true, format!("{head}content-length: 8\r\n\r\nhalf")),
        (true, format!("{head}transfer-encoding: chunked\r\n\r\n8\r\nhalf")),
        (true, format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")),
        (true, format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n")),
        (true, format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nx: y\r\n")),
    ] {
        let (bodies, broken_off) = (stage.puppet.bodies_begun(), *stage.puppet.broken_off.borrow());
        let mut raw = Raw::connect(stage.scene.door(), stage.scene.record()).await;
        raw.write(&bytes).await;
        if begun {
            stage.puppet.body_begun(bodies + 1).await;
        }
        raw.end().await;
        raw.read_to_end().await;
        if begun {
            let mut watched = stage.puppet.broken_off.clone();
            within(watched.wait_for(|count| *count > broken_off)).await.unwrap();
        }
        assert!(stage.puppet.calls().is_empty(), "{bytes}: {:?}", stage.puppet.calls());
    }
    until("nothing ends the chunks", || !stage.puppet.heard().contains("0\r\n\r\n")).await;
    let whole = format!("{head}connection: close\r\ncontent-length: 4\r\n\r\nhalf");
    assert!(stage.arrives(whole).await.ends_with("\r\n\r\nhalf"));
}
