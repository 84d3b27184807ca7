//! Who calls and what it may do: what a key costs with one client and with a thousand, half of whose
//! keys are revoked, what a connection that shows its client and what a token cost each request, and
//! what grants cost. It must not grow with the clients.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may end early")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use data_encoding::BASE64URL_NOPAD;
use doorward::access::grant::{Grant, Grants};
use doorward::access::identity::{
    Connected, Credentials, Shown, SubjectAltName, UnixOwner, UnixPeer,
};
use doorward::access::jwt::{Algorithm, Expected, Issuer, KeySet, Published, Rule, SEEN_TIME_MAX};
use doorward::access::key::{ClientKey, KnownKey};
use doorward::access::revoked::Revocations;
use doorward::access::token::Tokens;
use doorward::access::{Access, Asking, Client, Clients};
use doorward::fields::Fields;
use doorward::recipe::Recipe;
use doorward::recipe::pattern::PathPattern;
use doorward::route::Reading;
use doorward::session::{AccountId, UpstreamId};
use http::{HeaderName, HeaderValue, Method};

/// Keys of each client.
const KEYS: usize = 10;

fn access(criterion: &mut Criterion) {
    let document = doorward::recipe::built_in("contentstack").unwrap();
    let recipe = Recipe::load(&document, &BTreeMap::new()).unwrap();
    let mut group = criterion.benchmark_group("access");
    for clients in [1, 1000] {
        let names: Vec<String> = (0..clients).map(|number| format!("client-{number}")).collect();
        let keys: Vec<Vec<ClientKey>> = names.iter().map(|name| keys(name)).collect();
        let known = names.iter().zip(&keys).map(|(name, keys)| {
            let known = keys.iter().map(|key| KnownKey { digest: key.digest(), expires: None });
            Client {
                name,
                keys: known.collect(),
                certificates: vec![SubjectAltName::Uri(format!("spiffe://acme/{name}"))],
                ..Client::default()
            }
        });
        let revocations = Revocations::default();
        let all = Clients::new(known, tokens(), &revocations);
        // The first half of each client's keys.
        for key in keys.iter().flat_map(|keys| keys.iter().take(KEYS / 2)) {
            assert!(revocations.revoke(&key.digest()));
        }
        let access = Access::Clients(Arc::new(all));
        let nobody = Connected::default();
        // The last key of a client in the middle.
        let key = keys.get(clients / 2).and_then(|keys| keys.last()).unwrap();
        let mut headers = Fields::new();
        headers.insert(
            HeaderName::from_static("doorward-key"),
            key.expose().parse::<HeaderValue>().unwrap(),
        );
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        group.bench_function(format!("{} keys of {clients} clients", clients * KEYS), |bencher| {
            bencher.iter(|| {
                let headers = black_box(&headers);
                let asking = asking(&recipe, headers, &nobody);
                let caller = access.authenticate(&asking, SystemTime::now).unwrap();
                assert!(caller.is_some());
                caller
            });
        });
    }
    bench_token(&mut group, &recipe);
    bench_connection(&mut group, &recipe);
    for number in [1, 100] {
        let grants = Grants::new((0..number).map(grant).collect());
        let path = format!("/v3/things-{}/a/b", number - 1);
        let reading = Reading { method: Method::GET, path };
        group.bench_function(format!("the last of {number} grants"), |bencher| {
            bencher.iter(|| {
                let place = grants.allowing(UpstreamId(0), AccountId(0), black_box(&reading));
                assert_eq!(place, Some(number - 1));
            });
        });
    }
    group.finish();
}

/// A token in the vendor's field, in place of a key.
fn bench_token(group: &mut BenchmarkGroup<'_, WallTime>, recipe: &Recipe) {
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let keys = vec![KnownKey { digest: key.digest(), expires: None }];
    let client = Client { name: "alice", keys, ..Client::default() };
    let clients = Clients::new([client], tokens(), &Revocations::default());
    let (none, nobody) = (Fields::new(), Connected::default());
    let asking_in = asking(recipe, &none, &nobody);
    let login = clients.log_in(&asking_in, [key.expose()], SystemTime::now).unwrap();
    let access = Access::Clients(Arc::new(clients));
    let mut headers = Fields::new();
    let token = login.token.unwrap().text.expose().parse::<HeaderValue>().unwrap();
    headers.insert(HeaderName::from_static("authtoken"), token);
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    group.bench_function("a token of a local login", |bencher| {
        bencher.iter(|| {
            let asking = asking(recipe, black_box(&headers), &nobody);
            assert!(access.authenticate(&asking, SystemTime::now).unwrap().is_some());
        });
    });
}

