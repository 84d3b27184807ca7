//! Where lines go: a file that may be renamed away, or a stream of the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The owner reads and writes what is made here, and the group may read it: whoever collects logs.
const MODE: u32 = 0o640;

/// Where lines go.
#[derive(Debug)]
pub enum Output {
    /// A file that is only appended to.
    File(Appended),
    /// The standard output of the process.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// A file that is appended to, and made anew when it was renamed away.
#[derive(Debug)]
pub struct Appended {
    path: PathBuf,
    file: File,
    /// The last write broke off, maybe in the middle of a line.
    is_cut: bool,
}

impl Output {
    /// Opens a file. Blocks on the file system.
    ///
    /// # Errors
    /// When it cannot be appended to, or is no file: a pipe would wait for somebody to read it.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::File(Appended { path: path.to_owned(), file: open(path)?, is_cut: false }))
    }

    /// Writes whole lines. Blocks.
    pub(super) fn write(&mut self, lines: &str) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines.as_bytes())?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(lines.as_bytes()),
        }
    }
}

impl Appended {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        self.follow()?;
        if self.is_cut {
            self.file.write_all(b"\n")?;
        }
        let written = self.file.write_all(lines.as_bytes());
        self.is_cut = written.is_err();
        written
    }

    /// Opens a new file where the old one was renamed away or removed.
    fn follow(&mut self) -> io::Result<()> {
        let held = self.file.metadata()?;
        let is_there = match fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_there {
            (self.file, self.is_cut) = (open(&self.path)?, false);
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
    }
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
