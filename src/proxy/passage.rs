//! The bytes of a tunnel on their way: each direction by itself, until it ends. What came from a side
//! that has failed still reaches the other one: a reset says nothing of what was sent before it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Room for what is on its way in one direction.
const ROOM_BYTES: usize = 8 * 1024;

/// A client that still sends when nobody takes it any more has this long to read what it was sent
/// last, and to end. A connection that is closed while something comes is reset, and with it goes
/// what has not arrived (RFC 9112 section 9.6).
const LINGER_MAX: Duration = Duration::from_secs(2);

/// A connection whose bytes are nobody's but the tunnel's.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ends our side so that nobody takes it for the end of what was to be said, where its protocol
    /// tells one from the other. All has been flushed before, and taken by the system.
    fn poll_cut(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(context)
    }
}

/// One side of a tunnel; counts what comes from it.
pub(super) struct Side<'b> {
    stream: Box<dyn Duplex>,
    bytes: &'b AtomicU64,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Client,
    Upstream,
}

/// One direction.
struct Way {
    room: Box<[u8]>,
    /// What of it waits to be written.
    begin: usize,
    end: usize,
    state: State,
    is_unflushed: bool,
    /// Where it comes from has failed.
    is_broken: bool,
    /// Whether all else has run once since then.
    waited: Waited,
}

/// Whether all other tasks that were ready have run once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    No,
    /// They do when the present turn of this task is over.
    ThisTurn,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more comes; what has come is still to be written, and the end to be told.
    Ending,
    /// Nobody takes anything: what comes is read and thrown away.
    Deaf,
    /// Its source has ended.
    Over,
}

