//! The keys of issuers: fetched once for everybody, followed when they change, kept when they
//! cannot be fetched, and never fetched as often as somebody likes.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::telemetry::{Event, IssuerKeys, KeysOutcome};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::harness::{Scene, until};
use crate::issuer::{
    self, LocalIssuer, Signer, claims, is, key_set, read_with, shown, told, trusting,
};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

/// What was told of the issuer's keys.
fn outcomes(scene: &Scene) -> Vec<KeysOutcome> {
    let keys = |event| match event {
        Event::IssuerKeys(IssuerKeys { outcome, .. }) => Some(outcome),
        _ => None,
    };
    scene.events().into_iter().filter_map(keys).collect()
}

fn failures(scene: &Scene) -> usize {
    let failed = |outcome: &KeysOutcome| matches!(outcome, KeysOutcome::Failed { .. });
    outcomes(scene).iter().filter(|outcome| failed(outcome)).count()
}

/// Sends again until it is told so; what is under way makes it so.
async fn until_shown(scene: &Scene, token: &str, expected: (u16, String)) {
    let asking = async { while shown(scene, token).await != expected {} };
    crate::harness::within(asking).await;
}

fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Fails when each request fetches for itself, or does not wait.
#[tokio::test]
async fn a_hundred_tokens_wait_for_one_slow_fetch() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[]).await;
    issuer.answer(Reply::hand_over(""));
    let scene = issuer.setup("").start().await;
    let token = key.token(&claims(&scene));
    let calls: Vec<_> = (0..100).map(|_| read_with(&scene, &token).spawn()).collect();
    let mut fetch = issuer.puppet.handed_over().await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    fetch.write_all(&http(&key_set(&[&key]))).await.unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(issuer.fetches(), 1);
    scene.stop().await;
}

/// Fails when a request waits for keys without a bound.
#[tokio::test]
async fn a_request_waits_five_seconds_for_keys_and_no_longer() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[]).await;
    issuer.answer(Reply::hand_over(""));
    let scene = issuer.setup("").start().await;
    let token = key.token(&claims(&scene));
    let _fetch = issuer.puppet.handed_over().await;
    let call = read_with(&scene, &token).spawn();
    until("the request is answered", || {
        scene.clock.advance(Duration::from_micros(200));
        call.is_finished()
    })
    .await;
    let answer = call.await.unwrap();
    assert_eq!(told(&answer), is(503, "issuer_unavailable"));
    assert_eq!(answer.one("retry-after"), "10");
    assert_eq!(failures(&scene), 0, "it waited until the fetch was given up");
    // The fetch, too, ends.
    until("the fetch is given up", || {
        scene.clock.advance(Duration::from_millis(1));
        failures(&scene) == 1
    })
    .await;
    scene.stop().await;
}

/// Fails when a new key is not followed, when more than one fetch is made for it, or when an old one
/// is believed after it was taken back.
#[tokio::test]
async fn a_new_key_costs_one_fetch_and_one_that_is_taken_back_is_believed_no_more() {
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("EdDSA", "new"));
    let issuer = LocalIssuer::start(&[&old]).await;
    let scene = issuer.setup("").start().await;
    let first = old.token(&claims(&scene));
    assert_eq!(shown(&scene, &first).await, is(200, ""));
    issuer.publish(&[&new]);
    let second = new.token(&claims(&scene));
    assert_eq!(shown(&scene, &second).await, is(401, "client_token_invalid"));
    assert_eq!(issuer.fetches(), 1, "it was asked for again within 30 seconds");
    scene.clock.advance(Duration::from_secs(30));
    until_shown(&scene, &second, is(200, "")).await;
    assert_eq!(shown(&scene, &first).await, is(401, "client_token_invalid"));
    assert_eq!(issuer.fetches(), 2);
    scene.stop().await;
}

/// Fails when invented key ids make Doorward ask the issuer more than once in 30 seconds, or when
/// tokens that no key could make good do.
#[tokio::test]
async fn a_storm_of_invented_keys_costs_one_fetch() {
    let (key, storm) = (Signer::new("ES256", "k"), Signer::new("ES256", "x"));
    let issuer = LocalIssuer::start(&[&key]).await;
    let scene = issuer.setup("").start().await;
    let good = key.token(&claims(&scene));
    assert_eq!(shown(&scene, &good).await, is(200, ""));
    scene.clock.advance(Duration::from_secs(40));
    let mut ended = claims(&scene);
    ended["exp"] = 1.into();
    let ended = storm.token(&ended);
    for _ in 0..20 {
        assert_eq!(shown(&scene, &ended).await, is(401, "client_token_expired"));
    }
    assert_eq!(issuer.fetches(), 1);
    let invented = |number: u32| {
        let header = json!({ "alg": "ES256", "kid": format!("invented-{number}") });
        storm.sign(&header.to_string(), &claims(&scene).to_string())
    };
    let asking = async {
        while issuer.fetches() == 1 {
            assert_eq!(shown(&scene, &invented(0)).await, is(401, "client_token_invalid"));
        }
    };
    crate::harness::within(asking).await;
    let calls: Vec<_> = (0..200).map(|n| read_with(&scene, &invented(n)).spawn()).collect();
    for call in calls {
        assert_eq!(told(&call.await.unwrap()), is(401, "client_token_invalid"));
    }
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(shown(&scene, &good).await, is(200, ""));
    scene.stop().await;
}

