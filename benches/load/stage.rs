//! What the cases share that need processes: an upstream, Doorward in front of it, and a well-behaved
//! client, each in a process of its own. All of them end with the one that started them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Interval, interval_at, timeout};
use tokio_util::sync::CancellationToken;

/// The first argument of a process that is started here.
pub const UPSTREAM: &str = "as-upstream";
pub const CLIENT: &str = "as-client";

/// How long a process may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(20);

/// No process lives longer, whatever becomes of the one that started it.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// What the upstream can send before somebody takes it: little, so that a thousand answers that
/// nobody takes fit into the machine.
const UPSTREAM_BUFFER_BYTES: usize = 32 * 1024;

/// Connections that may wait until the upstream accepts them, where the system lets so many.
const BACKLOG: u32 = 4096;

/// A well-behaved client asks so often.
const PACE: Duration = Duration::from_millis(5);

/// Its connections.
const CONNECTIONS: u32 = 32;

/// How long it waits for an answer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// What a well-behaved client may wait for 99 of 100 answers.
pub const P99_MAX: Duration = Duration::from_millis(50);

/// A process that ends with this.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Process {
    fn start(mut command: Command) -> (Self, BufReader<ChildStdout>) {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = Self(child);
        let out = BufReader::new(process.0.stdout.take().unwrap());
        (process, out)
    }

    /// A part of `/proc/PID` in KiB.
    fn kib(&self, file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// What a process takes, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: u64,
    pub pss: u64,
}

/// Doorward, and the upstream behind it.
pub struct Stage {
    pub address: SocketAddr,
    doorward: Process,
    _upstreams: [Process; 2],
    _folder: TempDir,
}

impl Stage {
    /// With further lines of the configuration.
    pub fn start(tables: &str) -> Self {
        // What has no end comes from an upstream of its own: that is busy with what it makes, and not
        // meant where the others wait.
        let [(upstream, origin), (endless, endless_origin)] = [(); 2].map(|()| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(UPSTREAM);
            let (upstream, mut out) = Process::start(command);
            let origin = line(&mut out, "");
            (upstream, origin)
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("doorward.toml");
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recipe.toml");
        let text = format!(
            "[log]\nlevel = \"warn\"\n[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [upstreams.load]\nurl = \"http://{origin}\"\nrecipe_file = {recipe:?}\n\
             [upstreams.load.accounts.load]\nusername = \"load\"\npassword = {{ env = \"PASSWORD\" }}\n\
             [upstreams.endless]\nurl = \"http://{endless_origin}\"\nrecipe_file = {recipe:?}\n\
             [upstreams.endless.accounts.load]\nusername = \"load\"\npassword = {{ env = \"PASSWORD\" }}\n\
             [[routes]]\nupstream = \"load\"\n\
             [[routes]]\npath = \"/long\"\nupstream = \"endless\"\n{tables}"
        );
        std::fs::write(&file, text).unwrap();
        let binary = std::env::var_os("BENCH_GATEWAY").map(PathBuf::from);
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_doorward").into());
        let mut command = Command::new(binary);
        command.args(["run", "-c"]).arg(&file).env("PASSWORD", "a password of the load cases");
        let (doorward, mut out) = Process::start(command);
        let said = line(&mut out, "listening on http://");
        let address = said.split(' ').next().unwrap().parse().unwrap();
        // It would be stopped by a pipe that nobody reads any more.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Self { address, doorward, _upstreams: [upstream, endless], _folder: folder }
    }

    pub fn memory(&self) -> Memory {
        let rss = self.doorward.kib("status", "VmRSS:");
        Memory { rss, pss: self.doorward.kib("smaps_rollup", "Pss:") }
    }

    /// A well-behaved client that asks from now on.
    pub fn client(&self) -> Client {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CLIENT).arg(self.address.to_string());
        let (process, mut out) = Process::start(command);
        line(&mut out, "");
        Client { process, out }
    }
}

fn line(out: &mut BufReader<ChildStdout>, begin: &str) -> String {
    let begun = Instant::now();
    loop {
        let mut text = String::new();
        assert_ne!(out.read_line(&mut text).unwrap(), 0, "a process ended before it listened");
        if let Some(rest) = text.trim_end().strip_prefix(begin) {
            return rest.to_owned();
        }
        assert!(begun.elapsed() < START_MAX, "a process does not say where it listens");
    }
}

/// A well-behaved client.
pub struct Client {
    process: Process,
    out: BufReader<ChildStdout>,
}

/// How a well-behaved client fared.
#[derive(Clone, Copy, Debug)]
pub struct Fared {
    pub answers: usize,
    pub errors: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
}

impl Client {
    /// Has it stop, and tell.
    pub fn stop(mut self) -> Fared {
        drop(self.process.0.stdin.take());
        let mut told = String::new();
        self.out.read_to_string(&mut told).unwrap();
        let numbers: Vec<u64> =
            told.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [answers, errors, p50, p99, longest] = numbers[..] else { panic!("it told {told:?}") };
        let micros = Duration::from_micros;
        Fared {
            answers: answers as usize,
            errors: errors as usize,
            p50: micros(p50),
            p99: micros(p99),
            longest: micros(longest),
        }
    }
}

