//! `doorward exec`: a command with a gateway of its own.

use std::process::Stdio;
use std::time::Duration;

use doorward::emulator::{Emulator, Options, Vendor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::site::{Site, command};

const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// Says what it was told, waits for its input to end, and ends with 7.
const SCRIPT: &str =
    "echo \"$DOORWARD_URL\"; echo \"$DOORWARD_KEY\"; echo \"$BASE\"; read -r _; exit 7";

/// Says what it hears; ends with 9 when it is asked to stop.
const LISTENING: &str = "trap 'echo told; exit 9' TERM; trap 'echo hung up' HUP; \
     echo \"$DOORWARD_URL\"; echo \"$DOORWARD_KEY\"; while :; do sleep 0.02; done";

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
}

/// `exec` with a shell as its command.
fn exec(site: &Site, options: &[&str], script: &str) -> Command {
    let mut exec = command(env!("CARGO_BIN_EXE_doorward"));
    exec.args(["exec", "-c", "doorward.toml", "--upstream", "vendor"]).args(options);
    exec.args(["--", "sh", "-c", script]).current_dir(site.path());
    exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    exec
}

impl Running {
    fn begin(site: &Site, script: &str) -> Self {
        let options = ["--env", "BASE={url}/REST?{key}"];
        let mut child = exec(site, &options, script).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        Self { child, lines, input }
    }

    async fn line(&mut self) -> String {
        let line = timeout(STEP_TIME_MAX, self.lines.next_line()).await.unwrap().unwrap();
        line.expect("the command says nothing more")
    }

    async fn ended(self) -> (Option<i32>, String) {
        drop(self.input);
        let output = timeout(STEP_TIME_MAX, self.child.wait_with_output()).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }
}

async fn status(url: &str, key: Option<&str>) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let key = key.map(|key| format!("doorward-key: {key}\r\n")).unwrap_or_default();
    let head = format!(
        "GET /REST/views/items HTTP/1.1\r\nhost: {address}\r\n{key}connection: close\r\n\r\n"
    );
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.get(9..12).unwrap_or_default().to_owned()
}

/// Fails when the command does not find the gateway, when others get in, when its code is lost, or
/// when a session is left.
#[tokio::test]
async fn a_command_finds_a_gateway_and_its_end_is_the_end_of_the_session() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let mut running = Running::begin(&site, SCRIPT);
    let (url, key, base) = (running.line().await, running.line().await, running.line().await);
    assert_eq!(base, format!("{url}/REST?{key}"));
    assert!(key.starts_with("doorward_exec_"), "{key}");
    assert_eq!(status(&url, None).await, "401");
    assert_eq!(status(&url, Some(&key)).await, "200");
    assert_eq!(emulator.control().counters().live_sessions, 1);
    let (code, said) = running.ended().await;
    assert_eq!(code, Some(7), "{said}");
    assert_eq!(emulator.control().counters().live_sessions, 0);
    assert!(!said.contains(&key), "{said}");
}

/// Fails when the command does not hear what its starter is told, or when a session is left then.
#[tokio::test]
async fn a_signal_is_passed_on_and_the_commands_answer_to_it_counts() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let mut running = Running::begin(&site, LISTENING);
    let (url, key) = (running.line().await, running.line().await);
    assert_eq!(status(&url, Some(&key)).await, "200");
    running.signal("-HUP").await;
    assert_eq!(running.line().await, "hung up");
    running.signal("-TERM").await;
    assert_eq!(running.line().await, "told");
    let (code, said) = running.ended().await;
    assert_eq!(code, Some(9), "{said}");
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// Fails when what cannot be started is told in another way than shells tell it, or with a trace of
/// a gateway left.
#[tokio::test]
async fn what_cannot_be_run_is_told_as_shells_tell_it() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let told = async |words: &[&str]| {
        let mut exec = command(env!("CARGO_BIN_EXE_doorward"));
        exec.args(["exec", "-c", "doorward.toml"]).args(words).current_dir(site.path());
        let output = timeout(STEP_TIME_MAX, exec.output()).await.unwrap().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = told(&["--upstream", "vendor", "--", "/nowhere/at/all"]).await;
    assert!(code == 127 && said.contains("/nowhere/at/all cannot be run"), "{code}: {said}");
    let (code, said) = told(&["--upstream", "vendor", "--", "./doorward.toml"]).await;
    assert!(code == 126 && said.contains("cannot be run"), "{code}: {said}");
    let (code, said) = told(&["--upstream", "vendors", "--", "true"]).await;
    assert!(code == 78 && said.contains("did you mean `vendor`?"), "{code}: {said}");
    let killed = exec(&site, &[], "kill -KILL $$").output().await.unwrap();
    assert_eq!(killed.status.code(), Some(128 + 9));
}

/// Fails when a second gateway would count the attempts of an account for itself, or when it is not
/// said what to do instead.
#[tokio::test]
async fn beside_a_gateway_with_the_same_state_nothing_runs() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let mut doorward = site.start(0).await;
    let output = timeout(STEP_TIME_MAX, exec(&site, &[], "echo it runs").output()).await;
    let output = output.unwrap().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(78), &b""[..]));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("is in use by process") && told.contains("help: "), "{told}");
    doorward.stop().await;
}
