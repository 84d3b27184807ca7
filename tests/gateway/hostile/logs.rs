//! What clients write, as it stands in the log (case 63).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{within, write};
use crate::puppet::{Puppet, Reply};
use crate::running::{Running, binary};

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
    let mut command = binary(&write(folder.path(), "doorward.toml", &text));
    // Its own colours are no escapes of a client's.
    command.env("P", "a password of somebody").env("NO_COLOR", "1");
    let doorward = Running::start(command).await;
    for bytes in requests {
        let mut stream = TcpStream::connect(doorward.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        _ = within(stream.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
    doorward.stop().await
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
