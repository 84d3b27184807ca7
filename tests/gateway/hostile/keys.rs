//! Client keys in odd places, and requests that have none.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use doorward::access::key::ClientKey;

use super::{Stage, get};

async fn stage() -> (Stage, String) {
    let key = ClientKey::generate("reader".parse().unwrap()).unwrap();
    let stage = Stage::with(|setup| setup.keys(&[("reader", &key)])).await;
    (stage, key.expose().to_owned())
}

/// Case 28. Fails when a part of a key, another spelling of it, or a key where none belongs opens the
/// door.
#[tokio::test]
async fn a_key_in_an_odd_place_or_form_opens_nothing() {
    let (stage, key) = stage().await;
    let (half, rest) = key.split_at(key.len() / 2);
    let upper = key.to_uppercase();
    let last = &key[..key.len() - 1];
    for fields in [
        String::new(),
        "doorward-key:\r\n".to_owned(),
        format!("doorward-key: {last}\r\n"),
        format!("doorward-key: {key}x\r\n"),
        format!("doorward-key: x{key}\r\n"),
        format!("doorward-key: {upper}\r\n"),
        format!("doorward-key: \"{key}\"\r\n"),
        format!("doorward-key: {key},{key}\r\n"),
        format!("doorward-key: {key} {key}\r\n"),
        format!("doorward-key: {half}\r\ndoorward-key: {rest}\r\n"),
        format!("doorward-key: {key}\r\ndoorward-key: {last}\r\n"),
        format!("authorization: {key} Bearer\r\n"),
        format!("authorization: Bearer {key} x\r\n"),
        format!("authorization: Bearer={key}\r\n"),
        format!("x_gateway_key: {key}\r\n"),
        format!("doorward_key: {key}\r\n"),
        format!("cookie: doorward-key={key}\r\n"),
        format!("{}: x\r\n", key.replace('_', "-")),
    ] {
        let said = stage.refused(get("/v3/x", &fields), "401").await;
        assert!(!said.0.contains(half) && !said.0.contains(rest), "{fields}: {said:?}");
    }
    for query in ["key", "doorward-key", "authtoken", "access_token", ""] {
        let said = stage.refused(get(&format!("/v3/x?{query}={key}"), ""), "401").await;
        assert!(!said.0.contains(&key), "{query}: {said:?}");
    }
    // Bytes that no field may hold are not told from what is no HTTP.
    for field in [format!("doorward-key: {key}\0\r\n"), format!("doorward-key: {key}\x01\r\n")] {
        stage.refused(get("/v3/x", &field), "400").await;
    }
    let chunks = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
                  trailer: doorward-key\r\nconnection: close\r\n\r\n0\r\n";
    stage.refused(format!("{chunks}doorward-key: {key}\r\n\r\n"), "401").await;
    // Before all this, and after it, the key itself is good; once more it is the same key.
    for fields in [
        format!("doorward-key: {key}\r\n"),
        format!("Authorization: bearer {key}\r\n"),
        format!("doorward-key: {key}\r\nDOORWARD-KEY: {key}\r\n"),
    ] {
        assert_eq!(stage.arrives(get("/v3/x", &fields)).await, "GET /v3/x HTTP/1.1\r\n\r\n");
    }
    assert!(!stage.puppet.heard().contains(&key));
}

