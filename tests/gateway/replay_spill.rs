//! Bodies that memory does not hold are kept in files without a name, within bounds, and a disk
//! that fails costs nobody their first sending.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use doorward::emulator::Vendor;
use doorward::forward::replay::keeping::{Keeping, Quota};
use doorward::forward::replay::{Replay, Start};
use doorward::proxy::spill::Folder;
use http_body::Frame;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::client::Protocol;
use crate::dead_session::{DEAD, body_of, dead_at_first, logins};
use crate::harness::{Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply};
use crate::vendors;

/// A thousand bytes of each body in memory, `spill` bytes of it in files below `folder`.
fn bounded(setup: Setup, folder: &Path, spill: u64, spill_total: u64) -> Setup {
    setup.tables(&format!(
        "spill_dir = {folder:?}\n[limits]\nreplay_body_bytes_max = 1000\n\
         replay_spill_bytes_max = {spill}\nreplay_spill_total_bytes_max = {spill_total}\n"
    ))
}

async fn spilling(puppet: &Puppet, folder: &TempDir, spill: u64, spill_total: u64) -> Scene {
    let setup = puppet.setup(Vendor::Contentstack);
    bounded(setup, folder.path(), spill, spill_total).start().await
}

fn text(length: usize) -> String {
    (0..length).map(|number| char::from(b'a' + (number % 26) as u8)).collect()
}

/// The sizes of the files below `folder` that this process has open, with a name or without.
fn open_files(folder: &Path) -> Vec<u64> {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let of_folder = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.starts_with(folder));
    let paths = open.map(|entry| entry.path()).filter(of_folder);
    paths.filter_map(|path| fs::metadata(path).ok()).map(|file| file.size()).collect()
}

/// Fails when what went to the file is sent again in another order, half or not at all; when the
/// file has a name; or when it is still there after the request.
#[tokio::test]
async fn a_body_beyond_memory_is_replayed_whole_from_a_file_that_nobody_can_find() {
    for chunked in [false, true] {
        let puppet = dead_at_first(1).await;
        let folder = tempfile::tempdir().unwrap();
        let scene = spilling(&puppet, &folder, 4 << 20, 8 << 20).await;
        let body = text(3_000_000);
        let mut call = scene.call("PUT", "/v3/x").body(body.clone());
        if chunked {
            call = call.header("transfer-encoding", "chunked");
        }
        let answer = call.send().await;
        assert_eq!(answer.text(), r#"{"ok":true}"#, "{answer:?}");
        let calls = puppet.calls();
        assert_eq!((calls.len(), logins(&puppet)), (2, 2));
        for call in &calls {
            let sent = body_of(call);
            match call.contains("transfer-encoding: chunked") {
                true => assert!(chunked && unchunked(sent) == body),
                false => assert!(!chunked && sent == body),
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(open_files(folder.path()), [0_u64; 0]);
    }
}

/// The content of a chunked body.
fn unchunked(mut body: &str) -> String {
    let mut content = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        content.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    content
}

/// Fails when the second bound is not kept, or a body beyond it is sent again in part.
#[tokio::test]
async fn beyond_the_second_bound_the_first_answer_passes_whole_with_the_reason() {
    let puppet = dead_at_first(1).await;
    let folder = tempfile::tempdir().unwrap();
    let scene = spilling(&puppet, &folder, 100_000, 1 << 20).await;
    let call = scene.call("PUT", "/v3/x").header("transfer-encoding", "chunked");
    let answer = call.body(text(100_001)).send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(answer.one("doorward-replay"), "body_too_large");
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 1));
}

/// Fails when the bound on all files together is none.
#[tokio::test]
async fn where_the_files_together_are_full_a_body_is_not_kept() {
    let puppet = dead_at_first(1).await;
    let folder = tempfile::tempdir().unwrap();
    let scene = spilling(&puppet, &folder, 1 << 20, 50_000).await;
    let answer = scene.call("PUT", "/v3/x").body(text(60_000)).send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(answer.one("doorward-replay"), "no_room");
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 1));
}

/// Fails when a disk that cannot be written costs a client its answer, or is kept secret from it.
#[tokio::test]
async fn a_disk_that_fails_disturbs_no_first_sending_and_is_told_when_a_replay_is_due() {
    let puppet = dead_at_first(2).await;
    let folder = tempfile::tempdir().unwrap();
    let scene = spilling(&puppet, &folder, 4 << 20, 8 << 20).await;
    drop(folder);
    let body = text(3_000_000);
    let answer = scene.call("PUT", "/v3/x").body(body.clone()).send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(answer.one("doorward-replay"), "spill_failed");
    assert!(body_of(&puppet.take_calls()[0]) == body);
    // A body that memory holds needs no disk.
    assert_eq!(scene.call("PUT", "/v3/x").body(text(900)).send().await.status, 200);
    assert_eq!(puppet.take_calls().len(), 2);
    assert_eq!(scene.call("PUT", "/v3/x").body(body.clone()).send().await.status, 200);
    assert!(body_of(&puppet.take_calls()[0]) == body);
}

