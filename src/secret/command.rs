//! Commands that print a secret, or that are given some: run without a shell, in bounds of time and
//! length. What they say on standard error may hold a secret: of the first kind it is never shown, of
//! the second whoever gave the secrets takes care of it.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command as Process};
use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::SecretError;
use super::source::{Place, SECRET_BYTES_MAX};

/// How long the outputs of a command are read on after its end, where something that it began holds
/// them open. What the command itself has printed is there at once; this is for a filter behind it.
/// Machine time, as the command's.
const DRAIN: Duration = Duration::from_millis(500);

/// The room for what a command prints, from the start: a vector that grows leaves copies behind.
const ROOM_BYTES: usize = 64 * 1024;

/// Standard error is read through a window of this many bytes, and only counted.
const WINDOW_BYTES: usize = 4 * 1024;

/// Of the environment of this process, what a command sees that is given secrets: no secret of others
/// is among these.
const VARIABLES: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_RUNTIME_DIR",
];

/// A command that prints a secret, or is given some.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take; then it is killed.
    pub timeout: Duration,
    /// How long its secret is believed in before it is run again; for ever where nothing is said.
    pub refresh: Option<Duration>,
}

/// How a command that was given secrets has ended.
pub struct Conversed {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub output: Zeroizing<Vec<u8>>,
    /// The beginning of what it said on standard error. There may be a secret in it.
    pub errors: Zeroizing<Vec<u8>>,
}

impl Command {
    /// What the command prints until it ends. Its environment is that of this process, its standard
    /// input is closed. What it has begun is killed when it has ended, and with it at its timeout or
    /// when this is dropped.
    ///
    /// # Errors
    /// A command that cannot be started, takes too long, prints more than [`SECRET_BYTES_MAX`] or
    /// ends with another status than 0.
    pub(super) async fn run(
        &self,
        environment: &Environment,
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let mut process = Process::new(&self.program);
        process.args(&self.arguments);
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.kill_on_drop(true);
        if let Environment::Given(variables) = environment {
            process.env_clear().envs(variables);
        }
        // A group of its own, so that its children can be ended with it.
        #[cfg(unix)]
        process.process_group(0);
        let mut running = Running(process.spawn().map_err(|reason| self.not_started(reason))?);
        let output = tokio::time::timeout(self.timeout, self.output(&mut running)).await;
        let output = output.unwrap_or_else(|_| Err(self.timed_out()));
        // However it has ended, nothing of it stays.
        let status = running.end().await;
        let (output, error_bytes) = output?;
        let status = status.map_err(|reason| self.not_started(reason))?;
        match status.success() {
            true => Ok(output),
            false => Err(self.failed(status, error_bytes)),
        }
    }

    /// Gives the command `input` on its standard input, and tells how it ended and what it printed.
    /// Nothing of the input is in its arguments or its environment, which has nothing of this
    /// process' but a few variables. What it has begun is killed when it has ended, and with it at its
    /// timeout or when this is dropped.
    ///
    /// # Errors
    /// A command that cannot be started, takes too long, or prints more than `bytes_max`.
    pub async fn converse(
        &self,
        environment: &Environment,
        input: &[u8],
        bytes_max: usize,
    ) -> Result<Conversed, SecretError> {
        let mut process = Process::new(&self.program);
        process.args(&self.arguments).env_clear();
        for name in VARIABLES {
            process.envs(environment.variable(name).map(|value| (name, value)));
        }
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.kill_on_drop(true);
        #[cfg(unix)]
        process.process_group(0);
        let mut running = Running(process.spawn().map_err(|reason| self.not_started(reason))?);
        let talk = self.talk(&mut running, input, bytes_max);
        let talked = tokio::time::timeout(self.timeout, talk).await;
        let talked = talked.unwrap_or_else(|_| Err(self.timed_out()));
        // However it has ended, nothing of it stays.
        let status = running.end().await;
        // It has begun, and may have done what it was asked.
        let unheard = |error| match error {
            SecretError::NotRun { program, reason } => SecretError::Unheard { program, reason },
            error => error,
        };
        let (output, errors) = talked.map_err(unheard)?;
        let status = status.map_err(|reason| unheard(self.not_started(reason)))?;
        Ok(Conversed { status, output, errors })
    }

    async fn talk(
        &self,
        running: &mut Running,
        input: &[u8],
        bytes_max: usize,
    ) -> Result<(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>), SecretError> {
        let Child { stdin, stdout, stderr, .. } = &mut running.0;
        let (stdin, stdout, stderr) = (stdin.take(), stdout.take(), stderr.take());
        let mut printed = Zeroizing::new(Vec::with_capacity(ROOM_BYTES.min(bytes_max)));
        let mut said = Zeroizing::new(Vec::with_capacity(WINDOW_BYTES));
        {
            let failed = |reason| self.not_started(reason);
            let given = async { give(stdin, input).await.map_err(failed) };
            let output = async { self.read(stdout, &mut printed, bytes_max).await };
            let errors = async { first(stderr, &mut said).await.map_err(failed) };
            let mut talking = std::pin::pin!(async { tokio::try_join!(given, output, errors) });
            tokio::select! {
                talked = &mut talking => {
                    talked?;
                    running.ended().await.map_err(failed)?;
                }
                ended = running.ended() => {
                    ended.map_err(failed)?;
                    let talked = tokio::time::timeout(DRAIN, talking).await;
                    talked.unwrap_or(Ok(((), (), ())))?;
                }
            }
        }
        Ok((printed, said))
    }

