//! What to change after a trial: one sentence for each way to end, and where a rule is missing the
//! rule itself, made from what the answer is like. No value of an answer is in it.

use http::StatusCode;

use super::unreached::{self, Addressed};
use crate::login::StepAnswer;
use crate::recipe::explain::is_plain_name;
use crate::recipe::{Recipe, RefusalClass};
use crate::recording::{Exchanged, Phase};
use crate::session::Unavailable;
use crate::session::trial::{Ending, Incomplete, Notice, StepReport, TrialReport};
use crate::settings;

/// Members of an answer that a proposed rule names.
const MEMBERS_MAX: usize = 4;

/// What somebody should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// In a sentence.
    pub text: String,
    /// Lines for the recipe.
    pub snippet: Option<String>,
}

/// What a trial was about.
pub(super) struct About<'a> {
    pub(super) upstream: &'a settings::Upstream,
    pub(super) account: &'a settings::Account,
    pub(super) recipe: &'a Recipe,
}

impl About<'_> {
    /// What to do after this trial; nothing when all is well.
    pub(super) fn advice(&self, report: &TrialReport) -> Vec<Advice> {
        let mut advice = Vec::new();
        match &report.ending {
            Ending::Good if self.recipe.probe.is_none() => advice.push(says(format!(
                "{} has no `[probe]`: nothing has shown that the upstream accepts the session, and \
                 that its end is noticed",
                self.recipe.file
            ))),
            Ending::Good => {}
            Ending::Refused { class: Some(class), .. } => advice.push(says(self.refused(*class))),
            Ending::Refused { class: None, .. } => advice.push(self.unclassified(report)),
            Ending::HeldBack(why) => advice.push(says(self.held_back(why))),
            Ending::Unreachable(error) => advice.push(says(self.addressed(report).unreachable(error))),
            Ending::Incomplete(Incomplete::Probe) => advice.push(says(format!(
                "the login succeeded, and what it gave is not accepted: compare `[[inject]]`, and \
                 `alive` of `[probe]`, in {} with the vendor's documentation",
                self.recipe.file
            ))),
            Ending::Incomplete(Incomplete::Logout) => advice.push(says(format!(
                "compare `[[logout.steps]]` in {} with the vendor's documentation",
                self.recipe.file
            ))),
            Ending::Incomplete(Incomplete::Unrecorded) => advice.push(says(
                "see whether the disk that holds `state.path` is full or cannot be written: what a \
                 login gives is recorded before it is used"
                    .to_owned(),
            )),
        }
        if report.left_open {
            advice.push(says(left_open(report)));
        }
        if let Notice::Overlooked(why) = &report.notice {
            advice.push(overlooked(report, why));
        }
        advice
    }

    fn refused(&self, class: RefusalClass) -> String {
        match class {
            RefusalClass::BadSecret => format!(
                "the upstream says that name and secret do not fit: check `{}` and {} of \
                 [upstreams.{}.accounts.{}]",
                self.recipe.login_name_field(),
                self.secrets(),
                self.upstream.name,
                self.account.name
            ),
            RefusalClass::Locked => "the account is locked: wait, or have it unlocked by the \
                 vendor's administrator, before anything else is tried"
                .to_owned(),
            RefusalClass::SecondFactor => self.second_factor(),
            RefusalClass::NotAllowed => "the account may not log in this way, for example for \
                 single sign-on or a missing licence: use another account"
                .to_owned(),
            RefusalClass::SlotsFull => {
                "the account has no room for one more session: end others first".to_owned()
            }
            RefusalClass::Throttled => {
                "too many logins or requests: wait, then try again".to_owned()
            }
            RefusalClass::UpstreamBroken => format!(
                "the upstream is out of order, for example in maintenance, or `url` ({}) is not \
                 the API's address: try again later, or correct it",
                self.url()
            ),
        }
    }

    fn second_factor(&self) -> String {
        let (upstream, account) = (&self.upstream.name, &self.account.name);
        match self.recipe.code_fields().next() {
            None => "the account asks for a second factor that this recipe does not give: use an \
                 account without one, or a recipe that gives it"
                .to_owned(),
            Some(field) if self.account.fields.contains_key(field) => format!(
                "check `{field}` of [upstreams.{upstream}.accounts.{account}], and whether this \
                 machine's clock is right: one-time codes are made from both"
            ),
            Some(field) => format!(
                "the account asks for a second factor: give the secret of its authenticator app \
                 as `{field}` in [upstreams.{upstream}.accounts.{account}]"
            ),
        }
    }

    /// The account's secrets by where they are kept: `` `password` (file `x`) ``.
    fn secrets(&self) -> String {
        let fields = self.account.fields.iter().filter_map(|(name, field)| match field {
            settings::Field::Secret(source) => Some(format!("`{name}` ({})", source.place)),
            settings::Field::Text(_) => None,
        });
        let fields: Vec<String> = fields.collect();
        match fields.is_empty() {
            true => "the other fields".to_owned(),
            false => fields.join(", "),
        }
    }

    /// No rule of the recipe knows this answer.
    fn unclassified(&self, report: &TrialReport) -> Advice {
        let (Some(step), Some(answer)) = (report.steps.last(), last_answer(report)) else {
            return says(
                "a value of the account holds a character that no header field may hold: check it"
                    .to_owned(),
            );
        };
        let file = &self.recipe.file;
        let (url, path) = (self.url(), &step.sent.path);
        let missing = step.taken.iter().find(|taken| taken.value.is_none() && !taken.optional);
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return says(format!(
                "the upstream knows no {} {path}: check `url` ({url}) of [upstreams.{}], its \
                 `parameters`, and the step's `path` in {file}",
                step.sent.method, self.upstream.name
            ));
        }
        if step.content_type.as_deref() == Some("text/html") {
            return says(format!(
                "a page came instead of an API's answer: check whether `url` ({url}) of \
                 [upstreams.{}] is the API's address, not the web site's",
                self.upstream.name
            ));
        }
        if answer.status.is_redirection() {
            return says(format!(
                "the upstream sends logins elsewhere, and Doorward does not follow: check `url` \
                 ({url}) of [upstreams.{}], `https` and a trailing path among it",
                self.upstream.name
            ));
        }
        if let (true, Some(missing)) = (answer.status.is_success(), missing) {
            return says(format!(
                "`{}` is not at {} in the answer, which has {}: correct `take` in {file}",
                missing.name,
                missing.from,
                members(answer)
            ));
        }
        Advice {
            text: format!(
                "if this answer has a meaning, add a rule to {file}, so that Doorward knows what \
                 to do about it; it costs an attempt as it is"
            ),
            snippet: Some(refusal_rule(answer)),
        }
    }

    fn held_back(&self, why: &Unavailable) -> String {
        match why {
            Unavailable::HeldBack { retry_after, cause } => format!(
                "nothing was sent: logins of this account pause for {} s more ({})",
                retry_after.as_secs().max(1),
                cause.as_str()
            ),
            Unavailable::Refused(_) => format!(
                "nothing was sent: the upstream has refused this secret before; change the \
                 secret, or, if what was wrong is mended at the upstream, lift the quarantine by \
                 `doorward clear {} --account {}`",
                self.upstream.name, self.account.name
            ),
            other => format!("nothing was sent: {other}"),
        }
    }

    /// Whoever the step went to that had no answer.
    fn addressed(&self, report: &TrialReport) -> Addressed<'_> {
        let failed = report.steps.iter().rev().find(|step| step.error.is_some());
        match failed.and_then(|step| Some((step, step.sent.site.as_ref()?))) {
            Some((step, site)) => {
                Addressed::elsewhere(self.upstream, self.recipe, &step.sent.step, site)
            }
            None => Addressed::upstream(self.upstream),
        }
    }

    pub(super) fn url(&self) -> String {
        unreached::url(self.upstream)
    }
}

