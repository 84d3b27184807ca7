//! Upstreams that answer what no upstream should (cases 46 to 50, 52).

use doorward::emulator::Vendor;
use tokio::io::AsyncWriteExt;

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

/// Cases 46 and 49. Fails when an answer that is none, or whose end can be told in two ways, is passed
/// on.
#[tokio::test]
async fn an_answer_that_is_none_is_a_typed_502() {
    let many: String = (0..20_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    for bytes in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 99999 No\r\n\r\n".to_owned(),
        "HTTP/1.1 099 No\r\n\r\n".to_owned(),
        "HTTP/1.1 -20 No\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/9.9 200 OK\r\n\r\n".to_owned(),
        "<html>not http</html>".to_owned(),
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551621\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\n: empty\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx a: b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx-a: \x01\r\ncontent-length: 0\r\n\r\n".to_owned(),
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

/// Case 47. Fails when bytes after an answer become the answer to somebody else's request.
#[tokio::test]
async fn bytes_after_an_answer_never_answer_another_request() {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned";
    for (method, answer, status) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine", 200),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n", 200),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
        // Answers that have no body, whatever they say of one.
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 72\r\n\r\n", 200),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 72\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 72\r\n\r\n", 304),
    ] {
        let bytes = format!("{answer}{POISON}");
        let puppet = Puppet::logged_in(move |_| Reply::keep(bytes.clone())).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        for _ in 0..20 {
            let told = scene.call(method, "/v3/x").send().await;
            assert_eq!(told.status.as_u16(), status, "{method} {answer:?}");
            assert!(!told.text().contains("poison"), "{method} {answer:?}");
        }
    }
}

/// Case 47. Fails when an answer that comes while nobody has asked is the answer to the next request.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_nobody() {
    let puppet =
        Puppet::logged_in(|_| Reply::hand_over("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine"))
            .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for _ in 0..5 {
        assert_eq!(scene.call("GET", "/v3/x").send().await.text(), "mine");
        let mut upstream = puppet.handed_over().await;
        let late = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned";
        upstream.write_all(late).await.unwrap();
        // The connection is kept by us, and is used no more: it is closed at its next turn.
        let next = scene.call("GET", "/v3/x").send().await;
        assert_eq!(next.text(), "mine");
        drop((upstream, puppet.handed_over().await));
    }
}

/// Cases 46 and 48. Fails when a truncated or broken body is told as a whole one.
#[tokio::test]
async fn a_truncated_answer_is_a_broken_transfer() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nXX\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n+1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n1\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n1;\n\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nx: y",
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

/// Case 49. Fails when informational answers are waited for without a bound, or one is the answer.
#[tokio::test]
async fn informational_answers_are_not_the_answer_and_have_a_bound() {
    let end = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    for hint in [
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 199 x\r\n\r\n",
    ] {
        assert_eq!(answered_with(format!("{}{end}", hint.repeat(3))).await, (200, String::new()));
        let told = answered_with(format!("{}{end}", hint.repeat(1000))).await;
        assert_eq!(told, (502, "upstream_broken".to_owned()), "{hint}");
    }
}

/// Case 50; `resp-hop`. Fails when a field of the upstream's connection, or one that it nominates,
/// reaches a client of either protocol.
#[tokio::test]
async fn fields_of_the_upstreams_connection_stay_here() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(
            "HTTP/1.1 200 OK\r\nconnection: x-secret, keep-alive\r\nConnection: X-Other,content-length,cache-control\r\n\
             x-secret: 1\r\nx-other: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
             proxy-authenticate: Basic\r\nproxy-authorization: x\r\nte: trailers\r\n\
             upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\n{}",
        )
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let answer = scene.call("GET", "/v3/x").send_by(protocol).await;
        for name in [
            "x-secret",
            "x-other",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "upgrade",
            "http2-settings",
            "connection",
        ] {
            assert!(answer.all(name).is_empty(), "{name}: {answer:?}");
        }
        assert_eq!((answer.one("x-kept"), answer.text().as_str()), ("1", "{}"));
    }
}

/// Case 52. Fails when a redirect is followed with the session, wherever it leads.
#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let elsewhere = Puppet::start(|_| Reply::json("{}")).await;
    let location = format!("{}/v3/there", elsewhere.origin());
    for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
        let head = format!(
            "HTTP/1.1 {status}\r\nlocation: {location}\r\nrefresh: 0; url={location}\r\n\
             content-length: 0\r\n\r\n"
        );
        let puppet = Puppet::logged_in(move |_| Reply::keep(head.clone())).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let answer = scene.call("POST", "/v3/x").body("{}").send().await;
        assert!(answer.status.is_redirection() && answer.one("location") == location);
        assert_eq!(puppet.calls().len(), 1, "{status}");
    }
    assert_eq!(elsewhere.heard(), "");
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

/// Where a client is sent by this `Location`, in which `ORIGIN` is the upstream's own.
pub(super) async fn redirected(location: &str) -> String {
    let location = location.to_owned();
    let puppet = Puppet::start(move |request| {
        crate::puppet::session_calls(request).unwrap_or_else(|| {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            let location = location.replace("ORIGIN", &format!("http://{host}"));
            Reply::keep(format!(
                "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            ))
        })
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    scene.call("GET", "/v3/x").send().await.one("location").to_owned()
}
