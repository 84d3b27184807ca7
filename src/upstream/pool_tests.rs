//! Connections are used again where that is right, and nobody waits for somebody else's body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Waker};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

use super::*;
use crate::outbox;
use crate::upstream::http1::Http1;
use crate::upstream::stream::Stream;
use crate::upstream::{Dialler, Http2, Way};

const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
const STALL_MAX: Duration = Duration::from_secs(5);

/// A request's body of unknown length.
#[derive(Debug)]
enum Outgoing {
    Text(&'static str),
    Done,
    /// More will come, some day.
    Stalled,
    /// The same, and it tells when it is dropped.
    Slow {
        _held: oneshot::Sender<Infallible>,
    },
    /// More will come, some day; whoever asks for it when this is set dies.
    Cursed(Arc<AtomicBool>),
    /// It has no end, and tells when it is dropped.
    Endless {
        _held: oneshot::Sender<Infallible>,
    },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut *self, Self::Done) {
            Self::Text(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(text))))),
            Self::Done => Poll::Ready(None),
            same @ (Self::Stalled | Self::Slow { .. }) => {
                *self = same;
                Poll::Pending
            }
            Self::Cursed(curse) => {
                assert!(!curse.load(Ordering::Relaxed), "this is what the test is about");
                *self = Self::Cursed(curse);
                Poll::Pending
            }
            same @ Self::Endless { .. } => {
                *self = same;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16 * 1024])))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Answers every connection's requests as soon as their heads, or `until`, have come. Shows
/// what came first.
async fn upstream(until: &'static str) -> (Pool<Outgoing>, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, shown) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, until, seen.clone()));
        }
    });
    (pool(port, Http2::Never), shown)
}

fn pool(port: u16, http2: Http2) -> Pool<Outgoing> {
    pool_within(port, http2, Duration::from_secs(5))
}

fn pool_within(port: u16, http2: Http2, response_timeout: Duration) -> Pool<Outgoing> {
    Pool::new(Arc::new(Origin {
        host: "127.0.0.1".to_owned(),
        port,
        url_authority: HeaderValue::from_static("upstream"),
        authority: HeaderValue::from_static("upstream"),
        way: Way::Direct,
        base_path: String::new(),
        tls: None,
        http2,
        upgrades: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        response_timeout,
        idle_timeout: IDLE_TIMEOUT,
        dialler: Dialler::to("127.0.0.1", port, Vec::new()),
    }))
}

/// Answers the requests of two HTTP/2 connections; the first one falls silent when it is told
/// to, and stays.
async fn silent_once(listener: TcpListener, silence: Arc<Notify>) {
    let ok = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Outgoing::Done)) });
    let mut served = Vec::new();
    for _ in 0..2 {
        let io = TokioIo::new(listener.accept().await.unwrap().0);
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut serving = Box::pin(server.serve_connection(io, ok));
        tokio::select! {
            _ = &mut serving => {}
            () = silence.notified() => {}
        }
        served.push(serving);
    }
}

/// Fails when a connection whose upstream has gone without a word, as behind a firewall that
/// forgot it, takes one request after the other and answers none.
#[tokio::test]
async fn a_shared_connection_that_has_fallen_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(listener.local_addr().unwrap().port(), Http2::Always);
    let silence = Arc::new(Notify::new());
    tokio::spawn(silent_once(listener, Arc::clone(&silence)));
    send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    silence.notify_one();
    // Nothing comes any more: from here on only waits end.
    tokio::time::pause();
    let hour = Duration::from_secs(3600);
    let lost = tokio::time::timeout(hour, send(&pool, Method::GET, Outgoing::Done));
    assert!(matches!(lost.await, Ok(Err(SendError::Broken(_)))));
    tokio::time::resume();
    let next = send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    assert_eq!(next.status, StatusCode::OK);
}

fn within<F: Future>(wait: F) -> tokio::time::Timeout<F> {
    tokio::time::timeout(Duration::from_secs(10), wait)
}

