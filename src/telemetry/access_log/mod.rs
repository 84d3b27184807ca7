//! The access log: one line for each request, when its answer's body has ended. A reader of events
//! makes the lines and a thread of its own writes them, so that a slow disk or pipe holds up nothing.

mod combined;
mod json;
mod output;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::missing::Missing;
use super::{Event, Reader};
pub use output::Output;

/// Lines that wait to be written; at the bound new ones are dropped and counted.
const WAITING_MAX: usize = 16 * 1024;

/// Lines in one write.
const BATCH_MAX: usize = 1024;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// The combined log format of web servers, with the reason and the request's id behind it.
    Combined,
}

/// Makes a line of each request.
#[derive(Debug)]
pub struct AccessLog {
    form: Form,
    lines: SyncSender<String>,
    lost: Missing,
}

/// Comes when the last line is written, after [`AccessLog`] is gone.
pub type Ended = oneshot::Receiver<()>;

/// Starts the thread that writes to `output`; it ends when the reader is dropped.
///
/// # Errors
/// When there is no thread for it.
pub fn start(output: Output, form: Form) -> io::Result<(AccessLog, Ended, Missing)> {
    let (sender, lines) = sync_channel(WAITING_MAX);
    let (ended, waiting) = oneshot::channel();
    let lost = Missing::default();
    let mut writer = Writer { output, lost: lost.clone(), is_failing: false };
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        writer.run(&lines);
        // Whoever waited may have left.
        _ = ended.send(());
    })?;
    Ok((AccessLog { form, lines: sender, lost: lost.clone() }, waiting, lost))
}

impl Reader for AccessLog {
    fn read(&mut self, at: SystemTime, event: &Event) {
        let Event::Request(request) = event else { return };
        let line = match self.form {
            Form::Json => json::line(at, request),
            Form::Combined => combined::line(at, request),
        };
        if self.lines.try_send(line).is_err() {
            self.lost.add(1);
        }
    }

    fn wants_requests(&self) -> bool {
        true
    }

    fn dropped(&mut self, count: u64) {
        self.lost.add(count);
    }
}

struct Writer {
    output: Output,
    lost: Missing,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, lines: &Receiver<String>) {
        let mut text = String::new();
        while let Ok(first) = lines.recv() {
            text.clear();
            let mut count = 0;
            for line in std::iter::once(first).chain(lines.try_iter().take(BATCH_MAX - 1)) {
                text.push_str(&line);
                text.push('\n');
                count += 1;
            }
            match self.output.write(&text) {
                Ok(()) => self.is_failing = false,
                Err(error) => {
                    self.lost.add(count);
                    // What lasts is told once.
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::error!(%error, "the access log cannot be written: lines are missing");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
