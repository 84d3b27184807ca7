//! The vendors' own SDKs, unchanged, each in a process of its own: first directly against the
//! vendor's emulator, logged in by themselves; then through Doorward, without any credential for
//! the vendor, while their session is ended behind their back.
//!
//! `tests/clients/install` must have run; without the SDKs every test here fails.

// A test ends where something is not as it must be, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod gateway;
mod leaks;
mod relay;
mod running;
mod sdk;
mod transcript;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use doorward::access::key::ClientKey;
use doorward::emulator::{Certificate, Emulator, Options, Vendor};

use gateway::Files;
use leaks::leaks;
use relay::Relay;
use sdk::{Mode, Run, Sdk, Task};
use transcript::plain_answers;

/// How the SDK talks to its server.
#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Http,
    Tls,
}

/// The name by which a script may reach 127.0.0.1 when its SDK refuses addresses and `localhost`.
const NAME: &str = "gateway.doorward.test";
/// Not a multiple of anything, and more than one packet.
const UPLOAD_BYTES: usize = 100_003;

macro_rules! tests_of {
    ($module:ident, $vendor:ident, $script:literal) => {
        mod $module {
            use super::*;

            const SDK: Sdk = Sdk { vendor: Vendor::$vendor, script: $script };

            #[tokio::test]
            async fn works_directly_over_http() {
                works_directly(&SDK, Wire::Http).await;
            }

            #[tokio::test]
            async fn works_directly_over_tls() {
                works_directly(&SDK, Wire::Tls).await;
            }

            #[tokio::test]
            async fn fails_directly_when_its_session_is_ended() {
                notices_that_its_session_is_ended(&SDK).await;
            }

            #[tokio::test]
            async fn works_through_doorward_over_http() {
                works_through_doorward(&SDK, Wire::Http, None, "identity").await;
            }

            #[tokio::test]
            async fn works_through_doorward_that_decodes() {
                works_through_doorward(&SDK, Wire::Http, None, "decode").await;
            }

            #[tokio::test]
            async fn works_through_doorward_over_tls() {
                works_through_doorward(&SDK, Wire::Tls, None, "identity").await;
            }

            #[tokio::test]
            async fn logs_in_with_a_doorward_key_over_http() {
                works_through_doorward(&SDK, Wire::Http, Some(key()), "identity").await;
            }

            #[tokio::test]
            async fn logs_in_with_a_doorward_key_over_tls() {
                works_through_doorward(&SDK, Wire::Tls, Some(key()), "identity").await;
            }
        }
    };
}

tests_of!(contentstack_node, Contentstack, "use_contentstack_management.mjs");
tests_of!(contentstack_python, Contentstack, "use_contentstack_management.py");
tests_of!(thoughtspot_node, ThoughtSpot, "use_thoughtspot_rest_api_sdk.mjs");
tests_of!(thoughtspot_python, ThoughtSpot, "use_thoughtspot_rest_api_sdk.py");
tests_of!(thoughtspot_v1_python, ThoughtSpot, "use_thoughtspot_rest_api_v1.py");
tests_of!(mfiles_python, MFiles, "use_mfiles.py");

/// With the user's own login: the emulator is one that the SDK takes for the vendor. It is also
/// the counter-proof of the search for leaks, which must find what was logged in with.
async fn works_directly(sdk: &Sdk, wire: Wire) {
    let place = Place::new();
    let (emulator, authority) = place.emulator(sdk.vendor, wire).await;
    if wire == Wire::Http {
        keep_cookies_over_http(&emulator);
    }
    let relay = Relay::start(emulator.address()).await;
    let mut run = sdk.run(&Task {
        base_url: &base_url(wire, relay.address()),
        mode: Mode::Direct(sdk.vendor.seeded_user()),
        authority: authority.as_deref(),
        upload: &place.upload,
    });
    run.says("done 1").await;
    run.go().await;
    run.says("done 2").await;
    leave(&mut run).await;

    assert!(emulator.control().counters().logins > 0, "the SDK has logged in");
    if wire == Wire::Http {
        let seen = seen(&relay);
        assert!(!leaks(&emulator.control().issued(), &seen).is_empty(), "the search is blind");
    }
    emulator.stop().await;
}

