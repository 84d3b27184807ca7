//! Connections are made to whichever address lets us in, and what fails is remembered. The addresses
//! are loopback's; those that hang have a queue that is full.

use std::net::{Ipv4Addr, TcpListener};
use std::time::SystemTime;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::super::resolve::tests::{Script, Told};
use super::*;
use crate::upstream::Names;

/// An address that neither takes nor refuses connections.
struct Hanging {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Hanging {
    fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = || {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let listener = socket()?;
        listener.bind(&SockAddr::from(address))?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().unwrap();
        let mut sockets = vec![listener];
        // Nobody accepts: after a few the queue is full.
        for _ in 0..16 {
            let filling = socket()?;
            _ = filling.connect(&SockAddr::from(address));
            sockets.push(filling);
        }
        Ok(Self { address, _sockets: sockets })
    }
}

/// A port at which one address of this machine hangs and another one listens.
fn hanging_and_good(hanging: &str, good: &str) -> (Hanging, TcpListener) {
    loop {
        let listener = TcpListener::bind((good.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if let Ok(hanging) = Hanging::at(SocketAddr::new(hanging.parse().unwrap(), port)) {
            return (hanging, listener);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// One failure is enough.
const STRICT: Tolerance = Tolerance {
    failures_max: 1,
    pause: Duration::from_secs(60),
    pause_max: SECOND.saturating_mul(60),
};

fn reach(host: &str, port: u16, addresses: Vec<SocketAddr>) -> Reach {
    Reach {
        host: host.to_owned(),
        port,
        addresses,
        resolver: Resolver::System,
        resolve_every: 30 * SECOND,
        allowed: Vec::new(),
        ejection: STRICT,
        circuit: Tolerance::ENDLESS,
    }
}

fn named(script: &Arc<Script>, port: u16) -> Reach {
    let resolver = Resolver::Given(Arc::clone(script) as Arc<dyn Names>);
    Reach { resolver, ..reach("localhost", port, Vec::new()) }
}

fn dialler(reach: Reach, told: &Told, clock: &Clock) -> Dialler {
    Dialler::new(reach, told.observer(clock))
}

fn clock() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH)
}

async fn dialled(dialler: &Dialler, time: Duration) -> Result<(TcpStream, Lease), ConnectError> {
    let attempt = dialler.attempt(time, Vec::new())?;
    let dialled = attempt.within(attempt.dial()).await;
    attempt.end(dialled)
}

fn endpoints(dialler: &Dialler) -> Endpoints {
    match &dialler.source {
        Source::Listed(endpoints) => Arc::clone(endpoints),
        Source::Named(_) => panic!("the addresses are resolved"),
    }
}

/// Fails when an address that hangs holds every connection up to the end of its time, or when the
/// other one is not waited with.
#[tokio::test]
async fn beside_an_address_that_hangs_the_next_one_is_tried_after_a_quarter_of_a_second() {
    let (hanging, good) = hanging_and_good("::1", "127.0.0.1");
    let script = Script::saying(&["127.0.0.1", "::1"]);
    let (clock, told) = (clock(), Told::listen());
    let dialler = dialler(named(&script, hanging.address.port()), &told, &clock);
    let began = std::time::Instant::now();
    let (stream, lease) = dialled(&dialler, 20 * SECOND).await.unwrap();
    assert!(began.elapsed() >= ATTEMPT_DELAY, "{:?}", began.elapsed());
    assert!(began.elapsed() < 15 * SECOND, "{:?}", began.elapsed());
    assert_eq!(stream.peer_addr().unwrap(), good.local_addr().unwrap());
    assert_eq!(lease.endpoint().address, good.local_addr().unwrap());
    // It was overtaken, which is as good as a failure: the next connection does not wait for it.
    let Source::Named(name) = &dialler.source else { panic!() };
    let all = name.endpoints().await.unwrap();
    let slow = all.iter().find(|endpoint| endpoint.address.is_ipv6()).unwrap();
    assert!(slow.health().out_until(clock.now()).is_some());
    assert!(lease.endpoint().health().out_until(clock.now()).is_none());
    let ReachChange::AddressLeftOut { address, cause, .. } = &told.all().await[0] else { panic!() };
    assert_eq!(*address, hanging.address);
    assert_eq!(cause, "another address was reached sooner");
}

/// Fails when an attempt that has lost goes on.
#[tokio::test]
async fn what_has_lost_is_closed() {
    let (hanging, good) = hanging_and_good("127.0.0.2", "127.0.0.1");
    let addresses = vec![hanging.address, good.local_addr().unwrap()];
    let (clock, told) = (clock(), Told::listen());
    let dialler = dialler(reach("api.example", 1, addresses), &told, &clock);
    let all = endpoints(&dialler);
    // The good one is busier: it comes second.
    let busy = Lease::of(&all[1]);
    let (_stream, lease) = dialled(&dialler, 20 * SECOND).await.unwrap();
    assert!(Arc::ptr_eq(lease.endpoint(), &all[1]));
    drop((busy, lease));
    let closed = async {
        while Arc::strong_count(&all[0]) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(20 * SECOND, closed).await.unwrap();
}

/// Fails when each address that refuses costs a quarter of a second: thirty would take longer than
/// the connection may.
#[tokio::test]
async fn after_an_address_that_refuses_the_next_one_is_tried_at_once() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = good.local_addr().unwrap().port();
    let refusing = (2..=60).map(|last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port)));
    let addresses = refusing.chain([good.local_addr().unwrap()]).collect();
    let (clock, told) = (clock(), Told::listen());
    let dialler = dialler(reach("api.example", 1, addresses), &told, &clock);
    let all = endpoints(&dialler);
    let _busy = Lease::of(all.last().unwrap());
    let (stream, _lease) = dialled(&dialler, 10 * SECOND).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good.local_addr().unwrap());
    let out = all.iter().filter(|endpoint| endpoint.health().out_until(clock.now()).is_some());
    assert_eq!(out.count(), 59);
}

/// Fails when a connection takes longer than it may, or when that counts for nothing.
#[tokio::test]
async fn where_all_addresses_hang_the_time_for_a_connection_is_the_end() {
    let hanging = [
        Hanging::at("127.0.0.1:0".parse().unwrap()).unwrap(),
        Hanging::at("127.0.0.1:0".parse().unwrap()).unwrap(),
    ];
    let addresses = hanging.iter().map(|hanging| hanging.address).collect();
    let (clock, told) = (clock(), Told::listen());
    let circuit = STRICT;
    let reach = Reach { circuit, ..reach("api.example", 1, addresses) };
    let dialler = dialler(reach, &told, &clock);
    let error = dialled(&dialler, 2 * ATTEMPT_DELAY).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout), "{error:?}");
    for endpoint in endpoints(&dialler).iter() {
        assert!(endpoint.health().out_until(clock.now()).is_some());
    }
    let error = dialled(&dialler, SECOND).await.unwrap_err();
    assert!(matches!(error, ConnectError::CircuitOpen { .. }), "{error:?}");
}

