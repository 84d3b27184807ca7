//! Upstreams that are not who they should be, or do not want us: no byte of a login is sent to them.

use doorward::emulator::Vendor;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::doctor::{ON_PAPER, Subject};
use crate::front::{Authority, Front, NOW, PAST, Pair, Proxy, ca_file, contains, tls};
use crate::harness::{Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::vendors;

/// What a front shows, and what Doorward is told of it.
struct Case<'c> {
    pair: &'c Pair,
    clients: Option<&'c Authority>,
    /// Further keys of `tls`, each after a comma.
    keys: &'c str,
    version: &'static rustls::SupportedProtocolVersion,
    /// How `Proxy-Status` begins.
    expected: &'c str,
}

/// Fails when the login is sent to a server that shows a certificate for another name, or one that
/// has expired, is of an unknown authority or hangs on no pinned key; or to one that asks for a
/// certificate that we have not, also in TLS 1.3, where the handshake is over for us before it
/// refuses. Fails when one is not told from another.
#[tokio::test]
async fn no_byte_of_a_login_is_sent_where_the_handshake_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = ours.issue(&["localhost"], NOW);
    let (other_name, expired, unknown) = (
        ours.issue(&["other.example"], NOW),
        ours.issue(&["localhost"], PAST),
        theirs.issue(&["localhost"], NOW),
    );
    // A pinned certificate that is only sent along proves nothing.
    let pinned = ours.below("pinned");
    let along = good.clone().along(&pinned.pem);
    let pins = format!(", pins = [{:?}]", pinned.pin);
    let certificate = "tls_certificate_error";
    let cases = [
        Case { pair: &other_name, clients: None, keys: "", version: &TLS13, expected: certificate },
        Case { pair: &other_name, clients: None, keys: "", version: &TLS12, expected: certificate },
        Case { pair: &expired, clients: None, keys: "", version: &TLS13, expected: certificate },
        Case { pair: &unknown, clients: None, keys: "", version: &TLS13, expected: certificate },
        Case { pair: &good, clients: None, keys: &pins, version: &TLS13, expected: certificate },
        Case { pair: &along, clients: None, keys: &pins, version: &TLS13, expected: certificate },
        Case {
            pair: &good,
            clients: Some(&theirs),
            keys: "",
            version: &TLS13,
            expected: "tls_alert_received; alert-id=116; alert-message=certificate_required",
        },
        Case {
            pair: &good,
            clients: Some(&theirs),
            keys: "",
            version: &TLS12,
            expected: "tls_alert_received; alert-id=",
        },
        Case {
            pair: &good,
            clients: None,
            keys: ", version_min = \"1.3\"",
            version: &TLS12,
            expected: "tls_alert_received; alert-id=70; alert-message=protocol_version",
        },
    ];
    for (number, case) in cases.iter().enumerate() {
        let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
        let config = tls(case.pair, case.clients, &[case.version]);
        let front = Front::tls(config, puppet.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let ca = ca_file(folder.path(), &ours);
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(front.origin());
        setup.upstream = format!("tls = {{ ca_file = {ca:?}{} }}", case.keys);
        let scene = setup.start().await;
        let answer = vendors::read(&scene).send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (502, "upstream_unreachable".to_owned()), "{number}: {answer:?}");
        let status = answer.one("proxy-status");
        let expected = format!("doorward; error={}", case.expected);
        assert!(status.starts_with(&expected), "{number}: {status}");
        until("the handshake has failed", || front.refused() == 1).await;
        assert_eq!((front.bytes(), puppet.requests().len()), (Vec::new(), 0), "{number}");
        scene.stop().await;
    }
}

/// Fails when anything of a login, or of the names in it, is sent before TLS is there.
#[tokio::test]
async fn an_upstream_that_speaks_in_the_clear_before_the_handshake_gets_no_login() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        _ = stream.read_to_end(&mut seen).await;
        seen
    });
    let mut setup = Setup::of(Vendor::Contentstack);
    let user = setup.user.clone();
    setup.origin = Some(format!("https://localhost:{}", address.port()));
    let scene = setup.start().await;
    let answer = vendors::read(&scene).send().await;
    assert_eq!(answer.problem(), "upstream_unreachable");
    assert_eq!(answer.one("proxy-status"), "doorward; error=tls_protocol_error");
    let seen = upstream.await.unwrap();
    // A TLS record with a hello, and one with an alert at most.
    assert_eq!(seen[..2], [0x16, 0x03]);
    assert!(!contains(&seen, &user.password) && !contains(&seen, &user.login));
    scene.stop().await;
}

