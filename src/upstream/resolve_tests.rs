//! Names are asked for as seldom as is right, and what they had last is used on while it is.

use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::telemetry::{Event, Reader, Reporter, reports};

/// Says what a test wants; counts the questions.
#[derive(Debug)]
pub(in crate::upstream) struct Script {
    answer: Mutex<io::Result<Vec<IpAddr>>>,
    asked: AtomicUsize,
    /// Each answer takes one.
    answers: Semaphore,
}

impl Script {
    pub(in crate::upstream) fn saying(addresses: &[&str]) -> Arc<Self> {
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        let answer = Mutex::new(Ok(Vec::new()));
        let script = Arc::new(Self { answer, asked: AtomicUsize::new(0), answers });
        script.says(addresses);
        script
    }

    pub(in crate::upstream) fn says(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        *self.answer.lock().unwrap() = Ok(addresses.collect());
    }

    fn fails(&self) {
        *self.answer.lock().unwrap() = Err(io::Error::other("no name server"));
    }

    /// There was no descriptor to ask anybody with.
    pub(in crate::upstream) fn lacks_descriptors(&self) {
        let number = rustix::io::Errno::MFILE.raw_os_error();
        *self.answer.lock().unwrap() = Err(io::Error::from_raw_os_error(number));
    }

    pub(in crate::upstream) fn is_silent(&self) {
        self.answers.forget_permits(usize::MAX);
    }

    pub(in crate::upstream) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Names for Script {
    fn addresses_of<'n>(&'n self, _: &'n str) -> Asked<'n> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.answers.acquire().await.unwrap().forget();
            let answer = self.answer.lock().unwrap();
            answer.as_ref().cloned().map_err(|error| match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::other(error.to_string()),
            })
        })
    }
}

/// What has been reported.
pub(in crate::upstream) struct Told {
    reporter: Reporter,
    reading: JoinHandle<()>,
    changes: Arc<Mutex<Vec<ReachChange>>>,
}

struct Notes(Arc<Mutex<Vec<ReachChange>>>);

impl Reader for Notes {
    fn read(&mut self, _: SystemTime, event: &Event) {
        if let Event::Reach(about) = event {
            self.0.lock().unwrap().push(about.change.clone());
        }
    }
}

impl Told {
    pub(in crate::upstream) fn listen() -> Self {
        let (reporter, reports) = reports();
        let changes = Arc::<Mutex<Vec<ReachChange>>>::default();
        let reports = reports.for_readers(vec![Box::new(Notes(Arc::clone(&changes)))]);
        Self { reporter, reading: tokio::spawn(reports.run()), changes }
    }

    pub(in crate::upstream) fn observer(&self, clock: &Clock) -> Observer {
        let reporter = Some(self.reporter.downgrade());
        Observer { upstream: Arc::from("api"), clock: clock.clone(), reporter }
    }

    pub(in crate::upstream) async fn all(self) -> Vec<ReachChange> {
        drop(self.reporter);
        self.reading.await.unwrap();
        self.changes.lock().unwrap().clone()
    }
}

const EVERY: Duration = Duration::from_secs(30);

fn name(script: &Arc<Script>, observer: Observer) -> Arc<Name> {
    let resolver = Resolver::Given(Arc::clone(script) as Arc<dyn Names>);
    let leads = Leads::new("api.example", Vec::new());
    Arc::new(Name::new(("api.example".to_owned(), 443), resolver, EVERY, leads, observer))
}

fn clock() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH)
}

async fn addresses(name: &Arc<Name>) -> Vec<String> {
    let endpoints = name.endpoints().await.unwrap();
    endpoints.iter().map(|endpoint| endpoint.address.ip().to_string()).collect()
}

/// Fails when every connection asks, or when a change is never seen.
#[tokio::test]
async fn a_name_is_asked_for_again_after_its_time_and_not_before() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    for _ in 0..100 {
        assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    }
    assert_eq!(script.asked(), 1);
    script.says(&["192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    clock.advance(EVERY - Duration::from_millis(1));
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(addresses(&name).await, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!((script.asked(), name.peers()), (2, 2));
    assert_eq!(told.all().await, [ReachChange::AddressesChanged { addresses: 2 }]);
}

/// Fails when a thousand connections at once are a thousand questions.
#[tokio::test]
async fn who_wants_to_know_at_the_same_time_asks_once() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    script.is_silent();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let name = Arc::clone(&name);
        asking.spawn(async move { name.endpoints().await.unwrap().len() });
    }
    // One that gives up takes its question along with it for nobody.
    let given_up = tokio::spawn({
        let name = Arc::clone(&name);
        async move { name.endpoints().await.unwrap().len() }
    });
    tokio::task::yield_now().await;
    given_up.abort();
    script.answers.add_permits(1);
    assert_eq!(asking.join_all().await, [1; 1000]);
    assert_eq!(script.asked(), 1);
}

