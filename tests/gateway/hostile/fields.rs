//! Fields that no field may be, and fields by which a client would be somebody else or ask for
//! something else.

use std::collections::BTreeSet;

use doorward::emulator::Vendor;

use super::{Stage, exact, get};
use crate::puppet::{Puppet, Reply};

/// Case 15. Fails when a byte is taken into a field that no field may hold.
#[tokio::test]
async fn control_bytes_in_a_field_are_refused() {
    let stage = Stage::open().await;
    let controls = (0..=0x1f_u8).filter(|byte| !matches!(byte, b'\t' | b'\n')).chain([0x7f]);
    for byte in controls {
        let parts = [b"GET /v3/x HTTP/1.1\r\nhost: localhost\r\nx-a: a", &[byte][..], b"b\r\n\r\n"];
        stage.refused(parts.concat(), "400").await;
    }
    for byte in
        (0..=0x20_u8).filter(|byte| *byte != b'\n').chain(*b"\"(),/;<=>?@[\\]{}\x7f\x80\xff")
    {
        let parts = [b"GET /v3/x HTTP/1.1\r\nhost: localhost\r\nx", &[byte][..], b"a: b\r\n\r\n"];
        stage.refused(parts.concat(), "400").await;
    }
    let arrived = stage.arrives(get("/v3/x", "x-a: \t a\tb \t\r\nx!#$%&'*+-.^`|~1: c\r\n")).await;
    assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nx!#$%&'*+-.^`|~1: c\r\nx-a: a\tb\r\n\r\n");
}

/// Cases 16 to 18. Fails when a name is empty or followed by a blank, or when a line goes on in the
/// next one.
#[tokio::test]
async fn empty_names_blanks_behind_names_and_folded_lines_are_refused() {
    let stage = Stage::open().await;
    for field in [
        ": empty",
        " : empty",
        ":",
        "x-a : b",
        "x-a\t: b",
        "content-length : 4",
        "transfer-encoding : chunked",
        "doorward-key : x",
        "no colon",
        "x-a: b\r\n c",
        "x-a: b\r\n\tc",
        "x-a:\r\n b",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding: chunked\r\n , identity",
        "doorward-key:\r\n doorward_a",
        "content-length: 4\r\n 4",
    ] {
        stage.refused(get("/v3/x", &format!("{field}\r\n")), "400").await;
    }
    stage.refused("GET /v3/x HTTP/1.1\r\n x: y\r\nhost: localhost\r\n\r\n", "400").await;
    assert_eq!(
        stage.arrives(get("/v3/x", "x-a:b\r\n")).await,
        "GET /v3/x HTTP/1.1\r\nx-a: b\r\n\r\n"
    );
}

/// Case 23; `hop-by-hop-strip`. Fails when `Connection` takes away what is put in, what the gateway
/// says of the client, or how the message is framed; or when it does not take away what it may.
#[tokio::test]
async fn connection_nominates_nothing_of_ours() {
    let stage = Stage::open().await;
    for nominated in [
        "authtoken",
        "close, authtoken",
        "cookie",
        "x-forwarded-for",
        "Forwarded, X-Forwarded-Host, X-Forwarded-Proto, Via, X-Request-Id",
        "host",
        "content-length",
        "Content-Length, Transfer-Encoding, Host, AuthToken",
    ] {
        let head = format!(
            "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\nauthtoken: mine\r\n\
             connection: {nominated}\r\nconnection: close\r\n\r\nfour"
        );
        // That each field of ours is there once, `exact` sees to.
        let arrived = stage.arrives(&head).await;
        assert_eq!(arrived, "POST /v3/x HTTP/1.1\r\ncontent-length: 4\r\n\r\nfour", "{nominated}");
        let chunked = head
            .replace("content-length: 4", "transfer-encoding: chunked")
            .replace("\r\n\r\nfour", "\r\n\r\n4\r\nfour\r\n0\r\n\r\n");
        let arrived = stage.arrives(&chunked).await;
        let expected =
            "POST /v3/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n";
        assert_eq!(arrived, expected, "{nominated}");
    }
    let fields = "x-one: 1\r\nx-two: 2\r\nX-Three: 3\r\nkeep-alive: timeout=5\r\nte: trailers\r\n\
                  proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\n\
                  proxy-authenticate: Basic\r\nhttp2-settings: AAMAAABk\r\ntrailer: x\r\n\
                  connection: X-One,,\tx-three , x-absent\r\n";
    let arrived = stage.arrives(get("/v3/x", fields)).await;
    assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nx-two: 2\r\n\r\n");
}

/// Case 23, for what is looked for in all other fields. Fails when `Connection` takes a bearer token
/// away before its repetition elsewhere was looked for.
#[tokio::test]
async fn a_nominated_bearer_token_is_repeated_nowhere() {
    let stage = Stage::open().await;
    let token = format!("{}.{}.{}", "eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiJhIn0", "c2lnbmF0dXJl");
    let fields = format!(
        "authorization: Bearer {token}\r\nx-copy: a {token} b\r\nx-kept: 1\r\n\
         connection: authorization\r\n"
    );
    let arrived = stage.arrives(get("/v3/x", &fields)).await;
    assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nx-kept: 1\r\n\r\n");
    assert!(!stage.puppet.heard().contains(&token));
}

