//! Methods that are never forwarded, and those that say how far they may go.

use super::{Stage, get};

/// Case 21; `connect*`, `authority-form-get`. Fails when a tunnel is opened, or when an authority
/// passes for a target.
#[tokio::test]
async fn connect_and_targets_that_are_an_authority_are_refused() {
    let stage = Stage::open().await;
    for (target, host) in [
        ("localhost:80", "localhost:80"),
        ("127.0.0.1:22", "127.0.0.1:22"),
        ("evil.example:443", "evil.example:443"),
        ("169.254.169.254:80", "169.254.169.254:80"),
        ("[::1]:80", "localhost"),
        ("http://localhost/", "localhost"),
        ("/v3/x", "localhost"),
    ] {
        let line = format!("CONNECT {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let said = stage.refused(format!("{line}tunnelled bytes"), "405").await;
        assert!(said.0.to_lowercase().contains("\r\nallow: get"), "{said:?}");
    }
    for target in ["localhost:80", "localhost", "127.0.0.1:22", "evil.example:443", "[::1]:80"] {
        stage.refused(get(target, ""), "400").await;
    }
    assert!(!stage.puppet.heard().contains("tunnelled"));
    assert_eq!(stage.arrives(get("/v3/x", "")).await, "GET /v3/x HTTP/1.1\r\n\r\n");
}

/// Case 22; `trace*`. Fails when a method is forwarded that would show the injected token.
#[tokio::test]
async fn trace_is_refused_however_far_it_may_go() {
    let stage = Stage::open().await;
    for fields in ["", "max-forwards: 0\r\n", "max-forwards: 1\r\n", "max-forwards: 10\r\n"] {
        let bytes = get("/v3/x", fields).replacen("GET", "TRACE", 1);
        let said = stage.refused(bytes, "405").await;
        assert!(!said.0.contains("authtoken") && !said.0.contains("message/http"), "{said:?}");
    }
    // Methods have a case: another one is another method, and an upstream may know it.
    let track = get("/v3/x", "").replacen("GET", "TRACK", 1);
    stage.refused(track, "405").await;
}

/// Case 22. Fails when an OPTIONS goes further than it may (RFC 9110 section 7.6.2).
#[tokio::test]
async fn an_options_that_may_go_no_further_is_answered_here() {
    let stage = Stage::open().await;
    let options = |hops: &str| {
        get("/v3/x", &format!("max-forwards: {hops}\r\n")).replacen("GET", "OPTIONS", 1)
    };
    for hops in ["0", "00"] {
        let said = stage.refused(options(hops), "204").await;
        let said = said.0.to_lowercase();
        assert!(said.contains("\r\nallow: get, head, post"), "{said:?}");
        assert!(said.contains("answered in the upstream's place"), "{said:?}");
    }
    for (hops, left) in [("1", "0"), ("10", "9"), ("4294967296", "4294967295")] {
        let arrived = stage.arrives(options(hops)).await;
        assert_eq!(arrived, format!("OPTIONS /v3/x HTTP/1.1\r\nmax-forwards: {left}\r\n\r\n"));
    }
    for wrong in ["-1", "x", "", "1, 0", "99999999999999999999999"] {
        stage.refused(options(wrong), "400").await;
    }
    // It says nothing about other methods.
    let arrived = stage.arrives(get("/v3/x", "max-forwards: 0\r\n")).await;
    assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nmax-forwards: 0\r\n\r\n");
}
