//! Events as lines: names, numbers and closed lists. No query, no header field and no body comes
//! here, since events hold none.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::chain::{Hash, Seal};
use super::tail::Fragment;
use crate::route::Canonical;
use crate::telemetry::visible::Visible;
use crate::telemetry::{
    About, Decision, Event, Login, Operation, Request, Revocation, Rotation, Stage, Who,
};

/// The longest path in a line, in bytes; of a longer one the beginning stands there, and
/// `path_cut` says so.
const PATH_BYTES_MAX: usize = 4096;

/// The longest other text in a line, in bytes: methods and causes that upstreams had a part in.
const TEXT_BYTES_MAX: usize = 512;

/// The format that the lines of a file have, told by the file's first line.
const VERSION: u32 = 1;

/// What a line says, before it has its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

/// A request, in the order in which its line shows it.
#[derive(Serialize)]
struct RequestLine<'r> {
    at: String,
    event: &'static str,
    request_id: &'r str,
    who: Option<WhoMember<'r>>,
    peer: Option<String>,
    method: &'r str,
    path: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_cut: Option<bool>,
    upstream: Option<&'r str>,
    account: Option<&'r str>,
    generation: Option<u64>,
    grant: Option<usize>,
    decision: &'static str,
    cause: &'static str,
    status: u16,
    replayed: bool,
    waited_ms: Option<f64>,
    session_ms: Option<f64>,
    head_ms: Option<f64>,
    took_ms: f64,
    body_bytes: u64,
    redacted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coded_bytes: Option<u64>,
}

/// Most lines are shorter.
const LINE_BYTES_USUAL: usize = 768;

/// Who sent a request: a word, or an object with the client's name.
#[derive(Serialize)]
#[serde(untagged)]
enum WhoMember<'r> {
    #[serde(serialize_with = "open")]
    Open,
    Client {
        client: &'r str,
    },
}

fn open<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("open")
}

impl Line {
    /// The line of an event; nothing of one that is about neither a request nor a session.
    pub(super) fn of(at: SystemTime, event: &Event) -> Option<Self> {
        let line = |name, members: Value| Some(Self::new(at, name, members));
        let about = |name, about: &About, more: Value| line(name, merged(session(about), more));
        match event {
            Event::Request(one) => Some(request(at, one)),
            Event::Login(one) => line("login", login(one)),
            Event::Expired(one) => about("expired", one, json!({})),
            Event::Probe { about: one, alive, .. } => {
                about("probe", one, json!({ "alive": alive }))
            }
            Event::Logout { about: one, confirmed, .. } => {
                about("logout", one, json!({ "confirmed": confirmed }))
            }
            Event::Refreshed { about: one, outcome, took } => {
                about("refresh", one, next_version("refreshed", outcome, *took))
            }
            Event::Renewed { about: one, outcome, took } => {
                about("renewal", one, next_version("renewed", outcome, *took))
            }
            Event::LetGo { about: one, why } => {
                about("let_go", one, json!({ "cause": why.as_str() }))
            }
            Event::Displaced { about: one, pause } => {
                about("displaced", one, json!({ "pause_ms": milliseconds(*pause) }))
            }
            Event::Paused { upstream, account, pause } => line(
                "paused",
                json!({
                    "upstream": upstream, "account": account, "pause_ms": milliseconds(*pause),
                }),
            ),
            Event::Quarantined { upstream, account, cause } => line(
                "quarantined",
                json!({ "upstream": upstream, "account": account, "cause": cause }),
            ),
            Event::Rotation(one) => line("rotation", rotation(one)),
            Event::Adopted(one) => about("adopted", one, json!({})),
            Event::LeftOpen { upstream, account, closed } => line(
                "left_open",
                json!({ "upstream": upstream, "account": account, "closed": closed }),
            ),
            Event::AnswerLost { upstream, account, what } => line(
                "answer_lost",
                json!({ "upstream": upstream, "account": account, "of": what.name() }),
            ),
            Event::Revocation(Revocation::Taken { client, key, revoked_at, learned }) => line(
                "key_revoked",
                json!({
                    "client": client, "key": key, "revoked_at": time(*revoked_at),
                    "learned": learned.as_str(),
                }),
            ),
            Event::LateExpiry(one) => about("late_expiry", one, json!({})),
            Event::StateUnwritable { upstream, account, why } => line(
                "state_unwritable",
                json!({
                    "upstream": upstream, "account": account, "cause": cut(why, TEXT_BYTES_MAX),
                }),
            ),
            Event::IssuerKeys(one) => one.outcome.name().and_then(|outcome| {
                let issuer = &one.issuer;
                line("issuer_keys", json!({ "issuer": issuer, "outcome": outcome }))
            }),
            Event::Operator(Operation { who, action, subject, outcome }) => line(
                "operator",
                json!({
                    "by": who, "action": action, "subject": cut(subject, TEXT_BYTES_MAX),
                    "outcome": if outcome.is_ok() { "done" } else { "failed" },
                    "cause": outcome.as_ref().err().map(|cause| cut(cause, TEXT_BYTES_MAX)),
                }),
            ),
            // These are about the process and its files.
            Event::SecretTrouble(_)
            | Event::Revocation(_)
            | Event::StateNotice(_)
            | Event::Reach(_)
            | Event::Strain(_)
            | Event::Reload(_)
            | Event::Rejected(_)
            | Event::Audit(_) => None,
        }
    }

