//! Listeners as settings tell them. Over a reload one that stays keeps its sockets and its
//! connections, a new one is bound before anything is changed, and one that is gone is closed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::build::{self, BuildError};
use super::core::Core;
use super::{Listening, StartError, clients, sockets};
use crate::clock::Clock;
use crate::secret::{Fingerprint, SecretText};
use crate::server::{
    self, Address, Bound, Connections, Inherited, Listener, Open, Ownership, Socket,
};
use crate::settings::{self, ServerTls, Settings};

/// A listener that is there.
pub(super) struct Opened {
    written: settings::Listener,
    open: Open,
    listener: Listener,
    prints: Prints,
    pub(super) listening: Listening,
}

/// What tells how a listener was from how it is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Prints {
    /// All that TLS is made of.
    tls: Fingerprint,
    /// What lets a connection in, and what is believed of it.
    entry: Fingerprint,
}

/// Listeners as they will be. Nothing has changed yet, but that new addresses are bound; dropped, it
/// lets go of them.
pub(super) struct Planned {
    kept: Vec<Kept>,
    new: Vec<New>,
    /// Those that are there and stay, by their place among all.
    stay: Vec<usize>,
}

struct Kept {
    /// Its place among those that are there.
    place: usize,
    written: settings::Listener,
    listener: Listener,
    prints: Prints,
    connections: Connections,
}

struct New {
    opened: Opened,
    /// At least one for each core, which take them in turn.
    sockets: Vec<Socket>,
    bound: BoundAddress,
}

/// Cleans up after an address that is not used in the end.
struct BoundAddress(Option<Listening>);

impl BoundAddress {
    /// It is used.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for BoundAddress {
    fn drop(&mut self) {
        if let Some(listening) = &self.0 {
            listening.clean_up();
        }
    }
}

/// What listeners are planned with.
pub(super) struct Planning<'a> {
    /// Those that are there.
    pub(super) before: &'a [Opened],
    pub(super) cores: &'a [&'a Core],
    pub(super) clock: &'a Clock,
    /// Cancelled when no listener takes connections any more.
    pub(super) stopping: &'a CancellationToken,
    /// Sockets that were handed over and that no listener has taken.
    pub(super) inherited: &'a mut Inherited,
}

/// Plans the listeners of a configuration, for those that are there. Blocks on the file system.
///
/// # Errors
/// When one cannot be made: what was bound for the others is let go.
pub(super) fn plan(settings: &Settings, planning: Planning<'_>) -> Result<Planned, StartError> {
    let Planning { before, cores, clock, stopping, inherited } = planning;
    let mut planned = Planned { kept: Vec::new(), new: Vec::new(), stay: Vec::new() };
    for written in &settings.listeners {
        let prints = Prints::of(written)?;
        let place = place(written, settings, before, &planned.stay);
        let known = place.and_then(|place| Some((place, before.get(place)?)));
        let tls = match known.filter(|(_, known)| known.prints.tls == prints.tls) {
            Some((_, known)) => known.listener.tls.clone(),
            None => {
                let tls = written.tls.as_ref();
                let tls = tls.map(|tls| server::tls_server(build::listener_tls(tls, clock)));
                tls.transpose().map_err(BuildError::from)?
            }
        };
        let listener = listener(written, settings, tls, cores.len());
        let written = written.clone();
        match known {
            Some((place, known)) => {
                if known.listening.ownership == Ownership::Inherited {
                    sockets::fits(&written, None, &known.listening.address)?;
                }
                let mut listener = listener;
                listener.pages = pages(&known.listening.address, &listener, &written);
                let is_as_before = known.prints.entry == prints.entry;
                let connections = if is_as_before { Connections::Stay } else { Connections::End };
                planned.stay.push(place);
                planned.kept.push(Kept { place, written, listener, prints, connections });
            }
            None => {
                let bound = sockets::open(&written, cores.len(), inherited)?;
                let new = register(written, listener, prints, bound, cores, stopping)?;
                planned.new.push(new);
            }
        }
    }
    Ok(planned)
}

/// Which of those that are there a listener goes on as: the one of its name, if that has its address,
/// or else one with its address that nobody else goes on as.
fn place(
    written: &settings::Listener,
    settings: &Settings,
    before: &[Opened],
    stay: &[usize],
) -> Option<usize> {
    let is_at = |known: &Opened, other: &settings::Listener| known.written.address == other.address;
    let goes_on = |known: &Opened| {
        let mut all = settings.listeners.iter();
        all.any(|other| other.name == known.written.name && is_at(known, other))
    };
    let named = before.iter().position(|known| known.written.name == written.name);
    let named = named.filter(|place| before.get(*place).is_some_and(|one| is_at(one, written)));
    let mut others = before.iter().enumerate();
    named.or_else(|| {
        let other = others.find(|(place, known)| {
            is_at(known, written) && !goes_on(known) && !stay.contains(place)
        });
        other.map(|(place, _)| place)
    })
}