fn says(text: String) -> Advice {
    Advice { text, snippet: None }
}

fn left_open(report: &TrialReport) -> String {
    let end = report.end.as_ref();
    let when = match end.and_then(|end| end.after.or(end.idle)) {
        _ if report.closed_at_start => {
            "the next `doorward run` with this state closes it".to_owned()
        }
        Some(after) => format!("the upstream ends it in {} s", after.as_secs()),
        None => "the upstream ends it by its own rules".to_owned(),
    };
    match report.steps.iter().any(|step| step.sent.phase == Phase::Logout) {
        true => format!("the logout was not confirmed, so a session was left open: {when}"),
        false => format!("no logout could be sent, so a session was left open: {when}"),
    }
}

fn overlooked(report: &TrialReport, why: &str) -> Advice {
    let of = |phase| move |step: &&StepReport| step.sent.phase == phase;
    let answered = report.steps.iter().find(of(Phase::WithoutSession));
    let status = answered.and_then(|step| step.status).map_or(0, |status| status.as_u16());
    let answer = last_answer(report).filter(|answer| !answer.status.is_success());
    let text = format!(
        "the probe without a session was answered with {status}, and {why}: the recipe may not \
         notice that a session has ended"
    );
    match answer {
        Some(answer) => Advice {
            text: format!("{text}; add a rule"),
            snippet: Some(format!("[[verdict]]\nwhen = {}\nthen = \"expired\"\n", like(answer))),
        },
        None => says(format!("{text}; let the probe ask what only a session may see")),
    }
}

