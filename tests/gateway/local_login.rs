//! Clients that insist on logging in: their Doorward key is the password, and what they get for it
//! is theirs.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use doorward::access::key::ClientKey;
use doorward::emulator::{Vendor, mfiles};
use doorward::telemetry::{Event, Request, Who};
use serde_json::{Value, json};

use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup, until, within, write};
use crate::vendors::{read, write as write_call};

pub fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// A login at the endpoint that most clients of the vendor use.
pub fn login(scene: &Scene, password: &str) -> Call {
    match scene.emulator.vendor() {
        Vendor::Contentstack => scene
            .call("POST", "/v3/user-session")
            .json(&json!({ "user": { "email": "anybody@example.com", "password": password } })),
        Vendor::ThoughtSpot => scene
            .call("POST", "/callosum/v1/tspublic/v1/session/login")
            .header("x-requested-by", "ThoughtSpot")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("username=anybody&password={password}&rememberme=true")),
        // The Python SDK says no content type.
        Vendor::MFiles => scene
            .call("POST", "/REST/server/authenticationtokens")
            .body(json!({ "Username": "anybody", "Password": password }).to_string()),
    }
}

/// What the answer to a login gives.
pub fn token_of(scene: &Scene, answer: &Answer) -> String {
    let token = match scene.emulator.vendor() {
        Vendor::Contentstack => answer.json()["user"]["authtoken"].as_str().unwrap().to_owned(),
        Vendor::ThoughtSpot => cookie(answer, "JSESSIONID").unwrap(),
        Vendor::MFiles => answer.json()["Value"].as_str().unwrap().to_owned(),
    };
    assert!(token.starts_with("doorward_T_"), "{answer:?}");
    token
}

/// The value of a cookie that an answer sets.
pub fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let named = answer.all("set-cookie").into_iter().find_map(|line| {
        let (pair, _) = line.split_once(';')?;
        pair.strip_prefix(name)?.strip_prefix('=')
    });
    named.map(str::to_owned)
}

/// Logs in with a key; the token.
pub async fn logged_in(scene: &Scene, key: &ClientKey) -> String {
    let answer = login(scene, key.expose()).send().await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.one("cache-control"), "no-store");
    token_of(scene, &answer)
}

/// A read with a token where the vendor's own goes.
pub fn read_with(scene: &Scene, token: &str) -> Call {
    match scene.emulator.vendor() {
        Vendor::Contentstack => read(scene).header("authtoken", token),
        Vendor::ThoughtSpot => read(scene).header("cookie", &format!("a=b; JSESSIONID={token}; c")),
        Vendor::MFiles => read(scene).header("x-authentication", token),
    }
}

/// How a read with a token is answered: its status and, in Doorward's own name, its code.
pub async fn told(scene: &Scene, token: &str) -> (u16, String) {
    let answer = read_with(scene, token).send().await;
    (answer.status.as_u16(), answer.problem())
}

pub fn good() -> (u16, String) {
    (200, String::new())
}

pub fn expired() -> (u16, String) {
    (401, "client_token_expired".to_owned())
}

pub fn invalid() -> (u16, String) {
    (401, "client_token_invalid".to_owned())
}

fn requests(scene: &Scene) -> Vec<Request> {
    let events = scene.events().into_iter();
    let requests = events.filter_map(|event| match event {
        Event::Request(request) => Some(Request::clone(&request)),
        _ => None,
    });
    requests.collect()
}

/// Stops the scene; neither keys nor tokens may have been told to anybody but in answers to logins.
async fn stopped(scene: Scene, secrets: &[&str]) {
    let events = format!("{:?}", scene.events());
    for secret in secrets {
        assert!(!events.contains(secret), "{secret} was reported");
        assert_eq!(scene.control().requests_with(secret), 0, "the upstream was shown {secret}");
    }
    scene.stop().await;
}