    /// The same for callers without a runtime.
    pub(super) fn run_blocking(
        &self,
        environment: &Environment,
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        // A thread of its own: the caller's may belong to a runtime, and must not have two.
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|reason| self.not_started(reason))?.block_on(self.run(environment))
        };
        let ran = std::thread::scope(|scope| scope.spawn(run).join());
        ran.unwrap_or_else(|_| Err(self.not_started(io::Error::other("its thread has died"))))
    }

    /// What it prints until it has ended, and how much it says on standard error.
    async fn output(
        &self,
        running: &mut Running,
    ) -> Result<(Zeroizing<Vec<u8>>, usize), SecretError> {
        let (output, errors) = (running.0.stdout.take(), running.0.stderr.take());
        // Room for the longest secret from the start: a vector that grows leaves copies behind.
        let mut printed = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
        let mut error_bytes = 0;
        {
            let output = async { self.read(output, &mut printed, SECRET_BYTES_MAX).await };
            let errors = async { count(errors, &mut error_bytes).await };
            let errors = async { errors.await.map_err(|reason| self.not_started(reason)) };
            let mut reading = std::pin::pin!(async { tokio::try_join!(output, errors) });
            tokio::select! {
                read = &mut reading => {
                    read?;
                    running.ended().await.map_err(|reason| self.not_started(reason))?;
                }
                ended = running.ended() => {
                    ended.map_err(|reason| self.not_started(reason))?;
                    let read = tokio::time::timeout(DRAIN, reading).await;
                    // What has not come until now is not the command's own.
                    read.unwrap_or(Ok(((), ())))?;
                }
            }
        }
        Ok((printed, error_bytes))
    }

    /// Reads to the end into `bytes`, at most `bytes_max`.
    async fn read(
        &self,
        output: Option<impl AsyncRead + Unpin>,
        bytes: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), SecretError> {
        let Some(mut output) = output else { return Ok(()) };
        while bytes.len() <= bytes_max {
            let read = output.read_buf(bytes).await.map_err(|reason| self.not_started(reason))?;
            if read == 0 {
                return Ok(());
            }
        }
        Err(SecretError::TooLong(Place::Command(self.clone())))
    }

    fn not_started(&self, reason: io::Error) -> SecretError {
        SecretError::NotRun { program: self.program.clone(), reason }
    }

    fn timed_out(&self) -> SecretError {
        SecretError::TimedOut { program: self.program.clone(), timeout: self.timeout }
    }

    fn failed(&self, status: ExitStatus, error_bytes: usize) -> SecretError {
        SecretError::Failed { program: self.program.clone(), status, error_bytes }
    }
}

/// Reads to the end and keeps the length only.
async fn count(errors: Option<impl AsyncRead + Unpin>, counted: &mut usize) -> io::Result<()> {
    let Some(mut errors) = errors else { return Ok(()) };
    let mut window = Zeroizing::new(vec![0; WINDOW_BYTES]);
    loop {
        match errors.read(&mut window).await? {
            0 => return Ok(()),
            read => *counted = counted.saturating_add(read),
        }
    }
}

/// Writes all of `input`. A command that reads nothing more of it, or has ended, does as it likes.
async fn give(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(input).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reads to the end and keeps the beginning, up to its last whole line where not all of it is kept:
/// whoever looks for secrets in it must find them whole.
async fn first(errors: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut errors) = errors else { return Ok(()) };
    let mut window = Zeroizing::new(vec![0; WINDOW_BYTES]);
    let mut is_cut = false;
    loop {
        let read = match errors.read(&mut window).await? {
            0 => return Ok(()),
            read => window.get(..read).unwrap_or_default(),
        };
        if is_cut {
            continue;
        }
        let room = WINDOW_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(read.get(..room.min(read.len())).unwrap_or_default());
        if room < read.len() {
            is_cut = true;
            let lines = kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            kept.truncate(lines);
        }
    }
}

/// A process that is killed with its whole group before it is waited for: as long as it has not
/// been, its number, and that of its group, is nobody else's.
struct Running(Child);

impl Running {
    /// Waits until the process has ended, and leaves it to be waited for. Cancel safe.
    #[cfg(unix)]
    async fn ended(&self) -> io::Result<()> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        use tokio::signal::unix::{SignalKind, signal};

        // Nothing to wait for is nothing that runs.
        let Some(process) = self.number() else { return Ok(()) };
        // Before the first look: an end after it is told.
        let mut child_ended = signal(SignalKind::child())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(process), look)?.is_none() {
            child_ended.recv().await;
        }
        Ok(())
    }

    /// The same where a process can only be waited for, and has no group.
    #[cfg(not(unix))]
    async fn ended(&mut self) -> io::Result<()> {
        self.0.wait().await.map(|_| ())
    }

    /// Kills what is left of the group, and waits for the process: after SIGKILL there is nothing
    /// left to wait for but the system.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.0.wait().await
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.number() {
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // Where there are no groups, the process alone; a process that is gone is no fault.
        _ = self.0.start_kill();
    }

    /// Its number, which is its group's too; nothing when it has been waited for.
    #[cfg(unix)]
    fn number(&self) -> Option<rustix::process::Pid> {
        self.0.id().and_then(|id| rustix::process::Pid::from_raw(id as i32))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
