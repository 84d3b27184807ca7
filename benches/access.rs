//! Who calls and what it may do: what a key costs with one client and with a thousand, half of whose
//! keys are revoked, what a connection that shows its client costs each request, and what grants
//! cost. It must not grow with the clients.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may end early")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use doorward::access::grant::{Grant, Grants};
use doorward::access::identity::{Connected, Credentials, SubjectAltName, UnixOwner, UnixPeer};
use doorward::access::key::{ClientKey, KnownKey};
use doorward::access::revoked::Revocations;
use doorward::access::token::Tokens;
use doorward::access::{Access, Asking, Client, Clients};
use doorward::recipe::Recipe;
use doorward::recipe::pattern::PathPattern;
use doorward::route::Reading;
use doorward::session::{AccountId, UpstreamId};
use http::{HeaderMap, HeaderName, Method};

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
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("doorward-key"), key.expose().parse().unwrap());
        headers.insert(http::header::ACCEPT, "application/json".parse().unwrap());
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
    let (none, nobody) = (HeaderMap::new(), Connected::default());
    let asking_in = asking(recipe, &none, &nobody);
    let login = clients.log_in(&asking_in, [key.expose()], SystemTime::now).unwrap();
    let access = Access::Clients(Arc::new(clients));
    let mut headers = HeaderMap::new();
    headers.insert("authtoken", login.token.unwrap().text.expose().parse().unwrap());
    headers.insert(http::header::ACCEPT, "application/json".parse().unwrap());
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
    let connected = access.recognise(&Credentials { certificate: None, unix }).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ACCEPT, "application/json".parse().unwrap());
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

fn asking<'a>(recipe: &'a Recipe, headers: &'a HeaderMap, connected: &'a Connected) -> Asking<'a> {
    Asking {
        upstream: "cms",
        recipe,
        headers,
        query: None,
        connected,
        key_headers: &[],
        host: "cms",
        is_routed: false,
    }
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

criterion_group!(benches, access);
criterion_main!(benches);
