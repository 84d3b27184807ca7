//! Long streams in real time, with client, gateway and upstream in processes of their own: `cargo
//! bench --bench streams -- NAME`. Each case ends by itself and exits with 1 where a promise does
//! not hold.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, reason = "a bench may end early, and prints")]

#[path = "streams/upstream.rs"]
mod upstream;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_tungstenite::{WebSocketStream, client_async};

use upstream::{BODY_BYTES, Zeros};

/// Tells a process that it is the upstream.
const ROLE: &str = "STREAMS_UPSTREAM";

/// The gateway may need so much more for two bodies of 2 GiB than it needs at rest.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

const EVENTS_TIME: Duration = Duration::from_secs(60);

/// Of a hundred events, 99 come sooner. The machine is shared with all else that runs on it.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// WebSockets over HTTP/1.1, and as many over HTTP/2.
const SOCKETS: usize = 1000;

/// On one HTTP/2 connection.
const STREAMS: usize = 100;

const ECHOES: usize = 20;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if std::env::var_os(ROLE).is_some() {
        runtime.block_on(upstream::serve());
        return ExitCode::SUCCESS;
    }
    // Cargo adds `--bench`.
    let names: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let all = ["bodies", "events", "websockets"];
    for name in if names.is_empty() { all.map(str::to_owned).to_vec() } else { names } {
        let stage = Stage::start();
        let ended = runtime.block_on(async {
            match name.as_str() {
                "bodies" => bodies(&stage).await,
                "events" => events(&stage).await,
                "websockets" => websockets(&stage).await,
                unknown => Err(format!("there is no case `{unknown}`; there are {all:?}")),
            }
        });
        if let Err(why) = ended {
            eprintln!("\n{name}: it does not hold: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The two other processes; they end with this.
struct Stage {
    gateway: Child,
    upstream: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in [&mut self.gateway, &mut self.upstream] {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

impl Stage {
    fn start() -> Self {
        let mut upstream = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let origin = format!("http://{}", line(&mut upstream, |line| Some(line.to_owned())));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("doorward.toml");
        let text = format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [log]\nlevel = \"warn\"\n[limits]\nconnections_max = 4000\n\
             [upstreams.cms]\nurl = {origin:?}\nrecipe = \"contentstack\"\n\
             [upstreams.cms.accounts.user]\nusername = \"user\"\n\
             password = {{ env = \"PASSWORD\" }}\n[[routes]]\nupstream = \"cms\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut gateway = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["run", "-c"])
            .arg(&file)
            .env("PASSWORD", "a password of the benches")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let address = line(&mut gateway, |line| {
            let rest = line.strip_prefix("listening on http://")?;
            rest.split(' ').next().map(str::to_owned)
        });
        Self { gateway, upstream, address: address.parse().unwrap(), _folder: folder }
    }

    /// A line of `/proc/PID/status` of the gateway, in KiB.
    fn memory_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.gateway.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B'].as_slice()).parse().unwrap()
    }

    /// From here on the most memory is noted anew.
    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.gateway.id()), "5").unwrap();
    }

    async fn http1<B>(&self) -> http1::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// What `find` finds in the first line in which it finds something.
fn line(child: &mut Child, find: impl Fn(&str) -> Option<String>) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.find_map(|line| find(&line.unwrap())).unwrap();
    // What else it says must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    found
}

/// 2 GiB down and 2 GiB up: the gateway keeps nothing of them.
async fn bodies(stage: &Stage) -> Result<(), String> {
    let mut sender = stage.http1().await;
    let ask = |path: &str| Request::get(path).header("host", "localhost").body(Empty::new());
    let warm = sender.send_request(ask("/v3/warm").unwrap()).await.unwrap();
    warm.into_body().collect().await.unwrap();
    let before = stage.memory_kib("VmRSS");
    println!("{:10} {:>9} {:>9} {:>9} {:>9}", "", "MiB/s", "before", "peak", "after (KiB)");
    let mut failed = Vec::new();
    for name in ["download", "upload"] {
        stage.forget_peak();
        let begun = Instant::now();
        let bytes = match name {
            "download" => {
                let answer = sender.send_request(ask("/v3/download").unwrap()).await.unwrap();
                let (mut body, mut bytes) = (answer.into_body(), 0);
                while let Some(frame) = body.frame().await {
                    bytes += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
                }
                bytes
            }
            _ => {
                let mut sender = stage.http1().await;
                let request = Request::put("/v3/upload").header("host", "localhost");
                let request = request.body(Zeros::new(BODY_BYTES)).unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let told = answer.into_body().collect().await.unwrap().to_bytes();
                String::from_utf8_lossy(&told).parse().map_err(|_| format!("{told:?}"))?
            }
        };
        let speed = (BODY_BYTES >> 20) as f64 / begun.elapsed().as_secs_f64();
        let (peak, after) = (stage.memory_kib("VmHWM"), stage.memory_kib("VmRSS"));
        println!("{name:10} {speed:>9.0} {before:>9} {peak:>9} {after:>9}");
        if bytes != BODY_BYTES {
            failed.push(format!("{bytes} bytes of the {name} have arrived"));
        }
        if peak > before + GROWTH_MAX_KIB {
            failed.push(format!("the {name} took {} KiB", peak - before));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// Server-sent events for a minute: each comes as soon as it is there.
async fn events(stage: &Stage) -> Result<(), String> {
    let mut sender = stage.http1().await;
    let request = Request::get("/v3/events").header("host", "localhost");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let (mut body, begun, mut delays) = (answer.into_body(), Instant::now(), Vec::new());
    while begun.elapsed() < EVENTS_TIME {
        let frame = body.frame().await.ok_or("it ended")?.map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let text = String::from_utf8_lossy(frame.data_ref().unwrap()).into_owned();
        for event in text.split_terminator("\n\n") {
            let sent: u64 = event.strip_prefix("data: ").ok_or(event)?.parse().unwrap();
            delays.push(now.saturating_sub(Duration::from_nanos(sent)));
        }
    }
    delays.sort_unstable();
    let at = |percent: usize| delays.get(delays.len() * percent / 100).copied().unwrap_or_default();
    let last = delays.last().copied().unwrap_or_default();
    println!(
        "{} events in {EVENTS_TIME:?}; delay p50 {:?}, p99 {:?}, most {last:?}",
        delays.len(),
        at(50),
        at(99)
    );
    if at(99) > DELAY_MAX { Err(format!("p99 is above {DELAY_MAX:?}")) } else { Ok(()) }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A thousand WebSockets over HTTP/1.1 and a thousand over HTTP/2, all at a time.
async fn websockets(stage: &Stage) -> Result<(), String> {
    let begun = Instant::now();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let stream: Box<dyn Stream> = Box::new(TcpStream::connect(stage.address).await.unwrap());
        let opened = client_async("ws://localhost/v3/live", stream).await;
        sockets.push(opened.map_err(|error| error.to_string())?.0);
    }
    let mut senders = Vec::new();
    for _ in 0..SOCKETS / STREAMS {
        let stream = TcpStream::connect(stage.address).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        // By its answer the server has said that it takes extended CONNECT.
        let warm = Request::get("http://localhost/v3/warm").body(Empty::<Bytes>::new()).unwrap();
        sender.send_request(warm).await.unwrap();
        for _ in 0..STREAMS {
            let connect = Request::connect("http://localhost/v3/live")
                .extension(Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(Empty::new())
                .unwrap();
            let answer = sender.send_request(connect).await.unwrap();
            if answer.status() != 200 {
                return Err(format!("{} to an extended CONNECT", answer.status()));
            }
            let stream: Box<dyn Stream> =
                Box::new(TokioIo::new(hyper::upgrade::on(answer).await.unwrap()));
            sockets.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
        }
        senders.push(sender);
    }
    let opened = begun.elapsed();
    for round in 0..ECHOES {
        for (number, socket) in sockets.iter_mut().enumerate() {
            let said = socket.send(Message::text(format!("{round} {number}"))).await;
            said.map_err(|error| error.to_string())?;
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            let heard =
                socket.next().await.ok_or("it ended")?.map_err(|error| error.to_string())?;
            if heard != Message::text(format!("{round} {number}")) {
                return Err(format!("socket {number} heard {heard:?}"));
            }
        }
    }
    println!(
        "{} WebSockets opened in {opened:?}; {ECHOES} echoes each in {:?}; {} KiB",
        sockets.len(),
        begun.elapsed() - opened,
        stage.memory_kib("VmRSS")
    );
    Ok(())
}