impl Fared {
    /// Prints it, and says what does not hold.
    pub fn judge(&self, failed: &mut Vec<String>) {
        let Self { answers, errors, p50, p99, longest } = self;
        println!(
            "a client meanwhile: {answers} answers, {errors} errors, p50 {p50:?}, p99 {p99:?}, \
             longest {longest:?}"
        );
        if *errors > 0 || *answers == 0 {
            failed.push(format!("the client had {errors} errors"));
        }
        if *p99 > P99_MAX {
            failed.push(format!("the client's p99 is {p99:?}"));
        }
    }
}

/// How many descriptors this process may have, and what it starts; said before a case begins.
pub fn descriptors(wanted: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let said =
        |limit: Option<u64>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
    println!(
        "descriptors: {} (hard limit {}); this case needs {wanted}",
        said(limit.current),
        said(limit.maximum)
    );
    match limit.current.is_none_or(|current| current >= wanted) {
        true => Ok(()),
        false => Err(format!("it needs a limit of {wanted} descriptors (ulimit -n)")),
    }
}

/// A process that answers as upstream or asks as client; nothing if this is none.
pub fn as_process(arguments: &[String]) -> Option<()> {
    let runtime = || {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        built.unwrap()
    };
    let all = match arguments {
        [role] if role == UPSTREAM => {
            runtime().block_on(async { timeout(LIFE_MAX, upstream()).await })
        }
        [role, to] if role == CLIENT => {
            let to = to.parse().unwrap();
            runtime().block_on(async { timeout(LIFE_MAX, client(to)).await })
        }
        _ => return None,
    };
    _ = all;
    Some(())
}

/// Ends when whoever started this process has.
async fn orphaned() {
    let mut input = tokio::io::stdin();
    _ = input.read(&mut [0]).await;
}

async fn upstream() {
    // All connections of a case may come at once: what the system drops comes seconds later.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            SockRef::from(&stream).set_send_buffer_size(UPSTREAM_BUFFER_BYTES).unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(converse(stream));
        }
    };
    tokio::select! {
        () = orphaned() => {}
        () = accepting => {}
    }
    std::process::exit(0);
}

/// Answers one request after the other until the connection ends.
async fn converse(mut stream: TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = seen.windows(4).position(|part| part == b"\r\n\r\n") {
                let rest = seen.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut seen, rest)).ok()?;
            }
            if stream.read_buf(&mut seen).await.ok()? == 0 {
                return None;
            }
        };
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(Some(0), |length| length.parse::<usize>().ok())?;
        while seen.len() < length {
            if stream.read_buf(&mut seen).await.ok()? == 0 {
                return None;
            }
        }
        seen.drain(..length);
        if head.starts_with("POST /session") {
            let token = r#"{"token":"session-of-the-load-cases"}"#;
            let length = token.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{token}");
            stream.write_all(answer.as_bytes()).await.ok()?;
        } else if !lower.contains("x-session: session-of-the-load-cases") {
            let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok()?;
        } else if head.starts_with("GET /long") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok()?;
            let piece = vec![b'd'; 16 * 1024];
            loop {
                stream.write_all(&piece).await.ok()?;
            }
        } else {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{:1024}", "d");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// One call, to the end of its answer.
pub async fn call(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET /short HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let mut seen = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = seen.windows(4).position(|part| part == b"\r\n\r\n") {
            if !seen.starts_with(b"HTTP/1.1 200") {
                let text = String::from_utf8_lossy(&seen).into_owned();
                return Err(std::io::Error::other(text));
            }
            if seen.len() >= end + 4 + 1024 {
                return Ok(());
            }
        }
    }
}

/// Asks on one connection; how long each answer took, counted from when it was due, and how many did
/// not come. Who is late is not counted as fast, and what is asked is waited for.
async fn ask(
    to: SocketAddr,
    mut pace: Interval,
    stop: CancellationToken,
) -> (Vec<Duration>, usize) {
    let (mut times, mut errors, mut stream) = (Vec::new(), 0, None);
    loop {
        let due = tokio::select! {
            due = pace.tick() => due,
            () = stop.cancelled() => return (times, errors),
        };
        let called = async {
            let mut connected = match stream.take() {
                Some(connected) => connected,
                None => TcpStream::connect(to).await?,
            };
            connected.set_nodelay(true)?;
            call(&mut connected).await?;
            stream = Some(connected);
            Ok::<_, std::io::Error>(())
        };
        match timeout(CALL_MAX, called).await {
            Ok(Ok(())) => times.push(due.elapsed()),
            error => {
                eprintln!("the client: {error:?}");
                errors += 1;
            }
        }
    }
}

/// Asks at its pace until nobody listens any more, and then tells how that went. It has as many
/// connections as it needs for that, and each asks in its own time: an answer that comes late makes
/// only those on the same connection late.
async fn client(to: SocketAddr) {
    let (stop, mut connections) = (CancellationToken::new(), JoinSet::new());
    let mut first = TcpStream::connect(to).await.unwrap();
    call(&mut first).await.unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    for number in 0..CONNECTIONS {
        let begin = Instant::now() + PACE * number;
        connections.spawn(ask(to, interval_at(begin.into(), PACE * CONNECTIONS), stop.clone()));
    }
    orphaned().await;
    stop.cancel();
    let asked = connections.join_all().await;
    let errors: usize = asked.iter().map(|(_, errors)| errors).sum();
    let mut times: Vec<_> = asked.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(place).copied().unwrap_or_default().as_micros()
    };
    println!("{} {errors} {} {} {}", times.len(), at(50), at(99), at(100));
    std::io::stdout().flush().unwrap();
    // Standard input is read by a thread that cannot be told to end.
    std::process::exit(0);
}
