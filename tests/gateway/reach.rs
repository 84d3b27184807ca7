//! Upstreams with several addresses, and upstreams that cannot be reached: who is asked, who is left
//! alone and for how long, and what clients are told. The upstreams are puppets at addresses of
//! loopback.

use std::net::SocketAddr;
use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::{Event, ReachChange};
use tokio::net::TcpListener;

use crate::client::Answer;
use crate::harness::{Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply, session_calls};

/// What every upstream here answers; the next request needs a new connection.
const ONCE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// No address of this machine that a test listens at.
pub fn closed() -> SocketAddr {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    closed.local_addr().unwrap()
}

pub async fn puppet(address: &str, script: fn(&str) -> Reply) -> Puppet {
    let listener = TcpListener::bind(address).await.unwrap();
    Puppet::behind(listener, move |request| {
        session_calls(request).unwrap_or_else(|| script(request))
    })
}

/// An upstream by its name, at these addresses.
fn setup(addresses: &[SocketAddr], lines: &str) -> Setup {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some("http://api.example.test".to_owned());
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    setup.upstream = format!("addresses = {addresses:?}\n{lines}");
    setup
}

pub async fn read(scene: &Scene) -> Answer {
    within(scene.call("GET", "/v3/content_types").send()).await
}

pub fn told(scene: &Scene) -> Vec<ReachChange> {
    let events = scene.events().into_iter();
    let changes = events.filter_map(|event| match event {
        Event::Reach(about) => Some(about.change),
        _ => None,
    });
    changes.collect()
}

fn logins(scene: &Scene) -> usize {
    scene.events().iter().filter(|event| matches!(event, Event::Login(_))).count()
}

/// Status, code and the error type of `Proxy-Status`.
pub fn problem(answer: &Answer) -> (u16, String, String) {
    let status = answer.one("proxy-status");
    let error = status.split("error=").nth(1).unwrap_or_default();
    let error = error.split(';').next().unwrap_or_default();
    (answer.status.as_u16(), answer.problem(), error.to_owned())
}

fn expected(status: u16, code: &str, error: &str) -> (u16, String, String) {
    (status, code.to_owned(), error.to_owned())
}

/// Fails when one request at a time only ever sees one address, or when an address in the place of
/// the name changes what is asked for.
#[tokio::test]
async fn one_request_after_the_other_sees_every_address() {
    let all = |_: &str| Reply::json("{}");
    let (one, other) = (puppet("127.0.0.1:0", all).await, puppet("127.0.0.2:0", all).await);
    let scene = setup(&[one.address(), other.address()], "").start().await;
    for _ in 0..40 {
        assert_eq!(read(&scene).await.status, 200);
    }
    for puppet in [&one, &other] {
        let calls = puppet.calls();
        assert!(calls.len() >= 15, "{}", calls.len());
        assert!(calls.iter().all(|call| call.contains("host: api.example.test\r\n")));
    }
    scene.stop().await;
}

/// Fails when a request is lost to an address that is down, when each request goes there first, or
/// when an address that is up again is never used again.
#[tokio::test]
async fn an_address_that_is_down_costs_no_request_and_is_used_again_when_it_is_up() {
    let down = closed();
    let good = puppet("127.0.0.2:0", |_| Reply::close(ONCE)).await;
    let scene = setup(&[down, good.address()], "").start().await;
    for _ in 0..30 {
        assert_eq!(read(&scene).await.status, 200);
    }
    assert_eq!(good.calls().len(), 30);
    let left_out = told(&scene);
    let [ReachChange::AddressLeftOut { address, cause, pause }] = left_out.as_slice() else {
        panic!("{left_out:?}")
    };
    assert_eq!(*address, down);
    assert!(cause.contains("refused"), "{cause}");
    assert!((Duration::from_secs(4)..=Duration::from_secs(5)).contains(pause), "{pause:?}");

    let up = puppet(&down.to_string(), |_| Reply::close(ONCE)).await;
    scene.clock.advance(Duration::from_secs(5));
    for _ in 0..60 {
        assert_eq!(read(&scene).await.status, 200);
    }
    assert!(!up.calls().is_empty() && good.calls().len() > 30);
    until("its return is told", || {
        told(&scene).contains(&ReachChange::AddressBack { address: down })
    })
    .await;
    scene.stop().await;
}

