//! Writes a recording into a folder: for its owner only, and never over another one.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::json;
use crate::app::Tried;
use crate::recording::{self, Unfaithful};

/// Recordings in one folder; more are moved elsewhere first.
const RECORDINGS_MAX: usize = 1000;

/// What is written to prove that there is room for a recording, in bytes. Most are shorter.
const PROOF_BYTES: usize = 64 * 1024;

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("`{}` cannot be made or is no folder", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("`{}` cannot be written", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{}` holds {RECORDINGS_MAX} recordings: move some of them elsewhere", .0.display())]
    Full(PathBuf),
    #[error(transparent)]
    Unfaithful(#[from] Unfaithful),
}

/// A folder in which a recording can be written.
pub(super) struct Place<'f>(&'f Path);

impl<'f> Place<'f> {
    /// Makes the folder and proves that it takes a file, so that nothing is tried that cannot be
    /// recorded.
    pub(super) fn prove(folder: &'f Path) -> Result<Self, RecordError> {
        let refused = |error| RecordError::Folder(folder.to_owned(), error);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(refused)?;
        // Whatever their names are: below this number each kind has a name left.
        let is_recording =
            |entry: &DirEntry| entry.file_name().to_string_lossy().ends_with(".json");
        let entries = fs::read_dir(folder).map_err(refused)?.filter_map(Result::ok);
        if entries.filter(is_recording).count() >= RECORDINGS_MAX {
            return Err(RecordError::Full(folder.to_owned()));
        }
        let path = folder.join(format!(".proof-{}", std::process::id()));
        let written = create(&path).and_then(|mut file| file.write_all(&[b' '; PROOF_BYTES]));
        let removed = fs::remove_file(&path);
        match written.and(removed) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => Err(RecordError::File(path, error)),
        }
    }

    /// Writes what was tried, and says where.
    pub(super) fn write(&self, tried: &Tried) -> Result<PathBuf, RecordError> {
        let recording = recording::record(&tried.recipe, &tried.fields, &tried.report.exchanged)?;
        let (ending, class, _) = json::ending(&tried.report.ending);
        let kind = format!("{}-{}", file_name(&tried.recipe.name), class.unwrap_or(ending));
        for number in 1..=RECORDINGS_MAX {
            let name = match number {
                1 => format!("{kind}.json"),
                number => format!("{kind}-{number}.json"),
            };
            let path = self.0.join(name);
            let text = recording.to_text();
            let mut file = match create(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(RecordError::File(path, error)),
            };
            return match file.write_all(text.as_bytes()) {
                Ok(()) => Ok(path),
                Err(error) => {
                    // Half a recording is none.
                    _ = std::fs::remove_file(&path);
                    Err(RecordError::File(path, error))
                }
            };
        }
        Err(RecordError::Full(self.0.to_owned()))
    }
}

/// A new file for its owner only.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A recipe's name as a part of a file's.
fn file_name(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect()
}
