//! What waits leaves in time, in its order, and nothing of it is lost without being told.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{TcpListener, TcpStream as Peer};
use std::os::unix::net::UnixStream as UnixPeer;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;

use super::*;

/// A connection, and its other end, which does not block.
fn pair() -> (Stream, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
    let stream = listener.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    (Stream::tcp(TcpStream::from_std(stream).unwrap()), peer)
}

/// Starts the outbox of this thread.
async fn start() -> AbortHandle {
    let sender = tokio::spawn(run()).abort_handle();
    yield_now().await;
    sender
}

/// What has come by now.
fn come(mut peer: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => bytes,
        ended => panic!("{ended:?} behind {bytes:?}"),
    }
}

/// Whatever comes until the other end has ended.
fn all(mut peer: &Peer) -> io::Result<Vec<u8>> {
    peer.set_nonblocking(false).unwrap();
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).map(|_| bytes)
}

/// Fails when a message leaves before the tasks have run that were ready with it, or not then.
#[tokio::test]
async fn a_message_leaves_when_the_tasks_have_run_that_were_ready() {
    start().await;
    let (mut stream, peer) = pair();
    let (unix, unix_peer) = UnixPeer::pair().unwrap();
    unix.set_nonblocking(true).unwrap();
    unix_peer.set_nonblocking(true).unwrap();
    let mut unix = Stream::unix(UnixStream::from_std(unix).unwrap());
    let looking = peer.try_clone().unwrap();
    stream.writable().await;
    unix.writable().await;
    let other = tokio::spawn(async move { come(&looking) });
    stream.write_all(b"one ").await.unwrap();
    stream.flush().await.unwrap();
    unix.write_all(b"two").await.unwrap();
    assert_eq!((come(&peer), come(&unix_peer)), (vec![], vec![]));
    assert_eq!(other.await.unwrap(), b"", "it has left before another task ran");
    yield_now().await;
    assert_eq!(come(&peer), b"one ");
    assert_eq!(come(&unix_peer), b"two");
}

/// Fails when messages of one connection change their order, at whatever length they go straight to
/// the system.
#[tokio::test]
async fn what_is_written_to_one_connection_keeps_its_order() {
    start().await;
    let (mut stream, peer) = pair();
    let reading = std::thread::spawn(move || all(&peer).unwrap());
    let mut expected = Vec::new();
    for (number, length) in
        [1, 9000, 1, 8192, 8193, 0, 5, 100_000, 7, 8191].into_iter().cycle().take(200).enumerate()
    {
        let message = vec![number as u8; length];
        stream.write_all(&message).await.unwrap();
        expected.extend_from_slice(&message);
    }
    stream.shutdown().await.unwrap();
    assert!(reading.join().unwrap() == expected);
}

/// Fails when there is no bound of what waits.
#[tokio::test]
async fn all_leave_when_there_are_many_or_when_they_are_long() {
    start().await;
    let mut pairs = [pair(), pair()];
    pairs[0].0.writable().await;
    pairs[1].0.writable().await;
    for (length, count) in [(1, MESSAGES_MAX), (MESSAGE_BYTES_MAX, BYTES_MAX / MESSAGE_BYTES_MAX)] {
        for number in 0..count {
            assert!(pairs.iter().all(|(_, peer)| come(peer).is_empty()), "{number} of {count}");
            pairs[number % 2].0.write_all(&vec![b'x'; length]).await.unwrap();
        }
        assert_eq!(pairs.each_ref().map(|(_, peer)| come(peer).len()), [length * count / 2; 2]);
    }
}

/// Fails when somebody waits for handshakes of others.
#[tokio::test]
async fn what_waits_leaves_ahead_of_what_takes_long() {
    start().await;
    let (mut stream, peer) = pair();
    stream.writable().await;
    stream.write_all(b"ahead").await.unwrap();
    let seen = ahead_of(async { come(&peer) }).await;
    assert_eq!(seen, b"ahead");
}

/// Fails when what is written in many parts to one connection goes to the system in as many.
#[tokio::test]
async fn parts_that_are_written_one_after_the_other_are_one_message() {
    start().await;
    let (mut stream, peer) = pair();
    stream.writable().await;
    for _ in 0..2 * MESSAGES_MAX {
        stream.write_all(b"part").await.unwrap();
    }
    OUTBOX.with_borrow(|outbox| assert_eq!(outbox.messages.len(), 1));
    yield_now().await;
    assert_eq!(come(&peer), b"part".repeat(2 * MESSAGES_MAX));
}

/// Fails when what the system does not take is lost, when somebody writes past it, or when whoever
/// waits for it is not told.
#[tokio::test]
async fn what_the_system_does_not_take_is_written_later() {
    start().await;
    let (mut stream, written, peer) = full().await;
    let mut context = Context::from_waker(Waker::noop());
    let short = [b's'; 5000];
    assert!(Pin::new(&mut stream).poll_write(&mut context, &short).is_ready(), "it waits");
    assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
    yield_now().await;
    assert!(Pin::new(&mut stream).poll_flush(&mut context).is_pending(), "nothing is left");
    assert!(Pin::new(&mut stream).poll_write(&mut context, b"next").is_pending());
    let before = stream.handed_over();
    assert!((written as u64..written as u64 + 5000).contains(&before), "{before}");
    let reading = std::thread::spawn(move || all(&peer).unwrap());
    stream.write_all(b"next").await.unwrap();
    stream.shutdown().await.unwrap();
    let come = reading.join().unwrap();
    assert_eq!(come.len(), written + 5004);
    assert!(come[written..].starts_with(&short) && come.ends_with(b"next"));
    assert_eq!(stream.handed_over(), come.len() as u64);
}