fn last_answer(report: &TrialReport) -> Option<&StepAnswer> {
    report.exchanged.last().and_then(|Exchanged { answer, .. }| answer.as_ref())
}

/// A rule for a login's answer that no rule knows.
fn refusal_rule(answer: &StepAnswer) -> String {
    let class = match answer.status {
        StatusCode::TOO_MANY_REQUESTS => "throttled",
        status if status.is_server_error() => "upstream_broken",
        _ => "bad_secret",
    };
    format!(
        "# The answer had {}. Say which of them means what by `equals` or `matches`.\n\
         # Other classes: bad_secret, locked, second_factor, not_allowed, slots_full, throttled, \
         upstream_broken.\n\
         [[login.refusals]]\nwhen = {}\nclass = \"{class}\"\n",
        members(answer),
        like(answer)
    )
}

/// A condition that holds for answers like this one.
fn like(answer: &StepAnswer) -> String {
    let status = answer.status.as_u16();
    let tests: Vec<String> =
        member_names(answer).map(|name| format!("{{ at = \"/{name}\", exists = true }}")).collect();
    match tests.is_empty() {
        true => format!("{{ status = [{status}] }}"),
        false => format!("{{ status = [{status}], json = [{}] }}", tests.join(", ")),
    }
}

/// What the answer's body is made of.
fn members(answer: &StepAnswer) -> String {
    let names: Vec<String> = member_names(answer).map(|name| format!("`/{name}`")).collect();
    match (answer.body.json(), names.is_empty()) {
        (None, _) if answer.body.bytes().is_empty() => "no body".to_owned(),
        (None, _) => "a body that is no JSON".to_owned(),
        (Some(_), true) => "JSON without members that can be named".to_owned(),
        (Some(_), false) => format!("json {}", names.join(", ")),
    }
}

/// The first members of the body that are there and whose names are plain words: others may hold
/// data.
fn member_names(answer: &StepAnswer) -> impl Iterator<Item = &str> {
    let members = answer.body.json().and_then(|json| json.as_object());
    members
        .into_iter()
        .flatten()
        .filter(|(name, value)| !value.is_null() && is_plain_name(name))
        .map(|(name, _)| name.as_str())
        .take(MEMBERS_MAX)
}
