//! The PROXY protocol, and several listeners side by side.

use doorward::access::key::ClientKey;
use doorward::emulator::{Certificate, Vendor};
use doorward::telemetry::Event;
use nix::unistd::geteuid;

use crate::client::{Call, Door, Protocol, Raw, Record};
use crate::harness::{Ended, Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};

const GET: &str = "GET /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// A header of version 2: the command, the family, the addresses and what follows them.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// 2001:db8::7, and a TLV that nobody here knows.
fn v2_ipv6() -> Vec<u8> {
    let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    v2(0x21, 0x21, &[&client[..], &[1; 20], &[0xe0, 0, 3], b"tlv"].concat())
}

async fn scene(from: &str, listener_tls: bool) -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.listener.push_str(&format!("\nproxy_protocol = {{ from = [{from}] }}"));
    setup.listener_tls = listener_tls;
    (puppet, setup.start().await)
}

/// What is answered on a connection that begins with `before`.
async fn said(scene: &Scene, before: &[u8]) -> String {
    match Raw::connect_after(before, scene.door(), scene.record()).await {
        Ok(mut raw) => {
            raw.write_if_open(GET).await;
            raw.read_to_end().await
        }
        // A handshake that does not begin.
        Err(_) => String::new(),
    }
}

/// Whose address the upstream was told.
fn told(puppet: &Puppet) -> Vec<String> {
    let calls = puppet.take_calls();
    let fields = calls.iter().map(|call| {
        let field = |name: &str| call.lines().find_map(|line| line.strip_prefix(name));
        let forwarded = field("forwarded: for=").unwrap().split(';').next().unwrap();
        let plain = forwarded.trim_matches(['"', '[', ']'].as_slice());
        assert_eq!(field("x-forwarded-for: ").unwrap_or("unknown"), plain);
        plain.to_owned()
    });
    fields.collect()
}

/// Whose address was reported.
fn reported(ended: &Ended) -> Vec<String> {
    let peers = ended.events.iter().filter_map(|event| match event {
        Event::Request(request) => request.peer.map(|peer| peer.to_string()),
        _ => None,
    });
    peers.collect()
}

/// Fails when the client of a listed proxy is told by the proxy's address, in whatever version and
/// whether or not TLS follows.
#[tokio::test]
async fn the_client_of_a_listed_proxy_is_who_the_header_names() {
    for listener_tls in [false, true] {
        let (puppet, scene) = scene("\"10.0.0.0/8\", \"127.0.0.1\"", listener_tls).await;
        let local = v2(0x20, 0, &[]);
        for (before, expected) in [
            (V1.to_vec(), "192.0.2.7"),
            (v2_ipv6(), "2001:db8::7"),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), "192.0.2.7"),
            // The proxy's own connections: health checks.
            (b"PROXY UNKNOWN ignore me\r\n".to_vec(), "127.0.0.1"),
            (local, "127.0.0.1"),
        ] {
            let said = said(&scene, &before).await;
            assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
            assert_eq!(told(&puppet), [expected], "{}", String::from_utf8_lossy(&before));
        }
        // In one piece with the request, and for every request of the connection.
        if !listener_tls {
            let keep = GET.replace("connection: close\r\n", "");
            let all = [V1, keep.as_bytes(), GET.as_bytes()].concat();
            let mut raw = Raw::connect_after(&all, scene.door(), scene.record()).await.unwrap();
            raw.read_to("{}").await;
            drop(raw.read_to_end().await);
            assert_eq!(told(&puppet), ["192.0.2.7", "192.0.2.7"]);
        }
        let ended = scene.stop().await;
        assert_eq!(reported(&ended)[..2], ["192.0.2.7", "2001:db8::7"]);
    }
}

/// Fails when a listed proxy may leave the header out, or when what is no header is passed over.
#[tokio::test]
async fn a_listed_proxy_must_send_the_header() {
    for listener_tls in [false, true] {
        let (puppet, scene) = scene("\"127.0.0.0/8\"", listener_tls).await;
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for before in [
            &b""[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 99999\r\n",
            b"PROXY TCP4 not.an.address 10.0.0.1 1 2\r\n",
            &v2(0x21, 0x11, &[0; 4]),
            &v2(0x31, 0x11, &[0; 12]),
            &long,
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(said(&scene, before).await, "", "{}", String::from_utf8_lossy(before));
        }
        assert!(puppet.calls().is_empty());
        scene.stop().await;
    }
}

/// Fails when anybody but a listed proxy can choose the address that is believed (security case:
/// PROXY protocol header from an untrusted peer).
#[tokio::test]
async fn a_header_of_a_peer_that_is_not_listed_is_refused() {
    for listener_tls in [false, true] {
        let (puppet, scene) = scene("\"10.0.0.0/8\", \"::1\"", listener_tls).await;
        for before in [V1.to_vec(), v2_ipv6()] {
            let said = said(&scene, &before).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
        }
        assert!(puppet.calls().is_empty());
        assert!(said(&scene, b"").await.starts_with("HTTP/1.1 200 "));
        assert_eq!(told(&puppet), ["127.0.0.1"]);
        scene.stop().await;
    }
}

/// Fails when a listed proxy may take as long as it likes.
#[tokio::test]
async fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_head() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup = puppet.setup(Vendor::Contentstack).tables("[timeouts]\nhead = \"200ms\"\n");
    setup.listener.push_str("\nproxy_protocol = { from = [\"127.0.0.1\"] }");
    let scene = setup.start().await;
    for before in [&b""[..], b"PROXY TCP4 192.0.2.7 ", &v2(0x21, 0x11, &[0; 12])[..20]] {
        let raw = Raw::connect_after(before, scene.door(), scene.record()).await.unwrap();
        assert_eq!(raw.read_to_end().await, "");
    }
    scene.stop().await;
}

