//! Uploads that break off while their answer, which came early, is on its way: the client gets the
//! answer, and the upstream learns that the upload is not whole.

use std::net::SocketAddr;

use bytes::Bytes;
use doorward::emulator::Vendor;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::client::Raw;
use crate::harness::{Scene, Setup, within};
use crate::puppet::TOKEN;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ncontent-length: 22\r\n\r\nfirst half\n";

const UPLOAD: &str = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\n\
                      transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";

/// How a client breaks its upload off, and still wants its answer.
#[derive(Clone, Copy, Debug)]
enum Breaks {
    /// By what is no chunk.
    Chunk,
    /// By the end of its side.
    End,
    /// By sending nothing.
    Silence,
}

async fn break_off(client: &mut Raw, how: Breaks) {
    match how {
        Breaks::Chunk => client.write("no chunk\r\n").await,
        Breaks::End => client.end().await,
        Breaks::Silence => {}
    }
}

async fn start(origin: SocketAddr, half_closed: &str, upstream: &str) -> Scene {
    let tables = "[timeouts]\nbody = \"1s\"\n";
    let mut setup = Setup::of(Vendor::Contentstack).tables(tables);
    setup.origin = Some(format!("http://{origin}"));
    setup.listener.push_str(&format!("\nhalf_closed = {half_closed:?}"));
    upstream.clone_into(&mut setup.upstream);
    setup.start().await
}

fn login() -> String {
    format!(r#"{{"user":{{"authtoken":"{TOKEN}"}}}}"#)
}

/// An upstream that answers as soon as it has seen a head, and is the test's from then on.
async fn upstream() -> (SocketAddr, mpsc::UnboundedReceiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (handing_over, handed_over) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let handing_over = handing_over.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.unwrap() > 0 {
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    let is_login = text.starts_with("POST /v3/user-session");
                    let is_logout = text.starts_with("DELETE /v3/user-session");
                    let is_whole = text.ends_with(if is_login { "}" } else { "\r\n\r\n" });
                    match (is_login || is_logout) && is_whole {
                        true => {
                            let length = login().len();
                            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}");
                            let answer = format!("{head}\r\n\r\n{}", login());
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            seen.clear();
                        }
                        false if text.ends_with("half\r\n") => {
                            stream.write_all(HEAD.as_bytes()).await.unwrap();
                            _ = handing_over.send(stream);
                            return;
                        }
                        false => {}
                    }
                }
            });
        }
    });
    (address, handed_over)
}

/// Fails when a client whose upload breaks off loses the answer that has begun, or when its upload
/// passes for a whole one, or is waited for.
#[tokio::test]
async fn an_upload_that_breaks_off_does_not_cut_its_answer() {
    let (address, mut handed_over) = upstream().await;
    let scene = start(address, "answered", "").await;
    for how in [Breaks::Chunk, Breaks::End, Breaks::Silence] {
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(UPLOAD).await;
        let mut upstream = within(handed_over.recv()).await.unwrap();
        client.read_to("first half\n").await;
        break_off(&mut client, how).await;
        // The upstream learns at once that nothing more comes: this is not the last chunk.
        let mut rest = Vec::new();
        _ = within(upstream.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "{how:?}");
        upstream.write_all(b"second half").await.unwrap();
        let said = client.read_to_end().await;
        assert!(said.ends_with("first half\nsecond half"), "{how:?}: {said}");
        // Nor is its connection used again.
        assert_eq!(within(upstream.read(&mut [0])).await.unwrap_or(0), 0);
    }
    scene.stop().await;
}

/// Fails when a client that has left in the middle of its upload, which the end of its side means where
/// nothing else is said, keeps its answer waiting for it.
#[tokio::test]
async fn a_client_that_leaves_in_its_upload_leaves_its_answer() {
    let (address, mut handed_over) = upstream().await;
    let scene = start(address, "left", "").await;
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(UPLOAD).await;
    let mut upstream = within(handed_over.recv()).await.unwrap();
    client.read_to("first half\n").await;
    client.end().await;
    // Nothing more comes from the upstream, of which it could be noticed.
    client.read_to_end().await;
    let writing = async { while upstream.write_all(b"second half").await.is_ok() {} };
    within(writing).await;
    scene.stop().await;
}

type Body =
    StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, hyper::Error>>>;

/// What a test has of a request over HTTP/2: its body, and the rest of its answer.
type Call = (Incoming, mpsc::UnboundedSender<Bytes>);

/// The same over HTTP/2.
async fn upstream_of_http2() -> (SocketAddr, mpsc::UnboundedReceiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calling, calls) = mpsc::unbounded_channel::<Call>();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let calling = calling.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let is_session = request.uri().path() == "/v3/user-session";
                let (sender, pieces) = mpsc::unbounded_channel::<Bytes>();
                match is_session {
                    true => _ = sender.send(login().into()),
                    false => {
                        _ = sender.send("first half\n".into());
                        _ = calling.send((request.into_body(), sender));
                    }
                }
                let pieces = futures_util::stream::unfold(pieces, async |mut pieces| {
                    Some((Ok(Frame::data(pieces.recv().await?)), pieces))
                });
                async move {
                    let kind = ("content-type", "application/zip");
                    let answer = http::Response::builder().header(kind.0, kind.1);
                    Ok::<_, hyper::Error>(answer.body(Body::new(pieces.boxed())).unwrap())
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, calls)
}

/// Fails when over HTTP/2 the end of a stream takes the answer with it, which has only one end for
/// both directions.
#[tokio::test]
async fn over_http2_an_upload_that_breaks_off_does_not_cut_its_answer() {
    let (address, mut calls) = upstream_of_http2().await;
    let scene = start(address, "answered", "http2 = \"always\"\n").await;
    for how in [Breaks::Chunk, Breaks::End, Breaks::Silence] {
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write(UPLOAD).await;
        let (mut upload, answer) = within(calls.recv()).await.unwrap();
        let first = within(upload.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "half");
        client.read_to("first half\n").await;
        break_off(&mut client, how).await;
        if let Breaks::Silence = how {
            // The next one is cut as late: by then this one has been.
            let mut late = Raw::connect(scene.door(), scene.record()).await;
            late.write(UPLOAD.replace("/v3/x", "/v3/late")).await;
            let (_upload, answer) = within(calls.recv()).await.unwrap();
            drop(answer);
            late.read_to_end().await;
        }
        answer.send("second half".into()).unwrap();
        // What may be the beginning of a secret comes with what is behind it.
        client.read_to("second").await;
        drop(answer);
        let said = client.read_to_end().await;
        assert!(said.ends_with("half\r\n0\r\n\r\n"), "{how:?}: {said}");
        let rest = within(upload.into_data_stream().try_collect::<Vec<_>>()).await;
        assert!(rest.is_err(), "{how:?}: half an upload passes for a whole one");
    }
    scene.stop().await;
}
