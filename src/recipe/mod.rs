//! Recipes: the declarative description of an upstream's session life. Pure: no I/O.
//!
//! [`written`] is what an author writes, [`Recipe`] what the loader makes of it. Login, forward,
//! shield, route and session read it. A vendor's need becomes a general element here, never code
//! elsewhere.

mod built_in;
pub mod condition;
pub mod element;
pub mod explain;
mod expression;
mod inject;
mod load;
mod page;
pub mod pattern;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod reads;
mod site;
mod step;
pub mod template;
pub mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::diagnosis::{Document, Faults};
pub use built_in::{BUILT_IN, UnknownRecipe, built_in};
use condition::Condition;
pub use inject::{InjectInto, InjectMethods, Injection, Unless};
pub(crate) use load::duration;
pub(crate) use load::life::REFRESH_AHEAD;
use pattern::{PathPattern, Pointer};
pub use site::{Site, SitePattern};
pub use step::{
    Addressee, CookieName, EXEC, JsonTemplate, Purpose, Signed, Step, StepBody, Take, TakeFrom,
};
use template::Template;
pub use written::{
    Cookies, Counts, ExpiryUnit, FieldKind, Overwrite, RefusalClass, ReplayPolicy, ResetUnit,
    VerdictIs,
};

/// A recipe, checked and with the upstream's parameters filled in.
#[derive(Debug)]
pub struct Recipe {
    /// What the recipe is called.
    pub name: String,
    /// The file that it stands in, without its folder.
    pub file: String,
    /// The upstream's name as people say it.
    pub title: String,
    /// What stands wherever a session value would be shown.
    pub placeholder: String,
    /// The fields of an account.
    pub fields: BTreeMap<String, Field>,
    /// The login's requests.
    pub login: Vec<Step>,
    /// What refused logins mean; the first that matches decides.
    pub refusals: Vec<Refusal>,
    /// What a login's result is.
    pub session: SessionRules,
    /// The requests that give a session a new life without a login; none: it is logged in anew.
    pub refresh: Vec<Step>,
    /// The requests that bring single values of a session anew; none: nothing is renewed.
    pub renew: Vec<Step>,
    /// What is put into requests.
    pub inject: Vec<Injection>,
    /// Header fields of clients that are dropped, besides `Authorization` and `Cookie`.
    pub strip_headers: Vec<HeaderName>,
    /// Query parameters of clients that are dropped, in any case.
    pub strip_query: Vec<String>,
    /// Rules over answers; the first that matches decides.
    pub verdicts: Vec<Verdict>,
    /// Tells a dead session from a missing right.
    pub probe: Option<Probe>,
    /// The logout's requests.
    pub logout: Vec<Step>,
    /// Endpoints with a rule; the first that matches decides.
    pub endpoints: Vec<Endpoint>,
    /// The other spellings of a request that the upstream understands.
    pub spelling: Spelling,
    /// How many logins an account may lose.
    pub budget: Budget,
    /// What the upstream tells of its own limits.
    pub throttle: Throttle,
}

/// A field of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub kind: FieldKind,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What a refused login means.
#[derive(Debug)]
pub struct Refusal {
    /// What the answer is like.
    pub when: Condition,
    /// What it means.
    pub class: RefusalClass,
    /// Where it is written.
    pub place: Place,
}

/// Where a rule stands in its recipe. `Debug` leaves the line out: by what it shows recipes are told
/// from each other, and a comment more makes none another one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The rule's table and its number in it, counted from 0: `login.refusals[2]`.
    pub rule: String,
    /// The line of the recipe's file, counted from 1.
    pub line: Option<usize>,
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Place").field(&self.rule).finish()
    }
}

/// What a login's result is and how long it lives.
#[derive(Debug)]
pub struct SessionRules {
    /// Which cookies belong to the session.
    pub cookies: Cookies,
    /// The taken value that tells the end, and how to read it.
    pub expires: Option<(String, ExpiryUnit)>,
    /// The longest life.
    pub max_age: Option<Duration>,
    /// The life without use.
    pub idle: Option<Duration>,
    /// For how long without a client's request the probe keeps an idle session alive; longer than
    /// `idle`.
    pub keep_alive: Option<Duration>,
    /// How long before a known end the session is renewed.
    pub refresh_ahead: Duration,
    /// The most sessions that Doorward keeps open at a time for one account; at least one.
    pub sessions_max: Option<u32>,
    /// Values that later answers bring anew, from header fields and cookies only.
    pub roll: Vec<Take>,
    /// Where the session's requests go, if the login tells it.
    pub base: Option<Base>,
}

