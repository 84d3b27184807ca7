//! Listening sockets that whoever started this process has handed over (socket activation,
//! sd_listen_fds(3)): they are there before Doorward is, and stay when it is started anew.

use std::env;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;

use listenfd::ListenFd;
use socket2::SockRef;

use super::socket::{Address, Bound, Ownership, Unregistered};

/// What systemd calls a socket that it was told no name for.
const UNNAMED: &str = "unknown";

/// The sockets that were handed over and that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Handed>);

#[derive(Debug)]
struct Handed {
    name: String,
    address: Address,
    socket: Unregistered,
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// It is no listening socket of TCP or Unix.
    #[error("the descriptor `{name}` that was handed over is no listening stream socket")]
    NoListener {
        /// The name in `LISTEN_FDNAMES`.
        name: String,
        /// Why it is none.
        #[source]
        source: io::Error,
    },
    /// As many descriptors as names there must be.
    #[error(
        "LISTEN_FDS hands over {descriptors} descriptors, and LISTEN_FDNAMES has {names} names"
    )]
    Names {
        /// How many descriptors.
        descriptors: usize,
        /// How many names.
        names: usize,
    },
}

impl Inherited {
    /// Takes them out of the environment (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`), so that no
    /// child is handed them again. Must be called before there are other threads.
    ///
    /// # Errors
    /// See [`InheritedError`].
    pub fn take() -> Result<Self, InheritedError> {
        let names = env::var("LISTEN_FDNAMES").ok().filter(|names| !names.is_empty());
        let mut descriptors = ListenFd::from_env();
        let count = descriptors.len();
        let names: Vec<String> = match names {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => vec![UNNAMED.to_owned(); count],
        };
        if count != 0 && names.len() != count {
            return Err(InheritedError::Names { descriptors: count, names: names.len() });
        }
        let handed = names.into_iter().take(count).enumerate();
        let handed = handed.map(|(place, name)| match socket(&mut descriptors, place) {
            Ok((address, socket)) => Ok(Handed { name, address, socket }),
            Err(source) => Err(InheritedError::NoListener { name, source }),
        });
        Ok(Self(handed.collect::<Result<_, _>>()?))
    }

    /// The sockets of this name, for so many cores; nothing where there is none. Cores share a
    /// socket where there are more of them: whichever is idle accepts.
    ///
    /// # Errors
    /// When there are no descriptors left, or when sockets of one name have different addresses.
    pub fn claim(&mut self, name: &str, cores: usize) -> io::Result<Option<Bound>> {
        let (claimed, left) = self.0.drain(..).partition(|handed| handed.name == name);
        self.0 = left;
        let claimed: Vec<Handed> = claimed;
        let Some(address) = claimed.first().map(|handed| handed.address.clone()) else {
            return Ok(None);
        };
        if claimed.iter().any(|handed| handed.address != address) {
            let message = format!("sockets with different addresses have the name `{name}`");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut sockets = Vec::new();
        // Each socket has a core, and each core a socket.
        for handed in claimed.iter().cycle().take(cores.max(claimed.len())) {
            sockets.push(handed.socket.try_clone()?);
        }
        Ok(Some(Bound { address, sockets, ownership: Ownership::Inherited }))
    }

    /// The names of those that are left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|handed| handed.name.as_str())
    }
}

fn socket(descriptors: &mut ListenFd, place: usize) -> io::Result<(Address, Unregistered)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    // A descriptor that is no TCP socket is left in its place.
    if let Ok(socket) = descriptors.take_tcp_listener(place) {
        let socket = socket.ok_or_else(gone)?;
        listens(&SockRef::from(&socket))?;
        return Ok((Address::Tcp(socket.local_addr()?), Unregistered::Tcp(socket)));
    }
    let socket = descriptors.take_unix_listener(place)?.ok_or_else(gone)?;
    listens(&SockRef::from(&socket))?;
    Ok((unix_address(&socket)?, Unregistered::Unix(socket)))
}

/// Neither a connection (`Accept=yes` of a socket unit) nor a socket that nobody can connect to.
fn listens(socket: &SockRef<'_>) -> io::Result<()> {
    if !socket.is_listener()? {
        let message = "it does not listen (a socket unit needs Accept=no)";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    socket.set_nonblocking(true)
}

fn unix_address(socket: &StdUnixListener) -> io::Result<Address> {
    let address = socket.local_addr()?;
    let path = address.as_pathname().map(std::path::Path::to_owned);
    // One in the abstract namespace has no path to be shown.
    Ok(Address::Unix(path.unwrap_or_else(|| format!("{address:?}").into())))
}
