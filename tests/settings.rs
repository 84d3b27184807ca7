//! Configuration as an operator meets it: files and variables in, settings or all faults out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use doorward::diagnosis::{Fault, Faults};
use doorward::secret::{Environment, Place};
use doorward::settings::{
    Access, Address, Field, FieldShape, Loaded, LogLevel, ParameterShape, Prefix, Presence,
    RecipeFault, RecipeReference, RecipeShape, Secrecy, Settings, Sources, reference, schema,
};
use tempfile::TempDir;

const GOOD: &str = r#"
[listeners.main]
address = "127.0.0.1:8080"
access = "open"

[upstreams.cms]
url = "https://api.example.com/base/"
recipe = "contentstack"

[upstreams.cms.accounts.editor]
username = "0012345"
password = { file = "secrets/password" }

[[routes]]
upstream = "cms"
"#;

/// What the built-in recipes ask for.
fn recipes(reference: &RecipeReference) -> Result<RecipeShape, RecipeFault> {
    let field =
        |name: &str, presence, secrecy| FieldShape { name: name.to_owned(), presence, secrecy };
    let parameter =
        |name: &str| ParameterShape { name: name.to_owned(), presence: Presence::Optional };
    let mut shape = RecipeShape {
        fields: vec![
            field("username", Presence::Required, Secrecy::Plain),
            field("password", Presence::Required, Secrecy::Secret),
        ],
        parameters: Vec::new(),
    };
    match reference {
        RecipeReference::BuiltIn(name) if name == "contentstack" => {
            shape.parameters.push(parameter("prefix"));
        }
        RecipeReference::BuiltIn(name) if name == "thoughtspot" => {}
        RecipeReference::BuiltIn(name) if name == "mfiles" => {
            shape.fields.push(field("domain", Presence::Optional, Secrecy::Plain));
            shape.parameters.push(parameter("vault"));
        }
        _ => {
            let known = ["contentstack", "mfiles", "thoughtspot"];
            return Err(RecipeFault::Unknown(known.map(str::to_owned).to_vec()));
        }
    }
    Ok(shape)
}

/// A folder with configuration files.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn secret(&self, content: &[u8]) {
        let path = self.path("secrets/password");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, files: &[&str], environment: Environment) -> Result<Loaded, Faults> {
        let files = files.iter().map(|name| self.path(name)).collect();
        Settings::load(&Sources { files, environment }, &recipes)
    }

    fn loaded(&self, files: &[&str], environment: Environment) -> Loaded {
        self.load(files, environment).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(&self, files: &[&str], environment: Environment) -> Faults {
        self.load(files, environment).err().unwrap_or_default()
    }

    /// Place, message and helps of each fault, one a line, with this folder's name left out.
    fn lines(&self, faults: &Faults) -> Vec<String> {
        let place = |part: Option<usize>| part.map(|part| format!(":{part}")).unwrap_or_default();
        let line = |fault: &&Fault| {
            let (line, column) = (place(fault.line()), place(fault.column()));
            let origin = fault.origin().display();
            let helps: String = fault.helps().iter().map(|help| format!("; {help}")).collect();
            format!("{origin}{line}{column} {}{helps}", fault.message())
                .replace(&format!("{}/", self.0.path().display()), "")
        };
        faults.sorted().iter().map(line).collect()
    }
}

fn nothing() -> Environment {
    Environment::given([])
}

fn faults_of(text: &str) -> Vec<String> {
    let folder = Folder::with(&[("doorward.toml", text)]);
    folder.lines(&folder.faults(&["doorward.toml"], nothing()))
}

