//! Where processes live: a folder with a configuration, and the binary that runs in it.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use doorward::emulator::{Emulator, User, Vendor, contentstack, mfiles};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// No step takes longer; one that does is hung.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

const LOST: &str = "a login's answer was lost";

/// The folder that every run shares.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// With nothing in it.
    pub fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn new(emulator: &Emulator) -> Self {
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

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file whole: whoever looks at it sees the old one or the new one.
    pub fn write(&self, name: &str, content: &str) {
        let (path, new) = (self.folder.path().join(name), self.folder.path().join("new"));
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn change_password(&self, emulator: &Emulator, password: &str) {
        let login = emulator.vendor().seeded_user().login;
        emulator.control().add_user(User::new(login, password));
        self.write("password", password);
    }

    pub fn log(&self, run: u64) -> PathBuf {
        self.folder.path().join(format!("log-{run}"))
    }

    /// Lost answers that a run has told of.
    pub fn told(&self, run: u64) -> u64 {
        fs::read_to_string(self.log(run)).unwrap().matches(LOST).count() as u64
    }

    pub async fn start(&self, run: u64) -> Doorward {
        Doorward::start(self.folder.path(), &self.log(run)).await
    }
}

/// A command with nothing of this process's environment, and without input.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

/// A shell that becomes the binary at the end of a script.
pub fn prepared(script: &str) -> Command {
    let mut shell = command("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_doorward")]);
    shell
}

/// A running process.
pub struct Doorward {
    child: Child,
    pub address: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Doorward {
    pub async fn start(folder: &Path, log: &Path) -> Self {
        Self::start_by(command(env!("CARGO_BIN_EXE_doorward")), folder, log).await
    }

    /// One that is told this by its environment.
    pub async fn start_told(site: &Site, run: u64, variables: &[(&str, &OsStr)]) -> Self {
        let mut doorward = command(env!("CARGO_BIN_EXE_doorward"));
        doorward.envs(variables.iter().copied());
        Self::start_by(doorward, site.path(), &site.log(run)).await
    }

    /// One that a shell has prepared; the script ends with `exec "$0" "$@"`. Its standard input is
    /// this descriptor.
    pub async fn start_prepared(site: &Site, run: u64, script: &str, input: Stdio) -> Self {
        let mut shell = prepared(script);
        shell.stdin(input);
        Self::start_by(shell, site.path(), &site.log(run)).await
    }

    /// One that may have so many descriptors.
    pub async fn start_with_descriptors(site: &Site, run: u64, descriptors_max: u32) -> Self {
        let script = format!("ulimit -n {descriptors_max} && exec \"$0\" \"$@\"");
        Self::start_prepared(site, run, &script, Stdio::null()).await
    }

    async fn start_by(mut doorward: Command, folder: &Path, log: &Path) -> Self {
        let errors = fs::File::create(log).unwrap();
        let mut child = doorward
            .args(["run", "-c"])
            .arg(folder.join("doorward.toml"))
            .current_dir(folder)
            .env("XDG_RUNTIME_DIR", folder)
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut doorward = Self { child, address, lines, log: log.to_owned() };
        let line = doorward.says("listening on http://").await;
        let (_, rest) = line.split_once("http://").unwrap();
        doorward.address = rest.split(' ').next().unwrap().parse().unwrap();
        doorward
    }

    /// Waits for a line that begins like this.
    pub async fn says(&mut self, begin: &str) -> String {
        loop {
            let line = timeout(STEP_TIME_MAX, self.lines.next_line()).await.unwrap().unwrap();
            let line =
                line.unwrap_or_else(|| panic!("no line begins with `{begin}`: {}", self.log()));
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it has said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks until the upstream answers; meanwhile the gateway may hold logins back.
    pub async fn recover(&self, vendor: Vendor) {
        self.recovers(|| ask(self.address, vendor)).await;
    }

    /// The same, with what `ask` asks.
    pub async fn recovers<A: Future<Output = String>>(&self, ask: impl Fn() -> A) {
        let recovering = async {
            loop {
                let answer = ask().await;
                match answer.get(..12) {
                    Some("HTTP/1.1 200") => return,
                    Some("HTTP/1.1 503") => {}
                    _ => panic!("{answer}\n{}", self.log()),
                }
            }
        };
        timeout(STEP_TIME_MAX, recovering).await.expect("it never recovers");
    }

    /// Sends a request and waits for nothing.
    pub fn ask(&self, vendor: Vendor) {
        let address = self.address;
        tokio::spawn(async move { ask(address, vendor).await });
    }

    pub async fn signal(&self) {
        self.signal_by("-TERM").await;
    }

    pub async fn signal_by(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    pub async fn stop(&mut self) {
        self.signal().await;
        let status = self.ended().await;
        assert!(status.success(), "{status}");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(STEP_TIME_MAX, self.child.wait()).await.unwrap().unwrap()
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Kills it, unless it ends by itself before that moment.
    pub async fn kill_in(mut self, moment: Duration) {
        if timeout(moment, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }
}

/// The whole answer to a read; nothing where the connection broke.
pub async fn ask(address: SocketAddr, vendor: Vendor) -> String {
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
pub async fn get(address: SocketAddr, line: &str) -> String {
    let head = format!("GET {line}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if let Ok(mut connection) = TcpStream::connect(address).await
        && connection.write_all(head.as_bytes()).await.is_ok()
    {
        _ = connection.read_to_end(&mut answer).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(STEP_TIME_MAX, waiting).await.is_ok(), "it never came that {what}");
}
