//! gRPC with a client and a server that are not ours (tonic), HTTP/2 on both sides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut};
use doorward::emulator::Vendor;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::server::StreamingService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::harness::{Scene, Setup, until, within};

/// Messages as they are: what is inside does not matter here.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; bytes.remaining()];
        bytes.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// The server's side, as a test sees and moves it.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    /// What `Watch` tells its callers.
    events: mpsc::UnboundedSender<Vec<u8>>,
    /// The heads of calls.
    heads: Arc<Mutex<Vec<http::HeaderMap>>>,
    /// Calls that were given up.
    dropped: watch::Receiver<usize>,
}

struct Method {
    path: String,
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
    dropped: Arc<watch::Sender<usize>>,
}

/// Tells that a call has been given up.
struct Guard(Arc<watch::Sender<usize>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl StreamingService<Vec<u8>> for Method {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (path, events) = (self.path.clone(), Arc::clone(&self.events));
        let dropped = Arc::clone(&self.dropped);
        Box::pin(async move {
            let mut said = request.into_inner();
            let messages: Messages = match path.as_str() {
                "/test.Echo/Unary" => {
                    let message = said.try_next().await?.unwrap();
                    if message == b"refuse" {
                        return Err(refusal());
                    }
                    Box::pin(stream::iter([Ok(message)]))
                }
                // All that was said, in one; then a refusal behind it.
                "/test.Echo/Sum" => {
                    let sum = said.try_concat().await?;
                    Box::pin(stream::iter([Ok(sum)]))
                }
                "/test.Echo/Chat" => {
                    let end = stream::iter([Err(refusal())]);
                    Box::pin(said.chain(end))
                }
                "/test.Echo/Watch" => {
                    let guard = Guard(dropped);
                    Box::pin(stream::unfold((events, guard), async |(events, guard)| {
                        let event = events.lock().await.recv().await?;
                        Some((Ok(event), (events, guard)))
                    }))
                }
                _ => {
                    let _guard = Guard(dropped);
                    std::future::pending().await
                }
            };
            Ok(Response::new(messages))
        })
    }
}

/// With everything that a status can carry.
fn refusal() -> Status {
    let mut status =
        Status::with_details(Code::FailedPrecondition, "nicht so: 100 %", vec![0, 255, 7].into());
    status.metadata_mut().insert("x-why", MetadataValue::from_static("because"));
    let binary = MetadataValue::from_bytes(b"\0\xff");
    status.metadata_mut().insert_bin("x-why-bin", binary);
    status
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let (dropped, seen) = watch::channel(0);
        let (dropped, heads) = (Arc::new(dropped), Arc::<Mutex<Vec<_>>>::default());
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (receiver, dropped) = (Arc::clone(&receiver), Arc::clone(&dropped));
                let noted = Arc::clone(&noted);
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (events, dropped) = (Arc::clone(&receiver), Arc::clone(&dropped));
                    let path = request.uri().path().to_owned();
                    let noted = Arc::clone(&noted);
                    async move {
                        if path.starts_with("/v3/") {
                            let login = r#"{"user":{"authtoken":"blt0123456789abcdef"}}"#;
                            return Ok::<_, Infallible>(http::Response::new(
                                tonic::body::Body::new(login.to_owned()),
                            ));
                        }
                        noted.lock().unwrap().push(request.headers().clone());
                        let method = Method { path, events, dropped };
                        Ok(tonic::server::Grpc::new(Plain).streaming(method, request).await)
                    }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, events, heads, dropped: seen }
    }
}

async fn stage() -> (Server, Scene) {
    let server = Server::start().await;
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("http://{}", server.address));
    setup.upstream.push_str("\nhttp2 = \"always\"");
    (server, setup.start().await)
}

type Client = tonic::client::Grpc<Channel>;

async fn client(scene: &Scene) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", scene.port())).unwrap();
    // The client, too, ends connections with many small frames that it has not taken.
    let endpoint = endpoint.initial_connection_window_size(32 << 20);
    let mut client = Client::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

fn path(name: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/test.Echo/{name}")).unwrap()
}

fn assert_refused(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "nicht so: 100 %"));
    assert_eq!(status.details(), [0, 255, 7]);
    assert_eq!(status.metadata().get("x-why").unwrap(), "because");
    assert_eq!(
        status.metadata().get_bin("x-why-bin").unwrap().to_bytes().unwrap(),
        "\0\u{ff}".chars().map(|one| one as u8).collect::<Vec<_>>()
    );
}