/// Fails when the process of a proxy passes for the client's, or a Unix socket takes no header.
#[tokio::test]
async fn at_a_unix_socket_the_header_tells_the_client_and_the_process_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup = setup.client("alice", &key, "[{}]");
    let other = folder.path().join("other.sock");
    setup = setup.tables(&format!(
        "unix = [{{ uid = {} }}]\n[listeners.other]\naddress = \"unix:{}\"\n",
        geteuid().as_raw(),
        other.display()
    ));
    setup.address = format!("unix:{}", folder.path().join("doorward.sock").display());
    setup.listener.push_str("\nproxy_protocol = { from = [\"unix\"] }");
    let scene = setup.start().await;
    let refused = said(&scene, V1).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let with_key = GET.replacen("host", &format!("doorward-key: {}\r\nhost", key.expose()), 1);
    let mut raw = Raw::connect_after(V1, scene.door(), scene.record()).await.unwrap();
    raw.write(with_key).await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(told(&puppet), ["192.0.2.7"]);
    assert_eq!(said(&scene, b"").await, "");
    scene.stop().await;
}

/// Fails when listeners of one process are taken for each other: their access, their certificates,
/// their proxies.
#[tokio::test]
async fn several_listeners_have_rules_of_their_own() {
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::for_names(&["localhost"]).unwrap();
    let chain = write(folder.path(), "other.crt", certificate.certificate_pem());
    let private = write(folder.path(), "other.key", &certificate.key_pem());
    let socket = folder.path().join("open.sock");
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let setup: Setup = puppet.setup(Vendor::Contentstack).client("alice", &key, "[{}]");
    let scene = setup
        .tables(&format!(
            "[listeners.open]\naddress = \"unix:{}\"\naccess = \"open\"\n\
             [listeners.secure]\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = {chain:?}, key = {private:?} }}\n\
             [listeners.proxied]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n",
            socket.display()
        ))
        .start()
        .await;
    let door = |name: &str| {
        let mut listening = scene.app().listening().into_iter();
        let listening = listening.find(|one| one.name == name).unwrap();
        let authority_pem = (name == "secure").then(|| certificate.authority_pem().to_owned());
        Door { address: listening.address.clone(), authority_pem }
    };
    let status = async |name: &str, key: Option<&ClientKey>, protocol: Protocol| {
        let mut call = Call::new(door(name), Record::default(), "GET", "/v3/x");
        if let Some(key) = key {
            call = call.header("doorward-key", key.expose());
        }
        call.send_by(protocol).await.status.as_u16()
    };
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (name, with, without) in [("main", 200, 401), ("secure", 200, 401), ("open", 200, 200)]
        {
            assert_eq!(status(name, Some(&key), protocol).await, with, "{name}");
            assert_eq!(status(name, None, protocol).await, without, "{name}");
        }
    }
    for (name, before, is_answered) in
        [("proxied", V1, true), ("proxied", b"", false), ("main", V1, false)]
    {
        let raw = Raw::connect_after(before, &door(name), scene.record()).await;
        let mut raw = raw.unwrap();
        raw.write_if_open(GET).await;
        let said = within(raw.read_to_end()).await;
        assert_eq!(said.starts_with("HTTP/1.1 200 "), is_answered, "{name}: {said}");
    }
    until("all is told", || told_protocols(&puppet).len() >= 9).await;
    assert!(told_protocols(&puppet).contains(&"https".to_owned()));
    scene.stop().await;
}

/// By which protocol the clients came, as the upstream was told.
fn told_protocols(puppet: &Puppet) -> Vec<String> {
    let calls = puppet.calls();
    let field = |call: &String| {
        let line = call.lines().find_map(|line| line.strip_prefix("x-forwarded-proto: "));
        line.unwrap().to_owned()
    };
    calls.iter().map(field).collect()
}
