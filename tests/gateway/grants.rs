//! What a client may do, whatever way its request is spelt, and `doorward explain`.

use std::process::Command;
use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{User, Vendor, contentstack, mfiles};

use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup, within, write};
use crate::vendors::{read_line, write_line};

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// Method and path of a line.
fn parts(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap()
}

fn call_as(scene: &Scene, key: &ClientKey, method: &str, target: &str) -> Call {
    let call = scene.call(method, target).header("doorward-key", key.expose());
    match scene.emulator.vendor() {
        Vendor::Contentstack => call.header("api_key", contentstack::API_KEY),
        Vendor::ThoughtSpot => call,
        Vendor::MFiles => call.header("x-vault", mfiles::VAULT),
    }
}

async fn told(call: Call) -> (u16, String) {
    let answer: Answer = call.send().await;
    let status = answer.status.as_u16();
    (status, if status == 200 { String::new() } else { answer.problem() })
}

/// Fails when a grant bounds nothing, or when what it bounds is not what the client asked for.
#[tokio::test]
async fn a_client_may_do_what_its_grants_allow_and_nothing_else() {
    let (reader, nobody) = (key("reader"), key("nobody"));
    let scene = Setup::of(Vendor::Contentstack)
        .client(
            "reader",
            &reader,
            r#"[{ methods = ["GET"], paths = ["/v3/content_types/**"] },
                { upstreams = ["vendor"], methods = ["HEAD"], paths = ["/v3/assets"] }]"#
                .replace('\n', " ")
                .as_str(),
        )
        .client("nobody", &nobody, r#"[{ paths = ["/nothing"] }]"#)
        .start()
        .await;
    let refused = (403, "not_granted".to_owned());
    let granted = call_as(&scene, &reader, "GET", "/v3/content_types");
    assert_eq!(told(granted).await.0, 200);
    scene.control().reset_counters();
    for (client, method, target) in [
        (&reader, "POST", "/v3/content_types/page/entries"),
        (&reader, "HEAD", "/v3/content_types"),
        (&reader, "GET", "/v3/assets"),
        (&reader, "GET", "/v3/content_typess"),
        (&nobody, "GET", "/v3/content_types"),
    ] {
        let answer = call_as(&scene, client, method, target).body("{}").send().await;
        let status = answer.status.as_u16();
        assert_eq!(status, 403, "{method} {target}");
        if method != "HEAD" {
            assert_eq!((status, answer.problem()), refused, "{method} {target}");
        }
    }
    assert!(scene.control().requests().is_empty(), "what is not granted arrived");
    scene.stop().await;
}

