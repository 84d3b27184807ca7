//! Every built-in recipe through a whole Doorward, in front of a server that answers what the
//! recipe's conformance file tells, in the order in which it must be asked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use doorward::app::{self, App, Inherited, Resolver, Surroundings};
use doorward::clock::Clock;
use doorward::conformance::written::{Answered, Exchange, Meaning, Probed, Refused, Reply};
use doorward::conformance::{self, Conformance};
use doorward::recipe::{self, FieldKind, Recipe, ReplayPolicy};
use doorward::secret::Environment;
use doorward::settings::Sources;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, Call, Door, Record};
use crate::harness::{within, write};
use crate::puppet::{self, Puppet};

/// The time of a conformance run: codes and ends are those of the files.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// A shorter value may stand anywhere by chance.
const SECRET_BYTES_MIN: usize = 16;

/// What clients are told when all went well.
const WELL: &str = "all is well";

/// A request that must come next: how its first line begins, and what it is answered.
struct Next {
    begins: String,
    answer: Vec<u8>,
}

/// What is still to come, and what came instead.
#[derive(Default)]
struct Script {
    next: VecDeque<Next>,
    /// A session that was called dead is logged out some time: a request that looks so is none
    /// that is awaited.
    logout: Vec<Exchange>,
    logouts: usize,
    wrong: Vec<String>,
    last: String,
}

struct Stage {
    recipe: Recipe,
    file: Conformance,
    script: Arc<Mutex<Script>>,
    _puppet: Puppet,
    _folder: TempDir,
    app: App,
    door: Door,
    record: Record,
}

fn bytes(reply: &Reply) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Told\r\n", reply.status);
    let names_type = reply.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    if reply.json.is_some() && !names_type {
        head.push_str("content-type: application/json\r\n");
    }
    for (name, value) in &reply.headers {
        _ = write!(head, "{name}: {value}\r\n");
    }
    for cookie in &reply.set_cookies {
        _ = write!(head, "set-cookie: {cookie}\r\n");
    }
    let body = reply.body();
    if reply.status != 204 && reply.status != 304 {
        _ = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    [head.into_bytes(), body].concat()
}

fn well() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{WELL}",
        WELL.len()
    )
    .into_bytes()
}

impl Stage {
    async fn set(name: &str) -> Self {
        let document = conformance::built_in(name).unwrap().unwrap();
        let mut file = Conformance::load(&document).unwrap();
        let document = recipe::built_in(name).unwrap();
        let recipe = Recipe::load(&document, &file.parameters).unwrap();
        let told = conformance::built_in(name).unwrap().unwrap();
        let logout = Conformance::load(&told).unwrap().logout;
        let script = Arc::new(Mutex::new(Script { logout, ..Script::default() }));
        let puppet = Puppet::start({
            let script = Arc::clone(&script);
            move |request| answer(&mut script.lock().unwrap(), request)
        });
        let puppet = puppet.await;
        is_elsewhere(document.value(), &mut file, puppet.origin());
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(name, &folder, &puppet, &recipe, &file);
        let environment = Environment::Given(BTreeMap::new());
        let loaded = app::load(&Sources { files: vec![config], environment });
        let loaded = loaded.unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
        let surroundings = Surroundings {
            clock: Clock::manual(UNIX_EPOCH + BEGIN),
            resolver: Resolver::System,
            readers: Vec::new(),
            admin_socket: None,
            without: None,
            inherited: Inherited::default(),
        };
        let app = App::start(&loaded, surroundings).unwrap_or_else(|error| panic!("{error}"));
        let address = app.listening()[0].address.clone();
        let door = Door { address, authority_pem: None };
        let record = Record::default();
        Self { recipe, file, script, _puppet: puppet, _folder: folder, app, door, record }
    }

    fn expect(&self, begins: &str, answer: Vec<u8>) {
        let begins = begins.split('?').next().unwrap_or_default().to_owned();
        self.script.lock().unwrap().next.push_back(Next { begins, answer });
    }

