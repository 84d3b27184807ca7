//! What files and variables come to together.

use std::fs;

use doorward::secret::{Environment, Place};
use doorward::settings::{Access, Address, Field, LogLevel, Prefix};

use super::{Folder, GOOD, faults_of, good_with, nothing};

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
