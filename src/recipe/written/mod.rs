//! A recipe as its author writes it: the shape of `config/recipes/*.toml`, key by key.
//!
//! The loader turns this into [`super::Recipe`]; nothing else reads it. The doc comments here are
//! the recipe reference and the descriptions of the JSON schema.

mod condition;
mod session;
mod step;
mod throttle;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use condition::{Condition, CookieState, CookieTest, HeaderTest, JsonTest, Status};
pub use session::{BaseUrl, Cookies, Expires, ExpiryUnit, Rolled, Session};
pub use step::{Basic, Sign, SignAlgorithm, Step, Take};
pub use throttle::{Counts, Reset, ResetUnit, Throttle};

/// The declarative description of an upstream's session life.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the recipe is called in `recipe = "..."`; for a built-in recipe, its file name.
    pub name: String,
    /// The upstream's name as people say it.
    pub title: String,
    /// Where the vendor documents this session life.
    #[serde(default)]
    pub docs: Vec<String>,
    /// What clients are shown wherever a session value would stand: not empty, not secret.
    #[serde(default = "default_placeholder")]
    pub placeholder: String,
    /// The fields that make up one account, for example `username` and `password`.
    pub account: BTreeMap<String, Field>,
    /// Values that the operator may set per upstream, for example a path prefix.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// How to log in.
    pub login: Login,
    /// What the login's result is and how long it lives.
    #[serde(default)]
    pub session: Session,
    /// How a session is given a new life without a login.
    pub refresh: Option<Refresh>,
    /// How single values of a session are brought anew, for example a token against forgery.
    pub renew: Option<Renew>,
    /// What is put into each request, in this order.
    pub inject: Vec<Inject>,
    /// What is taken out of clients' requests, besides `Authorization` and `Cookie`.
    #[serde(default)]
    pub strip: Strip,
    /// Rules over the upstream's answers; the first that matches decides. No match: alive.
    pub verdict: Vec<Verdict>,
    /// A harmless "who am I" request that tells a dead session from a missing right.
    pub probe: Option<Probe>,
    /// How to log out. Each step carries the session.
    #[serde(default)]
    pub logout: Logout,
    /// Endpoints that are answered here, closed, or whose answers show session values.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The other ways to spell a request that this upstream understands.
    #[serde(default)]
    pub spelling: Spelling,
    /// How many logins an account may lose before Doorward stops trying.
    #[serde(default)]
    pub budget: Budget,
    /// What the upstream tells of its own limits.
    #[serde(default)]
    pub throttle: Throttle,
}

fn default_placeholder() -> String {
    "doorward-placeholder".to_owned()
}

/// One field of an account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// `login_name` names the account in budgets and logs; `secret` may only be given by reference.
    pub kind: FieldKind,
    /// May be left out; it then renders as nothing.
    #[serde(default)]
    pub optional: bool,
    /// One sentence for the operator.
    #[serde(default)]
    pub help: String,
}

/// What a field of an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// The name that the upstream knows the account by; one field has this kind.
    LoginName,
    /// Ordinary text.
    Plain,
    /// A secret; only a reference to it may stand in a configuration file.
    Secret,
}

/// A value that the operator may set per upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is when the operator says nothing. Without a default it must be set.
    pub default: Option<String>,
    /// One sentence for the operator.
    #[serde(default)]
    pub help: String,
}

/// How to log in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Requests, sent one after the other; cookies set by one go to the next.
    pub steps: Vec<Step>,
    /// What an answer that is not a success means; the first that matches decides.
    #[serde(default)]
    pub refusals: Vec<Refusal>,
}

/// What a refused login means.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What the answer is like.
    pub when: Condition,
    /// What it means.
    pub class: RefusalClass,
}

/// What a refused login means, and with it what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalClass {
    /// The secret is wrong. Quarantine.
    BadSecret,
    /// The account is locked. Quarantine.
    Locked,
    /// A second factor is asked for that the recipe did not send. Quarantine.
    SecondFactor,
    /// The account may not log in this way, for example single sign-on only. Quarantine.
    NotAllowed,
    /// The account has no room for one more session. Pause.
    SlotsFull,
    /// Too many logins or requests. Pause.
    Throttled,
    /// The upstream is out of order, for example in maintenance. Growing pause.
    UpstreamBroken,
}

