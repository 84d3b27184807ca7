//! A secret that a command prints: run without a shell, in bounds of time and length. What it says on
//! standard error may hold the secret and is never shown.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command as Process};
use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::SecretError;
use super::source::{Place, SECRET_BYTES_MAX};

/// Room in which a reader looks for the end without growing the buffer, in bytes.
const PROBE_BYTES: usize = 64;

/// Standard error is read through a window of this many bytes, and only counted.
const WINDOW_BYTES: usize = 4 * 1024;

/// A command that prints a secret.
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

impl Command {
    /// What the command prints. Its environment is that of this process, its standard input is
    /// closed. Dropped, it is killed with all its children, as at its timeout.
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
        let output = tokio::time::timeout(self.timeout, self.output(&mut running.0)).await;
        let output = output.unwrap_or_else(|_| Err(self.timed_out()));
        if output.is_err() {
            running.kill();
            // After SIGKILL there is nothing left to wait for but the system.
            _ = running.0.wait().await;
        }
        output
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

    async fn output(&self, child: &mut Child) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let output = async { self.read(output).await };
        let errors = async { count(errors).await.map_err(|reason| self.not_started(reason)) };
        let (output, error_bytes) = tokio::try_join!(output, errors)?;
        let status = child.wait().await.map_err(|reason| self.not_started(reason))?;
        match status.success() {
            true => Ok(output),
            false => Err(self.failed(status, error_bytes)),
        }
    }

    async fn read(
        &self,
        output: Option<impl AsyncRead + Unpin>,
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        // Room for the longest secret from the start: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1 + PROBE_BYTES));
        if let Some(output) = output {
            let read = output.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await;
            read.map_err(|reason| self.not_started(reason))?;
        }
        match bytes.len() > SECRET_BYTES_MAX {
            true => Err(SecretError::TooLong(Place::Command(self.clone()))),
            false => Ok(bytes),
        }
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
async fn count(errors: Option<impl AsyncRead + Unpin>) -> io::Result<usize> {
    let Some(mut errors) = errors else { return Ok(0) };
    let mut window = Zeroizing::new(vec![0; WINDOW_BYTES]);
    let mut counted = 0_usize;
    loop {
        match errors.read(&mut window).await? {
            0 => return Ok(counted),
            read => counted = counted.saturating_add(read),
        }
    }
}

/// A process that is killed with its whole group unless it has been waited for.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        // As long as the process has not been waited for, its number is nobody else's.
        #[cfg(unix)]
        if let Some(group) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // Where there are no groups, the process alone; a process that is gone is no fault.
        _ = self.0.start_kill();
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
