//! The request walk with a warm session, end to end on loopback: client, gateway with one core,
//! upstream.
//!
//! Wall time of one call at a time is mostly wake-ups between threads; `together` keeps the
//! gateway's core busy, and
//! `direct` is the same call without a gateway.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may end early")]

mod stage;

use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use doorward::access::key::ClientKey;
use doorward::app::{self, App, Inherited, Resolver, Surroundings};
use doorward::clock::Clock;
use doorward::secret::Environment;
use doorward::server::Address;
use doorward::settings::Sources;
use http::HeaderValue;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use stage::client::{Case, Client};
use stage::upstream::{SESSION, TOKEN_PREFIX, Upstream};
use stage::{KEYS, Listeners, OPEN, PASSWORD, PASSWORD_VARIABLE, Parts};

/// Connections that call at the same time in `together`.
const TOGETHER: usize = 16;

fn walk(criterion: &mut Criterion) {
    let upstream = Upstream::start();
    let key = stage::key();
    let control = Runtime::new().unwrap();
    let app = control.block_on(start(&upstream, &key));
    let listeners = Listeners { open: address(&app, OPEN), keys: address(&app, KEYS) };
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut group = criterion.benchmark_group("walk");
    let direct = Mutex::new(clients.block_on(Client::connect(Case::Get, upstream.address())));
    group.bench_function("direct", |bencher| {
        bencher.to_async(&clients).iter(async || {
            let mut request = Case::Get.request(upstream.address(), &key);
            request.headers_mut().insert(SESSION, HeaderValue::from_static(TOKEN_PREFIX));
            direct.lock().await.call(request).await;
        });
    });
    for case in Case::ALL {
        let to = case.listener(listeners);
        let client = Mutex::new(clients.block_on(Client::connect(case, to)));
        group.bench_function(case.name(), |bencher| {
            bencher.to_async(&clients).iter(async || {
                client.lock().await.call(case.request(to, &key)).await;
            });
        });
    }
    group.throughput(Throughput::Elements(TOGETHER as u64));
    for case in Case::ALL {
        let to = case.listener(listeners);
        let mut together: Vec<Client> =
            (0..TOGETHER).map(|_| clients.block_on(Client::connect(case, to))).collect();
        group.bench_function(format!("{}/together", case.name()), |bencher| {
            bencher.iter(|| {
                together = clients.block_on(each(std::mem::take(&mut together), case, to, &key))
            });
        });
    }
    group.finish();
    assert_eq!(upstream.logins(), 1, "the session was warm");
    control.block_on(app.stop());
}

/// One call on every connection, all at the same time.
async fn each(
    connections: Vec<Client>,
    case: Case,
    to: SocketAddr,
    key: &ClientKey,
) -> Vec<Client> {
    let mut calls = JoinSet::new();
    for mut client in connections {
        let request = case.request(to, key);
        calls.spawn(async move {
            client.call(request).await;
            client
        });
    }
    calls.join_all().await
}

/// A gateway in this process.
async fn start(upstream: &Upstream, key: &ClientKey) -> App {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorward.toml");
    std::fs::write(&file, stage::configuration(upstream, key, Parts::default())).unwrap();
    let environment = Environment::given([(PASSWORD_VARIABLE, PASSWORD)]);
    let loaded = app::load(&Sources { files: vec![file], environment });
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    let surroundings = Surroundings {
        clock: Clock::system(),
        resolver: Resolver::System,
        readers: Vec::new(),
        without: None,
        inherited: Inherited::default(),
        admin_socket: None,
    };
    App::start(&loaded, surroundings).unwrap()
}

fn address(app: &App, name: &str) -> SocketAddr {
    let all = app.listening();
    let listening = all.iter().find(|listening| listening.name == name).unwrap();
    match &listening.address {
        Address::Tcp(address) => *address,
        Address::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

criterion_group!(benches, walk);
criterion_main!(benches);