    fn expect_all(&self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            self.expect(&exchange.sends.to, bytes(&exchange.answer));
        }
    }

    fn expect_client(&self, to: &str, answer: Vec<u8>) {
        self.expect(to, answer);
    }

    /// What gives a session again after the last has died.
    fn expect_renewal(&self, exchanges: &[Exchange]) {
        self.expect_all(exchanges);
    }

    async fn call(&self, to: &str) -> Answer {
        let (method, target) = to.split_once(' ').unwrap();
        let call = Call::new(self.door.clone(), self.record.clone(), method, target);
        within(call.send()).await
    }

    /// All that had to come has come, and nothing else.
    fn is_done(&self, about: &str) {
        let script = self.script.lock().unwrap();
        assert!(script.wrong.is_empty(), "{about}: {:?}", script.wrong);
        let missing: Vec<_> = script.next.iter().map(|next| &next.begins).collect();
        assert!(missing.is_empty(), "{about}: {missing:?} did not come");
    }

    fn last(&self) -> String {
        self.script.lock().unwrap().last.clone()
    }
}

fn answer(script: &mut Script, request: &str) -> puppet::Reply {
    let line = request.lines().next().unwrap_or_default();
    let line = line.rsplit_once(' ').map_or(line, |(line, _)| line);
    let asked = line.split('?').next().unwrap_or_default();
    let logout = script.logout.iter().find(|exchange| is_logout(exchange, asked, request));
    if let Some(answer) = logout.map(|exchange| bytes(&exchange.answer)) {
        script.logouts += 1;
        return puppet::Reply::keep(answer);
    }
    script.last = request.to_owned();
    match script.next.pop_front() {
        Some(next) if conforms(&next.begins, asked) => puppet::Reply::keep(next.answer),
        Some(next) => {
            script.wrong.push(format!("`{asked}` came, and `{}` was expected", next.begins));
            puppet::Reply::close("HTTP/1.1 500 Wrong\r\ncontent-length: 0\r\n\r\n")
        }
        None => {
            script.wrong.push(format!("`{asked}` came, and nothing was expected"));
            puppet::Reply::close("HTTP/1.1 500 Wrong\r\ncontent-length: 0\r\n\r\n")
        }
    }
}

/// Whether a request is this one of the logout: where all calls go to one path, the body tells.
fn is_logout(exchange: &Exchange, asked: &str, request: &str) -> bool {
    let told = exchange.sends.to.split('?').next().unwrap_or_default();
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    conforms(told, asked)
        && match (&exchange.sends.json, &exchange.sends.form) {
            // A refresh has changed the tokens in it.
            (Some(json), _) => serde_json::from_str::<Value>(body).is_ok_and(|body| {
                let keys = |json: &Value| -> Vec<String> {
                    json.as_object().iter().flat_map(|it| it.keys().cloned()).collect()
                };
                keys(&body) == keys(json) && body.get("method") == json.get("method")
            }),
            (None, Some(form)) => {
                let names: Vec<_> =
                    body.split('&').filter_map(|pair| pair.split('=').next()).collect();
                form.keys().all(|name| names.contains(&&**name))
                    && form
                        .values()
                        .filter(|value| is_plain(value))
                        .all(|value| body.contains(value))
            }
            (None, None) => body.is_empty(),
        }
}

fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a first line is the one that is told of, `{{any}}` standing for a part of it.
fn conforms(told: &str, asked: &str) -> bool {
    match told.split_once("{{any}}") {
        Some((before, after)) => asked.starts_with(before) && asked.ends_with(after),
        None => told == asked,
    }
}

/// Where a login tells of another place, that is the same server, and is allowed by the recipe's
/// parameters.
fn is_elsewhere(recipe: &Value, file: &mut Conformance, origin: String) {
    let Some(base) = &file.session.base_url else { return };
    for json in file.login.iter_mut().filter_map(|exchange| exchange.answer.json.as_mut()) {
        *json = serde_json::from_str(&json.to_string().replace(base, &origin)).unwrap();
    }
    for allowed in recipe["session"]["base_url"]["allow"].as_array().unwrap() {
        let name = allowed.as_str().unwrap().trim_matches(['{', '}']);
        file.parameters.insert(name.to_owned(), origin.clone());
    }
}

