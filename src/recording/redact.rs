//! Makes recordings: everything that the recipe does not have to read is replaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{HeaderName, StatusCode, header};
use serde_json::{Map, Value, json};

use super::walk::Walk;
use super::{Answered, Asked, Exchange, Exchanged, Phase, Recording, VERSION, replay};
use crate::fields::Fields;
use crate::login::StepAnswer;
use crate::recipe::condition::input_key;
use crate::recipe::explain::is_plain_name;
use crate::recipe::template::Template;
use crate::recipe::{JsonTemplate, Recipe, Step, StepBody};
use crate::secret::{Fingerprint, SecretText};

/// Elements of an array that are kept where no pointer of the recipe goes into it: more of the same
/// says nothing.
const ITEMS_KEPT: usize = 1;

/// Header fields of answers that are kept, each without what could be a value.
const FIELDS_KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// A recording that would not come to the outcome that was recorded.
#[derive(Debug, thiserror::Error)]
#[error(
    "these answers cannot be recorded: without their values the recipe makes something else of {0}"
)]
pub struct Unfaithful(String);

/// Records what was exchanged for an account with these fields, without a value of it, and proves
/// that the recording comes to the same outcome.
///
/// # Errors
/// When it does not: for example a value that is longer than any that is taken.
pub fn record(
    recipe: &Arc<Recipe>,
    fields: &[String],
    exchanged: &[Exchanged],
) -> Result<Recording, Unfaithful> {
    let mut redactor = Redactor { recipe, known: HashMap::new() };
    let mut walk = Walk::new(recipe, fields);
    let mut exchanges = Vec::new();
    for Exchanged { phase, step: index, header_names, answer } in exchanged {
        let step = match phase {
            Phase::Login => recipe.login.get(*index),
            Phase::Logout => recipe.logout.get(*index),
            Phase::Probe | Phase::WithoutSession => recipe.probe.as_ref().map(|probe| &probe.step),
        };
        let Some(step) = step else { continue };
        exchanges.push(Exchange {
            phase: *phase,
            step: step.name.clone(),
            request: redactor.request(step, header_names),
            answer: answer.as_ref().map(|answer| redactor.answer(step, answer)),
            outcome: walk.outcome(*phase, &step.name, answer.as_ref()),
        });
    }
    let (recipe_name, fields) = (recipe.name.clone(), fields.to_vec());
    let recording = Recording { version: VERSION, recipe: recipe_name, fields, exchanges };
    match replay(&recording, recipe).first() {
        None => Ok(recording),
        Some(difference) => Err(Unfaithful(difference.to_string())),
    }
}

struct Redactor<'r> {
    recipe: &'r Recipe,
    /// The number of each value that was replaced.
    known: HashMap<Fingerprint, usize>,
}

