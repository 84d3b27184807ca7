//! Issuers of tokens and whose tokens they are, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;
use crate::settings::defaults;

/// Somebody who issues JSON Web Tokens that clients may show instead of a key, as `Authorization:
/// Bearer`. Its keys are found by OpenID Connect Discovery, or RFC 8414, below `issuer`, unless
/// `jwks_url` or `jwks_file` says where they are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Issuer {
    /// What the claim `iss` of its tokens says, byte for byte.
    #[schemars(required, extend("examples" = ["https://token.actions.githubusercontent.com"]))]
    pub(in crate::settings) issuer: Option<String>,
    /// For whom a token must be: one of these must be in its claim `aud`. Choose a text that stands
    /// for this gateway alone, so that no token for another service opens it.
    #[schemars(required, length(min = 1), extend("examples" = [["https://doorward.example.com"]]))]
    pub(in crate::settings) audience: Option<Vec<String>>,
    /// Where its key set is. Plain `http` is only for loopback.
    #[schemars(extend("examples" = ["https://login.example.com/keys"]))]
    pub(in crate::settings) jwks_url: Option<String>,
    /// A file with its key set, which is read again when it has changed, within a minute.
    #[schemars(extend("examples" = ["cluster-keys.json"]))]
    pub(in crate::settings) jwks_file: Option<String>,
    /// The signature algorithms that its tokens may have: `RS256`, `RS384`, `RS512`, `PS256`,
    /// `PS384`, `PS512`, `ES256`, `ES384`, `ES512`, `EdDSA` or `Ed25519`. There is neither `none`
    /// nor HMAC.
    #[serde(default = "defaults::algorithms")]
    #[schemars(length(min = 1))]
    pub(in crate::settings) algorithms: Vec<String>,
    /// What `typ` of a token must say, as `at+jwt` for access tokens (RFC 9068). Without it, `JWT`,
    /// `at+jwt` or nothing.
    #[schemars(extend("examples" = ["at+jwt"]))]
    pub(in crate::settings) required_type: Option<String>,
    /// How far its clock may be from this machine's, at most `5m`.
    #[serde(default = "defaults::clock_skew")]
    pub(in crate::settings) clock_skew: DurationText,
    /// A PEM file of authorities to trust instead of the machine's when its keys are fetched.
    #[schemars(extend("examples" = ["company-ca.pem"]))]
    pub(in crate::settings) ca_file: Option<String>,
}

/// Tokens of an issuer that are a client's. A token that is that of two clients is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Tokens {
    /// The name of the issuer.
    #[schemars(required, extend("examples" = ["github"]))]
    pub(in crate::settings) issuer: Option<String>,
    /// What the claims of a token must be, all of them: a text, `true`, `false` or a whole number.
    /// Of a list in the token one element must be it. `*` at the end of a text stands for anything
    /// more, after a separator such as `/` or `:`. A name that begins with `/` is a JSON pointer
    /// (RFC 6901) to a claim that lies deeper.
    #[schemars(required, extend("examples" = [{ "sub": "repo:acme/app:ref:refs/heads/main" }]))]
    pub(in crate::settings) claims: Option<BTreeMap<String, Claim>>,
}

/// What a claim must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("examples" = ["repo:acme/app:ref:refs/heads/main"]))]
pub(in crate::settings) enum Claim {
    /// A text, with `*` at its end perhaps.
    Text(String),
    /// `true` or `false`.
    Truth(bool),
    /// A whole number.
    Number(i64),
}