fn bench_connection(group: &mut BenchmarkGroup<'_, WallTime>, recipe: &Recipe) {
    let one = Client { name: "one", unix: vec![UnixOwner::User(7)], ..Client::default() };
    let clients = Clients::new([one], tokens(), &Revocations::default());
    let access = Access::Clients(Arc::new(clients));
    let unix = Some(UnixPeer { uid: 7, gid: 7 });
    let shown = Shown::read(&Credentials { certificate: None, unix }).unwrap();
    let connected = access.recognise(&shown);
    let mut headers = Fields::new();
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    group.bench_function("a connection that shows its client", |bencher| {
        bencher.iter(|| {
            let asking = asking(recipe, black_box(&headers), &connected);
            let caller = access.authenticate(&asking, SystemTime::now).unwrap();
            assert!(caller.is_some());
            caller
        });
    });
}

fn tokens() -> Tokens {
    Tokens::of_this_process(Duration::from_secs(3600)).unwrap()
}

fn asking<'a>(recipe: &'a Recipe, headers: &'a Fields, connected: &'a Connected) -> Asking<'a> {
    Asking {
        upstream: "cms",
        recipe,
        headers,
        query: None,
        connected,
        key_headers: &[],
        host: "cms",
        pages: Some("http"),
        is_routed: false,
    }
}

/// What a token costs. One that comes again after so long is verified again.
fn issued(criterion: &mut Criterion) {
    let document = doorward::recipe::built_in("contentstack").unwrap();
    let recipe = Recipe::load(&document, &BTreeMap::new()).unwrap();
    let mut group = criterion.benchmark_group("access");
    for (algorithm, (token, key)) in [(Algorithm::Rs256, rs256()), (Algorithm::Es256, es256())] {
        let keys = Arc::new(Published::new());
        keys.publish(KeySet::parse(key.as_bytes(), &[algorithm]).unwrap());
        let issuer = Issuer {
            issuer: "https://issuer.test".to_owned(),
            audience: vec!["bench".to_owned()],
            algorithms: vec![algorithm],
            required_type: None,
            clock_skew: Duration::ZERO,
            keys,
        };
        let rule = Rule::new([("sub".to_owned(), Expected::parse("job").unwrap())]);
        let client = Client { name: "ci", ..Client::default() };
        let clients = Clients::new([client], tokens(), &Revocations::default())
            .trusting([(issuer, vec![(rule, "ci")])]);
        let access = Access::Clients(Arc::new(clients));
        let mut headers = Fields::new();
        let value = format!("Bearer {token}").parse::<HeaderValue>().unwrap();
        headers.insert(http::header::AUTHORIZATION, value);
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        let nobody = Connected::default();
        let authenticate = |wall: SystemTime| {
            let headers = black_box(&headers);
            let asking = asking(&recipe, headers, &nobody);
            access.authenticate(&asking, || wall).unwrap().unwrap()
        };
        let (name, bytes) = (algorithm.name(), token.len());
        let mut wall = UNIX_EPOCH;
        group.bench_function(format!("a {name} token of {bytes} bytes, first seen"), |bencher| {
            bencher.iter(|| {
                wall += SEEN_TIME_MAX;
                authenticate(wall)
            });
        });
        group.bench_function(format!("a {name} token of {bytes} bytes, again"), |bencher| {
            bencher.iter(|| authenticate(wall));
        });
    }
    group.finish();
}

/// As long as those of CI jobs.
fn claims() -> String {
    let about = "x".repeat(900);
    format!(
        r#"{{"iss":"https://issuer.test","aud":"bench","sub":"job","exp":1e15,"about":"{about}"}}"#
    )
}

/// A token and the set with its key.
fn rs256() -> (String, String) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let signed = signed("RS256");
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    // RFC 8017 appendix A.1.1, of a modulus of 2048 bits and the usual exponent.
    let n = encoded(key.public_key().as_ref().get(9..265).unwrap());
    let set = format!(r#"{{"keys":[{{"kty":"RSA","kid":"k","n":"{n}","e":"AQAB"}}]}}"#);
    (format!("{signed}.{}", encoded(&signature)), set)
}

fn es256() -> (String, String) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let signed = signed("ES256");
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let point = key.public_key().as_ref();
    let (x, y) = (encoded(point.get(1..33).unwrap()), encoded(point.get(33..).unwrap()));
    let key = format!(r#"{{"kty":"EC","crv":"P-256","kid":"k","x":"{x}","y":"{y}"}}"#);
    (format!("{signed}.{}", encoded(signature.as_ref())), format!(r#"{{"keys":[{key}]}}"#))
}

fn signed(algorithm: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"k","typ":"JWT"}}"#);
    format!("{}.{}", encoded(header.as_bytes()), encoded(claims().as_bytes()))
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn keys(name: &str) -> Vec<ClientKey> {
    (0..KEYS).map(|_| ClientKey::generate(name.parse().unwrap()).unwrap()).collect()
}

fn grant(place: usize) -> Grant {
    let path = format!("/v3/things-{place}/**");
    Grant {
        place,
        upstream: UpstreamId(0),
        accounts: None,
        methods: vec![Method::GET, Method::HEAD],
        paths: vec![PathPattern::parse(&path, false).unwrap()],
    }
}

criterion_group!(benches, access, issued);
criterion_main!(benches);