/// The counter-proof of the runs through Doorward: alone, the SDK does notice. That also shows that
/// the scripts look at what they get.
async fn notices_that_its_session_is_ended(sdk: &Sdk) {
    let place = Place::new();
    let (emulator, _) = place.emulator(sdk.vendor, Wire::Http).await;
    keep_cookies_over_http(&emulator);
    let mut run = sdk.run(&Task {
        base_url: &emulator.origin(),
        mode: Mode::Direct(sdk.vendor.seeded_user()),
        authority: None,
        upload: &place.upload,
    });
    run.says("done 1").await;
    assert!(emulator.control().expire_sessions() > 0, "a session to end");
    run.go().await;
    let outcome = run.end().await;
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.output);
    emulator.stop().await;
}

/// The vendor's own command-line tool speaks https only, and knows no way to work without a login.
#[tokio::test]
async fn contentstacks_tool_logs_in_with_a_doorward_key() {
    let place = Place::new();
    let (emulator, upstream_authority) = place.emulator(Vendor::Contentstack, Wire::Tls).await;
    let (certificate, authority) = place.certificate(Wire::Tls, "doorward.pem");
    let key = key();
    let files = Files {
        folder: place.folder.path(),
        certificate: certificate.as_ref(),
        upstream_authority: upstream_authority.as_deref(),
        key: Some(&key),
        search_bodies: "identity",
    };
    let gateway = gateway::start(&emulator, &files).await;
    let sdk = Sdk { vendor: Vendor::Contentstack, script: "use_contentstack_cli.mjs" };
    let mut run = sdk.run(&Task {
        base_url: &base_url(Wire::Tls, gateway.address()),
        mode: Mode::Keyed(key.clone()),
        authority: authority.as_deref(),
        upload: &place.upload,
    });
    run.says("done 1").await;
    run.go().await;
    run.says("done 2").await;
    let client_output = leave(&mut run).await;
    let gateway_output = gateway.stop().await;
    let control = emulator.control();
    let counters = control.counters();
    assert_eq!((counters.logins, counters.logins_refused), (1, 0), "only Doorward logs in");
    assert_eq!((counters.logouts, counters.live_sessions), (1, 0), "only Doorward logs out");
    assert_eq!(counters.requests_without_credential, 0);
    assert_eq!(control.requests_with(key.expose()), 0, "the upstream was shown the key");
    let output = format!("{client_output}{gateway_output}");
    assert!(!output.contains("doorward_"), "a credential was printed: {output}");
    assert_eq!(leaks(&control.issued(), output.as_bytes()), []);
    emulator.stop().await;
}

fn key() -> ClientKey {
    ClientKey::generate("robot".parse().unwrap()).unwrap()
}

