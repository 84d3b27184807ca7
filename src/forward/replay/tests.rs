//! What a replay promises, without a socket or a disk.

use std::collections::VecDeque;
use std::convert::Infallible;

use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use proptest::prelude::*;

use super::keeping::{Quota, Spill, Storage};
use super::*;

/// So much memory for each body and no files.
pub(super) fn memory(bytes_max: u64) -> Arc<Keeping> {
    keeping(bytes_max, 0, u64::MAX, u64::MAX)
}

pub(super) fn keeping(
    memory_bytes_max: u64,
    spill_bytes_max: u64,
    memory_total: u64,
    spill_total: u64,
) -> Arc<Keeping> {
    Arc::new(Keeping {
        memory_bytes_max,
        spill_bytes_max,
        memory: Quota::new(memory_total),
        spill: Quota::new(spill_total),
        storage: Box::new(Shelf),
    })
}

/// Files that are none: they take what they get, and what begins with a `!` breaks them.
#[derive(Debug)]
struct Shelf;

#[derive(Debug, Default)]
struct Paper(Vec<u8>);

impl Storage for Shelf {
    fn open(&self) -> Box<dyn Spill> {
        Box::new(Paper::default())
    }
}

impl Spill for Paper {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        Poll::Ready(match self.0.starts_with(b"!") {
            true => Err(SpillError::Slow),
            false => Ok(()),
        })
    }

    fn write(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        self.poll_ready(context)
    }

    fn poll_read(&mut self, _: &mut Context<'_>, at: u64) -> Poll<Result<Bytes, SpillError>> {
        let rest = &self.0[usize::try_from(at).unwrap()..];
        // Short pieces, so that what is passed on has many edges.
        Poll::Ready(Ok(Bytes::copy_from_slice(&rest[..rest.len().min(3)])))
    }
}

/// A client that sends these chunks.
#[derive(Debug)]
struct Client(VecDeque<&'static str>);

impl Body for Client {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
    }
}

fn client(chunks: &[&'static str]) -> Client {
    Client(chunks.iter().copied().collect())
}

async fn send_again<B>(replay: &Replay<B>) -> Result<Sending<B>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    std::future::poll_fn(|context| replay.poll_send_again(context, Start::AtOnce)).await
}

async fn whole(sending: Sending<Client>) -> Bytes {
    sending.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_body_within_the_bound_is_sent_twice_alike() {
    let replay = Replay::new(client(&["ab", "cd"]), &memory(4));
    assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "abcd");
    assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "abcd");
}

#[tokio::test]
async fn a_second_sending_takes_over_in_the_middle_and_the_first_fails() {
    let replay = Replay::new(client(&["ab", "cd", "ef"]), &memory(6));
    let mut first = replay.send(Start::AtOnce).unwrap();
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
    let second = replay.send(Start::AtOnce).unwrap();
    assert!(matches!(first.frame().await, Some(Err(BodyError::Superseded))));
    assert_eq!(whole(second).await, "abcdef");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_streamed_once_and_never_half() {
    let replay = Replay::new(client(&["abc", "def"]), &memory(5));
    assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "abcdef");
    assert_eq!(replay.send(Start::AtOnce).unwrap_err(), Refusal::BodyTooLarge);
}

#[tokio::test]
async fn what_is_kept_holds_nothing_of_the_clients_buffers() {
    let buffer = Bytes::from(vec![b'x'; 8192]);
    let client = Buffered(Some(buffer.slice(..1)));
    let replay = Replay::new(client, &memory(10));
    let chunk =
        replay.send(Start::AtOnce).unwrap().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(chunk, "x");
    drop(chunk);
    assert!(buffer.is_unique(), "one byte keeps 8 KiB");
    assert_eq!(replay.send(Start::AtOnce).unwrap().collect().await.unwrap().to_bytes(), "x");
}

struct Buffered(Option<Bytes>);

impl Body for Buffered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[tokio::test]
async fn a_client_that_goes_on_is_told_from_one_that_has_ended() {
    let replay = Replay::new(client(&["ab", "cd"]), &memory(0));
    let mut sending = replay.send(Start::AtOnce).unwrap();
    assert_eq!(replay.progress(), Progress::Passed(0));
    sending.frame().await.unwrap().unwrap();
    assert_eq!(replay.progress(), Progress::Passed(2));
    while sending.frame().await.is_some() {}
    assert_eq!(replay.progress(), Progress::Ended);
    assert_eq!(Replay::new(Empty::<Bytes>::new(), &memory(0)).progress(), Progress::Ended);
}

