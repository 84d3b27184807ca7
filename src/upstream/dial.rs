//! From an upstream's name to a TCP connection: which of its addresses are tried, in which order and
//! how far apart (RFC 8305), and what becomes of those that fail.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::addresses::{Endpoint, Lease, Preference, order};
use super::error::{Broken, ConnectError, with_causes};
use super::health::{Admission, Circuit, Opened, Tolerance};
use super::prohibited::{Leads, Network};
use super::resolve::{Endpoints, Name, Resolver};
use crate::clock::Clock;
use crate::telemetry::{Event, ReachChange, Reachability, WeakReporter};

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// So many connections of a core are made before one that is idle is used again, where there are as
/// many addresses: one request at a time would else only ever see one of them.
const SPREAD_MAX: usize = 4;

/// What an upstream's host is, and how its addresses are treated.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where to connect to, whatever the host is; nothing: to the host's addresses.
    pub addresses: Vec<SocketAddr>,
    /// Who knows the host's addresses.
    pub resolver: Resolver,
    /// How long they are taken for new.
    pub resolve_every: Duration,
    /// What the host's name may lead to, although no name should.
    pub allowed: Vec<Network>,
    /// When one address is left out.
    pub ejection: Tolerance,
    /// When the upstream as a whole is not tried any more.
    pub circuit: Tolerance,
}

/// Who hears of what happens to an upstream, and by which time.
#[derive(Clone, Debug)]
pub struct Observer {
    /// The upstream's name in the configuration.
    pub upstream: Arc<str>,
    /// The clock.
    pub clock: Clock,
    /// Where events are reported.
    pub reporter: Option<WeakReporter>,
}

/// Makes the connections to one upstream. Shared by all cores and the control side.
#[derive(Debug)]
pub struct Dialler {
    pub(super) source: Source,
    ejection: Tolerance,
    circuit: Circuit,
    pub(super) observer: Observer,
}

/// Where the addresses come from.
#[derive(Debug)]
pub(super) enum Source {
    Listed(Endpoints),
    Named(Arc<Name>),
}

/// One connection on its way.
pub(super) struct Attempt<'d> {
    dialler: &'d Dialler,
    admission: Option<Admission>,
    deadline: Instant,
    /// Where idle connections lead.
    idle: Vec<Arc<Endpoint>>,
    /// The address that has let it in.
    reached: OnceLock<Arc<Endpoint>>,
}

impl Observer {
    pub(super) fn report(&self, change: ReachChange) {
        if let Some(reporter) = &self.reporter {
            let upstream = Arc::clone(&self.upstream);
            reporter.report(Event::Reach(Reachability { upstream, change }));
        }
    }
}

