//! Clients that show a token of a trusted issuer: what is believed, and every way to be taken in
//! (RFC 8725).

use std::time::Duration;

use doorward::access::key::ClientKey;
use serde_json::{Value, json};

use crate::client::{Answer, Protocol};
use crate::harness::Scene;
use crate::issuer::{
    self, AUDIENCE, ISSUER, LocalIssuer, Signer, claims, is, read_with, shown, sign_with_secret,
    told, with_signature,
};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

/// Claims with some changed; `null` takes one out.
fn with(scene: &Scene, changes: Value) -> Value {
    let mut claims = claims(scene);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// Fails when a good token is refused, or when an algorithm of the list is not verified.
#[tokio::test]
async fn a_token_of_a_trusted_issuer_opens_the_door_with_each_kind_of_key() {
    let keys = ["RS256", "PS256", "ES256", "EdDSA"].map(|name| Signer::new(name, name));
    let issuer = LocalIssuer::start(&keys.each_ref()).await;
    let scene = issuer.setup("").start().await;
    for key in &keys {
        let token = key.token(&claims(&scene));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let answer = read_with(&scene, &token).send_by(protocol).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", key.id);
        }
        let lower = read(&scene).header("authorization", &format!("bEARER  {token}"));
        assert_eq!(lower.send().await.status, 200);
    }
    // What a token may say besides.
    for changes in [
        json!({ "aud": ["x", AUDIENCE] }),
        json!({ "aud": ["other"] }),
        json!({ "nbf": 1, "jti": "\u{1f511}", "more": { "deep": [1, 2.5, null, true] } }),
        json!({ "exp": claims(&scene)["exp"].as_f64().unwrap() + 0.5 }),
        json!({ "sub": ["job-0", "job-1"] }),
        json!({ "iat": null }),
    ] {
        let token = keys[2].token(&with(&scene, changes.clone()));
        assert_eq!(shown(&scene, &token).await, is(200, ""), "{changes}");
    }
    for typ in ["at+jwt", "application/at+jwt", "jwt"] {
        let header = json!({ "alg": "ES256", "kid": "ES256", "typ": typ });
        let token = keys[2].sign(&header.to_string(), &claims(&scene).to_string());
        assert_eq!(shown(&scene, &token).await, is(200, ""), "{typ}");
    }
    assert_eq!(issuer.fetches(), 1);
    scene.stop().await;
}