#[tokio::test]
async fn an_empty_body_needs_nothing_kept() {
    let replay = Replay::new(Empty::<Bytes>::new(), &memory(0));
    for _ in 0..2 {
        let sending = replay.send(Start::AtOnce).unwrap();
        assert!(sending.is_end_stream());
        assert_eq!(sending.size_hint().exact(), Some(0));
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_is_told_from_an_upstream_that_does() {
    let replay = Replay::new(broken(), &memory(10));
    assert!(replay.send(Start::AtOnce).unwrap().collect().await.is_err());
    assert!(replay.client_failed());
}

/// Breaks after a chunk, and has nothing more then, as hyper's bodies.
#[derive(Debug)]
struct Broken(VecDeque<Result<&'static str, &'static str>>);

fn broken() -> Broken {
    Broken(VecDeque::from([Ok("half"), Err("bad chunk")]))
}

impl Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = self.0.pop_front();
        Poll::Ready(next.map(|chunk| match chunk {
            Ok(chunk) => Ok(Frame::data(Bytes::from(chunk))),
            Err(why) => Err(std::io::Error::other(why)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Fails when the half of a body that broke off passes for the whole in a second sending.
#[tokio::test]
async fn a_body_that_broke_off_is_never_whole() {
    let replay = Replay::new(broken(), &memory(10));
    let first = replay.send(Start::AtOnce).unwrap();
    assert!(first.collect().await.is_err());
    let mut second = replay.send(Start::AtOnce).unwrap();
    assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    assert!(!second.is_end_stream());
    assert!(matches!(second.frame().await, Some(Err(BodyError::Client(_)))));
    assert!(matches!(replay.progress(), Progress::Passed(4)));
}

/// Fails when a file that breaks is read from, or takes the first sending down with it.
#[tokio::test]
async fn a_disk_that_fails_leaves_the_first_sending_alone_and_the_body_is_not_kept() {
    let replay = Replay::new(client(&["!ab", "cd", "ef"]), &keeping(0, 100, 0, 100));
    assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "!abcdef");
    assert_eq!(replay.send(Start::AtOnce).unwrap_err(), Refusal::SpillFailed);
}

/// Fails when a bound on all bodies together is one for each, or is not given back.
#[tokio::test]
async fn what_all_bodies_take_together_is_bounded_and_given_back() {
    let shared = keeping(10, 20, 10, 15);
    let replay = || Replay::new(client(&["abcdefgh"]), &shared);
    let replays = [replay(), replay(), replay()];
    for replay in &replays {
        assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "abcdefgh");
    }
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (10, 8));
    assert_eq!(replays[2].send(Start::AtOnce).unwrap_err(), Refusal::NoRoom);
    for replay in &replays[..2] {
        assert_eq!(whole(replay.send(Start::AtOnce).unwrap()).await, "abcdefgh");
    }
    drop(replays);
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
}

/// Fails when a body is kept on while nobody can ask for it any more.
#[tokio::test]
async fn what_was_kept_is_gone_with_the_replay_and_the_sending_goes_on() {
    let shared = keeping(2, 20, 20, 20);
    let replay = Replay::new(client(&["ab", "cd", "ef"]), &shared);
    let mut sending = replay.send(Start::AtOnce).unwrap();
    sending.frame().await.unwrap().unwrap();
    sending.frame().await.unwrap().unwrap();
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (2, 2));
    drop(replay);
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
    assert_eq!(whole(sending).await, "ef");
}

/// A second sending, of which nothing has passed, of a body that was kept in part.
async fn second_of(shared: &Arc<Keeping>) -> (Replay<Client>, Sending<Client>) {
    let replay = Replay::new(client(&["ab", "cd", "ef"]), shared);
    let mut first = replay.send(Start::AtOnce).unwrap();
    first.frame().await.unwrap().unwrap();
    first.frame().await.unwrap().unwrap();
    let second = send_again(&replay).await.unwrap();
    (replay, second)
}

/// Fails when a second sending loses what it still needs because the walk has ended.
#[tokio::test]
async fn a_second_sending_ends_whole_while_the_answer_lives() {
    let shared = keeping(2, 20, 20, 20);
    let (replay, second) = second_of(&shared).await;
    let answered = replay.answered();
    assert!(answered.is_some());
    assert_eq!(whole(second).await, "abcdef");
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
}

/// Fails when what was kept lives as long as an upstream likes, or when what is left of a body
/// whose beginning is gone passes for the whole.
#[tokio::test]
async fn a_second_sending_that_is_not_taken_whole_fails_when_the_answer_is_over() {
    let shared = keeping(2, 20, 20, 20);
    let (replay, mut second) = second_of(&shared).await;
    second.frame().await.unwrap().unwrap();
    drop(replay.answered());
    assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
    assert!(!second.is_end_stream());
    assert!(matches!(second.frame().await, Some(Err(BodyError::Unwanted))));
}

/// A disk that has something to write, until it is told what has become of it.
#[derive(Clone, Debug, Default)]
struct Busy(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

#[derive(Debug)]
struct BusyFile(Busy, Paper);

impl Busy {
    fn has_written(&self, successfully: bool) {
        let mut state = self.0.lock().unwrap();
        state.0 = Some(successfully);
        state.1.take().unwrap().wake();
    }
}

impl Storage for Busy {
    fn open(&self) -> Box<dyn Spill> {
        Box::new(BusyFile(self.clone(), Paper::default()))
    }
}

impl Spill for BusyFile {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, chunk: &[u8]) {
        self.1.write(chunk);
    }

    fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        let mut state = self.0.0.lock().unwrap();
        state.1 = Some(context.waker().clone());
        match state.0 {
            None => Poll::Pending,
            Some(true) => Poll::Ready(Ok(())),
            Some(false) => Poll::Ready(Err(SpillError::Slow)),
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, at: u64) -> Poll<Result<Bytes, SpillError>> {
        self.1.poll_read(context, at)
    }
}

/// Fails when a second sending is promised before it is known whether the disk has what was kept;
/// when the first one takes more from the client meanwhile; or when it is left waiting.
#[tokio::test]
async fn a_second_sending_is_promised_when_the_disk_has_what_was_kept() {
    for stored in [Some(true), Some(false), None] {
        let disk = Busy::default();
        let keeping = Keeping {
            memory_bytes_max: 0,
            spill_bytes_max: 20,
            memory: Quota::new(0),
            spill: Quota::new(20),
            storage: Box::new(disk.clone()),
        };
        let replay = Replay::new(client(&["ab", "cd", "ef"]), &Arc::new(keeping));
        let mut first = replay.send(Start::AtOnce).unwrap();
        first.frame().await.unwrap().unwrap();
        let mut again = Box::pin(send_again(&replay));
        assert!(again.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let rest = tokio::spawn(async move { first.frame().await });
        tokio::task::yield_now().await;
        assert!(!rest.is_finished(), "taken from the client");
        match stored {
            Some(stored) => disk.has_written(stored),
            // The client has left.
            None => {
                drop(again);
                drop(replay);
                assert_eq!(rest.await.unwrap().unwrap().unwrap().into_data().unwrap(), "cd");
                continue;
            }
        }
        match again.await {
            Ok(second) => {
                assert_eq!((whole(second).await, stored), ("abcdef".into(), Some(true)));
                assert!(matches!(rest.await.unwrap(), Some(Err(BodyError::Superseded))));
            }
            Err(why) => {
                assert_eq!((why, stored), (Refusal::SpillFailed, Some(false)));
                assert_eq!(rest.await.unwrap().unwrap().unwrap().into_data().unwrap(), "cd");
            }
        }
    }
}

/// Fails when a superseded sending is left waiting: its connection would never end.
#[tokio::test]
async fn a_sending_that_waits_is_woken_when_another_takes_over() {
    let replay = Replay::new(Silent(None), &memory(10));
    let mut first = replay.send(Start::AtOnce).unwrap();
    let waiting = tokio::spawn(async move { first.frame().await });
    while !replay.waits_for_client() {
        tokio::task::yield_now().await;
    }
    let _second = replay.send(Start::AtOnce).unwrap();
    assert!(matches!(waiting.await.unwrap(), Some(Err(BodyError::Superseded))));
}

/// Fails when an upstream that does not take what is sent again is told as the client's fault, since
/// the client was waited for by the first sending.
#[tokio::test]
async fn a_second_sending_does_not_wait_for_the_client_while_it_has_something_to_pass_on() {
    let replay = Replay::new(Silent(Some("half")), &memory(10));
    let mut first = replay.send(Start::AtOnce).unwrap();
    first.frame().await.unwrap().unwrap();
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut first).poll_frame(&mut nobody).is_pending() && replay.waits_for_client());
    let mut second = send_again(&replay).await.unwrap();
    assert!(!replay.waits_for_client());
    second.frame().await.unwrap().unwrap();
    assert!(!replay.waits_for_client());
    assert!(Pin::new(&mut second).poll_frame(&mut nobody).is_pending());
    assert!(replay.waits_for_client());
}

/// A client that sends this, and then nothing more.
#[derive(Debug)]
struct Silent(Option<&'static str>);

impl Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk))))),
            None => Poll::Pending,
        }
    }
}

