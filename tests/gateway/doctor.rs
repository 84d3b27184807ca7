//! `doorward try`: what it says of good and bad logins, and that it never says a secret.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use clap::Parser;
use doorward::cli::Exit;
use doorward::cli::trial::{Screen, Try};
use doorward::diagnosis::Paint;
use doorward::emulator::{Emulator, Forced, Kind, Options, Totp, User, Vendor, mfiles};
use doorward::secret::Environment;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{within, write};
use crate::leaks::leaks;
use crate::puppet::{Puppet, Reply};
use crate::vendors::login_line;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    command: Try,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub exit: Exit,
    pub out: String,
    pub errors: String,
}

/// An upstream's configuration in a folder of its own.
pub struct Subject {
    pub folder: TempDir,
    variables: Vec<(String, String)>,
}

pub const TOTP_SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

pub const ON_PAPER: Screen = Screen { out: Paint::Plain, errors: Paint::Plain, live: false };

impl Subject {
    pub fn new(vendor: Vendor, url: &str, user: &User) -> Self {
        Self::with_recipe(vendor, url, user, &format!("recipe = \"{vendor}\""))
    }

    pub fn with_recipe(vendor: Vendor, url: &str, user: &User, recipe: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parameters = match vendor {
            Vendor::MFiles => format!("parameters = {{ vault = {:?} }}", mfiles::VAULT),
            Vendor::Contentstack | Vendor::ThoughtSpot => String::new(),
        };
        let text = format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
             [upstreams.vendor]\nurl = \"{url}\"\n{recipe}\n{parameters}\n\
             [upstreams.vendor.accounts.main]\nusername = \"{}\"\npassword = {{ env = \"PW\" }}\n\
             [[routes]]\nupstream = \"vendor\"\n",
            user.login
        );
        write(folder.path(), "doorward.toml", &text);
        Self { folder, variables: vec![("PW".to_owned(), user.password.clone())] }
    }

    /// Runs `doorward try vendor` with these arguments.
    pub async fn tried(&self, screen: Screen, arguments: &[&str]) -> Said {
        let file = self.folder.path().join("doorward.toml").display().to_string();
        let line = ["try", "-c", &file, "vendor"].into_iter().chain(arguments.iter().copied());
        let command = Line::parse_from(line).command;
        let environment = Environment::Given(self.variables.iter().cloned().collect());
        let said = tokio::task::spawn_blocking(move || -> io::Result<Said> {
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            let exit = command.run(environment, screen, &mut out, &mut errors)?;
            let (out, errors) =
                (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap());
            Ok(Said { exit, out, errors })
        });
        within(said).await.unwrap().unwrap()
    }
}

pub async fn emulator(vendor: Vendor) -> Emulator {
    Emulator::start(vendor, Options::default()).await.unwrap()
}

pub fn good(emulator: &Emulator) -> Subject {
    let vendor = emulator.vendor();
    Subject::new(vendor, &emulator.origin(), &vendor.seeded_user())
}

