//! What a request costs the gateway's process: user-space instructions, counted by callgrind, and
//! CPU time, as the system accounts it. Instructions do not depend on what else the machine does;
//! CPU time does, so several rounds tell how much.
//!
//! `cargo bench --bench instructions [-- CASE...]`, or `-- broker` for what each part of a broker
//! costs. Without valgrind only CPU time is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench may end early, and its output is what it is for"
)]

mod stage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use doorward::access::key::ClientKey;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use stage::client::{Case, Client};
use stage::upstream::Upstream;
use stage::{
    AUDIT_KEY, AUDIT_KEY_VARIABLE, KEYS, Listeners, OPEN, PASSWORD, PASSWORD_VARIABLE, Parts,
};

/// Another gateway to measure than the one of this build, such as the one of the commit before.
const GATEWAY_VARIABLE: &str = "BENCH_GATEWAY";

/// Connections that call at the same time, each one call after the other.
const CONNECTIONS: usize = 16;

/// Calls before those that count: they make connections, log in and fill caches.
const WARM_UP: usize = 320;

/// Calls that callgrind counts. The count of a process without them is taken off.
const COUNTED: usize = 3_200;

/// Calls in a round of CPU time: half a second or so, to be measured in hundredths.
const TIMED: usize = 16_000;

/// Rounds of CPU time.
const ROUNDS: usize = 5;

/// How long a gateway may take to start, to answer a round or to stop; callgrind makes it 50 times
/// slower.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);

/// Hundredths of a second, the unit of `/proc/PID/stat` (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICK_MICROSECONDS: u64 = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this, too, without a release build worth measuring.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:<16} {:>22} {:>10}   rounds: user + system",
        "case", "instructions/request", "CPU us"
    );
    let names: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let rows = match names.as_slice() {
        [BROKER] => broker(),
        [] => Case::ALL.map(plain).to_vec(),
        names => Case::ALL.map(plain).into_iter().filter(|row| names.contains(&row.0)).collect(),
    };
    for (name, case, parts) in rows {
        let stage = Stage::new(name, parts);
        let mut rounds = runtime.block_on(stage.cpu(case));
        rounds.sort_by_key(|cost| cost.user + cost.system);
        let median = rounds.get(ROUNDS / 2).map_or(0, |cost| cost.user + cost.system);
        let instructions = runtime.block_on(stage.instructions(case));
        let instructions = instructions.map_or("no valgrind".to_owned(), |count| count.to_string());
        let rounds: Vec<String> = rounds.iter().map(|cost| cost.per_request()).collect();
        println!(
            "{name:<16} {instructions:>22} {:>10.1}   {}",
            per_request(median),
            rounds.join(", ")
        );
    }
}

/// The argument that asks for [`broker`].
const BROKER: &str = "broker";

