//! The binary as a service manager sees it: signals and exit codes.

// What is outside `#[test]` functions here is still only tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a stop may last that does not wait for running requests; they go on for a minute.
const AT_ONCE: Duration = Duration::from_secs(30);

fn configuration(upstream: SocketAddr) -> String {
    format!(
        r#"
[listeners.main]
address = "127.0.0.1:0"
access = "open"
[upstreams.any]
url = "http://{upstream}"
recipe = "contentstack"
[upstreams.any.accounts.one]
username = "one"
password = {{ env = "PW" }}
[[routes]]
upstream = "any"
[timeouts]
drain = "60s"
login = "60s"
request = "60s"
"#
    )
}

#[test]
fn a_second_signal_stops_at_once() {
    // An upstream that answers the login and nothing else.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut doorward = Doorward::start(upstream.local_addr().unwrap());
    let mut client = TcpStream::connect(&doorward.address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    answer_login(upstream.accept().unwrap().0);
    let _unanswered = upstream.accept().unwrap();

    let begun = Instant::now();
    doorward.signal();
    doorward.says("stopping");
    doorward.signal();
    let status = doorward.child.wait().unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0));
    let mut errors = String::new();
    doorward.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains("stopped at once"), "{errors}");
}

fn answer_login(mut connection: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}}") {
        let mut bytes = [0; 1024];
        let read = connection.read(&mut bytes).unwrap();
        assert!(read > 0, "the login breaks off");
        request.extend(bytes.iter().take(read));
    }
    let body = r#"{"user":{"authtoken":"a token"}}"#;
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

/// A running process; it ends with the test.
struct Doorward {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    address: String,
    _folder: TempDir,
}

impl Doorward {
    fn start(upstream: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("doorward.toml");
        std::fs::write(&file, configuration(upstream)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.args(["run", "-c"]).arg(file).env_clear().env("PW", "a password");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut doorward = Self { child, lines, address: String::new(), _folder: folder };
        let line = doorward.says("listening on");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        doorward.address = address.unwrap().to_owned();
        doorward
    }

    /// Waits for a line that begins like this.
    fn says(&mut self, begin: &str) -> String {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("no line begins with `{begin}`"))
    }

    fn signal(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Doorward {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