/// The good configuration with one text in place of another.
fn good_with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn a_good_configuration_means_what_it_says() {
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let loaded = folder.loaded(&["doorward.toml"], nothing());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let settings = loaded.settings;
    let [listener] = settings.listeners.as_slice() else { panic!() };
    assert_eq!(listener.address, Address::Tcp("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(listener.access, Access::Open);
    let upstream = settings.upstream("cms").unwrap();
    assert_eq!(upstream.origin.to_string(), "https://api.example.com");
    assert_eq!(upstream.base_path, "/base");
    let account = upstream.account("editor").unwrap();
    assert_eq!(account.fields["username"], Field::Text("0012345".to_owned()));
    let [route] = settings.routes.as_slice() else { panic!() };
    assert_eq!((route.path.as_str(), route.account.as_str()), ("/", "editor"));
    assert_eq!(route.prefix, Prefix::Kept);
    assert_eq!(settings.timeouts.login.as_secs(), 30);
    assert_eq!(settings.limits.header_fields_max, 100);
}

#[test]
fn six_faults_of_one_file_come_at_once_with_place_and_hint() {
    let text = r#"[listners.main]
address = "127.0.0.1:8080"

[upstreams.cms]
ur = "https://api.example.com"
recipe = "contentstak"
http2 = "allways"
connect_timeout = 5

[upstreams.cms.accounts.editor]
username = "me"
password = { env = "X" }

[limits]
connections_max = 0
"#;
    let expected = [
        "doorward.toml:1:2 unknown key `listners`; did you mean `listeners`?",
        "doorward.toml:5:1 unknown key `ur` in `upstreams.cms`; did you mean `url`?",
        "doorward.toml:6:10 no built-in recipe is called `contentstak`; did you mean `contentstack`?",
        "doorward.toml:7:9 unknown value for `http2`; expected `auto`, `never` or `always`; did you mean `always`?",
        "doorward.toml:8:19 expected a duration with its unit for `connect_timeout`, found an integer; for example \"5s\"",
        "doorward.toml:15:19 this must be at least 1",
    ];
    assert_eq!(faults_of(text), expected);
    let folder = Folder::with(&[("doorward.toml", text)]);
    let report = folder.faults(&["doorward.toml"], nothing()).to_string();
    assert!(report.contains("7 | http2 = \"allways\""), "{report}");
    assert!(report.ends_with("doorward.toml; nothing was started"), "{report}");
}

#[test]
fn faults_of_meaning_come_at_once_too() {
    let text = r#"[listeners.main]
address = "0.0.0.0:80"
access = "open"

[listeners.other]
address = "127.0.0.1:80"

[upstreams.cms]
url = "http://api.example.com"
recipe = "contentstack"
parameters = { prefx = "/v3" }
[upstreams.cms.accounts.editor]
username = "me"
passwort = { env = "X" }
[upstreams.cms.accounts.reader]
password = "hunter2"

[[routes]]
upstream = "csm"
[[routes]]
upstream = "cms"
account = "editr"
path = "v3"
[[routes]]
upstream = "cms"
account = "editor"
path = "/a/"
[[routes]]
upstream = "cms"
path = "/a"
"#;
    let expected = [
        "doorward.toml:2:11 a listener that is neither loopback nor a Unix socket needs `tls`; where a proxy in front ends TLS, set `plaintext = \"behind-tls\"`",
        "doorward.toml:3:10 an open listener must be on loopback or a Unix socket; whoever reaches it would act as the account; use `access = \"keys\"`, or an address such as 127.0.0.1:8080",
        "doorward.toml:5:12 listener `other` needs client keys, but there is no client; make a key with `doorward key new NAME`; or set `access = \"open\"`: whoever reaches it then acts as the account",
        "doorward.toml:6:11 listener `main` has this address already",
        "doorward.toml:9:7 plain `http` would send the login to another machine in the clear; use `https`, or say `danger_plaintext_login = true`",
        "doorward.toml:11:16 the recipe has no parameter `prefx`; did you mean `prefix`?",
        "doorward.toml:14:1 the recipe has no account field `passwort`; did you mean `password`?",
        "doorward.toml:15:25 the recipe needs the account field `username`; username = \"...\"",
        "doorward.toml:16:12 `password` is a secret and must not stand in the configuration; keep it in a file and write `password = { file = \"secrets/password\" }`, or use `env` or `credential`",
        "doorward.toml:19:12 there is no upstream `csm`; did you mean `cms`?",
        "doorward.toml:22:11 upstream `cms` has no account `editr`; did you mean `editor`?",
        "doorward.toml:23:8 the path of a route begins with `/`; write \"/v3\"",
        "doorward.toml:28:1 missing key `account`: upstream `cms` has several; its accounts are editor, reader",
        "doorward.toml:28:1 an earlier route takes the same host and path",
    ];
    assert_eq!(faults_of(text), expected);
}

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
fn odd_addresses_are_told_apart() {
    let cases = [
        ("127.0.0.1:8080", ":8080", "write \"0.0.0.0:8080\""),
        ("127.0.0.1:8080", "localhost:8080", "write \"127.0.0.1:8080\""),
        ("127.0.0.1:8080", "unix:", "the path of the socket is missing"),
        ("https://api.example.com/base/", "api.example.com", "this is not a URL"),
        ("https://api.example.com/base/", "https:///base", "this URL has no host"),
        ("https://api.example.com/base/", "https://a/?x=1", "has no query"),
        ("https://api.example.com/base/", "https://me@a/", "a user name or a password"),
    ];
    for (from, to, message) in cases {
        let found = faults_of(&good_with(from, to));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(message), "{found:#?}");
    }
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    let found = faults_of("");
    assert_eq!(found.len(), 3, "{found:#?}");
    for what in ["listener", "route", "upstream"] {
        let message = format!("there is no {what}");
        assert!(found.iter().any(|line| line.contains(&message)), "{found:#?}");
    }
}

#[test]
fn a_key_in_the_place_of_its_digest_is_not_shown() {
    let key = doorward::access::key::ClientKey::generate("alice".parse().unwrap()).unwrap();
    let text = format!("{GOOD}\n[clients.alice]\nkeys = [\"{}\", \"sha256:12\"]\n", key.expose());
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let report = folder.faults(&["doorward.toml"], nothing()).to_string();
    assert!(report.contains("this is a client key itself, not its digest"), "{report}");
    assert!(report.contains("a digest is `sha256:` and 64 hex digits"), "{report}");
    assert!(!report.contains(key.expose()), "{report}");
}

#[test]
fn later_files_add_to_earlier_ones_and_missing_keys_are_judged_on_the_whole() {
    let account = "[upstreams.cms.accounts.a]\nusername = \"x\"\npassword = { file = \"pw\" }\n";
    let ten = format!(
        "[upstreams.cms]\nurl = \"https://a.example\"\nrecipe = \"thoughtspot\"\n{account}"
    );
    let main = "[listeners.main]\naccess = \"open\"\n[[routes]]\nupstream = \"x\"\n";
    let more = "[listeners.main]\naddress = \"unix:door.sock\"\n[[routes]]\nupstream = \"cms\"\n";
    let folder = Folder::with(&[
        ("main/doorward.toml", main),
        ("other/more.toml", more),
        ("main/conf.d/20.toml", "[upstreams.cms]\nurl = \"https://b.example\"\n"),
        ("main/conf.d/10.toml", &ten),
        ("main/conf.d/notes.txt", "no = toml ="),
    ]);
    let files = ["main/doorward.toml", "other/more.toml"];
    let settings = folder.loaded(&files, nothing()).settings;
    assert_eq!(settings.listeners[0].address, Address::Unix(folder.path("other/door.sock")));
    let upstream = settings.upstream("cms").unwrap();
    assert_eq!(upstream.origin.host, "b.example");
    let Field::Secret(source) = &upstream.accounts[0].fields["password"] else { panic!() };
    assert_eq!(source.place, Place::File(folder.path("main/conf.d/pw")));

    fs::remove_file(folder.path("main/conf.d/10.toml")).unwrap();
    fs::write(folder.path("main/conf.d/20.toml"), "[upstreams.cms]\n").unwrap();
    let found = folder.lines(&folder.faults(&files, nothing()));
    assert!(
        found.contains(&"main/conf.d/20.toml:1:12 missing key `url` in `upstreams.cms`".to_owned()),
        "{found:#?}"
    );
}

#[test]
fn a_fault_that_a_later_layer_covers_is_still_told() {
    let folder = Folder::with(&[
        ("a.toml", &format!("{GOOD}\n[log]\nlevel = 5\n")),
        ("b.toml", "[log]\nlevel = \"debug\"\n"),
    ]);
    let found = folder.lines(&folder.faults(&["a.toml", "b.toml"], nothing()));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("a.toml:18:9 expected "), "{found:#?}");
}

