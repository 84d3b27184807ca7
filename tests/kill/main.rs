//! Doorward is killed a hundred times, in the middle of logins, renewals, rotations and logouts. No
//! account may be locked by that, no session used after its logout, and nothing left open but the
//! sessions of logins whose answer the kill has cut off: at most one a kill, each of them told.
//!
//! The moments are drawn from a seed; `DOORWARD_KILL_SEED` chooses another one.

// What is outside `#[test]` functions here is still only tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod pairs;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use doorward::emulator::{
    Credential, Emulator, Forced, Options, RequestRecord, User, Vendor, contentstack, mfiles,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Kills for each of the three vendors.
const KILLS: u64 = 34;

/// A kill comes at most so long after what it interrupts has begun: longer than a login takes.
const MOMENT_MAX: Duration = Duration::from_millis(60);

/// How long a login and a logout take at the upstream.
const SLOW: Duration = Duration::from_millis(15);

/// A rotation begins when the file's change was noticed.
const ROTATION_MAX: Duration = Duration::from_millis(900);

/// No step takes longer; one that does is hung.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

const LOST: &str = "a login's answer was lost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contentstack_survives_kills() {
    survives(Vendor::Contentstack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thoughtspot_survives_kills() {
    survives(Vendor::ThoughtSpot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mfiles_survives_kills() {
    survives(Vendor::MFiles).await;
}

/// What a kill interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    /// The first login after a start.
    Login,
    /// The login after a session was found dead.
    Renewal,
    /// The change to another password.
    Rotation,
    /// The stop.
    Logout,
}

const ALL: [Interrupted; 4] =
    [Interrupted::Login, Interrupted::Renewal, Interrupted::Rotation, Interrupted::Logout];

/// Fails when an attempt is sent before it is recorded, a token used before, or a session after its
/// logout was begun; when what was left is not closed; or when a lost answer is not told.
async fn survives(vendor: Vendor) {
    let emulator = Emulator::start(vendor, Options::default()).await.unwrap();
    let control = emulator.control();
    match vendor {
        Vendor::Contentstack => control.switch("rate_limit", json!(false)).unwrap(),
        Vendor::ThoughtSpot => control.switch("requests_per_second", json!(0)).unwrap(),
        Vendor::MFiles => {}
    }
    // Long enough to be hit.
    for matching in slow_lines(vendor) {
        let slow = Forced { matching, times: u32::MAX, delay: SLOW, ..Forced::default() };
        control.force(slow).unwrap();
    }
    let seed = std::env::var("DOORWARD_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut chance = Chance(seed.unwrap_or(1) ^ (vendor as u64) << 32);
    let site = Site::new(&emulator);
    // What may be open besides the session in use: those whose answer was lost.
    let (mut lost, mut all_lost) = (0, 0);
    for kill in 0..KILLS {
        let interrupted = ALL[usize::try_from(chance.below(4)).unwrap()];
        control.reset_counters();
        let mut doorward = site.start(kill).await;
        doorward.recover(vendor).await;
        let told = site.told(kill);
        assert!(told <= 1, "{vendor}, kill {kill}: {told} lost answers");
        (lost, all_lost) = (lost + told, all_lost + told);
        until(&format!("{vendor}, kill {kill}: what was left open is closed"), || {
            control.counters().live_sessions <= 1 + lost
        })
        .await;
        if !matches!(interrupted, Interrupted::Rotation | Interrupted::Renewal) {
            assert_eq!(dead_reads(&control.requests()), 0, "{vendor}, kill {kill}");
        }

        let mut moment = MOMENT_MAX;
        match interrupted {
            Interrupted::Login => {
                doorward.stop().await;
                doorward = site.start(KILLS + kill).await;
                doorward.ask(vendor);
            }
            Interrupted::Renewal => {
                control.expire_sessions();
                lost = 0;
                doorward.ask(vendor);
            }
            Interrupted::Rotation => {
                let password = format!("the password after kill {kill} of {vendor}");
                site.change_password(&emulator, &password);
                doorward.ask(vendor);
                moment = ROTATION_MAX;
            }
            Interrupted::Logout => doorward.signal().await,
        }
        doorward.kill_in(moment.mul_f64(chance.part())).await;
        assert_eq!(control.counters().lockouts, 0, "{vendor}, kill {kill}: {interrupted:?}");
    }
    let mut last = site.start(2 * KILLS).await;
    last.recover(vendor).await;
    lost += site.told(2 * KILLS);
    until(&format!("{vendor}: the last start closes what was left open"), || {
        control.counters().live_sessions <= 1 + lost
    })
    .await;
    last.stop().await;
    assert!(all_lost > 0, "{vendor}: no kill came between a login and its answer");
    let counters = control.counters();
    assert!(counters.live_sessions <= lost, "{vendor}: {counters:?}, {lost} lost");
    assert_eq!(counters.lockouts, 0, "{vendor}");
    emulator.stop().await;
}

/// The logins and logouts of a vendor.
fn slow_lines(vendor: Vendor) -> [String; 2] {
    let lines = match vendor {
        Vendor::Contentstack => ["POST /v3/user-session", "DELETE /v3/user-session"],
        Vendor::ThoughtSpot => ["v1/session/login", "v1/session/logout"],
        Vendor::MFiles => ["POST /REST/server/authenticationtokens", "POST /REST/session.aspx"],
    };
    lines.map(str::to_owned)
}

/// Clients' requests that carried a session which the upstream had ended.
fn dead_reads(requests: &[RequestRecord]) -> usize {
    let is_read = |request: &&RequestRecord| {
        let line = format!("{} {}", request.method, request.target);
        request.credential == Credential::Dead
            && ["content_types", "metadata/list", "views/items"]
                .iter()
                .any(|part| line.contains(part))
    };
    requests.iter().filter(is_read).count()
}

/// The folder that every run shares.
struct Site {
    folder: TempDir,
}

impl Site {
    /// With nothing in it.
    fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn new(emulator: &Emulator) -> Self {
        let site = Self::bare();
        let vendor = emulator.vendor();
        let user = vendor.seeded_user();
        let parameters = match vendor {
            Vendor::MFiles => format!("parameters = {{ vault = {:?} }}", mfiles::VAULT),
            Vendor::Contentstack | Vendor::ThoughtSpot => String::new(),
        };
        site.write("password", &user.password);
        site.write("state_key", "the key that seals the state of this test");
        site.write(
            "doorward.toml",
            &format!(
                "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
                 [upstreams.vendor]\nurl = {:?}\nrecipe = \"{vendor}\"\n{parameters}\n\
                 [upstreams.vendor.accounts.user]\nusername = {:?}\n\
                 password = {{ file = \"password\", verbatim = true }}\n\
                 [[routes]]\nupstream = \"vendor\"\n[runtime]\ncores = 1\n\
                 [timeouts]\nlogin_distance = \"0s\"\n\
                 [state]\npath = \"state\"\nkey = {{ file = \"state_key\" }}\n",
                emulator.origin(),
                user.login
            ),
        );
        site
    }

    /// Writes a file whole: whoever looks at it sees the old one or the new one.
    fn write(&self, name: &str, content: &str) {
        let (path, new) = (self.folder.path().join(name), self.folder.path().join("new"));
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn change_password(&self, emulator: &Emulator, password: &str) {
        let login = emulator.vendor().seeded_user().login;
        emulator.control().add_user(User::new(login, password));
        self.write("password", password);
    }

    fn log(&self, run: u64) -> PathBuf {
        self.folder.path().join(format!("log-{run}"))
    }

    /// Lost answers that a run has told of.
    fn told(&self, run: u64) -> u64 {
        fs::read_to_string(self.log(run)).unwrap().matches(LOST).count() as u64
    }

    async fn start(&self, run: u64) -> Doorward {
        Doorward::start(self.folder.path(), &self.log(run)).await
    }
}

/// A running process.
struct Doorward {
    child: Child,
    address: SocketAddr,
    _lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Doorward {
    async fn start(folder: &Path, log: &Path) -> Self {
        let errors = fs::File::create(log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["run", "-c"])
            .arg(folder.join("doorward.toml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = timeout(STEP_TIME_MAX, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("{}", fs::read_to_string(log).unwrap()));
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
        };
        Self { child, address, _lines: lines, log: log.to_owned() }
    }

    /// Asks until the upstream answers; meanwhile the gateway may hold logins back.
    async fn recover(&self, vendor: Vendor) {
        self.recovers(|| ask(self.address, vendor)).await;
    }

    /// The same, with what `ask` asks.
    async fn recovers<A: Future<Output = String>>(&self, ask: impl Fn() -> A) {
        let recovering = async {
            loop {
                let answer = ask().await;
                match answer.get(..12) {
                    Some("HTTP/1.1 200") => return,
                    Some("HTTP/1.1 503") => {}
                    _ => panic!("{answer}\n{}", fs::read_to_string(&self.log).unwrap()),
                }
            }
        };
        timeout(STEP_TIME_MAX, recovering).await.expect("it never recovers");
    }

    /// Sends a request and waits for nothing.
    fn ask(&self, vendor: Vendor) {
        let address = self.address;
        tokio::spawn(async move { ask(address, vendor).await });
    }

    async fn signal(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    async fn stop(&mut self) {
        self.signal().await;
        let status = timeout(STEP_TIME_MAX, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Kills it, unless it ends by itself before that moment.
    async fn kill_in(mut self, moment: Duration) {
        if timeout(moment, self.child.wait()).await.is_err() {
            self.child.kill().await.unwrap();
        }
    }
}

/// The whole answer to a read; nothing where the connection broke.
async fn ask(address: SocketAddr, vendor: Vendor) -> String {
    let line = match vendor {
        Vendor::Contentstack => {
            format!("/v3/content_types HTTP/1.1\r\napi_key: {}", contentstack::API_KEY)
        }
        Vendor::ThoughtSpot => {
            "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK HTTP/1.1".to_owned()
        }
        Vendor::MFiles => format!("/REST/views/items HTTP/1.1\r\nx-vault: {}", mfiles::VAULT),
    };
    get(address, &line).await
}

/// The whole answer to a GET of this line; nothing where the connection broke.
async fn get(address: SocketAddr, line: &str) -> String {
    let head = format!("GET {line}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if let Ok(mut connection) = TcpStream::connect(address).await
        && connection.write_all(head.as_bytes()).await.is_ok()
    {
        _ = connection.read_to_end(&mut answer).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(STEP_TIME_MAX, waiting).await.is_ok(), "it never came that {what}");
}

/// Numbers that look drawn, the same for each seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn part(&mut self) -> f64 {
        self.below(1_000_001) as f64 / 1_000_000.0
    }
}
