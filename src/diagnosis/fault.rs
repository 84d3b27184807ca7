//! One fault and all faults of a reading, and how they look on a terminal.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Something wrong with what somebody wrote, with its place where it has one.
///
/// `Display` gives the report without colour: message, `--> file:line:column`, excerpt, help.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    helps: Vec<String>,
    origin: PathBuf,
    excerpt: Option<Excerpt>,
}

/// One line of a text, already rid of secrets, and the bytes of it that are meant.
#[derive(Clone, Debug)]
pub(super) struct Excerpt {
    /// Counted from 1.
    pub(super) line: usize,
    /// In characters, counted from 1.
    pub(super) column: usize,
    /// Nothing where the line itself may be secret.
    pub(super) text: Option<(String, Range<usize>)>,
}

/// How a report is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Bare text.
    Plain,
    /// ANSI colours, for a terminal.
    Coloured,
}

impl Fault {
    /// A fault without a place inside `origin`: a file that cannot be read, or something that is
    /// no file, such as an environment variable.
    pub fn new(origin: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { message: message.into(), helps: Vec::new(), origin: origin.into(), excerpt: None }
    }

    pub(super) fn with_excerpt(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    /// Adds what to do about it. May be said more than once.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Adds "did you mean `x`?" where there is such an `x`.
    #[must_use]
    pub fn did_you_mean(self, name: Option<String>) -> Self {
        match name {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// What is wrong, in one sentence without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn helps(&self) -> &[String] {
        &self.helps
    }

    /// The file, or what stands for one.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.column)
    }

    /// The same in one line: the place, and what is wrong there.
    pub fn in_one_line(&self) -> String {
        let mut place = self.origin.display().to_string();
        for number in [self.line(), self.column()].into_iter().flatten() {
            place.push_str(&format!(":{number}"));
        }
        format!("{place}: {}", self.message)
    }

    /// The report on this one fault, without a line end.
    pub fn report(&self, paint: Paint) -> String {
        let path = self.origin.display().to_string();
        let mut group = Group::with_title(Level::ERROR.primary_title(self.message.as_str()));
        group = match &self.excerpt {
            None => group.element(Origin::path(path)),
            Some(Excerpt { line, column, text: None }) => {
                group.element(Origin::path(path).line(*line).char_column(*column))
            }
            Some(Excerpt { line, text: Some((text, span)), .. }) => group.element(
                Snippet::source(text.as_str())
                    .path(path)
                    .line_start(*line)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
        };
        let helps = self.helps.iter().map(|help| Level::HELP.message(help.as_str()));
        paint.renderer().render(&[group.elements(helps)])
    }

    fn position(&self) -> (&Path, Option<usize>, Option<usize>) {
        (&self.origin, self.line(), self.column())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.report(Paint::Plain))
    }
}

impl Paint {
    fn renderer(self) -> Renderer {
        match self {
            Self::Plain => Renderer::plain(),
            Self::Coloured => Renderer::styled(),
        }
    }
}

/// Every fault that was found. `Display` prints them by file and position, and their number last.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `value` if nothing is wrong, else these faults.
    ///
    /// # Errors
    /// The faults themselves.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Takes the faults of a failed reading over; gives the value of one that did not fail.
    pub fn take<T>(&mut self, reading: Result<T, Self>) -> Option<T> {
        reading.map_err(|faults| self.extend(faults)).ok()
    }

    /// The faults by file and position.
    pub fn sorted(&self) -> Vec<&Fault> {
        let mut sorted: Vec<&Fault> = self.0.iter().collect();
        sorted.sort_by_key(|fault| fault.position());
        sorted
    }

    /// All reports and the closing line, with a line end; nothing where nothing is wrong.
    pub fn report(&self, paint: Paint) -> String {
        self.report_with(paint, "nothing was started")
    }

    /// The same, where something else than that nothing was started comes of it.
    pub fn report_with(&self, paint: Paint, consequence: &str) -> String {
        let sorted = self.sorted();
        let mut out = String::new();
        if sorted.is_empty() {
            return out;
        }
        for fault in &sorted {
            out.push_str(&fault.report(paint));
            out.push_str("\n\n");
        }
        out.push_str(&closing_line(&sorted, consequence));
        out.push('\n');
        out
    }
}

fn closing_line(sorted: &[&Fault], consequence: &str) -> String {
    let mut origins: Vec<&Path> = sorted.iter().map(|fault| fault.origin()).collect();
    origins.dedup();
    let number = match sorted.len() {
        1 => "1 fault".to_owned(),
        number => format!("{number} faults"),
    };
    match origins.as_slice() {
        [origin] => format!("{number} in {}; {consequence}", origin.display()),
        origins => format!("{number} in {} places; {consequence}", origins.len()),
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.report(Paint::Plain).trim_end())
    }
}

impl std::error::Error for Faults {}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        self.0.extend(faults);
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