/// Without a credential of the vendor's: the SDK does not notice that its session was ended, nothing
/// of a session reaches it, and none is left when Doorward has stopped. With a key the listener asks
/// for one, and the SDK shows it as the password of its own login, nowhere else.
async fn works_through_doorward(
    sdk: &Sdk,
    wire: Wire,
    key: Option<ClientKey>,
    search_bodies: &'static str,
) {
    let place = Place::new();
    let (emulator, upstream_authority) = place.emulator(sdk.vendor, wire).await;
    let (certificate, authority) = place.certificate(wire, "doorward.pem");
    let files = Files {
        folder: place.folder.path(),
        certificate: certificate.as_ref(),
        upstream_authority: upstream_authority.as_deref(),
        key: key.as_ref(),
        search_bodies,
    };
    if sdk.vendor == Vendor::MFiles && search_bodies == "decode" {
        emulator.control().switch("compress", true.into()).unwrap();
    }
    let gateway = gateway::start(&emulator, &files).await;
    let relay = Relay::start(gateway.address()).await;
    let control = emulator.control();
    let mut run = sdk.run(&Task {
        base_url: &base_url(wire, relay.address()),
        mode: key.clone().map_or(Mode::Through, Mode::Keyed),
        authority: authority.as_deref(),
        upload: &place.upload,
    });
    run.says("done 1").await;
    assert_eq!(control.counters().logins, 1, "one login for the whole first round");

    assert_eq!(control.expire_sessions(), 1, "one session to end");
    run.go().await;
    run.says("done 2").await;
    let client_output = leave(&mut run).await;
    assert_eq!(control.counters().live_sessions, 1, "the client's logout ended nobody's session");

    let gateway_output = gateway.stop().await;
    // ThoughtSpot's local server never compresses.
    let is_decoded = search_bodies == "decode" && sdk.vendor != Vendor::ThoughtSpot;
    assert_eq!(gateway_output.contains("\"decoded\":"), is_decoded, "{gateway_output}");
    let counters = control.counters();
    assert_eq!(counters.logins, 2, "one login at the start, one after the session had ended");
    assert_eq!(counters.logins_refused, 0);
    assert_eq!(counters.logins_with_credential, 0, "no login carries an old session");
    assert_eq!(counters.requests_without_credential, 0);
    assert_eq!(counters.requests_with_foreign_credential, 0);
    assert_eq!(
        counters.requests_with_dead_credential, 2,
        "the one request that noticed, and the logout of the session that was called dead"
    );
    assert_eq!(counters.live_sessions, 0, "the last session was logged out");
    if let Some(key) = &key {
        assert_eq!(control.requests_with(key.expose()), 0, "the upstream was shown the key");
        let output = format!("{client_output}{gateway_output}");
        assert!(!output.contains("doorward_"), "a credential was printed: {output}");
    }

    let mut seen = [client_output, gateway_output].concat().into_bytes();
    if wire == Wire::Http {
        seen.extend(self::seen(&relay));
    }
    let issued = control.issued();
    assert!(issued.len() > 2, "the emulator says what it has issued");
    assert_eq!(leaks(&issued, &seen), []);
    emulator.stop().await;
}

/// A client that keeps cookies by the rules does not send a `Secure` one over http.
fn keep_cookies_over_http(emulator: &Emulator) {
    if emulator.vendor() == Vendor::ThoughtSpot {
        emulator.control().switch("client_id_needed", false.into()).unwrap();
    }
}

/// Lets the script log out and end; what it printed.
async fn leave(run: &mut Run) -> String {
    run.go().await;
    let outcome = run.end().await;
    assert!(outcome.status.success(), "{}:\n{}", outcome.status, outcome.output);
    outcome.output
}

/// Every byte that went over the wire, answers also in plain.
fn seen(relay: &Relay) -> Vec<u8> {
    let mut seen = Vec::new();
    for conversation in relay.conversations() {
        let received = conversation.received();
        seen.extend(conversation.sent());
        seen.extend(plain_answers(&received));
        seen.extend(received);
    }
    assert!(!seen.is_empty(), "the SDK spoke through the relay");
    seen
}

fn base_url(wire: Wire, relay: SocketAddr) -> String {
    match wire {
        Wire::Http => format!("http://{relay}"),
        Wire::Tls => format!("https://localhost:{}", relay.port()),
    }
}

/// A folder for the files of one test.
struct Place {
    folder: tempfile::TempDir,
    upload: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let upload = folder.path().join("upload.bin");
        let bytes: Vec<u8> = (0..UPLOAD_BYTES).map(|position| (position % 251) as u8).collect();
        std::fs::write(&upload, bytes).unwrap();
        Place { folder, upload }
    }

    /// The vendor's emulator, and the file with the authority to trust it by.
    async fn emulator(&self, vendor: Vendor, wire: Wire) -> (Emulator, Option<PathBuf>) {
        let (tls, authority) = self.certificate(wire, "vendor.pem");
        let emulator = Emulator::start(vendor, Options { tls, ..Options::default() }).await;
        (emulator.unwrap(), authority)
    }

    /// A certificate for this machine and the file with the authority behind it.
    fn certificate(&self, wire: Wire, file: &str) -> (Option<Certificate>, Option<PathBuf>) {
        if wire == Wire::Http {
            return (None, None);
        }
        let certificate = Certificate::for_names(&["localhost", "127.0.0.1", NAME]).unwrap();
        let authority: &Path = &self.folder.path().join(file);
        std::fs::write(authority, certificate.authority_pem()).unwrap();
        (Some(certificate), Some(authority.to_owned()))
    }
}
