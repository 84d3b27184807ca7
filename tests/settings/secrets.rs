//! Secrets arrive unchanged or not at all, and are never shown.

use doorward::access::key::ClientKey;
use doorward::secret::Environment;

use super::{Folder, GOOD, good_with, nothing};

#[test]
fn a_literal_secret_is_never_shown() {
    let literals = [
        ("password = { file = \"secrets/password\" }", "password = \"hunter2\""),
        ("password = { file = \"secrets/password\" }", "pasword = \"hunter2\""),
        ("password = { file = \"secrets/password\" }", "geheimnis = \"hunter2\""),
        ("password = { file = \"secrets/password\" }", "password = { value = \"hunter2\" }"),
        ("password = { file = \"secrets/password\" }", "password = \"hunter2"),
        ("password = { file = \"secrets/password\" }", "geheimnis = \"hunter2"),
        ("username = \"0012345\"", "username = { fil = \"x\", geheimnis = \"hunter2\" }"),
        ("https://api.example.com/base/", "https://me:hunter2@api.example.com/"),
    ];
    for (from, to) in literals {
        let folder = Folder::with(&[("doorward.toml", &good_with(from, to))]);
        let faults = folder.faults(&["doorward.toml"], nothing());
        assert!(!faults.is_empty(), "{to}");
        let report = format!("{faults} {faults:?}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_key_in_the_place_of_its_digest_is_not_shown() {
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let text = format!(
        "{GOOD}\n[clients.alice]\nkeys = [\"{}\", \"sha256:12\"]\ngrants = [{{}}]\n",
        key.expose()
    );
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let report = folder.faults(&["doorward.toml"], nothing()).to_string();
    assert!(report.contains("this is a client key itself, not its digest"), "{report}");
    assert!(report.contains("a digest is `sha256:` and 64 hex digits"), "{report}");
    assert!(!report.contains(key.expose()), "{report}");
}

#[test]
fn secrets_arrive_unchanged_from_files_and_variables() {
    let variable = good_with("{ file = \"secrets/password\" }", "{ env = \"CMS_PW\" }");
    let folder = Folder::with(&[("doorward.toml", GOOD), ("variable.toml", &variable)]);
    let secrets =
        ["0012345", "1e5", "007", "18446744073709551616", "true", "p\"w\"x", "{{x}}", "${X}"];
    for secret in secrets {
        folder.secret(secret.as_bytes());
        for file in ["doorward.toml", "variable.toml"] {
            let loaded = folder.loaded(&[file], Environment::given([("CMS_PW", secret)]));
            let (credentials, warnings) =
                loaded.read_credentials().unwrap_or_else(|faults| panic!("{faults}"));
            let read = credentials.secret("cms", "editor", "password").unwrap();
            assert_eq!(read.expose(), secret, "{file}");
            assert_eq!(warnings, Vec::<String>::new());
            assert!(!format!("{credentials:?}").contains(secret));
        }
    }
}

#[test]
fn all_unusable_secrets_come_at_once_at_their_references() {
    let accounts = r#"password = { file = "secrets/password" }
[upstreams.cms.accounts.quoted]
username = "x"
password = { env = "QUOTED" }
[upstreams.cms.accounts.unset]
username = "x"
password = { env = "UNSET" }
[upstreams.cms.accounts.trimmed]
username = "x"
password = { env = "NEWLINE", trim = true }
[upstreams.cms.accounts.missing]
username = "x"
password = { file = "secrets/nosuch" }"#;
    let text = good_with("password = { file = \"secrets/password\" }", accounts)
        .replace("upstream = \"cms\"", "upstream = \"cms\"\naccount = \"editor\"");
    let folder = Folder::with(&[("doorward.toml", &text)]);
    folder.secret(b"hunter2\n");
    let environment = Environment::given([("QUOTED", "\"hunter2\""), ("NEWLINE", "hunter2\n")]);
    let faults = folder.loaded(&["doorward.toml"], environment).read_credentials().unwrap_err();
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
    let found = folder.lines(&faults);
    let expected = [
        ["doorward.toml:12:12 ", "ends with a newline (8 characters", "printf %s"],
        ["doorward.toml:15:12 ", "stands in quotes (9 characters", "verbatim = true"],
        ["doorward.toml:18:12 ", "environment variable `UNSET` is not set", "set UNSET"],
        ["doorward.toml:24:12 ", "`secrets/nosuch` does not exist", "chmod 600"],
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, parts) in found.iter().zip(expected) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

/// Fails when a text that makes no one-time codes is found at a login only, or shown.
#[test]
fn a_secret_of_one_time_codes_is_judged_where_it_is_referred_to() {
    let field = "password = { file = \"secrets/password\" }";
    let text = good_with(field, &format!("{field}\ntotp_secret = {{ env = \"TOTP\" }}"));
    let folder = Folder::with(&[("doorward.toml", &text)]);
    folder.secret(b"x");
    let read = |secret: &'static str| {
        let environment = Environment::given([("TOTP", secret)]);
        folder.loaded(&["doorward.toml"], environment).read_credentials()
    };
    assert!(read("jbsw y3dp ehpk 3pxp").is_ok());
    let faults = read("JBSWY3DP-hunter-18").unwrap_err();
    let lines = folder.lines(&faults);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = "doorward.toml:13:15 no one-time codes can be made: the secret is no base32";
    assert!(lines[0].starts_with(expected), "{}", lines[0]);
    assert!(!format!("{faults} {faults:?}").contains("hunter"));
}

#[test]
fn certificates_are_looked_at_before_anything_starts() {
    let tls = "access = \"open\"\ntls = { certificate = \"a.crt\", key = \"a.key\" }";
    let listener = good_with("access = \"open\"", tls);
    let text = format!("{listener}\n[upstreams.cms.tls]\nca_file = \"none.pem\"\n");
    let folder =
        Folder::with(&[("doorward.toml", &text), ("a.crt", "no PEM"), ("a.key", "no PEM")]);
    folder.secret(b"x");
    let loaded = folder.loaded(&["doorward.toml"], nothing());
    let expected = [
        "doorward.toml:5:23 there is no certificate in `a.crt`",
        "doorward.toml:5:38 there is no private key in `a.key`",
        "doorward.toml:19:11 there is no file `none.pem`",
    ];
    assert_eq!(folder.lines(&loaded.read_credentials().unwrap_err()), expected);
}

#[test]
fn a_command_is_judged_before_it_is_run() {
    for (wrong, message) in [
        (
            "command = \"/usr/bin/op read x\"",
            "12:24 expected a list for `command`, found a string; for example [\"/usr/bin/op\", \"read\", \"op://work/cms/password\"]",
        ),
        (
            "command = []",
            "12:24 this needs at least 1 element; for example [\"/usr/bin/op\",\"read\",\"op://work/cms/password\"]",
        ),
        ("command = [\"\"]", "12:24 this path is empty"),
        (
            "command = [\"op\"], timeout = 5",
            "12:42 expected a duration with its unit for `timeout`, found an integer; for example \"5s\"",
        ),
        ("command = [\"op\"], refresh = \"5s\"", "12:42 a command is run again after 10s at least"),
        (
            "command = [\"op\"], refresch = \"5m\"",
            "12:32 unknown key `refresch` in `upstreams.cms.accounts.editor.password`; did you mean `refresh`?",
        ),
        (
            "command = [\"op\"], trim = true, verbatim = true",
            "12:56 only one of `trim` and `verbatim` can be true",
        ),
    ] {
        let text = good_with("{ file = \"secrets/password\" }", &format!("{{ {wrong} }}"));
        assert_eq!(super::faults_of(&text), [format!("doorward.toml:{message}")], "{wrong}");
    }
}

/// Fails when a program's path is taken from another folder than other paths.
#[test]
fn a_commands_secret_arrives_or_is_a_fault_at_its_reference() {
    let command = |script: &str| {
        let reference = format!("{{ command = [\"bin/shell\", \"-c\", {script:?}] }}");
        let text = good_with("{ file = \"secrets/password\" }", &reference);
        let folder = Folder::with(&[("doorward.toml", &text)]);
        std::fs::create_dir(folder.path("bin")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", folder.path("bin/shell")).unwrap();
        folder
    };
    let folder = command("printf %s 0012345");
    let loaded = folder.loaded(&["doorward.toml"], nothing());
    let (credentials, _) = loaded.read_credentials().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(credentials.secret("cms", "editor", "password").unwrap().expose(), "0012345");

    let folder = command("echo hunter2 >&2; exit 7");
    let faults = folder.loaded(&["doorward.toml"], nothing()).read_credentials().unwrap_err();
    assert!(!format!("{faults} {faults:?}").contains("hunter2"), "{faults}");
    let [fault] = &folder.lines(&faults)[..] else { panic!("{faults}") };
    assert!(fault.starts_with("doorward.toml:12:12 command `"), "{fault}");
    assert!(fault.contains("failed (exit status: 7)"), "{fault}");
}
