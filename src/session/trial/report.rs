//! What a trial tells: steps with what held in them, values by length and fingerprint, how it
//! ended. No value of an answer or of an account is in any of it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header};

use crate::fields::Fields;
use crate::forward::inject::Injector;
use crate::login::{Material, StepAnswer};
use crate::recipe::condition::Truth;
use crate::recipe::explain::{Finding, is_plain_name};
use crate::recipe::{
    Cookies, InjectInto, InjectMethods, Recipe, RefusalClass, Site, Step, VerdictIs,
};
use crate::recording::{Exchanged, Phase, plain_path};
use crate::secret::{Fingerprint, SecretText, TotpStep};
use crate::session::account::Failure;
use crate::session::{ExchangeError, Unavailable};

/// A request that is about to be sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// What it belongs to.
    pub phase: Phase,
    /// The step's name in the recipe.
    pub step: String,
    /// The method.
    pub method: Method,
    /// The path as the recipe writes it, with its parameters filled in; no value and no query.
    pub path: String,
    /// Where it goes, if that is not the upstream.
    pub site: Option<Site>,
}

/// A time in which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How long it lasts.
    pub lasts: Duration,
    /// What ends it, in words that follow "until".
    pub until: &'static str,
}

/// What was told of one step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// What was sent.
    pub sent: Sending,
    /// The status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// The media type of the answer, without its parameters.
    pub content_type: Option<String>,
    /// Why there was no answer.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Whether it did what the recipe expects.
    pub ok: bool,
    /// What came of each thing that the recipe expects.
    pub expected: Vec<Finding>,
    /// What was taken from the answer.
    pub taken: Vec<TakenReport>,
    /// The cookies that the answer set.
    pub cookies: Vec<CookieReport>,
    /// Whether rules were asked about this answer, and which matched.
    pub rule: RuleReport,
}

/// Which rule spoke about an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RuleReport {
    /// None had to.
    #[default]
    NotAsked,
    /// None matched.
    None,
    /// This one.
    Matched {
        /// Its table and number: `login.refusals[2]`.
        rule: String,
        /// Its line in the recipe's file.
        line: Option<usize>,
        /// What it says, as recipes write it: `bad_secret`, `expired`.
        says: &'static str,
    },
}

/// A value that a login was asked for.
#[derive(Clone, Debug)]
pub struct TakenReport {
    /// Its name in the recipe.
    pub name: String,
    /// Where it stands.
    pub from: String,
    /// Its length and its fingerprint; nothing when it was not there.
    pub value: Option<ValueReport>,
    /// Whether it may be missing.
    pub optional: bool,
}

/// What may be said of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueReport {
    /// Its length in characters.
    pub characters: usize,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// A cookie that an answer set.
#[derive(Clone, Debug)]
pub struct CookieReport {
    /// Its name.
    pub name: String,
    /// Its length and its fingerprint; nothing when it was emptied.
    pub value: Option<ValueReport>,
    /// `Path`, if it has one; what is no word in it may be a value, and is left out.
    pub path: Option<String>,
    /// `Max-Age`.
    pub max_age: Option<Duration>,
    /// `Expires`.
    pub expires: Option<SystemTime>,
    /// `HttpOnly`, `Secure`.
    pub flags: Vec<&'static str>,
    /// Whether it belongs to the session that the recipe makes.
    pub kept: bool,
}

/// What is put into requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedReport {
    /// ``header `authtoken` ``, ``query `sid` ``, `the session's cookies`.
    pub place: String,
    /// Into methods that change something only.
    pub unsafe_only: bool,
}

/// When the session ends, as far as anybody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndReport {
    /// After this time.
    pub after: Option<Duration>,
    /// After this time without use.
    pub idle: Option<Duration>,
    /// How that is known.
    pub known_by: String,
}

/// Whether the recipe would notice that a session has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was not asked, and why.
    NotAsked(&'static str),
    /// It would: by a rule that says `expired`, or `probe`.
    Noticed,
    /// It would not: this is what its rules make of the answer.
    Overlooked(&'static str),
    /// There was no answer.
    Unknown,
}

/// How a trial ended.
#[derive(Debug)]
pub enum Ending {
    /// Login, probe and logout did what they should, as far as the recipe has them.
    Good,
    /// The upstream refused the login.
    Refused {
        /// What the recipe says that it means.
        class: Option<RefusalClass>,
        /// What was wrong, in words.
        why: String,
    },
    /// The account's guard admits no login. Nothing was sent.
    HeldBack(Unavailable),
    /// The upstream was not reached, or did not answer as HTTP servers do.
    Unreachable(ExchangeError),
    /// The login succeeded, and a later step did not do what it should.
    Incomplete(Incomplete),
}

/// What a trial with a good login did not get done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// The probe does not find the new session alive.
    Probe,
    /// The upstream did not confirm the logout.
    Logout,
    /// What became of the login cannot be written to the state: what it gave is not used.
    Unrecorded,
}