/// Fails when what an address may have seen is sent once more, or when one that breaks every
/// connection is asked for ever.
#[tokio::test]
async fn an_address_that_breaks_off_before_its_answer_is_left_out_and_nothing_is_sent_twice() {
    let broken = puppet("127.0.0.1:0", |_| Reply::close("")).await;
    let good = puppet("127.0.0.2:0", |_| Reply::close(ONCE)).await;
    let scene = setup(&[broken.address(), good.address()], "").start().await;
    let mut failed = 0;
    for _ in 0..60 {
        let answer = within(scene.call("POST", "/v3/content_types").body("{}").send()).await;
        match answer.status.as_u16() {
            200 => {}
            502 => {
                assert_eq!(answer.problem(), "upstream_broken");
                failed += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((failed, broken.calls().len(), good.calls().len()), (3, 3, 57));
    scene.stop().await;
}

/// Fails when an upstream is given up because all of its addresses are left out.
#[tokio::test]
async fn where_all_addresses_are_left_out_one_is_tried_all_the_same() {
    let down = [closed(), closed()];
    let lines = "ejection = { failures_max = 1 }\ncircuit = { failures_max = 0 }";
    let scene = setup(&down, lines).start().await;
    for _ in 0..5 {
        let refused = expected(502, "upstream_unreachable", "connection_refused");
        assert_eq!(problem(&read(&scene).await), refused);
        scene.clock.advance(Duration::from_secs(400));
    }
    let up = puppet(&down[0].to_string(), |_| Reply::close(ONCE)).await;
    let also_up = puppet(&down[1].to_string(), |_| Reply::close(ONCE)).await;
    assert_eq!(read(&scene).await.status, 200);
    assert_eq!(up.calls().len() + also_up.calls().len(), 1);
    scene.stop().await;
}

const CIRCUIT: &str = "circuit = { failures_max = 3, pause = \"10s\", pause_max = \"30s\" }";

/// Fails when requests go on trying an upstream that is down, when all of them try it again at once,
/// or when one that is up again stays closed.
#[tokio::test]
async fn an_upstream_that_is_down_is_told_at_once_and_tried_by_one_request_at_a_time() {
    let puppet = puppet("127.0.0.1:0", |_| Reply::close(ONCE)).await;
    let address = puppet.address();
    let scene = setup(&[address], CIRCUIT).start().await;
    assert_eq!(read(&scene).await.status, 200);
    drop(puppet);
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;

    let refused = expected(502, "upstream_unreachable", "connection_refused");
    let open = expected(503, "upstream_circuit_open", "destination_unavailable");
    let mut pauses = vec![10, 20, 30, 30].into_iter();
    for _ in 0..3 {
        assert_eq!(problem(&read(&scene).await), refused);
    }
    for _ in 0..20 {
        let answer = read(&scene).await;
        assert_eq!(problem(&answer), open);
        let wait: u64 = answer.one("retry-after").parse().unwrap();
        assert!((8..=10).contains(&wait), "{wait}");
        assert_eq!(answer.json()["retry_after_seconds"], wait);
    }
    for _ in 0..3 {
        scene.clock.advance(Duration::from_secs(pauses.next().unwrap()));
        assert_eq!(problem(&read(&scene).await), refused);
        assert_eq!(problem(&read(&scene).await), open);
    }
    let up = self::puppet(&address.to_string(), |_| Reply::close(ONCE)).await;
    assert_eq!(problem(&read(&scene).await), open);
    scene.clock.advance(Duration::from_secs(pauses.next().unwrap()));
    for _ in 0..3 {
        assert_eq!(read(&scene).await.status, 200);
    }
    assert_eq!(up.calls().len(), 3);
    until("its end is told", || {
        told(&scene).iter().any(|change| matches!(change, ReachChange::CircuitClosed { .. }))
    })
    .await;
    let told = told(&scene);
    let opened = told.iter().filter(|change| matches!(change, ReachChange::CircuitOpened { .. }));
    assert_eq!(opened.count(), 4);
    scene.stop().await;
}

/// Fails when the login attempts of an account are spent on an upstream that is down, or when the
/// account stays held back for failures that it had no part in.
#[tokio::test]
async fn while_the_circuit_is_open_no_login_is_tried() {
    let down = closed();
    let circuit = "circuit = { failures_max = 2, pause = \"1h\", pause_max = \"2h\" }";
    let scene = setup(&[down], circuit).start().await;
    for _ in 0..2 {
        let refused = expected(502, "upstream_unreachable", "connection_refused");
        assert_eq!(problem(&read(&scene).await), refused);
        scene.clock.advance(Duration::from_secs(400));
    }
    let up = puppet(&down.to_string(), |_| Reply::close(ONCE)).await;
    for _ in 0..20 {
        let answer = read(&scene).await;
        let open = expected(503, "upstream_circuit_open", "destination_unavailable");
        assert_eq!(problem(&answer), open);
        assert!(answer.one("retry-after").parse::<u64>().unwrap() > 2000);
        scene.clock.advance(Duration::from_secs(10));
    }
    until("both logins are told", || logins(&scene) == 2).await;
    assert_eq!(up.requests(), [""; 0]);
    scene.clock.advance(Duration::from_secs(3600));
    assert_eq!(read(&scene).await.status, 200);
    until("the login is told", || logins(&scene) == 3).await;
    scene.stop().await;
}

/// Fails when answers that say that something is wrong are taken for an upstream that is down.
#[tokio::test]
async fn answers_open_no_circuit() {
    let failing = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let puppet = Puppet::logged_in(move |_| Reply::close(failing)).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = "circuit = { failures_max = 1 }\nejection = { failures_max = 1 }".to_owned();
    let scene = setup.start().await;
    for _ in 0..10 {
        let answer = read(&scene).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, ""));
    }
    assert_eq!(puppet.calls().len(), 10);
    assert_eq!(told(&scene), []);
    scene.stop().await;
}

/// Fails when a connection that takes too long is told as an answer that does, or as a refusal.
#[tokio::test]
async fn an_address_that_hangs_is_told_as_a_gateway_timeout_and_nothing_was_sent() {
    let hanging = Hanging::new();
    let scene = setup(&[hanging.address], "connect_timeout = \"300ms\"").start().await;
    let answer = read(&scene).await;
    assert_eq!(problem(&answer), expected(504, "upstream_connect_timeout", "connection_timeout"));
    scene.stop().await;
}

/// An address that neither takes nor refuses connections: the queue of its listener is full.
struct Hanging {
    address: SocketAddr,
    _sockets: Vec<socket2::Socket>,
}

impl Hanging {
    fn new() -> Self {
        let socket = || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let listener = socket();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..16 {
            let filling = socket();
            _ = filling.connect(&address.into());
            sockets.push(filling);
        }
        Self { address, _sockets: sockets }
    }
}
