//! The report of a trial as one JSON document. Its form is stable: see `docs/DOCTOR.md`.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::app::{Advice, Tried};
use crate::session::account::class_name;
use crate::session::trial::{
    CookieReport, Ending, Notice, RuleReport, StepReport, TakenReport, ValueReport, with_causes,
};

/// The version of the document's form. A member that is added does not change it.
const VERSION: u32 = 1;

pub(super) fn of(tried: &Tried) -> Value {
    let Tried { upstream, account, recipe, report, advice, .. } = tried;
    let (ending, class, why) = ending(&report.ending);
    let (notice, overlooked) = notice(&report.notice);
    json!({
        "version": VERSION,
        "upstream": upstream,
        "account": account,
        "recipe": { "name": recipe.name, "file": recipe.file },
        "ending": ending,
        "class": class,
        "why": why,
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "session": report.end.as_ref().map(|end| json!({
            "ends_after_seconds": end.after.map(|after| after.as_secs()),
            "idle_seconds": end.idle.map(|idle| idle.as_secs()),
            "known_by": end.known_by,
            "carries": report.carried.iter().map(|each| json!({
                "place": each.place,
                "unsafe_methods_only": each.unsafe_only,
            })).collect::<Vec<_>>(),
            "left_open": report.left_open,
        })),
        "end_noticed": notice,
        "end_not_noticed_because": overlooked,
        "advice": advice.iter().map(|Advice { text, snippet }| json!({
            "text": text,
            "recipe_lines": snippet,
        })).collect::<Vec<_>>(),
    })
}

pub(super) fn ending(ending: &Ending) -> (&'static str, Option<&'static str>, Option<String>) {
    match ending {
        Ending::Good => ("good", None, None),
        Ending::Refused { class, why } => ("refused", class.map(class_name), Some(why.clone())),
        Ending::HeldBack(why) => ("held_back", None, Some(why.to_string())),
        Ending::Unreachable(error) => ("unreachable", None, Some(with_causes(error))),
        Ending::Incomplete(what) => ("incomplete", None, Some(what.as_str().to_owned())),
    }
}

/// Whether the end of a session would be noticed: nothing where that is not known.
fn notice(notice: &Notice) -> (Option<bool>, Option<&'static str>) {
    match notice {
        Notice::Noticed => (Some(true), None),
        Notice::Overlooked(why) => (Some(false), Some(why)),
        Notice::NotAsked(why) => (None, Some(why)),
        Notice::Unknown => (None, Some("there was no answer")),
    }
}

fn step(step: &StepReport) -> Value {
    json!({
        "phase": step.sent.phase.as_str(),
        "step": step.sent.step,
        "method": step.sent.method.as_str(),
        "path": step.sent.path,
        "status": step.status.map(|status| status.as_u16()),
        "content_type": step.content_type,
        "error": step.error,
        "took_ms": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
        "ok": step.ok,
        "expected": step.expected.iter().map(|finding| json!({
            "wants": finding.wants,
            "holds": finding.holds,
            "found": finding.found,
        })).collect::<Vec<_>>(),
        "rule": rule(&step.rule),
        "taken": step.taken.iter().map(taken).collect::<Vec<_>>(),
        "cookies": step.cookies.iter().map(cookie).collect::<Vec<_>>(),
    })
}

/// Nothing where no rule was asked; a rule that is null where none matched.
fn rule(report: &RuleReport) -> Value {
    match report {
        RuleReport::NotAsked => Value::Null,
        RuleReport::None => json!({ "rule": null, "line": null, "says": null }),
        RuleReport::Matched { rule, line, says } => {
            json!({ "rule": rule, "line": line, "says": says })
        }
    }
}

fn taken(taken: &TakenReport) -> Value {
    json!({
        "name": taken.name,
        "from": taken.from,
        "optional": taken.optional,
        "value": taken.value.as_ref().map(value),
    })
}

fn cookie(cookie: &CookieReport) -> Value {
    json!({
        "name": cookie.name,
        "value": cookie.value.as_ref().map(value),
        "path": cookie.path,
        "max_age_seconds": cookie.max_age.map(|age| age.as_secs()),
        "expires": cookie.expires.and_then(rfc3339),
        "flags": cookie.flags,
        "kept": cookie.kept,
    })
}

fn rfc3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}

fn value(value: &ValueReport) -> Value {
    json!({ "characters": value.characters, "fingerprint": value.fingerprint.to_string() })
}