/// A taken value that tells where a session's requests go.
#[derive(Debug)]
pub struct Base {
    /// Its name.
    pub value: String,
    /// Where they may go; at least one.
    pub allow: Vec<SitePattern>,
}

/// One rule over answers.
#[derive(Debug)]
pub struct Verdict {
    /// What the answer is like.
    pub when: Condition,
    /// What that says of the session.
    pub then: VerdictIs,
    /// Whether the request may be sent again.
    pub replay: ReplayPolicy,
    /// Where it is written.
    pub place: Place,
}

/// A harmless "who am I" request.
#[derive(Debug)]
pub struct Probe {
    /// The request; its `expect` says what the answer is like when the session is alive.
    pub step: Step,
}

/// An endpoint with a rule.
#[derive(Debug)]
pub struct Endpoint {
    /// Methods; none: all.
    pub methods: Vec<Method>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// The rule.
    pub rule: EndpointRule,
}

/// What happens at an endpoint.
#[derive(Debug)]
pub enum EndpointRule {
    /// Answered here.
    Answer(LocalAnswer),
    /// Never forwarded; the text says why.
    Closed(String),
    /// Session values in the answer are replaced by the placeholder.
    Mask(Vec<Pointer>),
}

/// An answer given in the upstream's place.
#[derive(Debug)]
pub struct LocalAnswer {
    /// The status code.
    pub status: StatusCode,
    /// Header fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// Values of `Set-Cookie`.
    pub set_cookies: Vec<Template>,
    /// The body.
    pub body: StepBody,
    /// Whether it is the answer to a client's login.
    pub login: Option<ClientLogin>,
}

/// The vendor's login, for clients that insist on logging in.
#[derive(Debug)]
pub struct ClientLogin {
    /// Where clients put the password; at least one place.
    pub password: Vec<PasswordPlace>,
}

/// Where in a login's request the password stands.
#[derive(Debug)]
pub enum PasswordPlace {
    /// In the JSON body.
    Json(Pointer),
    /// In a field of the form in the body.
    Form(String),
    /// In a query parameter; in lower case.
    Query(String),
    /// In a header field.
    Header(HeaderName),
}

/// A query parameter that names the real path.
#[derive(Debug)]
pub struct PathQuery {
    /// The last segment of the paths that read it, in lower case.
    pub segment: String,
    /// The parameter.
    pub query: String,
    /// The path that the named ones are below; nothing: the one that the segment stands in.
    pub below: Option<String>,
}

/// The other spellings of a request that the upstream understands.
#[derive(Debug, Default)]
pub struct Spelling {
    /// Case does not matter in paths.
    pub case_insensitive: bool,
    /// Suffixes of a segment that change nothing.
    pub suffixes: Vec<String>,
    /// The query parameter that names the real method of a POST.
    pub method_query: Option<String>,
    /// Where the real path is named.
    pub path_query: Option<PathQuery>,
    /// `%2F` inside a segment is an ordinary character.
    pub encoded_slash: bool,
    /// Header fields with `_` in their names that the upstream reads.
    pub underscore_headers: Vec<HeaderName>,
}

/// How many logins an account may lose before Doorward stops trying.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Attempts.
    pub attempts: u32,
    /// After this time without a login the budget is whole again.
    pub window: Duration,
}

/// What an upstream tells of its own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// How long everybody waits after a 429 that does not say how long.
    pub pause: Duration,
    /// The field that says how many requests are left.
    pub remaining: Option<HeaderName>,
    /// The field that says when there are more, and how to read it.
    pub reset: Option<(HeaderName, ResetUnit)>,
    /// The length of its windows, where no answer says when there are more.
    pub window: Option<Duration>,
    /// Whether answers say both in `RateLimit`.
    pub ratelimit: bool,
    /// Whether it counts reads and writes each for themselves.
    pub counts_apart: bool,
}

/// What an operator has to fill in for a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The fields of an account.
    pub fields: Vec<(String, Field)>,
    /// The parameters, and whether each must be set.
    pub parameters: Vec<(String, bool)>,
}

/// What a recipe asks an operator for, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    /// The upstream's name as people say it.
    pub title: String,
    /// The fields of an account: its name first, then its secrets.
    pub fields: Vec<AskedField>,
    /// The parameters.
    pub parameters: Vec<AskedParameter>,
}

