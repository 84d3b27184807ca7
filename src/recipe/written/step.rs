//! The requests of a recipe as its author writes them, and what is taken from their answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Condition;

/// One request of a login, a refresh, a probe or a logout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What the step does, for traces: `log in`, `verify`.
    pub name: String,
    /// The HTTP method.
    pub method: Option<String>,
    /// The path below the upstream's URL or, with `origin`, from the root on; a template.
    pub path: Option<String>,
    /// Where it is sent in the upstream's place, such as an identity provider: scheme, host and port; a
    /// template over parameters. If it renders as nothing, the step goes to the upstream.
    pub origin: Option<String>,
    /// In the place of a request: asks the login helper, a program that the upstream's configuration
    /// names, and gives it these values. An object; every string in it is a template.
    pub exec: Option<serde_json::Value>,
    /// Query parameters, templates.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Header fields, templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `Authorization: Basic` of these two templates.
    pub basic: Option<Basic>,
    /// A JSON body; every string in it is a template.
    pub json: Option<serde_json::Value>,
    /// A form body (`application/x-www-form-urlencoded`), templates.
    pub form: Option<BTreeMap<String, String>>,
    /// A form body as `multipart/form-data`, templates.
    pub multipart: Option<BTreeMap<String, String>>,
    /// An XML body, a template; what is put into it is escaped.
    pub xml: Option<String>,
    /// A text body, a template. Its `Content-Type` comes from `headers`.
    pub text: Option<String>,
    /// Run this step only if the answer to the step before was like this.
    pub when: Option<Condition>,
    /// What makes the step a success. Without it: any 2xx.
    pub expect: Option<Condition>,
    /// Values taken from the answer, by name.
    #[serde(default)]
    pub take: BTreeMap<String, Take>,
    /// JSON Web Tokens that are made and signed before the step is sent, by name.
    #[serde(default)]
    pub sign: BTreeMap<String, Sign>,
}

/// A JSON Web Token that is made and signed here (RFC 7519).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// How it is signed.
    pub algorithm: SignAlgorithm,
    /// The key, a template: a text for `HS256`, a private key in PEM for the others.
    pub key: String,
    /// Members of its header besides `alg` and `typ`; every string is a template.
    #[serde(default = "no_members")]
    pub header: serde_json::Value,
    /// Its claims; every string is a template.
    pub claims: serde_json::Value,
}

fn no_members() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// How a JSON Web Token is signed (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SignAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSA with SHA-256.
    RS256,
    /// ECDSA over P-256 with SHA-256.
    ES256,
}

/// `Authorization: Basic`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user, a template.
    pub user: String,
    /// The password, a template.
    pub password: String,
}

/// Where in an answer a value stands. Exactly one place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// A JSON pointer (RFC 6901); the empty pointer is the whole body.
    pub json: Option<String>,
    /// A header field.
    pub header: Option<String>,
    /// A cookie by name.
    pub cookie: Option<String>,
    /// A cookie whose name has something that this regular expression finds.
    pub cookie_matches: Option<String>,
    /// The seconds that the cookie of this name has to live, by its `Max-Age` or `Expires`.
    pub cookie_age: Option<String>,
    /// A regular expression over the body; its first group is the value.
    pub text: Option<String>,
    /// The value of the `input` of this name in an HTML page, or the content of such a `meta`.
    pub input: Option<String>,
    /// A regular expression over what stands there; its first group is the value.
    pub part: Option<String>,
    /// What stands there is a JSON Web Token: the value is this claim of it.
    pub claim: Option<String>,
    /// The value may be missing; it then renders as nothing.
    #[serde(default)]
    pub optional: bool,
}
