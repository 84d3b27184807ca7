//! What every server is taken through.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use crate::call::{Answer, Ask};
use crate::gateway::Gateway;
use crate::server::Server;
use crate::subjects::{Ends, Kill, Subject};
use crate::tap::Seen;

/// How long all of it may take, with the server's own start.
const WALK_TIME_MAX: Duration = Duration::from_secs(240);

/// Shorter values are names and flags.
const SECRET_BYTES_MIN: usize = 16;

type Fields = Vec<(String, String)>;

/// Starts the server and walks through a session's life.
pub async fn walk(subject: &'static Subject) {
    let server = Server::start(subject.name).await;
    let walk = async {
        server.answers_as_described().await;
        lives(subject, &server).await;
        is_refused(subject, &server).await;
    };
    timeout(WALK_TIME_MAX, walk).await.expect("the walk ends");
}

/// A login when it is asked for, a read, a write, sessions that the server ends, the logout.
async fn lives(subject: &Subject, server: &Server) {
    let gateway = Gateway::start(subject, server, &server.password).await;
    assert!(gateway.tap.seen().is_empty(), "a login that nobody asked for");
    let mut client = Client { subject, gateway, answers: Vec::new() };

    client.reads().await;
    assert_eq!(client.logins(), 1, "one login, because somebody asked");
    client.writes(1).await;
    assert_eq!(client.logins(), 1, "a live session needs no login");

    let ended = client.ends(server).await;
    client.writes(2).await;
    assert_eq!(client.logins(), 2, "one login after the session's end");
    client.was_replayed(&subject.write, 2, &ended);

    if subject.reads_tell {
        let ended = client.ends(server).await;
        client.reads().await;
        assert_eq!(client.logins(), 3, "one login after the session's end");
        client.was_replayed(&subject.read, 0, &ended);
    }
    assert_eq!(client.gateway.account().await["state"], "live");

    let carried = client.carried();
    let Client { gateway, answers, .. } = client;
    let (log, seen) = gateway.stop().await;
    if let Some(logout) = &subject.logout {
        let last = seen.last().expect("requests");
        assert!((logout.is)(last), "no logout at the end, but {last:?}");
        match &logout.ends {
            Ends::Session => assert!(!is_alive(subject, server, &carried).await, "{last:?}"),
            Ends::Other(ask) => {
                let answer = ask.send(server.address(), &[], 0, &last.body).await;
                assert!(ask.is_answered(&answer, 0), "{} {}", answer.status, answer.body);
            }
        }
    }
    let secrets = secrets(subject, &seen);
    assert!(secrets.len() >= subject.carried.len());
    for secret in secrets {
        let shows = |answer: &Answer| answer.body.contains(&secret) || in_fields(answer, &secret);
        assert!(!answers.iter().any(shows), "a client was shown {secret}");
        assert!(!log.contains(&secret), "the log shows {secret}");
    }
}

/// A wrong password costs one login, however many ask, and is told as what it is.
async fn is_refused(subject: &Subject, server: &Server) {
    let gateway = Gateway::start(subject, server, "no such password").await;
    let ask = || subject.read.send(gateway.address(), &[], 0, "");
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [one, two, three, ask().await] {
        assert_eq!(answer.status, 502, "{}", answer.body);
        assert!(answer.body.contains("login_refused"), "{}", answer.body);
    }
    let account = gateway.account().await;
    assert_eq!(
        (&account["state"], &account["cause"]),
        (&"quarantined".into(), &"bad_secret".into())
    );
    let (log, seen) = gateway.stop().await;
    assert_eq!(seen.iter().filter(|seen| (subject.is_login)(seen)).count(), 1, "{seen:?}");
    assert_eq!(seen.len(), subject.refused_after, "nothing but the login: {seen:?}");
    assert!(log.contains("bad_secret"), "{log}");
}

/// A client that knows of no session, and all that it was answered.
struct Client<'a> {
    subject: &'a Subject,
    gateway: Gateway,
    answers: Vec<Answer>,
}

