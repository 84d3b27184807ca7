//! What a recipe makes of answers, one after the other, as the doctor brings them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Outcome, Phase};
use crate::forward::verdict::{self, Verdict};
use crate::login::{Attempt, Material, Next, StepAnswer};
use crate::recipe::condition::Truth;
use crate::recipe::explain::is_plain_name;
use crate::recipe::template::Values;
use crate::recipe::{Addressee, Recipe, Step, VerdictIs};
use crate::secret::SecretText;

/// The time of a replay: the same each time, and one that every kind of clock can say.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// What stands for every field of an account: it can be sent anywhere, and is base32, too, so that
/// one-time codes can be made of it.
const FIELD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A step waits once for its code; the replay of a recipe that waits on does not.
const WAITS_MAX: usize = 4;

/// A recipe on its way through answers.
pub(super) struct Walk {
    recipe: Arc<Recipe>,
    attempt: Attempt,
    next: Next,
    now: SystemTime,
}

impl Walk {
    /// With an account that has these fields.
    pub(super) fn new(recipe: &Arc<Recipe>, fields: &[String]) -> Self {
        let mut values = Values::default();
        for name in fields {
            values.set(name.clone(), SecretText::from(FIELD.to_owned()));
        }
        let now = UNIX_EPOCH + BEGIN;
        let mut attempt = Attempt::new(Arc::clone(recipe), values, "");
        let next = attempt.start(now);
        let mut walk = Self { recipe: Arc::clone(recipe), attempt, next, now };
        walk.pass_time();
        walk
    }

    /// Goes on where a login waits for the next one-time code.
    fn pass_time(&mut self) {
        for _ in 0..WAITS_MAX {
            let Next::Wait { until } = self.next else { break };
            self.now = until;
            self.next = self.attempt.resume(until);
        }
    }

    /// The step that the recipe sends here, or the one of this name where order is not the
    /// recipe's; nothing where it sends none.
    pub(super) fn step(&mut self, phase: Phase, name: &str) -> Option<&Step> {
        match phase {
            Phase::Login => match self.next {
                Next::Send(_) => self.recipe.login.get(self.attempt.step_index()),
                _ => None,
            },
            Phase::Logout => self.recipe.logout.iter().find(|step| step.name == name),
            Phase::Probe | Phase::WithoutSession => {
                self.recipe.probe.as_ref().map(|probe| &probe.step)
            }
        }
    }

    /// What the recipe makes of an answer to `step`.
    pub(super) fn outcome(
        &mut self,
        phase: Phase,
        name: &str,
        answer: Option<&StepAnswer>,
    ) -> Outcome {
        let recipe = Arc::clone(&self.recipe);
        let Some(answer) = answer else { return Outcome::of("no_answer") };
        if phase == Phase::Login {
            self.next = self.attempt.answer(answer, self.now);
            self.pass_time();
            return of_login(&recipe, &self.next);
        }
        let Some(step) = self.step(phase, name) else { return Outcome::of("not_asked") };
        let seen = answer.seen_by(step);
        let holds = step.expect.judge(&seen) == Truth::Yes;
        Outcome::of(match (phase, holds) {
            (Phase::Probe, true) => "alive",
            (Phase::Probe, false) => "dead",
            (Phase::Logout, true) => "confirmed",
            // A session that the upstream calls dead has nothing left to close.
            (Phase::Logout, false) if step.to != Addressee::Upstream => "unconfirmed",
            (Phase::Logout, false) => match verdict::judge(&recipe, &seen) {
                Verdict::Expired(_) => "confirmed",
                _ => "unconfirmed",
            },
            (Phase::Login | Phase::WithoutSession, _) => {
                let rules = &recipe.verdicts;
                let rule = rules.iter().find(|rule| rule.when.judge(&seen) == Truth::Yes);
                match rule.map(|rule| rule.then) {
                    Some(VerdictIs::Expired) => "expired",
                    Some(VerdictIs::Renew) => "renew",
                    Some(VerdictIs::Probe) => "probe",
                    Some(VerdictIs::Unavailable) => "unavailable",
                    Some(VerdictIs::Alive) => "alive",
                    None => "no_rule",
                }
            }
        })
    }
}

fn of_login(recipe: &Recipe, next: &Next) -> Outcome {
    match next {
        Next::Done(material) => Outcome { took: took(recipe, material), ..Outcome::of("session") },
        Next::Refused(refusal) => Outcome {
            class: refusal.class.map(|class| class.as_str().to_owned()),
            ..Outcome::of("refused")
        },
        Next::Send(_) | Next::Wait { .. } => Outcome::of("goes_on"),
    }
}

fn took(recipe: &Recipe, material: &Material) -> Vec<String> {
    let values = material.values.iter().map(|(name, _)| name.to_owned());
    let values = values.filter(|name| !recipe.fields.contains_key(name));
    let cookies = material.cookies.iter().map(|(name, _)| match is_plain_name(name) {
        true => format!("cookie {name}"),
        // Its name may be data.
        false => "a cookie".to_owned(),
    });
    values.chain(cookies).collect()
}

impl Outcome {
    fn of(came_to: &str) -> Self {
        Self { came_to: came_to.to_owned(), class: None, took: Vec::new() }
    }
}
