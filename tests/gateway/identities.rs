//! Clients that show who they are by certificates (mutual TLS).

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Protocol;
use crate::harness::{Scene, Setup, within, write};
use crate::puppet::{Puppet, Reply};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority that issues clients' certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key.
type Shown = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().unwrap())
}

/// Year, month and day, as rcgen takes them.
type Date = (i32, u8, u8);

/// So many days after today.
fn day(offset: i64) -> Date {
    day_after(SystemTime::now(), offset)
}

fn day_after(time: SystemTime, offset: i64) -> Date {
    let day = Timestamp::try_from(time).unwrap().to_zoned(TimeZone::UTC);
    let day = day.checked_add(offset.days()).unwrap();
    (day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "clients");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, names: Vec<SanType>) -> Shown {
        self.issue_for(names, day(-2), day(2), 1)
    }

    fn issue_for(&self, names: Vec<SanType>, from: Date, until: Date, serial: u64) -> Shown {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(serial));
        // The name that is never looked at.
        params.distinguished_name.push(DnType::CommonName, "ci.example");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Some((der, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// A list of revoked certificates, by serial number.
    fn revoking(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let (from, until) = (day(-2), day(2));
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(from.0, from.1, from.2),
            next_update: date_time_ymd(until.0, until.1, until.2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Two clients with certificates and keys in front of a puppet.
struct Place {
    scene: Scene,
    puppet: Puppet,
    alice: ClientKey,
    bob: ClientKey,
    _folder: TempDir,
}

const CLIENTS: [(&str, &str); 2] = [
    ("alice", r#"["spiffe://acme/ci", "dns:CI.example", "email:ci@Example.org"]"#),
    ("bob", r#"["uri:https://acme/bob"]"#),
];

async fn place(authority: &Authority, more: &str, lists: &[String]) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let ca = write(folder.path(), "clients-ca.pem", &authority.pem);
    let lists = lists.iter().enumerate();
    let lists = lists.map(|(n, list)| write(folder.path(), &format!("{n}.crl"), list));
    let lists: Vec<_> = lists.collect();
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let mut setup: Setup = puppet.setup(Vendor::Contentstack);
    setup.listener = "access = \"clients\"".to_owned();
    setup.listener_tls = true;
    setup.client_tls = format!(", client_ca_file = {ca:?}{more}, client_crl_files = {lists:?}");
    let [alice, bob] = CLIENTS.map(|(name, certificates)| {
        let key = ClientKey::generate(name.parse().unwrap()).unwrap();
        let digest = key.digest();
        setup.tables.push_str(&format!(
            "[clients.{name}]\nkeys = [\"{digest}\"]\ncertificates = {certificates}\n\
             grants = [{{}}]\n"
        ));
        key
    });
    Place { scene: setup.start().await, puppet, alice, bob, _folder: folder }
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// A client's connection.
struct Connection {
    sender: Sender,
    was_resumed: bool,
}

impl Place {
    /// How a client with this certificate connects; it resumes what it has begun.
    fn client(&self, shown: Shown, protocol: Protocol) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = self.scene.door().authority_pem.clone().unwrap();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            Some((der, key)) => config.with_client_auth_cert(vec![der], key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        Arc::new(config)
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.scene.port())).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let was_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let is_http2 = config.alpn_protocols.contains(&b"h2".to_vec());
        let io = TokioIo::new(stream);
        let sender = match is_http2 {
            false => {
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            true => {
                let handshake = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = handshake.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Connection { sender, was_resumed })
    }

    /// What a client with this certificate is told; nothing where TLS lets it not in.
    async fn told(&self, shown: Shown, protocol: Protocol, keys: &[&ClientKey]) -> Option<String> {
        let config = self.client(shown, protocol);
        let mut connection = within(self.connect(&config)).await.ok()?;
        connection.ask(keys).await
    }
}

impl Connection {
    /// The code of the problem, or `200`; nothing where the connection broke.
    async fn ask(&mut self, keys: &[&ClientKey]) -> Option<String> {
        let mut request = Request::get("https://localhost/v3/x");
        if matches!(self.sender, Sender::Http1(_)) {
            request = Request::get("/v3/x").header("host", "localhost");
        }
        for key in keys {
            request = request.header("doorward-key", key.expose());
        }
        let request = request.body(Empty::new()).unwrap();
        let answer = match &mut self.sender {
            Sender::Http1(sender) => within(sender.send_request(request)).await.ok()?,
            Sender::Http2(sender) => within(sender.send_request(request)).await.ok()?,
        };
        let status = answer.status();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        if status == StatusCode::OK {
            return Some("200".to_owned());
        }
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Some(problem["code"].as_str().unwrap().to_owned())
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Fails when a name is not looked at, is compared in part, or when the common name counts.
#[tokio::test]
async fn a_certificate_is_the_client_whose_name_is_in_it_and_no_other() {
    let authority = Authority::new();
    let place = place(&authority, "", &[]).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (names, expected) in [
            (vec![uri("spiffe://acme/ci")], "200"),
            (vec![dns("ci.EXAMPLE")], "200"),
            (vec![email("ci@example.org")], "200"),
            (vec![uri("https://acme/bob")], "200"),
            (vec![dns("other.example"), uri("spiffe://acme/ci"), dns("ci.example")], "200"),
            (vec![uri("spiffe://acme/ci"), uri("https://acme/bob")], "client_conflicting"),
            (vec![], "client_key_missing"),
            (vec![dns("*.example")], "client_key_missing"),
            (vec![dns("spiffe://acme/ci")], "client_key_missing"),
            (vec![uri("spiffe://acme/ci/x")], "client_key_missing"),
            (vec![uri("spiffe://acme/c")], "client_key_missing"),
            (vec![email("CI@example.org")], "client_key_missing"),
        ] {
            let shown = format!("{names:?}");
            let told = place.told(authority.issue(names), protocol, &[]).await;
            assert_eq!(told, some(expected), "{shown} by {protocol:?}");
        }
    }
    assert_eq!(place.puppet.calls().len(), 10);
    let requests = format!("{:?}", place.scene.events());
    assert!(requests.contains("Client(\"alice\")") && requests.contains("Client(\"bob\")"));
}

/// Fails when a certificate is not verified, or when a key makes up for a bad one.
#[tokio::test]
async fn a_certificate_that_is_not_good_ends_the_handshake_whatever_comes_after_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let place = place(&authority, "", &[authority.revoking(&[7])]).await;
    let ci = || vec![uri("spiffe://acme/ci")];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (shown, what) in [
            (stranger.issue(ci()), "of another authority"),
            (authority.issue_for(ci(), day(-4), day(-1), 1), "expired"),
            (authority.issue_for(ci(), day(1), day(4), 1), "not yet valid"),
            (authority.issue_for(ci(), day(-2), day(2), 7), "revoked"),
        ] {
            let told = place.told(shown, protocol, &[&place.alice]).await;
            assert_eq!(told, None, "{what} by {protocol:?}");
        }
    }
    assert_eq!(place.told(authority.issue(ci()), Protocol::Http1, &[]).await, some("200"));
    assert_eq!(place.puppet.calls().len(), 1);
}

/// Fails when a client without a certificate is let in where one is required, or is not where none
/// is.
#[tokio::test]
async fn an_optional_certificate_can_be_left_out_and_a_required_one_cannot() {
    let authority = Authority::new();
    let optional = place(&authority, ", client_certificates = \"optional\"", &[]).await;
    let required = place(&authority, ", client_certificates = \"required\"", &[]).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        assert_eq!(optional.told(None, protocol, &[&optional.alice]).await, some("200"));
        assert_eq!(optional.told(None, protocol, &[]).await, some("client_key_missing"));
        assert_eq!(required.told(None, protocol, &[&required.alice]).await, None);
        let unknown = || authority.issue(vec![dns("unknown.example")]);
        let told = required.told(unknown(), protocol, &[&required.alice]).await;
        assert_eq!(told, some("200"));
        assert_eq!(required.told(unknown(), protocol, &[]).await, some("client_key_missing"));
    }
}

/// Fails when a request may show another client than its connection, or a bad key beside a good
/// certificate.
#[tokio::test]
async fn a_key_beside_a_certificate_must_be_the_same_clients() {
    let authority = Authority::new();
    let place = place(&authority, "", &[]).await;
    let stranger = ClientKey::generate("alice".parse().unwrap()).unwrap();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let config = place.client(authority.issue(vec![uri("spiffe://acme/ci")]), protocol);
        let mut connection = place.connect(&config).await.unwrap();
        for (keys, expected) in [
            (&[&place.alice][..], "200"),
            (&[&place.bob][..], "client_conflicting"),
            (&[][..], "200"),
            (&[&place.alice, &place.bob][..], "client_conflicting"),
            (&[&stranger][..], "client_key_invalid"),
        ] {
            assert_eq!(connection.ask(keys).await, some(expected), "{protocol:?}");
        }
    }
}

/// Fails when a resumed session forgets its certificate, or keeps it beyond its end.
#[tokio::test]
async fn a_resumed_session_is_its_certificates_client_until_the_certificate_ends() {
    let authority = Authority::new();
    let place = place(&authority, ", client_certificates = \"required\"", &[]).await;
    let config = place.client(authority.issue(vec![dns("ci.example")]), Protocol::Http1);
    let mut first = place.connect(&config).await.unwrap();
    assert_eq!(first.ask(&[]).await, some("200"));
    assert!(!first.was_resumed);
    let mut second = place.connect(&config).await.unwrap();
    assert!(second.was_resumed, "nothing was resumed");
    assert_eq!(second.ask(&[]).await, some("200"));
    place.scene.clock.advance(DAY * 3);
    if let Ok(mut third) = place.connect(&config).await {
        let told = third.ask(&[]).await;
        assert!(told.is_none() || told == some("client_certificate_expired"), "{told:?}");
    }
}

/// Fails when a certificate is good as long as its connection lives, or a key makes up for it.
#[tokio::test]
async fn a_certificate_that_ends_while_its_connection_lives_is_good_no_more() {
    let authority = Authority::new();
    let place = place(&authority, "", &[]).await;
    for names in [vec![dns("ci.example")], vec![dns("unknown.example")]] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let until = day_after(place.scene.clock.wall(), 2);
            let shown = authority.issue_for(names.clone(), day(-2), until, 1);
            let config = place.client(shown, protocol);
            let mut connection = place.connect(&config).await.unwrap();
            assert_eq!(connection.ask(&[&place.alice]).await, some("200"));
            place.scene.clock.advance(DAY * 2);
            let told = connection.ask(&[&place.alice]).await;
            assert_eq!(told, some("client_certificate_expired"), "{protocol:?}");
        }
    }
    assert!(place.scene.clock.wall() > SystemTime::now() + DAY);
}

/// Fails when a connection goes on as the client that it was made by, although its certificate's name is
/// nobody's any more, or although its certificate is revoked.
#[tokio::test]
async fn a_reload_counts_on_connections_that_certificates_have_made() {
    let authority = Authority::new();
    let place = place(&authority, "", &[authority.revoking(&[9])]).await;
    let ci = || authority.issue(vec![uri("spiffe://acme/ci")]);
    let config = place.client(ci(), Protocol::Http2);
    let mut connection = within(place.connect(&config)).await.unwrap();
    assert_eq!(connection.ask(&[]).await, some("200"));
    place.scene.change_config("\"spiffe://acme/ci\", ", "");
    place.scene.reload().await;
    assert_eq!(connection.ask(&[]).await, some("client_key_missing"));
    place.scene.change_config("\"dns:CI.example\"", "\"spiffe://acme/ci\", \"dns:CI.example\"");
    place.scene.reload().await;
    assert_eq!(connection.ask(&[]).await, some("200"));
    // A list that says more is asked at the next handshake, which everybody has to make.
    write(place._folder.path(), "0.crl", &authority.revoking(&[1, 9]));
    place.scene.reload().await;
    within(async { while connection.ask(&[]).await.is_some() {} }).await;
    assert_eq!(place.told(ci(), Protocol::Http2, &[]).await, None);
    place.scene.stop().await;
}
