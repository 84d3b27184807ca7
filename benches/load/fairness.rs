//! One greedy client with 256 connections and nine modest ones with one each share an account with ten
//! reads a second, at an upstream that allows ten reads a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use doorward::access::key::ClientKey;
use doorward::app::{self, App, Inherited, Resolver, Surroundings};
use doorward::clock::Clock;
use doorward::emulator::{Emulator, Options, Vendor, contentstack};
use doorward::secret::Environment;
use doorward::server::Address;
use doorward::settings::Sources;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub const NAME: &str = "fairness";

/// Reads a second, of the account and of its upstream.
const RATE: u64 = 10;

const GREEDY_CONNECTIONS: usize = 256;
const MODEST: usize = 9;

/// Until the first burst is over and everybody waits.
const WARM_UP: Duration = Duration::from_secs(3);

const MEASURED: Duration = Duration::from_secs(20);

/// It stops by itself, whatever hangs.
const ALL_MAX: Duration = Duration::from_secs(30);

/// What a modest client gets at least of its fair share, in percent.
const SHARE_MIN: u64 = 80;

/// How a client fared.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    fn now(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

pub fn run() -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(async { timeout(ALL_MAX, case()).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.unwrap_or_else(|_| Err(format!("it took longer than {ALL_MAX:?}")))
}

async fn case() -> Result<(), String> {
    let clock = Clock::system();
    let options = Options { clock: clock.clone(), ..Options::default() };
    let emulator = Emulator::start(Vendor::Contentstack, options).await.unwrap();
    let names: Vec<String> = std::iter::once("greedy".to_owned())
        .chain((1..=MODEST).map(|number| format!("modest-{number}")))
        .collect();
    let key = |name: &String| ClientKey::generate(name.parse().unwrap()).unwrap();
    let clients: Vec<(String, ClientKey)> =
        names.into_iter().map(|name| (name.clone(), key(&name))).collect();
    let app = start(&emulator, &clients, clock);
    let Address::Tcp(to) = app.listening().first().unwrap().address.clone() else {
        panic!("it listens at a port")
    };

    let mut calls = JoinSet::new();
    let mut tallies = Vec::new();
    for (name, key) in &clients {
        let tally = Arc::new(Tally::default());
        let connections = if name == "greedy" { GREEDY_CONNECTIONS } else { 1 };
        for _ in 0..connections {
            calls.spawn(call(to, key.expose().to_owned(), Arc::clone(&tally)));
        }
        tallies.push(tally);
    }
    sleep(WARM_UP).await;
    let before: Vec<_> = tallies.iter().map(|tally| tally.now()).collect();
    let met_before = emulator.control().counters().rate_limited;
    sleep(MEASURED).await;
    let after: Vec<_> = tallies.iter().map(|tally| tally.now()).collect();
    let met = emulator.control().counters().rate_limited - met_before;
    calls.shutdown().await;
    app.stop().await;

    let fair = RATE * MEASURED.as_secs() / (MODEST as u64 + 1);
    println!(
        "{:12} {:>11} {:>9} {:>8} {:>8}",
        "client", "connections", "answered", "refused", "share"
    );
    let mut failed = Vec::new();
    let mut all = 0;
    for ((name, _), (before, after)) in clients.iter().zip(before.iter().zip(&after)) {
        let (answered, refused) = (after.0 - before.0, after.1 - before.1);
        let share = answered * 100 / fair;
        let connections = if name == "greedy" { GREEDY_CONNECTIONS } else { 1 };
        println!("{name:12} {connections:>11} {answered:>9} {refused:>8} {share:>6} %");
        all += answered;
        if name != "greedy" && share < SHARE_MIN {
            failed.push(format!("{name} got {share} % of its fair share"));
        }
    }
    let seconds = MEASURED.as_secs();
    println!("{all} reads in {seconds} s; the upstream refused {met}");
    if met > 0 {
        failed.push(format!("the upstream answered 429 to {met}"));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// A gateway in this process.
fn start(emulator: &Emulator, clients: &[(String, ClientKey)], clock: Clock) -> App {
    let user = Vendor::Contentstack.seeded_user();
    let mut text = format!(
        "[listeners.main]\naddress = \"127.0.0.1:0\"\n\
         [log]\nlevel = \"warn\"\n\
         [upstreams.cms]\nurl = {:?}\nrecipe = \"contentstack\"\n\
         limits = {{ reads = {{ requests = {RATE}, per = \"1s\" }} }}\n\
         [upstreams.cms.accounts.user]\nusername = {:?}\npassword = {{ env = \"PASSWORD\" }}\n\
         [[routes]]\nupstream = \"cms\"\n",
        emulator.origin(),
        user.login,
    );
    for (name, key) in clients {
        let digest = key.digest();
        text.push_str(&format!("[clients.{name}]\nkeys = [\"{digest}\"]\ngrants = [{{}}]\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorward.toml");
    std::fs::write(&file, text).unwrap();
    let environment = Environment::given([("PASSWORD", user.password.as_str())]);
    let loaded = app::load(&Sources { files: vec![file], environment });
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    let resolver = Resolver::System;
    let surroundings = Surroundings {
        clock,
        resolver,
        readers: Vec::new(),
        without: None,
        inherited: Inherited::default(),
        admin_socket: None,
    };
    App::start(&loaded, surroundings).unwrap()
}

/// Reads again as soon as there is an answer, until it is told to end.
async fn call(to: SocketAddr, key: String, tally: Arc<Tally>) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let calling = async {
        loop {
            let request = Request::get("/v3/content_types")
                .header("host", to.to_string())
                .header("doorward-key", &key)
                .header("api_key", contentstack::API_KEY)
                .body(Empty::<Bytes>::new())
                .unwrap();
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let counter = match answer.status() {
                StatusCode::OK => &tally.answered,
                _ => &tally.refused,
            };
            answer.into_body().collect().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = calling => {}
        _ = connection => {}
    }
}