/// An account whose logins also need a one-time code.
pub fn second_factor(emulator: &Emulator) -> Subject {
    let secret = Totp::from_base32(TOTP_SECRET).unwrap();
    let user = User::new("two@example.com", "a canary password of two");
    let mut subject = Subject::new(emulator.vendor(), &emulator.origin(), &user);
    emulator.control().add_user(user.kind(Kind::SecondFactor { secret }));
    let file = subject.folder.path().join("doorward.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let code = "totp_secret = { env = \"TOTP\" }\npassword =";
    write(subject.folder.path(), "doorward.toml", &text.replace("password =", code));
    subject.variables.push(("TOTP".to_owned(), TOTP_SECRET.to_owned()));
    subject
}

pub fn bad(emulator: &Emulator) -> Subject {
    let vendor = emulator.vendor();
    let user = User::new(vendor.seeded_user().login, "a wrong canary password");
    Subject::new(vendor, &emulator.origin(), &user)
}

/// Fails when a step, a taken value's place or the end of a session is not told, when the session
/// is not logged out, or when the last probe carries a credential.
#[tokio::test]
async fn a_good_login_is_told_step_by_step() {
    for vendor in Vendor::ALL {
        let emulator = emulator(vendor).await;
        let said = good(&emulator).tried(ON_PAPER, &[]).await;
        assert_eq!(said.exit, Exit::Ok, "{said:?}");
        for word in ["\nlogin   ok", "\nsession ", "carry ", "\nprobe   ok", "\nlogout  ok"] {
            assert!(said.out.contains(word), "{word:?}: {}", said.out);
        }
        assert!(said.out.contains("\nexpired ok"), "{}", said.out);
        assert!(said.out.contains(&format!("({vendor}.toml:")), "{}", said.out);
        assert!(said.out.ends_with("\n\ngood: this account can be used\n"), "{}", said.out);
        let counters = emulator.control().counters();
        assert_eq!((counters.logins, counters.logouts, counters.live_sessions), (1, 1, 0));
        assert_eq!(counters.requests_without_credential, 1, "the last probe carries nothing");
    }
}

/// Fails when the rule, its line or the secret's source is not named, or a login is sent twice.
#[tokio::test]
async fn a_wrong_password_names_the_rule_and_the_secret_to_change() {
    for vendor in Vendor::ALL {
        let emulator = emulator(vendor).await;
        let said = bad(&emulator).tried(ON_PAPER, &[]).await;
        assert_eq!(said.exit, Exit::Refused, "{said:?}");
        let rule = said.out.lines().find(|line| line.contains("says bad_secret")).unwrap();
        let place = rule.split(".toml:").nth(1).unwrap().split(')').next().unwrap();
        let recipe = doorward::recipe::BUILT_IN.iter().find(|(name, _)| *name == vendor.name());
        let line = recipe.unwrap().1.lines().nth(place.parse::<usize>().unwrap() - 1).unwrap();
        assert!(line.starts_with("when = "), "{rule} is not {line}");
        assert!(said.out.contains("`password` (environment variable `PW`)"), "{}", said.out);
        assert_eq!(emulator.control().counters().logins_refused, 1);
    }
}

/// Fails when a password, token or cookie value is in what is printed, in any form.
#[tokio::test]
async fn no_secret_is_said() {
    for vendor in Vendor::ALL {
        let emulator = emulator(vendor).await;
        for subject in [good(&emulator), bad(&emulator)] {
            for arguments in [&[][..], &["--json"]] {
                let live = Screen { out: Paint::Coloured, errors: Paint::Coloured, live: true };
                let said = subject.tried(live, arguments).await;
                let mut secrets = emulator.control().issued();
                assert!(!secrets.is_empty());
                secrets.push("a wrong canary password".to_owned());
                let leaked = leaks(&secrets, format!("{}{}", said.out, said.errors).as_bytes());
                assert!(leaked.is_empty(), "{leaked:?} in {}", said.out);
            }
        }
    }
}

/// Fails when the JSON document loses a member that it has promised.
#[tokio::test]
async fn json_says_the_same() {
    let emulator = emulator(Vendor::MFiles).await;
    let said = good(&emulator).tried(ON_PAPER, &["--json"]).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["version"], &json["ending"]), (&1.into(), &"good".into()));
    let phases: Vec<_> =
        json["steps"].as_array().unwrap().iter().map(|step| step["phase"].clone()).collect();
    assert_eq!(phases, ["login", "login", "probe", "logout", "without_session"]);
    assert_eq!(json["steps"][0]["taken"][0]["from"], "json /Value");
    assert!(json["steps"][0]["taken"][0]["value"]["characters"].as_u64().unwrap() > 10);
    assert_eq!(json["steps"][0]["expected"][0]["holds"], true);
    assert_eq!(json["steps"][4]["rule"]["says"], "expired");
    assert_eq!((&json["end_noticed"], &json["advice"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(json["session"]["left_open"], false);

    let said = bad(&emulator).tried(ON_PAPER, &["--json"]).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["ending"], &json["class"]), (&"refused".into(), &"bad_secret".into()));
    assert_eq!(json["steps"][1]["expected"][0]["found"], "status is 403");
    assert_eq!(json["session"], Value::Null);
}

/// A trial whose login gets this answer.
async fn answered(status: u16, content_type: &str, body: &str) -> Said {
    let emulator = emulator(Vendor::Contentstack).await;
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    let matching = login_line(Vendor::Contentstack).to_owned();
    let body = body.to_owned();
    let forced =
        Forced { matching, times: 1, status: Some(status), headers, body, ..Forced::default() };
    emulator.control().force(forced).unwrap();
    good(&emulator).tried(ON_PAPER, &[]).await
}

/// Fails when an answer that no rule knows is not shown as a rule that the loader takes, or when
/// the rule holds a value of it.
#[tokio::test]
async fn an_answer_that_no_rule_knows_becomes_a_rule() {
    let body = r#"{"code":"E-77-canary","x":null,"blt1234567890":"id","hint":{"a":1}}"#;
    let said = answered(418, "application/json", body).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.out.contains("rule    no rule matched"), "{}", said.out);
    assert!(!said.out.contains("canary") && !said.out.contains("blt1"), "{}", said.out);
    let lines = said.out.lines().skip_while(|line| !line.contains("[[login.refusals]]"));
    let rule: Vec<&str> = lines.take(3).map(str::trim).collect();
    let recipe = doorward::recipe::BUILT_IN.iter().find(|(name, _)| *name == "contentstack");
    let text = format!("{}\n{}\n", recipe.unwrap().1, rule.join("\n"));
    let document = doorward::diagnosis::Document::parse("own.toml", text).unwrap();
    let recipe = doorward::recipe::Recipe::load(&document, &Default::default()).unwrap();
    assert!(rule[1].contains("/code") && rule[1].contains("/hint"), "{rule:?}");
    let last = format!("login.refusals[{}]", recipe.refusals.len() - 1);
    assert_eq!(recipe.refusals.last().unwrap().place.rule, last);
}