/// Fails when a key that a client shows in an odd place, or in another coding, is shown to the upstream.
#[tokio::test]
async fn a_key_in_an_odd_place_or_coding_does_not_travel_on() {
    let (stage, key) = stage().await;
    let escaped: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let again = escaped.replace('%', "%25");
    let good = format!("doorward-key: {key}\r\n");
    for shown in [
        key.clone(),
        escaped.clone(),
        again.clone(),
        format!("Basic {}", BASE64.encode(format!("x:{key}").as_bytes())),
        format!("token={}", BASE64URL_NOPAD.encode(format!("{key}.").as_bytes())),
    ] {
        let fields = format!("{good}x-odd: {shown}\r\nreferer: http://x/?a={shown}\r\n");
        assert_eq!(stage.arrives(get("/v3/x", &fields)).await, "GET /v3/x HTTP/1.1\r\n\r\n");
    }
    let named = format!("{good}x-{}: x\r\n", key.replace('_', "%5F"));
    assert_eq!(stage.arrives(get("/v3/x", &named)).await, "GET /v3/x HTTP/1.1\r\n\r\n");
    let coded = BASE64URL_NOPAD.encode(key.as_bytes());
    for shown in [&again, &coded] {
        let query = get(&format!("/v3/x?a=b&c={shown}"), &good);
        assert_eq!(stage.arrives(query).await, "GET /v3/x?a=b HTTP/1.1\r\n\r\n");
        stage.refused(get(&format!("/v3/{shown}"), &good), "400").await;
    }
    for host in [key.clone(), format!("{key}.localhost"), format!("doorward_{}:80", &key[20..])] {
        let request =
            format!("GET /v3/x HTTP/1.1\r\nhost: {host}\r\n{good}connection: close\r\n\r\n");
        let said = stage.refused(request, "400").await;
        assert!(!said.0.contains(&key[20..]), "{said:?}");
    }
    let heard = stage.puppet.heard();
    for shown in [&key, &escaped, &again, &coded] {
        assert!(!heard.contains(&**shown), "{heard}");
    }
}

/// Case 29. Fails when a connection is trusted for what came on it before.
#[tokio::test]
async fn a_request_without_a_key_behind_a_good_one_is_refused() {
    let (stage, key) = stage().await;
    let good = format!("GET /v3/good HTTP/1.1\r\nhost: localhost\r\ndoorward-key: {key}\r\n\r\n");
    let said = stage.say(format!("{good}{}", get("/v3/bad", ""))).await;
    assert_eq!(said.statuses(), ["200", "401"], "{said:?}");
    let said = stage.say(format!("{good}{good}{}", get("/v3/bad", "doorward-key: x\r\n"))).await;
    assert_eq!(said.statuses(), ["200", "200", "401"], "{said:?}");
    let heard = stage.puppet.heard();
    assert!(heard.contains("GET /v3/good ") && !heard.contains("/v3/bad"), "{heard}");
}

/// Case 30. Fails when a preflight is sent on with the session, or answered as if it were allowed.
#[tokio::test]
async fn a_preflight_is_not_sent_with_the_session() {
    let preflight = |host: &str| {
        format!(
            "OPTIONS /v3/x HTTP/1.1\r\nhost: {host}\r\norigin: https://evil.example\r\n\
             access-control-request-method: PUT\r\naccess-control-request-headers: authtoken\r\n\
             connection: close\r\n\r\n"
        )
    };
    let (stage, _) = stage().await;
    let open = Stage::open().await;
    for (stage, status) in [(&stage, "401"), (&open, "403")] {
        let said = stage.refused(preflight("localhost"), status).await;
        assert!(!said.0.to_lowercase().contains("access-control-"), "{said:?}");
        assert!(!stage.puppet.heard().contains("user-session"), "nobody logged in for it");
    }
}

/// Case 31. Fails when a body is asked for before its sender is known.
#[tokio::test]
async fn no_100_is_said_to_who_shows_no_key() {
    let (stage, key) = stage().await;
    let ask = |fields: &str| {
        format!(
            "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\
             expect: 100-continue\r\n{fields}connection: close\r\n\r\n"
        )
    };
    for fields in [String::new(), format!("doorward-key: {}\r\n", &key[..40])] {
        let said = stage.refused(ask(&fields), "401").await;
        assert_eq!(said.statuses(), ["401"], "no 100 before it: {said:?}");
    }
    stage.puppet.answer_expecting(crate::puppet::Reply::go_on());
    let said = stage.say(format!("{}four", ask(&format!("doorward-key: {key}\r\n")))).await;
    assert_eq!(said.statuses().last(), Some(&"200"), "{said:?}");
}
