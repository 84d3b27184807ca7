//! Files for request bodies that memory does not hold: without a name, gone with the request.
//!
//! Reads and writes run on the runtime's blocking threads, since a disk may take as long as it
//! likes: at most one at a time for each body, and the body is held up when too much waits for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use crate::forward::replay::keeping::{Spill, SpillError, Storage};

/// What is written or read at a time: large enough that handing it to another thread costs little,
/// and small, since no bound on memory counts what is on its way to the disk.
const PIECE_BYTES: usize = 64 * 1024;

/// A body is held up while so much waits to be written beside the piece that is being written.
const WAITING_BYTES_MAX: usize = PIECE_BYTES;

/// How long a body is held up by the disk; then it is not kept.
const DISK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Makes files in a folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Files are made in `path`, or in the system's folder for temporary files.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path: path.unwrap_or_else(std::env::temp_dir) }
    }
}

impl Storage for Folder {
    fn open(&self) -> Box<dyn Spill> {
        let folder = self.path.clone();
        // The file has no name, or has lost it when this returns: nobody else can open it, and it
        // is gone when it is closed.
        let making = spawn_blocking(move || tempfile::tempfile_in(folder));
        Box::new(SpillFile {
            work: Work::Making(making),
            waiting: Vec::new(),
            stored: 0,
            patience: None,
        })
    }
}

/// The file of one body.
#[derive(Debug)]
struct SpillFile {
    work: Work,
    /// What has not been handed to the disk yet; it follows what is stored.
    waiting: Vec<u8>,
    /// The bytes that were handed to the disk.
    stored: u64,
    /// Since the disk was first waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Work {
    Making(JoinHandle<io::Result<File>>),
    Idle(File),
    Writing(JoinHandle<io::Result<File>>),
    /// The bytes from the position on.
    Reading(u64, JoinHandle<io::Result<(File, Vec<u8>)>>),
    Read(u64, File, Vec<u8>),
    Failed,
}

impl SpillFile {
    /// Lets the work under way come forward; ready when there is none.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        let finished = match &mut self.work {
            Work::Making(work) | Work::Writing(work) => match Pin::new(work).poll(context) {
                Poll::Ready(file) => joined(file).map(Work::Idle),
                Poll::Pending => return self.poll_patience(context),
            },
            Work::Reading(position, work) => match Pin::new(work).poll(context) {
                Poll::Ready(read) => {
                    joined(read).map(|(file, bytes)| Work::Read(*position, file, bytes))
                }
                Poll::Pending => return self.poll_patience(context),
            },
            Work::Failed => Err(io::Error::other("the file failed before")),
            Work::Idle(_) | Work::Read(..) => return Poll::Ready(Ok(())),
        };
        self.patience = None;
        match finished {
            Ok(work) => {
                self.work = work;
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.work = Work::Failed;
                Poll::Ready(Err(SpillError::File(error)))
            }
        }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(DISK_WAIT_MAX)));
        ready!(patience.as_mut().poll(context));
        self.work = Work::Failed;
        Poll::Ready(Err(SpillError::Slow))
    }

    /// The file, when nothing is under way.
    fn take_file(&mut self) -> Option<File> {
        match std::mem::replace(&mut self.work, Work::Failed) {
            Work::Idle(file) | Work::Read(_, file, _) => Some(file),
            under_way => {
                self.work = under_way;
                None
            }
        }
    }

    fn write_waiting(&mut self) {
        let Some(file) = self.take_file() else { return };
        let piece = std::mem::take(&mut self.waiting);
        let position = self.stored;
        self.stored += piece.len() as u64;
        self.work = Work::Writing(spawn_blocking(move || {
            file.write_all_at(&piece, position)?;
            Ok(file)
        }));
    }
}

