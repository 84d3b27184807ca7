//! The session store under many threads, and the storm after a session has died.
//!
//! `store` is what every request does first: it asks the broker for a session that is there.
//! `storm` is the worst moment: a thousand requests report the same dead session at once and all
//! want a new one, which costs one login. `waiters` holds ten thousand tasks at one login and tells
//! how long after its answer they run. `crowd` asks for sessions among a hundred thousand, and
//! `appointments` lets all of them be looked after at one moment.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a bench may end early")]
#![allow(clippy::print_stdout, reason = "quantiles and memory are no figures of criterion's")]

mod stage;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use doorward::clock::Clock;
use doorward::diagnosis::Document;
use doorward::recipe::Recipe;
use doorward::recipe::template::Values;
use doorward::secret::{Fingerprint, SecretText};
use doorward::session::{
    Account, AccountId, Broker, ClientNumber, Credentials, Kept, Limits, Parts, Scope, Session,
    SessionKey, Transport, UpstreamId,
};
use doorward::telemetry::{Trigger, reports};
use doorward::upstream::{Dialler, Http2, Origin, Pool, Way};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use stage::upstream::Upstream;

/// Accounts, and with them keys of the store.
const ACCOUNTS: u32 = 64;

/// Threads that ask at the same time.
const THREADS: [usize; 3] = [1, 2, 8];

/// Tasks that report the same dead session.
const STORM: usize = 1000;

/// How old a session is when it is reported dead.
const AGE_AT_DEATH: Duration = Duration::from_secs(3600);

/// Tasks that wait for one login.
const WAITERS: usize = 10_000;

/// Logins that [`WAITERS`] tasks wait for, one after the other, each at a key of its own.
const WAITER_ROUNDS: u16 = 20;

/// Clients of each account, every one with a session of its own: 100 032 sessions.
const CLIENTS: u32 = 1563;

/// How often all sessions are looked after.
const APPOINTMENT_ROUNDS: usize = 5;

/// A session that nobody has used for so long is logged out.
const SESSION_IDLE: Duration = Duration::from_secs(8 * 3600);

/// The longest answer to a login, in bytes.
const ANSWER_BYTES_MAX: usize = 1024;

/// Longer than any wait here.
const PATIENCE: Duration = Duration::from_secs(10);

fn store(criterion: &mut Criterion) {
    let site = Upstream::start();
    let runtime = Runtime::new().unwrap();
    let clock = Clock::system();
    let broker = runtime.block_on(async { broker(&site, &clock) });
    let keys: Vec<SessionKey> = (0..ACCOUNTS).map(|account| key(&broker, account)).collect();
    for key in &keys {
        runtime.block_on(session(&broker, &clock, *key)).unwrap();
    }
    let mut group = criterion.benchmark_group("store");
    for threads in THREADS {
        group.throughput(Throughput::Elements(threads as u64));
        for (name, keys) in [("one_key", keys.split_at(1).0), ("many_keys", &keys[..])] {
            group.bench_function(format!("{name}/{threads}_threads"), |bencher| {
                bencher.iter_custom(|rounds| ask(&broker, &clock, keys, threads, rounds));
            });
        }
    }
    group.finish();
    assert_eq!(site.logins(), u64::from(ACCOUNTS), "every session was there before");
}

/// Every thread asks `rounds` times, for one key after the other; the time until the last is done.
fn ask(
    broker: &Broker,
    clock: &Clock,
    keys: &[SessionKey],
    threads: usize,
    rounds: u64,
) -> Duration {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let keys = keys.iter().cycle().skip(thread);
                    for (key, _) in keys.zip(0..rounds) {
                        std::hint::black_box(session(broker, clock, *key).await.unwrap());
                    }
                });
            });
        }
    });
    started.elapsed()
}

fn storm(criterion: &mut Criterion) {
    let site = Upstream::start();
    let runtime = Runtime::new().unwrap();
    let clock = Clock::manual(std::time::SystemTime::now());
    let broker = runtime.block_on(async { broker(&site, &clock) });
    let key = key(&broker, 0);
    let mut dead = runtime.block_on(session(&broker, &clock, key)).unwrap();
    let mut group = criterion.benchmark_group("storm");
    group.throughput(Throughput::Elements(STORM as u64));
    group.bench_function(format!("{STORM}_reports_of_one_session"), |bencher| {
        bencher.iter(|| {
            // One that dies young would be taken for somebody else's doing.
            clock.advance(AGE_AT_DEATH);
            let logins = site.logins();
            dead = runtime.block_on(report_all(&broker, &clock, &dead));
            assert_eq!(site.logins(), logins + 1, "one login for all");
        });
    });
    group.finish();
}