/// Passes bytes on between both sides, until both directions have ended or can go on no longer. Why
/// is for the protocol inside to tell. Dropped, it cuts both off.
pub(super) async fn pass(mut client: Side<'_>, mut upstream: Side<'_>) {
    let (mut up, mut down) = (Way::new(), Way::new());
    let passing = poll_fn(|context| {
        up.turn_begins();
        down.turn_begins();
        // Each may change what the other one is to do.
        for _ in 0..2 {
            up.poll(&mut client, &mut upstream, context);
            down.poll(&mut upstream, &mut client, context);
            if up.is_broken {
                down.deafen();
            }
            if down.is_broken {
                up.deafen();
            }
        }
        match up.is_done() && down.is_done() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    passing.await;
    let lingering = poll_fn(|context| {
        up.turn_begins();
        up.poll(&mut client, &mut upstream, context);
        match up.state {
            State::Over => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    // Few have to: a time that passes is an end as good as another.
    _ = timeout(LINGER_MAX, lingering).await;
}

impl Way {
    fn new() -> Self {
        let room = vec![0; ROOM_BYTES].into_boxed_slice();
        let (begin, end, state) = (0, 0, State::Open);
        let (is_unflushed, is_broken, waited) = (false, false, Waited::No);
        Self { room, begin, end, state, is_unflushed, is_broken, waited }
    }

    /// Its task runs again.
    fn turn_begins(&mut self) {
        if self.waited == Waited::ThisTurn {
            self.waited = Waited::Yes;
        }
    }

    /// Whether nothing is left to be done for whoever takes it.
    fn is_done(&self) -> bool {
        matches!(self.state, State::Deaf | State::Over)
    }

    /// Nobody takes anything any more.
    fn deafen(&mut self) {
        if self.state != State::Over {
            self.state = State::Deaf;
        }
    }

    /// Goes as far as it can for now.
    fn poll(&mut self, from: &mut Side<'_>, to: &mut Side<'_>, context: &mut Context<'_>) {
        while self.poll_step(from, to, context).is_ready() {}
    }

    /// One step; pending where there is none for now, or none any more.
    fn poll_step(
        &mut self,
        from: &mut Side<'_>,
        to: &mut Side<'_>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let waiting = self.room.get(self.begin..self.end).unwrap_or_default();
        match self.state {
            State::Over => return Poll::Pending,
            State::Deaf => match ready!(from.poll_read(&mut self.room, context)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => self.state = State::Over,
            },
            _ if !waiting.is_empty() => match ready!(to.poll_write(waiting, context)) {
                Ok(written @ 1..) => (self.begin, self.is_unflushed) = (self.begin + written, true),
                Ok(0) | Err(_) => self.state = State::Deaf,
            },
            State::Open => match from.poll_read(&mut self.room, context) {
                Poll::Ready(Ok(read @ 1..)) => (self.begin, self.end) = (0, read),
                Poll::Ready(Ok(0)) => self.state = State::Ending,
                Poll::Ready(Err(_)) => (self.state, self.is_broken) = (State::Ending, true),
                Poll::Pending if self.is_unflushed => ready!(self.poll_flush(to, context)),
                Poll::Pending => return Poll::Pending,
            },
            State::Ending if self.waited == Waited::ThisTurn => return Poll::Pending,
            State::Ending if self.is_unflushed => ready!(self.poll_flush(to, context)),
            // What was flushed may leave only at the end of this turn, as far as the system takes it: a
            // second flush waits for the rest, for which nobody else would.
            State::Ending if self.is_broken && self.waited == Waited::No => {
                (self.is_unflushed, self.waited) = (true, Waited::ThisTurn);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Ending => {
                // Who is gone needs not be told.
                _ = ready!(to.poll_end(self.is_broken, context));
                self.state = State::Over;
            }
        }
        Poll::Ready(())
    }

    fn poll_flush(&mut self, to: &mut Side<'_>, context: &mut Context<'_>) -> Poll<()> {
        self.is_unflushed = false;
        match Pin::new(&mut to.stream).poll_flush(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.state = State::Deaf,
            Poll::Pending => {
                self.is_unflushed = true;
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl<'b> Side<'b> {
    pub(super) fn new(who: Who, stream: Box<dyn Duplex>, bytes: &'b AtomicU64) -> Self {
        Self { stream, bytes, who }
    }

    /// Reads some bytes; 0 at the end.
    fn poll_read(&mut self, room: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let read = room.filled().len();
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_end(&mut self, is_cut: bool, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (is_cut, self.who) {
            (false, _) => Pin::new(&mut *self.stream).poll_shutdown(context),
            (true, Who::Client) => Pin::new(&mut *self.stream).poll_cut(context),
            // It is dropped next, which is no clean end.
            (true, Who::Upstream) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a client sees.
    #[derive(Default)]
    struct Seen {
        come: Vec<u8>,
        /// It waits for the end of the turn, until which nothing of it is known to be left.
        is_waiting: bool,
        is_left: bool,
        /// What had left when it was cut off.
        cut_behind: Option<Vec<u8>>,
    }

    /// A client of whose bytes the system takes nothing when they are sent, at the end of a turn: only
    /// then a flush knows that something is left.
    struct Late(Arc<Mutex<Seen>>);

    impl AsyncRead for Late {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Late {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let (seen, message) = (Arc::clone(&self.0), bytes.to_vec());
            {
                let mut seen = seen.lock().unwrap();
                seen.come.extend(message);
                seen.is_waiting = true;
            }
            tokio::spawn(async move {
                let mut seen = seen.lock().unwrap();
                (seen.is_waiting, seen.is_left) = (false, true);
            });
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            if std::mem::take(&mut self.0.lock().unwrap().is_left) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            panic!("it passes for the proper end");
        }
    }

    impl Duplex for Late {
        fn poll_cut(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut seen = self.0.lock().unwrap();
            seen.cut_behind = Some(std::mem::take(&mut seen.come));
            assert!(!seen.is_waiting && !seen.is_left, "something is left");
            Poll::Ready(Ok(()))
        }
    }

    /// An upstream that says something and breaks off.
    struct Breaking(&'static [u8]);

    impl AsyncRead for Breaking {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match std::mem::take(&mut self.0) {
                b"" => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                words => {
                    room.put_slice(words);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    impl AsyncWrite for Breaking {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl Duplex for Breaking {}

    /// Fails when what came before an end that is none is lost with the connection of a client that is
    /// slow to take it.
    #[tokio::test(start_paused = true)]
    async fn a_client_is_cut_off_when_the_system_has_taken_what_it_was_sent() {
        let (seen, bytes) = (Arc::<Mutex<Seen>>::default(), AtomicU64::new(0));
        let client = Side::new(Who::Client, Box::new(Late(Arc::clone(&seen))), &bytes);
        let upstream = Side::new(Who::Upstream, Box::new(Breaking(b"last words")), &bytes);
        pass(client, upstream).await;
        assert_eq!(seen.lock().unwrap().cut_behind.as_deref(), Some(&b"last words"[..]));
    }
}
