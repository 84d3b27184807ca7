//! The sockets of a listener: those that were handed over under its name, else its own.

use super::StartError;
use crate::server::{self, Address, Bound, Inherited};
use crate::settings::{self, Access, Listener};

/// Why a socket that was handed over does not fit.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The listener waits for one.
    #[error(
        "listener `{listener}` waits for a socket with the name `{name}`, and none was handed over \
         (LISTEN_FDNAMES, FileDescriptorName=)"
    )]
    Missing {
        /// The listener.
        listener: String,
        /// The name.
        name: String,
    },
    /// It listens elsewhere than the configuration says.
    #[error(
        "listener `{listener}` has the address {written}, and the socket that was handed over under \
         its name listens at {handed}"
    )]
    Elsewhere {
        /// The listener.
        listener: String,
        /// As the configuration has it.
        written: String,
        /// Where the socket listens.
        handed: Address,
    },
    /// Others than this machine reach it, and the listener is not made for them.
    #[error(
        "listener `{listener}` was handed a socket at {handed}, which is neither loopback nor a Unix \
         socket: it needs `access = \"clients\"`, and `tls` or `plaintext = \"behind-tls\"`"
    )]
    Exposed {
        /// The listener.
        listener: String,
        /// Where the socket listens.
        handed: Address,
    },
    /// Nobody would serve it, and whoever connects would wait for ever.
    #[error("no listener takes the socket that was handed over under the name `{0}`")]
    Unclaimed(String),
}

/// Opens the sockets of a listener, at least one for each core.
///
/// # Errors
/// When it cannot be bound, or when what was handed over does not fit.
pub(super) fn open(
    listener: &Listener,
    cores: usize,
    inherited: &mut Inherited,
) -> Result<Bound, StartError> {
    let name = match &listener.address {
        settings::Address::Inherited(name) => name,
        settings::Address::Tcp(_) | settings::Address::Unix(_) => &listener.name,
    };
    let written = match &listener.address {
        settings::Address::Tcp(address) => Some(Address::Tcp(*address)),
        settings::Address::Unix(path) => Some(Address::Unix(path.clone())),
        settings::Address::Inherited(_) => None,
    };
    let cannot = |source| {
        let (name, address) = (listener.name.clone(), listener.address.clone());
        StartError::Listen { name, address, source }
    };
    let handed = inherited.claim(name, cores).map_err(cannot)?;
    match (handed, written) {
        (Some(bound), written) => {
            fits(listener, written.as_ref(), &bound.address)?;
            Ok(bound)
        }
        (None, Some(address)) => server::bind(&address, cores).map_err(cannot),
        (None, None) => {
            let (listener, name) = (listener.name.clone(), name.clone());
            Err(Unfit::Missing { listener, name }.into())
        }
    }
}

/// Whether a socket that was handed over is what the configuration says.
fn fits(listener: &Listener, written: Option<&Address>, handed: &Address) -> Result<(), Unfit> {
    let name = || listener.name.clone();
    if let Some(written) = written
        && !is_at(written, handed)
    {
        let (written, handed) = (written.to_string(), handed.clone());
        return Err(Unfit::Elsewhere { listener: name(), written, handed });
    }
    // Where the address is written the settings have judged this.
    let is_safe =
        listener.access == Access::Clients && (listener.tls.is_some() || listener.behind_tls);
    match handed.is_local() || is_safe {
        true => Ok(()),
        false => Err(Unfit::Exposed { listener: name(), handed: handed.clone() }),
    }
}

/// Port 0 stands for any.
fn is_at(written: &Address, handed: &Address) -> bool {
    match (written, handed) {
        (Address::Tcp(written), Address::Tcp(handed)) if written.port() == 0 => {
            written.ip() == handed.ip()
        }
        (written, handed) => written == handed,
    }
}

/// # Errors
/// When a socket that was handed over is nobody's.
pub(super) fn none_left(inherited: &Inherited) -> Result<(), Unfit> {
    inherited.names().next().map_or(Ok(()), |name| Err(Unfit::Unclaimed(name.to_owned())))
}
