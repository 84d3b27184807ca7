//! The PROXY protocol (<https://www.haproxy.org/download/3.3/doc/proxy-protocol.txt>), versions 1
//! and 2: a proxy in front says ahead of a connection whose connection it is.
//!
//! Only peers that an operator has listed are believed, and they must send it: whoever else could
//! would choose the address that logs and upstreams are told. No byte behind the header is taken.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;

use super::socket::peek;
use crate::outbox::Stream;

/// The longest header of version 1 (section 2.1), its end included.
const V1_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken, with what proxies add to the addresses: a client's
/// certificate needs the most.
const V2_BYTES_MAX: usize = 16 * 1024;

/// Signature, version, family and length (section 2.2).
const V2_START_BYTES: usize = 16;

/// So much is looked at at once; most headers are shorter.
const LOOK_BYTES: usize = 256;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Which peers send the header ahead of their connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Those in these networks.
    In(Vec<IpNet>),
    /// Whoever connects; at Unix sockets, which let only some users connect.
    Everybody,
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// A probe of whether somebody listens.
    #[error("the peer closed before it sent anything")]
    Closed,
    /// It is listed, and sent something else.
    #[error("the peer must send a PROXY protocol header, and sent something else")]
    Missing,
    /// Not as the protocol says.
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(String),
    /// Longer than is taken.
    #[error("the PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
    /// The connection broke.
    #[error("the connection broke in its PROXY protocol header")]
    Broken(#[from] io::Error),
}

impl Senders {
    /// Whether the peer must send the header. One that need not is refused with it: it is no HTTP,
    /// and no TLS.
    pub(super) fn contain(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Everybody, _) => true,
            (Self::In(networks), Some(peer)) => {
                networks.iter().any(|network| network.contains(&peer))
            }
            (Self::In(_), None) => false,
        }
    }
}

/// Reads the header, and nothing behind it, and returns the client's address; the `peer`'s own where
/// the header does not name one: the connection is the proxy's own, or of another family.
pub(super) async fn client(
    stream: &mut Stream,
    peer: Option<IpAddr>,
) -> Result<Option<IpAddr>, HeaderError> {
    let mut header = Vec::new();
    loop {
        let (before, mut look) = (header.len(), [0; LOOK_BYTES]);
        let seen = peek(stream, &mut look).await?;
        header.extend_from_slice(look.get(..seen).unwrap_or_default());
        if seen == 0 {
            return Err(match before {
                0 => HeaderError::Closed,
                _ => HeaderError::Malformed("it breaks off".to_owned()),
            });
        }
        let length = length(&header)?;
        // What was looked at is the header's, up to its end.
        header.truncate(length.unwrap_or(usize::MAX));
        let taken = header.len() - before;
        stream.read_exact(look.get_mut(..taken).unwrap_or_default()).await?;
        if length.is_some() {
            return Ok(named(&header)?.map(|address| address.to_canonical()).or(peer));
        }
    }
}

/// Where the header at the beginning of `bytes` ends; nothing while more of it is to come. Then all
/// of `bytes` is the header's.
fn length(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    if begins(bytes, V1_SIGNATURE) {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2);
        return match end.unwrap_or(bytes.len()) {
            length if length > V1_BYTES_MAX => Err(HeaderError::TooLong(V1_BYTES_MAX)),
            _ => Ok(end),
        };
    }
    if !begins(bytes, V2_SIGNATURE) {
        return Err(HeaderError::Missing);
    }
    let Some(&[high, low]) = bytes.get(V2_START_BYTES - 2..V2_START_BYTES) else { return Ok(None) };
    match V2_START_BYTES + usize::from(u16::from_be_bytes([high, low])) {
        length if length > V2_BYTES_MAX => Err(HeaderError::TooLong(V2_BYTES_MAX)),
        length => Ok(Some(length).filter(|length| *length <= bytes.len())),
    }
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let both = bytes.iter().zip(signature);
    both.into_iter().all(|(byte, wanted)| byte == wanted)
}