/// One thing that is put into requests. Exactly one of `header`, `query`, `cookie`, `cookies`, `json`,
/// `form`, `xml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// Sets this header field to `value`.
    pub header: Option<String>,
    /// Sets this query parameter to `value`.
    pub query: Option<String>,
    /// Sets this cookie to `value`, beside the session's cookies.
    pub cookie: Option<String>,
    /// Sends the session's cookies.
    #[serde(default)]
    pub cookies: bool,
    /// A JSON pointer (RFC 6901) to a member of the body, where that is a JSON object, or an array of
    /// objects; sets it to `value`.
    pub json: Option<String>,
    /// Sets this field of the body to `value`, where that is a form
    /// (`application/x-www-form-urlencoded`).
    pub form: Option<String>,
    /// The way to an element of the body, where that is XML; sets its text to `value`. Local names from
    /// the root on: `/Envelope/Header/{urn:x}context/token`, `*` for the first element. What is missing
    /// is made, in its parent's namespace or that in braces.
    pub xml: Option<String>,
    /// A template. An injection that renders as nothing is left out.
    pub value: Option<String>,
    /// Into which requests.
    #[serde(default)]
    pub methods: InjectMethods,
    /// What wins when the client sent the same field.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// JSON objects that `json` stays out of: calls that are refused with a session in them.
    pub unless: Option<Unless>,
}

/// JSON objects, told by the value at a place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unless {
    /// A JSON pointer (RFC 6901).
    pub at: String,
    /// The value is one of these.
    pub one_of: Vec<serde_json::Value>,
}

/// Into which requests something is injected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InjectMethods {
    /// Those of a kind.
    Kind(MethodKind),
    /// Those with one of these methods.
    Listed(Vec<String>),
}

impl Default for InjectMethods {
    fn default() -> Self {
        Self::Kind(MethodKind::Any)
    }
}

/// A kind of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// All.
    Any,
    /// All but the safe methods (RFC 9110 section 9.2.1).
    Unsafe,
}

/// What wins when the client sent the same field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// Ours.
    #[default]
    Always,
    /// The client's. Only for values that are no credential.
    IfAbsent,
}

/// What is taken out of clients' requests, besides `Authorization` and `Cookie`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strip {
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Query parameters, in any case.
    #[serde(default)]
    pub query: Vec<String>,
}

/// One rule over the upstream's answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// What the answer is like.
    pub when: Condition,
    /// What that says of the session.
    pub then: VerdictIs,
    /// Whether the request may be sent again on a new session.
    #[serde(default)]
    pub replay: ReplayPolicy,
}

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictIs {
    /// The session is alive: the answer is passed on. Rules like this are vetoes.
    Alive,
    /// The session is dead: log in, send again.
    Expired,
    /// The session is alive, and a value that it sends is stale: renew that, send again.
    Renew,
    /// Ambiguous: ask the probe.
    Probe,
    /// The upstream is out of order behind a success status: the client gets a 503.
    Unavailable,
}

/// Whether a request may be sent again after its session was found dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// Any request: the signal proves that it was not executed.
    #[default]
    Always,
    /// Only requests with a safe method.
    Safe,
    /// None.
    Never,
}

/// A harmless "who am I" request. It carries the session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The HTTP method.
    pub method: String,
    /// The path below the upstream's URL, a template.
    pub path: String,
    /// Query parameters, templates.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Header fields, templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body; every string in it is a template.
    pub json: Option<serde_json::Value>,
    /// A form body (`application/x-www-form-urlencoded`), templates.
    pub form: Option<BTreeMap<String, String>>,
    /// What the answer is like when the session is alive.
    pub alive: Condition,
}

