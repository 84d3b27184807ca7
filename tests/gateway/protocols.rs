//! TLS, HTTP/2 and Unix sockets, on both sides.

use std::sync::Arc;
use std::time::Duration;

use doorward::emulator::{Certificate, Vendor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Protocol, Raw};
use crate::harness::{Scene, Setup, within, write};
use crate::pace::PREFACE;
use crate::vendors;

/// Reads, writes, loses the session, goes on.
async fn main_job(scene: &Scene, protocol: Protocol) {
    let version = match protocol {
        Protocol::Http1 => http::Version::HTTP_11,
        Protocol::Http2 => http::Version::HTTP_2,
    };
    let answer = vendors::read(scene).send_by(protocol).await;
    assert_eq!((answer.status.as_u16(), answer.version), (200, version), "{answer:?}");
    scene.control().expire_sessions();
    scene.control().reset_counters();
    assert!(vendors::write(scene, 1).send_by(protocol).await.status.is_success());
    let big = vendors::write(scene, 2).header("x-long", &"x".repeat(8000));
    assert!(big.send_by(protocol).await.status.is_success());
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.writes, counters.duplicate_writes), (1, 2, 0));
}

/// Fails when one of the protocols is not spoken on one of the sides.
#[tokio::test]
async fn every_protocol_is_spoken_on_both_sides() {
    for (listener_tls, upstream_tls) in [(false, true), (true, false), (true, true)] {
        for http2 in ["auto", "never", "always"] {
            // One vendor is enough to try every pair of protocols, and one pair to try every
            // vendor.
            let is_usual = listener_tls && upstream_tls && http2 == "auto";
            let vendors = if is_usual { &Vendor::ALL[..] } else { &[Vendor::Contentstack][..] };
            for vendor in vendors {
                let mut setup = Setup::of(*vendor);
                (setup.listener_tls, setup.upstream_tls) = (listener_tls, upstream_tls);
                setup.upstream.push_str(&format!("\nhttp2 = {http2:?}"));
                let scene = setup.start().await;
                for protocol in [Protocol::Http1, Protocol::Http2] {
                    main_job(&scene, protocol).await;
                }
                scene.stop().await;
            }
        }
    }
}

/// Fails when clients of one of the two versions of TLS are turned away, with either protocol.
#[tokio::test]
async fn both_versions_of_tls_are_spoken_with_clients() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.listener_tls = true;
    let scene = setup.start().await;
    let mut roots = RootCertStore::empty();
    let pem = scene.door().authority_pem.clone().unwrap();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in [&TLS12, &TLS13] {
        for protocol in [&b"http/1.1"[..], b"h2"] {
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
            let config = config.with_protocol_versions(&[version]).unwrap();
            let config = config.with_root_certificates(roots.clone());
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            let stream = TcpStream::connect(("127.0.0.1", scene.port())).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
            let mut stream = within(connecting).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(version.version));
            assert_eq!(session.alpn_protocol(), Some(protocol));
            let (asks, begin) = match protocol {
                b"h2" => ([PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(), &[0, 0][..]),
                _ => (
                    b"GET /v3/user HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
                    &b"HTTP/1.1 200"[..],
                ),
            };
            stream.write_all(&asks).await.unwrap();
            let mut said = vec![0; begin.len()];
            within(stream.read_exact(&mut said)).await.unwrap();
            assert_eq!(said, begin);
        }
    }
    scene.stop().await;
}

/// Fails when HTTP/2 without TLS needs an upgrade on either side.
#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge_on_both_sides() {
    let mut setup = Setup::of(Vendor::MFiles);
    setup.upstream.push_str("\nhttp2 = \"always\"");
    let scene = setup.start().await;
    main_job(&scene, Protocol::Http2).await;
    let h2_has_no_host = |names: &[String]| !names.iter().any(|name| name == "host");
    assert!(scene.control().requests().iter().all(|record| h2_has_no_host(&record.header_names)));
    scene.stop().await;
}

