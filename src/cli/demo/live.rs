//! The live view: one line for each login, request, expiry and logout, in words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use crate::cli::ink::{Colour, coloured};
use crate::diagnosis::Paint;
use crate::telemetry::{
    About, Event, Login, Reader, ReloadStage, Request, Revocation, SecretTrouble, Stage, Trigger,
};

/// Lines that wait to be printed; at the bound new ones are left out and counted.
const LINES_WAITING_MAX: usize = 1024;

/// Turns events into lines.
#[derive(Debug)]
pub(super) struct Live {
    zone: TimeZone,
    paint: Paint,
    lines: mpsc::Sender<String>,
    left_out: u64,
    known: HashMap<Arc<str>, Known>,
}

/// What earlier events told of an upstream. Each has one account here, and so one session at a
/// time.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The generation that was last called dead.
    dead: Option<u64>,
    login: Option<Ended>,
}

/// A login that gave a session.
#[derive(Clone, Copy, Debug)]
struct Ended {
    generation: u64,
    at: SystemTime,
    took: Duration,
}

impl Live {
    /// A view that writes the time of `zone`, and where its lines come out.
    pub(super) fn new(zone: TimeZone, paint: Paint) -> (Self, mpsc::Receiver<String>) {
        let (lines, printed) = mpsc::channel(LINES_WAITING_MAX);
        (Self { zone, paint, lines, left_out: 0, known: HashMap::new() }, printed)
    }

    fn line(&mut self, at: SystemTime, event: &Event) -> String {
        let (upstream, what) = match event {
            Event::Login(login) => (Some(&login.upstream), self.login(at, login)),
            Event::Expired(About { upstream, generation, .. }) => {
                self.known.entry(Arc::clone(upstream)).or_default().dead = Some(*generation);
                let what =
                    format!("session {generation} expired: the server does not know it any more");
                (Some(upstream), self.ink(Colour::Yellow, &what))
            }
            Event::LateExpiry(About { upstream, generation, .. }) => {
                let what = format!("late word that session {generation} expired: nothing to do");
                (Some(upstream), what)
            }
            Event::Probe { about, alive, .. } => {
                let found = if *alive { "alive" } else { "dead" };
                (Some(&about.upstream), format!("session {} probed: {found}", about.generation))
            }
            Event::Logout { about, confirmed: true, .. } => {
                (Some(&about.upstream), format!("session {} logged out", about.generation))
            }
            Event::Logout { about, confirmed: false, .. } => {
                let what =
                    format!("session {}: the server did not confirm its logout", about.generation);
                (Some(&about.upstream), self.ink(Colour::Yellow, &what))
            }
            Event::Refreshed { about, outcome, .. } => {
                let what = match outcome {
                    Ok(next) => format!("session {} refreshed: {next}", about.generation),
                    Err(why) => format!("session {} was not refreshed: {why}", about.generation),
                };
                (Some(&about.upstream), what)
            }
            Event::Renewed { about, outcome, .. } => {
                let what = match outcome {
                    Ok(next) => format!("session {} has fresh values: {next}", about.generation),
                    Err(why) => format!("session {} was not renewed: {why}", about.generation),
                };
                (Some(&about.upstream), what)
            }
            Event::LetGo { about, why } => {
                let what = format!("session {} let go ({})", about.generation, why.as_str());
                (Some(&about.upstream), what)
            }
            Event::Displaced { about, pause } => {
                let what = format!(
                    "somebody else logs in with this account: no login for {} s",
                    pause.as_secs()
                );
                (Some(&about.upstream), self.ink(Colour::Red, &what))
            }
            Event::Paused { upstream, pause, .. } => {
                let what = format!("too much for the server: requests wait {} s", pause.as_secs());
                (Some(upstream), self.ink(Colour::Yellow, &what))
            }
            Event::Quarantined { upstream, cause, .. } => {
                let what =
                    format!("account quarantined ({cause}): no login until its secret changes");
                (Some(upstream), self.ink(Colour::Red, &what))
            }
            Event::Rotation(rotation) => {
                let what = match &rotation.stage {
                    Stage::Begun => "the secret has changed".to_owned(),
                    Stage::Waiting { cause, .. } => {
                        format!("the new secret cannot be tried yet ({cause})")
                    }
                    Stage::Done { .. } => "the new secret is in use".to_owned(),
                    Stage::Refused { cause } => {
                        let what = format!("the new secret was refused ({cause})");
                        self.ink(Colour::Red, &what)
                    }
                };
                (Some(&rotation.upstream), what)
            }
            Event::SecretTrouble(SecretTrouble::Unreadable { upstream, why, .. }) => {
                (Some(upstream), self.ink(Colour::Red, why))
            }
            Event::SecretTrouble(SecretTrouble::Unwatched { why, .. }) => {
                (None, self.ink(Colour::Yellow, why))
            }
            Event::Adopted(about) => {
                let what = format!("session {} of an earlier run is used on", about.generation);
                (Some(&about.upstream), what)
            }
            Event::LeftOpen { upstream, closed, .. } => {
                let end = if *closed { "closed" } else { "not closed" };
                (Some(upstream), format!("session that was left open: {end}"))
            }
            Event::AnswerLost { upstream, what, .. } => {
                (Some(upstream), self.ink(Colour::Yellow, what.as_str()))
            }
            Event::StateUnwritable { upstream, why, .. } => {
                (Some(upstream), self.ink(Colour::Red, &format!("nothing is recorded: {why}")))
            }
            Event::Revocation(Revocation::Taken { client, key, .. }) => {
                (None, self.ink(Colour::Yellow, &format!("key {key} of {client} is revoked")))
            }
            Event::Revocation(_) => {
                (None, self.ink(Colour::Red, "the file of revoked keys cannot be relied on"))
            }
            Event::StateNotice(notice) => (None, self.ink(Colour::Yellow, notice)),
            Event::IssuerKeys(about) => {
                let outcome = about.outcome.name().unwrap_or("same");
                (None, format!("keys of the issuer {}: {outcome}", about.issuer))
            }
            Event::Reach(about) => (Some(&about.upstream), about.change.phrase().to_owned()),
            Event::Strain(strain) => {
                (None, self.ink(Colour::Yellow, &format!("it takes on: {}", strain.load)))
            }
            Event::Operator(one) => {
                (None, format!("an operator asked: {} {}", one.action, one.subject))
            }
            Event::Rejected(rejected) => (None, format!("rejected: {}", rejected.reason)),
            Event::Reload(reload) => match &reload.stage {
                ReloadStage::Begun => (None, "the configuration is read again".to_owned()),
                ReloadStage::Done { .. } => (None, "the configuration is reloaded".to_owned()),
                ReloadStage::Failed { faults, .. } => {
                    let what = format!("the configuration is not reloaded: {}", faults.join("; "));
                    (None, self.ink(Colour::Red, &what))
                }
            },
            Event::Audit(_) => (None, self.ink(Colour::Red, "the audit trail has gaps")),
            Event::Request(request) => (request.upstream.as_ref(), self.request(at, request)),
        };
        let upstream = upstream.map_or("-", |name| name);
        format!("{}  {upstream:<12}  {what}", self.time(at))
    }

