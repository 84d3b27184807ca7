//! One vendor's SDK in a process of its own, driven by the script `use_*` that stands beside this
//! file.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{User, Vendor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long one step of a script may take. Each takes a second or two on a busy machine; the bound
/// is there to end a test that hangs.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// One of the SDKs under test.
pub struct Sdk {
    /// The vendor that it talks to.
    pub vendor: Vendor,
    /// The script that uses it.
    pub script: &'static str,
}

/// What a script is told.
pub struct Task<'a> {
    /// Scheme, host and port to talk to.
    pub base_url: &'a str,
    /// With which credentials.
    pub mode: Mode,
    /// The authority to trust, for https.
    pub authority: Option<&'a Path>,
    /// A file for the upload.
    pub upload: &'a Path,
}

/// With which credentials a script works.
pub enum Mode {
    /// The SDK logs in at the vendor itself.
    Direct(User),
    /// It knows none: Doorward does it.
    Through,
    /// It logs in with this client key as the password.
    Keyed(ClientKey),
}

/// A script that runs.
pub struct Run {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
    said: String,
}

/// What a script left behind.
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed, on both streams.
    pub output: String,
}

impl Sdk {
    /// Starts the script. It ends when the run is dropped.
    pub fn run(&self, task: &Task<'_>) -> Run {
        let mut command = Command::new(self.interpreter());
        command.arg(folder().join(self.script)).current_dir(folder());
        // Nothing of the machine's may decide, such as its proxies or its trusted authorities.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // Tools keep what they are told in a folder of their user's.
        command.env("HOME", task.upload.parent().unwrap());
        command.env("BASE_URL", task.base_url).env("UPLOAD", task.upload);
        match &task.mode {
            Mode::Direct(user) => {
                command.env("MODE", "direct");
                command.env("LOGIN", &user.login).env("PASSWORD", &user.password);
            }
            Mode::Through => _ = command.env("MODE", "through"),
            Mode::Keyed(key) => {
                command.env("MODE", "keyed");
                command.env("LOGIN", "anybody@example.com").env("PASSWORD", key.expose());
            }
        }
        if let Some(authority) = task.authority {
            for name in ["CA_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
                command.env(name, authority);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = tokio::spawn(async move {
            let mut text = Vec::new();
            _ = stderr.read_to_end(&mut text).await;
            String::from_utf8_lossy(&text).into_owned()
        });
        Run { stdin: child.stdin.take(), child, stdout, stderr, said: String::new() }
    }

    fn interpreter(&self) -> PathBuf {
        require_installation();
        match Path::new(self.script).extension().and_then(|extension| extension.to_str()) {
            Some("mjs") => PathBuf::from("node"),
            Some("py") => folder().join("scratch/python/bin/python"),
            other => panic!("no interpreter for {other:?}"),
        }
    }
}

impl Run {
    /// Waits until the script has said `line`.
    pub async fn says(&mut self, line: &str) {
        loop {
            match timeout(STEP_TIME_MAX, self.stdout.next_line()).await {
                Err(_) => panic!("no {line:?} within {STEP_TIME_MAX:?}; so far:\n{}", self.said),
                Ok(Ok(Some(next))) => {
                    self.said.push_str(&next);
                    self.said.push('\n');
                    if next == line {
                        return;
                    }
                }
                Ok(_) => {
                    let outcome = self.end().await;
                    panic!("ended before {line:?}, {}:\n{}", outcome.status, outcome.output);
                }
            }
        }
    }

    /// Tells the script to go on.
    pub async fn go(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    }

    /// Waits for the script's end.
    pub async fn end(&mut self) -> Outcome {
        drop(self.stdin.take());
        let rest = async {
            while let Ok(Some(line)) = self.stdout.next_line().await {
                self.said.push_str(&line);
                self.said.push('\n');
            }
            let errors = (&mut self.stderr).await.unwrap();
            (self.child.wait().await.unwrap(), errors)
        };
        let (status, errors) = timeout(STEP_TIME_MAX, rest).await.expect("the script ends");
        Outcome { status, output: format!("{}{errors}", self.said) }
    }
}

/// Fails, never skips: a run without the SDKs has tested nothing.
fn require_installation() {
    for list in ["package-lock.json", "requirements.txt"] {
        let wanted = std::fs::read(folder().join(list)).unwrap();
        let installed = std::fs::read(folder().join("scratch").join(list)).unwrap_or_default();
        assert!(
            wanted == installed,
            "the SDKs are not installed, or not those of {list}; run: tests/clients/install"
        );
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
