//! One connection of a client, from the first byte to the last answer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::socket::Stream;
use super::{Limits, Stop};
use crate::proxy::exchange::exchange;
use crate::proxy::{Core, Peer};

/// Serves one connection. It ends when the client leaves, errs or idles too long, or after its running requests when
/// the server stops accepting.
pub(super) async fn serve(
    stream: Stream,
    tls: Option<TlsAcceptor>,
    core: Arc<Core>,
    peer: Arc<Peer>,
    limits: Limits,
    stop: &Stop,
) {
    match tls {
        None => converse(stream, core, peer, limits, stop).await,
        Some(tls) => match timeout(limits.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, core, peer, limits, stop).await,
            // A scan, a client that does not trust us, or one that idles: nothing an operator must act on.
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn converse<S>(stream: S, core: Arc<Core>, peer: Arc<Peer>, limits: Limits, stop: &Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (core, peer) = (Arc::clone(&core), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(exchange(core, peer, request).await) }
    });
    let builder = builder(limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.accepting.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that leave, idle or send no HTTP: the answer, if any, was given by hyper.
        tracing::debug!(%error, "a connection ended early");
    }
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.request_head_bytes_max)
        .max_headers(limits.header_fields_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.request_head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .adaptive_window(true);
    builder
}
