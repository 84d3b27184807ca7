//! A conformance file as its author writes it, key by key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::{RefusalClass, ReplayPolicy};

/// What an upstream answers, and what a recipe has to make of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conformance {
    /// The fields of the account; all of them are made up.
    pub account: BTreeMap<String, String>,
    /// Fields of the account that anybody may see, besides its name.
    #[serde(default)]
    pub plain: Vec<String>,
    /// The recipe's parameters, where they are not the defaults.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Tokens that the recipe signs; `{{signed.NAME}}` stands for one in what it sends.
    #[serde(default)]
    pub signed: BTreeMap<String, Signed>,
    /// A login that succeeds: its requests and their answers, in order.
    #[schemars(length(min = 1))]
    pub login: Vec<Exchange>,
    /// Other logins that succeed, for example of an account with a second factor.
    #[serde(default)]
    pub logins: Vec<Login>,
    /// What the session puts into requests, and when it ends.
    pub session: Carried,
    /// Logins that are refused.
    #[schemars(length(min = 1))]
    pub refused: Vec<Refused>,
    /// What answers to clients' requests say of the session.
    #[schemars(length(min = 1))]
    pub answers: Vec<Answered>,
    /// What the probe is answered.
    #[serde(default)]
    pub probe: Vec<Probed>,
    /// A refresh of the login's session that succeeds.
    #[serde(default)]
    pub refresh: Vec<Exchange>,
    /// What the refreshed session puts into requests, and when it ends.
    pub refreshed: Option<Carried>,
    /// A second refresh, of the session that the first one gave.
    #[serde(default)]
    pub refresh_again: Vec<Exchange>,
    /// A renewal of single values of the login's session that succeeds.
    #[serde(default)]
    pub renew: Vec<Exchange>,
    /// What the session puts into requests then, and when it ends.
    pub renewed: Option<Carried>,
    /// What an answer changes in the session.
    pub rolled: Option<Rolled>,
    /// What Doorward does by its own clock, where it is not the default.
    #[serde(default)]
    pub life: Life,
    /// What answers say of the upstream's own limits.
    #[serde(default)]
    pub throttled: Vec<Throttled>,
    /// The logout's requests, in order, and an answer to each.
    #[serde(default)]
    pub logout: Vec<Exchange>,
    /// Answers to the logout's last request that do not confirm it.
    #[serde(default)]
    pub unconfirmed: Vec<Reply>,
    /// What becomes of requests to endpoints with a rule, and of their neighbours.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Logins of clients of the vendor, each with `{{client_key}}` where they put the password.
    #[serde(default)]
    pub client_logins: Vec<Request>,
    /// What of a client's request is dropped.
    #[serde(default)]
    pub dropped: Dropped,
}

/// A token that the recipe signs with a key of the account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The field of the account that holds the key.
    pub key: String,
    /// Its header, whole. `alg` is `RS256` or `HS256`: what they sign can be told beforehand.
    pub header: serde_json::Value,
    /// Its claims, whole.
    pub claims: serde_json::Value,
}

/// What Doorward does by its own clock. What does not stand here must be the default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// How long after the login the session is renewed: `55m`.
    pub renewed_after: Option<String>,
    /// The time without use after which the upstream ends the session.
    pub idle: Option<String>,
    /// How long after its last use an idle session is asked after by the probe, first.
    pub asked_first: Option<String>,
    /// How long after its last use it is asked after for the last time.
    pub asked_last: Option<String>,
    /// How many sessions an account may have open at a time.
    pub sessions_max: Option<usize>,
    /// How many logins are lost before the account is left alone.
    pub logins_lost_max: Option<u32>,
    /// For how long it is left alone then.
    pub left_alone: Option<String>,
}

/// An answer that says something of the upstream's own limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttled {
    /// The answer.
    pub answer: Reply,
    /// How long everybody on the account waits, at most; nothing: nobody waits.
    pub waits: Option<String>,
    /// Whether reads wait for reads alone, and writes for writes.
    #[serde(default)]
    pub apart: bool,
}

/// A request of the recipe and its answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What the recipe sends.
    pub sends: Request,
    /// What it is answered.
    pub answer: Reply,
}

/// A request, whole: what stands here must be in it, and nothing else. `{{any}}` stands for a
/// value that nobody knows beforehand, `{{uuid}}` and `{{random}}` for one of these kinds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Method, path and query, as in a request's first line: `POST /login?x=1`.
    pub to: String,
    /// Header fields. `Content-Type` goes without saying where there is a body of its own kind.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body.
    pub json: Option<serde_json::Value>,
    /// The fields of a form, or of a form as `multipart/form-data`.
    pub form: Option<BTreeMap<String, String>>,
    /// Any other body.
    pub text: Option<String>,
}