/// Fails when a start fails for an issuer that is down, when keys of other clients suffer, or when
/// the issuer is not asked again.
#[tokio::test]
async fn an_issuer_that_is_down_at_start_costs_its_own_tokens_only() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[]).await;
    issuer.answer(Reply::close("HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n"));
    let alice = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let scene = issuer.setup("").client("alice", &alice, "[{}]").start().await;
    let token = key.token(&claims(&scene));
    until_shown(&scene, &token, is(503, "issuer_unavailable")).await;
    let with_key = read(&scene).header("doorward-key", alice.expose());
    assert_eq!(with_key.send().await.status, 200);
    // What is wrong with a token by itself needs no keys to be told.
    let mut other = claims(&scene);
    other["aud"] = "x".into();
    assert_eq!(shown(&scene, &key.token(&other)).await, is(401, "client_token_invalid"));
    until("it is told", || failures(&scene) > 0).await;
    issuer.publish(&[&key]);
    for _ in 0..60 {
        scene.clock.advance(Duration::from_secs(1));
    }
    until_shown(&scene, &token, is(200, "")).await;
    scene.stop().await;
}

/// Fails when keys are dropped because the issuer is down for a while, are used for ever, or are not
/// fetched again ahead of their end.
#[tokio::test]
async fn the_last_keys_are_kept_for_a_day_beyond_their_time() {
    let key = Signer::new("ES256", "k");
    let issuer = LocalIssuer::start(&[]).await;
    let set = key_set(&[&key]);
    issuer.answer(Reply::keep(format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=1000\r\ncontent-length: {}\r\n\r\n{set}",
        set.len()
    )));
    let scene = issuer.setup("").start().await;
    assert_eq!(shown(&scene, &key.token(&claims(&scene))).await, is(200, ""));
    // Ahead of their end, without anybody asking; the task is past its rest first.
    scene.clock.advance(Duration::from_secs(30));
    until_shown(&scene, &key.token(&claims(&scene)), is(200, "")).await;
    scene.clock.advance(Duration::from_secs(769));
    assert_eq!(issuer.fetches(), 1);
    scene.clock.advance(Duration::from_secs(1));
    until("they are fetched again", || issuer.fetches() == 2).await;
    until("they are the same", || {
        matches!(outcomes(&scene)[..], [KeysOutcome::New { keys: 1 }, KeysOutcome::Same])
    })
    .await;

    issuer.answer(Reply::close("no HTTP"));
    let mut hours = 0;
    while hours < 24 {
        let before = failures(&scene);
        scene.clock.advance(Duration::from_secs(3600));
        hours += 1;
        until("it is tried again", || failures(&scene) > before).await;
        assert_eq!(shown(&scene, &key.token(&claims(&scene))).await, is(200, ""), "{hours}");
    }
    scene.clock.advance(Duration::from_secs(3600));
    until("they are dropped", || {
        outcomes(&scene).iter().any(|outcome| matches!(outcome, KeysOutcome::Dropped))
    })
    .await;
    let token = key.token(&claims(&scene));
    assert_eq!(shown(&scene, &token).await, is(503, "issuer_unavailable"));
    scene.stop().await;
}

