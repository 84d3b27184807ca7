//! Writes a recording into a folder: for its owner only, and never over another one.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::json;
use crate::app::Tried;
use crate::recording::{self, Unfaithful};

/// Recordings of one kind in one folder; more are moved elsewhere first.
const RECORDINGS_MAX: u32 = 1000;

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("`{}` cannot be made or is no folder", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    #[error("`{}` cannot be written", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("`{}` holds {RECORDINGS_MAX} recordings of this kind", .0.display())]
    Full(PathBuf),
    #[error(transparent)]
    Unfaithful(#[from] Unfaithful),
}

/// Makes the folder, so that nothing is tried that cannot be recorded.
pub(super) fn prepare(folder: &Path) -> Result<(), RecordError> {
    let refused = |error| RecordError::Folder(folder.to_owned(), error);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(refused)
}

/// Writes what was tried, and says where.
pub(super) fn write(folder: &Path, tried: &Tried) -> Result<PathBuf, RecordError> {
    let recording = recording::record(&tried.recipe, &tried.fields, &tried.report.exchanged)?;
    let (ending, class, _) = json::ending(&tried.report.ending);
    let kind = format!("{}-{}", file_name(&tried.recipe.name), class.unwrap_or(ending));
    for number in 1..=RECORDINGS_MAX {
        let name = match number {
            1 => format!("{kind}.json"),
            number => format!("{kind}-{number}.json"),
        };
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written =
            options.open(&path).and_then(|mut file| file.write_all(recording.to_text().as_bytes()));
        match written {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(RecordError::File(path, error)),
        }
    }
    Err(RecordError::Full(folder.to_owned()))
}

/// A recipe's name as a part of a file's.
fn file_name(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect()
}
