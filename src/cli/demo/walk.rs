//! The scripted walk: every upstream is logged in to, used, robbed of its session and logged out
//! of. It is judged by the emulators' counters and by the bytes that a client received, never by
//! what Doorward says of itself.

use std::time::Duration;

use super::client::{Answer, Client, contains};
use super::configuration::prefix;
use super::finding::{Check, Expected, Finding, Step};
use super::stage::{Ports, Stage, StageError};
use crate::app::{Inherited, Resolver, Surroundings};
use crate::clock::Clock;
use crate::emulator::{Call, Control, Demonstration, Emulator};
use crate::session::Mechanism;

/// How long an answer may take to reach the place where it is kept back.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(10);

/// Starts everything, walks, stops everything; with a mechanism switched off, to prove that the
/// walk notices.
///
/// # Errors
/// When it does not start.
pub(super) async fn walk(without: Option<Mechanism>) -> Result<Vec<Finding>, StageError> {
    let clock = Clock::system();
    let surroundings = Surroundings {
        clock: clock.clone(),
        resolver: Resolver::System,
        readers: Vec::new(),
        without,
        inherited: Inherited::default(),
        admin_socket: None,
    };
    let stage = Stage::start(Ports::Free, surroundings).await?;
    let mut visits: Vec<_> =
        stage.emulators().iter().map(|emulator| Visit::new(emulator, &stage, &clock)).collect();
    for visit in &mut visits {
        visit.while_doorward_runs().await;
    }
    for visit in &visits {
        visit.control.reset_counters();
    }
    let (_, emulators) = stage.stop_doorward().await;
    let findings = visits.into_iter().flat_map(Visit::after_doorward_stopped).collect();
    for emulator in emulators {
        emulator.stop().await;
    }
    Ok(findings)
}

/// The walk at one upstream.
struct Visit {
    control: Control,
    demonstration: Demonstration,
    client: Client,
    clock: Clock,
    findings: Vec<Finding>,
}

impl Visit {
    fn new(emulator: &Emulator, stage: &Stage, clock: &Clock) -> Self {
        let vendor = emulator.vendor();
        Self {
            control: emulator.control().clone(),
            demonstration: vendor.demonstration(),
            client: Client::new(stage.address(), prefix(vendor), clock.clone()),
            clock: clock.clone(),
            findings: Vec::new(),
        }
    }

    async fn while_doorward_runs(&mut self) {
        self.cold_login().await;
        self.cached_call().await;
        self.local_login().await;
        self.replayed_call().await;
        self.late_expiry().await;
    }

    fn after_doorward_stopped(mut self) -> Vec<Finding> {
        self.nothing_leaked();
        // The two that were killed are logged out, too: the refusals could have been mistaken.
        let expected = Expected { logouts: 1, dead_credentials: 2, ..Expected::default() };
        self.found(Step::Logout, expected, Vec::new());
        self.findings
    }

    async fn cold_login(&mut self) {
        self.control.reset_counters();
        let [read, _] = &self.demonstration.reads;
        let send = || self.client.send(read);
        let (first, second, third) = tokio::join!(send(), send(), send());
        let answers =
            [(read, first), (read, second), (read, third)].map(|(call, seen)| answer(call, &seen));
        let expected = Expected { logins: 1, live_sessions: 1, ..Expected::default() };
        self.found(Step::ColdLogin, expected, answers.into());
    }

    async fn cached_call(&mut self) {
        self.control.reset_counters();
        let [read, _] = &self.demonstration.reads;
        let checks = vec![answer(read, &self.client.send(read).await)];
        let expected = Expected { live_sessions: 1, ..Expected::default() };
        self.found(Step::CachedCall, expected, checks);
    }

    async fn local_login(&mut self) {
        self.control.reset_counters();
        let login = &self.demonstration.local_login;
        let mut checks = vec![answer(login, &self.client.send(login).await)];
        checks.push(Check::new("calls at the server", 0, self.control.counters().requests));
        let expected = Expected { live_sessions: 1, ..Expected::default() };
        self.found(Step::LocalLogin, expected, checks);
    }

    /// The session ends on the server, and Doorward learns it from the answer to a write.
    async fn replayed_call(&mut self) {
        let mut checks = self.kill().await;
        let write = &self.demonstration.write;
        checks.push(answer(write, &self.client.send(write).await));
        let expected = Expected {
            logins: 1,
            live_sessions: 1,
            dead_credentials: 1,
            writes: 1,
            ..Expected::default()
        };
        self.found(Step::ReplayedCall, expected, checks);
    }

    /// Two calls are sent with a session that has ended on the server. The answer to the first is
    /// kept back until the second one has been answered by way of a new session.
    async fn late_expiry(&mut self) {
        let mut checks = self.kill().await;
        let [late, prompt] = &self.demonstration.reads;
        let hold = self.control.hold(&format!("{} {}", late.method, late.path()));
        let meanwhile = async {
            let arrived = tokio::select! {
                () = hold.arrived(1) => 1,
                () = self.clock.sleep(ARRIVAL_TIME_MAX) => hold.waiting(),
            };
            let prompt_answer = self.client.send(prompt).await;
            hold.release();
            (arrived, prompt_answer)
        };
        let (late_answer, (arrived, prompt_answer)) =
            tokio::join!(self.client.send(late), meanwhile);
        checks.push(Check::quiet("answers that came late", 1, arrived));
        checks.push(answer(prompt, &prompt_answer));
        checks.push(answer(late, &late_answer));
        checks.push(answer(prompt, &self.client.send(prompt).await));
        let expected =
            Expected { logins: 1, live_sessions: 1, dead_credentials: 2, ..Expected::default() };
        self.found(Step::LateExpiry, expected, checks);
    }

    fn nothing_leaked(&mut self) {
        let (issued, received) = (self.control.issued(), self.client.received());
        let is_leaked = |value: &&String| contains(&received, value.as_bytes());
        let leaked = issued.iter().filter(is_leaked).count();
        let presence = |is_empty: bool| if is_empty { "none" } else { "some" };
        let checks = vec![
            Check::new("secrets found in the answers", 0, leaked),
            Check::quiet("secrets to look for", "some", presence(issued.is_empty())),
            Check::quiet("answers to look at", "some", presence(received.is_empty())),
        ];
        let vendor = self.control.vendor();
        self.findings.push(Finding { vendor, step: Step::NothingLeaked, checks });
    }

    /// Makes sure that there is a session, then ends it on the server.
    async fn kill(&self) -> Vec<Check> {
        let [_, read] = &self.demonstration.reads;
        let before = answer(read, &self.client.send(read).await).unshown();
        self.control.reset_counters();
        vec![before, Check::quiet("sessions killed", 1, self.control.expire_sessions())]
    }

    /// Notes a step: its own checks, then the server's counters.
    fn found(&mut self, step: Step, expected: Expected, mut checks: Vec<Check>) {
        checks.extend(expected.checks(&self.control.counters()));
        self.findings.push(Finding { vendor: self.control.vendor(), step, checks });
    }
}

fn answer(call: &Call, seen: &Answer) -> Check {
    Check::new("answered", Answer::Good(call.status), seen)
}
