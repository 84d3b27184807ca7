//! One TOML text with its name, and where each key and value stands in it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;

use super::conceal::{conceal, is_placeholder, line_looks_secret, looks_secret};
use super::fault::{Excerpt, Fault, Faults};
use super::judge::{Finding, Place, Scope, findings};
use super::pointer::Pointer;
use super::spans::{Reading, Span};

/// A TOML text that parses. Clones share one text.
#[derive(Clone)]
pub struct Document {
    inner: Arc<Inner>,
    private: fn(&Pointer) -> bool,
}

struct Inner {
    name: PathBuf,
    text: Arc<str>,
    reading: Reading,
}

impl Document {
    /// Reads `text`; `name` is how faults call it, usually the file's path.
    ///
    /// # Errors
    /// Every fault of syntax, each at its place. A line that may hold a secret is not shown.
    pub fn parse(name: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Result<Self, Faults> {
        let (name, text) = (name.into(), text.into());
        let (table, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            let mut faults: Vec<Fault> =
                errors.iter().map(|error| syntax_fault(&name, &text, error)).collect();
            // What comes second on a line only follows from what came first.
            faults.sort_by_key(|fault| (fault.line(), fault.column()));
            faults.dedup_by_key(|fault| fault.line());
            return Err(faults.into_iter().collect());
        }
        let reading = Reading::of(table.get_ref());
        drop(table);
        let inner = Arc::new(Inner { name, text, reading });
        let document = Self { inner, private: looks_secret };
        let unreadable = document.inner.reading.unreadable.iter();
        let faults: Faults =
            unreadable.map(|(at, message)| document.fault(at.as_str(), *message)).collect();
        faults.or(document)
    }

    /// This document, with the literals at the places that `private` names starred out in every
    /// excerpt, besides those whose key looks like a secret's.
    #[must_use]
    pub fn keeping_private(self, private: fn(&Pointer) -> bool) -> Self {
        Self { private, ..self }
    }

    /// Every way in which this document is not what `T` expects: unknown and missing keys, wrong
    /// types, values and tags out of a closed list, bounds, patterns.
    pub fn judge<T: JsonSchema>(&self) -> Faults {
        self.judged::<T>(Scope::Whole)
    }

    /// Like [`Document::judge`], for one layer of several: keys that are missing here may stand in
    /// another layer.
    pub fn judge_layer<T: JsonSchema>(&self) -> Faults {
        self.judged::<T>(Scope::Layer)
    }

    fn judged<T: JsonSchema>(&self, scope: Scope) -> Faults {
        findings::<T>(self.value(), scope).into_iter().map(|found| self.found(found)).collect()
    }

    /// The fault of a finding, at its place here or at the nearest place that holds it.
    pub(crate) fn found(&self, finding: Finding) -> Fault {
        let Finding { pointer, place, message, helps, .. } = finding;
        let fault = match place {
            Place::Key => self.key_fault(pointer.as_str(), message),
            Place::Value => self.fault(pointer.as_str(), message),
        };
        helps.into_iter().fold(fault, Fault::help)
    }

    /// A fault at the value at `pointer`, or at the nearest place that exists.
    pub fn fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        self.fault_at(pointer, message, |span| span.value.clone(), &[])
    }