/// Fails when a login with a key is not answered as the vendor does, when what it gives does not
/// open the door, or when the upstream sees more than the shared session.
#[tokio::test]
async fn a_client_logs_in_with_its_key_works_and_logs_out_as_at_the_vendor() {
    for vendor in Vendor::ALL {
        let alice = key("alice");
        let scene = Setup::of(vendor).keys(&[("alice", &alice)]).start().await;
        let token = logged_in(&scene, &alice).await;
        assert_eq!(scene.control().counters().requests, 0, "{vendor}: the login went on");
        for _ in 0..3 {
            assert_eq!(told(&scene, &token).await, good(), "{vendor}");
        }
        let basic = format!("Basic {}", BASE64.encode(format!("x:{token}").as_bytes()));
        for (field, value) in [
            ("authorization", format!("Bearer {token}")),
            ("authorization", basic),
            ("doorward-key", token.clone()),
            ("cookie", format!("x=\"{token}\"")),
            ("cookie", format!("x={}", token.replace('_', "%5F"))),
        ] {
            let answer = read(&scene).header(field, &value).send().await;
            assert_eq!(answer.status, 200, "{vendor} {field}: {answer:?}");
        }
        let logout = match vendor {
            Vendor::Contentstack => scene.call("DELETE", "/v3/user-session"),
            Vendor::ThoughtSpot => scene.call("POST", "/callosum/v1/tspublic/v1/session/logout"),
            Vendor::MFiles => scene.call("DELETE", "/REST/session"),
        };
        let bearer = format!("Bearer {token}");
        let answer = logout.header("authorization", &bearer).send().await;
        assert!(answer.status.is_success(), "{vendor}: {answer:?}");
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logouts), (1, 0), "{vendor}");
        assert_eq!(counters.live_sessions, 1, "{vendor}");

        until("all requests are reported", || requests(&scene).len() == 10).await;
        let all = requests(&scene);
        let (login, logout) = (&all[0], &all[all.len() - 1]);
        assert!(all.iter().all(|one| one.who == Some(Who::Client("alice".into()))), "{all:?}");
        assert_eq!((login.reason, logout.reason), ("logged_in_locally", "answered_locally"));
        assert_eq!(login.decision, doorward::telemetry::Decision::AnsweredLocally);
        stopped(scene, &[alice.expose(), &token]).await;
    }
}

/// Fails when an answer to a login lacks what clients of that vendor read of it.
#[tokio::test]
async fn the_answer_to_a_login_has_the_vendors_whole_shape() {
    let alice = key("alice");
    let scene = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let ours = login(&scene, alice.expose()).send().await.json();
    let user = Vendor::Contentstack.seeded_user();
    let own = json!({ "user": { "email": user.login, "password": user.password } });
    let theirs = scene.call_emulator("POST", "/v3/user-session").json(&own).send().await.json();
    let names = |value: &Value| {
        let names = value.as_object().unwrap().keys().cloned();
        names.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&ours), names(&theirs));
    assert_eq!(names(&ours["user"]), names(&theirs["user"]));

    let scene = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &alice)]).start().await;
    let answer = login(&scene, alice.expose()).send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(answer.all("set-cookie").len(), 2);
    assert!(cookie(&answer, "clientId").is_some_and(|id| id.len() == 36), "{answer:?}");
    for place in ["password", "secret_key"] {
        let call = scene.call("POST", "/api/rest/2.0/auth/token/full");
        let full = call.json(&json!({ "username": "a", place: alice.expose() })).send().await;
        let full = full.json();
        let (now, until) = (&full["creation_time_in_millis"], &full["expiration_time_in_millis"]);
        // As long as tokens live when nothing else is said, in whole seconds.
        let lives = until.as_u64().unwrap() - now.as_u64().unwrap();
        assert!((43_199_000..=43_200_000).contains(&lives), "{full}");
        let bearer = format!("Bearer {}", full["token"].as_str().unwrap());
        let user = scene.call("GET", "/api/rest/2.0/auth/session/user");
        assert_eq!(user.header("authorization", &bearer).send().await.status, 200);
    }
    let logout = scene.call("POST", "/api/rest/2.0/auth/session/logout");
    let answer = logout.header("doorward-key", alice.expose()).send().await;
    assert_eq!(cookie(&answer, "JSESSIONID").unwrap(), "");

    let scene = Setup::of(Vendor::MFiles).keys(&[("alice", &alice)]).start().await;
    let body = json!({ "Username": "a", "Password": alice.expose() });
    let answer = scene.call("PUT", "/REST/session").json(&body).send().await;
    let vaults = answer.json();
    let token = cookie(&answer, "ASP.NET_SessionId").unwrap();
    assert_eq!(
        (&vaults[0]["GUID"], &vaults[0]["Authentication"]),
        (&json!(mfiles::VAULT), &json!(token))
    );
    for call in [
        read(&scene).header("cookie", &format!("ASP.NET_SessionId={token}")),
        scene.call("GET", &format!("/REST/views/items?auth={token}")),
        scene.call("GET", &format!("/REST/views/items?%41uth={}", token.replace('_', "%5f"))),
    ] {
        assert_eq!(call.header("x-vault", mfiles::VAULT).send().await.status, 200);
    }
    stopped(scene, &[&token]).await;
}