/// Fails when a held body is touched before it is wanted, or counts as sent.
#[tokio::test]
async fn a_body_that_is_held_back_counts_as_not_sent_however_long_it_is() {
    let replay = Replay::new(client(&["abc", "def"]), &memory(0));
    assert!(replay.send(Start::AtOnce).is_ok());
    let mut first = replay.send(Start::WhenWanted).unwrap();
    let asked = tokio::spawn(async move { first.frame().await });
    std::future::poll_fn(|context| replay.poll_asked_for(context)).await;
    assert_eq!((replay.is_held(), replay.progress()), (true, Progress::Passed(0)));
    let second = replay.send(Start::WhenWanted).unwrap();
    assert!(matches!(asked.await.unwrap(), Some(Err(BodyError::Superseded))));
    replay.permission()();
    assert_eq!(whole(second).await, "abcdef");
    assert_eq!(replay.send(Start::AtOnce).unwrap_err(), Refusal::BodyTooLarge);
}

/// Fails when a body that was never wanted keeps its connection for ever.
#[tokio::test]
async fn a_body_that_was_never_wanted_fails_when_the_answer_is_over() {
    let replay = Replay::new(client(&["abc"]), &memory(10));
    let mut sending = replay.send(Start::WhenWanted).unwrap();
    let waiting = tokio::spawn(async move { sending.frame().await });
    std::future::poll_fn(|context| replay.poll_asked_for(context)).await;
    let answered = replay.answered();
    assert!(answered.is_some());
    drop(answered);
    assert!(matches!(waiting.await.unwrap(), Some(Err(BodyError::Unwanted))));
}

