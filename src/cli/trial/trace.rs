//! The trace of a trial for people, line by line as it happens.

use std::io::{self, Write};
use std::time::Duration;

use super::Screen;
use crate::app::{Subject, Tried, Watcher};
use crate::cli::ink::{Colour, coloured};
use crate::recipe::explain::Finding;
use crate::recording::Phase;
use crate::session::trial::{
    CarriedReport, CookieReport, EndReport, Ending, Notice, Progress, RuleReport, Sending,
    StepReport, TakenReport, TrialReport, ValueReport, Waiting,
};

/// Back to the begin of the line, and erase it (ECMA-48 section 8.3.41).
const ERASE_LINE: &str = "\r\x1b[2K";

/// Writes a trace.
pub(super) struct Trace<'w, W> {
    screen: Screen,
    out: &'w mut W,
    /// The recipe's file.
    file: String,
    /// What `out` refused; told at the end.
    refused: io::Result<()>,
}

impl<W: Write> Watcher for Trace<'_, W> {
    fn begins(&mut self, subject: &Subject<'_>) {
        let Subject { upstream, account, url, recipe } = subject;
        self.file.clone_from(&recipe.file);
        self.line(&format!("{upstream} / {account} at {url}, recipe {}", recipe.name));
        self.line("");
    }

    fn sees(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Sending(sending) if self.screen.live => {
                let text = format!("{} ...   {}", phase(sending), request(sending));
                let text = self.ink(Colour::Grey, &text);
                self.text(&text);
            }
            Progress::Sending(_) => {}
            Progress::Waiting(wait) => self.wait(&wait),
            Progress::Step(step) => self.step(step),
            Progress::Session(end, carried) => self.session(end, carried),
        }
    }
}

impl<'w, W: Write> Trace<'w, W> {
    pub(super) fn new(screen: Screen, out: &'w mut W) -> Self {
        Self { screen, out, file: String::new(), refused: Ok(()) }
    }

    /// Says how it ended and what to do.
    ///
    /// # Errors
    /// What the output refused, now or before.
    pub(super) fn ends(mut self, tried: &Tried) -> io::Result<()> {
        self.line("");
        let (colour, text) = ending(&tried.report);
        let text = self.ink(colour, &text);
        self.line(&text);
        for advice in &tried.advice {
            let mark = self.ink(Colour::Yellow, "->");
            self.line(&format!("{mark} {}", advice.text));
            for line in advice.snippet.iter().flat_map(|snippet| snippet.lines()) {
                self.line(&format!("     {line}"));
            }
        }
        if matches!(tried.report.ending, Ending::Refused { .. }) {
            self.line("this was one login, which counts at the upstream; it is not repeated");
        }
        self.refused
    }

    fn step(&mut self, step: &StepReport) {
        if self.screen.live {
            self.text(ERASE_LINE);
        }
        let verdict = match (step.ok, step.sent.phase) {
            (true, _) => self.ink(Colour::Green, "ok  "),
            (false, Phase::WithoutSession) => self.ink(Colour::Yellow, "miss"),
            (false, _) => self.ink(Colour::Red, "FAIL"),
        };
        let answer = match (&step.status, &step.content_type) {
            (Some(status), Some(kind)) => format!("{} {kind}", status.as_u16()),
            (Some(status), None) => status.as_u16().to_string(),
            (None, _) => "no answer".to_owned(),
        };
        let took = self.ink(Colour::Grey, &format!("in {}", took(step.took)));
        let (phase, request) = (phase(&step.sent), request(&step.sent));
        self.line(&format!("{phase} {verdict}  {request} -> {answer} {took}"));
        if let Some(error) = &step.error {
            self.detail("error", error);
        }
        for Finding { wants, holds, found } in &step.expected {
            match holds {
                true => self.detail("held", wants),
                false => {
                    let text = self.ink(Colour::Red, &format!("{wants}; but {found}"));
                    self.detail("missed", &text);
                }
            }
        }
        self.rule(step);
        for taken in &step.taken {
            self.taken(taken, step.expected.iter().all(|finding| finding.holds));
        }
        for cookie in &step.cookies {
            self.detail("cookie", &cookie_words(cookie));
        }
    }

    fn wait(&mut self, wait: &Waiting) {
        let word = self.ink(Colour::Grey, "wait   ");
        self.line(&format!("{word} {}", wait_words(wait)));
    }