/// Fails when a message, a status or what comes with it is lost on its way.
#[tokio::test]
async fn a_unary_call_gets_its_message_and_its_status() {
    let (server, scene) = stage().await;
    let mut client = client(&scene).await;
    for length in [0, 5, 3 << 20] {
        let message = vec![b'm'; length];
        let mut request = Request::new(message.clone());
        request.metadata_mut().insert("x-tenant", MetadataValue::from_static("seven"));
        let answer = within(client.unary(request, path("Unary"), Plain)).await.unwrap();
        assert!(*answer.get_ref() == message);
        assert_eq!(answer.metadata().get("grpc-status").unwrap(), "0");
        client.ready().await.unwrap();
    }
    let refused = Request::new(b"refuse".to_vec());
    assert_refused(&within(client.unary(refused, path("Unary"), Plain)).await.unwrap_err());
    {
        let heads = server.heads.lock().unwrap();
        assert_eq!(heads.len(), 4);
        for head in heads.iter() {
            assert_eq!(
                (&head["te"], &head["content-type"]),
                (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
            );
            assert_eq!(head["authtoken"], "blt0123456789abcdef");
        }
        assert_eq!(heads[0]["x-tenant"], "seven");
    }
    drop(client);
    let mut scene = scene;
    within(scene.take_app().stop()).await;
}

/// Fails when a stream waits for its end, in either direction, or loses what is said behind it.
#[tokio::test]
async fn streams_flow_in_both_directions_while_they_last() {
    let (server, scene) = stage().await;
    let mut client = client(&scene).await;

    let parts: Vec<_> = (0..50).map(|number: u8| vec![number; 10_000]).collect();
    let request = Request::new(stream::iter(parts.clone()));
    let sum = within(client.client_streaming(request, path("Sum"), Plain)).await.unwrap();
    assert!(sum.into_inner() == parts.concat());

    client.ready().await.unwrap();
    let request = Request::new(b"all".to_vec());
    let watching = client.server_streaming(request, path("Watch"), Plain);
    let mut watching = within(watching).await.unwrap().into_inner();
    for number in 0..20_u8 {
        // Each one comes before the next is made.
        server.events.send(vec![number]).unwrap();
        assert_eq!(within(watching.message()).await.unwrap(), Some(vec![number]));
    }
    assert_eq!(*server.dropped.borrow(), 0);
    drop(watching);
    let mut dropped = server.dropped.clone();
    within(dropped.wait_for(|count| *count == 1)).await.unwrap();

    client.ready().await.unwrap();
    let (say, said) = mpsc::unbounded_channel::<Vec<u8>>();
    let said = stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
    let chat = client.streaming(Request::new(said), path("Chat"), Plain);
    say.send(b"first".to_vec()).unwrap();
    let mut chat = within(chat).await.unwrap().into_inner();
    assert_eq!(within(chat.message()).await.unwrap().unwrap(), b"first");
    for number in 0..20_u8 {
        say.send(vec![number; 1000]).unwrap();
        assert_eq!(within(chat.message()).await.unwrap(), Some(vec![number; 1000]));
    }
    drop(say);
    assert_refused(&within(chat.message()).await.unwrap_err());
    drop((chat, client));
    let mut scene = scene;
    within(scene.take_app().stop()).await;
}

/// Fails when many small messages at once end the connection that they share with others.
#[tokio::test]
async fn many_small_messages_at_once_arrive_and_disturb_nobody() {
    let (server, scene) = stage().await;
    let mut client = client(&scene).await;
    let request = Request::new(b"all".to_vec());
    let watching = client.server_streaming(request, path("Watch"), Plain);
    let mut watching = within(watching).await.unwrap().into_inner();
    for number in 0..5000_u32 {
        server.events.send(number.to_be_bytes().to_vec()).unwrap();
    }
    client.ready().await.unwrap();
    let other = client.unary(Request::new(b"other".to_vec()), path("Unary"), Plain);
    assert_eq!(within(other).await.unwrap().into_inner(), b"other");
    for number in 0..5000_u32 {
        assert_eq!(within(watching.message()).await.unwrap().unwrap(), number.to_be_bytes());
    }
    drop((watching, client));
    let mut scene = scene;
    within(scene.take_app().stop()).await;
}

/// Fails when a call that its client has given up, or whose time is over, goes on at the upstream,
/// or when the upstream is not told of the time.
#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_upstream() {
    let (server, scene) = stage().await;
    let mut client = client(&scene).await;
    let mut dropped = server.dropped.clone();

    let mut request = Request::new(b"x".to_vec());
    request.set_timeout(Duration::from_millis(300));
    let status = within(client.unary(request, path("Hang"), Plain)).await.unwrap_err();
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    within(dropped.wait_for(|count| *count == 1)).await.unwrap();
    assert!(server.heads.lock().unwrap()[0].contains_key("grpc-timeout"));

    client.ready().await.unwrap();
    let mut hanging = Box::pin(client.unary(Request::new(b"x".to_vec()), path("Hang"), Plain));
    tokio::select! {
        _ = &mut hanging => panic!("answered"),
        () = until("it has arrived", || server.heads.lock().unwrap().len() == 2) => {}
    }
    drop(hanging);
    within(dropped.wait_for(|count| *count == 2)).await.unwrap();
    drop(client);
    let mut scene = scene;
    within(scene.take_app().stop()).await;
}