/// All tasks report `dead` and ask for its successor, which is returned.
async fn report_all(broker: &Broker, clock: &Clock, dead: &Arc<Session>) -> Arc<Session> {
    let mut tasks = JoinSet::new();
    for _ in 0..STORM {
        let (broker, clock, dead) = (broker.clone(), clock.clone(), Arc::clone(dead));
        tasks.spawn(async move {
            broker.expire(&dead, doorward::session::Evidence::Certain);
            session(&broker, &clock, dead.key).await.unwrap()
        });
    }
    let sessions = tasks.join_all().await;
    let first = Arc::clone(sessions.first().unwrap());
    assert!(sessions.iter().all(|session| session.generation == first.generation));
    first
}

fn waiters(_: &mut Criterion) {
    let site = Upstream::start();
    let control = Runtime::new().unwrap();
    let clock = Clock::system();
    let broker = control.block_on(async { broker(&site, &clock) });
    // As a core does it: one thread runs all who wait.
    let core = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..WAITER_ROUNDS {
        let key = key(&broker, round.into());
        let before = resident_kib();
        let (mut woken, grown) = core.block_on(wait_together(&site, &broker, &clock, key, before));
        woken.sort_unstable();
        let at = |percent: usize| woken.get((woken.len() - 1) * percent / 100).unwrap();
        println!(
            "waiters/{WAITERS}: first {:?}, p50 {:?}, p99 {:?}, last {:?}; {grown} KiB more resident",
            at(0),
            at(50),
            at(99),
            at(100),
        );
    }
    assert_eq!(site.logins(), u64::from(WAITER_ROUNDS), "one login a round");
}

/// How long after the release of the login's answer each of [`WAITERS`] tasks ran, and how many KiB
/// more than `before` were resident while all of them waited.
async fn wait_together(
    site: &Upstream,
    broker: &Broker,
    clock: &Clock,
    key: SessionKey,
    before: u64,
) -> (Vec<Duration>, u64) {
    let logins = site.logins();
    site.hold_logins(true);
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..WAITERS {
        let (broker, clock, waiting) = (broker.clone(), clock.clone(), Arc::clone(&waiting));
        tasks.spawn(async move {
            let mut asking = pin!(session(&broker, &clock, key));
            let first = std::future::poll_fn(|context| Poll::Ready(asking.as_mut().poll(context)));
            assert!(first.await.is_pending(), "the login is held");
            waiting.fetch_add(1, Ordering::Relaxed);
            asking.await.unwrap();
            Instant::now()
        });
    }
    while waiting.load(Ordering::Relaxed) < WAITERS || site.logins() == logins {
        tokio::task::yield_now().await;
    }
    let grown = resident_kib().saturating_sub(before);
    let released = Instant::now();
    site.hold_logins(false);
    let woken = tasks.join_all().await;
    (woken.into_iter().map(|at| at.duration_since(released)).collect(), grown)
}

fn crowd(criterion: &mut Criterion) {
    let site = Upstream::start();
    let runtime = Runtime::new().unwrap();
    let clock = Clock::system();
    let broker = runtime.block_on(async { broker(&site, &clock) });
    let before = resident_kib();
    let keys = runtime.block_on(open_all(&broker, &clock));
    let grown = resident_kib().saturating_sub(before);
    println!("crowd: {} sessions, {grown} KiB more resident", keys.len());
    let logins = site.logins();
    let mut group = criterion.benchmark_group("crowd");
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(format!("{}_keys/{threads}_threads", keys.len()), |bencher| {
            bencher.iter_custom(|rounds| ask(&broker, &clock, &keys, threads, rounds));
        });
    }
    group.finish();
    assert_eq!(site.logins(), logins, "every session was there before");
}

/// Each round all sessions are due, all but one were used meanwhile and get another appointment. The
/// one that was not is the last in their order: its logout tells that all were looked after.
fn appointments(_: &mut Criterion) {
    let site = Upstream::start();
    let runtime = Runtime::new().unwrap();
    let clock = Clock::manual(std::time::SystemTime::now());
    let broker = runtime.block_on(async { broker(&site, &clock) });
    let keys = runtime.block_on(open_all(&broker, &clock));
    let mut sessions: Vec<_> = runtime.block_on(async {
        let mut sessions = Vec::new();
        for key in &keys {
            sessions.push(session(&broker, &clock, *key).await.unwrap());
        }
        sessions
    });
    sessions.sort_by_key(|session| session.generation);
    clock.advance(SESSION_IDLE / 2);
    for round in 1..=APPOINTMENT_ROUNDS {
        let unused = sessions.pop().unwrap();
        for session in &sessions {
            broker.was_used(session, clock.now());
        }
        drop(unused);
        let due = Instant::now();
        clock.advance(SESSION_IDLE / 2);
        while site.logouts() < round as u64 {
            std::thread::yield_now();
        }
        let took = due.elapsed();
        let each = took / u32::try_from(sessions.len()).unwrap();
        println!("appointments: {} kept in {took:?}, {each:?} each", sessions.len());
    }
    assert_eq!(site.logouts(), APPOINTMENT_ROUNDS as u64, "all others are kept");
}

