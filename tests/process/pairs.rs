//! Doorward is killed in the middle of refreshes, of dead sessions and ahead of their end. No
//! refresh token may be sent twice by that, and nothing is left open but what was told as lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::kills::Chance;
use crate::site::{Site, get, until};

/// Kills in all; every third one comes in a renewal ahead of the session's end.
const KILLS: u64 = 10;

/// How long a refresh takes at the upstream, half of it before the token is used up.
const SLOW: Duration = Duration::from_millis(20);

/// A kill comes at most so long after the refresh has arrived.
const MOMENT_MAX: Duration = Duration::from_millis(30);

const LOST: [&str; 2] = ["a login's answer was lost", "a refresh's answer was lost"];

/// Renewed after half of its life, which is 10 s.
fn recipe() -> String {
    include_str!("../fixtures/pairs.toml")
        .replace("refresh_ahead = \"30s\"", "refresh_ahead = \"5s\"")
}

/// A server of token pairs. A refresh token is good for one use, and ends its session by a logout; an
/// access token is good until its end, whatever became of its pair.
#[derive(Debug, Default)]
struct Server {
    logins: u64,
    pairs: u64,
    /// The session of each pair that is good now.
    good: HashMap<u64, u64>,
    /// Pairs whose access token was ended early.
    revoked: u64,
    refreshes: u64,
    used_twice: u64,
    sent: HashMap<u64, u64>,
}

impl Server {
    fn give(&mut self, session: u64) -> String {
        self.pairs += 1;
        self.good.insert(self.pairs, session);
        let pair = self.pairs;
        format!(r#"{{"access":"access-{pair:016}","refresh":"fresh-{pair:016}","expires_in":10}}"#)
    }

    /// The answer to a request; nothing when it is refused.
    fn answer(&mut self, request: &str) -> Option<String> {
        if request.starts_with("POST /login") {
            self.logins += 1;
            return Some(self.give(self.logins));
        }
        if request.starts_with("POST /refresh") {
            let pair = number(request, "fresh-")?;
            return self.good.remove(&pair).map(|session| self.give(session));
        }
        if request.starts_with("POST /logout") {
            self.good.remove(&number(request, "fresh-")?)?;
            return Some("{}".to_owned());
        }
        let pair = number(request, "access-")?;
        (pair > self.revoked).then(|| "{}".to_owned())
    }

    fn arrives(&mut self, request: &str) {
        if let Some(pair) = number(request, "fresh-") {
            self.refreshes += 1;
            let sent = self.sent.entry(pair).or_default();
            *sent += 1;
            self.used_twice += u64::from(*sent > 1);
        }
    }
}

/// Takes half of the time that a refresh takes.
async fn slowly() {
    let never = std::future::pending::<()>();
    _ = timeout(SLOW / 2, never).await;
}

fn number(request: &str, before: &str) -> Option<u64> {
    request.split_once(before)?.1.get(..16)?.parse().ok()
}

async fn serve(server: Arc<Mutex<Server>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(converse(connection, Arc::clone(&server)));
        }
    });
    address
}

/// Answers one request after the other until the connection ends. Nothing when it does.
async fn converse(connection: TcpStream, server: Arc<Mutex<Server>>) -> Option<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        while !request.ends_with("\r\n\r\n") {
            let start = request.len();
            if connection.read_line(&mut request).await.ok()? == 0 {
                return None;
            }
            let line = request[start..].to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.ok()?;
        request.push_str(&String::from_utf8(body).unwrap());
        let is_refresh = request.starts_with("POST /refresh");
        if is_refresh {
            server.lock().unwrap().arrives(&request);
            slowly().await;
        }
        let answer = server.lock().unwrap().answer(&request);
        if is_refresh {
            slowly().await;
        }
        let (status, body) = answer.map_or(("401 Unauthorized", String::new()), |b| ("200 OK", b));
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn told(site: &Site, run: u64) -> usize {
    let log = std::fs::read_to_string(site.log(run)).unwrap();
    LOST.iter().map(|lost| log.matches(lost).count()).sum()
}

/// Fails when a refresh is sent before the ledger says so, or once more after the start; or when
/// what it left open is not told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_survive_kills() {
    let server = Arc::<Mutex<Server>>::default();
    let address = serve(Arc::clone(&server)).await;
    let site = Site::bare();
    site.write("pairs.toml", &recipe());
    site.write("password", "the password");
    site.write("state_key", "the key that seals the state of this test");
    site.write(
        "doorward.toml",
        &format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [upstreams.vendor]\nurl = \"http://{address}\"\nrecipe_file = \"pairs.toml\"\n\
             [upstreams.vendor.accounts.user]\nusername = \"user\"\n\
             password = {{ file = \"password\", verbatim = true }}\n\
             [[routes]]\nupstream = \"vendor\"\n[runtime]\ncores = 1\n\
             [timeouts]\nlogin_distance = \"0s\"\n\
             [state]\npath = \"state\"\nkey = {{ file = \"state_key\" }}\n"
        ),
    );
    let mut chance = Chance::of(0);
    for kill in 0..KILLS {
        let doorward = site.start(kill).await;
        let address = doorward.address;
        doorward.recovers(|| get(address, "/x HTTP/1.1")).await;
        let before = server.lock().unwrap().refreshes;
        if kill % 3 != 0 {
            let mut server = server.lock().unwrap();
            server.revoked = server.pairs;
        }
        // A session that nobody uses is not renewed.
        let asking = tokio::spawn(async move {
            loop {
                get(address, "/x HTTP/1.1").await;
            }
        });
        // One whose refresh was lost is renewed by a login, and the one after it by a refresh.
        until(&format!("kill {kill}: it is refreshed"), || {
            server.lock().unwrap().refreshes > before
        })
        .await;
        doorward.kill_in(MOMENT_MAX.mul_f64(chance.part())).await;
        asking.abort();
    }
    let mut last = site.start(KILLS).await;
    let address = last.address;
    last.recovers(|| get(address, "/x HTTP/1.1")).await;
    last.stop().await;
    let lost: usize = (0..=KILLS).map(|run| told(&site, run)).sum();
    let server = server.lock().unwrap();
    assert_eq!(server.used_twice, 0, "{server:?}");
    assert!(lost > 0, "no kill came between a refresh and its answer");
    assert!(server.good.len() <= lost, "{lost} lost answers: {server:?}");
}