proptest! {
    #[test]
    fn a_replay_is_the_same_body_or_none(
        sizes in proptest::collection::vec(0_usize..40, 0..12),
        bounds in (0_u64..200, 0_u64..200, 0_u64..200, 0_u64..200),
        cut in 0_usize..12,
    ) {
        const TEXT: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
        let chunks: Vec<&'static str> = sizes.iter().map(|size| &TEXT[..*size]).collect();
        let body: String = chunks.concat();
        let (memory, spill, memory_total, spill_total) = bounds;
        let shared = keeping(memory, spill, memory_total, spill_total);
        let replay = Replay::new(client(&chunks), &shared);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let mut first = replay.send(Start::AtOnce).unwrap();
            for _ in 0..cut {
                if first.frame().await.is_none() {
                    break;
                }
                assert!(shared.memory.taken() <= memory.min(memory_total));
                assert!(shared.spill.taken() <= spill.min(spill_total));
            }
            let passed: usize = sizes.iter().take(cut).sum();
            match send_again(&replay).await {
                Ok(second) => assert_eq!(whole(second).await, body.as_bytes()),
                Err(Refusal::BodyTooLarge) => assert!(passed as u64 > memory.max(spill)),
                Err(why) => {
                    assert_eq!(why, Refusal::NoRoom);
                    assert!(passed as u64 > memory_total.min(memory).min(spill_total));
                }
            }
        });
        drop(replay);
        assert_eq!((shared.memory.taken(), shared.spill.taken()), (0, 0));
    }
}