/// An answer of the upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The status code.
    #[schemars(range(min = 100, max = 599))]
    pub status: u16,
    /// Header fields; for a JSON body `Content-Type` goes without saying.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Values of `Set-Cookie`.
    #[serde(default)]
    pub set_cookies: Vec<String>,
    /// A JSON body.
    pub json: Option<serde_json::Value>,
    /// Any other body.
    pub text: Option<String>,
}

/// Another login that succeeds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Fields of the account that are others, or missing where they are empty.
    #[serde(default)]
    pub account: BTreeMap<String, String>,
    /// Parameters in the place of the file's; an empty table: the defaults.
    pub parameters: Option<BTreeMap<String, String>>,
    /// Its requests and their answers, in order.
    pub steps: Vec<Exchange>,
    /// What its session puts into requests, and when it ends.
    pub session: Carried,
}

/// What a session puts into requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// Header fields of every request, `Cookie` among them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The query parameters of every request.
    #[serde(default)]
    pub query: String,
    /// Header fields that requests with unsafe methods have besides.
    #[serde(default)]
    pub unsafe_headers: BTreeMap<String, String>,
    /// Header fields that requests with one method have besides, where that is neither all nor the unsafe
    /// ones: by method. For these methods `unsafe_headers` says nothing.
    #[serde(default)]
    pub method_headers: BTreeMap<String, BTreeMap<String, String>>,
    /// Where requests go, if the login tells it: an origin.
    pub base_url: Option<String>,
    /// What becomes of bodies, where the session goes into some.
    #[serde(default)]
    pub bodies: Vec<Rewritten>,
    /// How long it lives, where that is known: `300s`.
    pub ends: Option<String>,
}

/// The body of a client's request, and what becomes of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewritten {
    /// The request's method.
    pub method: String,
    /// The client's body.
    pub sent: Content,
    /// What the upstream gets.
    pub becomes: Content,
}

/// A body that a session can go into. One of the three.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// JSON.
    pub json: Option<serde_json::Value>,
    /// The fields of a form.
    pub form: Option<BTreeMap<String, String>>,
    /// XML, as it is written.
    pub xml: Option<String>,
}

/// A login that is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The name of the step that is answered so; the steps before it are answered as in `login`.
    pub at: String,
    /// What it is answered.
    pub answer: Reply,
    /// What that means; nothing: no rule may match.
    pub class: Option<RefusalClass>,
    /// Which part of the step fails, as an operator is told; nothing: any.
    pub because: Option<Failed>,
}

/// Which part of a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// The answer is not what the step expects.
    Unexpected,
    /// A value is not there, or is none that can be sent back.
    Missing,
}

/// An answer to a client's request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Method, path and query of the client's request.
    pub to: String,
    /// What the upstream answers.
    pub answer: Reply,
    /// The head alone decides: the body is not looked at, and streams by.
    #[serde(default)]
    pub by_head: bool,
    /// What that says of the session.
    pub means: Meaning,
    /// Whether the request may be sent again, where the session is dead.
    #[serde(default)]
    pub replay: ReplayPolicy,
}

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It is alive.
    Alive,
    /// It is dead.
    Expired,
    /// It is alive, and a value of it is stale.
    Renew,
    /// The probe has to tell.
    Probe,
    /// The upstream is out of order.
    Unavailable,
}

/// An answer to the probe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probed {
    /// What the probe sends; said once is enough.
    pub sends: Option<Request>,
    /// What it is answered.
    pub answer: Reply,
    /// What that says of the session.
    pub alive: bool,
}

/// What an answer changes in the session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rolled {
    /// The answer, to a request for `/`.
    pub answer: Reply,
    /// What the session puts into requests then.
    pub session: Carried,
}

/// What becomes of a client's request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Method, path and query.
    pub to: String,
    /// What becomes of it.
    pub is: Treatment,
    /// What the client is answered, or what a masked answer becomes. In an answer to a client's
    /// login `{{client_token}}` stands for its token.
    pub shows: Option<Reply>,
    /// The upstream's answer that is masked.
    pub answer: Option<Reply>,
}

/// What becomes of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// Answered in the upstream's place.
    Answered,
    /// Answered in the upstream's place, as a login of the client's own.
    Login,
    /// Never forwarded.
    Closed,
    /// Forwarded, and its answer masked.
    Masked,
    /// Forwarded.
    Forwarded,
    /// Refused, because there is more than one way to read it.
    Refused,
}

/// What of a client's request is dropped.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Header fields that are not.
    #[serde(default)]
    pub kept_headers: Vec<String>,
    /// Query parameters.
    #[serde(default)]
    pub query: Vec<String>,
}