impl Incomplete {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "the probe does not find the new session alive",
            Self::Logout => "the upstream did not confirm the logout",
            Self::Unrecorded => "what became of the login cannot be recorded in the state",
        }
    }
}

/// Everything that a trial found.
#[derive(Debug)]
pub struct TrialReport {
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// When the session ends; nothing without one.
    pub end: Option<EndReport>,
    /// What a request would carry; nothing without a session.
    pub carried: Vec<CarriedReport>,
    /// Whether the end of a session would be noticed.
    pub notice: Notice,
    /// Whether a session was left open.
    pub left_open: bool,
    /// Whether the next start with this state closes what was left open.
    pub closed_at_start: bool,
    /// How it ended.
    pub ending: Ending,
    /// What the account's guard is told of a login that gave no session.
    pub failure: Option<Failure>,
    /// The time step of the last one-time code that was sent.
    pub code_used: Option<TotpStep>,
    /// What was sent and answered, for a recording. It holds secrets.
    pub exchanged: Vec<Exchanged>,
}

impl TrialReport {
    /// Of a trial that the account's guard does not admit.
    pub fn held_back(why: Unavailable) -> Self {
        Self {
            steps: Vec::new(),
            end: None,
            carried: Vec::new(),
            notice: Notice::NotAsked("there was no session"),
            left_open: false,
            closed_at_start: false,
            ending: Ending::HeldBack(why),
            failure: None,
            code_used: None,
            exchanged: Vec::new(),
        }
    }

    /// The same, where it cannot be recorded how it ended: a start takes it for interrupted.
    #[must_use]
    pub fn unrecorded(self) -> Self {
        let ending = match self.ending {
            Ending::Good => Ending::Incomplete(Incomplete::Unrecorded),
            ending => ending,
        };
        Self { ending, ..self }
    }
}

impl ValueReport {
    pub(super) fn of(value: &SecretText) -> Self {
        Self { characters: value.characters(), fingerprint: Fingerprint::of([value]) }
    }
}

impl RuleReport {
    pub(super) fn of_refusal(recipe: &Recipe, step: &Step, answer: &StepAnswer) -> Self {
        let seen = answer.seen_by(step);
        let found = recipe.refusals.iter().find(|rule| rule.when.judge(&seen) == Truth::Yes);
        found.map_or(Self::None, |rule| Self::Matched {
            rule: rule.place.rule.clone(),
            line: rule.place.line,
            says: crate::session::account::class_name(rule.class),
        })
    }

    /// What the matching rule says.
    pub fn says(&self) -> Option<&'static str> {
        match self {
            Self::Matched { says, .. } => Some(says),
            Self::NotAsked | Self::None => None,
        }
    }

    /// What the verdict rules say, and whether that would be noticed as an end.
    pub(super) fn of_verdict(recipe: &Recipe, step: &Step, answer: &StepAnswer) -> (Self, Notice) {
        let seen = answer.seen_by(step);
        let found = recipe.verdicts.iter().find(|rule| rule.when.judge(&seen) == Truth::Yes);
        let Some(rule) = found else {
            return (
                Self::None,
                Notice::Overlooked("no rule matched, so the session counts as alive"),
            );
        };
        let (says, notice) = match rule.then {
            VerdictIs::Expired => ("expired", Notice::Noticed),
            // The probe is asked next, and it has just been answered like this.
            VerdictIs::Probe if step.expect.judge(&seen) != Truth::Yes => {
                ("probe", Notice::Noticed)
            }
            VerdictIs::Probe => ("probe", Notice::Overlooked("the probe finds it alive")),
            VerdictIs::Renew => ("renew", Notice::Overlooked("a rule says that a value is stale")),
            VerdictIs::Alive => ("alive", Notice::Overlooked("a rule says that it is alive")),
            VerdictIs::Unavailable => {
                ("unavailable", Notice::Overlooked("a rule says that the upstream is out of order"))
            }
        };
        let (rule, line) = (rule.place.rule.clone(), rule.place.line);
        (Self::Matched { rule, line, says }, notice)
    }
}