/// Fails when cookies that were set over TLS are sent without it.
#[tokio::test]
async fn over_tls_the_cookies_of_a_login_are_for_tls_only() {
    let alice = key("alice");
    for (tls, secure) in [(false, 0), (true, 2)] {
        let mut setup = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &alice)]);
        setup.listener_tls = tls;
        let scene = setup.start().await;
        let answer = login(&scene, alice.expose()).send().await;
        let cookies = answer.all("set-cookie");
        let marked = cookies.iter().filter(|cookie| cookie.ends_with("; Secure"));
        assert_eq!((cookies.len(), marked.count()), (2, secure), "{cookies:?}");
        scene.stop().await;
    }
}

/// Fails when a token is good for longer than is said, or than its key.
#[tokio::test]
async fn a_token_is_good_until_its_end_and_never_longer_than_its_key() {
    for vendor in Vendor::ALL {
        let (alice, bob) = (key("alice"), key("bob"));
        let end = jiff::Timestamp::now() + Duration::from_secs(1800);
        let bobs = format!(
            "[clients.bob]\nkeys = [{{ digest = \"{}\", expires = \"{end}\" }}]\ngrants = [{{}}]\n\
             [timeouts]\nclient_token = \"1h\"\n",
            bob.digest()
        );
        let setup = Setup::of(vendor).keys(&[("alice", &alice)]).tables(&bobs);
        let scene = setup.start().await;
        let (alices, bobs) = (logged_in(&scene, &alice).await, logged_in(&scene, &bob).await);
        let both = async || (told(&scene, &alices).await, told(&scene, &bobs).await);
        scene.clock.advance(Duration::from_secs(1700));
        assert_eq!(both().await, (good(), good()));
        scene.clock.advance(Duration::from_secs(200));
        assert_eq!(both().await, (good(), expired()));
        scene.clock.advance(Duration::from_secs(1600));
        assert_eq!(both().await, (good(), expired()));
        scene.clock.advance(Duration::from_secs(200));
        assert_eq!(both().await, (expired(), expired()));
        let answer = read_with(&scene, &alices).send().await;
        assert!(answer.one("www-authenticate").ends_with("error=\"invalid_token\""));
        // What an SDK still shows of its last login does not keep it from the next.
        let again = read_like(&login(&scene, alice.expose()), &scene, &alices).send().await;
        assert!(again.status.is_success(), "{again:?}");
        assert_eq!(told(&scene, &token_of(&scene, &again)).await, good());
        scene.stop().await;
    }
}

/// A call with a token where the vendor's own goes.
fn read_like(call: &Call, scene: &Scene, token: &str) -> Call {
    match scene.emulator.vendor() {
        Vendor::Contentstack => call.clone().header("authtoken", token),
        Vendor::ThoughtSpot => call.clone().header("cookie", &format!("JSESSIONID={token}")),
        Vendor::MFiles => call.clone().header("x-authentication", token),
    }
}

/// Fails when a token is prolonged by itself, or when its client gets another's.
#[tokio::test]
async fn a_login_with_a_token_alone_gives_one_with_the_same_end() {
    let alice = key("alice");
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]);
    let scene = setup.tables("[timeouts]\nclient_token = \"1h\"\n").start().await;
    let first = logged_in(&scene, &alice).await;
    scene.clock.advance(Duration::from_secs(3000));
    for call in [login(&scene, &first), login(&scene, "x").header("authtoken", &first)] {
        let token = token_of(&scene, &call.send().await);
        assert_eq!(told(&scene, &token).await, good());
        assert_eq!(token, first, "it says something else");
    }
    // A key in a field is as good as one in the body.
    let by_field = login(&scene, "x").header("x-api-key", alice.expose()).send().await;
    let by_field = token_of(&scene, &by_field);
    scene.clock.advance(Duration::from_secs(700));
    assert_eq!(told(&scene, &first).await, expired());
    assert_eq!(told(&scene, &by_field).await, good());
    // A token that has ended, beside a good key, is no reason to refuse it.
    let both = read_with(&scene, &first).header("x-api-key", alice.expose());
    assert_eq!(both.send().await.status, 200);
    assert_eq!(login(&scene, &first).send().await.problem(), "client_token_expired");
    scene.stop().await;
}