/// Case 24. Fails when a session that the client invents travels on beside ours, or in its place.
#[tokio::test]
async fn what_a_client_says_is_its_session_is_replaced() {
    let stage = Stage::open().await;
    for fields in [
        "authtoken: mine\r\n",
        "AuthToken: mine\r\nAUTHTOKEN: mine too\r\n",
        "authtoken:\r\nauthtoken: mine\r\nauthorization: Bearer mine\r\n",
        "cookie: authtoken=mine; a=b\r\nCookie: c=d\r\n",
    ] {
        let arrived = stage.arrives(get("/v3/x", fields)).await;
        assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\n\r\n", "{fields}");
    }
    // The same where the session is a cookie.
    let puppet = Puppet::start(|request| match request.contains("/session/login") {
        true => Reply::keep(
            "HTTP/1.1 204 No Content\r\nset-cookie: JSESSIONID=ours; Path=/; HttpOnly\r\n\r\n",
        ),
        false => Reply::json("{}"),
    })
    .await;
    let scene = puppet.scene(Vendor::ThoughtSpot).await;
    let stage = Stage { puppet, scene };
    for fields in [
        "cookie: JSESSIONID=mine\r\n",
        "COOKIE: jsessionid=mine; JSESSIONID=mine\r\ncookie: a=b; JSESSIONID=mine\r\n",
        "cookie: $Version=1; JSESSIONID=mine\r\nCookie2: JSESSIONID=mine\r\n",
    ] {
        let said = stage.say(get("/api/rest/2.0/system", fields)).await;
        assert_eq!(said.statuses(), ["200"], "{said:?}");
        let call = stage.puppet.requests().pop().unwrap();
        let cookies: Vec<&str> =
            call.lines().filter(|line| line.to_lowercase().contains("jsessionid")).collect();
        assert_eq!(cookies, ["cookie: JSESSIONID=ours"], "{fields}: {call}");
    }
}

/// Case 25. Fails when a name with `_` travels on, or decides something.
#[tokio::test]
async fn names_with_underscores_pass_for_nothing() {
    let stage = Stage::open().await;
    for name in ["Content_Length", "content_length", "Transfer_Encoding", "Host_", "Cookie_"]
        .into_iter()
        .filter(|name| !name.ends_with('_'))
    {
        stage.refused(get("/v3/x", &format!("{name}: 5\r\n")), "400").await;
    }
    for name in [
        "auth_token",
        "x_forwarded_for",
        "X_Request_Id",
        "doorward_key",
        "x_gateway_key",
        "_",
        "a_b",
    ] {
        let arrived = stage.arrives(get("/v3/x", &format!("{name}: 5\r\nx-b: 1\r\n"))).await;
        assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nx-b: 1\r\n\r\n", "{name}");
    }
    // The vendor's own name is known to the recipe.
    let arrived = stage.arrives(get("/v3/x", "api_key: 5\r\n")).await;
    assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\napi_key: 5\r\n\r\n");
}

/// Case 26; `xff-*`. Fails when what a client says of its own origin, or of another target or method,
/// travels on or is believed.
#[tokio::test]
async fn what_a_client_says_of_where_it_comes_from_is_set_anew() {
    let stage = Stage::open().await;
    let names = [
        "Forwarded",
        "X-Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-User",
        "X-Real-Ip",
        "X-Client-Ip",
        "X-Cluster-Client-Ip",
        "X-Originating-Ip",
        "X-Remote-Ip",
        "X-Remote-Addr",
        "True-Client-Ip",
        "Cf-Connecting-Ip",
        "Fastly-Client-Ip",
        "X-Original-Url",
        "X-Original-Uri",
        "X-Original-Host",
        "X-Original-Method",
        "X-Rewrite-Url",
        "X-Host",
        "X-Http-Host-Override",
        "X-Http-Method",
        "X-Http-Method-Override",
        "X-Method-Override",
        "X-Url-Scheme",
        "Front-End-Https",
        "X-Request-Id",
    ];
    for name in names {
        let fields = format!("{name}: 6.6.6.6\r\n{}: 6.6.6.6\r\nx-b: 1\r\n", name.to_lowercase());
        let arrived = stage.arrives(get("/v3/x", &fields)).await;
        assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\nx-b: 1\r\n\r\n", "{name}");
    }
    assert!(!stage.puppet.heard().contains("6.6.6.6"));
    let all: String = names.iter().map(|name| format!("{name}: localhost\r\n")).collect();
    // None of them makes a foreign host one of this machine, nor one request another.
    let foreign = get("/v3/x", &all).replacen("host: localhost", "host: evil.example", 1);
    let said = stage.say(foreign).await;
    assert_eq!((said.statuses(), said.codes()), (vec!["421"], vec!["misdirected_host"]));
    let deleting = get("/v3/user-session", "x-http-method-override: DELETE\r\n");
    let said = stage.say(deleting).await;
    assert!(stage.puppet.calls().is_empty() || said.statuses() == ["200"]);
    assert!(!stage.puppet.heard().contains("DELETE /v3/user-session"));
}

/// Cases 23 to 26 together, in one message. Fails when a field of the session or of the gateway is
/// there twice, whatever stands around it.
#[tokio::test]
async fn a_message_with_everything_wrong_arrives_clean() {
    let stage = Stage::open().await;
    let fields = "connection: authtoken, host, via, x-request-id, keep-alive\r\n\
                  authtoken: mine\r\nAuthtoken: mine\r\nhost_: x\r\nvia: 1.0 fred\r\n\
                  x-request-id: mine\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\n\
                  upgrade: h2c\r\naccept: */*\r\n";
    let said = stage.say(get("/v3/x", fields)).await;
    assert_eq!(said.statuses(), ["200"]);
    let call = stage.puppet.take_calls().remove(0);
    assert_eq!(exact(&call), "GET /v3/x HTTP/1.1\r\naccept: */*\r\n\r\n");
    let names: Vec<&str> = call.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{call}");
}