/// Speaks HTTP/2, answers at once and without end, and takes nothing of what it is sent. Tells of
/// connections that are over.
async fn greedless(listener: TcpListener, over: mpsc::UnboundedSender<()>) {
    while let Ok((stream, _)) = listener.accept().await {
        let over = over.clone();
        tokio::spawn(async move {
            let untaken = Mutex::new(Vec::new());
            let answer = service_fn(|request: http::Request<hyper::body::Incoming>| {
                untaken.lock().unwrap().push(request.into_body());
                async { Ok::<_, Infallible>(Response::new(Outgoing::Stalled)) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            _ = server.serve_connection(TokioIo::new(stream), answer).await;
            _ = over.send(());
        });
    }
}

/// Fails when an upload of which an HTTP/2 upstream takes nothing more is held for ever once its
/// answer has begun, when its answer or another upload goes with it, or when its connection is used
/// on, or stays.
#[tokio::test]
async fn an_upload_that_is_stuck_behind_its_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pool = pool_within(port, Http2::Always, Duration::from_millis(200));
    let (over, mut is_over) = mpsc::unbounded_channel();
    tokio::spawn(greedless(listener, over));
    let (_held, is_held) = oneshot::channel();
    let mut stuck = send(&pool, Method::POST, Outgoing::Endless { _held }).await.unwrap();
    assert_eq!(pool.idle.len(), 1);
    within(is_held).await.unwrap().unwrap_err();
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut stuck.body).poll_frame(&mut context).is_pending());
    let _next = send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    assert_eq!((pool.idle.len(), is_over.try_recv().is_err()), (1, true));
    drop(stuck);
    assert_eq!(within(is_over.recv()).await, Ok(Some(())), "it stays");

    // Of two on the next connection, one has a client that does not go on.
    let (_held, mut is_slow) = oneshot::channel();
    let _slow = send(&pool, Method::POST, Outgoing::Slow { _held }).await.unwrap();
    let (_held, is_held) = oneshot::channel();
    let stuck = send(&pool, Method::POST, Outgoing::Endless { _held }).await.unwrap();
    within(is_held).await.unwrap().unwrap_err();
    drop(stuck);
    assert_eq!(is_slow.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    assert!(is_over.try_recv().is_err(), "others are under way on it");
}

/// Fails when requests wait behind others that do not end, because the upstream takes no more of them
/// on one connection.
#[tokio::test]
async fn a_connection_that_is_full_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(listener.local_addr().unwrap().port(), Http2::Always);
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let endless =
                service_fn(|_| async { Ok::<_, Infallible>(Response::new(Outgoing::Stalled)) });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(2);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), endless));
        }
    });
    let mut answers = Vec::new();
    for _ in 0..7 {
        let answer = within(send(&pool, Method::GET, Outgoing::Done)).await.unwrap();
        answers.push(answer.unwrap());
        // What it has said is known from here on.
        tokio::task::yield_now().await;
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 4);
    // Those that have room again are used again.
    answers.drain(..4);
    for _ in 0..5 {
        let answer = within(send(&pool, Method::GET, Outgoing::Done)).await.unwrap();
        answers.push(answer.unwrap());
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 4);
}

async fn answer(
    mut stream: TcpStream,
    until: &'static str,
    seen: tokio::sync::mpsc::Sender<String>,
) {
    let mut request = String::new();
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        request.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if request.contains(until) {
            seen.send(std::mem::take(&mut request)).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    }
}

async fn send<B>(pool: &Pool<B>, method: Method, body: B) -> Result<Answer<B>, SendError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (target, headers) = (PathAndQuery::from_static("/x"), http::HeaderMap::new());
    let head = RequestHead::new(&method, &target, &headers);
    pool.send(&head, body, &Wait::for_the_caller()).await
}

