//! The walk's findings as a table for people, or as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::finding::{Check, Finding};
use crate::cli::ink::{Colour, coloured};
use crate::diagnosis::Paint;
use crate::emulator::Vendor;
use crate::session::Mechanism;

/// Prints one line for each step at each upstream, and the sum.
///
/// # Errors
/// What `out` refuses.
pub(super) fn print(findings: &[Finding], paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let vendor_width = width(Vendor::ALL.iter().map(|vendor| vendor.name().len()));
    let step_width = width(findings.iter().map(|finding| finding.step.name().len()));
    let mut above = None;
    for finding in findings {
        let vendor = if above == Some(finding.vendor) { "" } else { finding.vendor.name() };
        above = Some(finding.vendor);
        let verdict = match finding.is_ok() {
            true => coloured(paint, Colour::Green, "ok  "),
            false => coloured(paint, Colour::Red, "FAIL"),
        };
        let (step, promise) = (finding.step.name(), finding.step.promise());
        writeln!(out, "{vendor:<vendor_width$}  {step:<step_width$}  {verdict}  {promise}")?;
        let indent = vendor_width + step_width + 10;
        writeln!(out, "{:indent$}{}", "", seen(&finding.checks))?;
    }
    let failed = findings.iter().filter(|finding| !finding.is_ok()).count();
    let all = findings.len();
    match failed {
        0 => writeln!(out, "\nAll {all} steps did what they should."),
        _ => writeln!(out, "\n{failed} of {all} steps did not do what they should."),
    }
}

/// The same as one JSON object.
pub(super) fn as_json(findings: &[Finding], without: Option<Mechanism>) -> Value {
    json!({
        "ok": findings.iter().all(Finding::is_ok),
        "without": without.map(Mechanism::as_str),
        "steps": findings.iter().map(|finding| json!({
            "upstream": finding.vendor.name(),
            "step": finding.step.name(),
            "promise": finding.step.promise(),
            "ok": finding.is_ok(),
            "checks": finding.checks.iter().map(|check| json!({
                "what": check.what,
                "expected": check.expected,
                "seen": check.seen,
                "ok": check.is_ok(),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// What was seen, in one line: `answered 200, 401 (not 200); logins 1`. Neighbours of one kind
/// share their word.
fn seen(checks: &[Check]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut last = "";
    for check in checks.iter().filter(|check| check.is_shown()) {
        let value = match check.is_ok() {
            true => check.seen.clone(),
            false => format!("{} (not {})", check.seen, check.expected),
        };
        match parts.last_mut() {
            Some(part) if last == check.what => {
                part.push_str(", ");
                part.push_str(&value);
            }
            _ => parts.push(format!("{} {value}", check.what)),
        }
        last = check.what;
    }
    parts.join("; ")
}

fn width(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Step;
    use super::*;

    fn findings(logins: u64) -> Vec<Finding> {
        let [vendor, ..] = Vendor::ALL;
        let checks = vec![
            Check::new("answered", 200, 200),
            Check::new("answered", 200, 403),
            Check::new("logins", 1, logins),
            Check::quiet("writes executed twice", 0, 0),
        ];
        vec![Finding { vendor, step: Step::LateExpiry, checks }]
    }

    #[test]
    fn a_failed_step_says_what_was_seen_and_what_should_have_been() {
        let mut out = Vec::new();
        print(&findings(2), Paint::Plain, &mut out).unwrap();
        let table = String::from_utf8(out).unwrap();
        assert!(table.contains("late expiry  FAIL"), "{table}");
        assert!(table.contains("answered 200, 403 (not 200); logins 2 (not 1)\n"), "{table}");
        assert!(table.contains("1 of 1 steps did not"), "{table}");
        assert!(!table.contains("twice"), "{table}");
    }

    #[test]
    fn the_json_holds_every_check() {
        let json = as_json(&findings(1), Some(Mechanism::Replay));
        assert_eq!(json["ok"], false);
        assert_eq!(json["without"], "replay");
        assert_eq!(json["steps"][0]["checks"].as_array().unwrap().len(), 4);
        assert_eq!(json["steps"][0]["checks"][1]["seen"], "403");
    }
}
