//! What shows who a client is: faults at their places.

use super::{Folder, GOOD, faults_of, good_with, nothing};

const KEY: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// The good configuration with `access = "clients"`, this in its listener, and these tables.
fn asking(listener: &str, tables: &str) -> String {
    good_with("access = \"open\"", &format!("access = \"clients\"\n{listener}")) + tables
}

const TLS: &str = r#"tls = { certificate = "c", key = "k", client_ca_file = "ca.pem" }"#;

#[test]
fn names_users_and_fields_that_cannot_be_meant_are_faults_at_their_places() {
    let text = asking(
        TLS,
        r#"
[clients.alice]
certificates = ["spiffe://acme/ci", "ci.example", "dns:*.example", "uri:spiffe://acme/ci"]
unix = [{ uid = 1 }, { user = "nobody-has-this-name" }, { uid = 1, gid = 1 }, { gid = 65534 }]
grants = [{}]
[clients.bob]
certificates = ["spiffe://acme/ci"]
unix = [{ uid = 1 }]
grants = [{}]
[clients.carol]
grants = [{}]
[access]
key_headers = ["X-Acme-Key", "Host", "x-acme-key", "Authorization", "Content-Type", "a_b", "a b"]
"#,
    );
    let first = asking(TLS, "").lines().count() + 1;
    let expected = [
        (2, 37, "a certificate's name begins with `spiffe://`, `uri:`, `dns:` or `email:`"),
        (2, 51, "a name stands for one client: there are no wildcards"),
        (2, 68, "this name stands here twice"),
        (3, 31, "this machine has no user `nobody-has-this-name`"),
        (3, 57, "exactly one of `user`, `uid`, `group` and `gid` belongs here"),
        (3, 87, "65534 stands for everybody whom the kernel has no number for"),
        (6, 17, "client `alice` has the same name"),
        (7, 9, "client `alice` has the same user or group"),
        (
            9,
            10,
            "nothing shows that somebody is client `carol`; add `keys` (`doorward key new NAME`), `tokens`, `certificates` or `unix`",
        ),
        (12, 30, "this header field has a meaning of its own and cannot be taken for keys"),
        (12, 38, "this header field stands here twice"),
        (12, 52, "keys are looked for here in any case"),
        (12, 69, "this header field has a meaning of its own and cannot be taken for keys"),
        (12, 85, "a header field with `_` in its name can be lost on the way"),
        (12, 92, "this is no name of a header field"),
    ];
    let expected = expected.map(|(line, column, message)| {
        format!("doorward.toml:{}:{column} {message}", first + line)
    });
    assert_eq!(faults_of(&text), expected);
}

#[test]
fn a_listener_that_lets_nobody_in_and_a_proof_that_nobody_looks_at_are_faults() {
    let client = |ways: &str| format!("[clients.alice]\n{ways}\ngrants = [{{}}]\n");
    let certificates = client("certificates = [\"dns:ci.example\"]");
    let unix = client("unix = [{ uid = 1 }]");
    let messages = |text: &str| -> Vec<String> {
        let place_and_rest = faults_of(text).into_iter();
        let messages = place_and_rest
            .map(|line| line.split_once(' ').unwrap().1.split("; ").next().unwrap().to_owned());
        messages.collect()
    };
    let nobody = "listener `main` lets nobody in: no client can show here who it is";
    assert_eq!(
        messages(&asking("", &certificates)),
        [nobody, "no listener asks for clients' certificates"]
    );
    assert_eq!(
        messages(&asking("", &unix)),
        [nobody, "no listener that asks for clients is a Unix socket"]
    );
    assert_eq!(messages(&asking(TLS, &certificates)), [""; 0]);
    let on_a_socket = asking("", &unix).replace("127.0.0.1:8080", "unix:/run/doorward.sock");
    assert_eq!(messages(&on_a_socket), [""; 0]);
    let with_key = client(&format!("keys = [{KEY:?}]\ncertificates = [\"dns:ci.example\"]"));
    assert_eq!(messages(&asking("", &with_key)), ["no listener asks for clients' certificates"]);
    let open = good_with("access = \"open\"", &format!("access = \"open\"\n{TLS}"));
    assert_eq!(messages(&open), ["this listener is open and asks nobody who it is"]);
    let without_ca =
        "tls = { certificate = \"c\", key = \"k\", client_certificates = \"required\" }";
    let key = client(&format!("keys = [{KEY:?}]"));
    assert_eq!(
        messages(&asking(without_ca, &key)),
        ["without `client_ca_file` no certificate is asked for"]
    );
}

#[test]
fn certificates_that_say_nothing_are_told() {
    let text = asking(TLS, &format!("[clients.alice]\nkeys = [{KEY:?}]\ngrants = [{{}}]\n"));
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let warnings = folder.loaded(&["doorward.toml"], nothing()).warnings;
    assert!(
        warnings.iter().any(|told| told.contains("no client has `certificates`")),
        "{warnings:?}"
    );
    assert!(GOOD.contains("open"));
}
