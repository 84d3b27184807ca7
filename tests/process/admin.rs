//! The commands that ask a running gateway, as people and scripts use them: the binary, its exit
//! codes, and what it prints for whom.

use std::process::Output;
use std::time::Duration;

use doorward::emulator::{Emulator, Options, User, Vendor};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::site::{Doorward, Site, ask, until};

const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// The command as somebody runs it who has the gateway's own folder for sockets.
fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(arguments).current_dir(site.path()).env_clear();
    command.env("XDG_RUNTIME_DIR", site.path()).kill_on_drop(true);
    command
}

async fn run(site: &Site, arguments: &[&str]) -> Output {
    timeout(STEP_TIME_MAX, command(site, arguments).output()).await.unwrap().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

async fn emulator() -> Emulator {
    let emulator = Emulator::start(Vendor::Contentstack, Options::default()).await.unwrap();
    emulator.control().switch("rate_limit", json!(false)).unwrap();
    emulator
}

/// The command at a terminal, by `script` of util-linux, which has one to give.
async fn at_terminal(site: &Site, arguments: &str, variables: &[(&str, &str)]) -> String {
    let mut script = Command::new("script");
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_doorward"));
    script.args(["-qec", &line, "/dev/null"]).current_dir(site.path());
    script.env("XDG_RUNTIME_DIR", site.path()).env_remove("NO_COLOR");
    script.envs(variables.iter().copied());
    let output = timeout(STEP_TIME_MAX, script.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn start(site: &Site) -> Doorward {
    let mut doorward = site.start(0).await;
    let line = doorward.says("admin at unix:").await;
    assert!(line.ends_with("/doorward/admin.sock"), "{line}");
    doorward
}

/// Fails when a command does not find the gateway, tells something else than what is so, or ends with
/// another code than scripts go by.
#[tokio::test]
async fn status_and_sessions_tell_people_and_programs() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    let mut doorward = start(&site).await;
    doorward.recover(Vendor::Contentstack).await;

    let status = run(&site, &["status"]).await;
    assert_eq!(code(&status), 0, "{}", errors(&status));
    let status = object(&status);
    assert_eq!((&status["state"], &status["traffic"]["sessions"]), (&json!("running"), &json!(1)));
    let sessions = run(&site, &["sessions"]).await;
    assert_eq!(object(&sessions)["sessions"][0]["state"], "live");

    // For people, where people read.
    let shown = at_terminal(&site, "status", &[]).await;
    assert!(shown.contains("\u{1b}[32mAll well: 1 upstream, 1 live session"), "{shown}");
    assert!(shown.contains("upstream") && shown.contains("p95"), "{shown}");
    let plain = at_terminal(&site, "status", &[("NO_COLOR", "1")]).await;
    assert!(plain.contains("All well") && !plain.contains('\u{1b}'), "{plain}");
    assert_looks_as_documented(&plain);
    let listed = at_terminal(&site, "sessions list", &[("NO_COLOR", "1")]).await;
    let row = listed.lines().find(|line| line.starts_with("vendor")).unwrap_or_default();
    assert!(row.contains("user") && row.contains("live") && row.contains("cold in"), "{listed}");
    let json = at_terminal(&site, "sessions --json", &[]).await;
    assert!(json.trim_start().starts_with("{\"sessions\":["), "{json}");

    let again = run(&site, &["sessions", "relogin", "vendor", "user"]).await;
    assert_eq!((code(&again), &object(&again)["action"]), (0, &json!("log_in")));
    assert_eq!(emulator.control().counters().logins, 2);
    let logged_out = run(&site, &["sessions", "logout", "vendor", "user"]).await;
    assert_eq!(code(&logged_out), 0, "{}", errors(&logged_out));
    until("it is logged out", || emulator.control().counters().live_sessions == 0).await;
    let none = run(&site, &["sessions", "logout", "vendor", "user"]).await;
    assert_eq!(code(&none), 1);
    assert!(errors(&none).contains("there is no session to log out (conflict)"), "{none:?}");
    let unknown = run(&site, &["sessions", "clear", "vendor", "nobody"]).await;
    assert_eq!((code(&unknown), errors(&unknown).contains("not_found")), (1, true));

    doorward.stop().await;
    assert!(!site.path().join("doorward/admin.sock").exists());
    for arguments in [&["status"][..], &["sessions"], &["tap"], &["dashboard"]] {
        let nobody = run(&site, arguments).await;
        assert_eq!(code(&nobody), 69, "{arguments:?}");
        let told = errors(&nobody);
        assert!(told.contains("no gateway listens at") && told.contains("admin.sock"), "{told}");
        assert!(told.contains("help: "), "{told}");
    }
    assert_eq!(code(&run(&site, &["healthcheck"]).await), 1);
    emulator.stop().await;
}

/// A line without what is another at each gateway.
fn words(line: &str) -> Vec<&str> {
    let has_digit = |word: &str| word.contains(|letter: char| letter.is_ascii_digit());
    let is_fixed = |word: &&str| word.ends_with(".toml") || !has_digit(word);
    let words = line.split([' ', ',', ';', ':', '(', ')', '\r']).filter(|word| !word.is_empty());
    words.filter(is_fixed).map(|word| word.trim_end_matches('s')).collect()
}

fn assert_looks_as_documented(status: &str) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ADMIN.md");
    let document = std::fs::read_to_string(document).unwrap();
    let shown = document.split_once("$ doorward status\n").unwrap().1.split("```").next().unwrap();
    let known: Vec<_> = status.lines().map(words).collect();
    for line in shown.lines().take_while(|line| !line.starts_with("cms")) {
        // It has no session with a known end here, another scheme and a shorter life, and its
        // configuration is in a folder.
        let mut wanted = words(line.split(", the next one ends").next().unwrap());
        wanted.retain(|word| !["http", "h", "min"].contains(word));
        let has = |known: &Vec<&str>, word: &str| known.iter().any(|known| known.ends_with(word));
        let is_there = known.iter().any(|known| wanted.iter().all(|word| has(known, word)));
        assert!(is_there, "docs/ADMIN.md: `{line}`\n{status}");
    }
}

/// Fails when a quarantine is not told, or cannot be lifted while the gateway runs.
#[tokio::test]
async fn a_quarantine_is_told_and_lifted_from_the_command_line() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    site.write("password", "canary not the password");
    let mut doorward = start(&site).await;
    assert!(ask(doorward.address, Vendor::Contentstack).await.contains("login_refused"));
    let status = run(&site, &["status", "--json"]).await;
    assert_eq!(code(&status), 1);
    assert!(object(&status)["troubles"][0].as_str().unwrap().contains("quarantine"), "{status:?}");
    let shown = at_terminal(&site, "status", &[]).await;
    assert!(
        shown.contains("\u{1b}[33mOne thing needs a look") && shown.contains("bad_secret"),
        "{shown}"
    );
    let login = Vendor::Contentstack.seeded_user().login;
    emulator.control().add_user(User::new(login, "canary not the password"));
    let cleared = run(&site, &["sessions", "clear", "vendor", "user"]).await;
    assert_eq!(code(&cleared), 0, "{}", errors(&cleared));
    assert!(ask(doorward.address, Vendor::Contentstack).await.starts_with("HTTP/1.1 200"));
    doorward.stop().await;
    for text in [doorward.log(), out(&status), shown, out(&cleared)] {
        assert!(!text.contains("canary"), "{text}");
    }
    emulator.stop().await;
}