    /// A file's first line. `left` stands at the end of the file before.
    pub(super) fn file(
        previous: Hash,
        seal: &Seal,
        left: Option<Fragment>,
        cut: Option<Fragment>,
    ) -> Self {
        let about = json!({
            "version": VERSION,
            "previous": previous.to_string(),
            "keyed": seal.is_keyed(),
            "by": concat!("doorward ", env!("CARGO_PKG_VERSION")),
        });
        let left = left.map_or_else(
            || json!({}),
            |left| json!({ "previous_bytes": left.bytes, "previous_sha256": left.sha256.to_string() }),
        );
        let cut = cut.map_or_else(|| json!({}), fragment);
        Self::now("file", merged(merged(about, left), cut))
    }

    /// Says what a crash or a full disk has left of lines.
    pub(super) fn cut_off(cut: Fragment) -> Self {
        Self::now("cut_off", fragment(cut))
    }

    /// Says that so many lines are missing, and why.
    pub(super) fn lost(count: u64, cause: &'static str) -> Self {
        Self::now("lost", json!({ "lost": count, "cause": cause }))
    }

    /// Says that the gateway has started.
    pub(super) fn started() -> Self {
        Self::now("started", json!({ "process": std::process::id() }))
    }

    /// Says that the gateway has stopped.
    pub(super) fn stopped() -> Self {
        Self::now("stopped", json!({ "process": std::process::id() }))
    }

    fn now(event: &'static str, members: Value) -> Self {
        Self::new(SystemTime::now(), event, members)
    }

    fn new(at: SystemTime, event: &'static str, members: Value) -> Self {
        Self::from_object(&merged(json!({ "at": time(at), "event": event }), members))
    }

    fn from_object(object: &impl Serialize) -> Self {
        let mut text = Vec::with_capacity(LINE_BYTES_USUAL);
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, Visible);
        // Texts, numbers and truth values always become JSON, and that is UTF-8.
        _ = object.serialize(&mut serializer);
        let text = String::from_utf8(text).unwrap_or_default();
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        Self(members.unwrap_or_default().to_owned())
    }

    /// Its members as JSON, without the braces.
    pub(super) fn members(&self) -> &str {
        &self.0
    }
}

/// The line of an account that an operator has cleared.
pub fn cleared(upstream: &str, account: &str, was: &str, attempts_left: u32) -> Line {
    let was = cut(was, TEXT_BYTES_MAX);
    Line::now(
        "cleared",
        json!({
            "upstream": upstream,
            "account": account,
            "was": was,
            "attempts_left": attempts_left,
        }),
    )
}

