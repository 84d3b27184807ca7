//! Somebody who reads nothing but what the programs print comes from nothing to the first answer.
//! What was typed and printed is kept in docs/QUICKSTART.md; `UPDATE=1` writes it anew.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use doorward::recipe::BUILT_IN;
use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::process::{Process, STEP_TIME_MAX, run, run_in};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/QUICKSTART.md");

/// What stands around the transcript there.
const BEGIN: &str = "```console\n$ doorward emulate";
const END: &str = "\n```\n";

/// `doorward` at a terminal, and what is on its screen.
struct Terminal {
    child: Child,
    keys: fs::File,
    screen: mpsc::UnboundedReceiver<Vec<u8>>,
    shown: String,
    /// So much of it was waited for.
    seen: usize,
}

impl Terminal {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let terminal = terminal.unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let side = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let stdio = || Stdio::from(side.try_clone().unwrap());
        let mut doorward = Command::new(env!("CARGO_BIN_EXE_doorward"));
        doorward.args(arguments).current_dir(folder).env_clear().env("NO_COLOR", "1");
        doorward.stdin(stdio()).stdout(stdio()).stderr(stdio()).kill_on_drop(true);
        let child = doorward.spawn().unwrap();
        let keys = fs::File::from(terminal);
        let mut reads = keys.try_clone().unwrap();
        let (shows, screen) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once nobody holds the other side.
            while let Ok(length @ 1..) = reads.read(&mut bytes) {
                if shows.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, screen, shown: String::new(), seen: 0 }
    }

    /// Waits for a question.
    async fn asks(&mut self, question: &str) {
        while !self.shown[self.seen..].contains(question) {
            let shown = timeout(STEP_TIME_MAX, self.screen.recv()).await;
            let shown = shown.ok().flatten();
            let shown = shown.unwrap_or_else(|| panic!("no {question:?}:\n{}", self.shown));
            self.shown.push_str(std::str::from_utf8(&shown).unwrap());
        }
        self.seen = self.shown.len();
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(format!("{text}\r").as_bytes()).unwrap();
    }

    /// All that was shown, once it has ended.
    async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(STEP_TIME_MAX, self.child.wait()).await.unwrap().unwrap();
        while let Ok(Some(shown)) = timeout(STEP_TIME_MAX, self.screen.recv()).await {
            self.shown.push_str(std::str::from_utf8(&shown).unwrap());
        }
        (status, self.shown.replace("\r\n", "\n"))
    }
}

/// A port to be written down before anybody listens there: below those that the system gives to
/// whoever takes any, so that no other test gets it meanwhile.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut ports = first..32_000;
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The arguments of a command line.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').skip(1).collect()
}

/// What stands behind a word in a line of its own.
fn after(said: &str, word: &str) -> String {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix(word));
    line.unwrap_or_else(|| panic!("no {word:?}:\n{said}")).trim().to_owned()
}

async fn get(url: &str) -> (String, String) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let head = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(STEP_TIME_MAX, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), body.to_owned())
}

/// Fails when a step needs more than what was printed before it, when a secret is shown, or when the
/// document tells it otherwise.
#[tokio::test]
async fn from_nothing_to_the_first_answer() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();

    let mut emulator = Process::start(&["emulate", "contentstack"]);
    emulator.line_with("Ctrl-C stops").await;
    let told = emulator.said().to_owned();
    let url = told.split_once(" at ").unwrap().1.lines().next().unwrap().to_owned();
    let (login, password) = (after(&told, "login"), after(&told, "password"));
    let mut transcript = format!("$ doorward emulate contentstack\n{told}\n");

    let listen = format!("127.0.0.1:{port}");
    let mut init = Terminal::start(folder.path(), &["init", "--listen", &listen]);
    for (question, answer) in [
        ("recipe: ", "contentstack"),
        ("as in https://api.example.com: ", &url),
        ("the e-mail address of the account: ", &login),
        ("its password (not shown): ", &password),
    ] {
        init.asks(question).await;
        init.types(answer);
    }
    let (status, shown) = init.ended().await;
    assert!(status.success(), "{shown}");
    assert!(!shown.contains(&password), "{shown}");
    transcript.push_str(&format!("$ doorward init\n{shown}\n"));

    let next = shown.split_once("next:\n").unwrap().1.lines();
    let next: Vec<(&str, &str)> = next
        .map(|line| line.split_once('#').unwrap())
        .map(|(command, why)| (command.trim(), why.trim()))
        .collect();
    let [(trial, _), (start, call)] = next[..] else { panic!("{next:?}") };

    let tried = run_in(folder.path(), &words(trial)).await;
    assert_eq!(tried.code, Some(0), "{}{}", tried.out, tried.errors);
    transcript.push_str(&format!("$ {trial}\n{}\n", tried.out));

    let mut doorward = Process::start_in(folder.path(), &words(start));
    doorward.line_with("route").await;
    let running = doorward.said().to_owned();
    let base = call.rsplit("curl ").next().unwrap();
    let path = after(&told, "a call").strip_prefix(&url).unwrap().to_owned();
    let called = format!("{}{path}", base.trim_end_matches('/'));
    let (status, body) = get(&called).await;
    assert_eq!(status, "200", "{body}");
    assert!(body.contains(&login), "{body}");
    doorward.signal("-TERM").await;
    let (ended, said) = doorward.end().await;
    assert!(ended.success(), "{said}");
    // What comes after it is another one each time.
    let body: String = body.chars().take(r#"{"user":{"uid":""#.len()).collect();
    transcript.push_str(&format!("$ {start} &\n{running}$ curl {called}\n{body}...\n$ kill %1\n"));
    transcript.push_str(said.strip_prefix(&running).unwrap());
    emulator.signal("-TERM").await;
    emulator.end().await;

    assert_private(folder.path());
    let emulator_port = url.rsplit(':').next().unwrap();
    let transcript = transcript.replace(&listen, "127.0.0.1:8080").replace(emulator_port, "7401");
    let transcript = transcript.replace(folder.path().to_str().unwrap(), "/run/user/1000");
    let transcript = Regex::new(r"\b\d+ ms\b").unwrap().replace_all(&transcript, "7 ms");
    keep(&Regex::new("#[0-9a-f]{6}").unwrap().replace_all(&transcript, "#3f9a21"));
}