impl Client<'_> {
    async fn asks(&mut self, ask: &Ask, n: u32) {
        let answer = ask.send(self.gateway.address(), &[], n, "").await;
        let to = ask.to;
        assert!(ask.is_answered(&answer, n), "{to}: {} {}", answer.status, answer.body);
        self.answers.push(answer);
    }

    async fn reads(&mut self) {
        self.asks(&self.subject.read, 0).await;
    }

    /// Writes something that was not there, and looks whether it is.
    async fn writes(&mut self, n: u32) {
        self.asks(&self.subject.write, n).await;
        self.asks(&self.subject.written, n).await;
    }

    fn logins(&self) -> usize {
        self.gateway.tap.seen().iter().filter(|seen| (self.subject.is_login)(seen)).count()
    }

    /// The fields that carry the session, as the server was last sent them.
    fn carried(&self) -> Fields {
        let seen = self.gateway.tap.seen();
        let carried = seen.iter().rev().map(|seen| seen.only(self.subject.carried));
        carried.into_iter().find(|fields| fields.len() == self.subject.carried.len()).unwrap()
    }

    /// Has the server end the session: what carried it.
    async fn ends(&self, server: &Server) -> Ended {
        let carried = self.carried();
        assert!(is_alive(self.subject, server, &carried).await, "the server knows {carried:?}");
        match self.subject.kill {
            Kill::Verbs(verbs) => {
                for verb in verbs {
                    server.act(verb).await;
                }
            }
            Kill::Ask(ask) => {
                let value = carried.last().map(|(_, value)| value.trim_start_matches("Bearer "));
                let answer = ask.send(server.address(), &carried, 0, value.unwrap()).await;
                assert!(ask.is_answered(&answer, 0), "{} {}", answer.status, answer.body);
            }
        }
        assert!(
            !is_alive(self.subject, server, &carried).await,
            "the server has ended the session"
        );
        Ended { carried, seen: self.gateway.tap.seen().len() }
    }

    /// Since the end of a session the request went out on that one and on another one, and no third time.
    fn was_replayed(&self, ask: &Ask, n: u32, ended: &Ended) {
        let seen = self.gateway.tap.seen();
        let sendings = seen[ended.seen..].iter().filter(|seen| ask.is(seen, n));
        let known_by = |fields: &Fields| known_by(self.subject, fields);
        let sendings = sendings.map(|seen| known_by(&seen.only(self.subject.carried)));
        let sendings: Vec<_> = sendings.collect();
        assert_eq!(sendings.len(), 2, "{:?}", &seen[ended.seen..]);
        assert_eq!(sendings[0], known_by(&ended.carried));
        assert_ne!(sendings[1], known_by(&ended.carried));
    }
}

/// A session that the server has ended.
struct Ended {
    carried: Fields,
    /// How many requests the server had been sent by then.
    seen: usize,
}

/// What tells the session that is carried from others.
fn known_by(subject: &Subject, carried: &Fields) -> String {
    let values = carried.iter().map(|(_, value)| value.as_str());
    let values = values.collect::<Vec<_>>().join(" ");
    match subject.cookie {
        None => values,
        Some(name) => {
            let cookie = |each: &&str| each.split_once('=').is_some_and(|(is, _)| is == name);
            values.split("; ").find(cookie).expect("the session's cookie").to_owned()
        }
    }
}

/// Whether the server still knows what is carried.
async fn is_alive(subject: &Subject, server: &Server, carried: &Fields) -> bool {
    let answer = subject.read.send(server.address(), carried, 0, "").await;
    subject.read.is_answered(&answer, 0)
}

fn in_fields(answer: &Answer, secret: &str) -> bool {
    answer.fields.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(secret))
}

/// Every value that carried a session.
fn secrets(subject: &Subject, seen: &[Seen]) -> BTreeSet<String> {
    let fields = seen.iter().flat_map(|seen| seen.only(subject.carried));
    fields
        .flat_map(|(name, value)| match name.as_str() {
            "cookie" => value.split("; ").map(|cookie| after(cookie, '=')).collect(),
            "authorization" => vec![after(&value, ' ')],
            _ => vec![value],
        })
        .filter(|value| value.len() >= SECRET_BYTES_MIN)
        .collect()
}

fn after(text: &str, mark: char) -> String {
    text.split_once(mark).map_or(text, |(_, rest)| rest).to_owned()
}
