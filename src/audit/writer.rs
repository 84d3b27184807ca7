//! The reader of events that writes the trail: it makes lines, and a thread of its own appends
//! them, so that a slow disk holds up neither requests nor logins.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::line::Line;
use super::trail::{Trail, Unwritten};
use crate::telemetry::{AuditTrouble, Event, OnFailure, Reader, WeakReporter};

/// Lines that wait for the disk; at the bound new ones are dropped, counted, and told of by a line.
const WAITING_MAX: usize = 64 * 1024;

/// How long after a failure lines that wait are tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Lines in one write.
const BATCH_MAX: usize = 1024;

/// Makes a line of each request and each event of a session.
#[derive(Debug)]
pub struct Audit {
    lines: SyncSender<Line>,
    lost: Arc<Lost>,
}

/// Comes when the last line is written, after [`Audit`] is gone.
pub type Ended = oneshot::Receiver<()>;

/// Lines that could not be handed over, by cause.
#[derive(Debug, Default)]
struct Lost {
    /// Events that were dropped before they came here.
    events: AtomicU64,
    /// Lines for which there was no room.
    lines: AtomicU64,
    /// There will be no more lines: what cannot be written now is not waited for.
    is_over: AtomicBool,
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.lost.is_over.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread that writes to `trail`; it ends when the reader is dropped. Trouble is told to
/// `reporter`.
///
/// # Errors
/// When there is no thread for it.
pub fn start(
    trail: Trail,
    reporter: WeakReporter,
    on_failure: OnFailure,
) -> io::Result<(Audit, Ended)> {
    let (sender, lines) = sync_channel(WAITING_MAX);
    let lost = Arc::new(Lost::default());
    let mut writer = Writer {
        trail,
        reporter,
        on_failure,
        lost: Arc::clone(&lost),
        unwritten: 0,
        is_failing: false,
    };
    let (ended, waiting) = oneshot::channel();
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
        writer.run(&lines);
        // Whoever waited may have left.
        _ = ended.send(());
    })?;
    Ok((Audit { lines: sender, lost }, waiting))
}

impl Reader for Audit {
    fn read(&mut self, at: SystemTime, event: &Event) {
        let Some(line) = Line::of(at, event) else { return };
        if self.lines.try_send(line).is_err() {
            self.lost.lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wants_requests(&self) -> bool {
        true
    }

    fn dropped(&mut self, count: u64) {
        self.lost.events.fetch_add(count, Ordering::Relaxed);
    }
}

struct Writer {
    trail: Trail,
    reporter: WeakReporter,
    on_failure: OnFailure,
    lost: Arc<Lost>,
    /// Lines that the disk did not take and that no line tells of yet.
    unwritten: u64,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, lines: &Receiver<Line>) {
        self.write(vec![Line::started()]);
        while let Ok(first) = lines.recv() {
            let mut batch = vec![first];
            batch.extend(lines.try_iter().take(BATCH_MAX - 1));
            self.write(batch);
        }
        self.write(vec![Line::stopped()]);
        // The process ends: there is nobody to tell any more.
        _ = self.trail.sync();
    }

    /// Appends lines, after one for each cause for which others are missing.
    fn write(&mut self, batch: Vec<Line>) {
        let causes = [
            (self.lost.events.swap(0, Ordering::Relaxed), "events"),
            (self.lost.lines.swap(0, Ordering::Relaxed), "lines"),
            (std::mem::take(&mut self.unwritten), "disk"),
        ];
        let told: Vec<_> = causes.into_iter().filter(|(count, _)| *count > 0).collect();
        let told_lines = told.iter().map(|(count, cause)| Line::lost(*count, cause));
        let mut all: Vec<Line> = told_lines.chain(batch).collect();
        // What a lost line tells of is missing as long as it is; each other line counts for itself.
        let counts = told.iter().map(|(count, _)| *count).chain(std::iter::repeat(1));
        let mut counts: Vec<u64> = counts.take(all.len()).collect();
        while let Err(Unwritten { written, why }) = self.trail.try_append(&all) {
            all.drain(..written.min(all.len()));
            counts.drain(..written.min(counts.len()));
            self.failing(why);
            if self.on_failure == OnFailure::Continue || self.lost.is_over.load(Ordering::Relaxed) {
                self.unwritten = counts.iter().sum();
                return;
            }
            std::thread::sleep(RETRY);
        }
        self.resumed(told.iter().map(|(count, _)| count).sum());
    }

    fn failing(&mut self, why: String) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        let requests = self.on_failure;
        if requests == OnFailure::Block {
            self.reporter.block_requests();
        }
        self.reporter.report(Event::Audit(AuditTrouble::Unwritable { why, requests }));
    }

    fn resumed(&mut self, lost: u64) {
        let was_failing = std::mem::replace(&mut self.is_failing, false);
        if was_failing {
            self.reporter.let_requests_pass();
        }
        if was_failing || lost > 0 {
            self.reporter.report(Event::Audit(AuditTrouble::Lost { lost }));
        }
    }
}
