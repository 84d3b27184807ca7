//! All faults of a text at once, each with its place and its hint.

use super::{Folder, GOOD, faults_of, good_with, nothing};

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
        "doorward.toml:3:10 an open listener must be on loopback or a Unix socket; whoever reaches it would act as the account; use `access = \"clients\"`, or an address such as 127.0.0.1:8080",
        "doorward.toml:5:12 listener `other` needs client keys, but there is no client; make a key with `doorward key new NAME`; or set `access = \"open\"`: whoever reaches it then acts as the account",
        "doorward.toml:6:11 listener `main` has this address already",
        "doorward.toml:9:7 plain `http` would send the login to another machine in the clear; use `https`, or say `danger_plaintext_login = true`",
        "doorward.toml:11:16 the recipe has no parameter `prefx`; did you mean `prefix`?",
        "doorward.toml:14:1 the recipe has no account field `passwort`; did you mean `password`?",
        "doorward.toml:15:25 the recipe needs the account field `username`; username = \"...\"",
        "doorward.toml:16:12 `password` is a secret and must not stand in the configuration; keep it in a file and write `password = { file = \"secrets/password\" }`, or use `env`, `credential` or `command`",
        "doorward.toml:19:12 there is no upstream `csm`; did you mean `cms`?",
        "doorward.toml:22:11 upstream `cms` has no account `editr`; did you mean `editor`?",
        "doorward.toml:23:8 the path of a route begins with `/`; write \"/v3\"",
        "doorward.toml:28:1 missing key `account`: upstream `cms` has several; its accounts are editor, reader",
        "doorward.toml:28:1 an earlier route takes the same host and path",
    ];
    assert_eq!(faults_of(text), expected);
}

