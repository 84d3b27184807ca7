//! Fields behind an answer's body, and answers that are a part, or have no body.

use doorward::emulator::Vendor;

use crate::client::{Protocol, Raw};
use crate::puppet::{Puppet, Reply, TOKEN};

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

fn chunked(trailers: &str) -> Reply {
    Reply::keep(format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
         trailer: x-sum, x-token, set-cookie, content-length, authorization, grpc-status\r\n\r\n\
         2\r\nok\r\n0\r\n{trailers}\r\n"
    ))
}

/// Fails when fields behind a body are lost, or when one of them passes that decides something or
/// shows the session.
#[tokio::test]
async fn harmless_fields_behind_an_answer_reach_the_client() {
    let puppet = Puppet::logged_in(|_| {
        chunked(&format!(
            "x-sum: 7\r\ngrpc-status: 0\r\nx-token: {TOKEN}\r\nset-cookie: a=1\r\n\
             content-length: 5\r\nauthorization: x\r\n"
        ))
    })
    .await;
    for search in ["identity", "decode", "off"] {
        let mut setup = puppet.setup(Vendor::Contentstack);
        setup.upstream.push_str(&format!("\nsearch_bodies = {search:?}"));
        let scene = setup.start().await;
        for protocol in PROTOCOLS {
            let call = scene.call("GET", "/v3/x").header("te", "trailers");
            let (answer, trailers) = call.send_for_trailers(protocol).await;
            assert_eq!(answer.text(), "ok");
            let trailers = trailers.unwrap();
            let mut told: Vec<_> = trailers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            told.sort_by_key(|(name, _)| *name);
            assert_eq!(told, [("grpc-status", "0"), ("x-sum", "7"), ("x-token", "*")], "{search}");
        }
        // Who has not said that it takes them gets none (RFC 9110 section 6.5.1).
        let (answer, trailers) =
            scene.call("GET", "/v3/x").send_for_trailers(Protocol::Http1).await;
        assert_eq!((answer.text().as_str(), trailers), ("ok", None));
        scene.stop().await.assert_no_leak();
    }
    assert!(puppet.calls().iter().all(|call| !call.to_lowercase().contains("\r\nte: ")));
}

/// Fails when fields that are none break an answer, or its connection is used on in doubt.
#[tokio::test]
async fn lines_behind_an_answer_that_are_no_fields_are_dropped() {
    let puppet = Puppet::logged_in(|_| chunked("x-sum: 7\r\nno field\r\n")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for protocol in PROTOCOLS {
        let call = scene.call("GET", "/v3/x").header("te", "trailers");
        let (answer, trailers) = call.send_for_trailers(protocol).await;
        assert_eq!((answer.text().as_str(), trailers), ("ok", None));
    }
    scene.stop().await;
}

/// Fails when a part of a body loses the fields that tell which part it is, or is asked for in
/// other words.
#[tokio::test]
async fn ranges_pass_where_bodies_are_not_searched() {
    let puppet = Puppet::logged_in(|request| {
        let lower = request.to_lowercase();
        match lower.contains("\r\nrange: bytes=2-3\r\n")
            && lower.contains("\r\nif-range: \"a\"\r\n")
        {
            true => Reply::keep(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-3/10\r\netag: \"a\"\r\n\
                 accept-ranges: bytes\r\ncontent-length: 2\r\n\r\ncd",
            ),
            false => Reply::json("{}"),
        }
    })
    .await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream.push_str("\nsearch_bodies = \"off\"");
    let scene = setup.start().await;
    for protocol in PROTOCOLS {
        let call = scene.call("GET", "/v3/x").header("range", "bytes=2-3");
        let part = call.header("if-range", "\"a\"").send_by(protocol).await;
        assert_eq!((part.status.as_u16(), part.text().as_str()), (206, "cd"));
        for (name, value) in [
            ("content-range", "bytes 2-3/10"),
            ("etag", "\"a\""),
            ("accept-ranges", "bytes"),
            ("content-length", "2"),
        ] {
            assert_eq!(part.one(name), value, "{name}");
        }
    }
    scene.stop().await;
}

/// Fails when an answer that has no content gets some, or a length that is not its own (RFC 9110
/// section 15.3.6).
#[tokio::test]
async fn a_205_has_no_content() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep("HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\nx-a: 1\r\n\r\n")
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for protocol in PROTOCOLS {
        let answer = scene.call("POST", "/v3/x").send_by(protocol).await;
        assert_eq!((answer.status.as_u16(), answer.one("x-a")), (205, "1"));
        assert!(answer.body.is_empty() && matches!(answer.one("content-length"), "" | "0"));
    }
    scene.stop().await;
}

/// Fails when fields behind an answer are lost because it comes before its request's end.
#[tokio::test]
async fn fields_behind_an_answer_before_the_requests_end_reach_the_client() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    puppet.answer_early(chunked("x-sum: 7\r\n"));
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    let fields = "host: localhost\r\nte: trailers\r\ncontent-length: 10\r\n";
    client.write(format!("POST /v3/x HTTP/1.1\r\n{fields}\r\nhalf ")).await;
    let told = client.read_to("\r\n0\r\n").await;
    assert!(told.contains("2\r\nok\r\n"), "{told}");
    client.read_to("\r\n0\r\nx-sum: 7\r\n\r\n").await;
    client.write("a body").await;
    drop(client);
    scene.stop().await.assert_no_leak();
}
