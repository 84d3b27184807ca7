//! The way to an upstream: certificates of ours, pins, names, Unix sockets. Logins, probes, logouts
//! and upgrades go the same way as requests.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorward::emulator::Vendor;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ALL_VERSIONS;
use rustls::version::TLS12;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::Raw;
use crate::front::{Authority, Front, NOW, Pair, Shown, ca_file, tls};
use crate::harness::{Scene, Setup, within};
use crate::puppet::{Puppet, Reply, TOKEN, session_calls};
use crate::upgrades::{AGREE, ASK, hear};
use crate::vendors;

/// Answers calls, and upgrades.
async fn puppet() -> Puppet {
    Puppet::logged_in(|request| match request.starts_with("GET /v3/live") {
        true => Reply::hand_over(AGREE),
        false => Reply::json("{}"),
    })
    .await
}

/// A front with this certificate before a puppet, and Doorward before both.
struct Place {
    scene: Scene,
    front: Front,
    puppet: Puppet,
    _folder: TempDir,
}

/// `keys` are further keys of `tls`, each after a comma; `lines` further lines of the upstream.
async fn place(authority: &Authority, pair: &Pair, keys: &str, lines: &str) -> Place {
    let puppet = puppet().await;
    let front = Front::tls(tls(pair, None, ALL_VERSIONS), puppet.address()).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), authority);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(front.origin());
    setup.upstream = format!("tls = {{ ca_file = {ca:?}{keys} }}\n{lines}");
    Place { scene: setup.start().await, front, puppet, _folder: folder }
}

/// A call, an upgrade that is used, and the logout at the end.
async fn whole_life(scene: Scene, puppet: &Puppet) {
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write(ASK).await;
    let mut upstream = puppet.handed_over().await;
    client.read_to("\r\n\r\n").await;
    client.write("ping").await;
    hear(&mut upstream, "ping").await;
    upstream.write_all(b"pong").await.unwrap();
    client.read_to("pong").await;
    drop((client, upstream));
    scene.stop().await;
    let lines = puppet.requests().into_iter().filter(|request| session_calls(request).is_some());
    assert_eq!(lines.count(), 2, "a login and a logout");
}

/// Fails when one of the connections of a session's life is made without the certificate, with either
/// version of TLS.
#[tokio::test]
async fn our_certificate_is_shown_by_all_that_is_sent() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, mine) = (ours.issue(&["localhost"], NOW), theirs.issue(&["doorward"], NOW));
    for versions in [ALL_VERSIONS, &[&TLS12]] {
        let puppet = puppet().await;
        let front = Front::tls(tls(&server, Some(&theirs), versions), puppet.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let (ca, keys) = (ca_file(folder.path(), &ours), mine.keys(folder.path(), "mine"));
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(front.origin());
        // The puppet speaks HTTP/1.1 alone.
        setup.upstream = format!("http2 = \"never\"\ntls = {{ ca_file = {ca:?}, {keys} }}");
        whole_life(setup.start().await, &puppet).await;
        let shown = front.shown();
        assert!(shown.len() >= 3 && shown.iter().all(|shown| shown.has_certificate), "{shown:?}");
        assert_eq!(front.refused(), 0);
    }
}

/// Fails when HTTP/2 is not spoken to an upstream that asks for a certificate.
#[tokio::test]
async fn http_2_is_spoken_with_our_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, mine) = (ours.issue(&["localhost"], NOW), theirs.issue(&["doorward"], NOW));
    let upstream = Scene::of(Vendor::Contentstack).await;
    let backend = upstream.emulator.address();
    let front = Front::tls(tls(&server, Some(&theirs), ALL_VERSIONS), backend).await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, keys) = (ca_file(folder.path(), &ours), mine.keys(folder.path(), "mine"));
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(front.origin());
    setup.upstream = format!("tls = {{ ca_file = {ca:?}, {keys}, version_min = \"1.3\" }}");
    let scene = setup.start().await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    scene.stop().await;
    assert_eq!(upstream.control().counters().live_sessions, 0);
    let h2 = |shown: &Shown| shown.has_certificate && shown.alpn.as_deref() == Some("h2");
    assert!(front.shown().iter().all(h2), "{:?}", front.shown());
    upstream.stop().await;
}

