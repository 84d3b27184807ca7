//! How everything is, in a sentence for whoever looks for five seconds.

use super::answers::{
    AccountState, Check, Configuration, Session, SessionState, Upstream, in_words,
};

/// What an operator has to look at, and the whole in a sentence.
pub(super) fn of(
    sessions: &[Session],
    upstreams: &[Upstream],
    checks: &[Check],
    configuration: &Configuration,
    is_stopping: bool,
) -> (Vec<String>, String) {
    let mut troubles: Vec<_> = refused(configuration).into_iter().collect();
    for upstream in upstreams {
        let name = &upstream.name;
        if let Some(paused) = &upstream.paused {
            let seconds = paused.retry_after_seconds;
            troubles.push(format!(
                "{name} is paused by an operator: clients are told to wait {seconds} s"
            ));
        }
        if let Some(milliseconds) = upstream.circuit_open_for_ms {
            let wait = in_words(milliseconds);
            troubles.push(format!("{name} cannot be reached: it is not tried for {wait}"));
        }
        if let Some(why) = &upstream.unresolved {
            troubles.push(format!("the addresses of {name} cannot be asked for: {why}"));
        }
        for account in &upstream.accounts {
            let cause = account.cause.as_deref().unwrap_or("unknown");
            match account.state {
                AccountState::Open => {}
                AccountState::Quarantined => troubles.push(format!(
                    "{name}.{} is in quarantine ({cause}): no login until its secret changes or it \
                     is cleared",
                    account.name
                )),
                AccountState::HeldBack => troubles.push(format!(
                    "{name}.{} is held back ({cause}): no login for {}",
                    account.name,
                    in_words(account.retry_in_ms.unwrap_or(0))
                )),
            }
        }
    }
    // Accounts are told of above, each with its cause.
    let others = checks.iter().filter(|check| !check.is_ok && check.name != "logins");
    troubles.extend(others.map(|check| format!("{}: {}", check.name, check.detail)));

    let is_live =
        |session: &&Session| matches!(session.state, SessionState::Live | SessionState::Renewing);
    let live = sessions.iter().filter(is_live).count();
    let counts =
        format!("{}, {}", counted(upstreams.len(), "upstream"), counted(live, "live session"));
    let next = sessions.iter().filter_map(|session| session.expires_in_ms).min();
    let next = next.map(|next| format!(", the next one ends in {}", in_words(next)));
    let counts = counts + &next.unwrap_or_default();
    let summary = match (is_stopping, troubles.len()) {
        (true, _) => format!("Stopping: {counts}"),
        (false, 0) => format!("All well: {counts}"),
        (false, 1) => format!("One thing needs a look: {counts}"),
        (false, number) => format!("{number} things need a look: {counts}"),
    };
    (troubles, summary)
}

/// Why the configuration in the files is not the one in force.
fn refused(configuration: &Configuration) -> Option<String> {
    let faults = &configuration.last_reload.as_ref()?.faults;
    let (first, others) = faults.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    Some(format!(
        "the configuration was read again and refused, the one before is kept: {first}{others}"
    ))
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}