async fn line(child: &mut Child, lines: &mut Lines) -> Value {
    let line = timeout(STEP_TIME_MAX, lines.next_line()).await.unwrap().unwrap();
    let line = line.unwrap_or_else(|| panic!("it has ended: {child:?}"));
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
}

type Lines = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

/// Fails when what happens is not told, is told unfiltered, or with anything secret.
#[tokio::test]
async fn tap_tells_what_happens_and_nothing_secret() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    let mut doorward = start(&site).await;
    let piped = |arguments: &[&str]| {
        let mut command = command(&site, arguments);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    let (mut tap, mut lines) = piped(&["tap"]);
    let (mut refused, mut refused_lines) =
        piped(&["tap", "--status", "4xx", "--path", "*nothing*"]);
    // Until both watch, nothing that happens is told to them.
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let answer = ask(doorward.address, Vendor::Contentstack).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if let Ok(told) = timeout(Duration::from_millis(100), lines.next_line()).await {
            kinds.push(told.unwrap().unwrap());
        }
    }
    let first: Value = serde_json::from_str(&kinds[0]).unwrap();
    assert!(first["event"] == "request" || first["event"] == "login", "{first}");
    let waiting = async {
        loop {
            let canary = "/v3/nothing?canary=canary-query HTTP/1.1\r\ncookie: canary-cookie";
            crate::site::get(doorward.address, canary).await;
            let next = line(&mut refused, &mut refused_lines);
            if let Ok(told) = timeout(Duration::from_millis(100), next).await {
                return told;
            }
        }
    };
    let told = timeout(STEP_TIME_MAX, waiting).await.unwrap();
    assert_eq!((&told["event"], &told["path"]), (&json!("request"), &json!("/v3/nothing")));
    let mut all = told.to_string() + &kinds.concat();
    doorward.stop().await;
    // The stream ends with the gateway, and the command with the stream.
    while let Some(line) = timeout(STEP_TIME_MAX, lines.next_line()).await.unwrap().unwrap() {
        all.push_str(&line);
    }
    assert!(timeout(STEP_TIME_MAX, tap.wait()).await.unwrap().unwrap().success());
    assert!(timeout(STEP_TIME_MAX, refused.wait()).await.unwrap().unwrap().success());
    assert!(!all.contains("canary"), "{all}");
    for secret in emulator.control().issued() {
        assert!(!all.contains(&secret), "{all}");
    }
    emulator.stop().await;
}

