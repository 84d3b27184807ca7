//! A proxy on the way out: it makes tunnels, and sees of what goes through them the host and the port.

use doorward::emulator::Vendor;
use doorward::telemetry::Event;
use rustls::ALL_VERSIONS;
use tempfile::TempDir;

use crate::client::Answer;
use crate::front::{Authority, Front, NOW, Proxy, ca_file, contains, tls};
use crate::harness::{Scene, Setup, write};
use crate::puppet::{Puppet, Reply, TOKEN, session_calls};
use crate::upgrades::{AGREE, tunnel};
use crate::vendors;

const PASSWORD: &str = "a-canary-that-only-the-proxy-may-see";

/// What is sent for it; `me:` and the password in base64.
const BASIC: &str = "Basic bWU6YS1jYW5hcnktdGhhdC1vbmx5LXRoZS1wcm94eS1tYXktc2Vl";

/// A login at the proxy, with its password in a file.
fn login(folder: &TempDir) -> String {
    let file = write(folder.path(), "proxy_password", PASSWORD);
    format!("username = \"me\", password = {{ file = {file:?} }}")
}

/// Neither a client nor a log is told the proxy's password, in either form.
fn assert_no_leak(events: &[Event], answers: &[u8]) {
    let told = format!("{events:?}");
    for secret in [PASSWORD, BASIC, BASIC.strip_prefix("Basic ").unwrap()] {
        assert!(!told.contains(secret), "a report tells the proxy's password");
        assert!(!contains(answers, secret), "a client is told the proxy's password");
    }
}

/// Fails when something of a session's life goes past the proxy, when the proxy is shown more than
/// the host and the port, when its login is not sent or is sent on, or when it is told anywhere.
#[tokio::test]
async fn all_that_is_sent_goes_through_the_proxy_which_sees_nothing_of_it() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["localhost"], NOW);
    for is_tls in [false, true] {
        let puppet = Puppet::logged_in(|request| match request.starts_with("GET /v3/live") {
            true => Reply::hand_over(AGREE),
            false => Reply::json("{}"),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let ca = ca_file(folder.path(), &authority);
        let front = Front::tls(tls(&pair, None, ALL_VERSIONS), puppet.address()).await;
        let proxy = Proxy::start(is_tls.then(|| tls(&pair, None, ALL_VERSIONS))).await;
        let (scheme, proxy_tls) = match is_tls {
            true => ("https", format!(", tls = {{ ca_file = {ca:?} }}")),
            false => ("http", String::new()),
        };
        let mut setup = Setup::of(Vendor::Contentstack);
        let user = setup.user.clone();
        setup.origin = Some(front.origin());
        setup.upstream = format!(
            "http2 = \"never\"\ntls = {{ ca_file = {ca:?} }}\n\
             proxy = {{ url = \"{scheme}://localhost:{}\", {}{proxy_tls} }}",
            proxy.port,
            login(&folder)
        );
        let scene = setup.start().await;
        assert_eq!(vendors::read(&scene).send().await.status, 200);
        let (client, upstream) = tunnel(&scene, &puppet).await;
        drop((client, upstream));
        let ended = scene.stop().await;

        assert_eq!(puppet.requests().iter().filter(|one| session_calls(one).is_some()).count(), 2);
        let heads = proxy.heads();
        assert_eq!((heads.len(), front.connections()), (3, 3), "login, call and upgrade");
        let expected = format!(
            "CONNECT localhost:{0} HTTP/1.1\r\nhost: localhost:{0}\r\n\
             proxy-authorization: {BASIC}\r\n\r\n",
            front.port
        );
        assert!(heads.iter().all(|head| *head == expected), "{heads:?}");
        let through = proxy.through();
        for secret in [user.login.as_str(), TOKEN, "/v3/"] {
            assert!(!contains(&through, secret), "the proxy sees {secret}");
            assert!(contains(&front.bytes(), secret), "the upstream does not see {secret}");
        }
        for request in puppet.requests() {
            assert!(!request.to_lowercase().contains("proxy-"), "{request}");
        }
        assert_no_leak(&ended.events, &ended.record.bytes());
    }
}

/// Fails when a plain upstream gets a request in another form through a proxy, or is asked for with
/// a login that nobody has given.
#[tokio::test]
async fn a_plain_upstream_is_reached_by_a_tunnel_too() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let proxy = Proxy::start(None).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    let way = format!("proxy = {{ url = \"http://127.0.0.1:{}\" }}", proxy.port);
    setup.upstream = format!("danger_plaintext_login = true\n{way}");
    let scene = setup.start().await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    scene.stop().await;
    let address = puppet.address();
    let expected = format!("CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    assert!(proxy.heads().iter().all(|head| *head == expected), "{:?}", proxy.heads());
    assert_eq!(puppet.requests().len(), 3);
    assert!(puppet.requests()[0].starts_with("POST /v3/user-session HTTP/1.1\r\n"));
}

/// Fails when HTTP/2 is not spoken through a proxy.
#[tokio::test]
async fn http_2_is_spoken_through_a_proxy() {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["localhost"], NOW);
    let upstream = Scene::of(Vendor::Contentstack).await;
    let backend = upstream.emulator.address();
    let front = Front::tls(tls(&pair, None, ALL_VERSIONS), backend).await;
    let proxy = Proxy::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), &authority);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(front.origin());
    setup.upstream = format!(
        "tls = {{ ca_file = {ca:?} }}\nproxy = {{ url = \"http://127.0.0.1:{}\" }}",
        proxy.port
    );
    let scene = setup.start().await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    scene.stop().await;
    let shown = front.shown();
    assert!(shown.iter().all(|shown| shown.alpn.as_deref() == Some("h2")), "{shown:?}");
    assert_eq!(proxy.heads().len(), shown.len());
    upstream.stop().await;
}