/// Fails when keys or tokens of two clients pass together.
#[tokio::test]
async fn who_shows_two_clients_is_refused() {
    let (alice, bob) = (key("alice"), key("bob"));
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice), ("bob", &bob)]);
    let scene = setup.start().await;
    let (alices, bobs) = (logged_in(&scene, &alice).await, logged_in(&scene, &bob).await);
    for call in [
        login(&scene, alice.expose()).header("x-api-key", bob.expose()),
        read_with(&scene, &alices).header("x-api-key", bob.expose()),
        read_with(&scene, &alices).header("cookie", &format!("a={bobs}")),
    ] {
        assert_eq!(call.send().await.problem(), "client_conflicting");
    }
    assert_eq!(scene.control().counters().requests, 0);
    // A login replaces what an earlier one left, whosever it was.
    let call = login(&scene, alice.expose()).header("authtoken", &bobs);
    let token = token_of(&scene, &call.send().await);
    assert_eq!(told(&scene, &token).await, good());
    let of_alice = |one: &Request| one.client() == Some("alice") && one.generation.is_some();
    until("it is reported as alice's", || requests(&scene).iter().any(of_alice)).await;
    scene.stop().await;
}

/// Fails when a client with few rights cannot use an SDK that logs in and out, or when a login gives
/// more rights than the key has.
#[tokio::test]
async fn any_grant_at_the_upstream_is_enough_to_log_in_and_out_and_gives_no_other() {
    let (reader, stranger) = (key("reader"), key("stranger"));
    let other = "[upstreams.other]\nurl = \"http://127.0.0.1:9\"\nrecipe = \"contentstack\"\n\
                 [upstreams.other.accounts.user]\nusername = \"u\"\npassword = { env = \"P\" }\n\
                 [[routes]]\nhost = \"other.test\"\nupstream = \"other\"\n";
    let scene = Setup::of(Vendor::Contentstack)
        .client("reader", &reader, r#"[{ methods = ["GET"], paths = ["/v3/content_types/**"] }]"#)
        .client("stranger", &stranger, r#"[{ upstreams = ["other"] }]"#)
        .tables(other)
        .start_with(&[("P", "secret")])
        .await;
    let token = logged_in(&scene, &reader).await;
    assert_eq!(told(&scene, &token).await, good());
    let write = write_call(&scene, 1).header("authtoken", &token).send().await;
    assert_eq!((write.status.as_u16(), write.problem().as_str()), (403, "not_granted"));
    let logout = scene.call("DELETE", "/v3/user-session").header("authtoken", &token);
    assert_eq!(logout.send().await.status, 200);
    let refused = login(&scene, stranger.expose()).send().await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (403, "not_granted"));

    // Good at the upstream that it was given for, and at no other.
    let there = login(&scene, stranger.expose()).host("other.test").send().await;
    let strangers = token_of(&scene, &there);
    assert_eq!(told(&scene, &strangers).await, invalid());
    let elsewhere = read_with(&scene, &token).host("other.test").send().await;
    assert_eq!(elsewhere.problem(), "client_token_invalid");
    scene.stop().await;
}

async fn restarted(scene: &mut Scene) {
    within(scene.take_app().stop()).await;
    scene.start_again();
}

/// Fails when tokens end with the process although a key is kept, or outlive it without one.
#[tokio::test]
async fn tokens_outlive_a_restart_where_their_key_does() {
    let state = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
    let given = "[access]\ntoken_key = { file = \"token_key\" }\n";
    let others = [("", invalid()), (state, good()), (given, good())];
    for (tables, after) in others {
        let alice = key("alice");
        let mut setup = Setup::of(Vendor::MFiles).keys(&[("alice", &alice)]);
        setup.tables.push_str(tables);
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "token_key", &"t".repeat(40));
        setup.tables = setup.tables.replace("\"token_key\"", &format!("{path:?}"));
        let mut scene = setup.start().await;
        let token = logged_in(&scene, &alice).await;
        assert_eq!(told(&scene, &token).await, good());
        restarted(&mut scene).await;
        assert_eq!(told(&scene, &token).await, after, "{tables}");
        write(folder.path(), "token_key", &"u".repeat(40));
        restarted(&mut scene).await;
        let after = if tables == given { invalid() } else { after };
        assert_eq!(told(&scene, &token).await, after, "{tables}");
        scene.stop().await;
    }
}