/// Fails when the resolver's silence is told as the upstream's.
#[tokio::test]
async fn a_resolver_that_says_nothing_is_told_from_an_upstream_that_does_not() {
    let script = Script::saying(&["127.0.0.1"]);
    script.is_silent();
    let told = Told::listen();
    let dialler = dialler(named(&script, 1), &told, &clock());
    let error = dialled(&dialler, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ConnectError::DnsTimeout), "{error:?}");
}

/// Fails when somebody who leaves keeps the circuit from ever closing.
#[tokio::test]
async fn a_trial_that_is_given_up_leaves_room_for_the_next_one() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let (clock, told) = (clock(), Told::listen());
    let reach = Reach {
        circuit: STRICT,
        ..reach("127.0.0.1", good.local_addr().unwrap().port(), Vec::new())
    };
    let dialler = dialler(reach, &told, &clock);
    let attempt = dialler.attempt(SECOND, Vec::new()).unwrap();
    _ = attempt.end(Err::<(), _>(ConnectError::Timeout));
    assert!(matches!(dialler.attempt(SECOND, Vec::new()), Err(ConnectError::CircuitOpen { .. })));
    clock.advance(60 * SECOND);
    let trial = dialler.attempt(SECOND, Vec::new()).unwrap();
    assert!(matches!(dialler.attempt(SECOND, Vec::new()), Err(ConnectError::CircuitOpen { .. })));
    drop(trial);
    // What tells of ourselves tells nothing of the upstream.
    let trial = dialler.attempt(SECOND, Vec::new()).unwrap();
    _ = trial.end(Err::<(), _>(ConnectError::Prohibited(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    assert_eq!(dialler.open_for(), None);
    dialled(&dialler, 20 * SECOND).await.unwrap();
    let told = told.all().await;
    assert!(matches!(told[0], ReachChange::CircuitOpened { failures: 1, .. }), "{told:?}");
    assert_eq!(told[1..], [ReachChange::CircuitClosed { after: 60 * SECOND }]);
}

/// Fails when an upstream is blamed because this machine has no descriptor left to ask for its name
/// with.
#[tokio::test]
async fn a_want_of_descriptors_opens_no_circuit() {
    let script = Script::saying(&[]);
    script.lacks_descriptors();
    let (clock, told) = (clock(), Told::listen());
    let reach = Reach { circuit: STRICT, ..named(&script, 1) };
    let dialler = dialler(reach, &told, &clock);
    for _ in 0..3 {
        let error = dialled(&dialler, SECOND).await.unwrap_err();
        assert!(matches!(error, ConnectError::Exhausted(_)), "{error:?}");
        assert_eq!(dialler.open_for(), None);
    }
}
