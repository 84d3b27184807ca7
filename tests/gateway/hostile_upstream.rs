//! Upstreams that answer what no upstream should.

use doorward::emulator::Vendor;

use crate::client::{Protocol, Raw};
use crate::puppet::{Puppet, Reply};

/// The status and the problem's code of a read that is answered with these bytes.
async fn answered_with(bytes: impl Into<Vec<u8>>) -> (u16, String) {
    let bytes = bytes.into();
    let puppet = Puppet::logged_in(move |_| Reply::close(bytes.clone())).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = scene.call("GET", "/v3/x").send().await;
    (answer.status.as_u16(), answer.problem())
}

/// Fails when an answer that is none, or whose end can be told in two ways, is passed on.
#[tokio::test]
async fn an_answer_that_is_none_is_a_typed_502() {
    let many: String = (0..20_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    for bytes in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 99999 No\r\n\r\n".to_owned(),
        "HTTP/1.1 20 No\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.7\r\n".to_owned(),
        String::new(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\n{} ".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\n{}\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n\
         2\r\n{}\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: a\rb\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: a\r\n folded\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(2 << 20)),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
    ] {
        let shown: String = bytes.chars().take(80).collect();
        let told = answered_with(bytes).await;
        assert_eq!(told, (502, "upstream_broken".to_owned()), "{shown:?}");
    }
}

/// Fails when bytes after an answer become the answer to somebody else's request.
#[tokio::test]
async fn bytes_after_an_answer_never_answer_another_request() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine\
             HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned",
        )
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for _ in 0..50 {
        assert_eq!(scene.call("GET", "/v3/x").send().await.text(), "mine");
    }
}

/// Fails when a truncated body is told as a whole one.
#[tokio::test]
async fn a_truncated_answer_is_a_broken_transfer() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nXX\r\n",
    ] {
        let puppet = Puppet::logged_in(move |_| Reply::close(bytes)).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let whole =
                crate::harness::within(scene.call("GET", "/v3/x").try_send_by(protocol)).await;
            assert!(whole.is_err(), "{bytes:?}: {whole:?}");
        }
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        raw.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let said = raw.read_to_end().await;
        assert!(!said.ends_with("0\r\n\r\n"), "{said:?}");
    }
    // Where the body had to be looked at, nothing has been said yet.
    let cut = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 100\r\n\r\n{\"error_code\":105";
    assert_eq!(answered_with(cut).await, (502, "upstream_broken".to_owned()));
}

/// Fails when informational answers are passed on, or are waited for without a bound.
#[tokio::test]
async fn informational_answers_are_not_the_answer() {
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000);
    let end = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let told = answered_with(format!("{flood}{end}")).await;
    assert!(told == (200, String::new()) || told.0 == 502, "{told:?}");
}

/// Fails when an answer that must be rewritten and cannot be read is passed on.
#[tokio::test]
async fn an_answer_that_shows_the_session_and_cannot_be_rewritten_is_withheld() {
    let long = format!(r#"{{"user":{{"authtoken":"{}"}}}}"#, "x".repeat(2 << 20));
    for (coding, body) in [("identity", long.as_str()), ("zstd", "{}"), ("gzip", "no gzip")] {
        let bytes = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let puppet = Puppet::logged_in(move |_| Reply::keep(bytes.clone())).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let answer = scene.call("GET", "/v3/user").send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (502, "answer_withheld".to_owned()), "{coding}");
    }
}