/// What a client is told when the proxy answers like this, and whether the upstream heard anything.
async fn refused(answer: &str) -> Answer {
    let authority = Authority::new("ours");
    let pair = authority.issue(&["localhost"], NOW);
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let front = Front::tls(tls(&pair, None, ALL_VERSIONS), puppet.address()).await;
    let proxy = Proxy::start(None).await;
    proxy.answer(answer);
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), &authority);
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(front.origin());
    setup.upstream = format!(
        "tls = {{ ca_file = {ca:?} }}\nproxy = {{ url = \"http://127.0.0.1:{}\", {} }}",
        proxy.port,
        login(&folder)
    );
    let scene = setup.start().await;
    let told = vendors::read(&scene).send().await;
    let ended = scene.stop().await;
    assert_eq!((front.connections(), proxy.through().len()), (0, 0), "{answer}");
    assert_no_leak(&ended.events, &ended.record.bytes());
    told
}

/// Fails when one of these is taken for a tunnel, costs an attempt of the login, or is told as another
/// one.
#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_is_told_by_its_answer() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(128 * 1024));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200);
    for (answer, expected) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n",
            "proxy_configuration_error",
        ),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "proxy_configuration_error"),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n", "proxy_configuration_error"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "destination_unavailable"),
        ("HTTP/1.1 504 Gateway Timeout\r\n\r\n", "connection_timeout"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "http_protocol_error"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "http_protocol_error"),
        (long.as_str(), "http_protocol_error"),
        (hints.as_str(), "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\n", "connection_terminated"),
        ("", "connection_terminated"),
    ] {
        let told = refused(answer).await;
        let (status, code) = (told.status.as_u16(), told.problem());
        assert_eq!((status, code.as_str()), (502, "upstream_unreachable"), "{answer:.80}");
        let expected = format!("doorward; error={expected}");
        assert_eq!(told.one("proxy-status"), expected, "{answer:.80}");
    }
}

/// Fails when the login at the proxy is sent to one whose certificate is not good.
#[tokio::test]
async fn a_proxy_with_a_bad_certificate_gets_no_login() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let proxy =
        Proxy::start(Some(tls(&theirs.issue(&["localhost"], NOW), None, ALL_VERSIONS))).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), &ours);
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.upstream = format!(
        "danger_plaintext_login = true\n\
         proxy = {{ url = \"https://localhost:{}\", {}, tls = {{ ca_file = {ca:?} }} }}",
        proxy.port,
        login(&folder)
    );
    let scene = setup.start().await;
    let told = vendors::read(&scene).send().await;
    assert_eq!(told.one("proxy-status"), "doorward; error=tls_certificate_error");
    assert_eq!((proxy.heads().len(), puppet.requests().len()), (0, 0));
    scene.stop().await;
}
