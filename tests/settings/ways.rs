//! The way to an upstream: what can be said of it, and what cannot be meant.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use doorward::settings::{Authorities, Sni, Way};
use rcgen::{CertificateParams, KeyPair};

use super::{Folder, faults_of, good_with, nothing};

const URL: &str = "url = \"https://api.example.com/base/\"";

/// The good configuration with further lines of the upstream's table.
fn with(lines: &str) -> String {
    good_with(URL, &format!("{URL}\n{lines}"))
}

/// Fails when a key is taken for another, or for nothing.
#[test]
fn every_key_of_the_way_means_what_it_says() {
    let text = with(
        "authority = \"cms.internal:8443\"\nidle_timeout = \"8s\"\n\
         tls = { extra_ca_file = \"ca.pem\", server_name = \"a.example\", sni = \"b.example\", \
         pins = [\"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"], \
         certificate = \"my.crt\", key = \"my.key\", version_min = \"1.3\" }\n\
         proxy = { url = \"https://proxy.internal:3129\", username = \"me\", \
         password = { env = \"PROXY_PW\" }, tls = { sni = false } }",
    );
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let loaded = folder.loaded(&["doorward.toml"], nothing());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let upstream = &loaded.settings.upstreams[0];
    assert_eq!(upstream.authority.as_deref(), Some("cms.internal:8443"));
    assert_eq!(upstream.idle_timeout.as_secs(), 8);
    let tls = &upstream.tls;
    assert_eq!(tls.authorities, Authorities::MachineAnd(folder.path("ca.pem")));
    assert_eq!(tls.server_name.as_deref(), Some("a.example"));
    assert_eq!(tls.sni, Sni::Other("b.example".to_owned()));
    assert_eq!(tls.pins[0][..2], [0xe3, 0xb0]);
    let identity = tls.identity.as_ref().unwrap();
    assert_eq!(identity.certificate, folder.path("my.crt"));
    assert_eq!(identity.key, folder.path("my.key"));
    assert_eq!(format!("{:?}", tls.version_min), "Tls13");
    let Way::Proxy(proxy) = &upstream.way else { panic!("{:?}", upstream.way) };
    assert_eq!(proxy.origin.to_string(), "https://proxy.internal:3129");
    assert_eq!((&proxy.tls.sni, &proxy.tls.authorities), (&Sni::Off, &Authorities::Machine));
    assert_eq!(proxy.login.as_ref().unwrap().0, "me");
}

