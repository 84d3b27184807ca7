//! Secrets arrive unchanged or not at all.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

/// Values that layered configuration is known to change.
const UNCHANGED: [&str; 10] = [
    "0012345",
    "1e5",
    "007",
    "true",
    "18446744073709551616",
    "p\"w'\\{{x}}",
    "${HOME}",
    "ha sh#1",
    "line\nbreak",
    "ünï",
];

fn file(folder: &TempDir, content: &[u8], mode: u32) -> Source {
    let path = folder.path().join("secret");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    Source::strict(Place::File(path))
}

fn read(source: &Source) -> Result<Unsealed, SecretError> {
    source.read(&Environment::given([]))
}

#[test]
fn a_secret_arrives_unchanged_from_every_place() {
    let folder = TempDir::new().unwrap();
    for secret in UNCHANGED {
        let from_file = read(&file(&folder, secret.as_bytes(), 0o600)).unwrap();
        assert_eq!(from_file.text.expose(), secret);
        assert_eq!(from_file.warning, None);
        let environment = Environment::given([
            ("PW", secret),
            ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap()),
        ]);
        let variable = Source::strict(Place::Environment("PW".to_owned()));
        assert_eq!(variable.read(&environment).unwrap().text.expose(), secret);
        let credential = Source::strict(Place::Credential("secret".to_owned()));
        assert_eq!(credential.read(&environment).unwrap().text.expose(), secret);
    }
}

#[test]
fn traces_of_editors_and_shells_are_refused_with_length_and_remedy_and_never_shown() {
    let folder = TempDir::new().unwrap();
    let cases = [
        ("hunter2\n", "ends with a newline (8 characters with it)", "printf %s"),
        ("hunter2\r\n", "ends with a newline (9 characters with it)", "trim = true"),
        (" hunter2", "begins or ends with a blank (8 characters with it)", "trim = true"),
        ("hunter2\t", "begins or ends with a blank (8 characters with it)", "verbatim = true"),
        ("\"hunter2\"", "stands in quotes (9 characters with them)", "remove the quotes"),
        ("'hunter2'", "stands in quotes (9 characters with them)", "verbatim = true"),
    ];
    for (content, message, remedy) in cases {
        let error = read(&file(&folder, content.as_bytes(), 0o600)).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.remedy().unwrap().contains(remedy), "{:?}", error.remedy());
        assert!(!format!("{error} {error:?} {:?}", error.remedy()).contains("hunter2"));
    }
}

#[test]
fn an_operator_can_say_that_blanks_go_or_stay() {
    let folder = TempDir::new().unwrap();
    let strict = file(&folder, b" \"hunter2\"\n", 0o600);
    let verbatim = Source { taking: Taking::Verbatim, ..strict.clone() };
    assert_eq!(read(&verbatim).unwrap().text.expose(), " \"hunter2\"\n");
    let trimmed = Source { taking: Taking::Trimmed, ..strict };
    assert!(matches!(read(&trimmed), Err(SecretError::Quotes { .. })));
    std::fs::write(folder.path().join("secret"), "\thunter2 \n\n").unwrap();
    assert_eq!(read(&trimmed).unwrap().text.expose(), "hunter2");
}

#[test]
fn what_is_missing_empty_or_no_text_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let missing = Source::strict(Place::File(folder.path().join("nothing")));
    assert!(matches!(read(&missing), Err(SecretError::NoFile(_))));
    let directory = Source::strict(Place::File(folder.path().to_owned()));
    assert!(matches!(read(&directory), Err(SecretError::NotAFile(_))));
    let unset = Source::strict(Place::Environment("PW".to_owned()));
    assert_eq!(read(&unset).unwrap_err().to_string(), "environment variable `PW` is not set");
    let credential = Source::strict(Place::Credential("pw".to_owned()));
    assert!(matches!(read(&credential), Err(SecretError::NoCredentials(_))));
    let elsewhere = Source::strict(Place::Credential("../pw".to_owned()));
    assert!(matches!(read(&elsewhere), Err(SecretError::CredentialName(_))));
    assert!(matches!(read(&file(&folder, b"", 0o600)), Err(SecretError::Empty(_))));
    assert!(matches!(read(&file(&folder, b" \n", 0o600)), Err(SecretError::Empty(_))));
    assert!(matches!(read(&file(&folder, b"\xff", 0o600)), Err(SecretError::NotText(_))));
    let longest = vec![b'x'; SECRET_BYTES_MAX];
    assert_eq!(read(&file(&folder, &longest, 0o600)).unwrap().text.characters(), SECRET_BYTES_MAX);
    let longer = vec![b'x'; SECRET_BYTES_MAX + 1];
    assert!(matches!(read(&file(&folder, &longer, 0o600)), Err(SecretError::TooLong(_))));
}

#[test]
fn a_file_that_others_can_change_is_refused_and_one_that_they_can_read_warns() {
    let folder = TempDir::new().unwrap();
    for mode in [0o602, 0o620, 0o666] {
        let error = read(&file(&folder, b"x", mode)).unwrap_err();
        assert!(matches!(error, SecretError::OthersMayWrite { .. }), "{mode:o}");
        assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
    }
    for mode in [0o400, 0o600, 0o640] {
        assert_eq!(read(&file(&folder, b"x", mode)).unwrap().warning, None, "{mode:o}");
    }
    let readable = read(&file(&folder, b"x", 0o644)).unwrap();
    assert!(readable.warning.unwrap().to_string().contains("everybody (mode 0644)"));
}

#[test]
fn a_link_is_followed() {
    let folder = TempDir::new().unwrap();
    file(&folder, b"hunter2", 0o600);
    symlink("secret", folder.path().join("link")).unwrap();
    let link = Source::strict(Place::File(folder.path().join("link")));
    assert_eq!(read(&link).unwrap().text.expose(), "hunter2");
}