impl Redactor<'_> {
    fn request(&self, step: &Step, header_names: &[HeaderName]) -> Asked {
        Asked {
            method: step.method.to_string(),
            path: plain_path(&step.path.shown()),
            headers: header_names.iter().map(HeaderName::to_string).collect(),
            body: match &step.body {
                StepBody::Empty => Value::Null,
                StepBody::Json(template) => shape(template),
                StepBody::Form(fields) | StepBody::Multipart(fields) => {
                    let fields = fields.iter();
                    fields.map(|(name, template)| (name.clone(), stand_in(template))).collect()
                }
                StepBody::Text(template) | StepBody::Xml(template) => stand_in(template),
            },
        }
    }

    fn answer(&mut self, step: &Step, answer: &StepAnswer) -> Answered {
        let texts = self.recipe.text_tests(&answer.seen_by(step));
        let mut captures = BTreeMap::new();
        for regex in self.recipe.text_takes() {
            if let Some(found) = answer.body.capture(regex) {
                captures.insert(regex.as_str().to_owned(), self.text(&found));
            }
        }
        for name in self.recipe.input_takes() {
            if let Some(found) = answer.body.input(name) {
                captures.insert(input_key(name), self.text(&found));
            }
        }
        let json = answer.body.json().map(|json| self.json(&mut Vec::new(), json));
        Answered {
            status: answer.status.as_u16(),
            headers: self.headers(answer.status, &answer.headers),
            json: json.unwrap_or_default(),
            texts,
            captures,
        }
    }

    /// The stand-in of a text: the same one wherever it stands.
    fn text(&mut self, text: &str) -> String {
        match text.is_empty() {
            true => String::new(),
            // What no header field may hold makes a refusal of a login.
            false if text.chars().any(char::is_control) => {
                format!("text-{}\u{0}", self.number(text))
            }
            false => format!("text-{}", self.number(text)),
        }
    }

    /// The stand-in of a name that may be data; it is no word itself, and so stays what it is.
    fn name(&mut self, name: &str) -> String {
        format!("~name-{}", self.number(name))
    }

    fn number(&mut self, text: &str) -> usize {
        let next = self.known.len() + 1;
        let fingerprint = Fingerprint::of([&SecretText::from(text.to_owned())]);
        *self.known.entry(fingerprint).or_insert(next)
    }

    fn json(&mut self, at: &mut Vec<String>, value: &Value) -> Value {
        if self.recipe.compares_with(at, value) {
            return value.clone();
        }
        match value {
            Value::Null => Value::Null,
            // Codes and flags that rules ask for are what new rules are written from.
            Value::Bool(_) | Value::Number(_) if self.recipe.compares(at) => value.clone(),
            Value::Bool(_) => Value::Bool(false),
            Value::Number(number) => json!(self.number(&number.to_string())),
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => {
                let kept = match self.recipe.points_below(at) {
                    true => items.len(),
                    false => ITEMS_KEPT,
                };
                let items = items.iter().take(kept).enumerate();
                items.map(|(index, item)| self.below(at, &index.to_string(), item)).collect()
            }
            Value::Object(members) => {
                let mut redacted = Map::new();
                for (name, member) in members {
                    let shown = match is_plain_name(name) || self.recipe.names_member(name) {
                        true => name.clone(),
                        false => self.name(name),
                    };
                    redacted.insert(shown, self.below(at, name, member));
                }
                Value::Object(redacted)
            }
        }
    }

    fn below(&mut self, at: &mut Vec<String>, name: &str, value: &Value) -> Value {
        at.push(name.to_owned());
        let redacted = self.json(at, value);
        at.pop();
        redacted
    }

    fn headers(&mut self, status: StatusCode, headers: &Fields) -> Vec<(String, String)> {
        let mut kept = Vec::new();
        for (name, value) in headers {
            let known = FIELDS_KEPT.contains(name);
            if !known && !self.recipe.reads_header(name) {
                continue;
            }
            let text = String::from_utf8_lossy(value);
            let shown = match *name {
                header::SET_COOKIE => self.cookie(&text),
                header::CONTENT_TYPE => Some(media_type(&text)),
                header::LOCATION if status.is_redirection() => Some(path_of_url(&text)),
                header::RETRY_AFTER if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Some(text.to_string())
                }
                header::WWW_AUTHENTICATE => {
                    let scheme = text.split_whitespace().next().unwrap_or_default();
                    Some(if is_plain_name(scheme) { scheme.to_owned() } else { self.text(scheme) })
                }
                _ => Some(self.text(&text)),
            };
            kept.extend(shown.map(|shown| (name.to_string(), shown)));
        }
        kept
    }

    /// A cookie with its attributes, and a stand-in for its value.
    fn cookie(&mut self, field: &str) -> Option<String> {
        let cookie = cookie::Cookie::parse(field.trim_start()).ok()?;
        let name = match is_plain_name(cookie.name()) || self.recipe.names_cookie(cookie.name()) {
            true => cookie.name().to_owned(),
            false => self.name(cookie.name()),
        };
        let mut shown = cookie.clone().into_owned();
        shown.set_name(name);
        shown.set_value(self.text(cookie.value()));
        shown.unset_domain();
        if let Some(path) = cookie.path() {
            shown.set_path(plain_path(path));
        }
        Some(shown.to_string())
    }
}

/// The shape of a request's body, as the recipe writes it.
fn shape(template: &JsonTemplate) -> Value {
    match template {
        JsonTemplate::Template(template) => stand_in(template),
        JsonTemplate::Fixed(value) => value.clone(),
        JsonTemplate::Array(items) => items.iter().map(shape).collect(),
        JsonTemplate::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), shape(member))).collect()
        }
    }
}

/// The names that a template reads; its own text may hold the operator's parameters.
fn stand_in(template: &Template) -> Value {
    let names: String = template.reads().map(|name| format!("{{{{{name}}}}}")).collect();
    Value::String(if names.is_empty() { "text".to_owned() } else { names })
}

fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_lowercase()
}

/// The path of a target that somebody was sent to.
fn path_of_url(text: &str) -> String {
    let below = text.split_once("://").map_or(text, |(_, rest)| {
        rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/")
    });
    plain_path(below)
}

/// A path whose segments are words or `*`, without its query.
pub fn plain_path(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let plain = |segment: &str| segment.is_empty() || is_plain_name(segment);
    let segments = path.split('/').map(|segment| if plain(segment) { segment } else { "*" });
    segments.collect::<Vec<_>>().join("/")
}
