//! What an upstream's answer says of the session that its request carried.

use crate::recipe::condition::{Answer, Truth};
use crate::recipe::{Recipe, ReplayPolicy, VerdictIs};

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session is alive: the answer is the client's.
    Alive,
    /// The session is dead.
    Expired(ReplayPolicy),
    /// The session is alive, and a value that the request carried is stale.
    Stale(ReplayPolicy),
    /// Only the probe can tell.
    Ambiguous(ReplayPolicy),
    /// The upstream is out of order behind a success status.
    Unavailable,
    /// The body has to be looked at first.
    NeedsBody,
}

/// Judges `answer` by the first rule that matches.
pub fn judge(recipe: &Recipe, answer: &Answer<'_>) -> Verdict {
    for rule in &recipe.verdicts {
        match rule.when.judge(answer) {
            Truth::No => {}
            Truth::NeedsBody => return Verdict::NeedsBody,
            Truth::Yes => {
                return match rule.then {
                    VerdictIs::Alive => Verdict::Alive,
                    VerdictIs::Expired => Verdict::Expired(rule.replay),
                    VerdictIs::Renew => Verdict::Stale(rule.replay),
                    VerdictIs::Probe => Verdict::Ambiguous(rule.replay),
                    VerdictIs::Unavailable => Verdict::Unavailable,
                };
            }
        }
    }
    Verdict::Alive
}
