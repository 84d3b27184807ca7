//! The binary as a service manager sees it: signals and exit codes.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::site::Site;

/// How long a stop may last that does not wait for running requests; they go on for a minute.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Fails when a stop that waits for running requests cannot be cut short.
#[tokio::test]
async fn a_second_signal_stops_at_once() {
    // An upstream that answers the login and nothing else.
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = Site::bare();
    site.write("password", "a password");
    site.write(
        "doorward.toml",
        &format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [upstreams.any]\nurl = \"http://{}\"\nrecipe = \"contentstack\"\n\
             [upstreams.any.accounts.one]\nusername = \"one\"\n\
             password = {{ file = \"password\" }}\n\
             [[routes]]\nupstream = \"any\"\n\
             [timeouts]\ndrain = \"60s\"\nlogin = \"60s\"\nrequest = \"60s\"\n",
            upstream.local_addr().unwrap()
        ),
    );
    let mut doorward = site.start(0).await;
    let mut client = TcpStream::connect(doorward.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    answer_login(upstream.accept().await.unwrap().0).await;
    let _unanswered = upstream.accept().await.unwrap();

    let begun = Instant::now();
    doorward.signal().await;
    doorward.says("stopping").await;
    doorward.signal().await;
    let status = doorward.ended().await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(doorward.log().contains("stopped at once"), "{}", doorward.log());
}

async fn answer_login(mut connection: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"}}") {
        let read = connection.read_buf(&mut request).await.unwrap();
        assert!(read > 0, "the login breaks off");
    }
    let body = r#"{"user":{"authtoken":"a token"}}"#;
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    connection.write_all(answer.as_bytes()).await.unwrap();
}
