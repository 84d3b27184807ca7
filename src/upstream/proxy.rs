//! A tunnel through a proxy to an upstream (CONNECT, RFC 9110 section 9.3.6). It is asked for plain
//! `http`, too: the proxy is told where to connect to, and nothing of what is sent.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::tcp;
use super::dial::Attempt;
use super::error::{ConnectError, ProxyError};
use super::http1::{Heads, READ_BYTES};
use super::origin::Proxy;
use super::stream::Stream;
use super::{Origin, tls};

/// A stream that leads through the proxy to the upstream.
///
/// # Errors
/// Nothing was sent to the upstream.
pub(super) async fn tunnel(
    proxy: &Proxy,
    origin: &Origin,
    attempt: &Attempt<'_>,
) -> Result<Stream, ConnectError> {
    let mut stream = connect(proxy, attempt).await.map_err(ProxyError::Unreachable)?;
    stream.write_all(&request(proxy, origin)).await.map_err(ProxyError::Closed)?;
    stream.flush().await.map_err(ProxyError::Closed)?;
    answered(&mut stream).await?;
    Ok(stream)
}

/// The proxy's own addresses are the ones that are dialled.
async fn connect(proxy: &Proxy, attempt: &Attempt<'_>) -> Result<Stream, ConnectError> {
    let stream = tcp(attempt).await?;
    match &proxy.tls {
        // Over HTTP/2 a tunnel is a stream among others (RFC 9113 section 8.5): ours has its own
        // connection.
        Some(tls) => tls::encrypt(stream, tls, &tls.http1_config).await,
        None => Ok(stream),
    }
}

/// The target is a host and a port, whatever the port is.
fn request(proxy: &Proxy, origin: &Origin) -> Vec<u8> {
    let target = match origin.host.contains(':') {
        true => format!("[{}]:{}", origin.host, origin.port),
        false => format!("{}:{}", origin.host, origin.port),
    };
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(authorization.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads the answer's head and no byte more: any success opens the tunnel, and its fields say nothing
/// of a body.
async fn answered(stream: &mut Stream) -> Result<(), ProxyError> {
    // With room for more than the head: what comes along with it must be seen.
    let (mut read, mut heads) = (BytesMut::with_capacity(READ_BYTES), Heads::default());
    loop {
        if let Some(status) = heads.take(&mut read)? {
            return match status {
                status if !status.is_success() => Err(ProxyError::Refused(status)),
                _ if !read.is_empty() => Err(ProxyError::Ahead),
                _ => Ok(()),
            };
        }
        read.reserve(READ_BYTES / 2);
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