    fn login(&mut self, at: SystemTime, login: &Login) -> String {
        let took = login.took.as_millis();
        match &login.outcome {
            Ok(generation) => {
                let known = self.known.entry(Arc::clone(&login.upstream)).or_default();
                known.login = Some(Ended { generation: *generation, at, took: login.took });
                let why = match login.trigger {
                    Trigger::Cold => "there was no session",
                    Trigger::Expired => "the session had expired",
                    Trigger::Refresh => "the session was about to end",
                    Trigger::Rotation => "the secret had changed",
                    Trigger::Manual => "an operator asked for it",
                };
                let what = format!("logged in: session {generation}, {took} ms ({why})");
                self.ink(Colour::Green, &what)
            }
            Err(why) => self.ink(Colour::Red, &format!("login failed after {took} ms: {why}")),
        }
    }

    fn request(&self, at: SystemTime, request: &Request) -> String {
        let Request { method, path, status, took, .. } = request;
        // The routes of the demo begin with the upstream's name, which stands in front already.
        let name = request.upstream.as_deref().unwrap_or_default();
        let short = path.strip_prefix('/').and_then(|path| path.strip_prefix(name));
        let path = short.filter(|path| path.starts_with('/')).unwrap_or(path);
        let status = self.ink(colour(*status), status.as_str());
        let (took, by) = (took.as_millis(), self.by(at, request));
        format!("{method} {path}  {status}  {took} ms  {by}")
    }

    /// How a request came to its answer.
    fn by(&self, at: SystemTime, request: &Request) -> String {
        let Some(generation) = request.generation else {
            return match request.reason {
                "answered_locally" => "answered by Doorward itself".to_owned(),
                reason => reason.replace('_', " "),
            };
        };
        let known = request.upstream.as_ref().and_then(|name| self.known.get(name));
        let known = known.copied().unwrap_or_default();
        let began = at.checked_sub(request.took).unwrap_or(at);
        let waited =
            known.login.filter(|login| login.generation == generation && login.at >= began);
        let login = waited.map(|login| format!("login {} ms -> ", login.took.as_millis()));
        let login = login.unwrap_or_default();
        match (request.replayed, known.dead.filter(|dead| *dead < generation)) {
            (true, Some(dead)) => {
                format!("session {dead} expired -> {login}replayed on session {generation}")
            }
            (true, None) => format!("{login}replayed on session {generation}"),
            (false, _) if request.reason == "forwarded" => format!("{login}session {generation}"),
            (false, _) => {
                format!("{login}session {generation} ({})", request.reason.replace('_', " "))
            }
        }
    }

    fn time(&self, at: SystemTime) -> String {
        let time = jiff::Timestamp::try_from(at).unwrap_or_default();
        let time = time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        self.ink(Colour::Grey, &time)
    }

