//! An HTTP/2 connection to an upstream: hyper's, many requests at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::addresses::Endpoint;
use super::connection::{Expectation, Failure};
use super::given::{Answering, Given};
use super::http1::HEAD_BYTES_MAX;
use super::stream::Stream;
use super::{Origin, RequestHead};

/// A connection on which nothing comes for so long while requests wait is asked for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long the sign may take; then the connection is closed. Without it the connection takes one
/// request after the other, and answers none, until the system gives it up after a quarter of an
/// hour.
const SIGN_WAIT_MAX: Duration = Duration::from_secs(10);

/// How much of one answer may wait for its client.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// The same of all answers on a connection: clients that do not read hold no others up before there
/// are so many of them. h2 ends a connection with more small frames waiting than one for each 512
/// bytes of this window.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// A handle to a connection; clones share it.
#[derive(Debug)]
pub(super) struct Http2<B> {
    sender: http2::SendRequest<Given<B>>,
    shared: Arc<Shared>,
}

/// What all have in common that use one connection: its handles, its answers, and the requests'
/// bodies that still go out.
#[derive(Debug)]
pub(super) struct Shared {
    endpoint: Option<Arc<Endpoint>>,
    tasks: Tasks,
    is_retired: AtomicBool,
    /// Requests whose answers have not ended.
    streams: AtomicUsize,
    room: Arc<Room>,
}

/// How many streams the upstream takes at a time. hyper would have further ones wait in a queue.
#[derive(Debug)]
struct Room {
    streams_max: AtomicUsize,
    /// It has answered, so that it must have said how many.
    has_answered: Notify,
}

/// One stream of a connection, as long as its answer is there.
#[derive(Debug)]
pub(super) struct Share {
    connection: Arc<Shared>,
    /// Where the request's body still goes out.
    _answering: Option<Answering>,
}

/// Runs what hyper has tasks for. The first of them drives the connection; it ends when the last
/// handle is dropped, but for what is stuck.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<OnceLock<AbortHandle>>);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::spawn(future);
        self.0.get_or_init(|| task.abort_handle());
    }
}

impl Share {
    fn of(connection: Arc<Shared>) -> Self {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Self { connection, _answering: None }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Something on it is stuck: it takes no further request, and what is under way ends by itself.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shared {
    /// Nobody is left but what is stuck, for which the connection would stay for ever.
    fn drop(&mut self) {
        if *self.is_retired.get_mut() {
            self.tasks.0.get().into_iter().for_each(AbortHandle::abort);
        }
    }
}

impl<B> Clone for Http2<B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<B> Http2<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins to speak HTTP/2.
    ///
    /// # Errors
    /// When the other side does not; no request has been sent.
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let endpoint = stream.endpoint().cloned();
        let tasks = Tasks::default();
        let (sender, mut connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(SILENCE_MAX)
            .keep_alive_timeout(SIGN_WAIT_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let room = Room { streams_max: AtomicUsize::new(usize::MAX), has_answered: Notify::new() };
        let room = Arc::new(room);
        let is_retired = AtomicBool::new(false);
        let (streams, of_all) = (AtomicUsize::new(0), Arc::clone(&room));
        let shared = Arc::new(Shared { endpoint, tasks, is_retired, streams, room });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    // Its error reaches each request by itself.
                    _ = &mut connection => return,
                    () = of_all.has_answered.notified() => {}
                }
                let streams_max = connection.current_max_send_streams();
                of_all.streams_max.store(streams_max, Ordering::Relaxed);
            }
        });
        Ok(Self { sender, shared })
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.shared.endpoint.as_ref()
    }

    /// Whether it takes a request now.
    pub(super) fn is_usable(&self) -> bool {
        !self.shared.is_retired.load(Ordering::Relaxed) && self.sender.is_ready()
    }

    /// Whether a further request would have to wait for the end of another one.
    pub(super) fn is_full(&self) -> bool {
        let Shared { streams, room, .. } = &*self.shared;
        streams.load(Ordering::Relaxed) >= room.streams_max.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for the head of the answer; the body goes out meanwhile, and on
    /// while the answer's body is read, as long as the upstream takes it.
    ///
    /// # Errors
    /// The body comes back where nothing of the request was sent. Dropping the future resets the
    /// stream.
    pub(super) async fn send(
        self,
        origin: &Origin,
        head: &RequestHead<'_>,
        body: B,
        expectation: Option<&Expectation>,
    ) -> Result<(Response<Incoming>, Share), Failure<B>> {
        let Self { mut sender, shared } = self;
        let body = Given::new(body, &shared);
        let mut share = Share::of(shared);
        let upload = body.upload();
        let mut request = head.http2(origin, body);
        // hyper shows no informational answers of HTTP/2: who asked would not hear the answer.
        request.headers_mut().remove(header::EXPECT);
        if let Some(expectation) = expectation {
            expectation.is_met();
        }
        // gRPC asks for it; what comes behind the body is for the walk to judge.
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        match sender.try_send_request(request).await {
            Ok(answer) => {
                // Until now somebody waits for the head of the answer, and not for ever.
                share._answering = upload.and_then(|upload| upload.watch(origin.response_timeout));
                let room = &share.connection.room;
                if room.streams_max.load(Ordering::Relaxed) == usize::MAX {
                    room.has_answered.notify_one();
                }
                Ok((answer, share))
            }
            Err(mut error) => Err(Failure {
                unsent: error.take_message().and_then(|request| request.into_body().into_inner()),
                error: error.into_error().into(),
            }),
        }
    }
}
