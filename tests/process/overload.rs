//! What a process does that runs out of what it lives on, and what it tells of it.

use doorward::emulator::{Emulator, Options, Vendor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::{Doorward, Site, ask, get, until};

const HEAD: &str = "GET /REST/views/items HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Asks on a connection that stays; the head of the answer.
async fn head(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    connection.write_all(HEAD.as_bytes()).await.unwrap();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(connection.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

/// Fails when descriptors run out before somebody is told so in HTTP, when idle connections keep
/// others out, or when it is never over.
#[tokio::test]
async fn requests_are_refused_before_descriptors_run_out_and_taken_again_afterwards() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let mut doorward = Doorward::start_with_descriptors(&site, 1, 128).await;
    assert!(ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200"));
    let log = doorward.log();
    assert!(log.contains("may have 128 descriptors") && log.contains("LimitNOFILE"), "{log}");

    let mut kept = Vec::new();
    let refused = loop {
        assert!(kept.len() < 128, "nothing was refused");
        let mut connection = TcpStream::connect(doorward.address).await.unwrap();
        let mut answer = head(&mut connection).await;
        if !answer.starts_with("HTTP/1.1 200") {
            connection.read_to_string(&mut answer).await.unwrap();
            break answer;
        }
        kept.push(connection);
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(
        refused.contains("connection: close") && refused.contains("retry-after: 10"),
        "{refused}"
    );
    assert!(refused.contains(r#""code":"gateway_overloaded""#), "{refused}");
    assert!(kept.len() > 60, "{}", kept.len());

    // More than there are descriptors: they wait in the queue, and nothing breaks.
    for _ in 0..128 {
        kept.push(TcpStream::connect(doorward.address).await.unwrap());
    }
    until("it is told", || doorward.log().contains("nearly used up")).await;
    drop(kept);
    doorward.recover(Vendor::MFiles).await;
    let log = doorward.log();
    assert!(!log.contains("connections cannot be accepted"), "{log}");
    until("it is told", || doorward.log().contains("requests are taken again")).await;
    doorward.stop().await;
}

/// Fails when memory is not looked at.
#[tokio::test]
async fn requests_are_refused_before_memory_runs_out() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let text = std::fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    // Less than the process itself takes.
    let text = format!("{text}\n[limits]\nmemory_bytes_max = 16777216\n");
    site.write("doorward.toml", &text);
    let mut doorward = site.start(1).await;
    until("it is told", || doorward.log().contains("nearly used up")).await;
    let log = doorward.log();
    assert!(log.contains("\"memory_percent\":") && log.contains("\"load\":\"full\""), "{log}");
    doorward.stop().await;
}

/// Fails when an operator who asks is told nothing, or is told values.
#[tokio::test]
async fn the_last_rejected_messages_are_told_on_a_signal() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let mut doorward = site.start(1).await;
    let answer = get(doorward.address, "/REST/%5Cx?canary HTTP/1.1\r\nhost: x\r\nx: canary").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(!doorward.log().contains("rejected message"));
    doorward.signal_by("-USR1").await;
    until("it is told", || doorward.log().contains("rejected message")).await;
    let log = doorward.log();
    assert!(log.contains("\"reason\":\"bad_request\""), "{log}");
    assert!(log.contains("connection") && !log.contains("canary"), "{log}");
    doorward.stop().await;
}