    /// A fault at the key at `pointer`, or at the nearest place that exists.
    pub fn key_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        self.fault_at(pointer, message, |span| span.key.clone(), &[])
    }

    /// Like [`Document::fault`] for a value that may itself be a secret: the excerpt stars it out.
    pub fn secret_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        let hidden = self.literals(|at| at.as_str().starts_with(pointer));
        self.fault_at(pointer, message, |span| span.value.clone(), &hidden)
    }

    /// Like [`Document::key_fault`] for a key whose value may be a secret.
    pub fn secret_key_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        let hidden = self.literals(|at| at.as_str().starts_with(pointer));
        self.fault_at(pointer, message, |span| span.key.clone(), &hidden)
    }

    /// Whether there is something at `pointer`.
    pub fn holds(&self, pointer: &str) -> bool {
        self.value().pointer(pointer).is_some()
    }

    /// The line of the key at `pointer`, counted from 1.
    pub fn key_line(&self, pointer: &str) -> Option<usize> {
        let span = self.inner.reading.spans.get(&Pointer::from(pointer))?;
        Some(excerpt(&self.inner.text, span.key.clone()).line)
    }

    /// What the document says, as plain values.
    pub fn value(&self) -> &Value {
        &self.inner.reading.value
    }

    /// The whole text, secrets that should not be in it included.
    pub(crate) fn text(&self) -> &str {
        &self.inner.text
    }

    /// What faults call this document.
    pub fn name(&self) -> &Path {
        &self.inner.name
    }

    /// Reads the document into `T`. Judge first: this stops at the first fault.
    ///
    /// # Errors
    /// The first value that `T` refuses, at its place.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        let refused = |error: toml::de::Error| {
            let span = error.span().unwrap_or_default();
            let secret = self.private_literals().iter().any(|hidden| overlap(hidden, &span));
            // A message of serde's repeats the value that it refuses.
            let message = if secret { "this value cannot be used here" } else { error.message() };
            Faults::from(self.fault_on(message, span, &[]))
        };
        let deserializer = toml::Deserializer::parse(&self.inner.text).map_err(refused)?;
        T::deserialize(deserializer).map_err(refused)
    }

    fn fault_at(
        &self,
        pointer: &str,
        message: impl Into<String>,
        part: impl Fn(&Span) -> Range<usize>,
        hidden: &[Range<usize>],
    ) -> Fault {
        let wanted = Pointer::from(pointer);
        let mut nearest = Some(wanted.clone());
        while let Some(at) = nearest {
            if let Some(span) = self.inner.reading.spans.get(&at) {
                // What is missing from a table is shown at the table's name.
                let span = if at == wanted { part(span) } else { span.key.clone() };
                return self.fault_on(message, span, hidden);
            }
            nearest = at.parent();
        }
        self.fault_on(message, 0..0, hidden)
    }

    fn fault_on(
        &self,
        message: impl Into<String>,
        span: Range<usize>,
        hidden: &[Range<usize>],
    ) -> Fault {
        let mut hidden = hidden.to_vec();
        hidden.extend(self.private_literals());
        let excerpt = excerpt(&conceal(&self.inner.text, &hidden), span);
        Fault::new(&self.inner.name, message).with_excerpt(excerpt)
    }

    fn private_literals(&self) -> Vec<Range<usize>> {
        self.literals(|at| looks_secret(at) || (self.private)(at))
    }

    /// Where the strings and numbers of the chosen places stand.
    fn literals(&self, chosen: impl Fn(&Pointer) -> bool) -> Vec<Range<usize>> {
        let spans = self.inner.reading.spans.iter();
        spans
            .filter(|(at, _)| chosen(at))
            .filter(|(at, _)| match self.value().pointer(at.as_str()) {
                Some(Value::String(text)) => !is_placeholder(text),
                value => value.is_some_and(Value::is_number),
            })
            .map(|(_, span)| span.value.clone())
            .collect()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the text: it may hold a secret where none belongs.
        write!(out, "Document({})", self.inner.name.display())
    }
}

fn syntax_fault(name: &Path, text: &str, error: &toml::de::Error) -> Fault {
    let mut excerpt = excerpt(text, error.span().unwrap_or_default());
    let before: String =
        text.lines().take(excerpt.line - 1).map(|line| format!("{line}\n")).collect();
    let secret = |(line, _): &(String, Range<usize>)| line_looks_secret(&before, line);
    let withheld = excerpt.text.as_ref().is_some_and(secret);
    if withheld {
        excerpt.text = None;
    }
    let mut fault = Fault::new(name, format!("this is not TOML: {}", error.message()));
    if error.message().ends_with("expected nothing") {
        fault = fault.help("a text stands in quotes");
    }
    let fault = fault.with_excerpt(excerpt);
    if withheld { fault.help("the line is not shown because it may hold a secret") } else { fault }
}

/// The line on which `span` begins, and the part of the span on that line.
fn excerpt(text: &str, span: Range<usize>) -> Excerpt {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let (before, after) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let (above, lead) = before.split_at(line_start);
    let rest = after.split(['\n', '\r']).next().unwrap_or_default();
    let length = rest.floor_char_boundary(span.len().min(rest.len()));
    let lead_length = lead.len();
    Excerpt {
        line: above.matches('\n').count() + 1,
        column: lead.chars().count() + 1,
        text: Some((format!("{lead}{rest}"), lead_length..lead_length + length)),
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end.max(other.start + 1) && other.start < one.end
}