/// Fails when a body is replayed in one pair of protocols only.
#[tokio::test]
async fn bodies_in_files_are_replayed_in_every_pair_of_protocols() {
    for http2 in ["never", "always"] {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = bounded(Setup::of(Vendor::Contentstack), folder.path(), 1 << 20, 8 << 20);
        setup.upstream.push_str(&format!("\nhttp2 = {http2:?}"));
        let scene = setup.start().await;
        for (number, protocol) in [(1, Protocol::Http1), (2, Protocol::Http2)] {
            assert_eq!(vendors::read(&scene).send_by(protocol).await.status, 200);
            scene.control().expire_sessions();
            scene.control().reset_counters();
            let long = serde_json::json!({ "entry": { "title": text(100_000 + number) } });
            let write = scene.call("POST", "/v3/content_types/page/entries");
            let write = write.header("api_key", doorward::emulator::contentstack::API_KEY);
            let answer = write.json(&long).send_by(protocol).await;
            assert!(answer.status.is_success(), "{http2} {protocol:?}: {answer:?}");
            let counters = scene.control().counters();
            assert_eq!((counters.logins, counters.duplicate_writes), (1, 0));
        }
        scene.stop().await;
    }
}

/// A body of `UPLOAD_BYTES` that lets others on after each piece.
struct Upload {
    left: usize,
    pauses: bool,
}

const UPLOAD_BYTES: usize = 8 << 20;

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pauses = !self.pauses;
        if self.pauses {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= PIECE.len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
    }
}

/// Fails when many uploads at once keep more than the bounds allow, in memory or in files, or when
/// one that was kept is not whole.
#[tokio::test]
async fn a_hundred_uploads_at_once_stay_within_the_bounds() {
    const MEMORY_TOTAL: u64 = 16 << 20;
    const SPILL_TOTAL: u64 = 64 << 20;
    let folder = tempfile::tempdir().unwrap();
    let keeping = Arc::new(Keeping {
        memory_bytes_max: 1 << 20,
        spill_bytes_max: 16 << 20,
        memory: Quota::new(MEMORY_TOTAL),
        spill: Quota::new(SPILL_TOTAL),
        storage: Box::new(Folder::new(Some(folder.path().to_owned()))),
    });
    let upload = || Replay::new(Upload { left: UPLOAD_BYTES, pauses: false }, &keeping);
    let replays: Vec<_> = (0..100).map(|_| upload()).collect();
    let mut uploads = JoinSet::new();
    for replay in &replays {
        let (mut sending, keeping) = (replay.send(Start::AtOnce).unwrap(), Arc::clone(&keeping));
        uploads.spawn(async move {
            let mut sent = 0;
            while let Some(frame) = sending.frame().await {
                sent += frame.unwrap().into_data().unwrap().len();
                let kept = (keeping.memory.taken(), keeping.spill.taken());
                assert!(kept.0 <= MEMORY_TOTAL && kept.1 <= SPILL_TOTAL, "{kept:?}");
            }
            sent
        });
    }
    while let Some(sent) = within(uploads.join_next()).await {
        assert_eq!(sent.unwrap(), UPLOAD_BYTES);
        let stored: u64 = open_files(folder.path()).iter().sum();
        assert!(stored <= SPILL_TOTAL, "{stored}");
    }
    let again: Vec<_> = replays.iter().filter_map(|one| one.send(Start::AtOnce).ok()).collect();
    // What could not be kept has made room for what could.
    assert!(again.len() >= 4, "{} are kept", again.len());
    for sending in again {
        assert!(sending.collect().await.unwrap().to_bytes().iter().all(|byte| *byte == b'x'));
    }
    drop(replays);
    assert_eq!((keeping.memory.taken(), keeping.spill.taken()), (0, 0));
    until("the files are closed", || open_files(folder.path()).is_empty()).await;
}

const EARLY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An upstream that calls the session of the first sending dead when it has come whole, and gives
/// the second one this answer in the middle.
async fn early_at_the_second(early: Reply) -> Puppet {
    let puppet = dead_at_first(1).await;
    // The last one is for the first sending, and says nothing.
    puppet.answer_early(early);
    puppet.answer_early(Reply::keep(""));
    puppet
}

/// Fails when what was kept of a body outlives its request, because an upstream that has answered
/// early takes no more of the second sending and keeps its connection.
#[tokio::test]
async fn what_was_kept_is_gone_when_an_upstream_that_has_answered_takes_no_more() {
    let puppet = early_at_the_second(Reply::stall(EARLY)).await;
    let folder = tempfile::tempdir().unwrap();
    let scene = spilling(&puppet, &folder, 32 << 20, 32 << 20).await;
    let answer = scene.call("PUT", "/v3/x").body(text(24 << 20)).send().await;
    assert_eq!((answer.text().as_str(), logins(&puppet)), ("ok", 2));
    until("the file is closed", || open_files(folder.path()).is_empty()).await;
}

/// Fails when an upstream that answers early and reads on gets half of what was to be sent again.
#[tokio::test]
async fn an_upstream_that_answers_early_and_reads_on_gets_the_whole_body_again() {
    let puppet = early_at_the_second(Reply::keep(EARLY)).await;
    let folder = tempfile::tempdir().unwrap();
    let scene = spilling(&puppet, &folder, 32 << 20, 32 << 20).await;
    let body = text(24 << 20);
    let answer = scene.call("PUT", "/v3/x").body(body.clone()).send().await;
    assert_eq!((answer.text().as_str(), logins(&puppet)), ("ok", 2));
    until("the whole body has come", || puppet.calls().len() == 2).await;
    assert!(body_of(&puppet.calls()[1]) == body);
    until("the file is closed", || open_files(folder.path()).is_empty()).await;
}
