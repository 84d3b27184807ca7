//! Heads: their bounds, and what stands before them.

use super::{SMUGGLED, Stage, get};

/// Case 40; `rl-method-long`. Fails when a head is read without a bound, or when what is too long is
/// forwarded.
#[tokio::test]
async fn heads_have_bounds() {
    let stage = Stage::open().await;
    let numbered = |count: usize| -> String {
        (0..count).map(|number| format!("x-{number}: 1\r\n")).collect()
    };
    let cookies = |count: usize| -> String {
        (0..count).map(|number| format!("cookie: c{number}=1\r\n")).collect()
    };
    let long = |bytes: usize| "x".repeat(bytes);
    for (what, bytes, expected) in [
        ("a field of 64 KiB", get("/v3/x", &format!("x-long: {}\r\n", long(64 << 10))), "431"),
        ("a field of 1 MiB", get("/v3/x", &format!("x-long: {}\r\n", long(1 << 20))), "431"),
        ("a name of 64 KiB", get("/v3/x", &format!("{}: 1\r\n", long(64 << 10))), "431"),
        ("200 fields", get("/v3/x", &numbered(200)), "431"),
        ("100 000 fields", get("/v3/x", &numbered(100_000)), "431"),
        ("10 000 cookies", get("/v3/x", &cookies(10_000)), "431"),
        ("one cookie of 100 KiB", get("/v3/x", &format!("cookie: {}\r\n", long(100 << 10))), "431"),
        ("a target of 40 KiB", get(&format!("/v3/{}", long(40 << 10)), ""), "414"),
        ("a query of 40 KiB", get(&format!("/v3/x?{}", long(40 << 10)), ""), "414"),
        ("a method of 20 KB", get("/v3/x", "").replacen("GET", &long(20_000), 1), "501"),
        ("a method of 40 bytes", get("/v3/x", "").replacen("GET", &long(40), 1), "501"),
    ] {
        let said = stage.say(format!("{bytes}{SMUGGLED}")).await;
        assert_eq!(said.statuses(), [expected], "{what}: {said:?}");
        let code = match expected {
            "414" => "target_too_long",
            "501" => "method_unknown",
            // The library's own.
            _ => "",
        };
        assert_eq!(said.codes().join(""), code, "{what}: {said:?}");
        assert!(stage.puppet.calls().is_empty(), "{what}");
    }
    let target = format!("/v3/{}", long(64 << 10));
    let said = stage.say(get(&target, "")).await;
    assert!(matches!(said.statuses()[..], ["414" | "431"]), "{said:?}");
    // Below the bounds it arrives, byte by byte.
    let fields = format!("{}x-long: {}\r\n", numbered(50), long(8 << 10));
    let target = format!("/v3/x?{}", long(8 << 10));
    let arrived = stage.arrives(get(&target, &fields)).await;
    assert!(arrived.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{arrived}");
    assert!(arrived.contains(&format!("x-long: {}\r\n", long(8 << 10))));
    let method = get("/v3/x", "").replacen("GET", "BASELINE-CONTROL", 1);
    assert_eq!(stage.arrives(method).await, "BASELINE-CONTROL /v3/x HTTP/1.1\r\n\r\n");
}

/// Case 67. Fails when a peer that nobody listed says where it comes from in front of HTTP.
#[tokio::test]
async fn a_proxy_protocol_header_from_anybody_is_no_http() {
    let stage = Stage::open().await;
    let first = b"PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n".to_vec();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let second =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x7f\0\0\x01\0\x01\0\x50".to_vec();
    for header in [first, unknown, second] {
        let bytes = [&header[..], get("/v3/x", "").as_bytes()].concat();
        stage.refused(bytes, "400").await;
    }
    assert_eq!(stage.arrives(get("/v3/x", "")).await, "GET /v3/x HTTP/1.1\r\n\r\n");
}

/// Case 43. Fails when what follows a bad request is answered, or when a good one before it is not.
#[tokio::test]
async fn after_a_bad_request_nothing_more_is_answered() {
    let stage = Stage::open().await;
    let good = "GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for bad in [
        "GET /v3/bad HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /v3/bad HTTP/1.1\r\nhost: localhost\r\nx : y\r\n\r\n",
        "GET  /v3/bad HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v3/bad HTTP/9.9\r\nhost: localhost\r\n\r\n",
        "GET /v3/bad\r\n\r\n",
        "\0\r\n\r\n",
        "POST /v3/bad HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
    ] {
        let said = stage.say(format!("{good}{bad}{good}{good}")).await;
        assert_eq!(said.statuses(), ["200", "400"], "{bad}: {said:?}");
        let calls = stage.puppet.take_calls();
        assert_eq!(calls.len(), 1, "{bad}: {calls:?}");
        assert!(calls[0].starts_with("GET /v3/x "), "{bad}: {calls:?}");
    }
    let said = stage.say(format!("{good}{good}{}", get("/v3/x", ""))).await;
    assert_eq!(said.statuses(), ["200", "200", "200"]);
}
