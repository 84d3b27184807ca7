//! Where operators come in: a Unix socket that is for one user alone, and TCP ports.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

/// Only the user who runs Doorward, and the superuser, may connect.
const SOCKET_MODE: u32 = 0o600;

/// The same for the folder that is made for it.
const FOLDER_MODE: u32 = 0o700;

/// The folder of a service, where no user's own is named.
const SERVICE_FOLDER: &str = "/run/doorward";

/// The folder below that which is a user's own.
const USER_FOLDER: &str = "doorward";

/// The name of the socket.
const SOCKET: &str = "admin.sock";

/// The Unix socket where nobody names one: in the user's own folder for such things, else in that of
/// the service.
pub fn usual_socket(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let own = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match own {
        Some(folder) => folder.join(USER_FOLDER).join(SOCKET),
        None => service_socket(),
    }
}

/// The Unix socket of a service.
pub fn service_socket() -> PathBuf {
    Path::new(SERVICE_FOLDER).join(SOCKET)
}

/// A socket that nobody is served at yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: Unregistered,
    file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Unregistered {
    Unix(StdUnixListener),
    Tcp(StdTcpListener),
}

/// The file of a Unix socket, which goes with it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Tells it from one that somebody else has put in its place.
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // It may be gone already; then there is nothing to remove.
            _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

/// Binds the Unix socket. A file that nobody listens at any more is replaced. Blocks on the file
/// system.
///
/// # Errors
/// When the path is taken or not allowed.
pub fn bind_unix(path: &Path) -> io::Result<Bound> {
    let listener = match StdUnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path)?;
            StdUnixListener::bind(path)?
        }
        bound => bound?,
    };
    let file = SocketFile { path: path.to_owned(), identity: identity(path) };
    // Who connects in between is told apart by the user that the kernel names.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(Bound { socket: Unregistered::Unix(listener), file: Some(file) })
}

/// The same at the usual place, whose folder is made where there is none.
///
/// # Errors
/// As for [`bind_unix`].
pub fn bind_usual(path: &Path) -> io::Result<Bound> {
    if let Some(folder) = path.parent() {
        match fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    bind_unix(path)
}

/// Binds a TCP port; 0 takes a free one.
///
/// # Errors
/// When the address is taken or not allowed.
pub fn bind_tcp(address: SocketAddr) -> io::Result<Bound> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Bound { socket: Unregistered::Tcp(listener), file: None })
}

/// A socket file that a process left behind when it died.
fn is_abandoned(path: &Path) -> bool {
    StdUnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Bound {
    /// Where it listens, with the real port.
    pub fn place(&self) -> Place {
        match (&self.socket, &self.file) {
            (Unregistered::Tcp(listener), _) => match listener.local_addr() {
                Ok(address) => Place::Tcp(address),
                // A bound socket has an address.
                Err(_) => Place::Tcp(SocketAddr::from(([0, 0, 0, 0], 0))),
            },
            (Unregistered::Unix(_), Some(file)) => Place::Unix(file.path.clone()),
            (Unregistered::Unix(_), None) => Place::Unix(PathBuf::new()),
        }
    }

    pub(super) fn into_parts(self) -> (Unregistered, Option<SocketFile>) {
        (self.socket, self.file)
    }
}

/// Where somebody can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp(address) => write!(out, "http://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_place_is_the_users_own_where_there_is_one() {
        let with = |value: &str| {
            let value = OsString::from(value);
            usual_socket(move |name| (name == "XDG_RUNTIME_DIR").then(|| value.clone()))
        };
        assert_eq!(with("/run/user/7"), Path::new("/run/user/7/doorward/admin.sock"));
        assert_eq!(with("relative"), service_socket());
        assert_eq!(usual_socket(|_| None), Path::new("/run/doorward/admin.sock"));
    }

    /// Fails when others than the owner may connect, or when two gateways have one socket.
    #[test]
    fn the_socket_is_its_owners_alone_and_goes_with_its_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("doorward/admin.sock");
        let bound = bind_usual(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (SOCKET_MODE, FOLDER_MODE));
        assert_eq!(bind_usual(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists());
        // What a process that was killed leaves behind.
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind_usual(&path).unwrap());
    }
}