fn request(at: SystemTime, one: &Request) -> Line {
    // What everything was decided on, without path parameters. One that was not understood is
    // empty.
    let canonical = match one.path.as_str() {
        "" => String::new(),
        path => Canonical::of(path).path,
    };
    let path = cut(&canonical, PATH_BYTES_MAX);
    Line::from_object(&RequestLine {
        at: time(at),
        event: "request",
        request_id: one.id.as_str(),
        who: one.who.as_ref().map(|who| match who {
            Who::Open => WhoMember::Open,
            Who::Client(client) => WhoMember::Client { client },
        }),
        peer: one.peer.map(|address| address.to_string()),
        method: cut(one.method.as_str(), TEXT_BYTES_MAX),
        path,
        path_cut: (path.len() < canonical.len()).then_some(true),
        upstream: one.upstream.as_deref(),
        account: one.account.as_deref(),
        generation: one.generation,
        grant: one.grant,
        decision: match one.decision {
            Decision::Forwarded => "forwarded",
            Decision::AnsweredLocally => "answered_locally",
            Decision::Refused => "refused",
            Decision::Abandoned => "abandoned",
        },
        cause: one.reason,
        status: one.status.as_u16(),
        replayed: one.replayed,
        waited_ms: one.waited.map(milliseconds),
        session_ms: one.session_after.map(milliseconds),
        head_ms: one.head_after.map(milliseconds),
        took_ms: milliseconds(one.took),
        body_bytes: one.body_bytes,
        redacted: one.redacted,
        decoded: one.decoded.as_ref().map(|decoded| &*decoded.codings),
        coded_bytes: one.decoded.as_ref().map(|decoded| decoded.coded_bytes),
    })
}

fn login(login: &Login) -> Value {
    let Login { upstream, account, trigger, outcome, took, .. } = login;
    let begin = json!({
        "upstream": upstream,
        "account": account,
        "trigger": trigger.as_str(),
        "took_ms": milliseconds(*took),
    });
    let outcome = match outcome {
        Ok(generation) => json!({ "outcome": "logged_in", "generation": generation }),
        Err(cause) => json!({ "outcome": "failed", "cause": cut(cause, TEXT_BYTES_MAX) }),
    };
    merged(begin, outcome)
}

fn rotation(Rotation { upstream, account, stage }: &Rotation) -> Value {
    let stage = match stage {
        Stage::Begun => json!({ "stage": "begun" }),
        Stage::Waiting { cause, pause } => {
            json!({ "stage": "waiting", "cause": cause, "pause_ms": milliseconds(*pause) })
        }
        Stage::Done { generation, took } => {
            json!({ "stage": "done", "generation": generation, "took_ms": milliseconds(*took) })
        }
        Stage::Refused { cause } => json!({ "stage": "refused", "cause": cause }),
    };
    merged(json!({ "upstream": upstream, "account": account }), stage)
}

fn session(About { upstream, account, generation }: &About) -> Value {
    json!({ "upstream": upstream, "account": account, "generation": generation })
}

fn fragment(Fragment { bytes, sha256 }: Fragment) -> Value {
    json!({ "bytes": bytes, "sha256": sha256.to_string() })
}

/// What came of steps that were to bring a session's next version.
fn next_version(word: &str, outcome: &Result<u64, &'static str>, took: Duration) -> Value {
    let outcome = match outcome {
        Ok(next) => json!({ "outcome": word, "next": next }),
        Err(cause) => json!({ "outcome": "failed", "cause": cause }),
    };
    merged(outcome, json!({ "took_ms": milliseconds(took) }))
}

fn merged(first: Value, second: Value) -> Value {
    let members = |value| match value {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members(first).into_iter().chain(members(second)).collect::<Map<_, _>>().into()
}

/// The beginning of a text that is too long.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

fn time(at: SystemTime) -> String {
    match Timestamp::try_from(at) {
        Ok(at) => format!("{at:.6}"),
        // No clock of a machine shows a time that RFC 3339 has no year for.
        Err(_) => String::new(),
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
