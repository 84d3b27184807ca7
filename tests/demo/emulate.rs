//! `emulate`: one emulator by itself.

use doorward::emulator::Vendor;
use http::StatusCode;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::curl::Curl;
use super::process::{Ended, Process, run};

#[tokio::test]
async fn it_says_where_it_is_and_who_may_log_in() {
    for vendor in Vendor::ALL {
        let mut emulator = Process::start(&["emulate", vendor.name()]);
        emulator.line_with("Ctrl-C stops").await;
        let said = emulator.said().to_owned();
        let user = vendor.seeded_user();
        assert!(said.contains(&user.login) && said.contains(&user.password), "{said}");
        let (status, counters) = get(&after(&said, "admin")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(counters.contains(r#""logins":0"#), "{counters}");
        emulator.signal("-TERM").await;
        let (status, said) = emulator.end().await;
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

#[tokio::test]
async fn switches_are_turned_and_time_runs_faster() {
    let mut emulator = Process::start(&[
        "emulate",
        "contentstack",
        "--speed",
        "1000000",
        "--switch",
        "roles=64",
        "--switch",
        r#"unknown_api_key="unauthorized""#,
    ]);
    emulator.line_with("Ctrl-C stops").await;
    let admin = after(emulator.said(), "admin");
    let (_, switches) = get(&admin.replace("counters", "switches")).await;
    assert!(switches.contains(r#""roles":64"#), "{switches}");
    assert!(switches.contains(r#""unknown_api_key":"unauthorized""#), "{switches}");
    let clock = admin.replace("counters", "clock");
    let (first, second) = (wall(&clock).await, wall(&clock).await);
    // A call takes some 100 µs at least, which are 100 s there.
    assert!(second - first > 10_000, "{first} {second}");
    emulator.signal("-INT").await;
    emulator.end().await;
}

#[tokio::test]
async fn with_tls_the_authority_in_the_file_can_be_trusted() {
    let mut emulator = Process::start(&["emulate", "mfiles", "--tls"]);
    emulator.line_with("Ctrl-C stops").await;
    let said = emulator.said().to_owned();
    let file = std::path::PathBuf::from(after(&said, "trust"));
    let origin = said.split_once(" at ").unwrap().1.lines().next().unwrap();
    let port: u16 = origin.strip_prefix("https://localhost:").unwrap().parse().unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&file).unwrap()).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await.expect("the certificate is trusted");

    emulator.signal("-TERM").await;
    let (status, _) = emulator.end().await;
    assert_eq!(status.code(), Some(0));
    assert!(!file.exists());
}

#[tokio::test]
async fn what_it_cannot_do_is_said() {
    let cases = [
        (&["emulate", "sharepoint"][..], "[possible values: contentstack, thoughtspot, mfiles]"),
        (&["emulate", "mfiles", "--switch", "roles=1"][..], "no switch is called \"roles\""),
        (&["emulate", "mfiles", "--switch", "two_nodes=yes"][..], "the value is no JSON"),
        (&["emulate", "mfiles", "--address", "0.0.0.0:0"][..], "not on this machine only"),
        (&["emulate", "mfiles", "--speed", "0"][..], "--speed"),
    ];
    for (arguments, why) in cases {
        let Ended { code, errors, .. } = run(arguments).await;
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(why), "{errors}");
    }
}

/// What stands behind a word at the beginning of a line.
fn after(said: &str, word: &str) -> String {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix(word));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.unwrap_or_else(|| panic!("no {word} in\n{said}")).to_owned()
}

async fn get(url: &str) -> (StatusCode, String) {
    Curl { url: url.to_owned(), ..Curl::default() }.send().await
}

async fn wall(url: &str) -> u64 {
    let (_, body) = get(url).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["wall_ms"].as_u64().unwrap()
}