/// What a step took from its answer.
pub(super) fn taken(step: &Step, answer: &StepAnswer, now: SystemTime) -> Vec<TakenReport> {
    let takes = step.take.iter();
    let report = takes.map(|take| TakenReport {
        name: take.name.clone(),
        from: take.from.to_string(),
        value: answer.value(take, now).as_ref().map(ValueReport::of),
        optional: take.optional,
    });
    report.collect()
}

/// The cookies of an answer to a login's step.
pub(super) fn cookies(recipe: &Recipe, headers: &Fields) -> Vec<CookieReport> {
    let fields = headers.get_all(header::SET_COOKIE);
    let report = fields.filter_map(|field| {
        let text = std::str::from_utf8(field).ok()?;
        let cookie = cookie::Cookie::parse(text.trim_start()).ok()?;
        let flags = [("HttpOnly", cookie.http_only()), ("Secure", cookie.secure())];
        let value = SecretText::from(cookie.value().to_owned());
        Some(CookieReport {
            name: match is_plain_name(cookie.name()) {
                true => cookie.name().to_owned(),
                false => format!("(a name of {} characters)", cookie.name().chars().count()),
            },
            value: (!cookie.value().is_empty()).then(|| ValueReport::of(&value)),
            path: cookie.path().map(plain_path),
            max_age: cookie.max_age().map(|age| age.unsigned_abs()),
            expires: cookie.expires_datetime().map(SystemTime::from),
            flags: flags
                .iter()
                .filter(|(_, set)| *set == Some(true))
                .map(|(name, _)| *name)
                .collect(),
            kept: recipe.session.cookies != Cookies::None,
        })
    });
    report.collect()
}

/// What a session of `recipe` puts into requests.
pub(super) fn carried(
    recipe: &Recipe,
    material: &Material,
    injector: &Injector,
) -> Vec<CarriedReport> {
    let injections = recipe.inject.iter().filter_map(|injection| {
        let method = match &injection.methods {
            InjectMethods::Any | InjectMethods::Unsafe => &Method::POST,
            InjectMethods::Listed(methods) => methods.first()?,
        };
        let mut headers = HeaderMap::new();
        injector.apply(method, "/", &mut headers);
        let has_query =
            |name: &str| injector.query(method).any(|pair| pair.split('=').next() == Some(name));
        // What renders as nothing is left out.
        let place = match &injection.into {
            InjectInto::Header(name, _) => {
                headers.contains_key(name).then(|| format!("header `{name}`"))
            }
            InjectInto::Query(name, _) => has_query(name).then(|| format!("query `{name}`")),
            InjectInto::Cookie(name, _) => Some(format!("cookie `{name}`")),
            InjectInto::Json(pointer, ..) => Some(format!("member `{pointer}` of JSON bodies")),
            InjectInto::Form(name, _) => Some(format!("field `{name}` of forms")),
            InjectInto::Xml(way, _) => Some(format!("element `{way}` of XML bodies")),
            InjectInto::Cookies => {
                material.cookies.iter().next().map(|_| "the session's cookies".to_owned())
            }
        };
        let unsafe_only = !injection.methods.include(&Method::GET);
        place.map(|place| CarriedReport { place, unsafe_only })
    });
    injections.collect()
}

/// When a session ends that was given at `now`.
pub(super) fn end(recipe: &Recipe, expires: Option<SystemTime>, now: SystemTime) -> EndReport {
    let rules = &recipe.session;
    let after = expires.map(|end| end.duration_since(now).unwrap_or_default());
    let value = rules.expires.as_ref().map(|(name, _)| name.as_str());
    let known_by = match (after, rules.max_age, value) {
        (Some(after), Some(longest), _) if after == longest => "the recipe's `max_age`".to_owned(),
        (Some(_), _, Some(name)) => format!("the upstream says so: `{name}`"),
        (Some(_), _, None) => "the recipe says so".to_owned(),
        (None, _, Some(name)) => {
            format!("`{name}` names no end that lies ahead; answers will tell")
        }
        (None, _, None) if rules.idle.is_some() => "the recipe's `idle`".to_owned(),
        (None, _, None) => "nobody says when; answers will tell".to_owned(),
    };
    EndReport { after, idle: rules.idle, known_by }
}