/// Compares with the document, or writes it.
fn keep(transcript: &str) {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let begin =
        document.find(BEGIN).expect("the document has no transcript") + "```console\n".len();
    let end = begin + document[begin..].find(END).unwrap();
    let transcript: Vec<&str> = transcript.trim_end().lines().map(str::trim_end).collect();
    let transcript = transcript.join("\n");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{transcript}{}", &document[..begin], &document[end..]);
        return fs::write(DOCUMENT, text).unwrap();
    }
    assert_eq!(document[begin..end], transcript, "UPDATE=1 cargo test writes it anew");
}

/// Nobody else can read what is secret.
fn assert_private(folder: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let secrets = folder.join("secrets");
    assert_eq!(mode(&secrets), 0o700);
    let files: Vec<_> = fs::read_dir(secrets).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

/// Fails when scripts cannot use it, when it asks nobody, or when it writes over what is there.
#[tokio::test]
async fn without_a_terminal_the_options_say_it_all_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let password = folder.path().join("password");
    fs::write(&password, "it's a \"password\"").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let directory = site.to_str().unwrap();

    let ended = run(&["init", "--directory", directory]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let asked = format!("--recipe {}\n", names.join(", "));
    assert!(ended.errors.contains(&asked), "{}", ended.errors);
    let ended = run(&["init", "--directory", directory, "--recipe", "mfiles"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    let missing = "--url URL --set username=TEXT --secret password=FILE";
    assert!(ended.errors.contains(missing), "{}", ended.errors);
    let typo = run(&["init", "--recipe", "mfile"]).await;
    assert!(typo.code == Some(2) && typo.errors.contains("did you mean `mfiles`?"));
    let told = run(&["init", "--recipe", "mfiles", "--set", "password=x"]).await;
    assert!(told.errors.contains("`password` is a secret"), "{}", told.errors);
    assert!(!site.exists());

    let secret = format!("password={}", password.display());
    let vault = "vault={8D9E4B4A-0000-4000-8000-000000000001}";
    let good = [
        "init",
        "--directory",
        directory,
        "--recipe",
        "mfiles",
        "--url",
        "https://a.example",
        "--set",
        "username=somebody",
        "--set",
        vault,
        "--secret",
        &secret,
    ];
    let ended = run(&good).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.errors);
    assert!(ended.out.contains("the configuration is good"), "{}", ended.out);
    let text = fs::read_to_string(site.join("doorward.toml")).unwrap();
    assert!(
        text.contains(password.to_str().unwrap())
            && text.contains(vault.split_once('=').unwrap().1)
    );
    // Every key that is used is explained in the line before it.
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let is_key = pair[1].contains(" = ") && !pair[1].starts_with('#');
        assert!(!is_key || pair[0].starts_with("# "), "{}\n{}", pair[0], pair[1]);
    }

    let again = run(&good).await;
    assert_eq!(again.code, Some(1), "{}", again.errors);
    assert!(again.errors.contains("is there already, and nothing was written"), "{}", again.errors);
    assert_eq!(fs::read_to_string(site.join("doorward.toml")).unwrap(), text);
}