#[test]
fn grants_that_could_allow_nothing_are_faults() {
    let clients = r#"
[clients.alice]
keys = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
[clients.bob]
keys = ["sha256:8f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
[clients.carol]
keys = [{ digest = "sha256:7", expires = "2027-01-31" }, { expires = 2027-01-31T00:00:00Z }]
grants = [{}]
[[clients.bob.grants]]
upstreams = ["csm"]
methods = ["get", "G T"]
paths = ["v3", "/a%20b", "/v3/"]
[[clients.bob.grants]]
accounts = ["editr"]
path = ["/x"]
methods = []
"#;
    let text = format!("{GOOD}{clients}");
    let first = GOOD.lines().count() + 2;
    let expected = [
        (0, "10 missing key `grants` in `clients.alice`"),
        (
            5,
            "20 a digest is `sha256:` and 64 hex digits; `doorward key new NAME` prints the line that belongs here",
        ),
        (5, "42 this is no time with an offset (RFC 3339); for example \"2027-01-31T00:00:00Z\""),
        (5, "58 missing key `digest` in `clients.carol.keys[1]`"),
        (
            5,
            "70 expected a string for `expires`, found a date; for example \"2027-01-31T00:00:00Z\"",
        ),
        (8, "14 there is no upstream `csm`; did you mean `cms`?"),
        (9, "12 methods are case-sensitive (RFC 9110); write \"GET\""),
        (9, "19 this is no method"),
        (10, "10 a path starts with `/`"),
        (
            10,
            "16 a path is plain ASCII, not encoded: it is compared with the decoded path without its parameters",
        ),
        (
            10,
            "26 a path has no slash at the end: one at the end of a request's path counts for nothing",
        ),
        (12, "13 none of the upstreams meant has an account `editr`; did you mean `editor`?"),
        (13, "1 unknown key `path` in `clients.bob.grants[1]`; did you mean `paths`?"),
        (14, "11 this needs at least 1 element; for example [\"GET\",\"HEAD\"]"),
    ];
    let expected = expected.map(|(line, rest)| format!("doorward.toml:{}:{rest}", first + line));
    assert_eq!(faults_of(&text), expected);
}

#[test]
fn a_broken_reference_to_a_secret_is_one_fault() {
    let reference = "{ file = \"secrets/password\" }";
    for (wrong, message) in [
        ("{ file = 5 }", "12:21 expected a string for `file`, found an integer; put it in quotes"),
        (
            "{}",
            "12:1 missing key in `upstreams.cms.accounts.editor.password`; expected `file`, `env`, `credential` or `command`",
        ),
        (
            "{ trim = true }",
            "12:1 missing key in `upstreams.cms.accounts.editor.password`; expected `file`, `env`, `credential` or `command`",
        ),
        (
            "{ fil = \"x\" }",
            "12:14 unknown key `fil` in `upstreams.cms.accounts.editor.password`; did you mean `file`?",
        ),
        ("{ file = \"x\", env = \"X\" }", "12:12 only one of `file` and `env` can be given"),
        (
            "{ file = \"x\", trim = true, verbatim = true }",
            "12:50 only one of `trim` and `verbatim` can be true",
        ),
        ("0012345", "12:12 this is not TOML: "),
        (
            "12345",
            "12:12 expected a string or a table with `file`, `env`, `credential` or `command` for `password`, found an integer; for example { file = \"secrets/password\" }",
        ),
    ] {
        let found = faults_of(&good_with(reference, wrong));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("doorward.toml:{message}")), "{found:#?}");
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

/// Fails when a protocol can be allowed that carries requests past the rules.
#[test]
fn an_upgrade_is_to_a_protocol_that_carries_no_requests() {
    let text = |upgrades: &str| {
        format!(
            "[listeners.main]\naddress = \"127.0.0.1:8080\"\naccess = \"open\"\n\
             [upstreams.cms]\nurl = \"https://api.example.com\"\nrecipe = \"contentstack\"\n\
             upgrades = {upgrades}\n\
             [upstreams.cms.accounts.editor]\nusername = \"me\"\npassword = {{ env = \"X\" }}\n\
             [[routes]]\nupstream = \"cms\"\n"
        )
    };
    let expected = [
        "doorward.toml:7:13 an upgrade to `H2C` would carry requests past every rule",
        "doorward.toml:7:20 an upgrade to `HTTP/2.0` would carry requests past every rule",
        "doorward.toml:7:32 this is no protocol's name",
        "doorward.toml:7:39 this is no protocol's name",
    ];
    assert_eq!(faults_of(&text(r#"["H2C", "HTTP/2.0", "a b", "x/"]"#)), expected);
}

/// Fails when a rate for everything and one for a kind are both taken, or when a limit of a client or
/// of a route is judged less than one of an account.
#[test]
fn a_rate_stands_alone_or_reads_and_writes_stand_apart() {
    let text = |limits: &str| {
        format!(
            "[listeners.main]\naddress = \"127.0.0.1:8080\"\naccess = \"open\"\n\
             [upstreams.cms]\nurl = \"https://api.example.com\"\nrecipe = \"contentstack\"\n\
             limits = {limits}\n\
             [upstreams.cms.accounts.editor]\nusername = \"me\"\npassword = {{ env = \"X\" }}\n\
             [[routes]]\nupstream = \"cms\"\nlimits = {limits}\n"
        )
    };
    let both = r#"{ rate = { requests = 1, per = "1s" }, writes = { requests = 1, per = "0s" } }"#;
    let message = "`rate` counts reads and writes together, and beside it stands a rate of one";
    let wait = "a wait must be longer than nothing";
    let expected = [
        format!("doorward.toml:7:12 {message}; give `rate` alone, or `reads` and `writes`"),
        format!("doorward.toml:7:80 {wait}"),
        format!("doorward.toml:13:12 {message}; give `rate` alone, or `reads` and `writes`"),
        format!("doorward.toml:13:80 {wait}"),
    ];
    assert_eq!(faults_of(&text(both)), expected);
    let apart = r#"{ reads = { requests = 1, per = "1s" }, in_flight_max = 1 }"#;
    assert_eq!(faults_of(&text(apart)), Vec::<String>::new());
    let unknown = faults_of(&text("{ write = 1 }"));
    assert!(unknown[0].contains("did you mean `writes`"), "{unknown:#?}");
}

#[test]
fn faults_of_where_upstreams_are_come_at_once() {
    let keys = r#"
addresses = ["192.0.2.1", "2001:db8::1", "api.internal:443", "0.0.0.0:443", "192.0.2.2:0", "192.0.2.3:443", "192.0.2.3:443"]
allowed_networks = ["127.0.0.1/8", "10.0.0.0/33"]
ejection = { failures_max = 1001, pause = "6m" }
circuit = { pause = "0s" }
"#;
    let text =
        GOOD.replace("recipe = \"contentstack\"", &format!("recipe = \"contentstack\"{keys}"));
    let expected = [
        "doorward.toml:9:14 this is no IP address with a port; for example \"192.0.2.1:443\"",
        "doorward.toml:9:27 this is no IP address with a port; for example \"[2001:db8::1]:443\"",
        "doorward.toml:9:42 this is no IP address with a port; a name belongs into `url`; all its addresses are used",
        "doorward.toml:9:62 no upstream can be at this address",
        "doorward.toml:9:77 no upstream can be at this address",
        "doorward.toml:9:109 this address is there already",
        "doorward.toml:10:1 no name is resolved for this upstream, so there is nothing to allow; it is about what the host of `url` leads to",
        "doorward.toml:10:21 this is no network; did you mean \"127.0.0.0/8\"?",
        "doorward.toml:10:36 this is no network; for example \"127.0.0.0/8\" or \"fd00::/8\"",
        "doorward.toml:11:29 this must be at most 1000",
        "doorward.toml:11:43 this is longer than `pause_max`",
        "doorward.toml:12:21 a wait must be longer than nothing",
    ];
    assert_eq!(faults_of(&text), expected);
}

/// Fails when a login can leave the machine in the clear because its URL names this machine.
#[test]
fn plain_http_goes_where_the_connection_goes() {
    let at = |url: &str, addresses: &str| {
        let url = format!("url = \"{url}\"\naddresses = [{addresses}]");
        faults_of(&GOOD.replace("url = \"https://api.example.com/base/\"", &url))
    };
    let fault = "doorward.toml:7:7 plain `http` would send the login to another machine in the clear; use `https`, or say `danger_plaintext_login = true`";
    assert_eq!(at("http://localhost", "\"192.0.2.1:80\""), [fault]);
    assert_eq!(at("http://api.example.com", "\"127.0.0.1:80\", \"192.0.2.1:80\""), [fault]);
    assert_eq!(at("http://api.example.com", "\"127.0.0.1:80\", \"[::1]:80\""), [""; 0]);
    assert_eq!(at("https://api.example.com", "\"192.0.2.1:443\""), [""; 0]);
}

/// Fails when a proxy can be listed by what no peer can be, or a typing error lists more than it says.
#[test]
fn proxies_are_listed_by_networks_or_at_a_unix_socket_as_such() {
    let text = |address: &str, from: &str| {
        format!(
            "[listeners.main]\naddress = {address:?}\naccess = \"open\"\n\
             proxy_protocol = {{ from = {from} }}\n\
             [upstreams.cms]\nurl = \"https://api.example.com\"\nrecipe = \"contentstack\"\n\
             [upstreams.cms.accounts.editor]\nusername = \"me\"\npassword = {{ env = \"X\" }}\n\
             [[routes]]\nupstream = \"cms\"\n"
        )
    };
    let (tcp, unix) = ("127.0.0.1:8080", "unix:door.sock");
    for (address, from) in
        [(tcp, r#"["10.0.0.0/8", "::1", "192.0.2.7", "2001:db8::/32"]"#), (unix, r#"["unix"]"#)]
    {
        assert_eq!(faults_of(&text(address, from)), Vec::<String>::new(), "{from}");
    }
    let neither = "this is neither an IP address nor a network";
    let expected = [
        format!("doorward.toml:4:28 {neither}"),
        format!("doorward.toml:4:42 {neither}"),
        format!("doorward.toml:4:50 {neither}"),
        format!("doorward.toml:4:65 {neither}"),
    ];
    let from = r#"["10.1.2.3/8", "unix", "10.0.0.0/33", "lb.internal"]"#;
    let found = faults_of(&text(tcp, from));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(found[0].contains("bits behind the network's length are set"), "{}", found[0]);
    let at_socket = faults_of(&text(unix, r#"["10.0.0.0/8"]"#));
    assert!(at_socket[0].contains("peers at a Unix socket have no address"), "{at_socket:#?}");
    let nobody = faults_of(&text(tcp, "[]"));
    assert!(nobody[0].contains("at least 1 element"), "{nobody:#?}");
}
