//! Upstreams by their names: names that change, that nobody can resolve, and that lead where they
//! must not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward::app::Resolver;
use doorward::emulator::Vendor;
use doorward::telemetry::ReachChange;
use doorward::upstream::{Asked, Names};
use tokio::net::TcpListener;

use crate::harness::{Setup, until};
use crate::puppet::{Puppet, Reply};
use crate::reach::{problem, puppet, read, told};

/// Says what a test wants.
#[derive(Debug, Default)]
struct Script {
    addresses: Mutex<Option<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Script {
    fn says(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        *self.addresses.lock().unwrap() = Some(addresses.collect());
    }

    fn fails(&self) {
        *self.addresses.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Names for Script {
    fn addresses_of<'n>(&'n self, host: &'n str) -> Asked<'n> {
        assert_eq!(host, "api.example.test");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.addresses.lock().unwrap().clone();
        Box::pin(async { answer.ok_or_else(|| io::Error::other("no name server")) })
    }
}

fn setup(port: u16, lines: &str) -> (Setup, Arc<Script>) {
    let script = Arc::new(Script::default());
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("http://api.example.test:{port}"));
    setup.upstream = format!("danger_plaintext_login = true\n{lines}");
    setup.resolver = Resolver::Given(Arc::clone(&script) as Arc<dyn Names>);
    (setup, script)
}

const LOOPBACK: &str = "allowed_networks = [\"127.0.0.0/8\", \"::1\"]";

/// Two puppets at the same port.
async fn pair(one: &str, other: &str) -> (Puppet, Puppet) {
    loop {
        let first = TcpListener::bind((one, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let Ok(second) = TcpListener::bind((other, port)).await else { continue };
        drop((first, second));
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port).to_string();
        let all = |_: &str| Reply::json("{}");
        return (puppet(&at(one), all).await, puppet(&at(other), all).await);
    }
}

/// Fails when a name is asked for with each connection, or when connections that are idle keep an
/// upstream where its name does not lead any more.
#[tokio::test]
async fn a_name_that_moves_is_followed_although_connections_to_the_old_address_are_good() {
    let (old, new) = pair("127.0.0.1", "127.0.0.2").await;
    let (setup, script) = setup(old.address().port(), LOOPBACK);
    script.says(&["127.0.0.1"]);
    let scene = setup.start().await;
    for _ in 0..20 {
        assert_eq!(read(&scene).await.status, 200);
    }
    assert_eq!((script.asked(), old.calls().len()), (1, 20));
    script.says(&["127.0.0.2"]);
    scene.clock.advance(Duration::from_secs(31));
    // This one has it asked for, and waits for nothing.
    assert_eq!(read(&scene).await.status, 200);
    until("the change is told", || {
        told(&scene) == [ReachChange::AddressesChanged { addresses: 1 }]
    })
    .await;
    let before = old.calls().len();
    for _ in 0..20 {
        assert_eq!(read(&scene).await.status, 200);
    }
    assert_eq!((old.calls().len(), script.asked()), (before, 2));
    assert!(new.calls().len() >= 20);
    scene.stop().await;
}

/// Fails when an upstream is lost with its name server, or when nobody is told.
#[tokio::test]
async fn a_name_that_nobody_resolves_any_more_leads_where_it_led_last() {
    let once = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let upstream = Puppet::logged_in(move |_| Reply::close(once)).await;
    let (setup, script) = setup(upstream.address().port(), LOOPBACK);
    script.says(&["127.0.0.1"]);
    let scene = setup.start().await;
    assert_eq!(read(&scene).await.status, 200);
    script.fails();
    for _ in 0..5 {
        scene.clock.advance(Duration::from_secs(31));
        assert_eq!(read(&scene).await.status, 200);
    }
    until("it is told", || !told(&scene).is_empty()).await;
    let told = told(&scene);
    let [ReachChange::NameUnresolved { why, kept_for: Some(_) }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(why, "no name server");
    scene.stop().await;
}

/// Fails when a cold start without a name server is told as anything else.
#[tokio::test]
async fn a_name_that_was_never_resolved_is_told_as_that() {
    let (setup, _) = setup(1, LOOPBACK);
    let scene = setup.start().await;
    let answer = read(&scene).await;
    let expected = (502, "upstream_unreachable".to_owned(), "dns_error".to_owned());
    assert_eq!(problem(&answer), expected);
    scene.stop().await;
}

/// Fails when a password goes to what runs on this machine because a name leads there, or when an
/// operator cannot say that it may.
#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_unless_that_is_allowed() {
    for (address, allowed) in
        [("127.0.0.1", ""), ("127.0.0.1", "allowed_networks = [\"10.0.0.0/8\"]")]
    {
        let upstream = Puppet::logged_in(|_| Reply::json("{}")).await;
        let (setup, script) = setup(upstream.address().port(), allowed);
        script.says(&[address]);
        let scene = setup.start().await;
        let expected =
            (502, "upstream_prohibited".to_owned(), "destination_ip_prohibited".to_owned());
        assert_eq!(problem(&read(&scene).await), expected);
        assert_eq!(upstream.requests(), [""; 0]);
        let address = address.parse().unwrap();
        until("it is told", || told(&scene) == [ReachChange::AddressProhibited { address }]).await;
        scene.stop().await;
    }
    let upstream = Puppet::logged_in(|_| Reply::json("{}")).await;
    let (setup, script) = setup(upstream.address().port(), LOOPBACK);
    script.says(&["127.0.0.1", "169.254.169.254"]);
    let scene = setup.start().await;
    assert_eq!(read(&scene).await.status, 200);
    scene.stop().await;
}

/// Fails when a name that begins to lead elsewhere while Doorward runs (DNS rebinding) has the
/// session sent there.
#[tokio::test]
async fn a_name_that_is_rebound_to_this_machine_gets_nothing() {
    let (old, new) = pair("127.0.0.1", "127.0.0.2").await;
    let allowed = "allowed_networks = [\"127.0.0.1/32\"]";
    let (setup, script) = setup(old.address().port(), allowed);
    script.says(&["127.0.0.1"]);
    let scene = setup.start().await;
    assert_eq!(read(&scene).await.status, 200);
    script.says(&["127.0.0.2"]);
    scene.clock.advance(Duration::from_secs(31));
    // This one may find an idle connection to the old address, and has the name asked for.
    _ = read(&scene).await;
    until("it is told", || told(&scene).len() == 2).await;
    let answer = read(&scene).await;
    assert_eq!(answer.problem(), "upstream_prohibited");
    assert_eq!(new.requests(), [""; 0]);
    // Its session is to be logged out, which only the right address can do.
    script.says(&["127.0.0.1"]);
    assert_eq!(read(&scene).await.status, 200);
    scene.stop().await;
}

/// Fails when an upstream with addresses of both families is not reached by the one that listens.
#[tokio::test]
async fn a_name_with_addresses_of_both_families_is_reached_by_the_one_that_listens() {
    for (listening, last) in [("127.0.0.1:0", "::1"), ("[::1]:0", "127.0.0.1")] {
        let upstream = puppet(listening, |_| Reply::json("{}")).await;
        let (setup, script) = setup(upstream.address().port(), LOOPBACK);
        let own = upstream.address().ip().to_string();
        script.says(&[&own, last]);
        let scene = setup.start().await;
        for _ in 0..10 {
            assert_eq!(read(&scene).await.status, 200);
        }
        assert_eq!(upstream.calls().len(), 10);
        scene.stop().await;
    }
}