/// Fails when a grant's accounts bound nothing, or when a client that does not choose gets one that
/// it may not use.
#[tokio::test]
async fn a_client_uses_the_first_account_that_it_is_granted() {
    let (alice, bob) = (key("alice"), key("bob"));
    let folder = tempfile::tempdir().unwrap();
    let other = User::new("other@example.com", "another password");
    let password = write(folder.path(), "other", &other.password);
    let mut setup = Setup::of(Vendor::Contentstack)
        .client("alice", &alice, r#"[{ accounts = ["other"], methods = ["GET"] }]"#)
        .client("bob", &bob, r#"[{ accounts = ["user"] }]"#);
    setup.route = "accounts = [\"other\"]".to_owned();
    let scene = setup
        .tables(&format!(
            "[upstreams.vendor.accounts.other]\nusername = {:?}\n\
             password = {{ file = {password:?} }}\n",
            other.login
        ))
        .start()
        .await;
    scene.control().add_user(other);
    let types = "/v3/content_types";
    assert_eq!(told(call_as(&scene, &alice, "GET", types)).await.0, 200);
    let first = scene.control().issued();
    assert_eq!(told(call_as(&scene, &bob, "GET", types)).await.0, 200);
    assert_eq!(scene.control().counters().logins, 2, "both used one account");
    let of_alice = |scene: &Scene| {
        first.iter().map(|token| scene.control().requests_with(token)).max().unwrap()
    };
    let before = of_alice(&scene);
    let by_name = call_as(&scene, &alice, "GET", types).header("doorward-account", "other");
    assert_eq!(told(by_name).await.0, 200);
    assert_eq!(of_alice(&scene), before + 1);
    for (client, account) in [(&alice, "user"), (&bob, "other")] {
        let call = call_as(&scene, client, "GET", types).header("doorward-account", account);
        let expected = match account {
            // The route leaves only `other` to its clients.
            "user" => "account_not_granted",
            _ => "not_granted",
        };
        assert_eq!(told(call).await, (403, expected.to_owned()), "{account}");
    }
    scene.stop().await;
}

/// Fails when a key is good after its end, or is called unknown then.
#[tokio::test]
async fn a_key_is_good_until_its_end() {
    let alice = key("alice");
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.listener = "access = \"clients\"".to_owned();
    let now = jiff::Timestamp::now();
    let end = now + Duration::from_secs(3600);
    let scene = setup
        .tables(&format!(
            "[clients.alice]\nkeys = [{{ digest = \"{}\", expires = \"{end}\" }}]\ngrants = [{{}}]\n",
            alice.digest()
        ))
        .start()
        .await;
    let types = "/v3/content_types";
    assert_eq!(told(call_as(&scene, &alice, "GET", types)).await.0, 200);
    scene.clock.advance(Duration::from_secs(3500));
    assert_eq!(told(call_as(&scene, &alice, "GET", types)).await.0, 200);
    scene.clock.advance(Duration::from_secs(101));
    let expired = told(call_as(&scene, &alice, "GET", types)).await;
    assert_eq!(expired, (401, "client_key_expired".to_owned()));
    scene.stop().await;
}

/// A way to write `path` differently.
type Operator = fn(&str) -> Vec<String>;

fn each_segment(path: &str, change: impl Fn(&str) -> String) -> Vec<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let changed = |position: usize| {
        let segments = segments.iter().enumerate();
        let segments = segments.map(|(at, segment)| match at == position {
            true => change(segment),
            false => (*segment).to_owned(),
        });
        format!("/{}", segments.collect::<Vec<_>>().join("/"))
    };
    (0..segments.len()).map(changed).collect()
}

fn encoded(text: &str, all: bool, upper: bool) -> String {
    let one = |(position, byte): (usize, u8)| match (all || position == 0, upper) {
        (true, true) => format!("%{byte:02X}"),
        (true, false) => format!("%{byte:02x}"),
        (false, _) => char::from(byte).to_string(),
    };
    text.bytes().enumerate().map(one).collect()
}

const OPERATORS: [Operator; 12] = [
    |path| each_segment(path, str::to_uppercase),
    |path| each_segment(path, |segment| encoded(segment, false, false)),
    |path| each_segment(path, |segment| encoded(segment, true, true)),
    |path| each_segment(path, |segment| encoded(segment, false, false).replace('%', "%25")),
    |path| each_segment(path, |segment| format!("{segment};x=1")),
    |path| each_segment(path, |segment| format!("{segment}%3bx")),
    |path| each_segment(path, |segment| format!("./{segment}")),
    |path| each_segment(path, |segment| format!("/{segment}")),
    |path| each_segment(path, |segment| format!("x/../{segment}")),
    |path| vec![format!("{path}/"), format!("{path}//"), format!("{path}/."), format!("{path}%00")],
    |path| {
        ["%2F", "%2f", "%5C", "%252F"]
            .map(|slash| format!("/{}", path[1..].replace('/', slash)))
            .to_vec()
    },
    |path| [".aspx", ".ASHX", "%2easpx"].map(|suffix| format!("{path}{suffix}")).to_vec(),
];

/// Ways out of what is granted.
const WAYS_OUT: [&str; 12] = [
    "..",
    "%2e%2e",
    ".%2E",
    "%2E.",
    "..;",
    "..;x=1",
    "..%2f",
    "..%5c",
    "%252e%252e",
    "..%00",
    "%c0%ae%c0%ae",
    "..%3b",
];

/// Every spelling of the ungranted `path`, some of them below the granted one.
pub fn spellings(path: &str, granted: &str) -> Vec<String> {
    let mut all: Vec<String> = OPERATORS.iter().flat_map(|operator| operator(path)).collect();
    let depth = granted.matches('/').count();
    for way in WAYS_OUT {
        let up = format!("/{way}").repeat(depth);
        all.push(format!("{granted}{up}{path}"));
        all.push(format!("{granted}/x/{way}{up}{path}"));
    }
    let real = path.strip_prefix("/REST").unwrap_or(path);
    for segment in ["mfws.ashx", "MFWS.ashx/", "mfws%2eashx"] {
        for parameter in ["restPath", "%72estPath", "RESTPATH"] {
            all.push(format!("/REST/{segment}?{parameter}={real}"));
            all.push(format!("/{segment}?{parameter}={}", encoded(real, true, false)));
        }
    }
    all
}

/// Fails when a request that no grant allows arrives under some spelling.
#[tokio::test]
async fn no_spelling_of_an_ungranted_path_arrives() {
    for vendor in Vendor::ALL {
        let (_, granted) = parts(read_line(vendor));
        let (method, path) = parts(write_line(vendor));
        let (reader, writer) = (key("reader"), key("writer"));
        let scene = Setup::of(vendor)
            .client(
                "reader",
                &reader,
                &format!("[{{ paths = [\"{granted}/reads/**\", {granted:?}] }}]"),
            )
            .client("writer", &writer, "[{}]")
            .start()
            .await;
        let control = scene.control();
        // The plain spelling would arrive, were it granted.
        call_as(&scene, &writer, method, path).body("{}").send().await;
        let line = format!("{method} {path}");
        let arrived = control.requests();
        let is_plain =
            |line: &str| arrived.iter().any(|one| format!("{} {}", one.method, one.target) == line);
        assert!(is_plain(&line), "{vendor}: {line} did not arrive");
        control.reset_counters();

        let spellings = spellings(path, granted);
        assert!(spellings.len() >= 60, "{vendor}: {} spellings", spellings.len());
        for target in &spellings {
            let answer = call_as(&scene, &reader, method, target).body("{}").send().await;
            assert!(matches!(answer.status.as_u16(), 400 | 403), "{vendor}: {target}: {answer:?}");
            let arrived = control.requests();
            assert!(arrived.is_empty(), "{vendor}: {target} arrived: {arrived:?}");
        }
        // Granted requests that name another path or method arrive without that.
        for field in
            ["x-original-url", "x-rewrite-url", "x-http-method-override", "x_method_override"]
        {
            let value = if field.contains("url") { path } else { "DELETE" };
            call_as(&scene, &reader, "GET", granted).header(field, value).send().await;
        }
        for request in control.requests() {
            let named = request.header_names.iter().find(|name| {
                name.contains("override") || name.contains("original") || name.contains("rewrite")
            });
            assert_eq!((request.target.as_str(), named), (granted, None), "{vendor}");
        }
        scene.stop().await;
    }
}

/// Fails when another method than the granted one can be named.
#[tokio::test]
async fn a_method_that_the_query_names_must_be_granted() {
    let poster = key("poster");
    let grants = r#"[{ methods = ["POST"], paths = ["/REST/views/**"] }]"#;
    let scene = Setup::of(Vendor::MFiles).client("poster", &poster, grants).start().await;
    for target in [
        "/REST/views/items?_method=DELETE",
        "/REST/views/items.aspx?a=1&_METHOD=delete",
        "/REST/views/items?%5fmethod=%44ELETE",
        "/mfws.ashx?restPath=views/items&_method=PUT",
    ] {
        let answer = told(call_as(&scene, &poster, "POST", target).body("{}")).await;
        assert_eq!(answer, (403, "not_granted".to_owned()), "{target}");
    }
    assert!(scene.control().requests().is_empty());
    scene.stop().await;
}

/// What `doorward explain` with these arguments says of the scene's configuration, and its exit code.
pub async fn explain(scene: &Scene, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(["explain", "-c", "doorward.toml"]).args(arguments);
    command.current_dir(scene.folder.path()).env_clear();
    let output = within(tokio::task::spawn_blocking(move || command.output())).await;
    let output = output.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Fails when `explain` says something else than the gateway does, or not which grant decides.
#[tokio::test]
async fn explain_says_what_the_gateway_does() {
    let reader = key("reader");
    let grants = r#"[{ methods = ["HEAD"] }, { methods = ["GET"], paths = ["/v3/**"] }]"#;
    let scene = Setup::of(Vendor::Contentstack).client("reader", &reader, grants).start().await;
    for (method, target) in [
        ("GET", "/v3/content_types"),
        ("GET", "/v3/%63ontent_types"),
        ("POST", "/v3/content_types"),
        ("GET", "/v3/../v4"),
        ("GET", "/v4"),
    ] {
        scene.control().reset_counters();
        let answer = call_as(&scene, &reader, method, target).send().await;
        let is_forwarded = !scene.control().requests().is_empty();
        let (exit, said) = explain(&scene, &["reader", method, target]).await;
        if is_forwarded {
            assert_eq!(exit, 0, "{target}: {said}");
            assert!(said.contains("read as   GET /v3/content_types\n"), "{said}");
            assert!(said.contains("grant     clients.reader.grants[1] (doorward.toml:"), "{said}");
            assert!(said.contains("account   user\nallowed: it is forwarded"), "{said}");
        } else {
            assert_eq!(exit, 1, "{target}: {said}");
            let (status, code) = (answer.status.as_u16(), answer.problem());
            assert!(said.contains(&format!("refused: {status} {code}: ")), "{code}: {said}");
        }
        let (_, json) = explain(&scene, &["--json", "reader", method, target]).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let outcome = if is_forwarded { "forwarded" } else { "refused" };
        assert_eq!((&json["outcome"], json["version"].as_u64()), (&outcome.into(), Some(1)));
    }
    for (method, outcome, words) in [
        ("POST", "logged_in", "allowed: answered here (login)"),
        ("DELETE", "answered", "allowed: Doorward answers it in the upstream's place"),
    ] {
        let (exit, said) = explain(&scene, &["reader", method, "/v3/user-session"]).await;
        assert!(exit == 0 && said.contains(words), "{said}");
        let (_, json) = explain(&scene, &["--json", "reader", method, "/v3/user-session"]).await;
        assert!(json.contains(&format!("\"outcome\":\"{outcome}\"")), "{json}");
    }
    let (exit, said) = explain(&scene, &["readr", "GET", "/v3"]).await;
    assert_eq!(exit, 78);
    assert!(said.contains("no client is called `readr`; did you mean `reader`?"), "{said}");
    scene.stop().await;
}