fn configuration(
    name: &str,
    folder: &TempDir,
    puppet: &Puppet,
    recipe: &Recipe,
    file: &Conformance,
) -> std::path::PathBuf {
    let mut account = String::new();
    for (field, value) in &file.account {
        let is_secret = recipe.fields[field].kind == FieldKind::Secret;
        match is_secret {
            false => _ = writeln!(account, "{field} = {value:?}"),
            true => {
                let path = write(folder.path(), field, value);
                _ = writeln!(account, "{field} = {{ file = {path:?}, verbatim = true }}");
            }
        }
    }
    let mut parameters = String::new();
    for (parameter, value) in &file.parameters {
        _ = writeln!(parameters, "{parameter} = {value:?}");
    }
    let text = format!(
        "[listeners.main]\naddress = \"127.0.0.1:0\"\naccess = \"open\"\n\
         [upstreams.it]\nurl = {:?}\nrecipe = {name:?}\n\
         [upstreams.it.parameters]\n{parameters}\n\
         [upstreams.it.accounts.one]\n{account}\n\
         [[routes]]\nupstream = \"it\"\naccount = \"one\"\n\
         [timeouts]\nlogin_distance = \"0s\"\n[runtime]\ncores = 1\n",
        puppet.origin(),
    );
    write(folder.path(), "doorward.toml", &text)
}

/// A login, each kind of answer, and a logout.
async fn lives(name: &'static str) {
    let stage = Stage::set(name).await;
    let file = &stage.file;
    let wants_refresh = !file.refresh.is_empty();
    stage.expect_all(&file.login);
    stage.expect_client("GET /conformance", well());
    let answer = stage.call("GET /conformance").await;
    stage.is_done(&format!("{name}: login"));
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, WELL.as_bytes()), "{name}");
    carries(name, &stage);
    shows_nothing(name, &stage).await;

    for (index, answered) in file.answers.iter().enumerate() {
        let about = format!("{name}: answers[{index}]");
        // Endpoints that are answered here are not asked of the upstream.
        if file.endpoints.iter().any(|endpoint| endpoint.to == answered.to) {
            continue;
        }
        // One session after the other: what a refresh gives is told of once.
        if wants_refresh && answered.means != Meaning::Alive {
            continue;
        }
        if answered.means == Meaning::Alive || answered.means == Meaning::Unavailable {
            answered_so(&about, &stage, answered).await;
            continue;
        }
        // An account whose sessions die one after the other is held back: each dies at its own.
        let stage = Stage::set(name).await;
        stage.expect_all(&stage.file.login);
        stage.expect_client("GET /conformance", well());
        stage.call("GET /conformance").await;
        answered_so(&about, &stage, answered).await;
        within(stage.app.stop()).await;
    }
    if wants_refresh && let Some(dead) = first(file, Meaning::Expired) {
        stage.expect_client(&dead.to, bytes(&dead.answer));
        stage.expect_renewal(&file.refresh);
        stage.expect_client(&dead.to, well());
        let answer = stage.call(&dead.to).await;
        stage.is_done(&format!("{name}: refresh"));
        assert_eq!(&answer.body[..], WELL.as_bytes(), "{name}: refresh");
    }
    let Stage { app, script, recipe, .. } = stage;
    within(app.stop()).await;
    let script = script.lock().unwrap();
    assert!(script.wrong.is_empty(), "{name}: logout: {:?}", script.wrong);
    assert_eq!(script.logouts > 0, !recipe.logout.is_empty(), "{name}: {} logouts", script.logouts);
}

fn first(file: &Conformance, meaning: Meaning) -> Option<&Answered> {
    file.answers.iter().find(|answered| answered.means == meaning)
}

/// The session's fields are in the request that came last.
fn carries(name: &str, stage: &Stage) {
    let last = stage.last();
    for (field, value) in &stage.file.session.headers {
        let line = last.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(field).then_some(value)
        });
        let value = value.split("{{any}}").next().unwrap_or_default();
        assert!(line.is_some_and(|line| line.starts_with(value)), "{name}: `{field}` in {last}");
    }
}