#[tokio::test]
async fn nobody_waits_for_a_body_that_another_client_is_slow_to_send() {
    let (pool, _shown) = upstream("\r\n\r\n").await;
    let early = send(&pool, Method::POST, Outgoing::Stalled).await.unwrap();
    assert!(early.body.is_end_stream());
    let next = send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    assert_eq!(next.status, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_is_used_again_after_its_answer() {
    let (pool, mut shown) = upstream("\r\n\r\n").await;
    for _ in 0..3 {
        send(&pool, Method::GET, Outgoing::Done).await.unwrap();
        shown.recv().await.unwrap();
        assert_eq!(pool.idle.len(), 1);
    }
}

/// A pool whose one request was answered without content, and its upstream, which has closed.
async fn answered_and_closed(method: Method, body: Outgoing) -> (Pool<Outgoing>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(listener.local_addr().unwrap().port(), Http2::Never);
    let upstream = async {
        let mut stream = listener.accept().await.unwrap().0;
        _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    };
    let (answer, mut stream) = tokio::join!(send(&pool, method, body), upstream);
    assert!(answer.unwrap().body.is_end_stream());
    stream.shutdown().await.unwrap();
    (pool, stream)
}

/// Fails when the sockets of upstreams that have closed stay open as long as nobody calls.
#[tokio::test]
async fn a_connection_that_its_upstream_has_closed_is_closed() {
    let (pool, mut stream) = answered_and_closed(Method::GET, Outgoing::Done).await;
    // Nobody calls; only time passes.
    tokio::time::pause();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(pool.idle.len(), 0);
}

/// Fails when a connection that its upstream has closed takes a request because the task has
/// used up its turn: each one that is looked at and found closed counts.
#[tokio::test]
async fn no_closed_connection_is_used_however_busy_the_task_is() {
    let (pool, _shown) = upstream("\r\n\r\n").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..200 {
        let connected = tokio::join!(TcpStream::connect(address), listener.accept());
        let connection = Http1::new(Stream::tcp(connected.0.unwrap()), STALL_MAX);
        pool.idle.give_back(Connection::Http1(connection));
        drop(connected.1);
    }
    // Whatever has come is known from here on.
    tokio::task::yield_now().await;
    let answer = send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

/// Connections that look as if they took a request, and take nothing.
async fn that_take_nothing(count: usize) -> (Vec<Connection<Outgoing>>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut connections, mut others) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let connected = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = connected.0.unwrap();
        socket2::SockRef::from(&stream).shutdown(std::net::Shutdown::Write).unwrap();
        connections.push(Connection::Http1(Http1::new(Stream::tcp(stream), STALL_MAX)));
        others.push(connected.1.unwrap().0);
    }
    (connections, others)
}

/// Fails when a request of which no byte has left is told as one that may have been executed: of its
/// body something may have been taken, and there may have been too many such connections.
#[tokio::test]
async fn a_request_that_no_connection_took_was_not_sent() {
    no_connection_takes_a_request().await;
}

/// Fails when a request that has waited in the outbox is told as one that has left.
#[tokio::test]
async fn a_request_that_waited_in_vain_was_not_sent() {
    tokio::spawn(outbox::run());
    tokio::task::yield_now().await;
    no_connection_takes_a_request().await;
}

async fn no_connection_takes_a_request() {
    let (pool, _shown) = upstream("\r\n\r\n").await;
    let (connections, _others) = that_take_nothing(UNSENT_RETRIES_MAX + 1).await;
    connections.into_iter().for_each(|connection| pool.idle.give_back(connection));
    let error = send(&pool, Method::GET, Outgoing::Done).await.unwrap_err();
    assert!(error.was_not_processed() && pool.idle.len() == 0, "{error:?}");
    assert_eq!(error.proxy_status().to_string(), "connection_terminated");
    let (connections, _others) = that_take_nothing(2).await;
    connections.into_iter().for_each(|connection| pool.idle.give_back(connection));
    let error = send(&pool, Method::PUT, Outgoing::Text("a body")).await.unwrap_err();
    assert!(error.was_not_processed() && pool.idle.len() == 1, "{error:?}");
    // Without a body it goes on by itself.
    let answer = send(&pool, Method::GET, Outgoing::Done).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

/// Fails when a request is given to a connection that has not taken all of the one before.
#[tokio::test]
async fn a_connection_that_has_not_taken_all_takes_no_request() {
    tokio::spawn(outbox::run());
    tokio::task::yield_now().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let mut stream = Stream::tcp(connected.unwrap());
    let (long, nobody) = (vec![0; 100_000], &mut Context::from_waker(Waker::noop()));
    while Pin::new(&mut stream).poll_write(nobody, &long).is_ready() {}
    stream.write_all(b"the last of it").await.unwrap();
    let mut connection = Http1::new(stream, STALL_MAX);
    assert!(connection.is_usable());
    tokio::task::yield_now().await;
    assert!(!connection.is_usable());
    drop(accepted);
}

/// Fails when a request that waits while its connection is found to have ended is sent anew and leaves
/// all the same: whoever has only ended its own side reads it, and may execute it.
#[tokio::test]
async fn what_an_upstream_that_has_ended_may_read_was_sent() {
    tokio::spawn(outbox::run());
    tokio::task::yield_now().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pool = pool(address.port(), Http2::Never);
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, mut upstream) = (connected.unwrap(), accepted.unwrap().0);
    upstream.shutdown().await.unwrap();
    // Its end is known, and nobody has looked.
    stream.readable().await.unwrap();
    let connection = Connection::Http1(Http1::new(Stream::tcp(stream), STALL_MAX));
    let (target, headers) = (PathAndQuery::from_static("/x"), http::HeaderMap::new());
    let head = RequestHead::new(&Method::GET, &target, &headers);
    let failure = connection.send(&pool.origin, &head, Outgoing::Done, None).await.unwrap_err();
    assert!(matches!(failure.error, Broken::Closed), "{failure:?}");
    let mut come = [0; 1024];
    let count = upstream.read(&mut come).await.unwrap();
    assert!(come[..count].starts_with(b"GET /x "), "{count}");
    assert!(failure.unsent.is_none(), "it is sent a second time");
}

/// Fails when a client that stops sending keeps a connection open that its upstream has closed
/// after an early answer.
#[tokio::test]
async fn an_upstream_that_closes_after_its_answer_waits_for_no_client() {
    let (_pool, mut stream) = answered_and_closed(Method::POST, Outgoing::Stalled).await;
    let hour = Duration::from_secs(3600);
    tokio::time::pause();
    let closed = tokio::time::timeout(hour, stream.read(&mut [0])).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}

/// Fails when an answer whose reading dies is told as one that has ended.
#[tokio::test]
async fn an_answer_whose_task_dies_is_no_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(listener.local_addr().unwrap().port(), Http2::Never);
    let upstream = async {
        let mut stream = listener.accept().await.unwrap().0;
        _ = stream.read(&mut [0; 1024]).await;
        let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        stream.write_all(begin).await.unwrap();
        stream
    };
    let curse = Arc::<AtomicBool>::default();
    let body = Outgoing::Cursed(Arc::clone(&curse));
    let (answer, mut stream) = tokio::join!(send(&pool, Method::POST, body), upstream);
    let mut body = answer.unwrap().body;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    curse.store(true, Ordering::Relaxed);
    stream.write_all(b"4\r\nmore\r\n").await.unwrap();
    assert!(matches!(within(body.frame()).await, Ok(Some(Err(Broken::Closed)))));
}

