//! Gives a recording's answers to a recipe and compares what it makes of them.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::walk::Walk;
use super::{Answered, Outcome, Phase, Recording, VERSION};
use crate::fields::Fields;
use crate::login::StepAnswer;
use crate::recipe::Recipe;
use crate::recipe::condition::{Body, Told};

/// Something that the recipe makes otherwise of a recording than it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    phase: Phase,
    step: String,
    was: String,
    is: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, step, was, is } = self;
        write!(out, "{} `{step}`: was {was}, is {is}", phase.as_str())
    }
}

/// A file that holds no recording.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It has another form.
    #[error("this is no recording: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version.
    #[error("version {0} of recordings is not known; this is version {VERSION}")]
    Version(u32),
}

impl Recording {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let recording: Self = serde_json::from_str(text)?;
        match recording.version {
            VERSION => Ok(recording),
            other => Err(Unreadable::Version(other)),
        }
    }
}

/// What `recipe` makes otherwise of the recording than it did when it was made; nothing when the
/// outcome of every step is the same. The first difference ends a login: what comes after it
/// answers questions that were not asked.
pub fn replay(recording: &Recording, recipe: &Arc<Recipe>) -> Vec<Difference> {
    let mut walk = Walk::new(recipe, &recording.fields);
    let mut differences = Vec::new();
    for exchange in &recording.exchanges {
        let (phase, name) = (exchange.phase, &exchange.step);
        let difference =
            |was: String, is: String| Difference { phase, step: name.clone(), was, is };
        let step = walk.step(phase, name).map(|step| step.name.clone());
        if step.as_ref() != Some(name) {
            let is = step.map_or("no step at all".to_owned(), |step| format!("`{step}`"));
            differences.push(difference("asked here".to_owned(), is));
            break;
        }
        let answer = exchange.answer.as_ref().map(Answered::played);
        let outcome = walk.outcome(phase, name, answer.as_ref());
        let unknown = answer.map(|answer| answer.body.unknown()).unwrap_or_default();
        if outcome != exchange.outcome {
            let mut is = outcome.to_string();
            for test in &unknown {
                is.push_str(&format!("; the recording does not tell whether {test}: record anew"));
            }
            differences.push(difference(exchange.outcome.to_string(), is));
            if phase == Phase::Login {
                break;
            }
        }
    }
    differences
}

impl Answered {
    fn played(&self) -> StepAnswer {
        let mut headers = Fields::new();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.append(name, value);
            }
        }
        let body = match &self.json {
            Value::Null => Vec::new(),
            json => serde_json::to_vec(json).unwrap_or_default(),
        };
        let (tests, captures) = (self.texts.clone(), self.captures.clone());
        StepAnswer {
            status: StatusCode::from_u16(self.status).unwrap_or_default(),
            headers,
            body: Body::recorded(body, Told::new(tests, captures)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.came_to)?;
        if self.came_to == "refused" {
            write!(out, " ({})", self.class.as_deref().unwrap_or("no rule matched"))?;
        }
        if !self.took.is_empty() {
            write!(out, " of {}", self.took.join(", "))?;
        }
        Ok(())
    }
}