/// How a session is given a new life without a login, for example by a refresh token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Requests. They carry the session and may read what it was given; what they take replaces
    /// what the session had. The refusals of the login judge them, too.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// How single values of a session are brought anew when a verdict says `renew`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Requests. They carry the session and may read what it was given; what they take replaces what the
    /// session had, and its end stays.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// How to log out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    /// Requests; each carries the session.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// An endpoint with a rule. Exactly one of `answer`, `closed`, `mask`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Methods; none given: all.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Path patterns below the upstream's URL (`*` one segment, `**` the rest); parameters may
    /// stand in them.
    pub paths: Vec<String>,
    /// Answered here and never forwarded.
    pub answer: Option<Answer>,
    /// With `answer`: this is the vendor's login. A client that shows its Doorward key as the
    /// password is answered with a token of its own, which it then shows in the vendor's place.
    pub login: Option<ClientLogin>,
    /// Never forwarded; the text says why, for the client.
    pub closed: Option<String>,
    /// JSON pointers of session values in the answer that are replaced by the placeholder; `*`
    /// stands for every element of an array or object.
    #[serde(default)]
    pub mask: Vec<String>,
}

/// The vendor's login, for clients that insist on logging in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientLogin {
    /// Where clients put the password; their key is looked for in each of these places, and in the
    /// fields where it may stand in any request, `Authorization: Basic` among them.
    #[schemars(length(min = 1))]
    pub password: Vec<PasswordPlace>,
}

/// Where in a login's request the password stands. Exactly one place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordPlace {
    /// A JSON pointer (RFC 6901) into the body, whatever its `Content-Type` says.
    pub json: Option<String>,
    /// A field of a form body (`application/x-www-form-urlencoded`), whatever its `Content-Type`
    /// says.
    pub form: Option<String>,
    /// A query parameter, in any case.
    pub query: Option<String>,
    /// A header field.
    pub header: Option<String>,
}

/// An answer that Doorward gives in the upstream's place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields, templates over `placeholder`, `now`, `uuid` and parameters; with `login` also
    /// over `client_token` and `client_token_expires`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Values of `Set-Cookie`, such templates. Over TLS, `Secure` is added where it is missing.
    #[serde(default)]
    pub set_cookies: Vec<String>,
    /// A JSON body; every string in it is such a template.
    pub json: Option<serde_json::Value>,
    /// A text body, a template.
    pub text: Option<String>,
}

/// The other ways to spell a request that this upstream understands. Rules are decided on the
/// canonical spelling; the client's own bytes travel on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spelling {
    /// `/Session` is `/session`.
    #[serde(default)]
    pub case_insensitive: bool,
    /// Suffixes of a path segment that change nothing, for example `.aspx`.
    #[serde(default)]
    pub suffixes: Vec<String>,
    /// The query parameter that names the real method of a POST.
    pub method_query: Option<String>,
    /// The query parameter that names the real path below the path that carries it.
    pub path_query: Option<PathQuery>,
    /// `%2F` inside a segment is an ordinary character of this upstream's paths.
    #[serde(default)]
    pub encoded_slash: bool,
    /// Header fields with `_` in their names that this upstream reads; others are dropped, because
    /// some servers take
    /// `_` for `-`.
    #[serde(default)]
    pub underscore_headers: Vec<String>,
}

/// A query parameter that carries the real path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathQuery {
    /// The last segment of the paths that read it.
    pub segment: String,
    /// The query parameter's name.
    pub query: String,
    /// The path that the parameter's paths are below, a template over parameters; it may stand in
    /// them, too. Without it: the path that the segment stands in.
    pub below: Option<String>,
}

/// How many logins an account may lose before Doorward stops trying.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Attempts; they come back when a login succeeds or the window has passed.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// After this time without a login the budget is whole again.
    #[serde(default = "default_window")]
    pub window: String,
}

/// Fewer than any lock-out threshold that vendors document.
fn default_attempts() -> u32 {
    2
}

/// Longer than the longest temporary lock that vendors document (one hour).
fn default_window() -> String {
    "2h".to_owned()
}

impl Default for Budget {
    fn default() -> Self {
        Self { attempts: default_attempts(), window: default_window() }
    }
}