/// Fails when advice does not fit the way in which the login ended.
#[tokio::test]
async fn each_way_to_end_has_its_advice() {
    let cases = [
        (404, "text/plain", "", "the upstream knows no POST /v3/user-session"),
        (302, "text/plain", "", "sends logins elsewhere"),
        (200, "text/html", "<html>", "is not the API's address"),
        (429, "application/json", "{}", "wait, then try again"),
        (200, "application/json", r#"{"token":"x"}"#, "which has json `/token`: correct `take`"),
    ];
    for (status, content_type, body, advice) in cases {
        let said = answered(status, content_type, body).await;
        assert_eq!(said.exit, Exit::Refused, "{}", said.out);
        assert!(said.out.contains(advice), "{status}: {}", said.out);
    }
    let user = Vendor::Contentstack.seeded_user();
    let unreachable = [
        ("http://127.0.0.1:1", "nothing listens at 127.0.0.1:1"),
        ("https://no-such-name.invalid", "nobody knows the name `no-such-name.invalid`"),
    ];
    for (url, advice) in unreachable {
        let said = Subject::new(Vendor::Contentstack, url, &user).tried(ON_PAPER, &[]).await;
        assert_eq!(said.exit, Exit::Unreachable, "{}", said.out);
        assert!(said.out.contains(advice), "{}", said.out);
    }
    let emulator = emulator(Vendor::Contentstack).await;
    let url = emulator.origin().replace("http:", "https:");
    let said = Subject::new(Vendor::Contentstack, &url, &user).tried(ON_PAPER, &[]).await;
    assert!(said.out.contains("if it speaks plain HTTP, `url`"), "{}", said.out);
}

/// Fails when an account cannot be tried before the secrets of all others are there.
#[tokio::test]
async fn the_secrets_of_other_accounts_may_be_missing() {
    let emulator = emulator(Vendor::Contentstack).await;
    let subject = good(&emulator);
    let file = subject.folder.path().join("doorward.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("upstream = \"vendor\"", "upstream = \"vendor\"\naccount = \"main\"");
    let other =
        "[upstreams.vendor.accounts.other]\nusername = \"o\"\npassword = { env = \"NO\" }\n";
    write(subject.folder.path(), "doorward.toml", &format!("{text}{other}"));
    let said = subject.tried(ON_PAPER, &["--account", "main"]).await;
    assert_eq!(said.exit, Exit::Ok, "{said:?}");
    let said = subject.tried(ON_PAPER, &["--account", "other"]).await;
    assert_eq!(said.exit, Exit::Config, "{said:?}");
    assert!(said.errors.contains("environment variable `NO` is not set"), "{said:?}");
    let said = subject.tried(ON_PAPER, &[]).await;
    assert!(said.errors.contains("choose by --account: main, other"), "{said:?}");
}

/// Fails when nobody says that a session was left open, or that its end would go unnoticed.
#[tokio::test]
async fn what_a_good_login_leaves_in_doubt_is_said() {
    let puppet = Puppet::start(|request| match request.split(' ').next() {
        Some("POST") => Reply::json(r#"{"user":{"authtoken":"a-canary-token"}}"#),
        Some("DELETE") => Reply::keep("HTTP/1.1 500 Out of order\r\ncontent-length: 0\r\n\r\n"),
        _ => Reply::json(r#"{"user":{"uid":"x"}}"#),
    })
    .await;
    let url = puppet.origin();
    let user = Vendor::Contentstack.seeded_user();
    let said = Subject::new(Vendor::Contentstack, &url, &user).tried(ON_PAPER, &[]).await;
    assert_eq!(said.exit, Exit::Refused, "{}", said.out);
    assert!(said.out.contains("a session was left open"), "{}", said.out);
    assert!(said.out.contains("expired miss"), "{}", said.out);
    assert!(said.out.contains("let the probe ask what only a session may see"), "{}", said.out);
    let last = puppet.requests().pop().unwrap();
    assert!(!last.contains("canary") && !last.contains("authtoken"), "{last}");
}

/// Fails when a token in a cookie's path is shown.
#[tokio::test]
async fn a_cookies_path_is_shown_without_what_may_be_a_value() {
    let body = r#"{"user":{"authtoken":"canary","uid":"x"}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         set-cookie: sid=a-canary; Path=/s/0123456789canary?canary\r\n\r\n{body}",
        body.len()
    );
    let puppet = Puppet::start(move |_| Reply::keep(answer.clone())).await;
    let user = Vendor::Contentstack.seeded_user();
    let subject = Subject::new(Vendor::Contentstack, &puppet.origin(), &user);
    let said = subject.tried(ON_PAPER, &[]).await.out;
    assert!(said.contains(", path /s/*,") && !said.contains("canary"), "{said}");
    let said = subject.tried(ON_PAPER, &["--json"]).await.out;
    assert!(said.contains(r#""path":"/s/*""#) && !said.contains("canary"), "{said}");
}

/// Fails when the trace in the documentation is not what a trial says.
#[tokio::test]
async fn the_documented_trace_is_true() {
    let document = include_str!("../../docs/DOCTOR.md");
    let shown = document.split("$ doorward try cms\n").nth(1).unwrap().split("```").next().unwrap();
    let emulator = emulator(Vendor::Contentstack).await;
    let said = good(&emulator).tried(ON_PAPER, &[]).await.out;
    // Names, times and fingerprints are those of each trial.
    let cut = |line: &str| {
        ["in ", "#"].iter().fold(line.to_owned(), |line, mark| {
            line.split_once(&format!(" {mark}"))
                .map_or(line.clone(), |(before, _)| before.to_owned())
        })
    };
    let comparable = |trace: &str| trace.lines().skip(1).map(cut).collect::<Vec<_>>();
    assert_eq!(comparable(shown), comparable(&said), "{said}");
}

/// Fails when a trial waits for its next one-time code without a word.
#[tokio::test]
async fn a_wait_for_a_code_is_told() {
    for arguments in [&[][..], &["--json"]] {
        let emulator = emulator(Vendor::Contentstack).await;
        let subject = second_factor(&emulator);
        let folder = subject.folder.path();
        write(folder, "state_key", "the key that seals the state of a test");
        let state = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
        // The first wait is that for the code.
        let state = format!("{state}[timeouts]\nlogin_distance = \"0s\"\n");
        write(folder, "state.toml", &state);
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.args(["try", "-c", "doorward.toml", "-c", "state.toml", "vendor"]).args(arguments);
        command.current_dir(folder).env_clear().envs(subject.variables.iter().cloned());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The first trial has nothing to wait for, nor has one in the next step of 30 s.
        let told = tokio::task::spawn_blocking(move || {
            std::iter::repeat_with(|| wait_of(&mut command)).take(3).flatten().next()
        });
        let told = within(told).await.unwrap().expect("it does not wait, or not with a word");
        let why = "s until the next one-time code: the one of now has been sent before";
        assert!(told.ends_with(why), "{told}");
    }
}

/// What a command says of its wait, which is not waited for.
fn wait_of(command: &mut Command) -> Option<String> {
    let mut trying = command.spawn().unwrap();
    let (out, errors) = (trying.stdout.take().unwrap(), trying.stderr.take().unwrap());
    let is_json = command.get_args().any(|argument| argument == "--json");
    let said: Box<dyn Read> = if is_json { Box::new(errors) } else { Box::new(out) };
    let mut lines = BufReader::new(said).lines().map(Result::unwrap);
    let told = lines.find(|line| line.starts_with("wait "));
    // It has ended where nothing was told.
    if told.is_some() {
        trying.kill().unwrap();
    }
    trying.wait().unwrap();
    told
}