/// Fails when an upstream that closes in the handshake is taken for one with a bad certificate.
#[tokio::test]
async fn a_connection_that_breaks_in_the_handshake_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        _ = stream.read(&mut [0; 16 * 1024]).await;
    });
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some(format!("https://localhost:{port}"));
    let scene = setup.start().await;
    let answer = vendors::read(&scene).send().await;
    assert_eq!(answer.problem(), "upstream_unreachable");
    assert_eq!(answer.one("proxy-status"), "doorward; error=connection_terminated");
    scene.stop().await;
}

/// Fails when the doctor gives advice about another end of the way than the one that is wrong.
#[tokio::test]
async fn the_doctor_says_what_on_the_way_is_to_be_changed() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let pair = ours.issue(&["localhost"], NOW);
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let asking = Front::tls(tls(&pair, Some(&theirs), &[&TLS13]), puppet.address()).await;
    let proxy = Proxy::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = ca_file(folder.path(), &ours);
    let mine = theirs.issue(&["doorward"], NOW).keys(folder.path(), "mine");
    let other = ours.issue(&["doorward"], NOW).keys(folder.path(), "other");
    let through = format!("proxy = {{ url = \"http://127.0.0.1:{}\" }}", proxy.port);
    let refused = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    for (lines, answer, advice) in [
        (format!("tls = {{ ca_file = {ca:?}, {mine} }}"), "", ""),
        (
            format!("tls = {{ ca_file = {ca:?} }}"),
            "",
            "name yours and its key as `certificate` and `key` in [upstreams.vendor.tls]",
        ),
        (
            format!("tls = {{ ca_file = {ca:?}, {other} }}"),
            "",
            "see whether the server accepts the certificate in `",
        ),
        (String::new(), "", "name its PEM file as `ca_file` in [upstreams.vendor.tls]"),
        (
            format!("tls = {{ ca_file = {ca:?}, server_name = \"other.example\" }}"),
            "",
            "is made out to another name: check the file and `server_name` in [upstreams.vendor.tls]",
        ),
        (through.clone(), refused, "set `username` and `password` in [upstreams.vendor.proxy]"),
        (through.clone(), "HTTP/1.1 403 Forbidden\r\n\r\n", "allows no tunnel to http"),
        (through.clone(), "HTTP/1.1 502 Bad Gateway\r\n\r\n", "cannot reach http"),
        (through.clone(), "SSH-2.0-OpenSSH_9.6\r\n", "is no proxy that makes tunnels"),
        (
            "proxy = { url = \"http://127.0.0.1:1\" }".to_owned(),
            "",
            "the proxy http://127.0.0.1:1 does not take connections",
        ),
        (
            "unix_socket = \"/nonexistent/app.sock\"".to_owned(),
            "",
            "listens at /nonexistent/app.sock",
        ),
    ] {
        if !answer.is_empty() {
            proxy.answer(answer);
        }
        let vendor = Vendor::Contentstack;
        let recipe = format!("recipe = \"contentstack\"\nhttp2 = \"never\"\n{lines}");
        let user = vendor.seeded_user();
        let subject = Subject::with_recipe(vendor, &asking.origin(), &user, &recipe);
        let said = within(subject.tried(ON_PAPER, &[])).await;
        let text = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(advice), "{lines}: {text}");
        assert_eq!(text.contains("unreachable"), !advice.is_empty(), "{lines}: {text}");
    }
}

/// Fails when `extra_ca_file` takes the machine's authorities away, or `ca_file` leaves them. Only a
/// process of its own has a machine's trust of its own.
#[tokio::test]
async fn extra_authorities_are_trusted_beside_the_machines_and_others_in_their_place() {
    let (machine, extra) = (Authority::new("machine"), Authority::new("extra"));
    for (issuer, key, is_trusted) in [
        (&machine, "extra_ca_file", true),
        (&extra, "extra_ca_file", true),
        (&machine, "ca_file", false),
        (&extra, "ca_file", true),
    ] {
        let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
        let config = tls(&issuer.issue(&["localhost"], NOW), None, &[&TLS13]);
        let front = Front::tls(config, puppet.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let machines = write(folder.path(), "machine.pem", &machine.pem);
        write(folder.path(), "extra.pem", &extra.pem);
        let text = format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [upstreams.vendor]\nurl = {:?}\nrecipe = \"contentstack\"\nhttp2 = \"never\"\n\
             tls = {{ {key} = \"extra.pem\" }}\n\
             [upstreams.vendor.accounts.main]\nusername = \"me\"\npassword = {{ env = \"PW\" }}\n\
             [[routes]]\nupstream = \"vendor\"\n",
            front.origin()
        );
        let config = write(folder.path(), "doorward.toml", &text);
        let tried = tokio::process::Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["try", "vendor", "-c"])
            .arg(config)
            .env_clear()
            .env("SSL_CERT_FILE", machines)
            .env("PW", "x")
            .output();
        let said = within(tried).await.unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(!puppet.requests().is_empty(), is_trusted, "{key}: {said}");
        assert_eq!(front.refused() == 0, is_trusted, "{key}");
    }
}