/// Fails when a client that reads nothing before it has sent all waits for ever, because what it
/// sends goes no further while nobody takes the answer.
#[tokio::test]
async fn a_body_goes_out_while_nobody_takes_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Arc::clone(pool(listener.local_addr().unwrap().port(), Http2::Never).origin());
    let pool = Pool::new(origin);
    let whole = Arc::new(Notify::new());
    let told = Arc::clone(&whole);
    tokio::spawn(async move {
        let (mut reading, mut writing) = listener.accept().await.unwrap().0.into_split();
        reading.read_exact(&mut [0; 1024]).await.unwrap();
        tokio::spawn(async move {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 33554432\r\n\r\n";
            writing.write_all(head).await.unwrap();
            _ = writing.write_all(&vec![b'x'; 33_554_432]).await;
        });
        let mut left = vec![0; 33_554_432 - 1024];
        reading.read_exact(&mut left).await.unwrap();
        told.notify_one();
    });
    let body = http_body_util::Full::new(Bytes::from(vec![b'y'; 33_554_432]));
    let _answer = send(&pool, Method::PUT, body).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(10), whole.notified()).await;
    assert!(waited.is_ok());
}

#[tokio::test]
async fn the_body_of_a_get_is_sent() {
    let (pool, mut shown) = upstream("0\r\n\r\n").await;
    send(&pool, Method::GET, Outgoing::Text("question")).await.unwrap();
    let seen = shown.recv().await.unwrap();
    assert!(seen.contains("transfer-encoding: chunked") && seen.contains("question"), "{seen}");
}