/// What the session carries is not in an answer that shows the whole request.
async fn shows_nothing(name: &str, stage: &Stage) {
    let shown: Vec<&str> = stage.file.session.headers.values().map(String::as_str).collect();
    let shown = shown.join("\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    let echo = format!("{head}content-length: {}\r\n\r\n{shown}", shown.len());
    stage.expect_client("GET /conformance/echo", echo.into_bytes());
    let answer = stage.call("GET /conformance/echo").await;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let words =
        shown.split([' ', ';', '\n']).filter_map(|word| word.split_once('=').or(Some(("", word))));
    let is_told = |value: &str| stage.file.parameters.values().any(|told| told == value);
    let is_secret = |value: &str| value.len() >= SECRET_BYTES_MIN && !is_told(value);
    for (_, value) in words.filter(|(_, value)| is_secret(value)) {
        assert!(!body.contains(value), "{name}: a value of the session is in {body}");
    }
}

async fn answered_so(about: &str, stage: &Stage, answered: &Answered) {
    let file = &stage.file;
    let is_safe = ["GET ", "HEAD ", "OPTIONS "].iter().any(|it| answered.to.starts_with(it));
    let is_sent_again = match answered.replay {
        ReplayPolicy::Always => true,
        ReplayPolicy::Safe => is_safe,
        ReplayPolicy::Never => false,
    };
    stage.expect_client(&answered.to, bytes(&answered.answer));
    let probed = |alive: bool| -> &Probed {
        file.probe.iter().find(|probed| probed.alive == alive).unwrap()
    };
    let probe = || file.probe.iter().find_map(|probed| probed.sends.as_ref()).unwrap().to.clone();
    match answered.means {
        Meaning::Alive => {
            let answer = stage.call(&answered.to).await;
            assert_eq!(answer.status.as_u16(), answered.answer.status, "{about}");
        }
        Meaning::Unavailable => {
            let answer = stage.call(&answered.to).await;
            assert_eq!(answer.status.as_u16(), 503, "{about}");
        }
        Meaning::Renew => {
            stage.expect_all(&file.renew);
            if is_sent_again {
                stage.expect_client(&answered.to, well());
            }
            let answer = stage.call(&answered.to).await;
            match is_sent_again {
                true => assert_eq!(&answer.body[..], WELL.as_bytes(), "{about}"),
                false => assert_eq!(answer.status.as_u16(), answered.answer.status, "{about}"),
            }
        }
        Meaning::Expired | Meaning::Probe => {
            if answered.means == Meaning::Probe {
                let not_alive = probed(false);
                stage.expect(&probe(), bytes(&not_alive.answer));
            }
            if is_sent_again {
                stage.expect_renewal(&file.login);
                stage.expect_client(&answered.to, well());
            }
            let answer = stage.call(&answered.to).await;
            match is_sent_again {
                true => assert_eq!(&answer.body[..], WELL.as_bytes(), "{about}"),
                false => {
                    assert_eq!(answer.status.as_u16(), answered.answer.status, "{about}");
                    stage.is_done(about);
                    // The next request finds a new session.
                    stage.expect_renewal(&file.login);
                    stage.expect_client("GET /conformance", well());
                    stage.call("GET /conformance").await;
                }
            }
        }
    }
    stage.is_done(about);
}

/// A refused login: every client is told, and nothing more is sent for a wrong secret.
async fn is_refused(name: &str, refused: &Refused) {
    let stage = Stage::set(name).await;
    for (step, exchange) in stage.recipe.login.iter().zip(&stage.file.login) {
        if step.name == refused.at {
            stage.expect(&exchange.sends.to, bytes(&refused.answer));
            break;
        }
        stage.expect(&exchange.sends.to, bytes(&exchange.answer));
    }
    for _ in 0..2 {
        let answer = stage.call("GET /conformance").await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.is_server_error(), "{name}: {} {body}", answer.status);
        assert!(
            body.contains("login_refused") || body.contains("login_held_back"),
            "{name}: {body}"
        );
        for value in stage.file.account.values().filter(|value| value.len() > 3) {
            assert!(!body.contains(value.as_str()), "{name}: {body}");
        }
    }
    stage.is_done(&format!("{name}: {:?}", refused.class));
    within(stage.app.stop()).await;
}

/// Fails when a recipe does something else in a whole Doorward than its conformance file says.
#[tokio::test]
async fn every_recipe_lives_as_its_file_says() {
    let mut others = Vec::new();
    for (name, _) in recipe::BUILT_IN {
        // All are looked at, whatever the first ones do.
        if tokio::spawn(lives(name)).await.is_err() {
            others.push(*name);
        }
    }
    assert!(others.is_empty(), "{others:?} live otherwise");
}

/// Fails when a wrong secret is tried again, whatever the recipe.
#[tokio::test]
async fn every_recipes_wrong_secret_is_sent_once() {
    for (name, _) in recipe::BUILT_IN {
        let document = conformance::built_in(name).unwrap().unwrap();
        let file = Conformance::load(&document).unwrap();
        let bad = |refused: &&Refused| refused.class == Some(recipe::RefusalClass::BadSecret);
        let refused = file.refused.iter().find(bad).unwrap_or_else(|| panic!("{name}"));
        is_refused(name, refused).await;
    }
}