fn listener(
    written: &settings::Listener,
    settings: &Settings,
    tls: Option<tokio_rustls::TlsAcceptor>,
    cores: usize,
) -> Listener {
    Listener {
        name: Arc::from(written.name.as_str()),
        tls,
        entry: clients::entry(written.access),
        ways: clients::ways(written, &settings.clients),
        // Known when it is known where it listens.
        pages: None,
        proxies: written.proxies.as_ref().map(|proxies| Arc::new(build::senders(proxies))),
        half_closed: build::half_closed(written.half_closed),
        limits: build::server_limits(settings, cores),
    }
}

/// How the origin of a listener's own pages begins.
fn pages(at: &Address, listener: &Listener, written: &settings::Listener) -> Option<&'static str> {
    match (at, listener.tls.is_some() || written.behind_tls) {
        (_, true) => Some("https"),
        (Address::Tcp(_), false) => Some("http"),
        // Only something in front makes pages of what comes by a Unix socket.
        (Address::Unix(_), false) => None,
    }
}

fn register(
    written: settings::Listener,
    mut listener: Listener,
    prints: Prints,
    bound: Bound,
    cores: &[&Core],
    stopping: &CancellationToken,
) -> Result<New, StartError> {
    let Bound { address, sockets, ownership } = bound;
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    let listening = Listening { name: written.name.clone(), address, scheme, ownership };
    listener.pages = pages(&listening.address, &listener, &written);
    let guard = BoundAddress(Some(listening.clone()));
    let registered = sockets.into_iter().zip(cores.iter().cycle());
    let registered = registered.map(|(socket, core)| core.register(socket));
    let sockets = registered.collect::<io::Result<_>>().map_err(|source| {
        let (name, address) = (written.name.clone(), written.address.clone());
        StartError::Listen { name, address, source }
    })?;
    let open = Open::new(listener.clone(), stopping);
    let opened = Opened { written, open, listener, prints, listening };
    Ok(New { opened, sockets, bound: guard })
}

impl Planned {
    /// Opens what is new, sets what stays, and closes what is gone.
    pub(super) fn carry_out(self, before: Vec<Opened>, cores: &[&Core]) -> Vec<Opened> {
        let Self { mut kept, new, .. } = self;
        let mut opened = Vec::new();
        for New { opened: one, sockets, bound } in new {
            bound.keep();
            for (socket, core) in sockets.into_iter().zip(cores.iter().cycle()) {
                core.serve(socket, &one.open);
            }
            opened.push(one);
        }
        for (place, mut one) in before.into_iter().enumerate() {
            let Some(found) = kept.iter().position(|kept| kept.place == place) else {
                one.open.close();
                one.listening.clean_up();
                continue;
            };
            let Kept { written, listener, prints, connections, .. } = kept.swap_remove(found);
            one.open.set(listener.clone(), connections);
            one.listening.name.clone_from(&written.name);
            one.listening.scheme = if listener.tls.is_some() { "https" } else { "http" };
            (one.written, one.listener, one.prints) = (written, listener, prints);
            opened.push(one);
        }
        // In the order of their names, as settings have them.
        opened.sort_by(|one, other| one.listening.name.cmp(&other.listening.name));
        opened
    }
}

impl Prints {
    fn of(written: &settings::Listener) -> Result<Self, BuildError> {
        let settings::Listener { tls, access, behind_tls, .. } = written;
        let clients = tls.as_ref().and_then(|tls| tls.clients.as_ref());
        let asked_for = tls.iter().flat_map(files_of).skip(2);
        let entry = format!("{:?} {clients:?} {access:?} {behind_tls}", tls.is_some());
        Ok(Self {
            tls: print(format!("{tls:?}"), tls.iter().flat_map(files_of))?,
            entry: print(entry, asked_for)?,
        })
    }
}

/// The files of a listener's certificate and key, and after them those by which clients'
/// certificates are verified.
pub(super) fn files_of(tls: &ServerTls) -> Vec<&Path> {
    let own = [tls.certificate.as_path(), tls.key.as_path()];
    let clients = tls.clients.iter();
    let clients = clients.flat_map(|one| std::iter::once(&one.ca_file).chain(&one.crl_files));
    own.into_iter().chain(clients.map(|file| file.as_path())).collect()
}

fn print<'f>(
    text: String,
    files: impl Iterator<Item = &'f Path>,
) -> Result<Fingerprint, BuildError> {
    let mut texts = vec![SecretText::from(text)];
    for file in files {
        let content = std::fs::read(file).map_err(|error| {
            BuildError::Inconsistent(format!("`{}` cannot be read: {error}", file.display()))
        })?;
        texts.push(SecretText::from(data_encoding::HEXLOWER.encode(&content)));
    }
    Ok(Fingerprint::of(&texts))
}
