//! Tunnels whose one side is gone, or takes nothing, end: before they begin and after.

use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::server::Address;
use doorward::telemetry::{Event, Request};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::client::Raw;
use crate::harness::{Ended, Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, ASK, agreeing, hear_end};

/// More than a Unix socket takes of what nobody reads.
const CONSENT_BYTES: usize = 450_000;

/// An upstream whose consent is too long to be written to a client that does not read.
async fn long_winded() -> Puppet {
    let (idle, _nobody_reads) = UnixStream::pair().unwrap();
    let (mut taken, piece) = (0, [0; 4096]);
    while let Ok(more) = idle.try_write(&piece) {
        taken += more;
    }
    assert!(taken < CONSENT_BYTES, "the kernel takes {taken} bytes at once");
    let field = format!("x-fill: {}\r\n", "x".repeat(30_000));
    let fill = field.repeat(CONSENT_BYTES / field.len() + 1);
    let agree = AGREE.replace("upgrade: websocket\r\n", &format!("upgrade: websocket\r\n{fill}"));
    Puppet::logged_in(move |_| Reply::hand_over(agree.clone())).await
}

/// A gateway on a Unix socket, whose room in the kernel does not grow.
fn on_a_unix_socket(puppet: &Puppet, folder: &TempDir) -> Setup {
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.address = format!("unix:{}", folder.path().join("door").display());
    setup
}

/// A client that has begun to read the consent and goes no further, and the upstream's side.
async fn half_told(scene: &Scene, puppet: &Puppet) -> (Raw, TcpStream) {
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(ASK).await;
    let upstream = puppet.handed_over().await;
    client.read_to("HTTP/1.1 101 ").await;
    (client, upstream)
}

/// What was reported of the one tunnel.
fn only_tunnel(ended: &Ended) -> Request {
    let mut tunnels = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) if request.status == 101 => Some((**request).clone()),
        _ => None,
    });
    let tunnel = tunnels.next().unwrap();
    assert!(tunnels.next().is_none());
    tunnel
}

/// Fails when a client that goes away while the consent is still waiting to be written leaves the
/// tunnel, its session and its upstream connection behind.
#[tokio::test]
async fn a_client_that_goes_before_it_was_told_leaves_nothing_behind() {
    let puppet = long_winded().await;
    let folder = tempfile::tempdir().unwrap();
    let scene = on_a_unix_socket(&puppet, &folder).start().await;
    let (client, mut upstream) = half_told(&scene, &puppet).await;
    drop(client);
    hear_end(&mut upstream).await;
    // The clock stands still: what was left would be waited for.
    assert_eq!(only_tunnel(&scene.stop().await).reason, "upgraded");
}

/// Fails when a client that never reads the consent keeps the upstream's connection and the session
/// for as long as it likes.
#[tokio::test]
async fn a_client_that_does_not_let_itself_be_told_has_the_idle_time() {
    let puppet = long_winded().await;
    let folder = tempfile::tempdir().unwrap();
    let tables = "[timeouts]\ntunnel_idle = \"8m\"\n";
    let scene = on_a_unix_socket(&puppet, &folder).tables(tables).start().await;
    let (client, mut upstream) = half_told(&scene, &puppet).await;
    let ended = tokio::spawn(async move { hear_end(&mut upstream).await });
    let mut minutes = 0;
    until("the tunnel is given up", || {
        scene.clock.advance(Duration::from_secs(60));
        minutes += 1;
        ended.is_finished()
    })
    .await;
    ended.await.unwrap();
    assert!(minutes >= 8, "given up after {minutes} minutes");
    let told = client.read_to_end().await;
    assert!(!told.contains("\r\n\r\n"), "told to the end: {}", told.len());
    assert_eq!(only_tunnel(&scene.stop().await).reason, "tunnel_idle");
}

/// Fails when what a client sends to an upstream that is gone is thrown away, and neither the
/// tunnel nor its session ever ends.
#[tokio::test]
async fn a_client_that_goes_on_sending_learns_that_its_upstream_is_gone() {
    let puppet = agreeing().await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream.push_str("\nstreams = \"keep\"");
    let scene = setup.start().await;
    let Address::Tcp(address) = &scene.door().address else { panic!("no port") };
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(ASK.as_bytes()).await.unwrap();
    let upstream = puppet.handed_over().await;
    let mut told = [0; 13];
    within(client.read_exact(&mut told)).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 101 ");
    drop(upstream);
    let piece = vec![b'x'; 64 * 1024];
    within(async { while client.write_all(&piece).await.is_ok() {} }).await;
    // The clock stands still: what was left would be waited for.
    assert_eq!(only_tunnel(&scene.stop().await).reason, "upgraded");
}

/// Sends for as long as anybody takes it; how much of it has arrived at the gateway's system at least.
async fn fill(upstream: &TcpStream) -> usize {
    let (mut sent, mut seen) = (0, None);
    within(async {
        loop {
            let piece: Vec<u8> = (sent..sent + 4096).map(|number| (number % 251) as u8).collect();
            if let Ok(taken) = upstream.try_write(&piece) {
                (sent, seen) = (sent + taken, None);
                continue;
            }
            // Nothing is on its way once the same is on its way as before.
            let now = unarrived(upstream);
            if seen == Some((sent, now)) && now > 0 {
                return sent - now;
            }
            seen = Some((sent, now));
            // Until somebody has taken some of it, or nobody has for a while.
            _ = tokio::time::timeout(Duration::from_millis(300), upstream.writable()).await;
        }
    })
    .await
}

/// How much of what was written has not been acknowledged, as the system says.
fn unarrived(stream: &TcpStream) -> usize {
    let ports = [stream.local_addr(), stream.peer_addr()].map(|address| address.unwrap().port());
    let [local, peer] = ports.map(|port| format!("0100007F:{port:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1] == local && row[2] == peer).unwrap();
    usize::from_str_radix(row[4].split(':').next().unwrap(), 16).unwrap()
}

/// Fails when a reset by an upstream takes away what had come before it, because the client is slow,
/// or sends something meanwhile.
#[tokio::test]
async fn what_came_before_a_reset_still_reaches_the_client() {
    for (listener_tls, says) in [(false, ""), (false, "are you there?"), (true, "are you there?")] {
        let puppet = agreeing().await;
        let folder = tempfile::tempdir().unwrap();
        let mut setup = on_a_unix_socket(&puppet, &folder);
        setup.listener_tls = listener_tls;
        let scene = setup.start().await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        let scheme = if listener_tls { "origin: https" } else { "origin: http" };
        client.write(ASK.replace("origin: http", scheme)).await;
        let upstream = puppet.handed_over().await;
        client.read_to("\r\n\r\n").await;
        let arrived = fill(&upstream).await;
        upstream.set_zero_linger().unwrap();
        drop(upstream);
        client.write(says).await;
        let said = client.read_bytes_to_end().await;
        let consent = said.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        let came = &said[consent..];
        assert!(came.len() >= arrived, "{} of {arrived} bytes, TLS: {listener_tls}", came.len());
        assert!(came.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
        assert_eq!(only_tunnel(&scene.stop().await).body_bytes, came.len() as u64);
    }
}