/// A line of the table: its name, the calls, and what is on.
type Row = (&'static str, Case, Parts);

fn plain(case: Case) -> Row {
    (case.name(), case, Parts::default())
}

/// The same call with everything off, each part by itself, and everything on. Grants take keys.
fn broker() -> Vec<Row> {
    let off = Parts::default();
    vec![
        ("off", Case::Get, off),
        ("keys", Case::GetWithKey, off),
        ("keys_and_grants", Case::GetWithKey, Parts { grants: true, ..off }),
        ("limits", Case::Get, Parts { limits: true, ..off }),
        ("audit", Case::Get, Parts { audit: true, ..off }),
        ("all", Case::GetWithKey, Parts { grants: true, limits: true, audit: true }),
    ]
}

/// An upstream and the files of a gateway in front of it.
struct Stage {
    name: &'static str,
    key: ClientKey,
    folder: TempDir,
    _upstream: Upstream,
}

/// CPU time of one round, in ticks.
#[derive(Clone, Copy, Debug)]
struct Cost {
    user: u64,
    system: u64,
}

impl Cost {
    fn per_request(self) -> String {
        format!("{:.1} + {:.1}", per_request(self.user), per_request(self.system))
    }
}

fn per_request(ticks: u64) -> f64 {
    (ticks * TICK_MICROSECONDS) as f64 / TIMED as f64
}

impl Stage {
    fn new(name: &'static str, parts: Parts) -> Self {
        let (upstream, key) = (Upstream::start(), stage::key());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("doorward.toml");
        let tables = std::env::var("BENCH_TABLES").unwrap_or_default();
        std::fs::write(file, stage::configuration(&upstream, &key, parts) + &tables).unwrap();
        Self { name, key, folder, _upstream: upstream }
    }

    /// CPU time of some rounds on a gateway as users run it.
    async fn cpu(&self, case: Case) -> Vec<Cost> {
        let mut gateway = Gateway::start(self.command(None)).await.unwrap();
        let to = case.listener(gateway.listeners);
        let mut connections = connect(case, to).await;
        connections = self.calls(connections, case, to, WARM_UP).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let before = gateway.cpu();
            connections = self.calls(connections, case, to, TIMED).await;
            let after = gateway.cpu();
            let (user, system) = (after.user - before.user, after.system - before.system);
            rounds.push(Cost { user, system });
        }
        drop(connections);
        gateway.stop().await;
        rounds
    }

    /// Instructions per request; nothing without valgrind.
    async fn instructions(&self, case: Case) -> Option<u64> {
        let without = self.counted(case, 0).await?;
        let with = self.counted(case, COUNTED).await?;
        Some(with.saturating_sub(without) / COUNTED as u64)
    }

    /// Instructions of a whole process that answers `calls` calls after the warm-up.
    async fn counted(&self, case: Case, calls: usize) -> Option<u64> {
        let counts = counts_file(self.name);
        let mut gateway = Gateway::start(self.command(Some(&counts))).await?;
        let to = case.listener(gateway.listeners);
        let connections = self.calls(connect(case, to).await, case, to, WARM_UP).await;
        drop(self.calls(connections, case, to, calls).await);
        gateway.stop().await;
        total(&counts)
    }

    /// `count` calls, shared evenly by the connections.
    async fn calls(
        &self,
        connections: Vec<Client>,
        case: Case,
        to: SocketAddr,
        count: usize,
    ) -> Vec<Client> {
        let mut callers = JoinSet::new();
        for mut client in connections {
            let request = case.request(to, &self.key);
            callers.spawn(async move {
                for _ in 0..count / CONNECTIONS {
                    client.call(request.clone()).await;
                }
                client
            });
        }
        timeout(STEP_TIME_MAX, callers.join_all()).await.unwrap()
    }

    /// The gateway's command, counted by callgrind where a file for its counts is given.
    fn command(&self, counts: Option<&Path>) -> Command {
        let gateway = std::env::var_os(GATEWAY_VARIABLE);
        let gateway = gateway.unwrap_or_else(|| env!("CARGO_BIN_EXE_doorward").into());
        let mut command = match counts {
            None => Command::new(gateway),
            Some(counts) => {
                let mut command = Command::new("valgrind");
                let file = format!("--callgrind-out-file={}", counts.display());
                command.args(["--quiet", "--tool=callgrind", &file]).arg(gateway);
                command
            }
        };
        command
            .args(["run", "-c"])
            .arg(self.folder.path().join("doorward.toml"))
            .env(PASSWORD_VARIABLE, PASSWORD)
            .env(AUDIT_KEY_VARIABLE, AUDIT_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

async fn connect(case: Case, to: SocketAddr) -> Vec<Client> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Client::connect(case, to).await);
    }
    connections
}

/// Where the counts of a case are left for `callgrind_annotate`.
fn counts_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.callgrind"))
}

/// The instructions in callgrind's output (its manual, "Callgrind Format Specification").
fn total(counts: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(counts).ok()?;
    let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    totals.trim().parse().ok()
}

/// A running gateway.
struct Gateway {
    child: Child,
    listeners: Listeners,
    /// Read on, so that the gateway never writes into a closed pipe.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    /// Starts it and waits until it has said where it listens; nothing when there is no such
    /// program.
    async fn start(mut command: Command) -> Option<Self> {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("the gateway cannot be started: {error}"),
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut open, mut keys) = (None, None);
        while open.is_none() || keys.is_none() {
            let line = timeout(STEP_TIME_MAX, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("the gateway ended at its start"));
            match listening(&line) {
                Some((address, OPEN)) => open = Some(address),
                Some((address, KEYS)) => keys = Some(address),
                _ => {}
            }
        }
        let listeners = Listeners { open: open.unwrap(), keys: keys.unwrap() };
        Some(Self { child, listeners, _lines: lines })
    }

    /// CPU time of all its threads so far (proc(5), `/proc/PID/stat`, fields 14 and 15).
    fn cpu(&self) -> Cost {
        let id = self.child.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // The second field is a name in parentheses, which may hold blanks.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut ticks = fields.split(' ').skip(11).map(|field| field.parse().unwrap());
        Cost { user: ticks.next().unwrap(), system: ticks.next().unwrap() }
    }

    async fn stop(&mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let ended = timeout(STEP_TIME_MAX, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "the gateway ended with {ended}");
    }
}

/// Address and name in a line such as `listening on http://127.0.0.1:40213 (open)`.
fn listening(line: &str) -> Option<(SocketAddr, &str)> {
    let (url, name) = line.strip_prefix("listening on ")?.split_once(' ')?;
    let address = url.strip_prefix("http://")?.parse().ok()?;
    Some((address, name.strip_prefix('(')?.strip_suffix(')')?))
}