/// A field of an account, in the recipe's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedField {
    /// Its key.
    pub name: String,
    /// What it is.
    pub kind: FieldKind,
    /// Whether it may be left out.
    pub optional: bool,
    /// What it is for.
    pub help: String,
}

/// A parameter, in the recipe's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedParameter {
    /// Its key.
    pub name: String,
    /// What holds where nothing is said; nothing where it must be set.
    pub default: Option<String>,
    /// What it is for.
    pub help: String,
}

/// The JSON schema of a recipe as its author writes it.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(written::Recipe).to_value()
}

impl Recipe {
    /// Checks the document and fills in `parameters`.
    ///
    /// # Errors
    /// All faults of the recipe at once, with their positions.
    pub fn load(
        document: &Document,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, Faults> {
        load::load(document, parameters)
    }

    /// What an operator has to fill in, from a recipe's document.
    ///
    /// # Errors
    /// All faults of the recipe's structure.
    pub fn shape(document: &Document) -> Result<Shape, Faults> {
        load::shape(document)
    }

    /// What an operator is asked for, in the recipe's words.
    ///
    /// # Errors
    /// The faults of a recipe's structure.
    pub fn asks(document: &Document) -> Result<Asks, Faults> {
        load::asks(document)
    }

    /// The field that names the account at the upstream.
    pub fn login_name_field(&self) -> &str {
        let named = self.fields.iter().find(|(_, field)| field.kind == FieldKind::LoginName);
        named.map(|(name, _)| name.as_str()).unwrap_or_default()
    }

    /// The account fields that one-time codes are made from.
    pub fn code_fields(&self) -> impl Iterator<Item = &str> {
        let steps = self.login.iter().chain(&self.refresh);
        steps.flat_map(|step| &step.codes).map(String::as_str)
    }

    /// Whether some step asks a login helper.
    pub fn asks_helper(&self) -> bool {
        let mut addressees = self.addressees();
        addressees.any(|to| matches!(to, Addressee::Helper(_)))
    }

    /// Where steps are sent that do not go to the upstream, each once.
    pub fn sites(&self) -> Vec<&Site> {
        let mut sites = Vec::new();
        for to in self.addressees() {
            if let Addressee::Site(site) = to
                && !sites.contains(&site)
            {
                sites.push(site);
            }
        }
        sites
    }

    fn addressees(&self) -> impl Iterator<Item = &Addressee> {
        let steps = self.login.iter().chain(&self.refresh).chain(&self.renew).chain(&self.logout);
        steps.map(|step| &step.to)
    }

    /// Whether judging an answer may take a look at its body.
    pub fn judges_bodies(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.when.reads_body())
    }

    /// Whether the heads of requests with this method show the session: something that a login gave,
    /// or a secret of the account.
    pub fn has_session_in_head(&self, method: &Method) -> bool {
        let is_told_to_all = |name: &str| {
            let field = self.fields.get(name);
            field.is_some_and(|field| field.kind != FieldKind::Secret)
                || template::BUILT_IN.contains(&name)
        };
        let injections = self.inject.iter().filter(|injection| injection.methods.include(method));
        injections.map(|injection| &injection.into).any(|into| match into {
            InjectInto::Header(_, value)
            | InjectInto::Query(_, value)
            | InjectInto::Cookie(_, value) => value.reads().any(|name| !is_told_to_all(name)),
            InjectInto::Cookies => true,
            InjectInto::Json(..) | InjectInto::Form(..) | InjectInto::Xml(..) => false,
        })
    }

    /// Whether a client's query parameter of this name is dropped, however it is spelt.
    pub fn strips_query(&self, name: &str) -> bool {
        let is_plain = !name.bytes().any(|byte| byte == b'%' || byte == b'+');
        let is_named = |name: &str| {
            self.strip_query.iter().any(|stripped| stripped.eq_ignore_ascii_case(name))
        };
        if self.strip_query.is_empty() || (is_plain && name.is_ascii()) {
            return is_named(name);
        }
        let name = name.replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy().to_lowercase();
        self.strip_query.contains(&name)
    }

    /// Whether any endpoint is closed or answered here, so that a path must have one reading only.
    pub fn has_path_rules(&self) -> bool {
        !self.endpoints.is_empty()
    }
}