/// Fails when a certificate is not verified: the login would be sent to anybody.
#[tokio::test]
async fn a_login_is_never_sent_to_an_upstream_with_the_wrong_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let other = Certificate::for_names(&["localhost"]).unwrap();
    let other = write(folder.path(), "other.pem", other.authority_pem());
    for tls in [
        format!("tls = {{ ca_file = {other:?} }}"),
        "tls = { server_name = \"other.test\" }".into(),
    ] {
        let upstream = Setup { upstream_tls: true, ..Setup::of(Vendor::Contentstack) };
        let upstream = upstream.start().await;
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.origin = Some(upstream.emulator.origin());
        let own_authority = upstream.folder.path().join("upstream-ca.pem");
        setup.upstream = match tls.contains("server_name") {
            true => {
                format!("tls = {{ ca_file = {own_authority:?}, server_name = \"other.test\" }}")
            }
            false => tls,
        };
        let scene = setup.start().await;
        let answer = vendors::read(&scene).send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (502, "upstream_unreachable".to_owned()));
        assert_eq!(upstream.control().counters().requests, 0);
        scene.stop().await;
        upstream.stop().await;
    }
}

/// Fails when a Unix socket is not served, is open to everybody, or stays behind.
#[tokio::test]
async fn a_unix_socket_is_served_and_removed() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.sock");
    let mut setup = Setup::of(Vendor::ThoughtSpot);
    setup.address = format!("unix:{}", path.display());
    let scene = setup.start().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        main_job(&scene, protocol).await;
    }
    scene.stop().await;
    assert!(!path.exists());
}

/// Fails when a Unix peer gets an address that it does not have.
#[tokio::test]
async fn a_unix_peer_is_told_as_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.sock");
    let mut setup = Setup::of(Vendor::MFiles);
    setup.address = format!("unix:{}", path.display());
    let scene = setup.start().await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    let names = scene.control().requests().pop().unwrap().header_names;
    assert!(names.contains(&"forwarded".to_owned()));
    assert!(!names.contains(&"x-forwarded-for".to_owned()));
    scene.stop().await;
}

/// Fails when many streams on one connection wait for each other, or share one login's failure.
#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let scene = Scene::of(Vendor::Contentstack).await;
    assert_eq!(vendors::read(&scene).send().await.status, 200);
    let hold = scene.control().hold("GET /v3/content_types/page");
    let quick = scene.call("GET", "/v3/stacks");
    let slow = scene.call("GET", "/v3/content_types/page");
    let mut connection = quick.http2_connection().await;
    let slow = tokio::spawn(connection.send(&slow));
    within(hold.arrived(1)).await;
    for _ in 0..20 {
        assert_eq!(within(connection.send(&quick)).await.status, 200);
    }
    assert!(!slow.is_finished());
    hold.release();
    within(slow).await.unwrap();
    scene.stop().await;
}

/// Fails when a connection that says nothing is kept for ever.
#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_its_time() {
    let tables = "[timeouts]\nidle = \"300ms\"\nhead = \"200ms\"\n";
    let scene = Setup::of(Vendor::Contentstack).tables(tables).start().await;
    let started = std::time::Instant::now();
    for bytes in ["", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        raw.write(bytes).await;
        let said = raw.read_to_end().await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    scene.stop().await;
}

/// Fails when a start that fails leaves the file of a Unix socket behind, or takes that of another.
#[tokio::test]
async fn a_start_that_fails_leaves_no_socket_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, taken) = (folder.path().join("ours.sock"), folder.path().join("taken.sock"));
    let _other = std::os::unix::net::UnixListener::bind(&taken).unwrap();
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.address = format!("unix:{}", ours.display());
    let scene = setup.start().await;
    let mut scene = scene;
    let app = scene.take_app();
    within(app.stop()).await;
    assert!(!ours.exists());
    let config = scene.folder.path().join("doorward.toml");
    let listener =
        format!("[listeners.second]\naddress = \"unix:{}\"\naccess = \"open\"\n", taken.display());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n{listener}")).unwrap();
    let refused = scene.try_start().unwrap_err().to_string();
    assert!(refused.contains("taken.sock"), "{refused}");
    assert!(!ours.exists() && taken.exists());
}