impl Dialler {
    /// Makes the connections to where `reach` says.
    pub fn new(reach: Reach, observer: Observer) -> Self {
        let Reach { host, port, addresses, resolver, resolve_every, allowed, ejection, circuit } =
            reach;
        let literal = host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port));
        let listed = match addresses.is_empty() {
            true => literal.into_iter().collect(),
            false => addresses,
        };
        let source = match listed.is_empty() {
            false => {
                let endpoints = listed.into_iter().map(|address| Arc::new(Endpoint::new(address)));
                Source::Listed(endpoints.collect())
            }
            true => {
                let leads = Leads::new(&host, allowed);
                let observer = observer.clone();
                let name = Name::new((host, port), resolver, resolve_every, leads, observer);
                Source::Named(Arc::new(name))
            }
        };
        Self { source, ejection, circuit: Circuit::new(circuit), observer }
    }

    /// Makes connections to a host by the machine's resolver; tells nobody, and tries again
    /// whatever fails.
    pub fn to(host: &str, port: u16, allowed: Vec<Network>) -> Self {
        let reach = Reach {
            host: host.to_owned(),
            port,
            addresses: Vec::new(),
            resolver: Resolver::System,
            resolve_every: Duration::from_secs(30),
            allowed,
            ejection: Tolerance::ENDLESS,
            circuit: Tolerance::ENDLESS,
        };
        let observer =
            Observer { upstream: Arc::from(host), clock: Clock::system(), reporter: None };
        Self::new(reach, observer)
    }

    /// For how long the circuit stays open; nothing when a connection may be tried.
    pub fn open_for(&self) -> Option<Duration> {
        self.circuit.open_for(self.observer.clock.now())
    }

    /// How many addresses are known, and how many of them are left out.
    pub fn addresses(&self) -> (usize, usize) {
        let now = self.observer.clock.now();
        let endpoints = match &self.source {
            Source::Listed(endpoints) => Arc::clone(endpoints),
            Source::Named(name) => name.known(),
        };
        let is_out = |endpoint: &&Arc<Endpoint>| endpoint.out_until(now).is_some();
        (endpoints.len(), endpoints.iter().filter(is_out).count())
    }

    /// The clock's time, in milliseconds.
    pub(super) fn milliseconds(&self) -> u64 {
        self.observer.clock.now().milliseconds()
    }

    /// Has the name asked for again when its time has come, although idle connections may do.
    pub(super) fn look_after(&self) {
        if let Source::Named(name) = &self.source {
            name.ask_when_due();
        }
    }

    /// How many connections a core makes before it uses an idle one again.
    pub(super) fn spread(&self) -> usize {
        let peers = match &self.source {
            Source::Listed(endpoints) => endpoints.len(),
            Source::Named(name) => name.peers(),
        };
        peers.min(SPREAD_MAX)
    }

    /// Begins a connection that has so much time, if the circuit lets it, and that leads elsewhere
    /// than the idle ones, where it can.
    ///
    /// # Errors
    /// When the circuit is open.
    pub(super) fn attempt(
        &self,
        time: Duration,
        idle: Vec<Arc<Endpoint>>,
    ) -> Result<Attempt<'_>, ConnectError> {
        let admission = match self.circuit.admit(self.observer.clock.now()) {
            Admission::Open(retry_after) => return Err(ConnectError::CircuitOpen { retry_after }),
            admission => Some(admission),
        };
        let deadline = Instant::now() + time;
        Ok(Attempt { dialler: self, admission, deadline, idle, reached: OnceLock::new() })
    }

    /// An address has answered a request.
    pub(super) fn answered(&self, endpoint: &Endpoint) {
        if endpoint.health().works() {
            self.observer.report(ReachChange::AddressBack { address: endpoint.address });
        }
    }

    /// A new connection to an address broke before there was an answer.
    pub(super) fn broke_off(&self, endpoint: &Endpoint, error: &Broken) {
        let is_its_fault = match error {
            Broken::Closed | Broken::Connection(_) | Broken::Unsent(_) | Broken::Stalled => true,
            Broken::Hyper(error) => error.is_closed() || error.is_incomplete_message(),
            Broken::Head(_) | Broken::Chunk(_) | Broken::Body(_) => false,
        };
        if is_its_fault {
            self.left_out(endpoint, || with_causes(error));
        }
    }

    /// One more failure of an address; it may be left out for it.
    fn left_out(&self, endpoint: &Endpoint, cause: impl FnOnce() -> String) {
        let now = self.observer.clock.now();
        let pause = endpoint.health().failed(&self.ejection, now, random() as u32);
        if let Some(pause) = pause {
            let (address, cause) = (endpoint.address, cause());
            self.observer.report(ReachChange::AddressLeftOut { address, pause, cause });
        }
    }

    async fn endpoints(&self) -> Result<Endpoints, ConnectError> {
        match &self.source {
            Source::Listed(endpoints) => Ok(Arc::clone(endpoints)),
            Source::Named(name) => name.endpoints().await,
        }
    }

    fn preference(&self) -> Preference {
        match self.source {
            Source::Listed(_) => Preference::None,
            Source::Named(_) => Preference::Ipv6,
        }
    }
}