/// A connection of which the system takes nothing more, how many bytes it has taken, and the other end,
/// which has not read them.
async fn full() -> (Stream, usize, Peer) {
    let (mut stream, peer) = pair();
    stream.writable().await;
    let (mut context, mut written) = (Context::from_waker(Waker::noop()), 0);
    let long = vec![b'l'; 100_000];
    while let Poll::Ready(length) = Pin::new(&mut stream).poll_write(&mut context, &long) {
        written += length.unwrap();
    }
    (stream, written, peer)
}

/// Fails when the end overtakes what is left: whoever flushes, lets others run and flushes again knows
/// that nothing is.
#[tokio::test]
async fn a_second_flush_waits_for_what_the_first_one_could_not_know() {
    start().await;
    let (mut stream, written, peer) = full().await;
    stream.write_all(&[b's'; 5000]).await.unwrap();
    stream.flush().await.unwrap();
    yield_now().await;
    let reading = std::thread::spawn(move || all(&peer).unwrap());
    stream.flush().await.unwrap();
    stream.end_writing().unwrap();
    assert_eq!(reading.join().unwrap().len(), written + 5000);
}

/// Fails when a message of which the system has not taken all passes for a whole one.
#[tokio::test]
async fn a_connection_of_which_something_is_left_does_not_end_in_the_proper_way() {
    start().await;
    let (mut stream, written, peer) = full().await;
    stream.write_all(&[b's'; 5000]).await.unwrap();
    stream.end_writing().unwrap();
    assert!((written as u64..written as u64 + 5000).contains(&stream.taken()));
    drop(stream);
    // The task that writes what is left, too.
    yield_now().await;
    assert_eq!(all(&peer).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Fails when whoever waits to write is not woken because what is left of a later message is written by
/// another task.
#[tokio::test]
async fn whoever_waits_to_write_is_woken_whatever_was_written_since() {
    start().await;
    let (mut stream, written, peer) = full().await;
    let waiting = std::pin::pin!(async {
        let long = vec![b'l'; 100_000];
        let mut has_waited = false;
        let polled = poll_fn(|context| {
            let polled = Pin::new(&mut stream).poll_write(context, &long);
            if polled.is_pending() && !std::mem::replace(&mut has_waited, true) {
                let nobody = &mut Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut stream).poll_write(nobody, b"short").is_ready());
            }
            polled
        });
        polled.await.unwrap()
    });
    let reading = std::thread::spawn(move || {
        let mut peer = peer;
        peer.set_nonblocking(false).unwrap();
        peer.read_exact(&mut vec![0; written + 5]).unwrap();
        peer
    });
    assert!(waiting.await > 0);
    reading.join().unwrap();
}

/// Fails when a message that could not leave passes for one that has, or when more is written behind it.
#[tokio::test]
async fn behind_a_message_that_cannot_leave_nothing_is_written() {
    start().await;
    let (mut stream, peer) = pair();
    stream.writable().await;
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    stream.write_all(b"lost").await.unwrap();
    drop(peer);
    assert_eq!(stream.handed_over(), 0);
    for length in [9000, 5, 9000] {
        assert!(stream.write_all(&vec![0; length]).await.is_err(), "{length}");
    }
    assert!(stream.flush().await.is_err() && stream.shutdown().await.is_err());
    assert!(stream.read(&mut [0]).await.map_or(true, |count| count == 0));
}

#[tokio::test]
async fn a_message_leaves_though_its_connection_is_dropped_or_the_outbox_is() {
    let sender = start().await;
    let (mut stream, peer) = pair();
    stream.writable().await;
    stream.write_all(b"dropped").await.unwrap();
    drop(stream);
    yield_now().await;
    assert_eq!(all(&peer).unwrap(), b"dropped");

    let (mut stream, peer) = pair();
    stream.writable().await;
    stream.write_all(b"last").await.unwrap();
    sender.abort();
    yield_now().await;
    assert_eq!(come(&peer), b"last");
    stream.write_all(b" and at once").await.unwrap();
    assert_eq!(come(&peer), b" and at once");
}

/// Fails when a connection that is cut tells its end in the proper way first.
#[tokio::test]
async fn a_stream_that_is_to_be_reset_does_not_end_before_that() {
    start().await;
    let (mut stream, mut peer) = pair();
    stream.writable().await;
    stream.write_all(b"half a mess").await.unwrap();
    yield_now().await;
    peer.write_all(b"unread").unwrap();
    let Either::Left(socket) = stream.socket() else { panic!("not TCP") };
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(all(&peer).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

impl Stream {
    /// The runtime knows that something can be written.
    async fn writable(&self) {
        match self.socket() {
            Either::Left(socket) => socket.writable().await.unwrap(),
            Either::Right(socket) => socket.writable().await.unwrap(),
        }
    }
}