/// Fails when a name is told that should not be, or the certificate is verified by the name that is
/// told instead of the one that it must be for.
#[tokio::test]
async fn the_name_that_is_told_is_apart_from_the_one_that_is_verified() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["api.internal", "127.0.0.1"], NOW);
    let named = authority.issue(&["localhost"], NOW);
    for (pair, host, keys, told) in [
        (&named, "localhost", "", Some("localhost")),
        (&named, "localhost", ", sni = true", Some("localhost")),
        (&named, "localhost", ", sni = false", None),
        (&named, "localhost", ", sni = \"edge.example\"", Some("edge.example")),
        (&pair, "localhost", ", server_name = \"api.internal\"", Some("api.internal")),
        (
            &pair,
            "localhost",
            ", server_name = \"api.internal\", sni = \"localhost\"",
            Some("localhost"),
        ),
        (&pair, "127.0.0.1", "", None),
        (&pair, "127.0.0.1", ", sni = \"edge.example\"", Some("edge.example")),
        (&pair, "127.0.0.1", ", server_name = \"api.internal\"", Some("api.internal")),
    ] {
        let puppet = puppet().await;
        let front = Front::tls(tls(pair, None, ALL_VERSIONS), puppet.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let ca = ca_file(folder.path(), &authority);
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(front.origin().replace("localhost", host));
        setup.upstream = format!("http2 = \"never\"\ntls = {{ ca_file = {ca:?}{keys} }}");
        whole_life(setup.start().await, &puppet).await;
        assert_eq!(front.names(), [told.map(str::to_owned)], "{keys}");
    }
}

/// Fails when a certificate is refused that hangs on a pinned key: its own, that of an authority
/// that is sent along, or that of one in our file.
#[tokio::test]
async fn a_pin_is_the_key_of_the_certificate_or_of_one_above_it() {
    let root = Authority::new("root");
    let middle = root.below("middle");
    let pair = middle.issue(&["localhost"], NOW).along(&middle.pem);
    for pin in [&pair.pin, &middle.pin, &root.pin] {
        let other = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let keys = format!(", pins = [{other:?}, {pin:?}]");
        let Place { scene, puppet, front, .. } =
            place(&root, &pair, &keys, "http2 = \"never\"").await;
        whole_life(scene, &puppet).await;
        assert_eq!(front.refused(), 0);
    }
}

/// Fails when a request, a login or a logout names the URL's host, or an upgrade does.
#[tokio::test]
async fn the_authority_is_what_the_upstream_is_told_by_all_that_is_sent() {
    let puppet = puppet().await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = "authority = \"cms.internal:8443\"".to_owned();
    whole_life(setup.start().await, &puppet).await;
    let requests = puppet.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert!(request.contains("\r\nhost: cms.internal:8443\r\n"), "{request}");
    }
}

/// Fails when HTTP/2 tells the URL's host.
#[tokio::test]
async fn the_authority_is_told_by_http_2_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&told);
    tokio::spawn(async move {
        loop {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            let noted = Arc::clone(&noted);
            let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                noted.lock().unwrap().push(request.uri().to_string());
                let body = format!(r#"{{"user":{{"authtoken":"{TOKEN}"}}}}"#);
                let answer = http::Response::builder().header("content-type", "application/json");
                let answer = answer.body(Full::new(Bytes::from(body))).unwrap();
                async { Ok::<_, Infallible>(answer) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(io, answer));
        }
    });
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("http://127.0.0.1:{port}"));
    setup.upstream = "http2 = \"always\"\nauthority = \"cms.internal\"".to_owned();
    let scene = setup.start().await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    scene.stop().await;
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 3, "a login, a call and a logout: {told:?}");
    assert!(told.iter().all(|uri| uri.starts_with("http://cms.internal/v3/")), "{told:?}");
}

/// Fails when a Unix socket is only connected to by some, in the clear or over TLS, or is told as the
/// host.
#[tokio::test]
async fn an_upstream_at_a_unix_socket_is_reached_by_all_that_is_sent() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["app.local"], NOW);
    for config in [None, Some(tls(&pair, None, ALL_VERSIONS))] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let ca = ca_file(folder.path(), &authority);
        let puppet = puppet().await;
        let is_tls = config.is_some();
        let front = Front::unix(&path, config, puppet.address());
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(if is_tls { "https://app.local" } else { "http://app.local" }.into());
        setup.upstream = format!("http2 = \"never\"\nunix_socket = {path:?}");
        if is_tls {
            setup.upstream.push_str(&format!("\ntls = {{ ca_file = {ca:?} }}"));
        }
        whole_life(setup.start().await, &puppet).await;
        assert!(front.connections() >= 3);
        let host = |request: &String| request.contains("\r\nhost: app.local\r\n");
        assert!(puppet.requests().iter().all(host));
    }
}

