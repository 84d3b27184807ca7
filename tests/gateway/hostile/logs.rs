//! What clients write, as it stands in the log (case 63).

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{within, write};
use crate::puppet::{Puppet, Reply};

/// A gateway's whole log in this format, after it got these bytes.
async fn log_of(format: &str, requests: &[&[u8]]) -> String {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
         [upstreams.cms]\nurl = {:?}\nrecipe = \"contentstack\"\n\
         [upstreams.cms.accounts.user]\nusername = \"u\"\npassword = {{ env = \"P\" }}\n\
         [[routes]]\nupstream = \"cms\"\n[log]\nformat = {format:?}\nlevel = \"debug\"\n",
        puppet.origin()
    );
    let config = write(folder.path(), "doorward.toml", &text);
    let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["run", "-c"])
        .arg(config)
        .env_clear()
        .env("P", "a password of somebody")
        // Its own colours are no escapes of a client's.
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut out, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = tokio::spawn(async move {
        let mut log = Vec::new();
        errors.read_to_end(&mut log).await.unwrap();
        log
    });
    let mut said = String::new();
    let address = loop {
        let mut buffer = [0; 1024];
        let length = within(out.read(&mut buffer)).await.unwrap();
        assert_ne!(length, 0, "doorward ended at its start: {said}");
        said.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        let address = said.split("listening on http://").nth(1);
        if let Some((address, _)) = address.and_then(|rest| rest.split_once(' ')) {
            break address.to_owned();
        }
    };
    for bytes in requests {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        _ = within(stream.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(within(child.wait()).await.unwrap().success());
    said + &String::from_utf8(within(errors).await.unwrap()).unwrap()
}

/// Fails when a client can begin a line of the log, or do something to the terminal of who reads it.
#[tokio::test]
async fn no_client_writes_lines_or_escapes_into_the_log() {
    let fields = "host: localhost\r\nuser-agent: \u{9b}2J forged\r\nreferer: \u{202e}forged\r\n\
                  authorization: Bearer \u{9b}forged\r\nconnection: close\r\n\r\n";
    let with = |target: &str| format!("GET {target} HTTP/1.1\r\n{fields}");
    let requests = [
        with("/v3/%0d%0aforged%1b[2J"),
        with("/v3/\u{9b}2J\u{85}\u{2028}\u{202e}\u{e0041}forged"),
        with("/v3/\",\"forged\":\"x"),
        // No target at all.
        with("/v3/\u{1b}[2Jforged"),
        with("/v3/x").replacen("GET", "forged", 1),
        format!("GET /v3/x HTTP/1.1\r\nhost: \u{9b}forged\r\n{fields}"),
    ];
    let requests: Vec<&[u8]> = requests.iter().map(String::as_bytes).collect();
    for format in ["json", "human"] {
        let log = log_of(format, &requests).await;
        assert!(log.contains("/v3/%0d%0aforged%1b[2J"), "the path is shown as it was sent: {log}");
        for line in log.lines() {
            assert!(line.chars().all(|one| matches!(one, ' '..='~')), "{format}: {line:?}");
            assert!(!line.trim_start().starts_with("forged"), "{format}: {line:?}");
        }
        if format == "json" {
            let lines = log.lines().filter(|line| line.starts_with('{'));
            let lines: Vec<serde_json::Value> =
                lines.map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(
                lines
                    .iter()
                    .any(|line| line["fields"]["path"].is_string() || line["path"].is_string()),
                "{log}"
            );
            assert!(lines.iter().all(|line| line.get("forged").is_none()), "{log}");
        }
    }
}