impl Attempt<'_> {
    /// Waits for what the connection is made by, no longer than it may take.
    ///
    /// # Errors
    /// Its own, or that it took too long.
    pub(super) async fn within<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        timeout_at(self.deadline, connecting).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Takes note of how it has ended. One that is dropped instead was given up.
    pub(super) fn end<T>(mut self, ended: Result<T, ConnectError>) -> Result<T, ConnectError> {
        let dialler = self.dialler;
        let (circuit, observer) = (&dialler.circuit, &dialler.observer);
        let now = observer.clock.now();
        match &ended {
            Ok(_) => {
                self.admission = None;
                if let Some(after) = circuit.connected(now) {
                    observer.report(ReachChange::CircuitClosed { after });
                }
            }
            Err(error) if !error.is_of_the_upstream() => {}
            Err(error) => {
                if let Some(endpoint) = self.reached.get() {
                    dialler.left_out(endpoint, || with_causes(error));
                }
                let admission = self.admission.take().unwrap_or(Admission::Closed);
                let opened = circuit.failed(admission, now, random() as u32);
                if let Some(Opened { failures, pause }) = opened {
                    let cause = with_causes(error);
                    observer.report(ReachChange::CircuitOpened { failures, pause, cause });
                }
            }
        }
        ended
    }

    /// The address that has let it in.
    pub(super) fn reached(&self) -> Option<&Arc<Endpoint>> {
        self.reached.get()
    }

    /// A TCP connection to one of the upstream's addresses. Each has a quarter of a second before
    /// the next one is tried beside it; the first to let us in is taken, and the others are closed.
    ///
    /// # Errors
    /// What the last one said, when none lets us in.
    pub(super) async fn dial(&self) -> Result<(TcpStream, Lease), ConnectError> {
        let dialler = self.dialler;
        let known = timeout_at(self.deadline, dialler.endpoints()).await;
        let endpoints = known.unwrap_or(Err(ConnectError::DnsTimeout))?;
        let now = dialler.observer.clock.now();
        let tried = order(&endpoints, &self.idle, dialler.preference(), now, random());
        let dialled = self.race(tried).await;
        match &dialled {
            Ok((_, lease)) => _ = self.reached.set(Arc::clone(lease.endpoint())),
            Err(_) => {
                if let Source::Named(name) = &dialler.source {
                    name.failed();
                }
            }
        }
        dialled
    }

    async fn race(&self, tried: Vec<Arc<Endpoint>>) -> Result<(TcpStream, Lease), ConnectError> {
        let dialler = self.dialler;
        let mut next = tried.into_iter();
        let mut running: Vec<(Instant, Arc<Endpoint>)> = Vec::new();
        // Dropped, it closes what is still under way.
        let mut racers = JoinSet::new();
        let mut last = ConnectError::Refused(io::ErrorKind::AddrNotAvailable.into());
        let mut turn = Instant::now();
        loop {
            if turn <= Instant::now()
                && let Some(endpoint) = next.next()
            {
                turn = Instant::now() + ATTEMPT_DELAY;
                running.push((Instant::now(), Arc::clone(&endpoint)));
                racers.spawn(connect(Lease::of(&endpoint)));
            }
            if racers.is_empty() {
                return Err(last);
            }
            tokio::select! {
                joined = racers.join_next() => match joined {
                    Some(Ok((lease, Ok(stream)))) => {
                        self.overtaken(&running, lease.endpoint());
                        return Ok((stream, lease));
                    }
                    Some(Ok((lease, Err(error)))) => {
                        running.retain(|(_, endpoint)| !Arc::ptr_eq(endpoint, lease.endpoint()));
                        if is_of_the_other_side(&error) {
                            dialler.left_out(lease.endpoint(), || error.to_string());
                        }
                        // What is lacking here says nothing of any address.
                        if !matches!(last, ConnectError::Exhausted(_)) {
                            last = ConnectError::at(lease.endpoint().address, error);
                        }
                        turn = Instant::now();
                    }
                    // The runtime ends.
                    Some(Err(_)) | None => {}
                },
                () = sleep_until(turn), if next.len() > 0 => {}
                () = sleep_until(self.deadline) => {
                    for (_, endpoint) in &running {
                        dialler.left_out(endpoint, || ConnectError::Timeout.to_string());
                    }
                    return Err(ConnectError::Timeout);
                }
            }
        }
    }

    /// An address that was overtaken by one that began a turn later hangs, or is too far away.
    fn overtaken(&self, running: &[(Instant, Arc<Endpoint>)], winner: &Arc<Endpoint>) {
        let began = running.iter().find(|(_, endpoint)| Arc::ptr_eq(endpoint, winner));
        let Some((began, _)) = began else { return };
        for (before, endpoint) in running {
            if began.saturating_duration_since(*before) >= ATTEMPT_DELAY {
                let cause = || "another address was reached sooner".to_owned();
                self.dialler.left_out(endpoint, cause);
            }
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission {
            self.dialler.circuit.given_up(admission);
        }
    }
}

async fn connect(lease: Lease) -> (Lease, io::Result<TcpStream>) {
    let stream = TcpStream::connect(lease.endpoint().address).await;
    // Requests are small and answered one by one: waiting for more to send only adds latency.
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    (lease, stream)
}

/// Whether the other side, or the way there, is to blame: not that this machine has no descriptor or
/// no port left.
pub(super) fn is_of_the_other_side(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        NotFound, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | NotFound
            | TimedOut
    )
}

/// A number that nobody foresees. Without randomness from the system it is always the same, which
/// spreads less and is no fault worth a failure.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