/// Fails when an upstream is lost with its name server, or is used for ever under an address that
/// nobody has confirmed.
#[tokio::test]
async fn the_last_addresses_are_used_on_for_an_hour_while_nobody_answers() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    let endpoint = Arc::clone(&name.endpoints().await.unwrap()[0]);
    script.fails();
    clock.advance(EVERY);
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    assert_eq!(script.asked(), 2);
    clock.advance(ASKED_AGAIN_AFTER);
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    assert_eq!(script.asked(), 3);
    assert!(!endpoint.is_gone());
    clock.advance(LAST_ANSWER_AGE_MAX - EVERY - ASKED_AGAIN_AFTER);
    let error = name.endpoints().await.unwrap_err();
    assert!(matches!(error, ConnectError::Dns(_)), "{error:?}");
    assert!(endpoint.is_gone());
    script.says(&["192.0.2.1"]);
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    let why = "no name server".to_owned();
    let kept_for = Some(LAST_ANSWER_AGE_MAX - EVERY);
    let told = told.all().await;
    assert_eq!(
        told[..3],
        [
            ReachChange::NameUnresolved { why: why.clone(), kept_for },
            ReachChange::NameUnresolved { why, kept_for: None },
            ReachChange::NameResolved,
        ]
    );
}

/// Fails when a name server that hangs holds up every connection of an upstream that is known.
#[tokio::test(start_paused = true)]
async fn a_new_answer_is_not_waited_for_long_where_there_is_an_older_one() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    script.says(&["192.0.2.2"]);
    script.is_silent();
    clock.advance(EVERY);
    let began = tokio::time::Instant::now();
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    assert_eq!(began.elapsed(), NEW_ANSWER_WAIT_MAX);
    // The question stays open, and its answer counts.
    script.answers.add_permits(1);
    assert_eq!(addresses(&name).await, ["192.0.2.2"]);
    assert_eq!(script.asked(), 2);
}

/// Fails when what is known of an address is forgotten with each answer, or when connections to an
/// address that is gone are used again.
#[tokio::test]
async fn addresses_that_stay_are_the_same_and_those_that_go_are_gone() {
    let (script, clock, told) =
        (Script::saying(&["192.0.2.1", "192.0.2.2"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    let before = name.endpoints().await.unwrap();
    script.says(&["192.0.2.2", "192.0.2.3"]);
    clock.advance(EVERY);
    let after = name.endpoints().await.unwrap();
    assert!(Arc::ptr_eq(&before[1], &after[0]));
    assert!(before[0].is_gone() && !before[1].is_gone() && !after[1].is_gone());
}

/// Fails when a failed connection has to wait for the time of the answer, or when each of many asks.
#[tokio::test]
async fn a_connection_that_fails_has_the_name_asked_for_sooner() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    for _ in 0..100 {
        name.failed();
        assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    }
    assert_eq!(script.asked(), 1);
    script.says(&["192.0.2.2"]);
    clock.advance(QUESTIONS_DISTANCE);
    assert_eq!(addresses(&name).await, ["192.0.2.2"]);
}

/// Fails when an answer that changes to a prohibited address is taken, or when the address before
/// it is used on.
#[tokio::test]
async fn a_name_that_begins_to_lead_where_it_must_not_leads_nowhere() {
    let (script, clock, told) = (Script::saying(&["192.0.2.1"]), clock(), Told::listen());
    let name = name(&script, told.observer(&clock));
    let before = name.endpoints().await.unwrap();
    script.says(&["127.0.0.1", "192.0.2.1"]);
    clock.advance(EVERY);
    assert_eq!(addresses(&name).await, ["192.0.2.1"]);
    script.says(&["169.254.169.254", "127.0.0.1"]);
    clock.advance(EVERY);
    let error = name.endpoints().await.unwrap_err();
    assert!(matches!(error, ConnectError::Prohibited(_)), "{error:?}");
    assert!(before[0].is_gone());
    let prohibited =
        |change: &&ReachChange| matches!(change, ReachChange::AddressProhibited { .. });
    assert_eq!(told.all().await.iter().filter(prohibited).count(), 2);
}

/// Says that this process is to have no descriptors, and to resolve a name.
const WITHOUT_DESCRIPTORS: &str = "DOORWARD_TEST_WITHOUT_DESCRIPTORS";

/// Fails when a name that cannot be resolved for want of descriptors is told as one that nobody
/// knows: `getaddrinfo` does so. A process of its own runs out of them.
#[test]
fn a_want_of_descriptors_is_told_as_such_whatever_the_resolver_calls_it() {
    if std::env::var_os(WITHOUT_DESCRIPTORS).is_none() {
        let name = "a_want_of_descriptors_is_told_as_such_whatever_the_resolver_calls_it";
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", &format!("upstream::resolve::tests::{name}")]);
        let ended = process.env(WITHOUT_DESCRIPTORS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    use rustix::process::{Resource, Rlimit, setrlimit};
    let few = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current: few, maximum: few }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    let error = runtime.block_on(Resolver::System.addresses("door.example.test", 80)).unwrap_err();
    drop(all);
    assert!(is_exhausted(&error), "{error:?}");
}