/// The client's address in a whole header. Nothing where the connection is the proxy's own, such as
/// for a health check, and where the client has no IP address.
fn named(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, _) = ProxyHeader::parse(header, config)
        .map_err(|error| HeaderError::Malformed(error.to_string()))?;
    let stream = header.proxied_address().filter(|named| named.protocol == Protocol::Stream);
    Ok(stream.map(|named| named.source.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    /// A header of version 2: version and command, family and protocol, what follows the length.
    fn v2_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn read(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
        assert_eq!(length(header).unwrap(), Some(header.len()));
        named(header)
    }

    #[test]
    fn the_client_is_who_the_header_names() {
        let v4 = [&[192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 2, 2][..], &[4, 0, 1, 0]].concat();
        let v6: Vec<u8> = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[7], &[1; 20]].concat();
        let expected: [(&[u8], Option<&str>); 11] = [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff::1 ::2 1 2\r\n", None),
            (b"PROXY UNKNOWN a b c d e f g h\xff\r\n", None),
            (&v2_header(0x21, 0x11, &v4), Some("192.0.2.7")),
            (&v2_header(0x21, 0x21, &v6), Some("2001:db8::7")),
            (&v2_header(0x20, 0x11, &v4), None),
            (&v2_header(0x20, 0x00, &[]), None),
            (&v2_header(0x21, 0x00, &[]), None),
            (&v2_header(0x21, 0x31, &[7; 216]), None),
        ];
        for (header, expected) in expected {
            let expected = expected.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(read(header).unwrap(), expected, "{}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PROXX", b"\x16\x03\x01", b"\r\n\r\nGET", b"\n"]
        {
            assert!(matches!(length(bytes), Err(HeaderError::Missing)), "{bytes:?}");
        }
        for header in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 x\r\n"[..],
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 65536\r\n",
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY \r\n",
            &v2_header(0x11, 0x11, &[0; 12]),
            &v2_header(0x22, 0x11, &[0; 12]),
            &v2_header(0x21, 0x41, &[0; 12]),
            &v2_header(0x21, 0x11, &[0; 11]),
        ] {
            assert!(matches!(read(header), Err(HeaderError::Malformed(_))), "{header:?}");
        }
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        assert!(matches!(length(&long), Err(HeaderError::TooLong(V1_BYTES_MAX))));
        let long = v2_header(0x21, 0x11, &[0; V2_BYTES_MAX]);
        assert!(matches!(length(&long[..16]), Err(HeaderError::TooLong(V2_BYTES_MAX))));
    }

    #[test]
    fn only_listed_peers_send_it() {
        let senders = Senders::In(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        let contain = |peer: &str| senders.contain(Some(peer.parse().unwrap()));
        assert!(contain("10.255.0.1") && contain("::1"));
        assert!(!contain("11.0.0.1") && !contain("::2") && !contain("127.0.0.1"));
        assert!(!senders.contain(None) && Senders::Everybody.contain(None));
    }

    /// What is read of `bytes`, and what is left.
    async fn taken(bytes: &[u8], cut: usize) -> (Option<IpAddr>, Vec<u8>) {
        let (mut peer, server) = UnixStream::pair().unwrap();
        let mut stream = Stream::unix(server);
        let (first, second) = bytes.split_at(cut);
        let writing = async {
            peer.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            peer.write_all(second).await.unwrap();
            drop(peer);
        };
        let (client, ()) = tokio::join!(client(&mut stream, None), writing);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (client.unwrap(), rest)
    }

    proptest! {
        /// Wherever a header is cut on its way, and whatever follows it.
        #[test]
        fn a_header_is_taken_and_not_a_byte_more(
            tlvs in proptest::collection::vec(any::<u8>(), 0..1000),
            rest in proptest::collection::vec(any::<u8>(), 0..600),
            cut in any::<prop::sample::Index>(),
            is_text in any::<bool>(),
        ) {
            let header = match is_text {
                true => b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(),
                false => v2_header(0x21, 0x11, &[&[192, 0, 2, 7, 0, 0, 0, 0, 0, 1, 0, 2], &tlvs[..]].concat()),
            };
            let bytes = [&header[..], &rest[..]].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let (client, left) = runtime.block_on(taken(&bytes, cut.index(bytes.len())));
            prop_assert_eq!(client, Some([192, 0, 2, 7].into()));
            prop_assert_eq!(left, rest);
        }
    }
}
