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
///
/// # Errors
/// What does not fit.
pub(super) fn fits(
    listener: &Listener,
    written: Option<&Address>,
    handed: &Address,
) -> Result<(), Unfit> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::HalfClosed;

    fn listener(access: Access, behind_tls: bool) -> Listener {
        Listener {
            name: "main".to_owned(),
            address: settings::Address::Inherited("main".to_owned()),
            access,
            tls: None,
            behind_tls,
            proxies: None,
            half_closed: HalfClosed::Left,
        }
    }

    #[test]
    fn a_socket_that_others_reach_needs_clients_and_tls() {
        let at = |address: &str| Address::Tcp(address.parse().unwrap());
        for (address, access, behind_tls, is_safe) in [
            ("127.0.0.1:80", Access::Open, false, true),
            ("[::1]:80", Access::Open, false, true),
            ("0.0.0.0:80", Access::Open, true, false),
            ("10.0.0.5:80", Access::Clients, false, false),
            ("10.0.0.5:80", Access::Clients, true, true),
        ] {
            let fit = fits(&listener(access, behind_tls), None, &at(address));
            assert_eq!(fit.is_ok(), is_safe, "{address}");
        }
        let told = fits(&listener(Access::Open, false), None, &at("10.0.0.5:80")).unwrap_err();
        assert!(told.to_string().contains("access = \"clients\""), "{told}");
    }

    #[test]
    fn a_socket_must_be_where_the_configuration_says() {
        let at = |address: &str| Address::Tcp(address.parse().unwrap());
        for (written, handed, fit) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:0", "127.0.0.1:80", true),
            ("127.0.0.1:81", "127.0.0.1:80", false),
            ("0.0.0.0:0", "127.0.0.1:80", false),
        ] {
            assert_eq!(is_at(&at(written), &at(handed)), fit, "{written}, {handed}");
        }
        let unix = |path: &str| Address::Unix(path.into());
        assert!(is_at(&unix("/a"), &unix("/a")) && !is_at(&unix("/a"), &unix("/b")));
    }
}