    fn rule(&mut self, step: &StepReport) {
        match &step.rule {
            RuleReport::NotAsked => {}
            RuleReport::None => self.detail("rule", "no rule matched"),
            RuleReport::Matched { rule, line, says } => {
                let line = line.map(|line| format!(":{line}")).unwrap_or_default();
                let text = format!("{rule} ({}{line}) says {says}", self.file);
                self.detail("rule", &text);
            }
        }
    }

    fn taken(&mut self, taken: &TakenReport, as_expected: bool) {
        let TakenReport { name, from, value, optional } = taken;
        match value {
            Some(value) => self.detail("took", &format!("{name} <- {from}: {}", words(value))),
            None if *optional => self.detail("took", &format!("{name} <- {from}: not there")),
            // A refusal holds nothing to take; what is wrong with it stands above.
            None if !as_expected => {}
            None => {
                let text = self.ink(Colour::Red, &format!("{name} <- {from}: not there"));
                self.detail("missed", &text);
            }
        }
    }

    fn session(&mut self, end: &EndReport, carried: &[CarriedReport]) {
        let after = match (end.after, end.idle) {
            (Some(after), _) => format!("ends in {}", took(after)),
            (None, Some(idle)) => format!("ends after {} without use", took(idle)),
            (None, None) => "has no known end".to_owned(),
        };
        self.line(&format!("session {after} ({})", end.known_by));
        let carried = carried.iter().map(|each| match each.unsafe_only {
            true => format!("{} (not with GET)", each.place),
            false => each.place.clone(),
        });
        self.detail("carry", &carried.collect::<Vec<_>>().join(", "));
    }

    fn detail(&mut self, word: &str, text: &str) {
        let word = self.ink(Colour::Grey, &format!("{word:<6}"));
        self.line(&format!("        {word}  {text}"));
    }

    fn line(&mut self, text: &str) {
        self.text(text);
        self.text("\n");
    }

    fn text(&mut self, text: &str) {
        if self.refused.is_ok() {
            self.refused = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }

    fn ink(&self, colour: Colour, text: &str) -> String {
        coloured(self.screen.out, colour, text)
    }
}

fn phase(sending: &Sending) -> String {
    let word = match sending.phase {
        Phase::WithoutSession => "expired",
        phase => phase.as_str(),
    };
    format!("{word:<7}")
}

/// For how long nothing is sent, and why.
pub(super) fn wait_words(Waiting { lasts, until }: &Waiting) -> String {
    format!("{} until {until}", took(*lasts))
}

fn request(sending: &Sending) -> String {
    format!("{} {} ({})", sending.method, sending.path, sending.step)
}

fn ending(report: &TrialReport) -> (Colour, String) {
    match &report.ending {
        Ending::Good if matches!(report.notice, Notice::Overlooked(_)) => {
            (Colour::Yellow, "good, with a doubt: this account can be used".to_owned())
        }
        Ending::Good => (Colour::Green, "good: this account can be used".to_owned()),
        Ending::Refused { why, .. } => (Colour::Red, format!("refused: {why}")),
        Ending::HeldBack(why) => (Colour::Red, format!("held back: {why}")),
        Ending::Unreachable(error) => (Colour::Red, format!("unreachable: {error}")),
        Ending::Incomplete(what) => (Colour::Red, format!("incomplete: {}", what.as_str())),
    }
}

fn words(value: &ValueReport) -> String {
    format!("{} characters, #{}", value.characters, value.fingerprint)
}

fn cookie_words(cookie: &CookieReport) -> String {
    let mut text = format!("{}: ", cookie.name);
    text.push_str(&cookie.value.as_ref().map_or("emptied".to_owned(), words));
    if let Some(path) = &cookie.path {
        text.push_str(&format!(", path {path}"));
    }
    match (cookie.max_age, cookie.expires) {
        (Some(age), _) => text.push_str(&format!(", for {}", took(age))),
        (None, Some(end)) => {
            let end = jiff::Timestamp::try_from(end).map(|end| end.to_string());
            text.push_str(&format!(", until {}", end.unwrap_or_default()));
        }
        (None, None) => text.push_str(", no end of its own"),
    }
    for flag in &cookie.flags {
        text.push_str(&format!(", {flag}"));
    }
    if !cookie.kept {
        text.push_str(" (not kept: `[session] cookies` is `none`)");
    }
    text
}

/// A time as people read it.
fn took(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..=119 => format!("{:.1} s", time.as_secs_f64()),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds if seconds < 172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{} days", seconds / 86_400),
    }
}