    fn ink(&self, colour: Colour, text: &str) -> String {
        coloured(self.paint, colour, text)
    }
}

impl Reader for Live {
    fn read(&mut self, at: SystemTime, event: &Event) {
        let line = self.line(at, event);
        if self.left_out > 0
            && self.lines.try_send(format!("... {} lines left out", self.left_out)).is_ok()
        {
            self.left_out = 0;
        }
        if self.lines.try_send(line).is_err() {
            self.left_out += 1;
        }
    }

    fn wants_requests(&self) -> bool {
        true
    }

    fn dropped(&mut self, count: u64) {
        self.left_out += count;
    }
}

fn colour(status: StatusCode) -> Colour {
    match status.as_u16() {
        ..400 => Colour::Green,
        400..500 => Colour::Yellow,
        _ => Colour::Red,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::telemetry::{Decision, RequestId, Sendings, Shown, Who};

    const UPSTREAM: &str = "cms";

    fn login(generation: u64, trigger: Trigger) -> Event {
        Event::Login(Login {
            upstream: UPSTREAM.into(),
            account: "demo".into(),
            trigger,
            outcome: Ok(generation),
            word: Login::SUCCESS,
            took: Duration::from_millis(39),
        })
    }

    fn expired(generation: u64) -> About {
        About { upstream: UPSTREAM.into(), account: "demo".into(), generation }
    }

    fn request(generation: Option<u64>, replayed: bool, reason: &'static str) -> Event {
        Event::Request(Arc::new(Request {
            id: RequestId::from_static("1"),
            who: Some(Who::Open),
            peer: None,
            listener: "main".into(),
            scheme: "http",
            protocol: "HTTP/1.1",
            route: None,
            upstream: Some(UPSTREAM.into()),
            account: Some("demo".into()),
            grant: None,
            method: Method::GET,
            path: "/cms/v3/content_types".to_owned(),
            sendings: Sendings::default(),
            server: None,
            trace: None,
            shown: Shown::default(),
            decision: Decision::Forwarded,
            status: StatusCode::OK,
            reason,
            generation,
            replayed,
            refused: None,
            awaited: false,
            waited: None,
            session_after: None,
            head_after: None,
            took: Duration::from_millis(55),
            body_bytes: 7,
            redacted: 0,
            decoded: None,
        }))
    }

    fn told(events: &[(u64, Event)]) -> Vec<String> {
        let (mut live, mut lines) = Live::new(TimeZone::UTC, Paint::Plain);
        for (at, event) in events {
            live.read(SystemTime::UNIX_EPOCH + Duration::from_millis(*at), event);
        }
        std::iter::from_fn(|| lines.try_recv().ok()).collect()
    }

    #[test]
    fn a_request_tells_of_the_login_that_it_waited_for_and_of_no_other() {
        let lines = told(&[
            (71_243_000, login(1, Trigger::Cold)),
            (71_243_005, request(Some(1), false, "forwarded")),
            (71_244_000, request(Some(1), false, "forwarded")),
            (71_245_000, request(None, false, "answered_locally")),
        ]);
        assert_eq!(
            lines,
            [
                "19:47:23  cms           logged in: session 1, 39 ms (there was no session)",
                "19:47:23  cms           GET /v3/content_types  200  55 ms  login 39 ms -> session 1",
                "19:47:24  cms           GET /v3/content_types  200  55 ms  session 1",
                "19:47:25  cms           GET /v3/content_types  200  55 ms  answered by Doorward itself",
            ]
        );
    }

    #[test]
    fn a_replayed_request_tells_which_session_died_and_which_one_served_it() {
        let lines = told(&[
            (1_000, Event::Expired(expired(1))),
            (1_040, login(2, Trigger::Expired)),
            (1_050, request(Some(2), true, "replayed")),
            (1_060, Event::LateExpiry(expired(1))),
        ]);
        let [died, logged_in, replayed, late] = lines.try_into().unwrap();
        assert!(
            died.ends_with("session 1 expired: the server does not know it any more"),
            "{died}"
        );
        assert!(logged_in.ends_with("session 2, 39 ms (the session had expired)"), "{logged_in}");
        assert!(
            replayed
                .ends_with("200  55 ms  session 1 expired -> login 39 ms -> replayed on session 2"),
            "{replayed}"
        );
        assert!(late.ends_with("late word that session 1 expired: nothing to do"), "{late}");
    }

    #[test]
    fn lines_that_nobody_takes_are_counted() {
        let (mut live, mut lines) = Live::new(TimeZone::UTC, Paint::Plain);
        let event = login(1, Trigger::Cold);
        for _ in 0..LINES_WAITING_MAX + 3 {
            live.read(SystemTime::UNIX_EPOCH, &event);
        }
        while lines.try_recv().is_ok() {}
        live.read(SystemTime::UNIX_EPOCH, &event);
        assert_eq!(lines.try_recv().unwrap(), "... 3 lines left out");
    }
}
