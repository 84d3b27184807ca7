//! `demo`: the printed lines work when pasted, and what they cause is told as it happens.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use doorward::emulator::Vendor;
use http::StatusCode;

use super::curl::Curl;
use super::process::{Process, assert_without_secrets};

const LAST_OF_THE_GUIDE: &str = "Ctrl-C stops";

#[tokio::test]
async fn every_printed_line_works_and_is_told() {
    let mut demo = Process::start(&["demo", "--port", "0"]).await_guide().await;
    let lines = curl_lines(demo.said());
    assert_eq!(lines.len(), 5 * Vendor::ALL.len(), "{}", demo.said());
    for (vendor, lines) in Vendor::ALL.into_iter().zip(lines.chunks(5)) {
        let [read, other_read, write, kill, login] = lines else { panic!("{lines:?}") };
        let demonstration = vendor.demonstration();
        let [first, second] = &demonstration.reads;

        answers(read, first.status, first.answer).await;
        demo.line_with(&format!("{vendor:<12}  logged in: session")).await;
        let cold = demo.line_with(&format!("GET {}", first.path())).await;
        assert!(cold.contains("  200  ") && cold.contains("login "), "{cold}");
        answers(other_read, second.status, second.answer).await;
        answers(write, demonstration.write.status, demonstration.write.answer).await;

        answers(kill, StatusCode::OK, r#"{"expired":1}"#).await;
        answers(read, first.status, first.answer).await;
        demo.line_with(&format!("{vendor:<12}  session ")).await;
        demo.line_with("logged in: session").await;
        let replayed = demo.line_with(&format!("GET {}", first.path())).await;
        assert!(replayed.contains(" expired -> login "), "{replayed}");
        assert!(replayed.contains(" ms -> replayed on session "), "{replayed}");

        answers(login, demonstration.local_login.status, demonstration.local_login.answer).await;
        demo.line_with("answered by Doorward itself").await;
    }
    demo.signal("-INT").await;
    let (status, said) = demo.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    for vendor in Vendor::ALL {
        let (_, after) = said.split_once("Stopping").unwrap();
        let told =
            after.lines().any(|line| line.contains(vendor.name()) && line.ends_with(" logged out"));
        assert!(told, "{vendor}:\n{said}");
    }
    // At each vendor one session was killed, and another one was alive.
    let end = "6 of 6 logouts confirmed; sessions left alive on the servers: 0.\n";
    assert!(said.ends_with(end), "{said}");
    assert!(!said.contains('\x1b'), "no colours but on a terminal:\n{said}");
    // That link is meant to be seen, and there is no gateway behind it any more.
    assert_without_secrets(&said.replace(page_link(&said), ""));
}

/// Fails when the link does not open the page, opens it twice, or the commands that are printed with
/// it do not find the demo.
#[tokio::test]
async fn the_link_opens_the_page_once_and_the_commands_find_the_demo() {
    let mut demo = Process::start(&["demo", "--port", "0"]).await_guide().await;
    let link = page_link(demo.said()).to_owned();
    let get =
        |path: &str, cookie: &str| Curl::parse(&format!("curl -H 'cookie: {cookie}' '{path}'"));
    let (authority, _) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let status_at = format!("http://{authority}/admin/v1/status");
    let (refused, _) = get(&status_at, "none").send().await;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    let (opened, _) = get(&link, "none").send().await;
    assert_eq!(opened, StatusCode::SEE_OTHER);
    let (again, _) = get(&link, "none").send().await;
    assert_eq!(again, StatusCode::UNAUTHORIZED);

    let status = demo.said().lines().find(|line| line.trim().starts_with("doorward status"));
    let words: Vec<_> = status.unwrap().trim().split(' ').skip(1).collect();
    let ended = super::process::run(&words).await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.out.contains("All well: 3 upstreams"), "{}", ended.out);
    demo.signal("-TERM").await;
    demo.line_with("Stopping").await;
    let (status, said) = demo.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_does_not_matter() {
    let mine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mine.local_addr().unwrap().port().to_string();
    let demo = Process::start(&["demo", "--port", &port]).await_guide().await;
    let told = demo.said().lines().find(|line| line.starts_with("Already taken")).unwrap();
    assert!(told.contains(&port), "{told}");
    let lines = curl_lines(demo.said());
    assert!(lines.iter().all(|line| !line.url.contains(&format!(":{port}/"))), "{}", demo.said());
    let [vendor, ..] = Vendor::ALL;
    let [read, _] = vendor.demonstration().reads;
    answers(&lines[0], read.status, read.answer).await;
    demo.signal("-TERM").await;
    let (status, said) = demo.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        said.ends_with("1 of 1 logouts confirmed; sessions left alive on the servers: 0.\n"),
        "{said}"
    );
}

#[tokio::test]
async fn its_files_are_private_and_nothing_is_left_of_them() {
    let demo = Process::start(&["demo", "--port", "0"]).await_guide().await;
    let (_, file) = demo.said().split_once("configured by ").unwrap();
    let file = PathBuf::from(file.lines().next().unwrap());
    let folder = file.parent().unwrap();
    assert_eq!(mode(folder), 0o700);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let checked = super::process::run(&["check", "-c", file.to_str().unwrap()]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.errors);
    demo.signal("-TERM").await;
    let (status, said) = demo.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!folder.exists(), "{said}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

impl Process {
    async fn await_guide(mut self) -> Process {
        self.line_with(LAST_OF_THE_GUIDE).await;
        self
    }
}

fn page_link(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim);
    lines.find(|line| line.starts_with("http://127.0.0.1:") && line.contains("/?t=")).unwrap()
}

fn curl_lines(said: &str) -> Vec<Curl> {
    let lines = said.lines().map(str::trim).filter(|line| line.starts_with("curl "));
    lines.map(Curl::parse).collect()
}

async fn answers(line: &Curl, status: StatusCode, part: &str) {
    let (seen, body) = line.send().await;
    assert_eq!(seen, status, "{line:?}:\n{body}");
    assert!(body.contains(part), "{line:?}:\n{body}");
    assert_without_secrets_of_sessions(&body);
}

/// Answers hold ids of objects; only what is a vendor's credential must not be there.
fn assert_without_secrets_of_sessions(body: &str) {
    let is_token = |word: &str| {
        let bare = word.strip_prefix("blt").unwrap_or(word);
        bare.len() == 40 && word != bare && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
            || word.len() > 200
    };
    let mut words =
        body.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
    assert_eq!(words.find(|word| is_token(word)), None, "{body}");
}
