//! Recordings of logins: what an upstream answered, without a value of it, so that a recipe can be
//! judged again later, offline.
//!
//! A recording holds what the recipe reads of each answer and stand-ins for everything else: status,
//! a few header fields, the shape of JSON bodies, and of texts only which of the recipe's
//! expressions matched. The same value has the same stand-in everywhere.

mod redact;
mod replay;
mod walk;

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::login::StepAnswer;
pub use redact::{Unfaithful, plain_path, record};
pub use replay::{Difference, Unreadable, replay};

/// The version of the form.
const VERSION: u32 = 1;

/// What a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The login.
    Login,
    /// The probe with the new session.
    Probe,
    /// The logout.
    Logout,
    /// The probe once more, without any session: would the recipe notice that one has ended?
    WithoutSession,
}

impl Phase {
    /// The word in traces and recordings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Probe => "probe",
            Self::Logout => "logout",
            Self::WithoutSession => "without_session",
        }
    }
}

/// One request and its answer, as they were. It holds secrets.
#[derive(Debug)]
pub struct Exchanged {
    /// What it belongs to.
    pub phase: Phase,
    /// The step's place in its list of the recipe.
    pub step: usize,
    /// The header fields that the recipe and the session gave it.
    pub header_names: Vec<HeaderName>,
    /// The answer, if one came.
    pub answer: Option<StepAnswer>,
}

/// A recorded trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    version: u32,
    /// The recipe's name.
    pub recipe: String,
    /// The names of the account's fields.
    fields: Vec<String>,
    /// Requests and answers, in order.
    exchanges: Vec<Exchange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    phase: Phase,
    /// The step's name in the recipe.
    step: String,
    request: Asked,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answered>,
    /// What the recipe made of it.
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    path: String,
    headers: Vec<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    body: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// The shape of a JSON body; null for any other.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    json: Value,
    /// Which of the recipe's tests of texts held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    texts: BTreeMap<String, bool>,
    /// What stands for that which the recipe's expressions took from the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    captures: BTreeMap<String, String>,
}

/// What a recipe made of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    /// `goes_on`, `session`, `refused`, `alive`, `dead`, `confirmed`, `unconfirmed`, what the
    /// matching verdict rule says, or `no_answer`.
    came_to: String,
    /// What the rules say of a refusal; nothing where none matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// The names of the values and cookies that a session was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    took: Vec<String>,
}

impl Recording {
    /// The recording as it is written into a file.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// How many answers it holds.
    pub fn answers(&self) -> usize {
        self.exchanges.iter().filter(|exchange| exchange.answer.is_some()).count()
    }
}

#[cfg(test)]
mod tests;
