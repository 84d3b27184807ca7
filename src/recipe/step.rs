//! The requests of a recipe, and what is taken from their answers.

use std::fmt;

use http::{HeaderName, Method};

use super::condition::Condition;
use super::pattern::Pointer;
use super::site::Site;
use super::template::Template;
use crate::secret::Algorithm;

/// One request of a login, refresh, probe or logout.
#[derive(Debug)]
pub struct Step {
    /// What it does, for traces.
    pub name: String,
    /// Who is asked.
    pub to: Addressee,
    /// The method; [`EXEC`] where a helper is asked.
    pub method: Method,
    /// The path below the upstream's URL; what for, where a helper is asked.
    pub path: Template,
    /// Query parameters.
    pub query: Vec<(String, Template)>,
    /// Header fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// User and password of `Authorization: Basic`.
    pub basic: Option<(Template, Template)>,
    /// The body.
    pub body: StepBody,
    /// Run only if the answer before was like this.
    pub when: Option<Condition>,
    /// What makes it a success.
    pub expect: Condition,
    /// What is taken from the answer.
    pub take: Vec<Take>,
    /// The account fields that its one-time codes are made from.
    pub codes: Vec<String>,
    /// Values that are made before it is sent.
    pub signed: Vec<Signed>,
}

/// Who is asked by a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addressee {
    /// The upstream.
    #[default]
    Upstream,
    /// Somebody else, such as an identity provider. Nothing of a session goes there by itself.
    Site(Site),
    /// The operator's login helper, a program. The step's body is what it is given.
    Helper(Purpose),
}

/// What a login helper is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new session.
    Login,
    /// A new life for the session that there is.
    Refresh,
    /// Single values of the session that there is.
    Renew,
    /// The end of a session.
    Logout,
}

/// Stands in the place of the method in a step that asks a helper.
pub const EXEC: &str = "EXEC";

impl Purpose {
    /// The word in the helper's input, in traces and in conformance files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Renew => "renew",
            Self::Logout => "logout",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A JSON Web Token that is made and signed here (RFC 7519).
#[derive(Debug)]
pub struct Signed {
    /// The value's name.
    pub name: String,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// The key.
    pub key: Template,
    /// Members of its header besides `alg` and `typ`.
    pub header: JsonTemplate,
    /// Its claims.
    pub claims: JsonTemplate,
}

/// The body of a step's request.
#[derive(Debug)]
pub enum StepBody {
    /// None.
    Empty,
    /// JSON whose strings are templates.
    Json(JsonTemplate),
    /// A form.
    Form(Vec<(String, Template)>),
    /// A form as `multipart/form-data`.
    Multipart(Vec<(String, Template)>),
    /// XML; what is put into it is escaped.
    Xml(Template),
    /// Text.
    Text(Template),
}

/// JSON whose strings are templates.
#[derive(Clone, Debug)]
pub enum JsonTemplate {
    /// A string or, where the template is one numeric expression, a number.
    Template(Template),
    /// null, a truth value or a number.
    Fixed(serde_json::Value),
    /// An array.
    Array(Vec<JsonTemplate>),
    /// An object.
    Object(Vec<(String, JsonTemplate)>),
}

/// A value taken from an answer.
#[derive(Debug)]
pub struct Take {
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub from: TakeFrom,
    /// The part of what stands there: the first group of this expression.
    pub part: Option<regex::Regex>,
    /// The claim of the JSON Web Token that stands there.
    pub claim: Option<String>,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Where in an answer a value stands.
#[derive(Debug)]
pub enum TakeFrom {
    /// In the JSON body.
    Json(Pointer),
    /// In a header field.
    Header(HeaderName),
    /// In a cookie that the answer sets.
    Cookie(CookieName),
    /// The seconds that the cookie of this name, which the answer sets, has to live.
    CookieAge(String),
    /// In the text of the body; the first group.
    Text(regex::Regex),
    /// In the `input` of this name of the HTML page in the body.
    Input(String),
}

/// Which cookie is meant.
#[derive(Clone, Debug)]
pub enum CookieName {
    /// The one of this name.
    Is(String),
    /// The one whose name has something that this expression finds.
    Matches(regex::Regex),
}

impl CookieName {
    /// Whether the cookie called `name` is meant.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::Is(wanted) => wanted == name,
            Self::Matches(regex) => regex.is_match(name),
        }
    }
}
