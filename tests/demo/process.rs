//! A running `doorward`: its lines as they come, a signal, its end.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use doorward::emulator::Vendor;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long anything that is waited for may take.
pub const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// A `doorward` whose standard output is read line by line.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
}

/// What a `doorward` that ended by itself has said.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Process {
        Self::start_in(Path::new("."), arguments)
    }

    /// The same, in this folder, which is its user's own for sockets, too.
    pub fn start_in(folder: &Path, arguments: &[&str]) -> Process {
        let mut doorward = command(arguments);
        doorward.env("XDG_RUNTIME_DIR", folder);
        let mut child = doorward.current_dir(folder).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines, said: String::new() }
    }

    /// The next line that holds `part`.
    pub async fn line_with(&mut self, part: &str) -> String {
        let found = timeout(STEP_TIME_MAX, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(part) {
                    return Some(line);
                }
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("nobody said {part:?}:\n{}", self.said))
    }

    /// Everything so far.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Sends `-TERM` or `-INT`.
    pub async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs until it is stopped").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// Reads to the end and waits for it; everything that was said.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let rest = timeout(STEP_TIME_MAX, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
            }
            self.child.wait().await.unwrap()
        });
        let status = rest.await.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said));
        (status, self.said)
    }
}

/// Runs `doorward` until it ends by itself.
pub async fn run(arguments: &[&str]) -> Ended {
    run_in(Path::new("."), arguments).await
}

/// The same, in this folder.
pub async fn run_in(folder: &Path, arguments: &[&str]) -> Ended {
    let output = command(arguments).current_dir(folder).stderr(Stdio::piped()).output();
    let output = timeout(STEP_TIME_MAX, output).await.expect("it ends").unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// The emulators run in another process, which cannot be asked what it gave out. What is known of
/// it: the passwords, and how tokens and cookie values look.
pub fn assert_without_secrets(text: &str) {
    for vendor in Vendor::ALL {
        assert!(!text.contains(&vendor.seeded_user().password), "a password of {vendor}:\n{text}");
    }
    for word in text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-') {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let is_long = word.len() >= 24 && digits >= 4;
        assert!(!is_long, "{word:?} looks like a token or a cookie value:\n{text}");
    }
}

#[test]
fn values_that_look_like_secrets_are_noticed() {
    for secret in [
        "blt1234567890abcdef1234567890abcdef12345678",
        "c840be1a-5b47-4ac0-8ef7-835c166c8e24",
        "p\"w%&=+é-mfiles-89",
    ] {
        let text = format!("logged in with {secret}.");
        assert!(std::panic::catch_unwind(|| assert_without_secrets(&text)).is_err(), "{secret}");
    }
    assert_without_secrets(
        "GET /v3/content_types  200  4 ms  session 1 -> 'api_key: bltd0a1e7c35b92f846'",
    );
}