/// Fails when something that is no usable key set is taken for one, or is not told as what it is.
#[tokio::test]
async fn what_is_no_usable_key_set_is_told_and_nothing_is_believed() {
    let key = Signer::new("ES256", "k");
    let rsa = Signer::new("RS256", "k");
    let issuer = LocalIssuer::start(&[]).await;
    let changed = |from: &Signer, name: &str, value: serde_json::Value| {
        let mut jwk = from.jwk();
        jwk[name] = value;
        Reply::json(&json!({ "keys": [jwk] }).to_string())
    };
    let long = " ".repeat(1024 * 1024 + 1);
    let many: Vec<_> = (0..101).map(|_| key.jwk()).collect();
    let n = rsa.jwk()["n"].as_str().unwrap()[..171].to_owned();
    let twice = key_set(&[&key]).replace("\"kid\"", "\"kid\":\"k\",\"kid\"");
    let cases = [
        (Reply::json("<html>"), "no JSON Web Key Set"),
        (Reply::json("[]"), "no JSON Web Key Set"),
        (Reply::json(r#"{"keys":{}}"#), "no JSON Web Key Set"),
        (Reply::json(&twice), "no JSON Web Key Set"),
        (Reply::json(r#"{"keys":[]}"#), "none of its 0 keys"),
        (Reply::json(r#"{"keys":[1,{},{"kty":"oct","k":"c2VjcmV0"}]}"#), "none of its 3 keys"),
        (changed(&key, "use", json!("enc")), "none of its 1 keys"),
        (changed(&key, "key_ops", json!(["sign"])), "none of its 1 keys"),
        (changed(&key, "alg", json!("ES512")), "none of its 1 keys"),
        (changed(&key, "kty", json!("RSA")), "none of its 1 keys"),
        (changed(&key, "crv", json!("P-384")), "none of its 1 keys"),
        (changed(&key, "x", key.jwk()["y"].clone()), "none of its 1 keys"),
        (changed(&key, "d", json!("AQ")), "none of its 1 keys"),
        (changed(&rsa, "n", json!(n)), "none of its 1 keys"),
        (Reply::json(&json!({ "keys": many }).to_string()), "more than 100 keys"),
        (Reply::json(&long), "longer than"),
        (Reply::close("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), "broke off"),
        (
            Reply::keep("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"),
            "status 302 Found; redirects are not followed",
        ),
    ];
    issuer.answer(cases[0].0.clone());
    let scene = issuer.setup("").start().await;
    until("it is tried", || failures(&scene) == 1).await;
    for (reply, word) in cases {
        issuer.answer(reply);
        let before = failures(&scene);
        scene.clock.advance(Duration::from_secs(60));
        until("it is tried again", || failures(&scene) > before).await;
        let all = outcomes(&scene);
        let Some(KeysOutcome::Failed { why, kept: false }) = all.last() else {
            panic!("{word}: {all:?}")
        };
        assert!(why.contains(word), "{word}: {why}");
    }
    for signer in [&key, &rsa] {
        let token = signer.token(&claims(&scene));
        assert_eq!(shown(&scene, &token).await, is(503, "issuer_unavailable"));
    }
    scene.stop().await;
}

/// Fails when the keys are not found by the issuer's metadata, or by those of another issuer.
#[tokio::test]
async fn keys_are_found_by_the_metadata_of_the_issuer_itself() {
    for (well_known, path) in [
        ("/realm/.well-known/openid-configuration", "/realm"),
        ("/.well-known/oauth-authorization-server/realm", "/realm"),
        ("/.well-known/openid-configuration", ""),
    ] {
        let key = Signer::new("ES256", "k");
        let set = key_set(&[&key]);
        let own = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let script = (std::sync::Arc::clone(&own), set);
        let puppet = Puppet::start(move |request| {
            let (own, set) = &script;
            let target = request.split(' ').nth(1).unwrap();
            let issuer = own.lock().unwrap().clone();
            let origin = issuer.trim_end_matches("/realm").to_owned();
            match target {
                "/keys?p=1" => Reply::json(set),
                _ if target == well_known => Reply::json(
                    &json!({ "issuer": issuer, "jwks_uri": format!("{origin}/keys?p=1") })
                        .to_string(),
                ),
                _ => Reply::keep("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            }
        })
        .await;
        let name = format!("{}{path}", puppet.origin());
        own.lock().unwrap().clone_from(&name);
        let scene = trusting(&format!("issuer = {name:?}")).start().await;
        let mut good = claims(&scene);
        good["iss"] = name.clone().into();
        assert_eq!(shown(&scene, &key.token(&good)).await, is(200, ""), "{well_known}");
        let asked = puppet.requests().len();
        // Metadata that speak for somebody else are not believed.
        own.lock().unwrap().push('/');
        let stranger = Signer::new("ES256", "other").token(&good);
        scene.clock.advance(Duration::from_secs(30));
        until_shown(&scene, &stranger, is(503, "issuer_unavailable")).await;
        assert!(puppet.requests().len() > asked);
        until("it is told", || format!("{:?}", outcomes(&scene)).contains("another issuer")).await;
        assert_eq!(shown(&scene, &key.token(&good)).await, is(200, ""));
        scene.stop().await;
    }
}

/// Fails when the keys in a file are not used, or not read again.
#[tokio::test]
async fn keys_in_a_file_are_read_again_when_they_change() {
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    let folder = tempfile::tempdir().unwrap();
    let file = crate::harness::write(folder.path(), "keys.json", &key_set(&[&old]));
    let lines = format!("issuer = {:?}\njwks_file = {file:?}", issuer::ISSUER);
    let scene = trusting(&lines).start().await;
    assert_eq!(shown(&scene, &old.token(&claims(&scene))).await, is(200, ""));
    crate::harness::write(folder.path(), "keys.json", &key_set(&[&new]));
    until("the file was read again", || {
        scene.clock.advance(Duration::from_millis(10));
        outcomes(&scene).len() > 1
    })
    .await;
    let token = new.token(&claims(&scene));
    until_shown(&scene, &token, is(200, "")).await;
    let old = old.token(&claims(&scene));
    assert_eq!(shown(&scene, &old).await, is(401, "client_token_invalid"));
    scene.stop().await;
}