#[test]
fn a_missing_file_is_a_fault() {
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let found = folder.lines(&folder.faults(&["doorward.toml", "nosuch.toml"], nothing()));
    assert_eq!(found, ["nosuch.toml this file does not exist"]);
}

#[test]
fn a_right_variable_is_applied_with_the_type_of_its_key() {
    let text = GOOD.replace("upstreams.cms", "upstreams.My-CMS").replace("\"cms\"", "\"My-CMS\"");
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let environment = Environment::given([
        ("DOORWARD_LIMITS__CONNECTIONS_MAX", "7"),
        ("DOORWARD_RUNTIME__CORES", "3"),
        ("DOORWARD_LOG__LEVEL", "debug"),
        ("DOORWARD_TIMEOUTS__LOGIN", "20s"),
        ("DOORWARD_UPSTREAMS__MY_CMS__DANGER_PLAINTEXT_LOGIN", "true"),
        ("DOORWARD_UPSTREAMS__MY_CMS__URL", "http://b.example"),
        ("DOORWARD_UPSTREAMS__MY_CMS__ACCOUNTS__EDITOR__USERNAME", "007"),
        ("DOORWARD_UPSTREAMS__MY_CMS__PARAMETERS__PREFIX", "true"),
        ("DOORWARD_CONFIG", "doorward.toml"),
        ("DOORWARD_SERVICE_HOST", "10.0.0.1"),
        ("DOORWARD_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("DOORWARD_PORT", "tcp://10.0.0.1:8080"),
        ("OTHER", "x"),
    ]);
    let loaded = folder.loaded(&["doorward.toml"], environment);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("in the clear"), "{:?}", loaded.warnings);
    let settings = loaded.settings;
    assert_eq!(settings.limits.connections_max, 7);
    assert_eq!(settings.cores, Some(3));
    assert_eq!(settings.log.level, LogLevel::Debug);
    assert_eq!(settings.timeouts.login.as_secs(), 20);
    let upstream = settings.upstream("My-CMS").unwrap();
    assert_eq!(upstream.origin.host, "b.example");
    assert_eq!(upstream.accounts[0].fields["username"], Field::Text("007".to_owned()));
    assert_eq!(upstream.parameters["prefix"], "true");
}

