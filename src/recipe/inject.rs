//! What is put into requests.

use http::{HeaderName, Method};
use serde_json::Value;

use super::element::ElementPath;
use super::pattern::Pointer;
use super::template::Template;
use super::written::Overwrite;

/// One thing that is put into requests.
#[derive(Debug)]
pub struct Injection {
    /// Where.
    pub into: InjectInto,
    /// Into which requests.
    pub methods: InjectMethods,
    /// What wins when the client sent the same.
    pub overwrite: Overwrite,
}

/// JSON objects that nothing is put into: calls that an upstream refuses with a session in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unless {
    /// Where in the object.
    pub at: Pointer,
    /// Which values stand there.
    pub one_of: Vec<Value>,
}

impl Unless {
    /// Whether the object `text` is one of them.
    pub fn holds(&self, text: &str) -> bool {
        let object = serde_json::from_str(text).ok();
        object.is_some_and(|object: Value| {
            self.at.find(&object).is_some_and(|value| self.one_of.contains(value))
        })
    }
}

/// Where something is injected.
#[derive(Debug)]
pub enum InjectInto {
    /// A header field.
    Header(HeaderName, Template),
    /// A query parameter.
    Query(String, Template),
    /// The session's cookies, as `Cookie`.
    Cookies,
    /// A cookie of this name, in the place of one that the session has.
    Cookie(String, Template),
    /// A member of the object that the body is, or of each object in the array that it is, but for
    /// those that it stays out of.
    Json(Pointer, Template, Option<Unless>),
    /// A field of the form that the body is.
    Form(String, Template),
    /// The text of an element of the XML that the body is.
    Xml(ElementPath, Template),
}

/// Into which requests something is injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectMethods {
    /// All.
    Any,
    /// All but the safe methods (RFC 9110 section 9.2.1).
    Unsafe,
    /// Those with one of these methods.
    Listed(Vec<Method>),
}

impl InjectMethods {
    /// Whether requests with this method are meant.
    pub fn include(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Unsafe => !method.is_safe(),
            Self::Listed(methods) => methods.contains(method),
        }
    }
}
