//! Conditions as a recipe's author writes them.

use schemars::JsonSchema;
use serde::Deserialize;

/// What an answer must be like. All that is given must hold; nothing given always holds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Status codes (`401`) or classes (`"4xx"`).
    #[serde(default)]
    pub status: Vec<Status>,
    /// Tests of header fields.
    #[serde(default)]
    pub header: Vec<HeaderTest>,
    /// Tests of a JSON body. A body that is no JSON has no values.
    #[serde(default)]
    pub json: Vec<JsonTest>,
    /// A regular expression that the body contains.
    pub body: Option<String>,
    /// Tests of `Set-Cookie`.
    #[serde(default)]
    pub set_cookie: Vec<CookieTest>,
    /// Methods of the request that was answered.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Path patterns of the request that was answered (`*` one segment, `**` the rest).
    #[serde(default)]
    pub paths: Vec<String>,
    /// All of these hold.
    #[serde(default)]
    pub all: Vec<Condition>,
    /// At least one of these holds.
    #[serde(default)]
    pub any: Vec<Condition>,
    /// This does not hold.
    pub not: Option<Box<Condition>>,
}

/// A status code or a class of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Status {
    /// One code, for example `401`.
    Code(u16),
    /// A class, for example `"4xx"`.
    Class(String),
}

/// A test of one header field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderTest {
    /// The field's name.
    pub name: String,
    /// A regular expression that one of its values contains. Without it: the field is there.
    pub matches: Option<String>,
}

/// A test of one value in a JSON body. Exactly one of the tests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonTest {
    /// A JSON pointer (RFC 6901).
    pub at: String,
    /// The value is this one.
    pub equals: Option<serde_json::Value>,
    /// The value is one of these.
    pub one_of: Option<Vec<serde_json::Value>>,
    /// The value is there and is not null (`true`), or is missing or null (`false`).
    pub exists: Option<bool>,
    /// The value is a string that this regular expression finds something in.
    pub matches: Option<String>,
}

/// A test of one cookie that the answer sets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookieTest {
    /// The cookie's name.
    pub name: Option<String>,
    /// A regular expression that the cookie's name contains, in place of `name`.
    pub name_matches: Option<String>,
    /// What the answer does with it.
    pub is: CookieState,
}

/// What an answer does with a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CookieState {
    /// Gives it a value.
    Set,
    /// Lets it expire.
    Removed,
    /// Gives it the empty value.
    Emptied,
}