/// Fails when nobody says what is wrong with a socket that is not there.
#[tokio::test]
async fn a_unix_socket_that_nobody_listens_at_refuses_the_connection() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some("http://app.local".to_owned());
    setup.upstream = format!("unix_socket = {:?}", Path::new("/nonexistent/app.sock"));
    let scene = setup.start().await;
    let answer = vendors::read(&scene).send().await;
    assert_eq!(answer.problem(), "upstream_unreachable");
    assert_eq!(answer.one("proxy-status"), "doorward; error=connection_refused");
    scene.stop().await;
}

/// Fails when a connection is used that has waited for longer than it may.
#[tokio::test]
async fn a_connection_that_has_waited_for_too_long_is_not_used() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["localhost"], NOW);
    let Place { scene, front, puppet, .. } =
        place(&authority, &pair, "", "http2 = \"never\"\nidle_timeout = \"1ms\"").await;
    let calls = async {
        // Each core has connections of its own, and the control side has one.
        while front.connections() < 5 {
            assert_eq!(vendors::read(&scene).send().await.status, 200);
        }
    };
    within(calls).await;
    scene.stop().await;
    drop(puppet);
}

/// Fails when an upstream that takes nothing more of a body is waited for without end, or is taken
/// for one that is slow to answer. The clock stands still: the time is the socket's.
#[tokio::test]
async fn an_upstream_that_stops_taking_a_body_is_given_up() {
    let puppet = puppet().await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = "response_timeout = \"2s\"".to_owned();
    let scene = setup.start().await;
    puppet.answer_early(Reply::stall(""));
    // More than all buffers on the way take.
    let call = scene.call("POST", "/v3/assets").body(vec![b'x'; 32 << 20]);
    let answer = within(call.send()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "upstream_timeout"));
    assert_eq!(answer.one("proxy-status"), "doorward; error=connection_write_timeout");
    scene.stop().await;
}

/// Fails when an upstream that takes no connection at its Unix socket is told as a fault of ours, or
/// is tried for ever.
#[tokio::test]
async fn a_unix_socket_that_takes_no_connection_is_told_as_the_upstreams_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let (listener, address) = (socket(), SockAddr::unix(&path).unwrap());
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = vec![listener];
    loop {
        let another = socket();
        another.set_nonblocking(true).unwrap();
        if another.connect(&address).is_err() {
            break;
        }
        waiting.push(another);
    }
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some("http://app.local".to_owned());
    setup.upstream = format!(
        "unix_socket = {path:?}\nconnect_timeout = \"100ms\"\n\
         circuit = {{ failures_max = 2, pause = \"1h\", pause_max = \"1h\" }}"
    );
    let scene = setup.start().await;
    for _ in 0..2 {
        let answer = vendors::read(&scene).send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (504, "upstream_connect_timeout".to_owned()));
        assert_eq!(answer.one("proxy-status"), "doorward; error=connection_timeout");
        scene.clock.advance(Duration::from_secs(400));
    }
    assert_eq!(vendors::read(&scene).send().await.problem(), "upstream_circuit_open");
    scene.stop().await;
}

/// Fails when time in which a connection is made counts as time in which the upstream does not answer:
/// nothing was sent, and its client is to know that.
#[tokio::test]
async fn a_request_that_is_not_connected_is_no_request_without_an_answer() {
    let puppet = puppet().await;
    let authority = Authority::new("ours");
    let config = tls(&authority.issue(&["localhost"], NOW), None, ALL_VERSIONS);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), &authority);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("https://localhost:{port}"));
    setup.upstream = format!(
        "http2 = \"never\"\ntls = {{ ca_file = {ca:?} }}\n\
         connect_timeout = \"1s\"\nresponse_timeout = \"2s\""
    );
    let scene = setup.start().await;
    let call = vendors::read(&scene).spawn();
    // The login gets through.
    let (stream, _) = within(listener.accept()).await.unwrap();
    let backend = puppet.address();
    tokio::spawn(async move {
        let mut client = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut upstream = TcpStream::connect(backend).await.unwrap();
        _ = copy_bidirectional(&mut client, &mut upstream).await;
    });
    // The request does not.
    let _held = within(listener.accept()).await.unwrap();
    scene.clock.advance(Duration::from_secs(3));
    let answer = within(call).await.unwrap();
    let told = (answer.status.as_u16(), answer.problem());
    assert_eq!(told, (504, "upstream_connect_timeout".to_owned()));
    scene.stop().await;
}