#[test]
fn a_wrong_variable_is_named_with_what_it_should_be() {
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let environment = Environment::given([
        ("DOORWARD_LISTN", "x"),
        ("DOORWARD_LIMITS__CONECTIONS_MAX", "7"),
        ("DOORWARD_LIMITS__HEADER_FIELDS_MAX", "many"),
        ("DOORWARD_LIMITS__STREAMS_MAX", "0"),
        ("DOORWARD_ROUTES__0__PATH", "/x"),
        ("DOORWARD_UPSTREAMS__CMS__ACCOUNTS__EDITOR__PASSWORD", "hunter2"),
        ("DOORWARD_TIMEOUTS__LOGIN", "20"),
    ]);
    let faults = folder.faults(&["doorward.toml"], environment);
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
    let expected = [
        "LIMITS__CONECTIONS_MAX no key is set by this variable; did you mean `DOORWARD_LIMITS__CONNECTIONS_MAX`?",
        "LIMITS__HEADER_FIELDS_MAX expected an integer for `header_fields_max`, found a string",
        "LIMITS__STREAMS_MAX this must be at least 1",
        "LISTN no key is set by this variable; did you mean `DOORWARD_LISTENERS`?",
        "ROUTES__0__PATH `routes` cannot be set by a variable; lists are set in a file as a whole",
        "TIMEOUTS__LOGIN this is not a duration with its unit",
        "UPSTREAMS__CMS__ACCOUNTS__EDITOR__PASSWORD `password` is a secret",
    ];
    let found = folder.lines(&faults);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, start) in found.iter().zip(expected) {
        let start = format!("environment variable DOORWARD_{start}");
        assert!(line.starts_with(&start), "{line}\n{start}");
    }
}

#[test]
fn nothing_is_filled_into_a_text() {
    let folder = Folder::with(&[("doorward.toml", &good_with("\"cms\"", "\"${NAME}\""))]);
    let environment = Environment::given([("NAME", "cms")]);
    let found = folder.lines(&folder.faults(&["doorward.toml"], environment));
    assert!(found[0].contains("`${...}` is not replaced here"), "{found:#?}");
    let found = faults_of(&good_with("https://api.example.com/base/", "https://${HOST}/"));
    assert!(found[0].starts_with("doorward.toml:7:7 `${...}` is not replaced"), "{found:#?}");
    assert!(found[0].contains("DOORWARD_UPSTREAMS__CMS__URL"), "{found:#?}");
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
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut examples: Vec<PathBuf> =
        fs::read_dir(folder.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.push(folder.join("doorward.example.toml"));
    assert!(examples.len() > 3);
    for example in examples {
        let sources = Sources { files: vec![example.clone()], environment: nothing() };
        let loaded = Settings::load(&sources, &recipes);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{}", example.display());
    }
}

#[test]
fn the_example_shows_every_key_and_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema(), &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        let shown = [format!("{key} ="), format!("[{key}"), format!(".{key}")];
        assert!(shown.iter().any(|shown| text.contains(shown.as_str())), "{key} is not shown");
    }
    let sources = Sources { files: vec![path], environment: nothing() };
    let shown = Settings::load(&sources, &recipes).ok().unwrap().settings;
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let silent = folder.loaded(&["doorward.toml"], nothing()).settings;
    assert_eq!(format!("{:?}", shown.limits), format!("{:?}", silent.limits));
    assert_eq!(format!("{:?}", shown.timeouts), format!("{:?}", silent.timeouts));
    assert_eq!(shown.upstreams[0].connect_timeout, silent.upstreams[0].connect_timeout);
    assert_eq!(shown.upstreams[0].response_timeout, silent.upstreams[0].response_timeout);
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(entries) => {
            for (keyword, value) in entries {
                if keyword == "properties" {
                    keys.extend(value.as_object().unwrap().keys().cloned());
                }
                collect_keys(value, keys);
            }
        }
        serde_json::Value::Array(elements) => {
            elements.iter().for_each(|element| collect_keys(element, keys));
        }
        _ => {}
    }
}

#[test]
fn the_reference_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let reference = reference();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "docs/CONFIGURATION.md is old: UPDATE=1 cargo test writes it");
}
