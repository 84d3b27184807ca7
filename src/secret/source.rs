//! Where a secret comes from, and the reading of it: raw, bounded, and picky about the traces that
//! editors and shells leave on a secret.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::command::Command;
use super::environment::Environment;
use super::error::{SecretError, SecretWarning};
use super::text::SecretText;

/// The longest secret, in bytes. A private key or a signed token is a few KiB.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Set by systemd to the folder of the unit's credentials (systemd.exec(5), "CREDENTIALS").
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret comes from and how it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Where it stands.
    pub place: Place,
    /// What is done about blanks and quotes around it.
    pub taking: Taking,
}

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file. A link is followed: Kubernetes mounts secrets as links.
    File(PathBuf),
    /// In an environment variable.
    Environment(String),
    /// In a file of this name under `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// On the standard output of a command.
    Command(Command),
}

/// What is done about blanks, line ends and quotes around a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Taking {
    /// They are an error: hardly ever do they belong to the secret, and a login that fails for
    /// them costs an attempt.
    #[default]
    Strict,
    /// Blanks and line ends at both ends are cut off.
    Trimmed,
    /// They belong to the secret.
    Verbatim,
}

/// A secret that was read, and what is not right about its place.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// The secret.
    pub text: SecretText,
    /// Something that an operator should mend.
    pub warning: Option<SecretWarning>,
}

impl Source {
    /// A source that is taken strictly.
    pub fn strict(place: Place) -> Self {
        Self { place, taking: Taking::Strict }
    }

    /// The file that the secret stands in, if it stands in one.
    pub fn file(&self, environment: &Environment) -> Option<PathBuf> {
        match &self.place {
            Place::File(path) => Some(path.clone()),
            Place::Credential(name) => credential_path(name, environment).ok(),
            Place::Environment(_) | Place::Command(_) => None,
        }
    }

    /// How long the secret is believed in before it is asked for again; nothing where changes are
    /// told, or where there are none.
    pub fn refresh(&self) -> Option<Duration> {
        match &self.place {
            Place::Command(command) => command.refresh,
            Place::File(_) | Place::Environment(_) | Place::Credential(_) => None,
        }
    }

    /// Reads the secret. Blocks on the file system, or until the command has ended.
    ///
    /// # Errors
    /// A missing or unreadable place, a file that others can change, more than
    /// [`SECRET_BYTES_MAX`], what is not UTF-8, an empty secret, and, unless the source says
    /// otherwise, blanks or quotes around it.
    pub fn read(&self, environment: &Environment) -> Result<Unsealed, SecretError> {
        let (bytes, warning) = match &self.place {
            Place::File(path) => read_file(path, &self.place)?,
            Place::Environment(name) => {
                let value = environment.variable(name);
                let value = value.ok_or_else(|| SecretError::Unset(name.clone()))?;
                (Zeroizing::new(value.into_encoded_bytes()), None)
            }
            Place::Credential(name) => {
                read_file(&credential_path(name, environment)?, &self.place)?
            }
            Place::Command(command) => (command.run_blocking(environment)?, None),
        };
        self.unsealed(&bytes, warning)
    }

    /// As [`Source::read`], but does not block on a command. Dropped, it kills the command.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub async fn read_async(&self, environment: &Environment) -> Result<Unsealed, SecretError> {
        if let Place::Command(command) = &self.place {
            return self.unsealed(&command.run(environment).await?, None);
        }
        self.read(environment)
    }

    fn unsealed(
        &self,
        bytes: &[u8],
        warning: Option<SecretWarning>,
    ) -> Result<Unsealed, SecretError> {
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong(self.place.clone()));
        }
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| SecretError::NotText(self.place.clone()))?;
        let text = SecretText::new(self.taken(text)?.to_owned());
        Ok(Unsealed { text, warning })
    }

    fn taken<'t>(&self, text: &'t str) -> Result<&'t str, SecretError> {
        let (place, characters) = (self.place.clone(), text.chars().count());
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(SecretError::Empty(place));
        }
        match self.taking {
            Taking::Verbatim => Ok(text),
            Taking::Strict if text.ends_with('\n') => {
                Err(SecretError::EndsWithNewline { place, characters })
            }
            Taking::Strict if text != trimmed => Err(SecretError::Blanks { place, characters }),
            _ if quoted(trimmed) => Err(SecretError::Quotes { place, characters }),
            _ => Ok(trimmed),
        }
    }
}

fn quoted(text: &str) -> bool {
    let within = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    within('"') || within('\'')
}

fn credential_path(name: &str, environment: &Environment) -> Result<PathBuf, SecretError> {
    let mut components = Path::new(name).components();
    let plain = matches!(
        (components.next(), components.next()),
        (Some(std::path::Component::Normal(_)), None)
    );
    if !plain {
        return Err(SecretError::CredentialName(name.to_owned()));
    }
    let folder = environment.variable(CREDENTIALS_DIRECTORY);
    let folder = folder.ok_or_else(|| SecretError::NoCredentials(name.to_owned()))?;
    Ok(Path::new(&folder).join(name))
}

type Bytes = Zeroizing<Vec<u8>>;

fn read_file(path: &Path, place: &Place) -> Result<(Bytes, Option<SecretWarning>), SecretError> {
    let refused = |reason: std::io::Error| match reason.kind() {
        ErrorKind::NotFound => SecretError::NoFile(path.to_owned()),
        _ => SecretError::Unreadable { path: path.to_owned(), reason },
    };
    // Asked before the file is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(refused)?;
    let warning = judge_mode(path, &file.metadata().map_err(refused)?)?;
    // Room for the longest secret from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong(place.clone()));
    }
    Ok((bytes, warning))
}

#[cfg(unix)]
fn judge_mode(path: &Path, metadata: &Metadata) -> Result<Option<SecretWarning>, SecretError> {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    // The group may read: that is how Kubernetes (`fsGroup`) hands a secret over.
    const OTHERS_READ: u32 = 0o004;
    let (path, mode) = (path.to_owned(), metadata.permissions().mode() & 0o7777);
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(SecretError::OthersMayWrite { path, mode });
    }
    Ok((mode & OTHERS_READ != 0).then_some(SecretWarning::OthersMayRead { path, mode }))
}

#[cfg(not(unix))]
fn judge_mode(_: &Path, _: &Metadata) -> Result<Option<SecretWarning>, SecretError> {
    Ok(None)
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "file `{}`", path.display()),
            Self::Environment(name) => write!(out, "environment variable `{name}`"),
            Self::Credential(name) => write!(out, "credential `{name}`"),
            Self::Command(command) => {
                write!(out, "output of `{}`", Path::new(&command.program).display())
            }
        }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
