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
    /// The recipe's parameters, where they are not the defaults.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
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
    /// What an answer changes in the session.
    pub rolled: Option<Rolled>,
    /// The logout's requests, in order, and an answer to each.
    #[serde(default)]
    pub logout: Vec<Exchange>,
    /// Answers to the logout's last request that do not confirm it.
    #[serde(default)]
    pub unconfirmed: Vec<Reply>,
    /// What becomes of requests to endpoints with a rule, and of their neighbours.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// What of a client's request is dropped.
    #[serde(default)]
    pub dropped: Dropped,
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
/// value that nobody knows beforehand.
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
    /// How long it lives, where that is known: `300s`.
    pub ends: Option<String>,
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
}

/// An answer to a client's request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Method, path and query of the client's request.
    pub to: String,
    /// What the upstream answers.
    pub answer: Reply,
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