/// Opens a session for every client of every account: one after the other for each account, as its
/// lock-out guard asks.
async fn open_all(broker: &Broker, clock: &Clock) -> Vec<SessionKey> {
    let mut tasks = JoinSet::new();
    for account in 0..ACCOUNTS {
        let (broker, clock) = (broker.clone(), clock.clone());
        tasks.spawn(async move {
            let mut keys = Vec::new();
            for client in 0..CLIENTS {
                let scope = Scope::Client(ClientNumber(client));
                let key = broker.key(AccountId(account), scope);
                session(&broker, &clock, key).await.unwrap();
                keys.push(key);
            }
            keys
        });
    }
    tasks.join_all().await.concat()
}

/// Resident memory of this process, upstream and clients included, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn session(
    broker: &Broker,
    clock: &Clock,
    key: SessionKey,
) -> Result<Arc<Session>, doorward::session::Unavailable> {
    let held = broker.session(key, Trigger::Cold, clock.now() + PATIENCE).await;
    held.map(|held| held.session)
}

fn key(broker: &Broker, account: u32) -> SessionKey {
    broker.key(AccountId(account), Scope::Shared)
}

/// A broker with [`ACCOUNTS`] accounts at one upstream; nobody reads its events.
fn broker(site: &Upstream, clock: &Clock) -> Broker {
    let (reporter, _) = reports();
    let origin = Arc::new(origin(site));
    Broker::new(Parts {
        upstreams: vec![Arc::new(doorward::session::Upstream {
            id: UpstreamId(0),
            name: Arc::from("bench"),
            recipe_print: doorward::session::recipe_print(&recipe()),
            recipe: Arc::new(recipe()),
            origin: Arc::clone(&origin),
            tenant: doorward::session::Tenant(Fingerprint::of([])),
            accounts: (0..ACCOUNTS).map(|number| Arc::new(account(number))).collect(),
            places: doorward::session::Places::new(|_| None),
            transport: Transport::new(Arc::new(Pool::new(origin)), ANSWER_BYTES_MAX),
            streams: doorward::session::Streams::Drain,
            search_bodies: doorward::session::SearchBodies::Identity,
            pause: Arc::default(),
        })],
        clock: clock.clone(),
        reporter,
        limits: Limits {
            login_timeout: PATIENCE,
            login_distance: Duration::ZERO,
            logout_timeout: PATIENCE,
            drain_timeout: PATIENCE,
            session_idle: SESSION_IDLE,
            sessions_max: 1_000_000,
        },
        control: tokio::runtime::Handle::current(),
        without: None,
        kept: Kept::default(),
    })
}

fn origin(site: &Upstream) -> Origin {
    let address = site.address();
    Origin {
        host: address.ip().to_string(),
        port: address.port(),
        url_authority: address.to_string().parse().unwrap(),
        authority: address.to_string().parse().unwrap(),
        way: Way::Direct,
        base_path: String::new(),
        tls: None,
        http2: Http2::Never,
        upgrades: Vec::new(),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        dialler: Dialler::to(&address.ip().to_string(), address.port(), Vec::new()),
    }
}

fn recipe() -> Recipe {
    let path = stage::recipe();
    let text = std::fs::read_to_string(&path).unwrap();
    let document = Document::parse(path, text).unwrap_or_else(|faults| panic!("{faults}"));
    Recipe::load(&document, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn account(number: u32) -> Account {
    let login_name = format!("bench-{number}");
    let password = SecretText::from(stage::PASSWORD.to_owned());
    let fingerprint = Fingerprint::of([&password]);
    let mut values = Values::default();
    values.set("username", SecretText::from(login_name.clone()));
    values.set("password", password);
    Account::new(
        AccountId(number),
        &login_name.clone(),
        login_name,
        Credentials { values, fingerprint },
    )
}

criterion_group!(benches, store, storm, waiters, crowd, appointments);
criterion_main!(benches);
