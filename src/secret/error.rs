//! Why a secret cannot be used. No message shows the secret.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::source::{Place, SECRET_BYTES_MAX};

/// Why a secret cannot be used; [`SecretError::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such file.
    #[error("secret file `{}` does not exist", .0.display())]
    NoFile(PathBuf),
    /// The file is there but cannot be read.
    #[error("secret file `{}` cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason that the system gives.
        #[source]
        reason: io::Error,
    },
    /// A directory, pipe or device: reading it could last for ever.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Somebody but the owner could put another secret there.
    #[error("secret file `{}` can be changed by others (mode {mode:04o})", .path.display())]
    OthersMayWrite {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The environment variable does not exist.
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    /// A credential was asked for, and systemd gave none to this process.
    #[error("credential `{0}` is asked for, but CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    /// A credential's name must be a plain file name.
    #[error("credential `{0}` is not a plain name")]
    CredentialName(String),
    /// The command cannot be started, or what it prints cannot be read.
    #[error("command `{}` cannot be run", shown(.program))]
    NotRun {
        /// The program, without its arguments.
        program: OsString,
        /// The reason that the system gives.
        #[source]
        reason: io::Error,
    },
    /// The command has begun, and what it printed or how it ended cannot be told.
    #[error("command `{}` was not heard to its end", shown(.program))]
    Unheard {
        /// The program, without its arguments.
        program: OsString,
        /// The reason that the system gives.
        #[source]
        reason: io::Error,
    },
    /// The command took too long and was killed.
    #[error("command `{}` was killed after {timeout:?}", shown(.program))]
    TimedOut {
        /// The program, without its arguments.
        program: OsString,
        /// How long it may take.
        timeout: Duration,
    },
    /// The command ended with a status that is not 0.
    #[error(
        "command `{}` failed ({status}); {}", shown(.program), not_shown(*.error_bytes)
    )]
    Failed {
        /// The program, without its arguments.
        program: OsString,
        /// How it ended.
        status: ExitStatus,
        /// How much it said on standard error.
        error_bytes: usize,
    },
    /// More than [`SECRET_BYTES_MAX`].
    #[error("the secret in {0} is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong(Place),
    /// Not UTF-8.
    #[error("the secret in {0} is not UTF-8 text")]
    NotText(Place),
    /// Nothing there, or nothing but blanks.
    #[error("the secret in {0} is empty")]
    Empty(Place),
    /// The usual trace of an editor or of `echo`.
    #[error("the secret in {place} ends with a newline ({characters} characters with it)")]
    EndsWithNewline {
        /// Where it stands.
        place: Place,
        /// Its length.
        characters: usize,
    },
    /// Blanks at either end.
    #[error("the secret in {place} begins or ends with a blank ({characters} characters with it)")]
    Blanks {
        /// Where it stands.
        place: Place,
        /// Its length.
        characters: usize,
    },
    /// The usual trace of an environment file whose reader keeps quotes.
    #[error("the secret in {place} stands in quotes ({characters} characters with them)")]
    Quotes {
        /// Where it stands.
        place: Place,
        /// Its length.
        characters: usize,
    },
}

impl SecretError {
    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NoFile(path) => {
                format!(
                    "create it with: printf %s 'THE SECRET' > {0} && chmod 600 {0}",
                    path.display()
                )
            }
            Self::OthersMayWrite { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Unset(name) => format!("set {name} in the environment that starts doorward"),
            Self::NoCredentials(name) => {
                format!("add `LoadCredential={name}:/path` to the systemd unit")
            }
            Self::EndsWithNewline { .. } => {
                "write it with printf %s, or set `trim = true`".to_owned()
            }
            Self::Blanks { .. } => {
                "set `trim = true`, or `verbatim = true` if they belong to it".to_owned()
            }
            Self::Quotes { .. } => {
                "remove the quotes, or set `verbatim = true` if they belong to it".to_owned()
            }
            Self::Unreadable { reason, .. }
            | Self::NotRun { reason, .. }
            | Self::Unheard { reason, .. } => reason.to_string(),
            Self::TimedOut { .. } => {
                "it must not ask for anything, since its standard input is closed; one that is \
                 slow needs a longer `timeout`"
                    .to_owned()
            }
            Self::Failed { program, .. } => {
                format!(
                    "run `{}` in a shell, with the arguments that the configuration gives it, to \
                     see what it says",
                    shown(program)
                )
            }
            Self::NotAFile(_)
            | Self::CredentialName(_)
            | Self::TooLong(_)
            | Self::NotText(_)
            | Self::Empty(_) => return None,
        })
    }
}

fn not_shown(error_bytes: usize) -> String {
    match error_bytes {
        0 => "it said nothing on standard error".to_owned(),
        _ => format!(
            "what it said on standard error ({error_bytes} bytes) is not shown, since it may hold \
             the secret"
        ),
    }
}

/// A program's name or path.
fn shown(program: &OsString) -> std::path::Display<'_> {
    Path::new(program).display()
}

/// What is not right about a secret that can be used all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretWarning {
    /// Anybody on this machine can read the file.
    #[error("secret file `{}` can be read by everybody (mode {mode:04o}); chmod 600 {}", .path.display(), .path.display())]
    OthersMayRead {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}