fn joined<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Spill for SpillFile {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        let worked = self.poll_work(context);
        match worked {
            Poll::Ready(Ok(())) if self.waiting.len() >= PIECE_BYTES => self.write_waiting(),
            Poll::Pending if self.waiting.len() < WAITING_BYTES_MAX => {}
            other => return other,
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, chunk: &[u8]) {
        // Exactly: a vector that grows by itself may take twice as much.
        let length = (self.waiting.len() + chunk.len()).max(PIECE_BYTES);
        self.waiting.reserve_exact(length - self.waiting.len());
        self.waiting.extend_from_slice(chunk);
        if self.waiting.len() >= PIECE_BYTES {
            self.write_waiting();
        }
    }

    fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        // What waits is in memory.
        if self.stored == 0 { Poll::Ready(Ok(())) } else { self.poll_work(context) }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        position: u64,
    ) -> Poll<Result<Bytes, SpillError>> {
        if position >= self.stored {
            // Never handed to the disk.
            let start = usize::try_from(position - self.stored).unwrap_or(usize::MAX);
            let rest = self.waiting.get(start..).unwrap_or_default();
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            return Poll::Ready(Ok(Bytes::copy_from_slice(piece)));
        }
        loop {
            ready!(self.poll_work(context))?;
            if let Work::Read(at, _, bytes) = &mut self.work
                && *at == position
            {
                let bytes = std::mem::take(bytes);
                if let Some(file) = self.take_file() {
                    self.work = Work::Idle(file);
                }
                return Poll::Ready(Ok(Bytes::from(bytes)));
            }
            let Some(file) = self.take_file() else {
                return Poll::Ready(Err(SpillError::File(io::Error::other("no file"))));
            };
            let piece = PIECE_BYTES as u64;
            let length = usize::try_from((self.stored - position).min(piece)).unwrap_or(0);
            self.work = Work::Reading(
                position,
                spawn_blocking(move || {
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, position)?;
                    Ok((file, bytes))
                }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use http_body::Body;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::forward::replay::keeping::{Keeping, Quota};
    use crate::forward::replay::{Replay, Start};

    async fn read_all(spill: &mut Box<dyn Spill>, length: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while (all.len() as u64) < length {
            let position = all.len() as u64;
            let piece = poll_fn(|context| spill.poll_read(context, position)).await.unwrap();
            assert!(!piece.is_empty());
            all.extend_from_slice(&piece);
        }
        all
    }

    /// Fails when pieces are lost, doubled or stored in another order, in the file or before it.
    #[tokio::test]
    async fn what_is_written_is_read_again_as_often_as_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for length in [1, PIECE_BYTES - 1, PIECE_BYTES, 5 * PIECE_BYTES + 17] {
            let body: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            let mut spill = Folder::new(Some(folder.path().to_owned())).open();
            for chunk in body.chunks(7001) {
                poll_fn(|context| spill.poll_ready(context)).await.unwrap();
                spill.write(chunk);
            }
            for _ in 0..2 {
                assert!(read_all(&mut spill, length as u64).await == body, "{length}");
            }
        }
    }

    /// Fails when the file can be found by somebody else, during the request or after it.
    #[tokio::test]
    async fn a_file_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Folder::new(Some(folder.path().to_owned())).open();
        spill.write(&vec![b'x'; 2 * PIECE_BYTES]);
        read_all(&mut spill, 2 * PIECE_BYTES as u64).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Fails when a folder that is not there is taken for one that is.
    #[tokio::test]
    async fn a_file_that_cannot_be_made_is_told() {
        let mut spill = Folder::new(Some(PathBuf::from("/nowhere/at/all"))).open();
        let mut told = Ok(());
        while told.is_ok() {
            spill.write(&[b'x'; PIECE_BYTES]);
            told = poll_fn(|context| spill.poll_ready(context)).await;
        }
        assert!(matches!(told, Err(SpillError::File(_))));
    }

    /// Fails when a full disk is taken for one that has stored what it was given.
    #[tokio::test]
    async fn a_full_disk_is_told() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut spill =
            SpillFile { work: Work::Idle(full), waiting: Vec::new(), stored: 0, patience: None };
        let mut told = Ok(());
        while told.is_ok() {
            spill.write(&[b'x'; PIECE_BYTES]);
            told = poll_fn(|context| spill.poll_ready(context)).await;
        }
        assert!(matches!(told, Err(SpillError::File(_))));
    }

    /// Every file is one on a full disk.
    #[derive(Debug)]
    struct FullDisk;

    impl Storage for FullDisk {
        fn open(&self) -> Box<dyn Spill> {
            let full = File::options().write(true).read(true).open("/dev/full").unwrap();
            let work = Work::Idle(full);
            Box::new(SpillFile { work, waiting: Vec::new(), stored: 0, patience: None })
        }
    }

    /// Fails when a full disk that is met with the last piece costs the request: hyper asks no
    /// further where a body says that it has ended.
    #[tokio::test]
    async fn a_disk_that_is_full_at_the_last_piece_costs_the_replay_and_not_the_request() {
        let keeping = Arc::new(Keeping {
            memory_bytes_max: 0,
            spill_bytes_max: 1 << 20,
            memory: Quota::new(0),
            spill: Quota::new(1 << 20),
            storage: Box::new(FullDisk),
        });
        let body = Full::new(Bytes::from(vec![b'x'; PIECE_BYTES]));
        let replay = Replay::new(body, &keeping);
        let mut first = replay.send(Start::AtOnce).unwrap();
        let piece = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(piece.len() == PIECE_BYTES && Body::is_end_stream(&first));
        let again = poll_fn(|context| replay.poll_send_again(context, Start::AtOnce)).await;
        assert_eq!(again.unwrap_err().as_str(), "spill_failed");
        assert_eq!(keeping.spill.taken(), 0);
    }

    /// Fails when much more of a body is in memory than is said of it, while the disk is slow.
    #[tokio::test]
    async fn little_of_a_body_is_in_memory_on_its_way_to_the_disk() {
        let (hang, hanging) = std::sync::mpsc::channel::<()>();
        let mut spill = SpillFile {
            work: Work::Writing(spawn_blocking(move || {
                _ = hanging.recv();
                Err(io::ErrorKind::TimedOut.into())
            })),
            waiting: Vec::new(),
            stored: PIECE_BYTES as u64,
            patience: None,
        };
        let chunk = [b'x'; 10_000];
        while poll_fn(|context| Poll::Ready(spill.poll_ready(context).is_ready())).await {
            spill.write(&chunk);
        }
        let most = WAITING_BYTES_MAX + chunk.len();
        assert!((WAITING_BYTES_MAX..=most).contains(&spill.waiting.capacity()));
        drop(hang);
    }

    /// Fails when a disk that hangs holds a request up for ever, or is not waited for at all.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_waited_for_within_a_bound() {
        let (hang, hanging) = std::sync::mpsc::channel::<()>();
        let mut spill = SpillFile {
            work: Work::Making(spawn_blocking(move || {
                _ = hanging.recv();
                Err(io::ErrorKind::TimedOut.into())
            })),
            waiting: vec![0; WAITING_BYTES_MAX],
            stored: 0,
            patience: None,
        };
        let before = tokio::time::Instant::now();
        // The clock stands still while a blocking thread works: it is moved by hand.
        let told = tokio::join!(poll_fn(|context| spill.poll_ready(context)), async {
            tokio::task::yield_now().await;
            tokio::time::advance(DISK_WAIT_MAX).await;
        });
        assert!(matches!(told.0, Err(SpillError::Slow)));
        assert_eq!(before.elapsed(), DISK_WAIT_MAX);
        drop(hang);
    }
}