/// Fails when one of the attacks of RFC 8725 and of the years since goes through, or is told as
/// something else.
#[tokio::test]
async fn no_forged_token_opens_the_door() {
    let (rsa, ec) = (Signer::new("RS256", "rsa"), Signer::new("ES256", "ec"));
    let (pss, stranger) = (Signer::new("PS256", "rsa"), Signer::new("RS256", "rsa"));
    let issuer = LocalIssuer::start(&[&rsa, &ec]).await;
    let scene = issuer.setup("").start().await;
    let good = claims(&scene).to_string();
    let head = |more: Value| {
        let mut header = json!({ "alg": "RS256", "kid": "rsa", "typ": "JWT" });
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        header.to_string()
    };
    let none = |alg: &str| format!("{}.", issuer::signed(&head(json!({ "alg": alg })), &good));
    let signed = rsa.sign(&head(json!({})), &good);
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let jwk = rsa.jwk();
    let hs = head(json!({ "alg": "HS256" }));
    let other_claims = with(&scene, json!({ "sub": "job-2" })).to_string();
    let changed = issuer::signed(&head(json!({})), &other_claims);
    // The bits of the last character that stand for nothing.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let malleable = format!("{}{next}", &signed[..signed.len() - 1]);
    let embedded = |more: Value| stranger.sign(&head(more), &good);
    for (attack, token, word) in [
        ("none", none("none"), "alg"),
        ("None", none("None"), "alg"),
        ("none with a signature", rsa.sign(&head(json!({ "alg": "none" })), &good), "alg"),
        ("no alg", rsa.sign(r#"{"kid":"rsa"}"#, &good), "alg"),
        ("hmac by jwk", sign_with_secret(&hs, &good, jwk.to_string().as_bytes()), "alg"),
        ("hmac by n", sign_with_secret(&hs, &good, jwk["n"].as_str().unwrap().as_bytes()), "alg"),
        ("not allowed", rsa.sign(&head(json!({ "alg": "RS512" })), &good), "alg"),
        ("key confusion", rsa.sign(&head(json!({ "alg": "ES256" })), &good), "no key"),
        ("key confusion 2", ec.sign(&head(json!({ "kid": "ec" })), &good), "no key"),
        ("padding confusion", pss.sign(&head(json!({ "alg": "PS256" })), &good), "no key"),
        ("kid path", rsa.sign(&head(json!({ "kid": "../../../dev/null" })), &good), "no key"),
        ("kid query", rsa.sign(&head(json!({ "kid": "x' OR '1'='1" })), &good), "no key"),
        ("kid url", rsa.sign(&head(json!({ "kid": "http://127.0.0.1:1/" })), &good), "no key"),
        ("kid number", rsa.sign(&head(json!({ "kid": 1 })), &good), "malformed"),
        ("kid null", rsa.sign(&head(json!({ "kid": null })), &good), "malformed"),
        ("another's key", stranger.sign(&head(json!({})), &good), "signature"),
        ("jwk", embedded(json!({ "jwk": stranger.jwk() })), "signature"),
        ("jku", embedded(json!({ "jku": "http://127.0.0.1:1/keys" })), "signature"),
        ("x5u", embedded(json!({ "x5u": "http://127.0.0.1:1/cert", "x5c": ["MII"] })), "signature"),
        ("claims changed", format!("{changed}.{signature}"), "signature"),
        ("no signature", format!("{message}."), "signature"),
        ("cut signature", signed[..signed.len() - 2].to_owned(), "signature"),
        ("zero signature", with_signature(message, &[0; 256]), "signature"),
        ("malleable", malleable, "malformed"),
        ("crit", rsa.sign(&head(json!({ "crit": ["exp"], "exp": 1 })), &good), "crit"),
        ("empty crit", rsa.sign(&head(json!({ "crit": [] })), &good), "crit"),
        ("b64", rsa.sign(&head(json!({ "crit": ["b64"], "b64": false })), &good), "crit"),
        ("logout token", rsa.sign(&head(json!({ "typ": "logout+jwt" })), &good), "typ"),
        ("dpop proof", rsa.sign(&head(json!({ "typ": "dpop+jwt" })), &good), "typ"),
        ("typ list", rsa.sign(&head(json!({ "typ": ["JWT"] })), &good), "typ"),
        ("header twice", rsa.sign(r#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#, &good), "twice"),
        ("claim twice", rsa.sign(&head(json!({})), &good.replace('{', r#"{"sub":"x","#)), "twice"),
        (
            "claim twice, escaped",
            rsa.sign(&head(json!({})), &good.replace('{', r#"{"\u0073ub":"job-1","#)),
            "twice",
        ),
    ] {
        let answer = read_with(&scene, &token).send().await;
        assert_eq!(told(&answer), is(401, "client_token_invalid"), "{attack}");
        assert!(answer.text().contains(word), "{attack}: {}", answer.text());
        let challenge = answer.one("www-authenticate");
        assert_eq!(challenge, "Bearer realm=\"doorward\", error=\"invalid_token\"");
    }
    assert_eq!(scene.control().counters().requests, 0);
    assert_eq!(issuer.fetches(), 1, "a token made Doorward fetch something");
    assert_eq!(shown(&scene, &signed).await, is(200, ""));
    scene.stop().await;
}

/// Fails when a token for somebody else, of somebody else or without an end is believed.
#[tokio::test]
async fn claims_that_are_not_for_this_gateway_are_refused() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let scene = issuer.setup("").start().await;
    let now = claims(&scene)["iat"].as_u64().unwrap();
    for (changes, word) in [
        (json!({ "aud": null }), "aud"),
        (json!({ "aud": "somebody" }), "aud"),
        (json!({ "aud": [] }), "aud"),
        (json!({ "aud": AUDIENCE.to_uppercase() }), "aud"),
        (json!({ "aud": format!("{AUDIENCE}/") }), "aud"),
        (json!({ "aud": [[AUDIENCE]] }), "aud"),
        (json!({ "aud": { "a": AUDIENCE } }), "aud"),
        (json!({ "exp": null }), "exp"),
        (json!({ "exp": "9999999999" }), "malformed"),
        (json!({ "exp": [] }), "malformed"),
        (json!({ "nbf": now + 31 }), "nbf"),
        (json!({ "nbf": "0" }), "malformed"),
        (json!({ "iat": now + 31 }), "iat"),
        (json!({ "iat": 1e300 }), "iat"),
        (json!({ "cnf": { "jkt": "x" } }), "cnf"),
        (json!({ "more": "x".repeat(8192) }), "8192"),
    ] {
        let answer = read_with(&scene, &key.token(&with(&scene, changes.clone()))).send().await;
        assert_eq!(told(&answer), is(401, "client_token_invalid"), "{changes}");
        assert!(answer.text().contains(word), "{changes}: {}", answer.text());
    }
    // Tokens of others are no tokens of ours: they stay what they were before.
    for issuer in [
        json!("https://issuer.test/"),
        json!("HTTPS://issuer.test"),
        json!("https://\u{131}ssuer.test"),
        json!("https://issuer.test\u{0}"),
        json!([ISSUER]),
        json!(null),
    ] {
        let token = key.token(&with(&scene, json!({ "iss": issuer })));
        assert_eq!(shown(&scene, &token).await, is(401, "client_key_missing"), "{issuer}");
    }
    // Letters that are written as escapes are the same letters.
    let text = claims(&scene).to_string().replace("issuer.test", r"\u0069ssuer.test");
    let token = key.sign(r#"{"alg":"ES256","kid":"k"}"#, &text);
    assert_eq!(shown(&scene, &token).await, is(200, ""));
    for text in ["a.b.c", "e30.e30.", "eyJ.eyJ.eyJ", "..", "e30.e30.x.y", "e30.W10.x"] {
        assert_eq!(shown(&scene, text).await, is(401, "client_key_missing"), "{text}");
    }
    scene.stop().await;
}

/// Fails when the clocks' difference is not allowed for, or more than that, also where a token was
/// seen before.
#[tokio::test]
async fn a_token_is_good_from_its_beginning_to_its_end_and_no_longer() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let scene = issuer.setup("clock_skew = \"10s\"").start().await;
    // The keys are there before the clock moves: a question for them would have had its time.
    assert_eq!(shown(&scene, &key.token(&claims(&scene))).await, is(200, ""));
    let now = claims(&scene)["iat"].as_u64().unwrap();
    let early = key.token(&with(&scene, json!({ "nbf": now + 30, "exp": now + 60 })));
    assert_eq!(shown(&scene, &early).await, is(401, "client_token_invalid"));
    // Tokens have whole seconds, the clock has a part of one more.
    scene.clock.advance(Duration::from_secs(20));
    assert_eq!(shown(&scene, &early).await, is(200, ""));
    scene.clock.advance(Duration::from_secs(49));
    assert_eq!(shown(&scene, &early).await, is(200, ""));
    scene.clock.advance(Duration::from_secs(1));
    let answer = read_with(&scene, &early).send().await;
    assert_eq!(told(&answer), is(401, "client_token_expired"));
    assert!(answer.one("www-authenticate").contains("invalid_token"));
    scene.stop().await;
}

/// Fails when the type that is asked for need not be there.
#[tokio::test]
async fn a_required_type_must_be_there() {
    let key = Signer::new("EdDSA", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let scene = issuer.setup("required_type = \"at+jwt\"").start().await;
    for (header, expected) in [
        (r#"{"alg":"EdDSA","typ":"at+jwt"}"#, 200),
        (r#"{"alg":"EdDSA","typ":"application/AT+JWT"}"#, 200),
        (r#"{"alg":"EdDSA","typ":"JWT"}"#, 401),
        (r#"{"alg":"EdDSA"}"#, 401),
    ] {
        let token = key.sign(header, &claims(&scene).to_string());
        assert_eq!(shown(&scene, &token).await.0, expected, "{header}");
    }
    scene.stop().await;
}

/// Fails when a token of nobody, or of two, is somebody's, or when a request may show two clients.
#[tokio::test]
async fn a_token_is_exactly_one_clients() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let alice = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let setup = issuer.setup("").client("alice", &alice, "[{}]");
    let more = [
        issuer::client("releases", r#"{ ref = "refs/tags/*", protected = true, run = 7 }"#),
        issuer::client("nobody", r#"{ "/realm/roles" = "admin", "https://x.test/Group" = "Ops" }"#),
    ];
    let scene = setup.tables(&more.concat()).start().await;
    let token = |changes| key.token(&with(&scene, changes));
    let release = json!({ "sub": "x", "ref": "refs/tags/v1", "protected": true, "run": 7 });
    assert_eq!(shown(&scene, &token(release.clone())).await, is(200, ""));
    for (name, value) in [
        ("ref", json!("refs/tags/")),
        ("ref", json!("refs/heads/refs/tags/v1")),
        ("protected", json!("true")),
        ("protected", json!(null)),
        ("run", json!("7")),
    ] {
        let mut other = release.clone();
        other[name] = value;
        let token = token(other.clone());
        assert_eq!(shown(&scene, &token).await, is(403, "client_unknown"), "{other}");
    }
    let deep = json!({
        "sub": "x", "realm": { "roles": ["user", "admin"] }, "https://x.test/Group": "Ops",
    });
    assert_eq!(shown(&scene, &token(deep)).await, is(200, ""));
    let mut two = release;
    two["sub"] = "job-1".into();
    assert_eq!(shown(&scene, &token(two)).await, is(403, "client_ambiguous"));

    // What a request shows must be of one client.
    let ci = token(json!({}));
    let both = read_with(&scene, &ci).header("doorward-key", alice.expose());
    assert_eq!(told(&both.send().await), is(401, "client_conflicting"));
    let bad = read_with(&scene, &key.token(&with(&scene, json!({ "aud": "x" }))));
    let bad = bad.header("doorward-key", alice.expose());
    assert_eq!(told(&bad.send().await), is(401, "client_token_invalid"));
    let release = token(json!({ "sub": "y", "ref": "refs/tags/a", "protected": true, "run": 7 }));
    let twice = read_with(&scene, &ci).header("authorization", &format!("Bearer {release}"));
    assert_eq!(told(&twice.send().await), is(401, "client_conflicting"));
    let same = read_with(&scene, &ci).header("authorization", &format!("Bearer {ci}"));
    assert_eq!(same.send().await.status, 200);
    // A token of somebody else's beside a key is for the upstream, and is dropped.
    let foreign = key.token(&with(&scene, json!({ "iss": "https://other.test" })));
    let beside = read_with(&scene, &foreign).header("doorward-key", alice.expose());
    assert_eq!(beside.send().await.status, 200);
    scene.stop().await;
}

/// Fails when a token is taken from another place than `Authorization: Bearer`, or asked for at an
/// open listener.
#[tokio::test]
async fn tokens_stand_in_one_place_and_open_listeners_ask_for_none() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let scene = issuer.setup("").start().await;
    let token = key.token(&claims(&scene));
    let basic = data_encoding::BASE64.encode(format!("x:{token}").as_bytes());
    for (name, value) in [
        ("authorization", token.clone()),
        ("authorization", format!("Basic {basic}")),
        ("authorization", format!("DPoP {token}")),
        ("doorward-key", token.clone()),
        ("x-api-key", token.clone()),
        ("authtoken", token.clone()),
        ("cookie", format!("token={token}")),
    ] {
        let answer = read(&scene).header(name, &value).send().await;
        assert_eq!(told(&answer), is(401, "client_key_missing"), "{name}");
    }
    scene.stop().await;

    let mut open = issuer.setup("");
    open.listener = "access = \"open\"".to_owned();
    let scene = open.start().await;
    let forged = Signer::new("ES256", "k").token(&claims(&scene));
    assert_eq!(shown(&scene, &forged).await, is(200, ""));
    scene.stop().await;
}

/// Fails when a token, or a part of one, is sent on, reported or written down.
#[tokio::test]
async fn nothing_of_a_token_reaches_upstream_reports_or_the_audit_trail() {
    let key = Signer::new("RS256", "k");
    let issuer = LocalIssuer::start(&[&key]).await;
    let upstream = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup = issuer.setup("").tables("[audit]\npath = \"audit.jsonl\"\n");
    setup.origin = Some(upstream.origin());
    let mut scene = setup.start().await;
    let good = key.token(&claims(&scene));
    let mut answers: Vec<Answer> = Vec::new();
    let call = |token: &str| {
        let call = read_with(&scene, token).header("x-forwarded-access-token", token);
        let escaped: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let coded = data_encoding::BASE64.encode(format!("x:{token}").as_bytes());
        call.header("x-id-token", &format!("Bearer {token}"))
            .header("x-escaped-token", &escaped)
            .header("x-escaped-again", &escaped.replace('%', "%25"))
            .header("x-coded-token", &format!("Basic {coded}"))
            .header("accept", "text/x-kept")
    };
    for _ in 0..2 {
        answers.push(call(&good).send().await);
    }
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let percent = good.replace('.', "%2E");
    let bearer = format!("Bearer {good}");
    for text in [&good, &percent] {
        for target in [format!("/v3/x?a=b&access_token={text}"), format!("/v3/x/{text}/y")] {
            let call = scene.call("GET", &target).header("authorization", &bearer);
            answers.push(call.send().await);
            assert_eq!(told(answers.last().unwrap()), is(400, "bad_request"), "{target}");
        }
    }
    let coded = data_encoding::BASE64URL_NOPAD.encode(good.as_bytes());
    for (target, host) in [(format!("/v3/x?a={coded}"), "localhost"), ("/v3/x".to_owned(), &good)] {
        let call = scene.call("GET", &target).host(host).header("authorization", &bearer);
        answers.push(call.send().await);
        assert_eq!(told(answers.last().unwrap()), is(400, "bad_request"), "{target}");
    }
    let bad = key.token(&with(&scene, json!({ "aud": "x" })));
    let unknown = key.token(&with(&scene, json!({ "sub": "canary-of-a-subject" })));
    for token in [&bad, &unknown] {
        answers.push(call(token).send().await);
    }
    assert_eq!(told(answers.last().unwrap()), is(403, "client_unknown"));
    let app = scene.take_app();
    crate::harness::within(app.stop()).await;
    let folder = scene.folder.path().to_owned();
    let audit = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    assert!(audit.contains(r#"{"client":"ci"}"#) && audit.contains("issuer_keys"), "{audit}");
    let sent = upstream.requests().join("\n");
    assert!(sent.contains("text/x-kept"));
    assert!(!sent.contains("x-escaped") && !sent.contains("x-coded"), "{sent}");
    let reported = format!("{:?}", scene.events());
    let answered = format!("{answers:?}");
    for token in [&good, &bad, &unknown] {
        let parts = token.split('.').filter(|part| part.len() > 60).chain(["canary-of-a-subject"]);
        for part in parts {
            for (place, text) in [
                ("upstream", &sent),
                ("reports", &reported),
                ("audit", &audit),
                ("answers", &answered),
            ] {
                assert!(!text.contains(part), "{place} has {part}");
            }
        }
    }
}