/// Fails when a container is taken for healthy that is not, or cannot be asked where it has no socket.
#[tokio::test]
async fn healthcheck_is_for_containers() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    let config = std::fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    let health = "[health]\naddress = \"127.0.0.1:0\"\n";
    site.write("doorward.toml", &(config.clone() + health));
    let mut doorward = start(&site).await;
    let address = doorward.says("health at http://").await;
    let live = run(&site, &["healthcheck"]).await;
    assert_eq!((code(&live), out(&live).as_str()), (0, "ok\n"));
    let ready = run(&site, &["healthcheck", "--ready"]).await;
    assert_eq!((code(&ready), out(&ready).as_str()), (0, "ready\n"));
    // Without the socket by the port that the configuration names.
    let address = address.trim_start_matches("health at http://");
    let elsewhere = Site::bare();
    elsewhere.write("doorward.toml", &format!("[health]\naddress = {address:?}\n"));
    let by_port = run(&elsewhere, &["healthcheck", "--ready"]).await;
    assert_eq!((code(&by_port), out(&by_port).as_str()), (0, "ready\n"), "{by_port:?}");
    doorward.stop().await;
    let gone = run(&elsewhere, &["healthcheck"]).await;
    assert_eq!((code(&gone), out(&gone).as_str()), (1, ""));
    assert!(!errors(&gone).is_empty());
    emulator.stop().await;
}

/// Fails when the page opens without its link, or outlives the command that serves it.
#[tokio::test]
async fn dashboard_serves_the_page_as_long_as_it_runs() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    let mut doorward = start(&site).await;
    let mut command = command(&site, &["dashboard"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let link = timeout(STEP_TIME_MAX, lines.next_line()).await.unwrap().unwrap().unwrap();
    let (authority, target) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    assert!(authority.starts_with("127.0.0.1:"), "{link}");
    let get = |target: String, fields: String| async move {
        let mut connection = TcpStream::connect(authority).await.unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: {authority}\r\n{fields}connection: close\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/".to_owned(), String::new()).await.starts_with("HTTP/1.1 401"));
    let opened = get(format!("/{target}"), String::new()).await;
    assert!(opened.starts_with("HTTP/1.1 303"), "{opened}");
    let cookie = opened.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = get("/".to_owned(), cookie.clone()).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<h1>Doorward</h1>"), "{page}");
    let status = get("/admin/v1/status".to_owned(), cookie).await;
    assert!(status.contains("\"state\":\"running\""), "{status}");
    assert!(get(format!("/{target}"), String::new()).await.starts_with("HTTP/1.1 401"));
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(timeout(STEP_TIME_MAX, child.wait()).await.unwrap().unwrap().success());
    assert!(TcpStream::connect(authority).await.is_err());
    doorward.stop().await;
    emulator.stop().await;
}

/// Fails when the stop that an operator asks for is another one than that of a signal.
#[tokio::test]
async fn an_operators_drain_stops_the_process_in_order() {
    let emulator = emulator().await;
    let site = Site::new(&emulator);
    let mut doorward = start(&site).await;
    doorward.recover(Vendor::Contentstack).await;
    let socket = site.path().join("doorward/admin.sock");
    let mut connection = tokio::net::UnixStream::connect(socket).await.unwrap();
    let head = "POST /admin/v1/drain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nconnection: close\r\n\r\n{}";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let line = doorward.says("logged out").await;
    assert_eq!(line, "logged out 1 of 1 sessions");
    assert!(doorward.ended().await.success());
    assert_eq!(emulator.control().counters().live_sessions, 0);
    emulator.stop().await;
}