/// Fails when one of these is only found when somebody connects, or is told without its place.
#[test]
fn what_cannot_be_meant_of_a_way_is_a_fault_at_its_place() {
    for (lines, expected) in [
        (
            "tls = { ca_file = \"a\", extra_ca_file = \"b\" }",
            "8:24 only one of `ca_file` and `extra_ca_file` can be given; `ca_file` trusts nobody else",
        ),
        ("tls = { certificate = \"a\" }", "8:23 `certificate` needs `key`, too"),
        ("tls = { key = \"a\" }", "8:15 `key` needs `certificate`, too"),
        ("tls = { server_name = \"a b\" }", "8:23 this is neither a host name nor an IP address"),
        (
            "tls = { sni = \"127.0.0.1\" }",
            "8:15 only a host name can be told as SNI; `sni = false` tells none",
        ),
        (
            "tls = { pins = [\"sha256/abc\"] }",
            "8:17 a pin is `sha256/` and the base64 of 32 bytes; openssl x509 -in server.crt -noout \
             -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        ),
        (
            "tls = { version_min = \"1.1\" }",
            "8:23 unknown value for `version_min`; expected `1.2` or `1.3`; did you mean `1.2`?",
        ),
        (
            "tls = { sni = 5 }",
            "8:15 expected a string or `true` or `false` for `sni`, found an integer; for example \"edge.example.com\"",
        ),
        (
            "authority = \"https://a\"",
            "8:13 this is no host with or without a port; for example \"cms.internal\" or \
             \"cms.internal:8443\"",
        ),
        (
            "authority = \"me@a\"",
            "8:13 this is no host with or without a port; for example \"cms.internal\" or \
             \"cms.internal:8443\"",
        ),
        (
            "unix_socket = \"a.sock\"\nproxy = { url = \"http://127.0.0.1:3128\" }",
            "9:1 only one of `unix_socket` and `proxy` can be given",
        ),
        ("proxy = { url = \"http://127.0.0.1:3128/x\" }", "8:17 the URL of a proxy has no path"),
        (
            "proxy = { url = \"http://127.0.0.1:3128\", tls = { sni = false } }",
            "8:48 a proxy over plain `http` has no certificate to verify",
        ),
        (
            "proxy = { url = \"https://a\", username = \"me\" }",
            "8:41 a login at the proxy needs a `password`, too",
        ),
        (
            "proxy = { url = \"https://a\", password = { env = \"X\" } }",
            "8:41 a login at the proxy needs a `username`, too",
        ),
        (
            "proxy = { url = \"https://a\", username = \"m:e\", password = { env = \"X\" } }",
            "8:41 no name with a colon or a control character can be sent to a proxy",
        ),
        ("proxy = {}", "8:1 missing key `url` in `upstreams.cms.proxy`"),
        ("idle_timeout = \"0s\"", "8:16 a wait must be longer than nothing"),
    ] {
        assert_eq!(faults_of(&with(lines)), [format!("doorward.toml:{expected}")], "{lines}");
    }
}

/// Fails when the password of a proxy may stand in the configuration, or is shown in a fault.
#[test]
fn the_password_of_a_proxy_is_kept_elsewhere() {
    for proxy in [
        "{ url = \"https://a\", username = \"me\", password = \"hunter2\" }",
        "{ url = \"https://me:hunter2@a\" }",
    ] {
        let folder = Folder::with(&[("doorward.toml", &with(&format!("proxy = {proxy}")))]);
        let faults = folder.faults(&["doorward.toml"], nothing());
        assert!(!faults.is_empty(), "{proxy}");
        let report = format!("{faults} {faults:?}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

/// Fails when a login may leave this machine in the clear by way of a proxy or is kept from a socket
/// of this machine.
#[test]
fn plain_http_stays_on_this_machine() {
    let plain = |url: &str, lines: &str| {
        faults_of(&good_with(URL, &format!("url = {url:?}\n{lines}"))).len()
    };
    assert_eq!(plain("http://app.local", ""), 1);
    assert_eq!(plain("http://app.local", "unix_socket = \"app.sock\""), 0);
    assert_eq!(plain("http://127.0.0.1", "proxy = { url = \"https://proxy.internal\" }"), 1);
    // Whom a proxy asks in turn, nobody here knows.
    assert_eq!(plain("http://127.0.0.1", "proxy = { url = \"http://localhost:3128\" }"), 1);
    assert_eq!(plain("http://app.localhost", "proxy = { url = \"http://localhost:3128\" }"), 1);
    assert_eq!(plain("http://app.local", "proxy = { url = \"http://localhost:3128\" }"), 1);
    // A socket does not make TLS's keys wrong.
    assert_eq!(plain("https://app.local", "unix_socket = \"app.sock\"\ntls = { sni = false }"), 0);
}

/// Fails when an operator is not told that whoever is on the way reads the proxy's password.
#[test]
fn a_proxys_password_in_the_clear_is_warned_of() {
    let login = "username = \"me\", password = { env = \"X\" }";
    for (url, warned) in [
        ("http://proxy.internal:3128", true),
        ("http://127.0.0.1:3128", false),
        ("https://proxy.internal", false),
    ] {
        let text = with(&format!("proxy = {{ url = {url:?}, {login} }}"));
        let folder = Folder::with(&[("doorward.toml", &text)]);
        let warnings = folder.loaded(&["doorward.toml"], nothing()).warnings;
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
    }
}

/// Fails when a file of a certificate of ours is only looked at when somebody connects, when its key
/// is not judged as a secret is, or when a fault has no place.
#[test]
fn a_certificate_of_ours_is_judged_with_its_key_at_their_places() {
    let text = with(
        "tls = { certificate = \"my.crt\", key = \"my.key\" }\n\
         proxy = { url = \"https://a\", tls = { certificate = \"my.crt\", key = \"my.key\" } }",
    );
    let folder = Folder::with(&[("doorward.toml", &text)]);
    folder.secret(b"x");
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::default().self_signed(&one).unwrap().pem();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(folder.path(name), text).unwrap();
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let judged = || {
        let loaded = folder.loaded(&["doorward.toml"], nothing());
        match loaded.read_credentials() {
            Ok((_, warnings)) => warnings,
            Err(faults) => folder.lines(&faults),
        }
    };
    let both = |at_upstream: &str, at_proxy: &str, message: &str| {
        [at_upstream, at_proxy].map(|place| format!("doorward.toml:{place} {message}"))
    };
    let pem = folder.path("my.crt").display().to_string();
    let key_file = folder.path("my.key").display().to_string();
    let shown = |message: &str| message.replace(&pem, "my.crt").replace(&key_file, "my.key");

    write("my.key", &one.serialize_pem(), 0o600);
    assert_eq!(judged(), both("8:23", "9:52", "there is no file `my.crt`"));
    write("my.crt", &certificate, 0o644);
    assert_eq!(judged(), Vec::<String>::new());
    write("my.crt", "nothing", 0o644);
    assert_eq!(judged(), both("8:23", "9:52", "there is no certificate in `my.crt`"));
    write("my.crt", &certificate, 0o644);
    write("my.key", &other.serialize_pem(), 0o600);
    let message = "the key in `my.key` is not that of the first certificate in `my.crt`";
    assert_eq!(judged(), both("8:39", "9:68", message));
    write("my.key", "nothing", 0o600);
    assert_eq!(judged(), both("8:39", "9:68", "there is no private key in `my.key`"));
    write("my.key", &one.serialize_pem(), 0o620);
    let faults = judged();
    let message = "secret file `my.key` can be changed by others (mode 0620); chmod 600 my.key";
    assert_eq!(faults, both("8:39", "9:68", message));
    write("my.key", &one.serialize_pem(), 0o644);
    let warnings = judged();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(shown(&warnings[0]).contains("`my.key` can be read by everybody"), "{warnings:?}");
}

/// Fails when a helper that the recipe asks may be missing, one that it does not ask is taken in, or its
/// program is looked for elsewhere than beside the file.
#[test]
fn a_login_helper_is_there_where_the_recipe_asks_one() {
    let helper = "login_helper = { command = [\"bin/log-in\", \"-q\"], timeout = \"3s\" }";
    let asking = |lines: &str| with(lines).replace("\"contentstack\"", "\"asking\"");
    let folder = Folder::with(&[("doorward.toml", &asking(helper))]);
    let loaded = folder.loaded(&["doorward.toml"], nothing());
    let command = loaded.settings.upstreams[0].login_helper.as_ref().unwrap();
    assert_eq!(command.program, folder.path("bin/log-in").into_os_string());
    assert_eq!(
        (command.arguments.as_slice(), command.timeout.as_secs()),
        (&["-q".to_owned()][..], 3)
    );

    let unasked = faults_of(&with(helper)).join("\n");
    assert!(unasked.contains("8:1 the recipe asks no login helper"), "{unasked}");
    let missing = faults_of(&asking("")).join("\n");
    assert!(missing.contains("`login_helper` must name it"), "{missing}");
    for (wrong, expected) in [
        ("login_helper = { command = [] }", "at least 1 element"),
        ("login_helper = { comand = [\"x\"] }", "did you mean `command`"),
        ("login_helper = { command = [\"x\"], timeout = \"3\" }", "duration"),
    ] {
        let faults = faults_of(&asking(wrong)).join("\n");
        assert!(faults.contains(expected), "{wrong}: {faults}");
    }
}