/// Fails when a key that is taken out leaves what was got with it good.
#[tokio::test]
async fn taking_a_key_out_ends_its_tokens_and_no_others() {
    let (old, new) = (key("alice"), key("alice"));
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.listener = "access = \"clients\"".to_owned();
    let clients = |keys: &str| format!("[clients.alice]\nkeys = [{keys}]\ngrants = [{{}}]\n");
    let digest = |key: &ClientKey| format!("\"{}\"", key.digest());
    let both = clients(&format!("{}, {}", digest(&old), digest(&new)));
    let state = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
    let mut scene = setup.tables(&both).tables(state).start().await;
    let (olds, news) = (logged_in(&scene, &old).await, logged_in(&scene, &new).await);
    let change = |from: &str, to: &str| {
        let path = scene.folder.path().join("doorward.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let one = clients(&digest(&new));
    change(&both, &one);
    restarted(&mut scene).await;
    assert_eq!((told(&scene, &olds).await, told(&scene, &news).await), (invalid(), good()));
    // An end that is given to a key later is one for its tokens, too.
    let soon = jiff::Timestamp::try_from(scene.clock.wall()).unwrap() + Duration::from_secs(60);
    let ending = clients(&format!("{{ digest = {}, expires = \"{soon}\" }}", digest(&new)));
    let path = scene.folder.path().join("doorward.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace(&one, &ending)).unwrap();
    restarted(&mut scene).await;
    assert_eq!(told(&scene, &news).await, good());
    scene.clock.advance(Duration::from_secs(61));
    assert_eq!(told(&scene, &news).await, expired());
    scene.stop().await;
}

/// Fails when clients without a key get something for logging in, or when with open access the
/// placeholder has an end that clients take for past.
#[tokio::test]
async fn with_open_access_a_login_gives_the_placeholder() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    let alice = key("alice");
    let answer = login(&scene, alice.expose()).send().await;
    assert_eq!(cookie(&answer, "JSESSIONID").unwrap(), "doorward-placeholder-token");
    let full = scene.call("POST", "/api/rest/2.0/auth/token/full").body("{}").send().await.json();
    assert_eq!(full["token"], "doorward-placeholder-token");
    let now = scene.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let until = Duration::from_millis(full["expiration_time_in_millis"].as_u64().unwrap());
    assert_eq!(until.as_secs(), (now + Duration::from_secs(12 * 3600)).as_secs());
    assert_eq!(scene.control().counters().requests, 0);
    scene.stop().await;
}

/// Fails when logging in costs the upstream anything, however many do so.
#[tokio::test]
async fn a_hundred_clients_log_in_at_once_and_share_one_session() {
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let keys: Vec<_> = names.iter().map(|name| (name.as_str(), key(name))).collect();
    let known: Vec<_> = keys.iter().map(|(name, key)| (*name, key)).collect();
    let scene = Setup::of(Vendor::Contentstack).keys(&known).start().await;
    let logins = keys.iter().cycle().take(100).map(|(_, key)| login(&scene, key.expose()).spawn());
    let mut tokens = Vec::new();
    for login in logins.collect::<Vec<_>>() {
        tokens.push(token_of(&scene, &within(login).await.unwrap()));
    }
    assert_eq!(scene.control().counters().requests, 0);
    let reads: Vec<_> = tokens.iter().map(|token| read_with(&scene, token).spawn()).collect();
    for read in reads {
        assert_eq!(within(read).await.unwrap().status, 200);
    }
    assert_eq!(scene.control().counters().logins, 1);
    until("all requests are reported", || requests(&scene).len() == 200).await;
    let mut callers: Vec<_> =
        requests(&scene).iter().filter_map(|one| one.client().map(str::to_owned)).collect();
    callers.sort();
    callers.dedup();
    assert_eq!(callers.len(), 20);
    scene.stop().await;
}
